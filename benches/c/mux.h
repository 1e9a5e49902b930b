/* What the programs of redmux share: an opened client, its names, and what counts as an error. */
#ifndef MUX_H
#define MUX_H
#include "bench.h"
#include <redmux.h>

#define NAMES_A_CALL 10000

__attribute__((unused)) static void must(const char *what, int32_t status, redmux_error *error)
{
    if (status != REDMUX_OK) die("%s: %s: %s", what, redmux_status_name(status), redmux_error_message(error));
}

/* inbox_policy=pause: nothing may be dropped. REDMUX_BENCH_OPTIONS adds options, to try what they do: "inbox_bytes=1MiB". */
__attribute__((unused)) static redmux_client mux_open(const char *address)
{
    const char *more = getenv("REDMUX_BENCH_OPTIONS");
    char url[512];
    redmux_client client;
    redmux_error *error = NULL;
    int n = snprintf(url, sizeof url, address[0] == '/' ? "redis+unix://%s?%s%s%s" : "redis://127.0.0.1:%s?%s%s%s", address,
                     "inbox_policy=pause&timeout=120s", more && *more ? "&" : "", more ? more : "");
    if (n < 0 || (size_t)n >= sizeof url) die("the URL is too long");
    must("open", redmux_client_open(url, &client, &error), error);
    must("ready", redmux_client_ready_wait(client, 0, &error), error);
    return client;
}

/* Adds the names from..from+count, 10,000 a call, and waits until the last is active. */
__attribute__((unused)) static void mux_add(redmux_subscription subscription, unsigned long from, unsigned long count)
{
    static char text[NAMES_A_CALL][NAME_LEN + 8];
    static redmux_bytes names[NAMES_A_CALL];
    redmux_error *error = NULL;
    while (count) {
        unsigned long n = count < NAMES_A_CALL ? count : NAMES_A_CALL;
        for (unsigned long i = 0; i < n; i++) {
            snprintf(text[i], sizeof text[i], NAME_FORMAT, from + i);
            names[i] = (redmux_bytes){(const uint8_t *)text[i], NAME_LEN};
        }
        must("add", redmux_subscription_add_wait(subscription, names, n, 0, &error), error);
        from += n;
        count -= n;
    }
}

/* A record that is no message: a hole makes the figure worthless. */
__attribute__((unused)) static void mux_other(const redmux_record *r)
{
    if (r->kind == REDMUX_KIND_DROPPED) die("%llu messages were dropped", (unsigned long long)r->number);
    if (r->kind == REDMUX_KIND_LOST) die("the connection was lost");
    if (r->kind == REDMUX_KIND_CLOSED) die("the subscription was closed: %s", redmux_status_name(r->status));
}
#endif
