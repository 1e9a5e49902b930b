/* One message at a time: posted, and taken before the next one is.
 *
 *     trips ADDRESS COUNT
 *
 * The first tenth is not counted: connections are made, and elsewhere code is compiled. */
#include "mux.h"

static redmux_inbox inbox;
static redmux_block block;

static void trip(redmux_client client, const char *name, unsigned long count)
{
    const uint8_t *channel = (const uint8_t *)name;
    for (unsigned long i = 0; i < count; i++) {
        uint8_t number[8];
        int came = 0;
        memcpy(number, &i, sizeof number);
        must("post", redmux_client_post(client, channel, NAME_LEN, number, sizeof number), NULL);
        while (!came) {
            must("take", redmux_inbox_take(inbox, 30000, &block), NULL);
            for (size_t k = 0; k < block.count; k++) {
                const redmux_record *r = &block.records[k];
                if (r->kind != REDMUX_KIND_MESSAGE) {
                    mux_other(r);
                    continue;
                }
                if (r->data_len != sizeof number || memcmp(block.data + r->data_off, number, sizeof number)) die("message %lu is another one", i);
                came = 1;
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: trips ADDRESS COUNT");
    unsigned long count = number(argv[2]);
    redmux_client client = mux_open(argv[1]);
    redmux_subscription subscription;
    redmux_error *error = NULL;
    moment first, last;
    char name[NAME_LEN + 8];

    snprintf(name, sizeof name, NAME_FORMAT, 0ul);
    must("inbox", redmux_inbox_new(client, (redmux_options){0}, &inbox, &error), error);
    must("subscription", redmux_subscription_new(client, inbox, 1, &subscription), NULL);
    mux_add(subscription, 0, 1);
    trip(client, name, count / 10);
    first = moment_now();
    trip(client, name, count);
    last = moment_now();
    redmux_block_release(&block);
    printf("{\"messages\": %lu, \"wall_ns\": %lld, \"cpu_ns\": %lld}\n", count, (long long)(last.wall - first.wall),
           (long long)(last.cpu - first.cpu));
    redmux_client_close(client, 5000);
    return 0;
}
