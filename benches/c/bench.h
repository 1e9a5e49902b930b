/* What every program here needs: the clock, the CPU time of this process, a socket, and the line that it ends with.
 *
 * A program prints "ready" when it is subscribed, is then sent its messages, and prints one JSON object at the end. A
 * figure that could be wrong is never printed: whatever is not as it should be ends the program with a sentence. */
#ifndef BENCH_H
#define BENCH_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Names have 16 bytes, as in the bound on memory per name. */
#define NAME_LEN 16
#define NAME_FORMAT "bench:%010lu"

__attribute__((format(printf, 1, 2), noreturn, unused)) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* When it is, and what this process has used of its CPUs until now (all threads, user and system). */
typedef struct {
    int64_t wall;
    int64_t cpu;
} moment;

static inline int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline moment moment_now(void)
{
    struct rusage r;
    moment m;
    getrusage(RUSAGE_SELF, &r);
    m.wall = wall_ns();
    m.cpu = ((int64_t)r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000 +
            ((int64_t)r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
    return m;
}

__attribute__((unused)) static long resident_bytes(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2) die("cannot read /proc/self/statm");
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

__attribute__((unused)) static unsigned long number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end) die("\"%s\" is not a number", text);
    return n;
}

/* "/path" is a unix socket, anything else a port of this machine. */
__attribute__((unused)) static int dial(const char *address)
{
    int fd, one = 1;
    if (address[0] == '/') {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        if (strlen(address) >= sizeof a.sun_path) die("the path %s is too long", address);
        strcpy(a.sun_path, address);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("connect %s: %s", address, strerror(errno));
    } else {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number(address))};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("connect %s: %s", address, strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    return fd;
}

__attribute__((unused)) static void write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("write: %s", strerror(errno));
        bytes += n;
        len -= (size_t)n;
    }
}

__attribute__((unused)) static size_t read_some(int fd, char *bytes, size_t len)
{
    ssize_t n;
    do n = read(fd, bytes, len);
    while (n < 0 && errno == EINTR);
    if (n < 0) die("read: %s", strerror(errno));
    if (n == 0) die("the server closed the connection");
    return (size_t)n;
}

__attribute__((unused)) static void ready(void)
{
    puts("ready");
    fflush(stdout);
}

/* The line of a program that received `messages`, of which names and payloads have `lengths` bytes together. */
__attribute__((unused)) static void report(unsigned long messages, unsigned long lengths, moment first, moment last)
{
    printf("{\"messages\": %lu, \"lengths\": %lu, \"cpu_ns\": %lld, \"wall_ns\": %lld, \"rss\": %ld}\n", messages, lengths,
           (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall), resident_bytes());
    fflush(stdout);
}
#endif
