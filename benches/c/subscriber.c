/* redmux, into a callback or by take.
 *
 *     subscriber ADDRESS MESSAGES PAYLOAD callback|take [CHANNELS [INBOXES]]
 *
 * With several inboxes each has a subscription of its own to all channels, so that each message comes into each. */
#include "mux.h"
#include <semaphore.h>

enum { MOST = 64 };

typedef struct {
    unsigned long got;
    unsigned long lengths;
} count;

static unsigned long messages, payload, inboxes = 1, finished;
static count counts[MOST];
static moment first, last;
static sem_t done;

/* One block of one inbox. A block is all messages nearly always, and mux_other is behind the loop's one branch. */
static void consume(count *c, const redmux_block *block)
{
    unsigned long got = 0, lengths = 0;
    if (last.wall) return; /* all have come: what follows is the end of the client */
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind == REDMUX_KIND_MESSAGE) {
            got++;
            lengths += r->name_len + r->data_len;
        } else {
            mux_other(r);
        }
    }
    if (!got) return;
    if (!first.wall) first = moment_now();
    c->lengths += lengths;
    if ((c->got += got) >= messages && ++finished == inboxes) last = moment_now();
}

static int32_t on_block(void *user, const redmux_block *block)
{
    consume(user, block);
    if (last.wall) sem_post(&done);
    return 0;
}

/* One inbox is taken from directly, several through the client's ready list. */
static void take_all(redmux_client client, const redmux_inbox *inbox)
{
    static redmux_block blocks[MOST];
    redmux_inbox waiting[MOST];
    size_t n = 0;
    while (!last.wall) {
        if (inboxes == 1) {
            must("take", redmux_inbox_take(inbox[0], 30000, &blocks[0]), NULL);
            consume(&counts[0], &blocks[0]);
            continue;
        }
        must("wait", redmux_client_wait(client, 30000, waiting, MOST, &n), NULL);
        for (size_t i = 0; i < n; i++) {
            unsigned long k = 0;
            while (k < inboxes && inbox[k].id != waiting[i].id) k++;
            if (k == inboxes) die("a ready inbox that is not ours");
            int32_t status = redmux_inbox_take(inbox[k], 0, &blocks[k]);
            if (status == REDMUX_ERR_TIMEOUT) continue;
            must("take", status, NULL);
            consume(&counts[k], &blocks[k]);
        }
    }
    for (unsigned long k = 0; k < inboxes; k++) redmux_block_release(&blocks[k]);
}

int main(int argc, char **argv)
{
    redmux_client client;
    redmux_inbox inbox[MOST];
    redmux_subscription subscription[MOST];
    redmux_error *error = NULL;
    unsigned long channels = argc > 5 ? number(argv[5]) : 1;
    int callback;

    if (argc < 5) die("usage: subscriber ADDRESS MESSAGES PAYLOAD callback|take [CHANNELS [INBOXES]]");
    messages = number(argv[2]);
    payload = number(argv[3]);
    callback = !strcmp(argv[4], "callback");
    inboxes = argc > 6 ? number(argv[6]) : 1;
    if (inboxes < 1 || inboxes > MOST) die("from 1 to %d inboxes", MOST);
    sem_init(&done, 0, 0);
    client = mux_open(argv[1]);
    for (unsigned long k = 0; k < inboxes; k++) {
        int32_t status = callback ? redmux_inbox_new_callback(client, (redmux_options){0}, on_block, &counts[k], NULL, &inbox[k], &error)
                                  : redmux_inbox_new(client, (redmux_options){0}, &inbox[k], &error);
        must("inbox", status, error);
        must("subscription", redmux_subscription_new(client, inbox[k], k, &subscription[k]), NULL);
        mux_add(subscription[k], 0, channels);
    }
    ready();
    if (callback) {
        while (sem_wait(&done)) continue;
    } else {
        take_all(client, inbox);
    }
    for (unsigned long k = 0; k < inboxes; k++) {
        if (counts[k].got != messages) die("inbox %lu got %lu messages", k, counts[k].got);
        if (counts[k].lengths != messages * (NAME_LEN + payload)) die("the lengths add up to %lu", counts[k].lengths);
    }
    report(messages, counts[0].lengths, first, last);
    redmux_client_close(client, 5000);
    return 0;
}
