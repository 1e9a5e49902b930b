/* What the server itself needs: a bare client sends SUBSCRIBE with 512 names a command, all it can at once, and counts the
 * acknowledgements. Its commands are ready beforehand; it begins with the line "go" in its stdin.
 *
 *     bare_names ADDRESS COUNT [FIRST] */
#define _GNU_SOURCE
#include "bench.h"
#include <fcntl.h>
#include <poll.h>

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: bare_names ADDRESS COUNT [FIRST]");
    unsigned long count = number(argv[2]), from = argc > 3 ? number(argv[3]) : 0;
    char go[8], *out = malloc(count * (NAME_LEN + 8) + count / 512 * 32 + 64), in[65536];
    size_t len = 0, sent = 0;
    unsigned long long wait = 0;
    int fd = dial(argv[1]);
    moment first, last;

    if (!out) die("no memory");
    for (unsigned long i = 0; i < count; i++) {
        if (i % 512 == 0) len += (size_t)sprintf(out + len, "*%lu\r\n$9\r\nSUBSCRIBE\r\n", 1 + (count - i < 512 ? count - i : 512));
        len += (size_t)sprintf(out + len, "$%d\r\n" NAME_FORMAT "\r\n", NAME_LEN, from + i);
        wait += (unsigned)snprintf(NULL, 0, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n" NAME_FORMAT "\r\n:%lu\r\n", NAME_LEN, from + i, i + 1);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    ready();
    if (read(STDIN_FILENO, go, sizeof go) <= 0) return 1;
    first = moment_now();
    while (wait) {
        struct pollfd p = {.fd = fd, .events = POLLIN | (sent < len ? POLLOUT : 0)};
        if (poll(&p, 1, -1) < 0) die("poll: %s", strerror(errno));
        if (p.revents & POLLOUT) {
            ssize_t n = write(fd, out + sent, len - sent < 65536 ? len - sent : 65536);
            if (n > 0) sent += (size_t)n;
        }
        if (p.revents & (POLLIN | POLLHUP)) {
            ssize_t n = read(fd, in, sizeof in);
            if (n == 0 || (n < 0 && errno != EAGAIN)) die("the server closed the connection");
            if (n > 0 && (unsigned long long)n > wait) die("more came than acknowledgements");
            if (n > 0) wait -= (unsigned long long)n;
        }
    }
    last = moment_now();
    printf("{\"wall_ns\": %lld, \"cpu_ns\": %lld}\n", (long long)(last.wall - first.wall), (long long)(last.cpu - first.cpu));
    return 0;
}
