/* Latencies of messages that carry the time of their publishing: the first 8 bytes of the payload. Publisher and subscriber
 * share a machine, and so the clock. */
#ifndef LATENCY_H
#define LATENCY_H
#include "bench.h"
#include <pthread.h>

enum { HOT = 1000, STAMPED = 64, FINE = 64, BUCKETS = 40 * FINE };

/* Each doubling has 64 buckets, so a figure is right to 2 %. */
static struct {
    pthread_mutex_t lock;
    uint64_t count[BUCKETS], messages;
    int64_t most;
} latencies = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The hot names stand among the others in even steps. */
static inline unsigned long hot_name(unsigned long k, unsigned long names) { return k * (names / HOT); }

/* Under the lock. */
static inline void latency_add(const char *payload, int64_t now)
{
    int64_t stamp, ns;
    int octave;
    memcpy(&stamp, payload, sizeof stamp);
    ns = now - stamp < FINE ? FINE : now - stamp;
    octave = 63 - __builtin_clzll((unsigned long long)ns);
    latencies.count[(octave - 6) * FINE + (int)((ns >> (octave - 6)) - FINE)]++;
    latencies.messages++;
    if (ns > latencies.most) latencies.most = ns;
}

/* Under the lock. */
static inline void latency_reset(void)
{
    memset(latencies.count, 0, sizeof latencies.count);
    latencies.messages = 0;
    latencies.most = 0;
}

static double latency_at(double share)
{
    uint64_t wanted = (uint64_t)((double)latencies.messages * share), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += latencies.count[i];
        if (seen > wanted) return (double)((uint64_t)(FINE + i % FINE) << (i / FINE));
    }
    return (double)latencies.most;
}

/* Under the lock. */
static inline void latency_report(int64_t wall)
{
    printf("{\"messages\": %llu, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f, \"most\": %lld, \"wall_ns\": %lld}\n",
           (unsigned long long)latencies.messages, latency_at(0.5), latency_at(0.99), latency_at(0.999), (long long)latencies.most,
           (long long)wall);
    fflush(stdout);
}

/* Obeys stdin until it closes: "mark" begins to count anew, "report" tells. */
__attribute__((unused)) static void *latency_obey(void *unused)
{
    char line[32];
    int64_t began = 0;
    (void)unused;
    while (fgets(line, sizeof line, stdin)) {
        pthread_mutex_lock(&latencies.lock);
        if (line[0] == 'm') {
            latency_reset();
            began = wall_ns();
        } else {
            latency_report(wall_ns() - began);
        }
        pthread_mutex_unlock(&latencies.lock);
    }
    exit(0);
}
#endif
