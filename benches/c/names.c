/* redmux with many names: how long until they are active, what they cost in memory, and how long until they are active
 * again after the connection was killed.
 *
 *     names ADDRESS COUNT [AGAIN]       one line when all are active, then AGAIN lines, one a loss of the connection
 *     names ADDRESS COUNT empty         COUNT subscriptions without names: what they cost in memory
 *
 * Bytes are those of this process beyond what it had with one name, when it has come to rest. */
#include "mux.h"

static redmux_inbox inbox;
static redmux_block block;

/* The allocator gives memory back a little later than the work ends. */
static long at_rest(void)
{
    long least = resident_bytes();
    for (int quiet = 0; quiet < 10; quiet++) {
        struct timespec t = {.tv_nsec = 20000000};
        nanosleep(&t, NULL);
        long now = resident_bytes();
        if (now < least - 65536) quiet = 0;
        if (now < least) least = now;
    }
    return least;
}

/* The names of an application are there before the clock begins and the memory is looked at. */
static redmux_bytes *prepare(unsigned long from, unsigned long count)
{
    char *text = malloc(count * NAME_LEN + 16);
    redmux_bytes *names = malloc(count * sizeof *names);
    if (!text || !names) die("no memory for the names");
    for (unsigned long i = 0; i < count; i++) {
        sprintf(text + i * NAME_LEN, NAME_FORMAT, from + i);
        names[i] = (redmux_bytes){(const uint8_t *)text + i * NAME_LEN, NAME_LEN};
    }
    return names;
}

/* Adds all names, ten calls of 10,000 at a time, and takes until each call is done. */
static void add(redmux_subscription subscription, const redmux_bytes *names, unsigned long count)
{
    unsigned long asked = 0, done = 0;
    while (done < count) {
        while (asked < count && asked - done < 10 * NAMES_A_CALL) {
            unsigned long n = count - asked < NAMES_A_CALL ? count - asked : NAMES_A_CALL;
            must("add", redmux_subscription_add(subscription, names + asked, n, (redmux_inbox){0}, 1, -1), NULL);
            asked += n;
        }
        must("take", redmux_inbox_take(inbox, 60000, &block), NULL);
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_DONE) {
                must("done", r->status, NULL);
                done += r->number;
            } else {
                mux_other(r);
            }
        }
    }
    redmux_block_release(&block);
}

/* From lost until active without a name. */
static void again(void)
{
    moment first = {0}, last = {0};
    while (!last.wall) {
        must("take", redmux_inbox_take(inbox, 60000, &block), NULL);
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_LOST) {
                if (first.wall) die("lost a second time before all were active");
                first = moment_now();
            } else if (r->kind == REDMUX_KIND_ACTIVE && !(r->flags & REDMUX_FLAG_NAME) && first.wall) {
                last = moment_now();
            }
        }
    }
    redmux_block_release(&block);
    printf("{\"wall_ns\": %lld, \"cpu_ns\": %lld}\n", (long long)(last.wall - first.wall), (long long)(last.cpu - first.cpu));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3) die("usage: names ADDRESS COUNT [AGAIN|empty]");
    unsigned long count = number(argv[2]);
    redmux_client client = mux_open(argv[1]);
    redmux_subscription subscription;
    redmux_error *error = NULL;
    redmux_bytes *names;
    moment first, last;
    long before;

    must("inbox", redmux_inbox_new(client, (redmux_options){0}, &inbox, &error), error);
    must("subscription", redmux_subscription_new(client, inbox, 1, &subscription), NULL);
    add(subscription, prepare(9000000000ul, 1), 1);
    names = prepare(0, count);
    before = at_rest();
    first = moment_now();
    if (argc > 3 && !strcmp(argv[3], "empty")) {
        for (unsigned long i = 0; i < count; i++) must("subscription", redmux_subscription_new(client, inbox, i, &subscription), NULL);
    } else {
        add(subscription, names, count);
    }
    last = moment_now();
    printf("{\"wall_ns\": %lld, \"cpu_ns\": %lld, \"bytes\": %ld}\n", (long long)(last.wall - first.wall),
           (long long)(last.cpu - first.cpu), at_rest() - before);
    ready();
    for (unsigned long i = argc > 3 && strcmp(argv[3], "empty") ? number(argv[3]) : 0; i; i--) again();
    redmux_client_close(client, 5000);
    return 0;
}
