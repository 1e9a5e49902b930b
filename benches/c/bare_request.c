/* A question and its answer without a library: PUBLISH there, PUBLISH back, found by their fixed length.
 *
 *     bare_request ADDRESS serve
 *     bare_request ADDRESS ask COUNT IN_FLIGHT
 *
 * serve says "ready" and answers until its stdin closes. Each side has one socket to listen and one to speak, as a client of
 * redmux has, and writes what it has to say after each read in one piece. */
#include "latency.h"

enum { BODY = 16, MOST = 1024 };

#define THERE "redmux:svc:bench"
#define BACK "redmux:rep:bench"

static size_t message_len(void)
{
    return sizeof "*3\r\n$7\r\nmessage\r\n$16\r\n" THERE "\r\n$16\r\n" - 1 + BODY + 2;
}

static int listen_to(const char *address, const char *channel)
{
    char out[128], in[128];
    int fd = dial(address);
    size_t wait = (size_t)sprintf(in, "*3\r\n$9\r\nsubscribe\r\n$16\r\n%s\r\n:1\r\n", channel);
    write_all(fd, out, (size_t)sprintf(out, "*2\r\n$9\r\nSUBSCRIBE\r\n$16\r\n%s\r\n", channel));
    while (wait) wait -= read_some(fd, in, wait);
    return fd;
}

static size_t publish(char *out, const char *channel, const char *body)
{
    size_t len = (size_t)sprintf(out, "*3\r\n$7\r\nPUBLISH\r\n$16\r\n%s\r\n$16\r\n", channel);
    memcpy(out + len, body, BODY);
    memcpy(out + len + BODY, "\r\n", 2);
    return len + BODY + 2;
}

/* The answers to publishes are read when the socket would otherwise fill up. */
static void drop_answers(int fd)
{
    char in[1 << 14];
    while (recv(fd, in, sizeof in, MSG_DONTWAIT) > 0) continue;
}

int main(int argc, char **argv)
{
    static char in[1 << 18], out[MOST * 128];
    size_t held = 0, each = message_len(), len;
    if (argc < 3) die("usage: bare_request ADDRESS serve|ask [COUNT IN_FLIGHT]");
    int asks = !strcmp(argv[2], "ask");
    unsigned long count = asks ? number(argv[3]) : 0, window = asks ? number(argv[4]) : 0, sent = 0, got = 0;
    int listener = listen_to(argv[1], asks ? BACK : THERE), speaker = dial(argv[1]);
    moment first;

    ready();
    if (asks) {
        if (window > MOST) die("at most %d in flight", MOST);
        if (!fgets(in, sizeof in, stdin)) return 1;
    }
    first = moment_now();
    for (;;) {
        size_t at = 0;
        int64_t now = wall_ns();
        char body[BODY] = {0};
        len = 0;
        if (asks && sent == 0)
            for (; sent < window; sent++) {
                memcpy(body, &now, sizeof now);
                len += publish(out + len, THERE, body);
            }
        for (; held - at >= each; at += each) {
            const char *payload = in + at + each - BODY - 2;
            if (!asks) {
                len += publish(out + len, BACK, payload);
                if (len > sizeof out - 256) {
                    write_all(speaker, out, len);
                    len = 0;
                }
                continue;
            }
            latency_add(payload, now);
            if (++got == count) {
                moment last = moment_now();
                printf("{\"messages\": %lu, \"p50\": %.0f, \"p99\": %.0f, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", got,
                       latency_at(0.5), latency_at(0.99), (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
                return 0;
            }
            if (sent < count) {
                memcpy(body, &now, sizeof now);
                len += publish(out + len, THERE, body);
                sent++;
            }
        }
        if (at) memmove(in, in + at, held -= at);
        if (len) write_all(speaker, out, len);
        drop_answers(speaker);
        held += read_some(listener, in + held, sizeof in - held);
    }
}
