/* What a server of the benches is made of: a handful of connections, the commands that come on them, and the answers that a
 * Redis would give to a client that only subscribes. */
#ifndef SERVER_H
#define SERVER_H
#define _GNU_SOURCE
#include "bench.h"
#include <poll.h>
#include <signal.h>
#include <strings.h>

enum { PEERS = 16, WORDS = 8192 };

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

static peer peers[PEERS];

/* Told of each name that is subscribed or let go; a server that wants to know defines it. */
static void on_name(const peer *p, const char *name, size_t len, int subscribed);

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

/* A number in digits. Not printf's: a million acknowledgements shall not be the server's work. */
static size_t digits(char *at, unsigned long n)
{
    char reversed[24];
    size_t len = 0;
    do reversed[len++] = (char)('0' + n % 10);
    while (n /= 10);
    for (size_t i = 0; i < len; i++) at[i] = reversed[len - 1 - i];
    return len;
}

static size_t text(char *at, const char *from, size_t len)
{
    memcpy(at, from, len);
    return len;
}

static size_t acknowledgement(char *at, const peer *p, const word *name, int subscribe)
{
    char *from = at;
    *at++ = p->resp3 ? '>' : '*';
    at += subscribe ? text(at, "3\r\n$9\r\nsubscribe\r\n$", 19) : text(at, "3\r\n$11\r\nunsubscribe\r\n$", 22);
    at += digits(at, name->len);
    at += text(at, "\r\n", 2);
    at += text(at, name->at, name->len);
    at += text(at, "\r\n:", 3);
    at += digits(at, p->subscribed);
    at += text(at, "\r\n", 2);
    return (size_t)(at - from);
}

static void answer(peer *p, const word *words, size_t count)
{
    static char out[1 << 20];
    size_t len = 0;
    if (is(words, "HELLO")) {
        p->resp3 = count > 1 && is(words + 1, "3");
        len = (size_t)sprintf(out, "%s\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:%d\r\n"
                              "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
                              p->resp3 ? "%7" : "*14", p->resp3 ? 3 : 2);
    } else if (is(words, "SUBSCRIBE") || is(words, "UNSUBSCRIBE")) {
        int subscribe = is(words, "SUBSCRIBE");
        for (size_t i = 1; i < count; i++) {
            if (len + words[i].len + 96 > sizeof out) say(p, out, len), len = 0;
            p->subscribed += subscribe ? 1ul : -1ul;
            on_name(p, words[i].at, words[i].len, subscribe);
            len += acknowledgement(out + len, p, words + i, subscribe);
        }
    } else if (is(words, "INFO")) { /* who asks wants to know whether it may write here */
        len = (size_t)sprintf(out, "$26\r\n# Replication\r\nrole:master\r\n");
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

static int listen_on(const char *path)
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
    for (int i = 0; i < PEERS; i++) peers[i].fd = -1;
    return fd;
}

/* Serves until something happens or timeout_ms is over: a line on stdin gives 1, its end -1, nothing 0. Then the line is in
 * `line`. A connection that goes is forgotten. */
static int serve(int listener_fd, int timeout_ms, char *line, size_t size)
{
    struct pollfd polled[PEERS + 2];
    int one = 1;
    polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = listener_fd, .events = POLLIN};
    for (int i = 0; i < PEERS; i++) polled[2 + i] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
    if (poll(polled, PEERS + 2, timeout_ms) < 0) die("poll: %s", strerror(errno));
    for (int i = 0; i < PEERS; i++) {
        if (!polled[2 + i].revents || hear(&peers[i])) continue;
        close(peers[i].fd);
        peers[i] = (peer){.fd = -1, .in = peers[i].in, .capacity = peers[i].capacity};
    }
    if (polled[1].revents) {
        int slot = 0;
        while (slot < PEERS && peers[slot].fd >= 0) slot++;
        if (slot == PEERS) die("more than %d connections", PEERS);
        peers[slot].fd = accept(listener_fd, NULL, NULL);
        setsockopt(peers[slot].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (polled[0].revents) {
        ssize_t n = read(STDIN_FILENO, line, size - 1);
        if (n <= 0) return -1;
        line[n] = 0;
        return 1;
    }
    return 0;
}

/* The connection with the most names; NULL if there is none with any. */
static peer *subscriber(void)
{
    peer *most = NULL;
    for (int i = 0; i < PEERS; i++)
        if (peers[i].fd >= 0 && peers[i].subscribed && (!most || peers[i].subscribed > most->subscribed)) most = &peers[i];
    return most;
}
#endif
