/* Rule 6: outputs are written only on success, out_error only on failure; a take always writes its block, {0} on
 * failure, because the earlier one is back.
 */
#include "check.h"

static redmux_error *const unwritten = (redmux_error *)(size_t)0x77;

static void an_error_is_written_only_on_failure(const char *url)
{
    redmux_client client = {0};
    redmux_error *error = unwritten;
    redmux_options options = {0};
    CHECK_OK(redmux_client_open(url, &client, &error));
    CHECK(error == unwritten, "a call that succeeds does not touch out_error");
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, &error));
    CHECK(error == unwritten, "a call that succeeds does not touch out_error");

    CHECK_OK(redmux_options_new(&options));
    CHECK_STATUS(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set(options, "no_such", "1", &error));
    CHECK(error != unwritten && error != NULL, "a call that fails writes out_error");
    CHECK_EQ(REDMUX_ERR_UNKNOWN_OPTION, redmux_error_code(error), "the error has the status of the call");
    redmux_error_free(error);
    redmux_options_free(options);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

static void results_are_untouched_on_failure(const char *url)
{
    redmux_client client = {77};
    redmux_inbox inbox = {77}, foreign, inboxes[1] = {{77}};
    redmux_client one = client_open(url), two = client_open(url);
    redmux_subscription subscription = {77};
    redmux_promises promises = {77};
    redmux_text *text = (redmux_text *)(size_t)0x77;
    redmux_options options = {0};
    size_t count = 77;
    uint64_t receivers = 77;

    CHECK_STATUS(REDMUX_ERR_INVALID_URL, redmux_client_open("redis://host:notaport", &client, NULL));
    CHECK_EQ(77, client.id, "out_client is untouched");
    CHECK_OK(redmux_options_new(&options));
    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT,
                 redmux_client_open_with(options, 99, NULL, NULL, NULL, &client, &inbox, NULL));
    CHECK(client.id == 77 && inbox.id == 77, "out_client and out_events are untouched");

    foreign = inbox_new(two);
    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_subscription_new(one, foreign, 1, &subscription));
    CHECK_EQ(77, subscription.id, "out_subscription is untouched");
    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_promises_new(one, foreign, NULL, 0, 1, &promises));
    CHECK_EQ(77, promises.id, "out_promises is untouched");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_wait(one, 1, inboxes, 1, &count));
    CHECK(count == 77 && inboxes[0].id == 77, "out_count and out_inboxes are untouched");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_promise_wait(one, (const uint8_t *)"n", 1, 30, &text, NULL));
    CHECK(text == (redmux_text *)(size_t)0x77, "out_text is untouched");
    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT,
                 redmux_client_publish_wait(one, NULL, 3, NULL, 0, 100, &receivers, NULL));
    CHECK_EQ(77, receivers, "out_receivers is untouched");

    redmux_options_free(options);
    CHECK_OK(redmux_client_close(one, WAIT_MS));
    CHECK_OK(redmux_client_close(two, WAIT_MS));
    redmux_inbox_close(foreign, WAIT_MS);
}

static int is_zero(const redmux_block *block)
{
    return block->id == 0 && block->inbox.id == 0 && block->records == NULL && block->count == 0 &&
           block->data == NULL && block->data_len == 0 && block->more == 0 && block->status == 0;
}

/* Gives the struct a lent block, so that the next take has something to give back. */
static void fill(redmux_client client, redmux_inbox inbox, redmux_block *block)
{
    CHECK_OK(redmux_client_flush(client, inbox, 1, WAIT_MS));
    CHECK_OK(redmux_inbox_take(inbox, WAIT_MS, block));
    CHECK(block->id != 0 && block->count == 1 && block->inbox.id == inbox.id, "a block came");
}

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

static void a_take_that_fails_writes_an_empty_block(const char *url)
{
    redmux_client client = client_open(url);
    redmux_inbox inbox = inbox_new(client);
    redmux_inbox calls = inbox_new_callback(client, ignore, NULL, NULL);
    redmux_block block = {0};
    const int64_t before = redmux_debug_live();

    fill(client, inbox, &block);
    CHECK_EQ(before + 1, redmux_debug_live(), "a lent block counts");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_inbox_take(inbox, 0, &block));
    CHECK(is_zero(&block), "TIMEOUT writes {0}");
    CHECK_EQ(before, redmux_debug_live(), "the earlier block is back");

    fill(client, inbox, &block);
    CHECK_STATUS(REDMUX_ERR_CONFLICT, redmux_inbox_take(calls, 0, &block));
    CHECK(is_zero(&block), "CONFLICT writes {0}");
    CHECK_EQ(before, redmux_debug_live(), "the earlier block is back");

    fill(client, inbox, &block);
    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_take(inbox, -2, &block));
    CHECK(is_zero(&block), "INVALID_ARGUMENT writes {0}");
    CHECK_EQ(before, redmux_debug_live(), "the earlier block is back");

    fill(client, inbox, &block);
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_take(inbox, 0, &block));
    CHECK(is_zero(&block), "CLOSED writes {0}");
    CHECK_EQ(before - 1, redmux_debug_live(), "the earlier block is back");

    CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_take(inbox_new(client), 0, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    an_error_is_written_only_on_failure(fixture.url);
    results_are_untouched_on_failure(fixture.url);
    a_take_that_fails_writes_an_empty_block(fixture.url);
    fixture_end(&fixture);
    return 0;
}
