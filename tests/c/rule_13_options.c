/* Rule 13: options come by key, by URL, by JSON and from the environment; an unknown key is an error that names it and
 * the nearest; the table describes itself; a secret stands in no message; what the options of a call do not say is as
 * the client has it.
 */
#include "check.h"

#define SECRET "hunter2"

static const char *text_of(redmux_text *text)
{
    return (const char *)redmux_text_bytes(text).data;
}

/* Whether an option has this value. */
static void check_option(redmux_options options, const char *key, const char *value)
{
    redmux_text *text = NULL;
    CHECK_OK(redmux_options_get(options, key, &text, NULL));
    if (strcmp(text_of(text), value) != 0)
        check_failed(__FILE__, __LINE__, "the option has the value", key, text_of(text));
    redmux_text_free(text);
}

/* The call failed with this status and a sentence that has the part and no secret. */
static void check_error(int32_t expected, int32_t status, redmux_error **error, const char *part)
{
    CHECK_STATUS(expected, status);
    CHECK_TEXT(redmux_error_message(*error), part, "the sentence says what it is about");
    CHECK_NO_TEXT(redmux_error_message(*error), SECRET, "a secret stands in no message");
    redmux_error_free(*error);
    *error = NULL;
}

static void an_unknown_key_names_the_nearest(redmux_options options)
{
    redmux_error *error = NULL;
    redmux_text *text = NULL;
    check_error(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set(options, "ping_intervall", "1s", &error), &error,
                "ping_interval");
    check_error(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set(options, "pasword", SECRET, &error), &error, "password");
    check_error(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_get(options, "inbox_byte", &text, &error), &error,
                "inbox_bytes");
    check_error(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set_json(options, "{\"nam\": \"x\"}", &error), &error, "name");
    check_error(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set_url(options, "redis://h?conect_timeout=1s", &error), &error,
                "connect_timeout");
    CHECK(text == NULL, "nothing was written");
}

static void keys_urls_and_json_say_the_same(void)
{
    redmux_options options = {0};
    redmux_error *error = NULL;
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_options_set_url(options, "rediss://web:" SECRET "@example.org:7000/2?name=api&ping_interval=2s",
                                    NULL));
    check_option(options, "host", "example.org");
    check_option(options, "port", "7000");
    check_option(options, "user", "web");
    check_option(options, "password", "***");
    check_option(options, "tls", "true");
    check_option(options, "name", "api");
    check_option(options, "ping_interval", "2s");
    CHECK_OK(redmux_options_set_url(options, "redis+unix:///run/r.sock", NULL));
    check_option(options, "path", "/run/r.sock");
    CHECK_OK(redmux_options_set(options, "ping_interval", "300ms", NULL));
    check_option(options, "ping_interval", "300ms");
    CHECK_OK(redmux_options_set_json(options, "{\"name\": \"worker\", \"port\": 6400, \"ask\": [\"address\"]}", NULL));
    check_option(options, "name", "worker");
    check_option(options, "port", "6400");
    check_option(options, "ask", "address");
    check_option(options, "password", "");

    check_error(REDMUX_ERR_INVALID_VALUE, redmux_options_set(options, "port", "70000", &error), &error, "port");
    check_option(options, "port", "6400");
    redmux_options_free(options);
}

/* Every way in which a password may get where it does not belong. */
static void a_secret_stands_in_no_message(void)
{
    static const char *const urls[] = {
        "http://u:" SECRET "@h",           "redis://u:" SECRET "@h:notaport", "redis://u:" SECRET "@h:99999",
        "redis://u:" SECRET "@h?nokey=1",  "redis://u:" SECRET "@[::1",       "redis://u:" SECRET,
        "redis://u:" SECRET "@h/notadb",   "redis://:" SECRET "@h?port=x",    "redis://h?password=" SECRET "&port=x",
        "h:6379,password=" SECRET ",x=1",  "h:port,password=" SECRET,         "u:" SECRET "@h",
        "redis:/u:" SECRET "@h",           "redis://u:%zz" SECRET "@h",       "redis+unix://u:" SECRET "@",
    };
    redmux_options options = {0};
    redmux_client client = {0};
    redmux_text *text = NULL;
    CHECK_OK(redmux_options_new(&options));
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        redmux_error *error = NULL;
        if (redmux_options_set_url(options, urls[i], &error) != REDMUX_OK)
            CHECK_NO_TEXT(redmux_error_message(error), SECRET, "a secret stands in no message");
        redmux_error_free(error);
        error = NULL;
        if (redmux_options_set(options, "port", urls[i], &error) != REDMUX_OK)
            CHECK_NO_TEXT(redmux_error_message(error), SECRET, "a secret stands in no message");
        redmux_error_free(error);
    }
    CHECK_OK(redmux_options_set(options, "password", SECRET, NULL));
    CHECK_OK(redmux_options_get(options, NULL, &text, NULL));
    CHECK_NO_TEXT(text_of(text), SECRET, "a secret stands in no list of options");
    CHECK_TEXT(text_of(text), "***", "a secret that is set is shown as stars");
    redmux_text_free(text);

    CHECK_OK(redmux_client_open("redis://u:" SECRET "@127.0.0.1:1", &client, NULL));
    for (int i = 0; i < 1; i++) {
        redmux_error *error = NULL;
        CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_ready_wait(client, 100, &error));
        CHECK_NO_TEXT(redmux_error_message(error), SECRET, "a secret stands in no message");
        redmux_error_free(error);
    }
    CHECK_OK(redmux_client_stats(client, &text));
    CHECK_NO_TEXT(text_of(text), SECRET, "a secret stands in no statistics");
    redmux_text_free(text);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_options_free(options);
}

/* A server that refuses the password, with every line of log asked for. */
static void a_refused_password_is_not_logged(void)
{
    struct fixture fixture;
    redmux_options options;
    redmux_client client = {0};
    redmux_inbox events = {0};
    struct reader reader;
    redmux_error *error = NULL;
    char extra[1024];
    int lines = 0;
    fixture_start(&fixture, "--password", "right", NULL);
    options = options_for(fixture.url);
    options_put(options, "password", SECRET);
    options_put(options, "log_level", "debug");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_TAKE, NULL, NULL, NULL, &client, &events, NULL));
    check_error(REDMUX_ERR_TIMEOUT, redmux_client_ready_wait(client, 300, &error), &error, "WRONGPASS");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader = reader_of(events);
    for (const redmux_record *r; (r = reader_next(&reader, 0, NULL)) != NULL; lines++)
        CHECK_NO_TEXT(extra_of(&reader.block, r, extra, sizeof extra), SECRET, "a secret stands in no log");
    CHECK(lines > 2, "there were lines");
    redmux_inbox_close(events, WAIT_MS);
    redmux_options_free(options);
    fixture_end(&fixture);
}

static void without_an_address_the_environment_is_read(void)
{
    struct fixture fixture;
    redmux_client client = {0};
    char port[16];
    const char *colon;
    fixture_start(&fixture, "--password", "from the environment", NULL);
    colon = strrchr(fixture.url, ':');
    snprintf(port, sizeof port, "%ld", strtol(colon + 1, NULL, 10));

    setenv("REDIS_URL", "redis://127.0.0.1:1", 1);
    setenv("REDIS_HOST", "127.0.0.1", 1);
    setenv("REDIS_PORT", port, 1);
    setenv("REDIS_PASSWORD", "from the environment", 1);
    CHECK_OK(redmux_client_open(NULL, &client, NULL));
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_ready_wait(client, 100, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));

    unsetenv("REDIS_URL");
    CHECK_OK(redmux_client_open(NULL, &client, NULL));
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    unsetenv("REDIS_HOST");
    unsetenv("REDIS_PORT");
    unsetenv("REDIS_PASSWORD");
    fixture_end(&fixture);
}

/* The client has its options from the environment, which no caller could repeat. */
static void what_the_options_of_a_call_do_not_say_is_as_the_client_has_it(void)
{
    static const uint8_t service[] = "service.all", data[] = "x";
    struct fixture fixture;
    redmux_client client = {0};
    redmux_inbox inbox = {0}, small = {0};
    redmux_options options = {0};
    redmux_subscription subscription = {0};
    redmux_responder responder = {0};
    redmux_gather gather = {0};
    redmux_bytes news = {(const uint8_t *)"news", 4};
    struct reader reader, few;
    const redmux_record *r;
    char url[256];
    fixture_start(&fixture, NULL);
    snprintf(url, sizeof url, "%s?inbox_policy=close&catch_all=true&max_answers=1", fixture.url);
    setenv("REDIS_URL", url, 1);
    CHECK_OK(redmux_client_open(NULL, &client, NULL));
    unsetenv("REDIS_URL");
    inbox = inbox_new(client);
    reader = reader_of(inbox);

    /* An inbox of few records has the client's policy. */
    CHECK_OK(redmux_options_new(&options));
    options_put(options, "inbox_records", "8");
    CHECK_OK(redmux_inbox_new(client, options, &small, NULL));
    redmux_options_free(options);
    CHECK_OK(redmux_subscription_new(client, small, 1, &subscription));
    CHECK_OK(redmux_subscription_add_wait(subscription, &news, 1, WAIT_MS, NULL));
    for (int i = 0; i < 20; i++)
        CHECK_OK(redmux_client_post(client, news.data, news.len, data, 1));
    CHECK_OK(redmux_client_barrier_wait(client, WAIT_MS, NULL));
    few = reader_of(small);
    CHECK_STATUS(REDMUX_ERR_OVERFLOW, await_kind(&few, REDMUX_KIND_CLOSED)->status);
    reader_end(&few);

    /* A responder of few requests is a catch-all, and a request of few answers has the client's most. */
    CHECK_OK(redmux_options_new(&options));
    options_put(options, "concurrency", "2");
    CHECK_OK(redmux_responder_open(client, inbox, service, 8, options, 0, &responder, NULL));
    redmux_options_free(options);
    CHECK_OK(redmux_responder_active_wait(responder, WAIT_MS, NULL));
    CHECK_OK(redmux_options_new(&options));
    options_put(options, "expect", "3");
    CHECK_OK(redmux_gather_open(client, inbox, service, 11, NULL, 0, NULL, 0, options, 1, 0, &gather, NULL));
    redmux_options_free(options);
    do {
        r = reader_next(&reader, WAIT_MS, NULL);
        CHECK(r != NULL, "the request comes, or its end");
    } while (r->kind != REDMUX_KIND_REQUEST && r->kind != REDMUX_KIND_END);
    CHECK_EQ(REDMUX_KIND_REQUEST, r->kind, "it is served under the longer name");
    for (uint64_t ticket = r->number, i = 0; i < 2; i++)
        CHECK_OK(redmux_responder_answer(responder, ticket, data, 1, NULL, 0, i == 1));
    CHECK_EQ(REDMUX_REASON_OVERFLOW, await_kind(&reader, REDMUX_KIND_END)->number, "one answer is all there is room for");

    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&reader);
    CHECK_OK(redmux_responder_close(responder));
    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_inbox_close(small, WAIT_MS));
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    fixture_end(&fixture);
}

static void the_table_describes_itself(void)
{
    redmux_text *text = NULL;
    CHECK_OK(redmux_options_describe(&text));
    CHECK(text_of(text)[0] == '[', "it is a JSON array");
    CHECK_TEXT(text_of(text), "\"inbox_policy\"", "every key is in it");
    CHECK_TEXT(text_of(text), "\"drop-oldest\"", "and what it may be");
    CHECK_TEXT(text_of(text), "\"help\"", "and what it is for");
    CHECK_EQ(strlen(text_of(text)), redmux_text_bytes(text).len, "a NUL stands behind the text");
    redmux_text_free(text);
}

int main(void)
{
    redmux_options options = {0};
    CHECK_OK(redmux_options_new(&options));
    an_unknown_key_names_the_nearest(options);
    redmux_options_free(options);
    keys_urls_and_json_say_the_same();
    a_secret_stands_in_no_message();
    a_refused_password_is_not_logged();
    without_an_address_the_environment_is_read();
    what_the_options_of_a_call_do_not_say_is_as_the_client_has_it();
    the_table_describes_itself();
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    return 0;
}
