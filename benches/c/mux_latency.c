/* redmux' latency from publish to callback.
 *
 *     mux_latency ADDRESS NAMES
 *
 * When the connection is lost it counts anew, and reports by itself when all names are active again. */
#include "mux.h"

#include "latency.h"

static int64_t lost_at;

static int32_t on_block(void *user, const redmux_block *block)
{
    int64_t now = wall_ns();
    const char *data = (const char *)block->data;
    (void)user;
    pthread_mutex_lock(&latencies.lock);
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind == REDMUX_KIND_MESSAGE) {
            latency_add(data + r->data_off, now);
        } else if (r->kind == REDMUX_KIND_LOST) {
            if (lost_at) die("lost a second time before all names were active");
            latency_reset();
            lost_at = now;
        } else if (r->kind == REDMUX_KIND_ACTIVE && !(r->flags & REDMUX_FLAG_NAME) && lost_at) {
            latency_report(now - lost_at);
            lost_at = 0;
        } else if (r->kind == REDMUX_KIND_DROPPED) {
            mux_other(r);
        }
    }
    pthread_mutex_unlock(&latencies.lock);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: mux_latency ADDRESS NAMES");
    redmux_client client = mux_open(argv[1]);
    redmux_inbox inbox;
    redmux_subscription subscription;
    redmux_error *error = NULL;
    must("inbox", redmux_inbox_new_callback(client, (redmux_options){0}, on_block, NULL, NULL, &inbox, &error), error);
    must("subscription", redmux_subscription_new(client, inbox, 1, &subscription), NULL);
    mux_add(subscription, 0, number(argv[2]));
    ready();
    latency_obey(NULL);
}
