/* Publishes at a steady rate, each message with the time at which it was given to the kernel, until stdin closes. It does not
 * ask for answers, and sleeps between what is due every 100 us: it may share a CPU with who is measured.
 *
 *     stamped_publisher ADDRESS RATE NAMES */
#include "latency.h"
#include <poll.h>

enum { MOST_AT_ONCE = 2048 };

int main(int argc, char **argv)
{
    static const char silent[] = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n";
    static char out[MOST_AT_ONCE * 160];
    if (argc < 4) die("usage: stamped_publisher ADDRESS RATE NAMES");
    double rate = (double)number(argv[2]);
    unsigned long names = number(argv[3]), sent = 0;
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    struct timespec due;
    int64_t began = wall_ns();
    int fd = dial(argv[1]);

    write_all(fd, silent, sizeof silent - 1);
    ready();
    clock_gettime(CLOCK_MONOTONIC, &due);
    while (!poll(&in, 1, 0)) {
        unsigned long wanted = (unsigned long)((double)(wall_ns() - began) / 1e9 * rate), n;
        size_t len = 0;
        /* What could not be sent in time is left out: a burst after a wait would not be the rate that was asked for. */
        if (wanted - sent > MOST_AT_ONCE) sent = wanted - MOST_AT_ONCE / 4;
        n = wanted - sent;
        for (unsigned long i = 0; i < n; i++, sent++) {
            int64_t now = i % 32 ? 0 : wall_ns();
            static int64_t stamp;
            if (now) stamp = now;
            len += (size_t)sprintf(out + len, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n" NAME_FORMAT "\r\n$%d\r\n", NAME_LEN,
                                   hot_name(sent * 7919 % HOT, names), STAMPED);
            memset(out + len, 'x', STAMPED);
            memcpy(out + len, &stamp, sizeof stamp);
            memcpy(out + len + STAMPED, "\r\n", 2);
            len += STAMPED + 2;
        }
        write_all(fd, out, len);
        for (due.tv_nsec += 100000; due.tv_nsec >= 1000000000; due.tv_sec++) due.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
    return 0;
}
