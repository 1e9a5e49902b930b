/* A server that has its messages ready before anybody asks: it answers a handshake and SUBSCRIBE like Redis, and on the
 * line "go" in its stdin writes messages to whoever subscribed last, as fast as they are read or at a steady pace. So the
 * figures are the client's alone, and no client waits for the server.
 *
 *     blaster -n MESSAGES -s PAYLOAD [-c CHANNELS] [-u PATH] [-b BATCH -t MICROSECONDS]
 *
 * It prints its port (or path) first, and what it sent at the end; it ends with its stdin. */
#include "server.h"

enum { WRITE = 256 * 1024 };

static unsigned long messages = 1000000, payload = 64, channels = 1, batch = 0, period_us = 0;
static char *stream[2]; /* for RESP2 and RESP3, which differ in one byte a message */
static unsigned long stream_messages, message_len;

/* Names come in a random order that is the same in every run. One name needs a short stream, which stays in the cache;
 * many need a long one, so that the same names do not come round soon. */
static void prepare(void)
{
    uint64_t random = 88172645463325252u;
    char head[96];
    int head_len = snprintf(head, sizeof head, "*3\r\n$7\r\nmessage\r\n$%d\r\n" NAME_FORMAT "\r\n$%lu\r\n", NAME_LEN, 0ul, payload);
    message_len = (unsigned long)head_len + payload + 2;
    stream_messages = channels == 1 ? (1 << 20) / message_len + 1 : 400000;
    for (int resp3 = 0; resp3 < 2; resp3++) {
        stream[resp3] = malloc(message_len * stream_messages + 1);
        if (!stream[resp3]) die("no memory for the messages");
    }
    for (unsigned long i = 0; i < stream_messages; i++) {
        char *at = stream[0] + i * message_len;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        snprintf(at, sizeof head, "*3\r\n$7\r\nmessage\r\n$%d\r\n" NAME_FORMAT "\r\n$%lu\r\n", NAME_LEN,
                 (unsigned long)(random % channels), payload);
        for (unsigned long k = 0; k < payload; k++) at[(unsigned long)head_len + k] = (char)('a' + (i + k) % 26);
        memcpy(at + message_len - 2, "\r\n", 2);
        memcpy(stream[1] + i * message_len, at, message_len);
        stream[1][i * message_len] = '>';
    }
}

static void blast(const peer *p)
{
    const char *bytes = stream[p->resp3];
    unsigned long long sent = 0, total = (unsigned long long)messages * message_len;
    unsigned long long round = (unsigned long long)stream_messages * message_len;
    unsigned long long step = batch ? (unsigned long long)batch * message_len : WRITE;
    int64_t began = wall_ns(), due = began;
    while (sent < total) {
        unsigned long long from = sent % round, n = round - from < step ? round - from : step;
        if (n > total - sent) n = total - sent;
        write_all(p->fd, bytes + from, n);
        sent += n;
        /* A pace is kept by looking at the clock all the time: a sleep would come late by more than the pace is long. */
        for (due += (int64_t)period_us * 1000; period_us && wall_ns() < due;) continue;
    }
    printf("{\"messages\": %lu, \"lengths\": %lu, \"bytes\": %llu, \"wall_ns\": %lld}\n", messages, messages * (NAME_LEN + payload),
           sent, (long long)(wall_ns() - began));
    fflush(stdout);
}

static void on_name(const peer *p, const char *name, size_t len, int subscribed)
{
    (void)p, (void)name, (void)len, (void)subscribed; /* messages go on all names that the client was told to subscribe */
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    char line[16];
    int option, listener, heard;
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt(argc, argv, "n:s:c:u:b:t:")) != -1) {
        switch (option) {
        case 'n': messages = number(optarg); break;
        case 's': payload = number(optarg); break;
        case 'c': channels = number(optarg); break;
        case 'u': path = optarg; break;
        case 'b': batch = number(optarg); break;
        case 't': period_us = number(optarg); break;
        default: die("usage: blaster -n MESSAGES -s PAYLOAD [-c CHANNELS] [-u PATH] [-b BATCH -t MICROSECONDS]");
        }
    }
    prepare();
    listener = listen_on(path);
    while ((heard = serve(listener, -1, line, sizeof line)) >= 0) {
        if (!heard) continue;
        if (!subscriber()) die("nobody is subscribed");
        blast(subscriber());
    }
    return 0;
}
