/* Rules 18 and 20: a callback's block is borrowed until it returns; an inbox is served in order by one thread at a time,
 * on a thread of the client; what a callback returns ends nothing; a stuck one delays nobody in another client.
 */
#include "check.h"

struct heard {
    struct flag calls;
    struct flag messages;
    struct flag inside;
    struct flag at_once; /* how often two calls ran at once */
    uint32_t next;
    long out_of_order;
    int32_t answer;
    pthread_t main;
    int on_main;
    redmux_block kept; /* a copy of the struct of the last block */
};

#define HEARD {FLAG, FLAG, FLAG, FLAG, 0, 0, 0, pthread_self(), 0, {0}}

static int32_t on_block(void *user, const redmux_block *block)
{
    struct heard *heard = user;
    flag_add(&heard->inside, 1);
    if (flag_get(&heard->inside) != 1)
        flag_add(&heard->at_once, 1);
    heard->on_main |= pthread_equal(heard->main, pthread_self());
    CHECK(block->id == 0 && block->count > 0 && block->status == REDMUX_OK, "a callback's block is not to be released");
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *record = &block->records[i];
        uint32_t number;
        if (record->kind != REDMUX_KIND_MESSAGE)
            continue;
        memcpy(&number, block->data + record->data_off, sizeof number);
        heard->out_of_order += number != heard->next;
        heard->next = number + 1;
        flag_add(&heard->messages, 1);
    }
    heard->kept = *block;
    flag_add(&heard->inside, -1);
    flag_add(&heard->calls, 1);
    return heard->answer;
}

static void post_number(redmux_client client, uint32_t number)
{
    CHECK_OK(redmux_client_post(client, (const uint8_t *)"flood", 5, (const uint8_t *)&number, sizeof number));
}

static void one_inbox_is_served_in_order_by_one_thread_at_a_time(const char *url)
{
    enum { MESSAGES = 5000 };
    redmux_options options = options_for(url);
    redmux_client client = {0};
    struct heard heard = HEARD;
    redmux_inbox inbox;
    redmux_block copy;
    options_put(options, "callback_threads", "4");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    inbox = inbox_new_callback(client, on_block, &heard, NULL);
    subscribe(client, inbox, "flood", 1);
    for (uint32_t i = 0; i < MESSAGES; i++)
        post_number(client, i);
    FLAG_AWAIT(&heard.messages, MESSAGES, "every message comes");
    CHECK_EQ(0, heard.out_of_order, "in order");
    CHECK_EQ(0, flag_get(&heard.at_once), "by one thread at a time");
    CHECK(!heard.on_main, "on a thread of the client");

    /* The copy of a struct whose block is over has no id: giving it back is harmless. */
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    copy = heard.kept;
    redmux_block_release(&copy);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_options_free(options);
}

static void what_a_callback_returns_is_logged_and_ends_nothing(const char *url)
{
    redmux_options options = options_for(url);
    redmux_client client = {0};
    redmux_inbox events = {0}, inbox;
    struct heard heard = HEARD;
    struct reader reader;
    char line[512];
    options_put(options, "log_level", "warn");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_TAKE, NULL, NULL, NULL, &client, &events, NULL));
    heard.answer = 4711;
    inbox = inbox_new_callback(client, on_block, &heard, NULL);
    subscribe(client, inbox, "flood", 1);
    post_number(client, 0);
    FLAG_AWAIT(&heard.messages, 1, "the first message comes");
    post_number(client, 1);
    FLAG_AWAIT(&heard.messages, 2, "the next message comes all the same");
    reader = reader_of(events);
    do {
        const redmux_record *record = await_kind(&reader, REDMUX_KIND_LOG);
        CHECK_EQ(REDMUX_LOG_WARN, record->number, "it is a warning");
        extra_of(&reader.block, record, line, sizeof line);
    } while (strstr(line, "4711") == NULL);
    CHECK_TEXT(line, "callback", "the line says what it is about");
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_inbox_close(events, WAIT_MS);
    redmux_inbox_close(inbox, WAIT_MS);
    redmux_options_free(options);
}

struct stuck {
    struct flag entered;
    struct flag release;
    struct flag drops;
};

static void drop_stuck(void *user)
{
    flag_add(&((struct stuck *)user)->drops, 1);
}

static int32_t stick(void *user, const redmux_block *block)
{
    struct stuck *stuck = user;
    (void)block;
    flag_add(&stuck->entered, 1);
    flag_reaches(&stuck->release, 1, 6 * WAIT_MS);
    return 0;
}

static void a_stuck_callback_delays_nobody_in_another_client(const char *url)
{
    struct stuck stuck = {FLAG, FLAG, FLAG};
    struct heard heard = HEARD;
    redmux_client held = client_open(url), free_one = client_open(url);
    redmux_inbox by_stuck = inbox_new_callback(held, stick, &stuck, NULL), taken, other;

    CHECK_OK(redmux_client_flush(held, by_stuck, 1, WAIT_MS));
    FLAG_AWAIT(&stuck.entered, 1, "the callback is stuck");

    /* The other client: subscribing, publishing, callbacks, closing. */
    other = inbox_new_callback(free_one, on_block, &heard, NULL);
    subscribe(free_one, other, "flood", 1);
    for (uint32_t i = 0; i < 100; i++)
        post_number(free_one, i);
    FLAG_AWAIT(&heard.messages, 100, "another client's callbacks are called");
    CHECK_OK(redmux_inbox_close(other, WAIT_MS));
    CHECK_OK(redmux_client_close(free_one, WAIT_MS));

    /* Its own client too works on, but for its callbacks. */
    taken = inbox_new(held);
    subscribe(held, taken, "n", 2);
    CHECK_EQ(1, publish(held, "n", "d"), "its link is alive");
    CHECK_EQ(1, flag_get(&stuck.entered), "one call, which still runs");
    flag_add(&stuck.release, 1);
    CHECK_OK(redmux_client_close(held, WAIT_MS));
    redmux_inbox_close(taken, WAIT_MS);
}

/* The close of an inbox that gave up leaves the client's close to wait for the callback. */
static void a_close_that_gave_up_does_not_hide_a_running_callback(const char *url)
{
    struct stuck stuck = {FLAG, FLAG, FLAG};
    redmux_client client = client_open(url);
    redmux_inbox inbox = inbox_new_callback(client, stick, &stuck, drop_stuck);

    CHECK_OK(redmux_client_flush(client, inbox, 1, WAIT_MS));
    FLAG_AWAIT(&stuck.entered, 1, "the callback is stuck");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_inbox_close(inbox, 20));
    CHECK_EQ(0, flag_get(&stuck.drops), "drop has not been called");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_close(client, 20));
    CHECK_EQ(0, flag_get(&stuck.drops), "drop has not been called");
    flag_add(&stuck.release, 1);
    FLAG_AWAIT(&stuck.drops, 1, "drop says when all is over");
    CHECK_EQ(1, flag_get(&stuck.entered), "the running call was the last");
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    one_inbox_is_served_in_order_by_one_thread_at_a_time(fixture.url);
    what_a_callback_returns_is_logged_and_ends_nothing(fixture.url);
    a_stuck_callback_delays_nobody_in_another_client(fixture.url);
    a_close_that_gave_up_does_not_hide_a_running_callback(fixture.url);
    fixture_end(&fixture);
    return 0;
}
