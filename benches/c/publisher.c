/* redmux as a publisher.
 *
 *     publisher ADDRESS MESSAGES PAYLOAD post AT_ONCE IN_FLIGHT [PERIOD_US]    posts so many at once (every PERIOD_US), of
 *                                                                              which so many may be unanswered
 *     publisher ADDRESS MESSAGES PAYLOAD publish IN_FLIGHT                     each completes with its receivers
 *
 * Begins with the line "go" in its stdin. */
#include "mux.h"

static redmux_client client;
static const uint8_t *name, *data;
static size_t data_len;

/* Takes records of one kind, at least one; adds up their numbers. */
static unsigned long take(redmux_inbox inbox, redmux_block *block, uint16_t kind, unsigned long *numbers)
{
    unsigned long found = 0;
    while (!found) {
        must("take", redmux_inbox_take(inbox, 30000, block), NULL);
        for (size_t i = 0; i < block->count; i++) {
            const redmux_record *r = &block->records[i];
            if (r->kind != kind) continue;
            must("completion", r->status, NULL);
            *numbers += r->number;
            found++;
        }
    }
    return found;
}

static void post(redmux_inbox inbox, unsigned long messages, unsigned long at_once, unsigned long in_flight, unsigned long period_us)
{
    redmux_block block = {0};
    unsigned long flushes = 0, lost = 0;
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (unsigned long sent = 0; sent < messages;) {
        unsigned long n = messages - sent < at_once ? messages - sent : at_once;
        for (unsigned long i = 0; i < n; i++) must("post", redmux_client_post(client, name, NAME_LEN, data, data_len), NULL);
        must("flush", redmux_client_flush(client, inbox, 1, 0), NULL);
        sent += n;
        for (flushes++; flushes >= in_flight || (flushes && sent == messages);)
            flushes -= take(inbox, &block, REDMUX_KIND_DONE, &lost);
        if (!period_us) continue;
        due.tv_nsec += (long)period_us * 1000;
        while (due.tv_nsec >= 1000000000) due.tv_nsec -= 1000000000, due.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
    redmux_block_release(&block);
    if (lost) die("%lu posts were lost", lost);
}

static unsigned long publish(redmux_inbox inbox, unsigned long messages, unsigned long in_flight)
{
    redmux_block block = {0};
    unsigned long sent = 0, ended = 0, receivers = 0;
    while (ended < messages) {
        for (; sent < messages && sent - ended < in_flight; sent++)
            must("publish", redmux_client_publish(client, name, NAME_LEN, data, data_len, inbox, sent, 0), NULL);
        ended += take(inbox, &block, REDMUX_KIND_PUBLISHED, &receivers);
    }
    redmux_block_release(&block);
    return receivers;
}

int main(int argc, char **argv)
{
    if (argc < 6) die("usage: publisher ADDRESS MESSAGES PAYLOAD post|publish AT_ONCE [IN_FLIGHT [PERIOD_US]]");
    unsigned long messages = number(argv[2]), payload = number(argv[3]), at_once = number(argv[5]), receivers = 0;
    char name_text[NAME_LEN + 16], go[8], *bytes = malloc(payload + 1);
    redmux_inbox inbox;
    redmux_error *error = NULL;
    moment first, last;

    if (!bytes) die("no memory");
    memset(bytes, 'x', payload);
    sprintf(name_text, NAME_FORMAT, 0ul);
    name = (const uint8_t *)name_text;
    data = (const uint8_t *)bytes;
    data_len = payload;
    client = mux_open(argv[1]);
    must("inbox", redmux_inbox_new(client, (redmux_options){0}, &inbox, &error), error);
    /* The publish link is made with the first message, which goes where nobody listens. */
    must("publish", redmux_client_publish_wait(client, (const uint8_t *)"nobody", 6, data, data_len, 0, NULL, &error), error);
    ready();
    if (read(STDIN_FILENO, go, sizeof go) <= 0) return 1;
    first = moment_now();
    if (!strcmp(argv[4], "post")) {
        post(inbox, messages, at_once, argc > 6 ? number(argv[6]) : 1, argc > 7 ? number(argv[7]) : 0);
    } else {
        receivers = publish(inbox, messages, at_once);
    }
    last = moment_now();
    printf("{\"messages\": %lu, \"receivers\": %lu, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", messages, receivers,
           (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
    redmux_client_close(client, 5000);
    return 0;
}
