/* A wall clock that jumps, preloaded into a process: each look at it is two hours away from the one before, an hour behind the
 * true time and an hour ahead of it in turn. Other clocks run as they do. At the end REDMUX_CLOCK_LOOKS has how often it was
 * looked at. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static unsigned looks;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long status = syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += __atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) % 2 == 0 ? -3600 : 3600;
    return (int)status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec jumped;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &jumped);
    now->tv_sec = jumped.tv_sec;
    now->tv_usec = jumped.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec jumped;
    clock_gettime(CLOCK_REALTIME, &jumped);
    if (out != NULL)
        *out = jumped.tv_sec;
    return jumped.tv_sec;
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("REDMUX_CLOCK_LOOKS");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file != NULL) {
        fprintf(file, "%u\n", looks);
        fclose(file);
    }
}
