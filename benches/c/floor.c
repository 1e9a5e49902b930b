/* The floor: subscribes, and then only reads and counts bytes. No client can be cheaper.
 *
 *     floor ADDRESS MESSAGES PAYLOAD [READ_SIZE] */
#include "bench.h"

int main(int argc, char **argv)
{
    if (argc < 4) die("usage: floor ADDRESS MESSAGES PAYLOAD [READ_SIZE]");
    unsigned long messages = number(argv[2]), payload = number(argv[3]), size = argc > 4 ? number(argv[4]) : 65536;
    char head[128], command[128], acknowledged[128], *buffer = malloc(size);
    int fd = dial(argv[1]);
    unsigned long long total, got = 0;
    size_t wait;
    moment first = {0}, last;

    if (!buffer) die("no memory");
    memset(buffer, 0, size);
    write_all(fd, command, (size_t)sprintf(command, "*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n" NAME_FORMAT "\r\n", NAME_LEN, 0ul));
    wait = (size_t)sprintf(acknowledged, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n" NAME_FORMAT "\r\n:1\r\n", NAME_LEN, 0ul);
    while (wait) wait -= read_some(fd, buffer, wait < size ? wait : size);
    total = (unsigned long long)sprintf(head, "*3\r\n$7\r\nmessage\r\n$%d\r\n" NAME_FORMAT "\r\n$%lu\r\n", NAME_LEN, 0ul, payload);
    total = (total + payload + 2) * messages;
    ready();
    while (got < total) {
        size_t n = read_some(fd, buffer, size);
        if (!got) first = moment_now();
        got += n;
    }
    last = moment_now();
    if (got != total) die("%llu bytes came instead of %llu", got, total);
    report(messages, messages * (NAME_LEN + payload), first, last);
    return 0;
}
