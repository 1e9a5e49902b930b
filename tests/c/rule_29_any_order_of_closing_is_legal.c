/* Rule 29: any order of closing is legal, from any thread. After a client's close its inboxes yield what they hold,
 * completions included, then answer CLOSED. */
#include "check.h"

static struct fixture fixture;

struct all {
    redmux_client client;
    redmux_inbox taken, called;
    redmux_subscription one, other;
    redmux_promises promises;
    redmux_block block;
    struct flag dropped;
};

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

static void open_all(struct all *all)
{
    memset(all, 0, sizeof *all);
    all->dropped = (struct flag)FLAG;
    all->client = client_open(fixture.url);
    all->taken = inbox_new(all->client);
    all->called = inbox_new_callback(all->client, ignore, &all->dropped, drop_counts);
    all->one = subscribe(all->client, all->taken, "a", 1);
    all->other = subscribe(all->client, all->called, "a", 2);
    CHECK_OK(redmux_promises_new(all->client, all->taken, (const uint8_t *)"p:", 2, 3, &all->promises));
    CHECK_OK(redmux_promises_active_wait(all->promises, WAIT_MS, NULL));
    CHECK_OK(redmux_promises_make(all->promises, (const uint8_t *)"x", 1, (redmux_inbox){0}, 4, -1));
    CHECK_OK(redmux_inbox_take(all->taken, WAIT_MS, &all->block));
    publish(all->client, "a", "message");
}

enum { THINGS = 7 };

static int32_t close_thing(struct all *all, int thing)
{
    switch (thing) {
    case 0: return redmux_client_close(all->client, WAIT_MS);
    case 1: return redmux_inbox_close(all->taken, WAIT_MS);
    case 2: return redmux_inbox_close(all->called, WAIT_MS);
    case 3: return redmux_subscription_close(all->one);
    case 4: return redmux_subscription_close(all->other);
    case 5: return redmux_promises_close(all->promises);
    default: {
        redmux_block copy = all->block;
        redmux_block_release(&copy);
        return REDMUX_OK;
    }
    }
}

/* The order of that number: a permutation, in the factorial number system. */
static void order_of(int number, int order[THINGS])
{
    int left[THINGS], count = THINGS;
    for (int i = 0; i < THINGS; i++)
        left[i] = i;
    for (int i = 0; i < THINGS; i++) {
        int at = number % count;
        number /= count;
        order[i] = left[at];
        count--;
        memmove(&left[at], &left[at + 1], (size_t)(count - at) * sizeof left[0]);
    }
}

static void every_order(void)
{
    /* A prime step through all 5040 orders visits 84 of them, each thing in each place. */
    for (int number = 0; number < 5040; number += 61) {
        struct all all;
        int order[THINGS];
        open_all(&all);
        order_of(number, order);
        for (int i = 0; i < THINGS; i++)
            CHECK_OK(close_thing(&all, order[i]));
        CHECK_EQ(1, flag_get(&all.dropped), "drop ran once");
        for (int i = 0; i < THINGS; i++)
            CHECK_STATUS(i == 6 ? REDMUX_OK : REDMUX_ERR_CLOSED, close_thing(&all, i));
        CHECK_EQ(1, flag_get(&all.dropped), "and not again");
        CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    }
}

static void *closes_from_the_end(void *arg)
{
    for (int i = THINGS - 1; i >= 0; i--) {
        int32_t status = close_thing(arg, i);
        CHECK(status == REDMUX_OK || status == REDMUX_ERR_CLOSED, "a close is a close or came second");
    }
    return NULL;
}

static void *takes_until_closed(void *arg)
{
    redmux_block block = {0};
    int32_t status;
    while ((status = redmux_inbox_take(((struct all *)arg)->taken, -1, &block)) == REDMUX_OK)
        continue;
    CHECK_STATUS(REDMUX_ERR_CLOSED, status);
    return NULL;
}

static void *adds_until_closed(void *arg)
{
    struct all *all = arg;
    redmux_bytes names[1] = {bytes_of("b")};
    for (;;) {
        int32_t status = redmux_subscription_add_wait(all->one, names, 1, -1, NULL);
        if (status != REDMUX_OK) {
            CHECK(status == REDMUX_ERR_CLOSED || status == REDMUX_ERR_SUPERSEDED, "a wait ends with the close");
            return NULL;
        }
        redmux_client_post(all->client, (const uint8_t *)"b", 1, NULL, 0);
    }
}

static void *waits_until_closed(void *arg)
{
    struct all *all = arg;
    redmux_inbox inboxes[2];
    size_t count;
    int32_t status;
    while ((status = redmux_client_wait(all->client, -1, inboxes, 2, &count)) == REDMUX_OK)
        continue;
    CHECK_STATUS(REDMUX_ERR_CLOSED, status);
    return NULL;
}

/* Two threads close in opposite orders while others are inside of calls on the same things. */
static void from_any_thread(void)
{
    for (int round = 0; round < 40; round++) {
        struct all all;
        pthread_t threads[4];
        open_all(&all);
        threads[0] = thread_start(takes_until_closed, &all);
        threads[1] = thread_start(adds_until_closed, &all);
        threads[2] = thread_start(waits_until_closed, &all);
        sleep_ms(round % 5);
        threads[3] = thread_start(closes_from_the_end, &all);
        for (int i = 0; i < THINGS; i++) {
            int32_t status = close_thing(&all, (i + round) % THINGS);
            CHECK(status == REDMUX_OK || status == REDMUX_ERR_CLOSED, "a close is a close or came second");
        }
        for (int i = 0; i < 4; i++)
            thread_join(threads[i]);
        FLAG_AWAIT(&all.dropped, 1, "drop runs");
        CHECK_EQ(1, flag_get(&all.dropped), "once");
        CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    }
}

static void inboxes_yield_what_they_hold(void)
{
    struct all all;
    struct reader reader;
    const redmux_record *record;
    int32_t status = REDMUX_OK;
    int messages = 0, promises = 0, closed = 0, done = 0, last = 0;
    redmux_inbox ready[4];
    size_t count = 0;
    open_all(&all);
    reader = reader_of(all.taken);
    reader.block = all.block;
    reader.next = reader.block.count;
    CHECK_OK(redmux_client_ready(all.client, all.taken, 9, -1));
    for (int i = 0; i < 10; i++)
        publish(all.client, "a", "kept");
    CHECK_OK(redmux_client_barrier_wait(all.client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_close_begin(all.client, all.taken, 10, WAIT_MS));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_wait(all.client, 0, ready, 4, &count));
    while ((record = reader_next(&reader, WAIT_MS, &status)) != NULL) {
        messages += record->kind == REDMUX_KIND_MESSAGE;
        if (record->kind == REDMUX_KIND_PROMISE) {
            CHECK_STATUS(REDMUX_ERR_CLOSED, record->status);
            promises++;
        }
        closed += record->kind == REDMUX_KIND_CLOSED;
        done += record->kind == REDMUX_KIND_DONE && record->token == 9;
        last = record->kind == REDMUX_KIND_DONE && record->token == 10;
    }
    CHECK_STATUS(REDMUX_ERR_CLOSED, status);
    CHECK_EQ(11, messages, "every message is there");
    CHECK_EQ(1, promises, "and the promise");
    CHECK_EQ(2, closed, "and the ends of both sources");
    CHECK_EQ(1, done, "and the completion");
    CHECK(last, "the end of the close is the last record");
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_take(all.taken, -1, &reader.block));
    for (int i = 1; i < 6; i++)
        close_thing(&all, i);
    CHECK_EQ(1, flag_get(&all.dropped), "drop ran once");
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
}

/* A close that gives publishes no time meets their answers on the way: each still ends once. */
static void a_close_among_answers_loses_no_completion(void)
{
    for (int round = 0; round < 300; round++) {
        redmux_client client = client_open(fixture.url);
        redmux_inbox inbox = inbox_new(client);
        struct reader reader = reader_of(inbox);
        int asked = 0, ended = 0;
        CHECK_EQ(0, publish(client, "nobody", "x"), "the link is up");
        for (int i = 0; i < 10 + round % 40; i++)
            asked += redmux_client_publish(client, (const uint8_t *)"nobody", 6, NULL, 0, inbox, 1, -1) == REDMUX_OK;
        redmux_client_close(client, 0);
        while (reader_next(&reader, WAIT_MS, NULL) != NULL)
            ended++;
        CHECK_EQ(asked, ended, "each publish ended once");
        CHECK_OK(redmux_inbox_close(inbox, 0));
    }
}

int main(void)
{
    fixture_start(&fixture, NULL);
    a_close_among_answers_loses_no_completion();
    every_order();
    from_any_thread();
    inboxes_yield_what_they_hold();
    fixture_end(&fixture);
    return 0;
}
