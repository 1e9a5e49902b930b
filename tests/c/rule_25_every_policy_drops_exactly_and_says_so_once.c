/* Rule 25: every inbox is bounded in bytes and in records, and a client over all of them; only messages are dropped,
 * counted and marked where they happened; one state record "slow consumer" an episode. */
#include "check.h"

static struct fixture fixture;
static redmux_client client;
static struct reader events;

static redmux_inbox inbox_with(const char *policy, const char *records, const char *bytes)
{
    redmux_options options = {0};
    redmux_inbox inbox = {0};
    CHECK_OK(redmux_options_new(&options));
    options_put(options, "inbox_policy", policy);
    options_put(options, "inbox_records", records);
    options_put(options, "inbox_bytes", bytes);
    CHECK_OK(redmux_inbox_new(client, options, &inbox, NULL));
    redmux_options_free(options);
    return inbox;
}

static redmux_client open_events(const char *client_bytes)
{
    redmux_options options = options_for(fixture.url);
    redmux_client opened = {0};
    redmux_inbox inbox = {0};
    if (client_bytes != NULL)
        options_put(options, "client_bytes", client_bytes);
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_TAKE, NULL, NULL, NULL, &opened, &inbox, NULL));
    redmux_options_free(options);
    events = reader_of(inbox);
    return opened;
}

/* Publishes numbers [from, to) and waits until they have all been read from the socket. */
static void numbers(const char *channel, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        publish(client, channel, text);
    }
    CHECK_OK(redmux_client_barrier_wait(client, WAIT_MS, NULL));
}

/* How many slow-consumer states name that inbox, of those that are there now. */
static int slow_states(redmux_inbox inbox)
{
    const redmux_record *record;
    int count = 0;
    while ((record = reader_next(&events, 0, NULL)) != NULL)
        count += record->kind == REDMUX_KIND_STATE && record->number == REDMUX_STATE_SLOW_CONSUMER &&
                 record->source == inbox.id;
    return count;
}

static long long dropped_by_stats(redmux_inbox inbox)
{
    redmux_text *text = NULL;
    long long dropped;
    CHECK_OK(redmux_inbox_stats(inbox, &text));
    dropped = field_number((const char *)redmux_text_bytes(text).data, "dropped");
    redmux_text_free(text);
    return dropped;
}

/* Takes everything. Messages must be numbered without a hole but for dropped records, which stand where it is. Returns
 * the next number that is expected. */
static long drain(struct reader *reader, long next, uint64_t *holes)
{
    const redmux_record *record;
    *holes = 0;
    while ((record = reader_next(reader, 0, NULL)) != NULL) {
        if (record->kind == REDMUX_KIND_DROPPED) {
            CHECK(record->number > 0 && record->token == 1 && record->status == 0, "a hole has a count and a source");
            next += (long)record->number;
            *holes += record->number;
        }
        if (record->kind == REDMUX_KIND_MESSAGE) {
            char text[16] = {0};
            CHECK(record->data_len < sizeof text, "a small number");
            memcpy(text, reader->block.data + record->data_off, record->data_len);
            CHECK_EQ(next, atol(text), "the holes are exact, and where they happened");
            next++;
        }
    }
    return next;
}

static void a_policy_that_drops(const char *policy, const char *records, const char *bytes)
{
    redmux_inbox inbox;
    struct reader reader;
    long next = 0;
    uint64_t holes;
    client = open_events(NULL);
    inbox = inbox_with(policy, records, bytes);
    reader = reader_of(inbox);
    subscribe(client, inbox, "n", 1);
    await_kind(&reader, REDMUX_KIND_ACTIVE);
    reader_end(&reader);
    slow_states(inbox);
    for (int episode = 1; episode <= 3; episode++) {
        int from = (episode - 1) * 500;
        numbers("n", from, from + 500);
        CHECK_EQ(1, slow_states(inbox), "one state an episode");
        next = drain(&reader, next, &holes);
        CHECK_EQ(from + 500, next, "each message is there or counted");
        CHECK(holes > 0, "some had no room");
        if (records[0] != '0')
            CHECK_EQ(500 - atoi(records), holes, "the bound in records is exact");
        reader_end(&reader);
    }
    CHECK_EQ(3 * (500 - (long long)(records[0] != '0' ? atoi(records) : 0)) >= dropped_by_stats(inbox), 1, "counted");
    CHECK_EQ(0, slow_states(inbox), "and no state without an episode");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&events);
    CHECK_OK(redmux_inbox_close(inbox, 0));
    CHECK_OK(redmux_inbox_close(events.inbox, 0));
}

static void completions_have_their_room(void)
{
    redmux_inbox inbox;
    struct reader reader;
    const redmux_record *record;
    int published = 0, asked = 0;
    client = open_events(NULL);
    inbox = inbox_with("drop-oldest", "0", "64KiB");
    reader = reader_of(inbox);
    subscribe(client, inbox, "n", 1);
    /* Nothing is answered meanwhile: an answer takes less room than was set aside for it. */
    fixture_do(&fixture, "{\"do\":\"freeze\"}");
    while (redmux_client_publish(client, (const uint8_t *)"n", 1, (const uint8_t *)"x", 1, inbox, 7, -1) == REDMUX_OK)
        asked++;
    CHECK(asked > 50, "there was room for some");
    CHECK_STATUS(REDMUX_ERR_FULL, redmux_client_ready(client, inbox, 7, -1));
    fixture_do(&fixture, "{\"do\":\"thaw\"}");
    numbers("n", 0, 500);
    CHECK_OK(redmux_client_flush_wait(client, WAIT_MS, NULL));
    while ((record = reader_next(&reader, 0, NULL)) != NULL)
        published += record->kind == REDMUX_KIND_PUBLISHED && record->status == REDMUX_OK;
    CHECK_EQ(asked, published, "no completion was dropped");
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&events);
    CHECK_OK(redmux_inbox_close(inbox, 0));
    CHECK_OK(redmux_inbox_close(events.inbox, 0));
}

static void close_ends_the_source_and_completions_still_come(void)
{
    redmux_inbox inbox;
    struct reader reader;
    const redmux_record *record;
    uint64_t dropped = 0;
    int messages = 0, closed = 0;
    client = open_events(NULL);
    inbox = inbox_with("close", "10", "64MiB");
    reader = reader_of(inbox);
    subscribe(client, inbox, "n", 1);
    CHECK_EQ(1, publish(client, "n", "first"), "subscribed");
    numbers("n", 1, 100);
    CHECK_EQ(1, slow_states(inbox), "one state");
    CHECK_OK(redmux_client_ready(client, inbox, 9, WAIT_MS));
    for (;;) {
        record = reader_next(&reader, WAIT_MS, NULL);
        CHECK(record != NULL, "the completion comes");
        CHECK(record->kind != REDMUX_KIND_MESSAGE || closed == 0, "closed is the last of its source");
        messages += record->kind == REDMUX_KIND_MESSAGE;
        dropped += record->kind == REDMUX_KIND_DROPPED ? record->number : 0;
        if (record->kind == REDMUX_KIND_CLOSED) {
            CHECK_STATUS(REDMUX_ERR_OVERFLOW, record->status);
            closed++;
        }
        if (record->kind == REDMUX_KIND_DONE && record->token == 9)
            break;
    }
    CHECK_EQ(10, messages, "what had room is there");
    CHECK(dropped > 0 && closed == 1, "the rest is counted, and the source ended");
    CHECK_EQ(0, publish(client, "n", "nobody"), "the server was told");
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&events);
    CHECK_OK(redmux_inbox_close(inbox, 0));
    CHECK_OK(redmux_inbox_close(events.inbox, 0));
}

static void pause_loses_nothing(void)
{
    redmux_inbox inbox;
    struct reader reader;
    int messages = 0;
    client = open_events(NULL);
    inbox = inbox_with("pause", "10", "64MiB");
    reader = reader_of(inbox);
    subscribe(client, inbox, "n", 1);
    for (int i = 0; i < 2000; i++)
        redmux_client_post(client, (const uint8_t *)"n", 1, (const uint8_t *)"x", 1);
    CHECK_OK(redmux_client_flush_wait(client, WAIT_MS, NULL));
    sleep_ms(50);
    while (messages < 2000) {
        const redmux_record *record = reader_next(&reader, WAIT_MS, NULL);
        CHECK(record != NULL, "it goes on when there is room");
        CHECK(record->kind != REDMUX_KIND_DROPPED && record->kind != REDMUX_KIND_LOST, "nothing is lost");
        messages += record->kind == REDMUX_KIND_MESSAGE;
    }
    CHECK_EQ(0, dropped_by_stats(inbox), "nothing is dropped");
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&events);
    CHECK_OK(redmux_inbox_close(inbox, 0));
    CHECK_OK(redmux_inbox_close(events.inbox, 0));
}

/* The client's budget is over all its inboxes: two of 64 MiB each share 1 MiB. */
static void the_client_has_a_budget_over_its_inboxes(void)
{
    static uint8_t data[20000];
    redmux_inbox inboxes[2];
    redmux_text *text = NULL;
    long long bytes;
    client = open_events("1MiB");
    for (int i = 0; i < 2; i++) {
        inboxes[i] = inbox_with("drop-oldest", "0", "64MiB");
        subscribe(client, inboxes[i], "n", 1);
    }
    for (int i = 0; i < 200; i++)
        CHECK_OK(redmux_client_publish_wait(client, (const uint8_t *)"n", 1, data, sizeof data, WAIT_MS, NULL, NULL));
    CHECK_OK(redmux_client_barrier_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_stats(client, &text));
    bytes = field_number((const char *)redmux_text_bytes(text).data, "inbox_bytes");
    redmux_text_free(text);
    CHECK(bytes > 512 * 1024 && bytes <= 1024 * 1024 + 65536, "the budget is used and kept");
    for (int i = 0; i < 2; i++) {
        struct reader reader = reader_of(inboxes[i]);
        const redmux_record *record;
        uint64_t messages = 0, dropped = 0;
        while ((record = reader_next(&reader, 0, NULL)) != NULL) {
            messages += record->kind == REDMUX_KIND_MESSAGE;
            dropped += record->kind == REDMUX_KIND_DROPPED ? record->number : 0;
        }
        CHECK_EQ(200, messages + dropped, "each message is there or counted");
        CHECK(messages > 0 && dropped > 0, "both gave way");
    }
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    reader_end(&events);
    for (int i = 0; i < 2; i++)
        CHECK_OK(redmux_inbox_close(inboxes[i], 0));
    CHECK_OK(redmux_inbox_close(events.inbox, 0));
}

int main(void)
{
    fixture_start(&fixture, NULL);
    a_policy_that_drops("drop-oldest", "100", "64MiB");
    a_policy_that_drops("drop-newest", "100", "64MiB");
    a_policy_that_drops("drop-oldest", "0", "16KiB");
    a_policy_that_drops("drop-newest", "0", "16KiB");
    completions_have_their_room();
    close_ends_the_source_and_completions_still_come();
    pause_loses_nothing();
    the_client_has_a_budget_over_its_inboxes();
    fixture_end(&fixture);
    return 0;
}
