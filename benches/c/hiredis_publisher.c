/* hiredis' pipelining: so many commands appended, then as many replies read.
 *
 *     hiredis_publisher ADDRESS MESSAGES PAYLOAD AT_ONCE */
#include "bench.h"
#include <hiredis/hiredis.h>

int main(int argc, char **argv)
{
    if (argc < 5) die("usage: hiredis_publisher ADDRESS MESSAGES PAYLOAD AT_ONCE");
    unsigned long messages = number(argv[2]), payload = number(argv[3]), at_once = number(argv[4]), sent = 0, receivers = 0;
    redisContext *redis =
        argv[1][0] == '/' ? redisConnectUnix(argv[1]) : redisConnect("127.0.0.1", (int)number(argv[1]));
    char name[NAME_LEN + 16], go[8], *data = malloc(payload + 1);
    const char *words[3] = {"PUBLISH", name, data};
    size_t lengths[3] = {7, NAME_LEN, payload};
    redisReply *reply;
    moment first, last;

    if (!redis || redis->err || !data) die("connect %s: %s", argv[1], redis ? redis->errstr : "no memory");
    sprintf(name, NAME_FORMAT, 0ul);
    memset(data, 'x', payload);
    ready();
    if (read(STDIN_FILENO, go, sizeof go) <= 0) return 1;
    first = moment_now();
    while (sent < messages) {
        unsigned long n = messages - sent < at_once ? messages - sent : at_once;
        for (unsigned long i = 0; i < n; i++) redisAppendCommandArgv(redis, 3, words, lengths);
        for (unsigned long i = 0; i < n; i++) {
            if (redisGetReply(redis, (void **)&reply) != REDIS_OK) die("read: %s", redis->errstr);
            if (reply->type != REDIS_REPLY_INTEGER) die("a reply that is no number");
            receivers += (unsigned long)reply->integer;
            freeReplyObject(reply);
        }
        sent += n;
    }
    last = moment_now();
    printf("{\"messages\": %lu, \"receivers\": %lu, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", sent, receivers,
           (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
    redisFree(redis);
    return 0;
}
