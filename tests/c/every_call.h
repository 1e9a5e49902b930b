/* Every function of the library that takes a handle, called once with a given number as that handle and with good
 * arguments beside it. Used where all of them must answer alike.
 */
#ifndef REDMUX_EVERY_CALL_H
#define REDMUX_EVERY_CALL_H

#include "check.h"

static inline int32_t every_block(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

/* Calls that take a client. */
static inline void every_client_call(uint64_t id, int32_t expected)
{
    redmux_client client = {id}, untouched = {id};
    redmux_inbox none = {0}, inbox = {77}, inboxes[2] = {{77}, {77}};
    redmux_subscription subscription = {77};
    redmux_promises promises = {77};
    redmux_gather gather = {77};
    redmux_responder responder = {77};
    redmux_block blocks[2] = {{0}, {0}};
    redmux_text *text = NULL;
    redmux_bytes name = bytes_of("n");
    const uint8_t *p = (const uint8_t *)"n";
    uint64_t receivers = 77;
    size_t count = 77;
    int32_t fd = 77;
    struct flag drops = FLAG;

    CHECK_STATUS(expected, redmux_gather_open(client, none, p, 1, p, 1, NULL, 0, (redmux_options){0}, 1, 100, &gather,
                                              NULL));
    CHECK_STATUS(expected, redmux_gather_stop(client, (redmux_gather){77}, REDMUX_REASON_CANCELLED));
    CHECK_STATUS(expected, redmux_gather_first_wait(client, p, 1, p, 1, NULL, 0, (redmux_options){0}, 100, &text, NULL));
    CHECK_STATUS(expected, redmux_responder_open(client, none, p, 1, (redmux_options){0}, 1, &responder, NULL));
    CHECK(gather.id == 77 && responder.id == 77, "results are written only on success");
    CHECK_STATUS(expected, redmux_client_ready(client, none, 1, 100));
    CHECK_STATUS(expected, redmux_client_ready_wait(client, 100, NULL));
    CHECK_STATUS(expected, redmux_client_authenticate(client, "u", "p", none, 1, 100));
    CHECK_STATUS(expected, redmux_question_answer(client, 1, 0, &name, 1));
    CHECK_STATUS(expected, redmux_client_stop(client));
    CHECK_STATUS(expected, redmux_client_restart(client));
    CHECK_STATUS(expected, redmux_client_wait(client, 0, inboxes, 2, &count));
    CHECK_STATUS(expected, redmux_client_wake(client));
    CHECK_STATUS(expected, redmux_client_fd(client, &fd));
    CHECK_STATUS(expected, redmux_client_take_many(client, inboxes, 2, blocks, &count));
    CHECK_STATUS(expected, redmux_client_stats(client, &text));
    CHECK_STATUS(expected, redmux_client_close_begin(client, none, 1, 100));
    CHECK_STATUS(expected, redmux_client_close(client, 100));
    CHECK_STATUS(expected, redmux_inbox_new(client, (redmux_options){0}, &inbox, NULL));
    CHECK_STATUS(expected, redmux_inbox_new_callback(client, (redmux_options){0}, every_block, &drops, drop_counts,
                                                     &inbox, NULL));
    CHECK_STATUS(expected, redmux_subscription_new(client, none, 1, &subscription));
    CHECK_STATUS(expected, redmux_subscription_new_pattern(client, none, p, 1, 1, none, 1, 100, &subscription));
    CHECK_STATUS(expected, redmux_promises_new(client, none, p, 1, 1, &promises));
    CHECK_STATUS(expected, redmux_promise_make(client, p, 1, none, 1, 100));
    CHECK_STATUS(expected, redmux_promise_wait(client, p, 1, 100, &text, NULL));
    CHECK_STATUS(expected, redmux_client_publish(client, p, 1, p, 1, none, 1, 100));
    CHECK_STATUS(expected, redmux_client_publish_wait(client, p, 1, p, 1, 100, &receivers, NULL));
    CHECK_STATUS(expected, redmux_client_post(client, p, 1, p, 1));
    CHECK_STATUS(expected, redmux_client_flush(client, none, 1, 100));
    CHECK_STATUS(expected, redmux_client_flush_wait(client, 100, NULL));
    CHECK_STATUS(expected, redmux_client_barrier(client, none, 1, 100));
    CHECK_STATUS(expected, redmux_client_barrier_wait(client, 100, NULL));
    CHECK_EQ(1, flag_get(&drops), "drop runs once also when registering fails");
    CHECK(untouched.id == client.id && inbox.id == 77 && subscription.id == 77 && promises.id == 77 && count == 77 &&
              fd == 77 && receivers == 77 && text == NULL && inboxes[0].id == 77 && blocks[0].id == 0,
          "results are written only on success");
}

/* Calls that take an inbox. */
static inline void every_inbox_call(uint64_t id, int32_t expected)
{
    redmux_inbox inbox = {id};
    redmux_block block = {0};
    redmux_text *text = NULL;
    CHECK_STATUS(expected, redmux_inbox_take(inbox, 0, &block));
    CHECK_STATUS(expected, redmux_inbox_cancel(inbox, 1));
    CHECK_STATUS(expected, redmux_inbox_stats(inbox, &text));
    CHECK_STATUS(expected, redmux_inbox_close(inbox, 100));
    CHECK(text == NULL && block.id == 0 && block.records == NULL, "results are written only on success");
}

/* Calls that take a subscription. */
static inline void every_subscription_call(uint64_t id, int32_t expected)
{
    redmux_subscription subscription = {id};
    redmux_inbox none = {0};
    redmux_bytes name = bytes_of("n");
    redmux_list *list = NULL;
    CHECK_STATUS(expected, redmux_subscription_add(subscription, &name, 1, none, 1, 100));
    CHECK_STATUS(expected, redmux_subscription_add_wait(subscription, &name, 1, 100, NULL));
    CHECK_STATUS(expected, redmux_subscription_remove(subscription, &name, 1, none, 1, 100));
    CHECK_STATUS(expected, redmux_subscription_remove_wait(subscription, &name, 1, 100, NULL));
    CHECK_STATUS(expected, redmux_subscription_clear(subscription, none, 1, 100));
    CHECK_STATUS(expected, redmux_subscription_clear_wait(subscription, 100, NULL));
    CHECK_STATUS(expected, redmux_subscription_drain(subscription, none, 1, 100));
    CHECK_STATUS(expected, redmux_subscription_drain_wait(subscription, 100, NULL));
    CHECK_STATUS(expected, redmux_subscription_active(subscription, none, 1, 100));
    CHECK_STATUS(expected, redmux_subscription_active_wait(subscription, 100, NULL));
    CHECK_STATUS(expected, redmux_subscription_names(subscription, &list));
    CHECK_STATUS(expected, redmux_subscription_close(subscription));
    CHECK(list == NULL, "results are written only on success");
}

/* Calls that take a promise set. */
static inline void every_promises_call(uint64_t id, int32_t expected)
{
    redmux_promises promises = {id};
    redmux_inbox none = {0};
    redmux_text *text = NULL;
    const uint8_t *p = (const uint8_t *)"n";
    size_t count = 77;
    CHECK_STATUS(expected, redmux_promises_make(promises, p, 1, none, 1, 100));
    CHECK_STATUS(expected, redmux_promises_make_later(promises, p, 1, none, 1, 100, 100));
    CHECK_STATUS(expected, redmux_promises_make_wait(promises, p, 1, 100, &text, NULL));
    CHECK_STATUS(expected, redmux_promises_active(promises, none, 1, 100));
    CHECK_STATUS(expected, redmux_promises_active_wait(promises, 100, NULL));
    CHECK_STATUS(expected, redmux_promises_clear(promises, &count));
    CHECK_STATUS(expected, redmux_promises_close(promises));
    CHECK(text == NULL && count == 77, "results are written only on success");
}

/* Calls that take a responder. */
static inline void every_responder_call(uint64_t id, int32_t expected)
{
    redmux_responder responder = {id};
    redmux_inbox none = {0};
    const uint8_t *p = (const uint8_t *)"n";
    CHECK_STATUS(expected, redmux_responder_active(responder, none, 1, 100));
    CHECK_STATUS(expected, redmux_responder_active_wait(responder, 100, NULL));
    CHECK_STATUS(expected, redmux_responder_answer(responder, 1, p, 1, NULL, 0, 1));
    CHECK_STATUS(expected, redmux_responder_end(responder, 1));
    CHECK_STATUS(expected, redmux_responder_fail(responder, 1, p, 1, p, 1, 0));
    CHECK_STATUS(expected, redmux_responder_drain(responder, none, 1, 100));
    CHECK_STATUS(expected, redmux_responder_close(responder));
}

/* Calls that take options. */
static inline void every_options_call(uint64_t id, int32_t expected)
{
    redmux_options options = {id};
    redmux_text *text = NULL;
    redmux_client client = {77};
    redmux_inbox events = {77};
    CHECK_STATUS(expected, redmux_options_set(options, "name", "n", NULL));
    CHECK_STATUS(expected, redmux_options_set_url(options, "redis://localhost", NULL));
    CHECK_STATUS(expected, redmux_options_set_json(options, "{}", NULL));
    CHECK_STATUS(expected, redmux_options_set_file(options, "/dev/null", NULL));
    CHECK_STATUS(expected, redmux_options_get(options, "name", &text, NULL));
    CHECK_STATUS(expected, redmux_options_get(options, NULL, &text, NULL));
    CHECK_STATUS(expected, redmux_client_open_with(options, REDMUX_EVENTS_TAKE, NULL, NULL, NULL, &client, &events,
                                                   NULL));
    redmux_options_free(options);
    CHECK(text == NULL && client.id == 77 && events.id == 77, "results are written only on success");
}

static inline void every_call(uint64_t id, int32_t expected)
{
    every_client_call(id, expected);
    every_inbox_call(id, expected);
    every_subscription_call(id, expected);
    every_promises_call(id, expected);
    every_responder_call(id, expected);
    every_options_call(id, expected);
}

#endif
