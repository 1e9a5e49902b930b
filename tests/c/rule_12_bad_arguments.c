/* Rule 12: a NULL, a value that is none, bytes that are no UTF-8 where text is required, a zero size: a status, never an
 * assert and never an abort.
 */
#include "check.h"

#define BAD REDMUX_ERR_INVALID_ARGUMENT

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

/* Pointers that are not where their type may stand. */
static void *odd(void *pointer)
{
    return (char *)pointer + 1;
}

static void null_outputs(redmux_client client, redmux_inbox inbox, redmux_subscription subscription,
                         redmux_promises promises, redmux_options options)
{
    const uint8_t *p = (const uint8_t *)"n";
    redmux_inbox inboxes[1] = {{0}};
    redmux_block blocks[1] = {{0}};
    redmux_error *error = NULL;
    struct flag drops = FLAG;
    size_t count = 0;

    CHECK_STATUS(BAD, redmux_client_open(NULL, NULL, NULL));
    CHECK_STATUS(BAD, redmux_client_open("redis://127.0.0.1:1", NULL, &error));
    CHECK_TEXT(redmux_error_message(error), "out_client", "the sentence names the argument");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, ignore, &drops, drop_counts, NULL, NULL,
                                              NULL));
    CHECK_STATUS(BAD, redmux_inbox_new(client, options, NULL, NULL));
    CHECK_STATUS(BAD, redmux_inbox_new_callback(client, options, ignore, &drops, drop_counts, NULL, NULL));
    CHECK_EQ(2, flag_get(&drops), "drop runs once for each that could not be registered");
    CHECK_STATUS(BAD, redmux_subscription_new(client, inbox, 1, NULL));
    CHECK_STATUS(BAD, redmux_subscription_new_pattern(client, inbox, p, 1, 1, inbox, 1, 0, NULL));
    CHECK_STATUS(BAD, redmux_subscription_names(subscription, NULL));
    CHECK_STATUS(BAD, redmux_promises_new(client, inbox, p, 1, 1, NULL));
    CHECK_STATUS(BAD, redmux_promises_make_wait(promises, p, 1, 10, NULL, NULL));
    CHECK_STATUS(BAD, redmux_promise_wait(client, p, 1, 10, NULL, NULL));
    CHECK_STATUS(BAD, redmux_client_wait(client, 0, NULL, 1, &count));
    CHECK_STATUS(BAD, redmux_client_wait(client, 0, inboxes, 1, NULL));
    CHECK_STATUS(BAD, redmux_client_wait(client, 0, inboxes, 0, &count));
    CHECK_STATUS(BAD, redmux_client_fd(client, NULL));
    CHECK_STATUS(BAD, redmux_client_take_many(client, NULL, 1, blocks, &count));
    CHECK_STATUS(BAD, redmux_client_take_many(client, inboxes, 1, NULL, &count));
    CHECK_STATUS(BAD, redmux_client_take_many(client, inboxes, 1, blocks, NULL));
    CHECK_STATUS(BAD, redmux_client_stats(client, NULL));
    CHECK_STATUS(BAD, redmux_inbox_stats(inbox, NULL));
    CHECK_STATUS(BAD, redmux_inbox_take(inbox, 0, NULL));
    CHECK_STATUS(BAD, redmux_options_new(NULL));
    CHECK_STATUS(BAD, redmux_options_get(options, "name", NULL, NULL));
    CHECK_STATUS(BAD, redmux_options_describe(NULL));
    CHECK_OK(redmux_promises_clear(promises, NULL));
    CHECK_OK(redmux_client_take_many(client, NULL, 0, NULL, &count));
    CHECK_EQ(0, count, "none of none");
}

static void null_inputs(redmux_client client, redmux_inbox inbox, redmux_subscription subscription,
                        redmux_promises promises, redmux_options options)
{
    const redmux_bytes bad[1] = {{NULL, 3}};
    redmux_subscription sub = {0};
    redmux_promises set = {0};
    redmux_text *text = NULL;
    redmux_error *error = NULL;

    CHECK_STATUS(BAD, redmux_client_publish(client, NULL, 1, NULL, 0, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_publish(client, NULL, 0, NULL, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_publish_wait(client, NULL, 1, NULL, 0, 0, NULL, &error));
    CHECK_TEXT(redmux_error_message(error), "channel", "the sentence names the argument");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_client_post(client, NULL, 1, NULL, 0));
    CHECK_STATUS(BAD, redmux_client_post(client, NULL, 0, NULL, 1));
    CHECK_STATUS(BAD, redmux_subscription_new_pattern(client, inbox, NULL, 1, 1, inbox, 1, 0, &sub));
    CHECK_STATUS(BAD, redmux_subscription_add(subscription, NULL, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_add(subscription, bad, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_add_wait(subscription, NULL, 1, 0, NULL));
    CHECK_STATUS(BAD, redmux_subscription_add_wait(subscription, bad, 1, 0, NULL));
    CHECK_STATUS(BAD, redmux_subscription_remove(subscription, NULL, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_remove_wait(subscription, bad, 1, 0, NULL));
    CHECK_STATUS(BAD, redmux_promises_new(client, inbox, NULL, 1, 1, &set));
    CHECK_STATUS(BAD, redmux_promises_make(promises, NULL, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_promises_make_later(promises, NULL, 1, inbox, 1, 0, 0));
    CHECK_STATUS(BAD, redmux_promises_make_wait(promises, NULL, 1, 0, &text, NULL));
    CHECK_STATUS(BAD, redmux_promise_make(client, NULL, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_promise_wait(client, NULL, 1, 0, &text, NULL));
    CHECK_STATUS(BAD, redmux_client_authenticate(client, NULL, NULL, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_question_answer(client, 1, 0, NULL, 1));
    CHECK_STATUS(BAD, redmux_question_answer(client, 1, 0, bad, 1));
    CHECK_STATUS(BAD, redmux_options_set(options, NULL, "1", NULL));
    CHECK_STATUS(BAD, redmux_options_set(options, "name", NULL, NULL));
    CHECK_STATUS(BAD, redmux_options_set_url(options, NULL, NULL));
    CHECK_STATUS(BAD, redmux_options_set_json(options, NULL, NULL));
    CHECK_STATUS(BAD, redmux_options_set_file(options, NULL, NULL));
    CHECK_STATUS(BAD, redmux_inbox_new_callback(client, (redmux_options){0}, NULL, NULL, NULL, &inbox, NULL));
    CHECK(sub.id == 0 && set.id == 0 && text == NULL, "nothing was made");
}

static void impossible_lengths(redmux_client client, redmux_inbox inbox, redmux_subscription subscription,
                               redmux_promises promises)
{
    const uint8_t *p = (const uint8_t *)"n";
    const redmux_bytes bad[1] = {{(const uint8_t *)"n", (size_t)-1}};
    redmux_block blocks[1] = {{0}};
    size_t count = 0;
    CHECK_STATUS(BAD, redmux_client_publish(client, p, (size_t)-1, p, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_publish(client, p, 1, p, (size_t)-1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_post(client, p, (size_t)-1, p, 1));
    CHECK_STATUS(BAD, redmux_subscription_add(subscription, bad, 1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_add(subscription, bad, (size_t)-1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_add(subscription, bad, (size_t)-1 / 2, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_promises_make(promises, p, (size_t)-1, inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_take_many(client, &inbox, (size_t)-1, blocks, &count));
}

/* Only where the caller's own compiler let it pass; the library must not trust it. */
static void misplaced_pointers(redmux_client client, redmux_inbox inbox)
{
    uint64_t room[8] = {0};
    redmux_inbox inboxes[1] = {{0}};
    size_t count = 0;
    CHECK_STATUS(BAD, redmux_options_new(odd(room)));
    CHECK_STATUS(BAD, redmux_client_stats(client, odd(room)));
    CHECK_STATUS(BAD, redmux_client_wait(client, 0, odd(room), 1, &count));
    CHECK_STATUS(BAD, redmux_client_wait(client, 0, inboxes, 1, odd(room)));
    CHECK_STATUS(BAD, redmux_inbox_take(inbox, 0, odd(room)));
    redmux_block_release(odd(room));
}

static void text_that_is_no_utf_8(redmux_client client, redmux_inbox inbox, redmux_options options)
{
    static const char bad[] = "na\xff\xfeme";
    redmux_client other = {0};
    redmux_text *text = NULL;
    redmux_error *error = NULL;
    CHECK_STATUS(BAD, redmux_client_open(bad, &other, &error));
    CHECK_TEXT(redmux_error_message(error), "UTF-8", "the sentence says why");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_options_set(options, bad, "1", NULL));
    CHECK_STATUS(BAD, redmux_options_set(options, "name", bad, NULL));
    CHECK_STATUS(BAD, redmux_options_set_url(options, bad, NULL));
    CHECK_STATUS(BAD, redmux_options_set_json(options, bad, NULL));
    CHECK_STATUS(BAD, redmux_options_set_file(options, bad, NULL));
    CHECK_STATUS(BAD, redmux_options_get(options, bad, &text, NULL));
    CHECK_STATUS(BAD, redmux_client_authenticate(client, bad, "p", inbox, 1, 0));
    CHECK_STATUS(BAD, redmux_client_authenticate(client, NULL, bad, inbox, 1, 0));
}

static void operations_without_an_inbox(redmux_client client)
{
    const redmux_inbox none = {0};
    const uint8_t *p = (const uint8_t *)"n";
    redmux_subscription sub = {0};
    redmux_promises set = {0};
    CHECK_STATUS(BAD, redmux_client_ready(client, none, 1, 0));
    CHECK_STATUS(BAD, redmux_client_publish(client, p, 1, p, 1, none, 1, 0));
    CHECK_STATUS(BAD, redmux_client_flush(client, none, 1, 0));
    CHECK_STATUS(BAD, redmux_client_barrier(client, none, 1, 0));
    CHECK_STATUS(BAD, redmux_client_authenticate(client, NULL, "p", none, 1, 0));
    CHECK_STATUS(BAD, redmux_client_close_begin(client, none, 1, 0));
    CHECK_STATUS(BAD, redmux_promise_make(client, p, 1, none, 1, 0));
    CHECK_STATUS(BAD, redmux_subscription_new(client, none, 1, &sub));
    CHECK_STATUS(BAD, redmux_subscription_new_pattern(client, none, p, 1, 1, none, 1, 0, &sub));
    CHECK_STATUS(BAD, redmux_promises_new(client, none, p, 1, 1, &set));
}

static void names_and_payloads_over_their_limits(redmux_client client, redmux_inbox inbox,
                                                 redmux_subscription subscription, redmux_promises promises)
{
    const size_t len = 65 * 1024;
    uint8_t *large = calloc(1, len);
    redmux_bytes names[1];
    redmux_subscription sub = {0};
    CHECK(large != NULL, "there is memory");
    names[0].data = large;
    names[0].len = len;
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_client_publish(client, large, len, NULL, 0, inbox, 1, 0));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_client_post(client, large, len, NULL, 0));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_subscription_add(subscription, names, 1, inbox, 1, 0));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE,
                 redmux_subscription_new_pattern(client, inbox, large, len, 1, inbox, 1, 0, &sub));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_promises_make_later(promises, large, len, inbox, 1, 0, 0));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_promise_make(client, large, len, inbox, 1, 0));
    free(large);
}

int main(void)
{
    struct fixture fixture;
    redmux_client client;
    redmux_inbox inbox;
    redmux_options options = {0};
    redmux_subscription subscription = {0};
    redmux_promises promises = {0};
    struct reader reader;

    fixture_start(&fixture, NULL);
    client = client_open(fixture.url);
    inbox = inbox_new(client);
    reader = reader_of(inbox);
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    CHECK_OK(redmux_promises_new(client, inbox, (const uint8_t *)"p:", 2, 1, &promises));

    null_outputs(client, inbox, subscription, promises, options);
    null_inputs(client, inbox, subscription, promises, options);
    impossible_lengths(client, inbox, subscription, promises);
    misplaced_pointers(client, inbox);
    text_that_is_no_utf_8(client, inbox, options);
    operations_without_an_inbox(client);
    names_and_payloads_over_their_limits(client, inbox, subscription, promises);

    /* An add of nothing is done at once, and everything still works. */
    CHECK_OK(redmux_subscription_add(subscription, NULL, 0, inbox, 9, WAIT_MS));
    CHECK_EQ(0, await_token(&reader, REDMUX_KIND_DONE, 9)->number, "none of none");
    CHECK_OK(redmux_subscription_add_wait(subscription, NULL, 0, WAIT_MS, NULL));
    CHECK_EQ(0, publish(client, "n", "d"), "nobody has subscribed");
    reader_end(&reader);

    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_inbox_close(inbox, WAIT_MS);
    redmux_subscription_close(subscription);
    redmux_promises_close(promises);
    redmux_options_free(options);
    CHECK_EQ(0, redmux_debug_live(), "what failed left nothing");
    fixture_end(&fixture);
    return 0;
}
