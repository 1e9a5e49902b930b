/* A question and its answer with hiredis, one after another: PUBLISH there and its reply, PUBLISH back and its reply.
 *
 *     hiredis_request ADDRESS serve
 *     hiredis_request ADDRESS ask COUNT 1
 *
 * serve says "ready" and answers until its stdin closes. */
#include "latency.h"
#include <hiredis/hiredis.h>

enum { BODY = 16 };

static void *until_stdin_closes(void *unused)
{
    (void)unused;
    while (getchar() != EOF) continue;
    _exit(0);
}

static redisContext *redis_at(const char *address)
{
    redisContext *redis = redisConnect("127.0.0.1", (int)number(address));
    if (!redis || redis->err) die("connect %s: %s", address, redis ? redis->errstr : "no memory");
    return redis;
}

static redisReply *reply_of(redisContext *redis)
{
    redisReply *reply;
    if (redisGetReply(redis, (void **)&reply) != REDIS_OK) die("read: %s", redis->errstr);
    return reply;
}

static void publish(redisContext *redis, const char *channel, const char *body)
{
    redisReply *reply = redisCommand(redis, "PUBLISH %s %b", channel, body, (size_t)BODY);
    if (!reply || reply->type != REDIS_REPLY_INTEGER || reply->integer != 1) die("a publish reached nobody");
    freeReplyObject(reply);
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: hiredis_request ADDRESS serve|ask [COUNT]");
    int asks = !strcmp(argv[2], "ask");
    unsigned long count = asks ? number(argv[3]) : 0;
    redisContext *listener = redis_at(argv[1]), *speaker = redis_at(argv[1]);
    pthread_t ends;
    moment first, last;
    char line[16];

    freeReplyObject(redisCommand(listener, "SUBSCRIBE %s", asks ? "bench:back" : "bench:there"));
    if (!asks && pthread_create(&ends, NULL, until_stdin_closes, NULL)) die("no thread");
    ready();
    if (!asks)
        for (;;) {
            redisReply *question = reply_of(listener);
            publish(speaker, "bench:back", question->element[2]->str);
            freeReplyObject(question);
        }
    if (!fgets(line, sizeof line, stdin)) return 1;
    first = moment_now();
    for (unsigned long i = 0; i < count; i++) {
        int64_t now = wall_ns();
        char body[BODY] = {0};
        memcpy(body, &now, sizeof now);
        publish(speaker, "bench:there", body);
        redisReply *answer = reply_of(listener);
        latency_add(answer->element[2]->str, wall_ns());
        freeReplyObject(answer);
    }
    last = moment_now();
    printf("{\"messages\": %lu, \"p50\": %.0f, \"p99\": %.0f, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", count, latency_at(0.5),
           latency_at(0.99), (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
    return 0;
}
