/* A server that has its messages ready before anybody asks: it answers a handshake and SUBSCRIBE like Redis, and on the
 * line "go" in its stdin writes messages to whoever subscribed last, as fast as they are read or at a steady pace. So the
 * figures are the client's alone, and no client waits for the server.
 *
 *     blaster -n MESSAGES -s PAYLOAD [-c CHANNELS] [-u PATH] [-b BATCH -t MICROSECONDS]
 *
 * It prints its port (or path) first, and what it sent at the end; it ends with its stdin. */
#define _GNU_SOURCE
#include "bench.h"
#include <poll.h>
#include <signal.h>
#include <strings.h>

enum { PEERS = 16, WRITE = 256 * 1024, WORDS = 8192 };

/* A connection: what it has sent and is not read yet, and which protocol it chose. */
typedef struct {
    int fd;
    int resp3;
    unsigned long subscribed;
    char *in;
    size_t len, capacity;
} peer;

typedef struct {
    const char *at;
    size_t len;
} word;

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

/* A client that has all its messages may leave before it is answered. */
static void say(const peer *p, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(p->fd, bytes, len);
        if (n < 0) return;
        bytes += n;
        len -= (size_t)n;
    }
}

static int is(const word *w, const char *text) { return w->len == strlen(text) && !strncasecmp(w->at, text, w->len); }

static void answer(peer *p, const word *words, size_t count)
{
    static char out[1 << 20];
    size_t len = 0;
    char push = p->resp3 ? '>' : '*';
    if (is(words, "HELLO")) {
        p->resp3 = count > 1 && is(words + 1, "3");
        len = (size_t)sprintf(out, "%s\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:%d\r\n"
                              "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
                              p->resp3 ? "%7" : "*14", p->resp3 ? 3 : 2);
    } else if (is(words, "SUBSCRIBE")) {
        for (size_t i = 1; i < count; i++) {
            if (len + words[i].len + 96 > sizeof out) say(p, out, len), len = 0;
            len += (size_t)sprintf(out + len, "%c3\r\n$9\r\nsubscribe\r\n$%zu\r\n%.*s\r\n:%lu\r\n", push, words[i].len, (int)words[i].len,
                                   words[i].at, ++p->subscribed);
        }
    } else if (is(words, "UNSUBSCRIBE")) {
        for (size_t i = 1; i < count; i++) {
            if (len + words[i].len + 96 > sizeof out) say(p, out, len), len = 0;
            len += (size_t)sprintf(out + len, "%c3\r\n$11\r\nunsubscribe\r\n$%zu\r\n%.*s\r\n:%lu\r\n", push, words[i].len, (int)words[i].len,
                                   words[i].at, --p->subscribed);
        }
    } else if (is(words, "PING") && p->subscribed && !p->resp3) {
        len = (size_t)sprintf(out, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    } else {
        len = (size_t)sprintf(out, "%s\r\n", is(words, "PING") ? "+PONG" : "+OK");
    }
    say(p, out, len);
}

/* Reads one command off what came; 0 if it is not all there yet. */
static size_t command(peer *p, const char *at, const char *end)
{
    static word words[WORDS];
    const char *from = at, *line = memchr(at, '\n', (size_t)(end - at));
    size_t count;
    if (!line) return 0;
    if (*at != '*') die("only arrays are commands, not \"%.*s\"", (int)(line - at), at);
    count = strtoul(at + 1, NULL, 10);
    if (count == 0 || count > WORDS) die("a command of %zu words", count);
    at = line + 1;
    for (size_t i = 0; i < count; i++) {
        line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!line) return 0;
        words[i].len = strtoul(at + 1, NULL, 10);
        words[i].at = line + 1;
        if ((size_t)(end - words[i].at) < words[i].len + 2) return 0;
        at = words[i].at + words[i].len + 2;
    }
    answer(p, words, count);
    return (size_t)(at - from);
}

/* What a peer has to say; 0 when it has gone. */
static int hear(peer *p)
{
    size_t used = 0, n;
    ssize_t got;
    if (p->len == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 1 << 16;
        if (!(p->in = realloc(p->in, p->capacity))) die("no memory for a command");
    }
    got = read(p->fd, p->in + p->len, p->capacity - p->len);
    if (got <= 0) return 0;
    p->len += (size_t)got;
    while (used < p->len && (n = command(p, p->in + used, p->in + p->len))) used += n;
    memmove(p->in, p->in + used, p->len -= used);
    return 1;
}

static int listener(const char *path)
{
    int fd, one = 1;
    if (path) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof a.sun_path) die("the path %s is too long", path);
        strcpy(a.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, PEERS)) die("listen: %s", strerror(errno));
        printf("%s\n", path);
    } else {
        struct sockaddr_in a = {.sin_family = AF_INET};
        socklen_t len = sizeof a;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, PEERS)) die("listen: %s", strerror(errno));
        if (getsockname(fd, (struct sockaddr *)&a, &len)) die("getsockname: %s", strerror(errno));
        printf("%d\n", ntohs(a.sin_port));
    }
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static peer peers[PEERS];
    struct pollfd polled[PEERS + 2];
    peer *subscriber = NULL;
    const char *path = NULL;
    char line[8];
    int option, from, one = 1;
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
    from = listener(path);
    for (int i = 0; i < PEERS; i++) peers[i].fd = -1;
    for (;;) {
        polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = from, .events = POLLIN};
        for (int i = 0; i < PEERS; i++) polled[2 + i] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
        if (poll(polled, PEERS + 2, -1) < 0) die("poll: %s", strerror(errno));
        for (int i = 0; i < PEERS; i++) {
            if (!polled[2 + i].revents) continue;
            if (hear(&peers[i])) {
                if (peers[i].subscribed) subscriber = &peers[i];
            } else {
                close(peers[i].fd);
                if (subscriber == &peers[i]) subscriber = NULL;
                peers[i] = (peer){.fd = -1, .in = peers[i].in, .capacity = peers[i].capacity};
            }
        }
        if (polled[1].revents) {
            int free_slot = 0;
            while (free_slot < PEERS && peers[free_slot].fd >= 0) free_slot++;
            if (free_slot == PEERS) die("more than %d connections", PEERS);
            peers[free_slot].fd = accept(from, NULL, NULL);
            if (!path) setsockopt(peers[free_slot].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        if (polled[0].revents) {
            if (read(STDIN_FILENO, line, sizeof line) <= 0) return 0;
            if (!subscriber) die("nobody is subscribed");
            blast(subscriber);
        }
    }
}
