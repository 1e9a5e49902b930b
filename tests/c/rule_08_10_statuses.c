/* Rules 8 and 10: statuses are plain integers in ranges, name and message are total, and a number that C passes and
 * that is none is REDMUX_ERR_INVALID_ARGUMENT.
 */
#include "check.h"

static void check_total(int32_t status)
{
    const char *name = redmux_status_name(status), *message = redmux_status_message(status);
    CHECK(name != NULL && message != NULL, "every number has a name and a message");
    CHECK(strncmp(name, "REDMUX_", 7) == 0 && message[0] != '\0', "every number has a name and a message");
    CHECK(name == redmux_status_name(status), "the name is static");
    CHECK((status == 0) == (strcmp(name, "REDMUX_OK") == 0), "only 0 is OK");
}

static void name_and_message_are_total(void)
{
    static const int32_t odd[] = {INT32_MIN, INT32_MIN + 1, -100000, -1, 1, 100, 200, 100000, INT32_MAX};
    for (int32_t status = -1500; status <= 1500; status++)
        check_total(status);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        check_total(odd[i]);
        CHECK(strcmp(redmux_status_name(odd[i]), "REDMUX_ERR_?") == 0, "a number that is none has a name that says so");
    }
    CHECK(strcmp(redmux_status_name(REDMUX_OK), "REDMUX_OK") == 0, "0 is OK");
    CHECK(strcmp(redmux_status_name(REDMUX_ERR_CLOSED), "REDMUX_ERR_CLOSED") == 0, "a status has the name of its macro");
    CHECK(strcmp(redmux_status_name(REDMUX_ERR_INTERNAL), "REDMUX_ERR_INTERNAL") == 0, "so has the last");
}

static void ranges_say_what_it_is_about(void)
{
    CHECK(REDMUX_OK == 0, "0 is OK");
    CHECK(REDMUX_ERR_INVALID_ARGUMENT <= -100 && REDMUX_ERR_NOT_BUILT > -200, "arguments are -100 to -199");
    CHECK(REDMUX_ERR_CLOSED <= -200 && REDMUX_ERR_CONFLICT > -300, "states are -200 to -299");
    CHECK(REDMUX_ERR_CONNECT <= -300 && REDMUX_ERR_PING_TIMEOUT > -400, "the network is -300 to -399");
    CHECK(REDMUX_ERR_REDIS <= -400 && REDMUX_ERR_OLD_SERVER > -500, "Redis is -400 to -499");
    CHECK(REDMUX_ERR_FULL <= -500 && REDMUX_ERR_NO_MEMORY > -600, "limits are -500 to -599");
    CHECK(REDMUX_ERR_TIMEOUT <= -600 && REDMUX_ERR_INTERNAL <= -900, "time is -600, defects are -900");
}

static void unknown_values_are_invalid_arguments(const char *url)
{
    static const int32_t bad[] = {INT32_MIN, -1, 3, 4, 1000, INT32_MAX};
    static const int32_t no_status[] = {INT32_MIN, -1, 1, -99, -105, -899, INT32_MAX};
    redmux_options options = options_for(url);
    redmux_client client = {0};
    redmux_error *error = NULL;
    redmux_inbox inbox;
    redmux_block block = {0};
    static const int64_t no_time[] = {-2, -1000, INT64_MIN};
    redmux_subscription subscription = {0};
    redmux_bytes name = bytes_of("n");
    redmux_text *text = NULL;
    size_t count;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT,
                     redmux_client_open_with(options, bad[i], NULL, NULL, NULL, &client, NULL, &error));
        CHECK_TEXT(redmux_error_message(error), "events", "the sentence names the argument");
        redmux_error_free(error);
    }
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    for (size_t i = 0; i < sizeof no_status / sizeof no_status[0]; i++)
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_question_answer(client, 1, no_status[i], NULL, 0));
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_question_answer(client, 1, REDMUX_ERR_AUTH, NULL, 0));

    inbox = inbox_new(client);
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    for (size_t i = 0; i < sizeof no_time / sizeof no_time[0]; i++) {
        const int64_t t = no_time[i];
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_take(inbox, t, &block));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_wait(client, t, &inbox, 1, &count));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_ready(client, inbox, 1, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_ready_wait(client, t, NULL));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_flush(client, inbox, 1, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_subscription_add(subscription, &name, 1, inbox, 1, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_promise_wait(client, name.data, 1, t, &text, NULL));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_close_begin(client, inbox, 1, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_close(inbox, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_close(client, t));
        CHECK_STATUS(REDMUX_ERR_INVALID_ARGUMENT, redmux_shutdown(t));
    }
    /* Refused closes closed nothing, and the longest time is a time. */
    CHECK_OK(redmux_client_flush(client, inbox, 1, INT64_MAX));
    CHECK_OK(redmux_inbox_take(inbox, INT64_MAX, &block));
    redmux_block_release(&block);
    CHECK_OK(redmux_client_close(client, INT64_MAX));
    redmux_options_free(options);
}

int main(void)
{
    struct fixture fixture;
    name_and_message_are_total();
    ranges_say_what_it_is_about();
    fixture_start(&fixture, NULL);
    unknown_values_are_invalid_arguments(fixture.url);
    fixture_end(&fixture);
    return 0;
}
