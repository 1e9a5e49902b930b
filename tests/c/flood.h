/* A process of its own that publishes as fast as the server takes it, pipelined over the server's unix socket. */
#ifndef REDMUX_FLOOD_H
#define REDMUX_FLOOD_H

#include "check.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

/* What one PUBLISH of the flood costs on the wire: 16 bytes on the channel "flood". */
#define FLOOD_COMMAND "*3\r\n$7\r\nPUBLISH\r\n$5\r\nflood\r\n$16\r\n0123456789abcdef\r\n"

static inline void flood(const char *path, long count)
{
    enum { BATCH = 500, SIZE = sizeof FLOOD_COMMAND - 1 };
    static char out[BATCH * SIZE], in[65536];
    struct sockaddr_un to;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memset(&to, 0, sizeof to);
    to.sun_family = AF_UNIX;
    snprintf(to.sun_path, sizeof to.sun_path, "%.107s", path);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "the server is there");
    for (int i = 0; i < BATCH; i++)
        memcpy(out + i * SIZE, FLOOD_COMMAND, SIZE);
    for (long sent = 0; count == 0 || sent < count; sent += BATCH) {
        long answers = 0;
        for (size_t at = 0; at < sizeof out;) {
            ssize_t wrote = write(fd, out + at, sizeof out - at);
            CHECK(wrote > 0, "the server takes it");
            at += (size_t)wrote;
        }
        while (answers < BATCH) {
            ssize_t got = read(fd, in, sizeof in);
            CHECK(got > 0, "the server answers");
            for (ssize_t i = 0; i < got; i++)
                answers += in[i] == '\n';
        }
    }
    close(fd);
}

/* Publishes so many messages (a multiple of 500) on "flood"; 0: until flood_end, for ten minutes at the most. */
static inline pid_t flood_start(const char *path, long count)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "there is a process");
    if (pid == 0) {
        alarm(600);
        flood(path, count);
        _exit(0);
    }
    return pid;
}

/* Waits for a flood of a certain length. */
static inline void flood_await(pid_t pid)
{
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "everything was published");
}

/* Ends one that goes on. */
static inline void flood_end(pid_t pid)
{
    int status = 0;
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid, "the flood ends");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "and not before");
}

#endif
