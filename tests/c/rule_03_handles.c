/* Rule 3: a handle is a number; {0}, a stale one, a forged one and one of another kind give REDMUX_ERR_CLOSED, from any
 * thread, at any time, also while another thread closes it.
 */
#include "every_call.h"

static void numbers_that_are_no_handles_are_closed(const char *url)
{
    static const uint64_t forged[] = {0, 0xdeadbeef, UINT64_C(1) << 40, (UINT64_C(1) << 48) - 1};
    redmux_client client = client_open(url);
    redmux_inbox inbox = inbox_new(client);
    redmux_subscription subscription = {0};
    redmux_promises promises = {0};
    redmux_responder responder = {0};
    redmux_options options = {0};

    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++)
        every_call(forged[i], REDMUX_ERR_CLOSED);

    /* A live number is no handle of another kind. */
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    CHECK_OK(redmux_promises_new(client, inbox, NULL, 0, 1, &promises));
    CHECK_OK(redmux_responder_open(client, inbox, NULL, 0, (redmux_options){0}, 1, &responder, NULL));
    CHECK_OK(redmux_options_new(&options));
    every_client_call(inbox.id, REDMUX_ERR_CLOSED);
    every_inbox_call(client.id, REDMUX_ERR_CLOSED);
    every_subscription_call(promises.id, REDMUX_ERR_CLOSED);
    every_promises_call(subscription.id, REDMUX_ERR_CLOSED);
    every_responder_call(subscription.id, REDMUX_ERR_CLOSED);
    every_subscription_call(responder.id, REDMUX_ERR_CLOSED);
    every_options_call(client.id, REDMUX_ERR_CLOSED);
    CHECK_EQ(6, redmux_debug_live(), "none of that closed what the number stands for");

    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_promises_close(promises));
    CHECK_OK(redmux_responder_close(responder));
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_options_free(options);

    every_client_call(client.id, REDMUX_ERR_CLOSED);
    every_inbox_call(inbox.id, REDMUX_ERR_CLOSED);
    every_subscription_call(subscription.id, REDMUX_ERR_CLOSED);
    every_promises_call(promises.id, REDMUX_ERR_CLOSED);
    every_responder_call(responder.id, REDMUX_ERR_CLOSED);
    every_options_call(options.id, REDMUX_ERR_CLOSED);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
}

struct target {
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription;
    redmux_promises promises;
    struct flag running;
};

/* What may come while a handle is alive, or no more. */
static void check_legal(int32_t status, const char *what)
{
    switch (status) {
    case REDMUX_OK:
    case REDMUX_ERR_CLOSED:
    case REDMUX_ERR_TIMEOUT:
    case REDMUX_ERR_BUSY:
    case REDMUX_ERR_FULL:
    case REDMUX_ERR_INACTIVE:
    case REDMUX_ERR_CANCELLED:
    case REDMUX_ERR_SUPERSEDED:
        return;
    default:
        check_failed(__FILE__, __LINE__, "a racing call answers OK or CLOSED", what, redmux_status_name(status));
    }
}

static void *hammer(void *arg)
{
    struct target *t = arg;
    redmux_inbox none = {0}, ready[4];
    redmux_bytes name = bytes_of("n");
    redmux_block block = {0}, blocks[1] = {{0}};
    int closed = 0;
    flag_add(&t->running, 1);
    for (uint64_t i = 0; !closed; i++) {
        redmux_text *text = NULL;
        redmux_list *list = NULL;
        size_t count = 0;
        int32_t status = redmux_client_wake(t->client);
        closed = status == REDMUX_ERR_CLOSED;
        check_legal(status, "wake");
        check_legal(redmux_subscription_add(t->subscription, &name, 1, none, i, 100), "add");
        check_legal(redmux_subscription_remove(t->subscription, &name, 1, none, i, 100), "remove");
        check_legal(redmux_subscription_names(t->subscription, &list), "names");
        redmux_list_free(list);
        check_legal(redmux_promises_make_later(t->promises, name.data, 1, none, i, 50, 50), "make");
        check_legal(redmux_promises_clear(t->promises, &count), "clear");
        check_legal(redmux_client_publish(t->client, name.data, 1, name.data, 1, t->inbox, i, 100), "publish");
        check_legal(redmux_client_post(t->client, name.data, 1, name.data, 1), "post");
        check_legal(redmux_inbox_cancel(t->inbox, i), "cancel");
        check_legal(redmux_inbox_take(t->inbox, 1, &block), "take");
        check_legal(redmux_client_wait(t->client, 0, ready, 4, &count), "wait");
        check_legal(redmux_client_take_many(t->client, &t->inbox, 1, blocks, &count), "take_many");
        redmux_block_release(&blocks[0]);
        check_legal(redmux_client_stats(t->client, &text), "stats");
        redmux_text_free(text);
    }
    redmux_block_release(&block);
    return NULL;
}

#define HAMMERS 6

static void closing_races_with_every_call(const char *url)
{
    for (int round = 0; round < 24; round++) {
        struct target t = {{0}, {0}, {0}, {0}, FLAG};
        pthread_t threads[HAMMERS];
        t.client = client_open(url);
        t.inbox = inbox_new(t.client);
        CHECK_OK(redmux_subscription_new(t.client, t.inbox, 1, &t.subscription));
        CHECK_OK(redmux_promises_new(t.client, t.inbox, (const uint8_t *)"p:", 2, 1, &t.promises));
        for (int i = 0; i < HAMMERS; i++)
            threads[i] = thread_start(hammer, &t);
        FLAG_AWAIT(&t.running, HAMMERS, "the threads run");
        sleep_ms(round % 4 * 3);
        /* In several orders; each is legal. */
        switch (round % 4) {
        case 0:
            CHECK_OK(redmux_inbox_close(t.inbox, WAIT_MS));
            CHECK_OK(redmux_client_close(t.client, WAIT_MS));
            break;
        case 1:
            CHECK_OK(redmux_subscription_close(t.subscription));
            CHECK_OK(redmux_promises_close(t.promises));
            CHECK_OK(redmux_client_close(t.client, WAIT_MS));
            break;
        case 2:
            CHECK_OK(redmux_client_close_begin(t.client, t.inbox, 1, 100));
            break;
        default:
            CHECK_OK(redmux_client_close(t.client, WAIT_MS));
            break;
        }
        for (int i = 0; i < HAMMERS; i++)
            thread_join(threads[i]);
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_close(t.client, WAIT_MS));
        redmux_inbox_close(t.inbox, WAIT_MS);
        redmux_subscription_close(t.subscription);
        redmux_promises_close(t.promises);
        CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    }
}

struct closers {
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription;
    struct flag go;
    struct flag won;
};

static void *close_all(void *arg)
{
    struct closers *c = arg;
    flag_reaches(&c->go, 1, WAIT_MS);
    flag_add(&c->won, redmux_subscription_close(c->subscription) == REDMUX_OK);
    flag_add(&c->won, redmux_inbox_close(c->inbox, WAIT_MS) == REDMUX_OK);
    flag_add(&c->won, redmux_client_close(c->client, WAIT_MS) == REDMUX_OK);
    return NULL;
}

/* Of many that close one handle at once, one does; the others are told that it is closed. */
static void one_of_many_closers_closes(const char *url)
{
    for (int round = 0; round < 20; round++) {
        struct closers c = {{0}, {0}, {0}, FLAG, FLAG};
        pthread_t threads[HAMMERS];
        c.client = client_open(url);
        c.inbox = inbox_new(c.client);
        CHECK_OK(redmux_subscription_new(c.client, c.inbox, 1, &c.subscription));
        for (int i = 0; i < HAMMERS; i++)
            threads[i] = thread_start(close_all, &c);
        flag_add(&c.go, 1);
        for (int i = 0; i < HAMMERS; i++)
            thread_join(threads[i]);
        CHECK_EQ(3, flag_get(&c.won), "each handle was closed once");
        CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    }
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    numbers_that_are_no_handles_are_closed(fixture.url);
    closing_races_with_every_call(fixture.url);
    one_of_many_closers_closes(fixture.url);
    fixture_end(&fixture);
    return 0;
}
