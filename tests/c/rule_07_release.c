/* Rule 7: every type has one free, release or close, which is harmless on {0} and NULL, and on handles when repeated. */
#include "check.h"

int main(void)
{
    struct fixture fixture;
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription = {0};
    redmux_promises promises = {0};
    redmux_options options = {0};
    redmux_block block = {0}, copy, forged = {0};
    uint64_t id;
    int32_t status;

    for (int i = 0; i < 2; i++) {
        redmux_error_free(NULL);
        redmux_text_free(NULL);
        redmux_list_free(NULL);
        redmux_block_release(NULL);
        redmux_block_release(&block);
        redmux_options_free(options);
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_close((redmux_client){0}, 0));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_close((redmux_inbox){0}, 0));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_subscription_close(subscription));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_promises_close(promises));
    }
    CHECK(redmux_text_bytes(NULL).len == 0 && redmux_text_bytes(NULL).data != NULL, "NULL has no bytes");
    CHECK(redmux_list_count(NULL) == 0 && redmux_list_item(NULL, 0).len == 0, "NULL has no items");
    CHECK_EQ(REDMUX_ERR_INVALID_ARGUMENT, redmux_error_code(NULL), "NULL is an argument that is missing");
    CHECK(redmux_error_message(NULL)[0] == '\0' && redmux_error_redis(NULL) == NULL, "NULL says nothing");
    CHECK_EQ(0, redmux_error_retriable(NULL), "NULL is not worth a retry");

    fixture_start(&fixture, NULL);
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_options_set_url(options, fixture.url, NULL));
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    redmux_options_free(options);
    redmux_options_free(options);
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
    inbox = inbox_new(client);
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    CHECK_OK(redmux_promises_new(client, inbox, NULL, 0, 1, &promises));

    CHECK_OK(redmux_client_flush(client, inbox, 1, WAIT_MS));
    CHECK_OK(redmux_inbox_take(inbox, WAIT_MS, &block));
    copy = block;
    id = block.id;
    CHECK(id != 0, "a block is lent");
    /* Go ends a program that holds a pointer into the lowest page. */
    CHECK(block.data_len > 0 || (uintptr_t)block.data > 4096, "an address in memory, also where there are no bytes");
    redmux_block_release(&block);
    CHECK(block.id == 0 && block.records == NULL && block.count == 0, "a release zeroes the struct");
    redmux_block_release(&block);
    redmux_block_release(&copy);
    forged.id = id + 1;
    redmux_block_release(&forged);

    /* A stale copy in a take is harmless too: it is not given back twice. */
    memset(&forged, 0, sizeof forged);
    forged.id = id;
    /* What the promises have to say may come at any time; the next look is behind it. */
    while ((status = redmux_inbox_take(inbox, 0, &forged)) == REDMUX_OK)
        continue;
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, status);

    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_promises_close(promises));
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_subscription_close(subscription));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_promises_close(promises));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_close(inbox, WAIT_MS));
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_close(client, WAIT_MS));
    }
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    CHECK_OK(redmux_shutdown(WAIT_MS));
    CHECK_OK(redmux_shutdown(WAIT_MS));
    fixture_end(&fixture);
    return 0;
}
