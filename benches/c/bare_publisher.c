/* The cheapest publisher: commands that are ready beforehand, so many in one write, and their answers counted.
 *
 *     bare_publisher ADDRESS MESSAGES PAYLOAD AT_ONCE [IN_FLIGHT]
 *
 * IN_FLIGHT: how many writes may be unanswered (1: each waits for its answers). Begins with the line "go" in its stdin. */
#include "bench.h"

int main(int argc, char **argv)
{
    if (argc < 5) die("usage: bare_publisher ADDRESS MESSAGES PAYLOAD AT_ONCE [IN_FLIGHT]");
    unsigned long messages = number(argv[2]), payload = number(argv[3]), at_once = number(argv[4]);
    unsigned long in_flight = argc > 5 ? number(argv[5]) : 1, sent = 0, answered = 0, receivers = 0;
    char head[128], go[8], *commands, in[65536];
    int fd = dial(argv[1]), in_answer = 0;
    unsigned long value = 0;
    size_t head_len, each;
    moment first, last;

    head_len = (size_t)sprintf(head, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n" NAME_FORMAT "\r\n$%lu\r\n", NAME_LEN, 0ul, payload);
    each = head_len + payload + 2;
    if (!(commands = malloc(each * at_once))) die("no memory");
    for (unsigned long i = 0; i < at_once; i++) {
        memcpy(commands + i * each, head, head_len);
        memset(commands + i * each + head_len, 'x', payload);
        memcpy(commands + (i + 1) * each - 2, "\r\n", 2);
    }
    ready();
    if (read(STDIN_FILENO, go, sizeof go) <= 0) return 1;
    first = moment_now();
    while (answered < messages) {
        while (sent < messages && sent - answered <= (in_flight - 1) * at_once) {
            unsigned long n = messages - sent < at_once ? messages - sent : at_once;
            write_all(fd, commands, n * each);
            sent += n;
        }
        for (size_t n = read_some(fd, in, sizeof in), i = 0; i < n; i++) {
            if (in[i] == '-') die("the server said %.*s", (int)(n - i), in + i);
            if (in[i] == ':') value = 0, in_answer = 1;
            else if (in[i] >= '0' && in[i] <= '9') value = value * 10 + (unsigned long)(in[i] - '0');
            else if (in[i] == '\n' && in_answer) receivers += value, answered++, in_answer = 0;
        }
    }
    last = moment_now();
    printf("{\"messages\": %lu, \"receivers\": %lu, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", answered, receivers,
           (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
    return 0;
}
