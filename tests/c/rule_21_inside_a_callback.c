/* Rule 21: inside a callback every function may be called; those that block return REDMUX_ERR_WOULD_DEADLOCK at once. */
#include "check.h"

#define BLOCKED REDMUX_ERR_WOULD_DEADLOCK

struct inside {
    redmux_client client;
    redmux_inbox inbox; /* the callback's own */
    redmux_inbox taken;
    redmux_subscription subscription;
    redmux_promises promises;
    struct flag over;
    struct flag dropped;
    int64_t took;
};

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

/* Every call that would wait. */
static void call_what_blocks(struct inside *in)
{
    const uint8_t *p = (const uint8_t *)"n";
    redmux_bytes name = bytes_of("n");
    redmux_inbox ready[1] = {{77}};
    redmux_block block = {0};
    redmux_text *text = NULL;
    redmux_error *error = NULL;
    uint64_t receivers = 77;
    size_t count = 77;

    CHECK_STATUS(BLOCKED, redmux_client_ready_wait(in->client, -1, &error));
    CHECK_TEXT(redmux_error_message(error), "callback", "the sentence says why");
    redmux_error_free(error);
    CHECK_STATUS(BLOCKED, redmux_client_publish_wait(in->client, p, 1, p, 1, -1, &receivers, NULL));
    CHECK_STATUS(BLOCKED, redmux_client_flush_wait(in->client, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_client_barrier_wait(in->client, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_subscription_add_wait(in->subscription, &name, 1, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_subscription_remove_wait(in->subscription, &name, 1, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_subscription_clear_wait(in->subscription, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_subscription_drain_wait(in->subscription, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_subscription_active_wait(in->subscription, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_promises_active_wait(in->promises, -1, NULL));
    CHECK_STATUS(BLOCKED, redmux_promises_make_wait(in->promises, p, 1, -1, &text, NULL));
    CHECK_STATUS(BLOCKED, redmux_promise_wait(in->client, p, 1, -1, &text, NULL));
    CHECK_STATUS(BLOCKED, redmux_client_wait(in->client, -1, ready, 1, &count));
    CHECK_STATUS(BLOCKED, redmux_client_wait(in->client, 50, ready, 1, &count));
    CHECK_STATUS(BLOCKED, redmux_inbox_take(in->taken, -1, &block));
    CHECK_STATUS(BLOCKED, redmux_inbox_take(in->taken, 50, &block));
    /* It is the call that is refused, not the waiting: else it would work as long as something is there. */
    CHECK_OK(redmux_client_ready(in->client, in->taken, 98, 0));
    CHECK_STATUS(BLOCKED, redmux_inbox_take(in->taken, -1, &block));
    CHECK_STATUS(BLOCKED, redmux_shutdown(-1));
    CHECK_STATUS(BLOCKED, redmux_shutdown(0));
    CHECK(text == NULL && receivers == 77 && count == 77 && ready[0].id == 77, "nothing is written");
}

/* Every call that does not wait. */
static void call_what_does_not_block(struct inside *in)
{
    const uint8_t *p = (const uint8_t *)"other";
    redmux_bytes name = bytes_of("other");
    redmux_inbox ready[4], more = {0};
    redmux_block block = {0}, blocks[1] = {{0}};
    redmux_subscription subscription = {0}, pattern = {0};
    redmux_promises promises = {0};
    redmux_options options = {0};
    redmux_client second = {0};
    redmux_text *text = NULL;
    redmux_list *list = NULL;
    size_t count = 0;
    int32_t fd = -1, status;

    CHECK_OK(redmux_client_ready(in->client, in->taken, 1, 0));
    CHECK_OK(redmux_client_publish(in->client, p, 5, p, 5, in->taken, 2, 0));
    CHECK_OK(redmux_client_post(in->client, p, 5, p, 5));
    CHECK_OK(redmux_client_flush(in->client, in->taken, 3, 0));
    CHECK_OK(redmux_client_barrier(in->client, in->taken, 4, 0));
    CHECK_OK(redmux_client_authenticate(in->client, NULL, "none", in->taken, 99, 0));
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_question_answer(in->client, 1, 0, NULL, 0));
    CHECK_OK(redmux_inbox_new(in->client, options, &more, NULL));
    CHECK_OK(redmux_inbox_close(more, -1));
    CHECK_OK(redmux_inbox_new_callback(in->client, options, ignore, &in->dropped, drop_counts, &more, NULL));
    CHECK_OK(redmux_inbox_close(more, -1));
    CHECK_OK(redmux_subscription_new(in->client, in->taken, 5, &subscription));
    CHECK_OK(redmux_subscription_add(subscription, &name, 1, in->taken, 5, 0));
    CHECK_OK(redmux_subscription_active(subscription, in->taken, 6, 0));
    CHECK_OK(redmux_subscription_names(subscription, &list));
    CHECK_EQ(1, redmux_list_count(list), "what was added is wanted");
    redmux_list_free(list);
    CHECK_OK(redmux_subscription_remove(subscription, &name, 1, in->taken, 7, 0));
    CHECK_OK(redmux_subscription_clear(subscription, in->taken, 8, 0));
    CHECK_OK(redmux_subscription_drain(subscription, in->taken, 9, 0));
    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_subscription_new_pattern(in->client, in->taken, p, 5, 10, in->taken, 10, 0, &pattern));
    CHECK_OK(redmux_subscription_close(pattern));
    CHECK_OK(redmux_promises_new(in->client, in->taken, p, 5, 11, &promises));
    CHECK_OK(redmux_promises_active(promises, in->taken, 12, 0));
    status = redmux_promises_make(promises, p, 1, in->taken, 13, 0);
    CHECK(status == REDMUX_OK || status == REDMUX_ERR_INACTIVE, "a promise is made, or the set is not active yet");
    CHECK_OK(redmux_promises_make_later(promises, p, 1, in->taken, 14, 0, 0));
    CHECK_OK(redmux_promises_clear(promises, &count));
    CHECK(count >= 1, "what was made is cleared");
    CHECK_OK(redmux_promises_close(promises));
    CHECK_OK(redmux_promise_make(in->client, p, 5, in->taken, 15, 0));
    CHECK_OK(redmux_inbox_cancel(in->taken, 15));
    CHECK_OK(redmux_inbox_stats(in->taken, &text));
    redmux_text_free(text);
    CHECK_OK(redmux_client_stats(in->client, &text));
    redmux_text_free(text);
    CHECK_OK(redmux_client_fd(in->client, &fd));
    status = redmux_client_wait(in->client, 0, ready, 4, &count);
    CHECK(status == REDMUX_OK || status == REDMUX_ERR_TIMEOUT, "a poll does not wait");
    status = redmux_inbox_take(in->taken, 0, &block);
    CHECK(status == REDMUX_OK || status == REDMUX_ERR_TIMEOUT, "a poll does not wait");
    redmux_block_release(&block);
    CHECK_OK(redmux_client_take_many(in->client, &in->taken, 1, blocks, &count));
    redmux_block_release(&blocks[0]);
    CHECK_STATUS(REDMUX_ERR_CONFLICT, redmux_inbox_take(in->inbox, 0, &block));
    CHECK_OK(redmux_client_wake(in->client));
    status = redmux_client_wait(in->client, 0, ready, 4, &count);
    CHECK(status == REDMUX_OK, "a wake is there for the taking");
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_options_set(options, "name", "n", NULL));
    CHECK_OK(redmux_options_describe(&text));
    redmux_text_free(text);
    redmux_options_free(options);
    CHECK_OK(redmux_client_open("redis://127.0.0.1:1", &second, NULL));
    CHECK_OK(redmux_client_close(second, -1));
    CHECK_OK(redmux_client_stop(in->client));
    CHECK_OK(redmux_client_restart(in->client));
}

static int32_t on_block(void *user, const redmux_block *block)
{
    struct inside *in = user;
    int64_t begin = now_ms();
    (void)block;
    if (flag_get(&in->over) > 0)
        return 0;
    call_what_blocks(in);
    call_what_does_not_block(in);
    in->took = now_ms() - begin;
    flag_add(&in->over, 1);
    return 0;
}

static void everything_may_be_called_but_what_blocks(const char *url)
{
    struct inside in;
    memset(&in, 0, sizeof in);
    in.over = in.dropped = (struct flag)FLAG;
    in.client = client_open(url);
    CHECK_OK(redmux_client_ready_wait(in.client, WAIT_MS, NULL));
    in.inbox = inbox_new_callback(in.client, on_block, &in, NULL);
    in.taken = inbox_new(in.client);
    CHECK_OK(redmux_subscription_new(in.client, in.inbox, 1, &in.subscription));
    CHECK_OK(redmux_promises_new(in.client, in.inbox, (const uint8_t *)"p:", 2, 1, &in.promises));
    CHECK_OK(redmux_client_flush(in.client, in.inbox, 1, WAIT_MS));
    FLAG_AWAIT(&in.over, 1, "the callback comes to its end");
    CHECK(in.took < WAIT_MS, "nothing of it waited");
    CHECK_EQ(1, flag_get(&in.dropped), "a callback that is closed inside another is dropped");
    CHECK_OK(redmux_client_close(in.client, WAIT_MS));
    redmux_inbox_close(in.inbox, WAIT_MS);
    redmux_inbox_close(in.taken, WAIT_MS);
    redmux_subscription_close(in.subscription);
    redmux_promises_close(in.promises);
}

/* What is closed, and how often the callback was called and dropped. */
struct suicide {
    redmux_client client;
    redmux_inbox inbox;
    int how;
    struct flag calls;
    struct flag drops;
};

static int32_t close_oneself(void *user, const redmux_block *block)
{
    struct suicide *s = user;
    CHECK_EQ(0, flag_get(&s->drops), "no call after drop");
    flag_add(&s->calls, 1);
    switch (s->how) {
    case 0:
        CHECK_OK(redmux_inbox_close(s->inbox, -1));
        break;
    case 1:
        CHECK_OK(redmux_client_close(s->client, -1));
        break;
    }
    CHECK_EQ(0, flag_get(&s->drops), "drop comes after the running call");
    CHECK(block->count > 0 && block->records[0].kind == REDMUX_KIND_DONE, "its block stays until it returns");
    return 0;
}

static void drop_suicide(void *user)
{
    flag_add(&((struct suicide *)user)->drops, 1);
}

static void a_callback_may_close_its_inbox_and_its_client(const char *url)
{
    for (int how = 0; how < 2; how++) {
        struct suicide s = {{0}, {0}, 0, FLAG, FLAG};
        s.how = how;
        s.client = client_open(url);
        s.inbox = inbox_new_callback(s.client, close_oneself, &s, drop_suicide);
        CHECK_OK(redmux_client_flush(s.client, s.inbox, 1, WAIT_MS));
        FLAG_AWAIT(&s.drops, 1, "drop says when all is over");
        CHECK_EQ(1, flag_get(&s.calls), "the running call was the last");
        CHECK_STATUS(how == 0 ? REDMUX_OK : REDMUX_ERR_CLOSED, redmux_client_close(s.client, WAIT_MS));
        CHECK_STATUS(how == 0 ? REDMUX_ERR_CLOSED : REDMUX_OK, redmux_inbox_close(s.inbox, WAIT_MS));
        CHECK_EQ(1, flag_get(&s.drops), "once");
    }
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    everything_may_be_called_but_what_blocks(fixture.url);
    a_callback_may_close_its_inbox_and_its_client(fixture.url);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    fixture_end(&fixture);
    return 0;
}
