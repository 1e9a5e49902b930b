/* Rule 32: logs and states are records of the client's event inbox, with levels; none by default. Nothing is ever
 * printed. */
#include "check.h"

static struct fixture fixture;

/* Waits until a link came up so often. */
static void connected(redmux_client client, const char *link, long long times)
{
    for (int64_t end = now_ms() + WAIT_MS;; sleep_ms(5)) {
        redmux_text *text = NULL;
        long long connects;
        CHECK_OK(redmux_client_stats(client, &text));
        connects = field_number(field((const char *)redmux_text_bytes(text).data, link), "connects");
        redmux_text_free(text);
        if (connects >= times)
            return;
        CHECK(now_ms() < end, "the link comes up again");
    }
}

/* Everything that a client may have to say: connects, is refused a name, drops, is killed, is stopped, closes. */
static void a_life(redmux_client client)
{
    redmux_options options = {0};
    redmux_inbox inbox = {0};
    redmux_subscription subscription = {0};
    redmux_bytes refused[1] = {bytes_of("forbidden")};
    CHECK_OK(redmux_options_new(&options));
    options_put(options, "inbox_records", "2");
    CHECK_OK(redmux_inbox_new(client, options, &inbox, NULL));
    redmux_options_free(options);
    subscription = subscribe(client, inbox, "ok", 1);
    CHECK_STATUS(REDMUX_ERR_REFUSED, redmux_subscription_add_wait(subscription, refused, 1, WAIT_MS, NULL));
    for (int i = 0; i < 10; i++)
        publish(client, "ok", "x");
    CHECK_OK(redmux_client_barrier_wait(client, WAIT_MS, NULL));
    fixture_do(&fixture, "{\"do\":\"kill_pubsub\"}");
    connected(client, "subscriber", 2);
    CHECK_OK(redmux_subscription_active_wait(subscription, WAIT_MS, NULL));
    fixture_do(&fixture, "{\"do\":\"kill_normal\"}");
    connected(client, "publisher", 2);
    CHECK_OK(redmux_client_stop(client));
    CHECK_OK(redmux_client_restart(client));
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_inbox_close(inbox, 0);
    redmux_subscription_close(subscription);
}

static redmux_client open_at(const char *level, redmux_inbox *events)
{
    redmux_options options = options_for(fixture.url);
    redmux_client client = {0};
    options_put(options, "user", "limited");
    options_put(options, "password", "secret-word");
    options_put(options, "backoff_max", "20ms");
    if (level != NULL)
        options_put(options, "log_level", level);
    CHECK_OK(redmux_client_open_with(options, events == NULL ? REDMUX_EVENTS_NONE : REDMUX_EVENTS_TAKE, NULL, NULL,
                                     NULL, &client, events, NULL));
    redmux_options_free(options);
    return client;
}

/* The worst level that may come at a setting. */
static void levels(const char *level, uint64_t most)
{
    static const char *const words[] = {"refused", "dropped", "lost", "retrying"};
    int said[4] = {0}, states[16] = {0};
    redmux_inbox inbox = {0};
    redmux_client client = open_at(level, &inbox);
    struct reader reader = reader_of(inbox);
    const redmux_record *record;
    char text[512];
    int32_t status = REDMUX_OK;
    int lines = 0;
    a_life(client);
    while ((record = reader_next(&reader, WAIT_MS, &status)) != NULL) {
        extra_of(&reader.block, record, text, sizeof text);
        CHECK_NO_TEXT(text, "secret-word", "secrets never come here");
        if (record->kind == REDMUX_KIND_LOG) {
            CHECK(record->number >= 1 && record->number <= most, "no line is over the level");
            CHECK(record->aux / 1000000000u + 60 >= (uint64_t)time(NULL), "a line has its time");
            CHECK(text[0] != '\0', "and its text");
            for (int i = 0; i < 4; i++)
                said[i] += strstr(text, words[i]) != NULL;
            lines++;
        }
        if (record->kind == REDMUX_KIND_STATE) {
            CHECK(record->number >= 1 && record->number < 16, "a known state");
            CHECK(record->number == REDMUX_STATE_SLOW_CONSUMER || record->source == client.id, "of this client");
            states[record->number]++;
        }
    }
    CHECK_STATUS(REDMUX_ERR_CLOSED, status);
    CHECK(states[REDMUX_STATE_CONNECTING] >= 3 && states[REDMUX_STATE_ONLINE] >= 3, "the life of the link");
    CHECK(states[REDMUX_STATE_OFFLINE] >= 1 && states[REDMUX_STATE_STOPPED] == 1, "and its ends");
    CHECK_EQ(1, states[REDMUX_STATE_SLOW_CONSUMER], "one episode");
    CHECK(states[REDMUX_STATE_PUBLISH_ONLINE] >= 2 && states[REDMUX_STATE_PUBLISH_OFFLINE] >= 1, "the other link too");
    CHECK(states[REDMUX_STATE_SUBSCRIBED] >= 2, "and that all is subscribed");
    for (int i = 0; i < 4; i++)
        CHECK((said[i] > 0) == (most >= REDMUX_LOG_WARN), words[i]);
    if (most == 0)
        CHECK_EQ(0, lines, "off is off");
    CHECK_OK(redmux_inbox_close(inbox, 0));
}

static int32_t event(void *user, const redmux_block *block)
{
    flag_add(user, (long)block->count);
    return 0;
}

static void by_callback(void)
{
    struct flag events = FLAG;
    redmux_client client = {0};
    redmux_inbox inbox = {0};
    redmux_options options = options_for(fixture.url);
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, event, &events, NULL, &client, &inbox, NULL));
    CHECK(inbox.id != 0, "the event inbox has a handle");
    FLAG_AWAIT(&events, 2, "states come to a callback");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    CHECK_OK(redmux_inbox_close(inbox, 0));
    redmux_options_free(options);
}

/* A process whose streams go into a file lives such lives; nothing may be in it. */
static void nothing_is_printed(void)
{
    char path[] = "/tmp/redmux-output-XXXXXX", text[1000] = {0};
    int file = mkstemp(path), status = 0;
    pid_t pid;
    CHECK(file >= 0, "there is a file");
    unlink(path);
    pid = fork();
    if (pid == 0) {
        dup2(file, 1);
        dup2(file, 2);
        a_life(open_at(NULL, NULL));
        a_life(open_at("debug", NULL));
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid, "it ends");
    lseek(file, 0, SEEK_SET);
    CHECK(read(file, text, sizeof text - 1) >= 0, "the file can be read");
    CHECK(status == 0 && text[0] == '\0', text);
    close(file);
}

int main(void)
{
    fixture_start(&fixture, "--acl", "user limited on >secret-word +@all resetchannels &ok", NULL);
    nothing_is_printed();
    levels("off", 0);
    levels("error", REDMUX_LOG_ERROR);
    levels("warn", REDMUX_LOG_WARN);
    levels("info", REDMUX_LOG_INFO);
    levels("debug", REDMUX_LOG_DEBUG);
    by_callback();
    fixture_end(&fixture);
    return 0;
}
