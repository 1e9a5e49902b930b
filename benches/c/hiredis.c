/* hiredis as its documentation says: redisGetReply, one reply object a message.
 *
 *     hiredis ADDRESS MESSAGES PAYLOAD */
#include "bench.h"
#include <hiredis/hiredis.h>

int main(int argc, char **argv)
{
    if (argc < 4) die("usage: hiredis ADDRESS MESSAGES PAYLOAD");
    unsigned long messages = number(argv[2]), payload = number(argv[3]), got = 0, lengths = 0;
    redisContext *redis =
        argv[1][0] == '/' ? redisConnectUnix(argv[1]) : redisConnect("127.0.0.1", (int)number(argv[1]));
    redisReply *reply;
    moment first = {0}, last;

    if (!redis || redis->err) die("connect %s: %s", argv[1], redis ? redis->errstr : "no memory");
    if (!(reply = redisCommand(redis, "SUBSCRIBE " NAME_FORMAT, 0ul))) die("SUBSCRIBE: %s", redis->errstr);
    freeReplyObject(reply);
    ready();
    while (got < messages) {
        if (redisGetReply(redis, (void **)&reply) != REDIS_OK) die("read: %s", redis->errstr);
        if (!got++) first = moment_now();
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) die("a reply that is no message");
        lengths += reply->element[1]->len + reply->element[2]->len;
        freeReplyObject(reply);
    }
    last = moment_now();
    if (lengths != messages * (NAME_LEN + payload)) die("the lengths add up to %lu", lengths);
    report(got, lengths, first, last);
    redisFree(redis);
    return 0;
}
