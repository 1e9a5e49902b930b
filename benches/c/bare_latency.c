/* The floor of latency: a bare loop that finds the messages by their fixed length.
 *
 *     bare_latency ADDRESS NAMES */
#include "latency.h"

int main(int argc, char **argv)
{
    static char in[1 << 16], command[64 * HOT];
    if (argc < 3) die("usage: bare_latency ADDRESS NAMES");
    unsigned long names = number(argv[2]);
    size_t len = 0, wait = 0, held = 0, each;
    int fd = dial(argv[1]);
    pthread_t obey;

    len += (size_t)sprintf(command, "*%d\r\n$9\r\nSUBSCRIBE\r\n", HOT + 1);
    for (unsigned long k = 0; k < HOT; k++) {
        len += (size_t)sprintf(command + len, "$%d\r\n" NAME_FORMAT "\r\n", NAME_LEN, hot_name(k, names));
        wait += (size_t)sprintf(in, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n" NAME_FORMAT "\r\n:%lu\r\n", NAME_LEN, k, k + 1);
    }
    each = (size_t)sprintf(in, "*3\r\n$7\r\nmessage\r\n$%d\r\n" NAME_FORMAT "\r\n$%d\r\n", NAME_LEN, 0ul, STAMPED) + STAMPED + 2;
    write_all(fd, command, len);
    while (wait) wait -= read_some(fd, in, wait < sizeof in ? wait : sizeof in);
    if (pthread_create(&obey, NULL, latency_obey, NULL)) die("no thread");
    ready();
    for (;;) {
        size_t at = 0;
        held += read_some(fd, in + held, sizeof in - held);
        pthread_mutex_lock(&latencies.lock);
        for (int64_t now = wall_ns(); held - at >= each; at += each) latency_add(in + at + each - STAMPED - 2, now);
        pthread_mutex_unlock(&latencies.lock);
        memmove(in, in + at, held -= at);
    }
}
