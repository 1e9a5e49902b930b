/* Rule 12 for requests and responders: what is wrong is a status, names the argument, and leaves nothing behind. */
#include "check.h"

#define BAD REDMUX_ERR_INVALID_ARGUMENT

static const redmux_options defaults = {0};
static const uint8_t *const x = (const uint8_t *)"x";

static void asking(redmux_client client, redmux_inbox inbox, redmux_inbox foreign)
{
    static const char *const bad_headers[] = {" ", "[]", "{\"a\":1}", "{\"a\":\"b\"\n}", "{\"a\":\"\xff\"}", "{"};
    redmux_options stale = {0};
    redmux_gather gather = {77};
    redmux_text *text = NULL;
    redmux_error *error = NULL;
    uint8_t *large = calloc(1, 70000);

    CHECK(large != NULL, "there is memory");
    CHECK_STATUS(BAD, redmux_gather_open(client, inbox, NULL, 1, NULL, 0, NULL, 0, defaults, 1, 0, &gather, &error));
    CHECK_TEXT(redmux_error_message(error), "service", "the sentence names the argument");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_gather_open(client, inbox, x, 1, NULL, 1, NULL, 0, defaults, 1, 0, &gather, NULL));
    CHECK_STATUS(BAD, redmux_gather_open(client, inbox, x, 1, NULL, 0, NULL, 1, defaults, 1, 0, &gather, NULL));
    for (size_t i = 0; i < sizeof bad_headers / sizeof bad_headers[0]; i++)
        CHECK_STATUS(BAD, redmux_gather_open(client, inbox, x, 1, NULL, 0, (const uint8_t *)bad_headers[i],
                                             strlen(bad_headers[i]), defaults, 1, 0, &gather, NULL));
    CHECK_STATUS(BAD, redmux_gather_open(client, (redmux_inbox){0}, x, 1, NULL, 0, NULL, 0, defaults, 1, 0, &gather,
                                         NULL));
    CHECK_STATUS(BAD, redmux_gather_open(client, foreign, x, 1, NULL, 0, NULL, 0, defaults, 1, 0, &gather, &error));
    CHECK_TEXT(redmux_error_message(error), "another client", "an inbox belongs to one client");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_gather_open(client, inbox, x, 1, NULL, 0, NULL, 0, defaults, 1, -1, &gather, &error));
    CHECK_TEXT(redmux_error_message(error), "time limit", "a request has an end");
    redmux_error_free(error);
    CHECK_STATUS(BAD, redmux_gather_open(client, inbox, x, 1, NULL, 0, NULL, 0, defaults, 1, -2, &gather, NULL));
    CHECK_OK(redmux_options_new(&stale));
    redmux_options_free(stale);
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_gather_open(client, inbox, x, 1, NULL, 0, NULL, 0, stale, 1, 0, &gather, NULL));
    CHECK_STATUS(REDMUX_ERR_TOO_LARGE, redmux_gather_open(client, inbox, large, 70000, NULL, 0, NULL, 0, defaults, 1, 0,
                                                          &gather, NULL));
    CHECK_EQ(77, gather.id, "a result is written only on success");

    CHECK_STATUS(BAD, redmux_gather_stop(client, gather, 0));
    CHECK_STATUS(BAD, redmux_gather_stop(client, gather, REDMUX_REASON_ALL));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_gather_stop(client, gather, REDMUX_REASON_CANCELLED));

    CHECK_STATUS(BAD, redmux_gather_first_wait(client, x, 1, NULL, 0, NULL, 0, defaults, 100, NULL, NULL));
    CHECK_STATUS(BAD, redmux_gather_first_wait(client, NULL, 1, NULL, 0, NULL, 0, defaults, 100, &text, NULL));
    CHECK_STATUS(BAD, redmux_gather_first_wait(client, x, 1, NULL, 1, NULL, 0, defaults, 100, &text, NULL));
    CHECK_STATUS(BAD, redmux_gather_first_wait(client, x, 1, NULL, 0, NULL, 0, defaults, -1, &text, NULL));
    CHECK(text == NULL, "a result is written only on success");
    free(large);
}

static void serving(redmux_client client, redmux_inbox inbox, redmux_inbox foreign)
{
    redmux_responder responder = {77}, same = {77};
    redmux_error *error = NULL;

    CHECK_STATUS(BAD, redmux_responder_open(client, inbox, x, 1, defaults, 1, NULL, NULL));
    CHECK_STATUS(BAD, redmux_responder_open(client, inbox, NULL, 1, defaults, 1, &responder, NULL));
    CHECK_STATUS(BAD, redmux_responder_open(client, (redmux_inbox){0}, x, 1, defaults, 1, &responder, NULL));
    CHECK_STATUS(BAD, redmux_responder_open(client, foreign, x, 1, defaults, 1, &responder, NULL));
    CHECK_STATUS(BAD, redmux_responder_open(client, inbox, (const uint8_t *)"$", 1, defaults, 1, &responder, NULL));
    CHECK_EQ(77, responder.id, "a result is written only on success");
    CHECK_OK(redmux_responder_open(client, inbox, x, 1, defaults, 1, &responder, NULL));
    CHECK_STATUS(REDMUX_ERR_ALREADY_SUBSCRIBED, redmux_responder_open(client, inbox, x, 1, defaults, 1, &same, &error));
    CHECK_TEXT(redmux_error_message(error), "\"x\"", "the sentence names the service");
    redmux_error_free(error);

    CHECK_STATUS(BAD, redmux_responder_active(responder, (redmux_inbox){0}, 1, 0));
    CHECK_STATUS(BAD, redmux_responder_active(responder, foreign, 1, 0));
    CHECK_STATUS(BAD, redmux_responder_answer(responder, 1, NULL, 1, NULL, 0, 1));
    CHECK_STATUS(BAD, redmux_responder_answer(responder, 1, NULL, 0, NULL, 1, 1));
    CHECK_STATUS(BAD, redmux_responder_answer(responder, 1, NULL, 0, (const uint8_t *)"[]", 2, 1));
    CHECK_STATUS(BAD, redmux_responder_answer(responder, 1, NULL, 0, NULL, 0, 2));
    CHECK_STATUS(BAD, redmux_responder_fail(responder, 1, NULL, 1, NULL, 0, 0));
    CHECK_STATUS(BAD, redmux_responder_fail(responder, 1, x, 1, NULL, 1, 0));
    CHECK_STATUS(BAD, redmux_responder_fail(responder, 1, (const uint8_t *)"\xff", 1, x, 1, 0));
    CHECK_STATUS(BAD, redmux_responder_fail(responder, 1, x, 1, x, 1, 7));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_answer(responder, 1, NULL, 0, NULL, 0, 1));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_end(responder, 1));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_fail(responder, UINT64_MAX, NULL, 0, NULL, 0, 1));
    CHECK_STATUS(BAD, redmux_responder_drain(responder, foreign, 1, 0));
    CHECK_OK(redmux_responder_close(responder));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_close(responder));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_close((redmux_responder){0}));
}

int main(void)
{
    redmux_client client = client_open("redis://127.0.0.1:1"), other = client_open("redis://127.0.0.1:1");
    redmux_inbox inbox = inbox_new(client), foreign = inbox_new(other);

    asking(client, inbox, foreign);
    serving(client, inbox, foreign);
    CHECK_OK(redmux_client_close(client, 0));
    CHECK_OK(redmux_client_close(other, 0));
    CHECK_OK(redmux_inbox_close(inbox, 0));
    CHECK_OK(redmux_inbox_close(foreign, 0));
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    return 0;
}
