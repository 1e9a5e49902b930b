/* A server that publishes itself, at a steady rate on names that are subscribed at that moment, and subscribes as fast as it
 * can meanwhile. So latency is the client's alone, also while it subscribes a million names.
 *
 *     pacer RATE NAMES
 *
 * Begins with the line "go" in its stdin; "kill" closes the connection; it ends with its stdin. */
#include "server.h"

#include "latency.h"

enum { MOST_AT_ONCE = 4096, MOST_NAMES = 1 << 20, MESSAGE = 160 };

static char subscribed_now[MOST_NAMES];
static char message[HOT][MESSAGE], out[MOST_AT_ONCE * MESSAGE];
static size_t message_len, head_len;

static void on_name(const peer *p, const char *name, size_t len, int subscribed)
{
    unsigned long n = 0;
    (void)p;
    for (size_t i = 6; i < len; i++) n = n * 10 + (unsigned long)(name[i] - '0');
    if (n < MOST_NAMES) subscribed_now[n] = (char)subscribed;
}

/* What is due, as far as its names are subscribed. */
static void publish(peer *p, unsigned long names, unsigned long *sent, unsigned long wanted)
{
    size_t len = 0;
    int64_t stamp = wall_ns();
    if (wanted - *sent > MOST_AT_ONCE) *sent = wanted - MOST_AT_ONCE; /* as stamped_publisher: no burst after a wait */
    for (; *sent < wanted; ++*sent) {
        unsigned long k = *sent * 7919 % HOT;
        if (!subscribed_now[hot_name(k, names)]) continue;
        memcpy(out + len, message[k], message_len);
        out[len] = p->resp3 ? '>' : '*';
        memcpy(out + len + head_len, &stamp, sizeof stamp);
        len += message_len;
    }
    if (len) say(p, out, len);
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: pacer RATE NAMES");
    double rate = (double)number(argv[1]);
    unsigned long names = number(argv[2]), sent = 0;
    int64_t began = 0, looked = 0;
    char line[16];
    int listener, heard;

    signal(SIGPIPE, SIG_IGN);
    for (unsigned long k = 0; k < HOT; k++) {
        head_len = (size_t)sprintf(message[k], "*3\r\n$7\r\nmessage\r\n$%d\r\n" NAME_FORMAT "\r\n$%d\r\n", NAME_LEN,
                                   hot_name(k, names), STAMPED);
        memset(message[k] + head_len, 'x', STAMPED);
        memcpy(message[k] + head_len + STAMPED, "\r\n", 2);
        message_len = head_len + STAMPED + 2;
    }
    listener = listen_on(NULL);
    for (;;) {
        int64_t now = wall_ns();
        peer *p = began ? subscriber() : NULL;
        /* Writes every 50 us; listens between, and as long as it likes while nobody is to be written to. */
        if (p && now - looked > 50000) {
            publish(p, names, &sent, (unsigned long)((double)(now - began) / 1e9 * rate));
            looked = now;
        }
        heard = serve(listener, p ? 0 : 10, line, sizeof line);
        if (heard < 0) return 0;
        if (!heard) continue;
        if (line[0] == 'k' && (p = subscriber())) {
            memset(subscribed_now, 0, sizeof subscribed_now);
            shutdown(p->fd, SHUT_RDWR); /* its end is read like any other */
        } else {
            began = wall_ns();
        }
    }
}
