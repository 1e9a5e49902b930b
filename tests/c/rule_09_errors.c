/* Rule 9: an error is an owned object with code, message, retriable and Redis' own word. It is asked for or not, read on
 * another thread and freed there, and has nothing to do with what fails later.
 */
#include "check.h"

static void *read_and_free(void *arg)
{
    redmux_error *error = arg;
    CHECK_EQ(REDMUX_ERR_UNKNOWN_OPTION, redmux_error_code(error), "an error is read on any thread");
    CHECK_TEXT(redmux_error_message(error), "no_such_key", "an error is read on any thread");
    redmux_error_free(error);
    return NULL;
}

static void an_error_belongs_to_no_thread(void)
{
    redmux_options options = {0};
    redmux_error *first = NULL, *second = NULL;
    const char *message;
    char copy[512];
    CHECK_OK(redmux_options_new(&options));
    CHECK_STATUS(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set(options, "no_such_key", "1", &first));
    message = redmux_error_message(first);
    snprintf(copy, sizeof copy, "%s", message);
    CHECK_STATUS(REDMUX_ERR_INVALID_VALUE, redmux_options_set(options, "port", "many", &second));
    CHECK_STATUS(REDMUX_ERR_INVALID_VALUE, redmux_options_set(options, "port", "more", NULL));
    CHECK(strcmp(message, copy) == 0, "what fails later does not change an error");
    CHECK_EQ(REDMUX_ERR_INVALID_VALUE, redmux_error_code(second), "each call has its own");
    CHECK_TEXT(redmux_error_message(second), "port", "the sentence names what it is about");
    thread_join(thread_start(read_and_free, first));
    redmux_error_free(second);
    redmux_options_free(options);
}

static void retriable_says_whether_to_try_again(void)
{
    redmux_client client = client_open("redis://127.0.0.1:1");
    redmux_error *error = NULL;
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_ready_wait(client, 200, &error));
    CHECK_EQ(1, redmux_error_retriable(error), "a server that is away may come back");
    CHECK_TEXT(redmux_error_message(error), "127.0.0.1:1", "the sentence says where to, and why not");
    CHECK(redmux_error_redis(error) == NULL, "Redis said nothing");
    redmux_error_free(error);
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_ready_wait(client, 10, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));

    CHECK_STATUS(REDMUX_ERR_INVALID_URL, redmux_client_open("http://nowhere", &client, &error));
    CHECK_EQ(0, redmux_error_retriable(error), "a URL that cannot be read stays so");
    redmux_error_free(error);
}

/* A user that may hear of nothing but ok:* */
static void redis_own_word_is_kept(void)
{
    struct fixture fixture;
    char url[160];
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription = {0};
    redmux_error *error = NULL;
    redmux_bytes names[2];
    fixture_start(&fixture, "--acl", "user web on >pw +@all ~* resetchannels &ok:*", NULL);
    snprintf(url, sizeof url, "redis://web:pw@%s", fixture.url + strlen("redis://"));
    client = client_open(url);
    inbox = inbox_new(client);
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));

    names[0] = bytes_of("secret");
    names[1] = bytes_of("ok:1");
    CHECK_STATUS(REDMUX_ERR_PARTIAL, redmux_subscription_add_wait(subscription, names, 2, WAIT_MS, &error));
    CHECK_TEXT(redmux_error_message(error), "secret", "the sentence names what was refused");
    CHECK_TEXT(redmux_error_message(error), "NOPERM", "the sentence says why");
    CHECK(redmux_error_redis(error) != NULL && strcmp(redmux_error_redis(error), "NOPERM") == 0,
          "Redis' own word is kept apart");
    redmux_error_free(error);

    error = NULL;
    CHECK_STATUS(REDMUX_ERR_REFUSED, redmux_client_publish_wait(client, (const uint8_t *)"secret", 6, NULL, 0, WAIT_MS,
                                                                NULL, &error));
    CHECK(redmux_error_redis(error) != NULL && strcmp(redmux_error_redis(error), "NOPERM") == 0,
          "Redis' own word is kept apart");
    redmux_error_free(error);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    fixture_end(&fixture);
}

int main(void)
{
    an_error_belongs_to_no_thread();
    retriable_says_whether_to_try_again();
    redis_own_word_is_kept();
    return 0;
}
