/* So many bare subscribers, each a connection of its own, that read whatever comes until stdin closes and nothing has come
 * for a second, since the server may still be writing to them; then tells how many bytes came.
 *
 *     crowd ADDRESS COUNT */
#define _GNU_SOURCE
#include "bench.h"
#include <fcntl.h>
#include <sys/epoll.h>

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: crowd ADDRESS COUNT");
    unsigned long count = number(argv[2]);
    unsigned long long bytes = 0;
    char command[128], in[65536];
    struct epoll_event events[256], event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);

    size_t len = (size_t)sprintf(command, "*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n" NAME_FORMAT "\r\n", NAME_LEN, 0ul);
    for (unsigned long i = 0; i < count; i++) {
        size_t wait = (size_t)sprintf(in, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n" NAME_FORMAT "\r\n:1\r\n", NAME_LEN, 0ul);
        event.data.fd = dial(argv[1]);
        write_all(event.data.fd, command, len);
        while (wait) wait -= read_some(event.data.fd, in, wait);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event)) die("epoll: %s", strerror(errno));
    }
    event.data.fd = STDIN_FILENO;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event)) die("epoll: %s", strerror(errno));
    ready();
    int n, quiet = -1;
    while ((n = epoll_wait(epoll, events, 256, quiet)) != 0) {
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd != STDIN_FILENO) {
                bytes += read_some(events[i].data.fd, in, sizeof in);
            } else if (epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL)) {
                die("epoll: %s", strerror(errno));
            } else {
                quiet = 1000;
            }
        }
    }
    printf("{\"bytes\": %llu}\n", bytes);
    return 0;
}
