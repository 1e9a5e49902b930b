/* Rules 27 and 28: when close returns OK no callback runs or will run and drop has run; TIMEOUT says that it has not;
 * inside a callback close returns at once, the running call is the last, and drop says when all is over. */
#include "check.h"

static struct fixture fixture;

/* A callback that counts, and that can be held inside. */
struct watch {
    struct flag entered;
    struct flag hold;    /* the callback waits until this is 1 */
    struct flag dropped;
    redmux_client client;
    redmux_inbox inbox;
    struct flag freed;   /* set when close returned OK */
    struct flag inside;  /* 1: close the inbox, 2: close the client, inside the callback */
    struct flag left;    /* calls that are about to return */
    struct flag messages;
};

static struct watch watch_new(long hold)
{
    struct watch watch = {FLAG, FLAG, FLAG, {0}, {0}, FLAG, FLAG, FLAG, FLAG};
    watch.hold.value = hold;
    return watch;
}

static int32_t called(void *user, const redmux_block *block)
{
    struct watch *watch = user;
    redmux_block none = {0};
    CHECK_EQ(0, flag_get(&watch->freed), "no callback runs after close returned");
    CHECK_EQ(0, flag_get(&watch->dropped), "nor after drop");
    CHECK(block->count > 0, "it has records");
    if (flag_get(&watch->inside) != 0) {
        int32_t status = flag_get(&watch->inside) == 1 ? redmux_inbox_close(watch->inbox, -1)
                                            : redmux_client_close(watch->client, -1);
        /* What the inbox of a closed client still holds comes too. */
        CHECK_STATUS(flag_get(&watch->entered) == 0 ? REDMUX_OK : REDMUX_ERR_CLOSED, status);
        CHECK_EQ(0, flag_get(&watch->dropped), "drop does not run below the running call");
        CHECK(redmux_inbox_take(watch->inbox, 0, &none) != REDMUX_OK, "nothing can be taken");
    }
    for (size_t i = 0; i < block->count; i++)
        flag_add(&watch->messages, block->records[i].kind == REDMUX_KIND_MESSAGE);
    flag_add(&watch->entered, 1);
    CHECK(flag_reaches(&watch->hold, 1, 3 * WAIT_MS), "the callback is let go");
    CHECK_EQ(0, flag_get(&watch->dropped), "drop waits for the running call");
    flag_add(&watch->left, 1);
    return 0;
}

static void dropped(void *user)
{
    struct watch *watch = user;
    CHECK_EQ(0, flag_get(&watch->freed), "drop runs before close returns OK");
    flag_add(&watch->dropped, 1);
}

static void open_watch(struct watch *watch)
{
    watch->client = client_open(fixture.url);
    watch->inbox = inbox_new_callback(watch->client, called, watch, dropped);
    subscribe(watch->client, watch->inbox, "busy", 1);
}

static struct flag over = FLAG;

static void *posts(void *arg)
{
    redmux_client client = client_open(fixture.url);
    (void)arg;
    while (!flag_get(&over))
        redmux_client_post(client, (const uint8_t *)"busy", 4, (const uint8_t *)"x", 1);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    return NULL;
}

/* As messages come as fast as they can. The user data is freed the moment close returns. */
static void no_callback_runs_after_close(void)
{
    pthread_t busy = thread_start(posts, NULL);
    for (int round = 0; round < 40; round++) {
        struct watch *watch = malloc(sizeof *watch);
        CHECK(watch != NULL, "there is memory");
        *watch = watch_new(1);
        open_watch(watch);
        FLAG_AWAIT(&watch->entered, 1 + round % 3, "callbacks run");
        if (round % 2 == 0)
            CHECK_OK(redmux_inbox_close(watch->inbox, WAIT_MS));
        else
            CHECK_OK(redmux_client_close(watch->client, WAIT_MS));
        flag_set(&watch->freed, 1);
        CHECK_EQ(1, flag_get(&watch->dropped), "drop ran once");
        if (round % 2 == 0)
            CHECK_OK(redmux_client_close(watch->client, WAIT_MS));
        else
            CHECK_OK(redmux_inbox_close(watch->inbox, WAIT_MS));
        CHECK_EQ(1, flag_get(&watch->dropped), "and not again");
        memset(watch, 0xa5, sizeof *watch);
        free(watch);
    }
    flag_set(&over, 1);
    thread_join(busy);
}

static void timeout_says_that_drop_has_not_run(int client_first)
{
    struct watch watch = watch_new(0);
    int64_t began;
    open_watch(&watch);
    fixture_publish(&fixture, "busy", "x");
    FLAG_AWAIT(&watch.entered, 1, "the callback runs");
    began = now_ms();
    if (client_first)
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_close(watch.client, 100));
    else
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_inbox_close(watch.inbox, 100));
    CHECK(now_ms() - began < WAIT_MS, "close keeps its deadline");
    CHECK_EQ(0, flag_get(&watch.dropped), "TIMEOUT says that drop has not run");
    /* Closing what is left does not make it true that nothing runs. */
    if (client_first)
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_inbox_close(watch.inbox, 100));
    else
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_close(watch.client, 100));
    CHECK_EQ(0, flag_get(&watch.dropped), "the callback still runs");
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_close(watch.client, -1));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_close(watch.inbox, -1));
    flag_add(&watch.hold, 1);
    FLAG_AWAIT(&watch.dropped, 1, "drop runs when the call has returned");
    sleep_ms(20);
    CHECK_EQ(1, flag_get(&watch.dropped), "once");
    CHECK_EQ(1, flag_get(&watch.entered), "the call that hung was the last");
}

static void closing_inside_a_callback_returns_at_once(int what)
{
    struct watch watch = watch_new(1);
    open_watch(&watch);
    FLAG_AWAIT(&watch.left, 1, "active came");
    flag_set(&watch.entered, 0);
    flag_set(&watch.hold, 0);
    flag_set(&watch.inside, what);
    fixture_publish(&fixture, "busy", "x");
    FLAG_AWAIT(&watch.entered, 1, "the callback runs");
    for (int i = 0; i < 20; i++)
        fixture_publish(&fixture, "busy", "x");
    if (what == 1) {
        /* The inbox was closed below its own callback: a close of the client waits for that one. */
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_close(watch.client, 100));
    }
    flag_add(&watch.hold, 1);
    FLAG_AWAIT(&watch.dropped, 1, "drop says when all is over");
    sleep_ms(50);
    CHECK_EQ(1, flag_get(&watch.dropped), "once");
    if (what == 1)
        CHECK_EQ(1, flag_get(&watch.entered), "the running call was the last");
    redmux_inbox_close(watch.inbox, WAIT_MS);
    redmux_client_close(watch.client, WAIT_MS);
}

static void *close_client(void *arg)
{
    struct watch *watch = arg;
    CHECK_OK(redmux_client_close(watch->client, WAIT_MS));
    flag_set(&watch->freed, 1);
    return NULL;
}

/* A close gives callbacks what their inboxes hold, and waits for that. */
static void callbacks_get_what_their_inboxes_hold(void)
{
    struct watch watch = watch_new(0);
    pthread_t closer;
    open_watch(&watch);
    FLAG_AWAIT(&watch.entered, 1, "the callback runs, and holds its inbox up");
    for (int i = 0; i < 5; i++)
        fixture_publish(&fixture, "busy", "x");
    CHECK_OK(redmux_client_barrier_wait(watch.client, WAIT_MS, NULL));
    closer = thread_start(close_client, &watch);
    sleep_ms(100);
    CHECK_EQ(0, flag_get(&watch.freed), "close waits for the running call");
    flag_add(&watch.hold, 1);
    thread_join(closer);
    CHECK_EQ(5, flag_get(&watch.messages), "what waited was delivered");
    CHECK_EQ(1, flag_get(&watch.dropped), "drop has run");
    CHECK_OK(redmux_inbox_close(watch.inbox, 0));
}

/* Nothing waits for the network without a deadline: the server is frozen and holds publishes unanswered. */
static void close_keeps_its_deadline_when_the_server_is_frozen(void)
{
    redmux_client client = client_open(fixture.url);
    redmux_inbox inbox = inbox_new(client);
    struct reader reader = reader_of(inbox);
    int64_t began;
    int32_t status = 0;
    const redmux_record *record;
    int ended = 0, closed = 0;
    subscribe(client, inbox, "slow", 1);
    CHECK_EQ(1, publish(client, "slow", "x"), "both links are up");
    fixture_do(&fixture, "{\"do\":\"freeze\"}");
    for (int i = 0; i < 10; i++)
        CHECK_OK(redmux_client_publish(client, (const uint8_t *)"slow", 4, NULL, 0, inbox, 100, -1));
    began = now_ms();
    CHECK_OK(redmux_client_close(client, 200));
    CHECK(now_ms() - began < WAIT_MS, "close keeps its deadline");
    while ((record = reader_next(&reader, WAIT_MS, &status)) != NULL) {
        if (record->kind == REDMUX_KIND_PUBLISHED && record->token == 100) {
            CHECK(record->status == REDMUX_ERR_UNKNOWN || record->status == REDMUX_ERR_NOT_SENT ||
                      record->status == REDMUX_ERR_CLOSED,
                  "what was left says so");
            ended++;
        }
        closed += record->kind == REDMUX_KIND_CLOSED;
    }
    CHECK_STATUS(REDMUX_ERR_CLOSED, status);
    CHECK_EQ(10, ended, "each publish is reported");
    CHECK_EQ(1, closed, "and the subscription ended");
    fixture_do(&fixture, "{\"do\":\"thaw\"}");
    CHECK_OK(redmux_inbox_close(inbox, 0));
}

int main(void)
{
    fixture_start(&fixture, NULL);
    no_callback_runs_after_close();
    timeout_says_that_drop_has_not_run(1);
    timeout_says_that_drop_has_not_run(0);
    closing_inside_a_callback_returns_at_once(1);
    closing_inside_a_callback_returns_at_once(2);
    callbacks_get_what_their_inboxes_hold();
    close_keeps_its_deadline_when_the_server_is_frozen();
    fixture_end(&fixture);
    return 0;
}
