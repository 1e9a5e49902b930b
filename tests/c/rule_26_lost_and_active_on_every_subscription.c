/* Rule 26: a lost link is one lost record on each subscription, one without channels included, at once, after all that
 * was received; active when it is whole again. None when the application stops the client. */
#include "check.h"

static struct fixture fixture;

enum { SOURCES = 4 }; /* channels; a pattern; promises; empty */

static redmux_client client;
static redmux_inbox inboxes[SOURCES];
static struct reader readers[SOURCES];
static redmux_promises promises;

static void open_all(void)
{
    redmux_options options = options_for(fixture.url);
    redmux_subscription pattern = {0}, empty = {0};
    options_put(options, "backoff_max", "20ms");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    redmux_options_free(options);
    for (int i = 0; i < SOURCES; i++) {
        inboxes[i] = inbox_new(client);
        readers[i] = reader_of(inboxes[i]);
    }
    subscribe(client, inboxes[0], "a", 10);
    CHECK_OK(redmux_subscription_new_pattern(client, inboxes[1], (const uint8_t *)"a*", 2, 11, (redmux_inbox){0}, 99, 0,
                                             &pattern));
    CHECK_OK(redmux_subscription_active_wait(pattern, WAIT_MS, NULL));
    CHECK_OK(redmux_promises_new(client, inboxes[2], (const uint8_t *)"p:", 2, 12, &promises));
    CHECK_OK(redmux_promises_active_wait(promises, WAIT_MS, NULL));
    CHECK_OK(redmux_subscription_new(client, inboxes[3], 13, &empty));
    for (int i = 0; i < SOURCES; i++)
        while (reader_next(&readers[i], 50, NULL) != NULL)
            continue;
}

/* What came after the link was cut: lost once with a reason, then active once, then nothing. */
static void lost_then_active(int i)
{
    const redmux_record *record;
    char why[256];
    uint64_t when;
    record = await_token(&readers[i], REDMUX_KIND_LOST, 10 + (uint64_t)i);
    CHECK_STATUS(REDMUX_ERR_LINK_LOST, record->status);
    CHECK_EQ(1, record->number, "one outage");
    CHECK_TEXT(extra_of(&readers[i].block, record, why, sizeof why), "lost", "it says why");
    when = record->aux;
    CHECK(when / 1000000000u + 60 >= (uint64_t)time(NULL), "and when the last byte came");
    record = reader_next(&readers[i], WAIT_MS, NULL);
    CHECK(record != NULL && record->kind == REDMUX_KIND_ACTIVE && record->flags == 0, "then it is whole again");
    CHECK_EQ(10 + i, record->token, "with its token");
    CHECK(record->number >= 2, "how often the link came up");
    CHECK(record->aux > 0 && record->aux < 60000000000u, "and how long it took");
    CHECK(reader_next(&readers[i], 20, NULL) == NULL, "and nothing else");
}

static void a_killed_link(void)
{
    const redmux_record *record;
    open_all();
    CHECK_OK(redmux_promises_make(promises, (const uint8_t *)"x", 1, (redmux_inbox){0}, 5, -1));
    for (int i = 0; i < 20; i++)
        fixture_publish(&fixture, "a", "before");
    fixture_do(&fixture, "{\"do\":\"kill_pubsub\"}");
    for (int i = 0; i < 2; i++) {
        int messages = 0;
        while ((record = reader_next(&readers[i], WAIT_MS, NULL)) != NULL && record->kind == REDMUX_KIND_MESSAGE)
            messages++;
        CHECK(record != NULL && record->kind == REDMUX_KIND_LOST, "lost stands behind what was received");
        CHECK_EQ(20, messages, "which is all");
        readers[i].next--;
    }
    for (int lost = 0, active = 0, ended = 0; active == 0;) {
        /* The end of a promise may stand on either side of the lost record of its set. */
        record = reader_next(&readers[2], WAIT_MS, NULL);
        CHECK(record != NULL, "the set is whole again");
        lost += record->kind == REDMUX_KIND_LOST && record->token == 12;
        ended += record->kind == REDMUX_KIND_PROMISE && record->token == 5;
        active += record->kind == REDMUX_KIND_ACTIVE;
        CHECK(record->kind != REDMUX_KIND_PROMISE || record->status == REDMUX_ERR_INTERRUPTED, "it is interrupted");
        CHECK(active == 0 || (lost == 1 && ended == 1), "after it was lost, once, and its promise ended, once");
    }
    for (int i = 0; i < SOURCES; i++)
        if (i != 2)
            lost_then_active(i);
    CHECK_EQ(2, fixture_publish(&fixture, "a", "after"), "the server has both again");
    for (int i = 0; i < 2; i++) {
        await_kind(&readers[i], REDMUX_KIND_MESSAGE);
        CHECK(data_is(&readers[i].block, &readers[i].block.records[readers[i].next - 1], "after"), "and so have we");
    }
}

/* At once: the server is gone, and stays away. */
static void a_server_that_is_gone(void)
{
    int64_t began;
    fixture_do(&fixture, "{\"do\":\"kill\"}");
    began = now_ms();
    for (int i = 0; i < SOURCES; i++) {
        CHECK_EQ(REDMUX_ERR_LINK_LOST, await_kind(&readers[i], REDMUX_KIND_LOST)->status, "the reason");
        readers[i].next--;
    }
    CHECK(now_ms() - began < WAIT_MS, "lost comes at once");
    sleep_ms(100);
    fixture_do(&fixture, "{\"do\":\"start\"}");
    for (int i = 0; i < SOURCES; i++)
        lost_then_active(i);
}

static void a_stop_is_no_loss(void)
{
    CHECK_OK(redmux_client_stop(client));
    for (int i = 0; i < SOURCES; i++) {
        CHECK(reader_next(&readers[i], 50, NULL) == NULL, "a stop tells nothing");
    }
    CHECK_OK(redmux_client_restart(client));
    for (int i = 0; i < SOURCES; i++) {
        const redmux_record *record = reader_next(&readers[i], WAIT_MS, NULL);
        CHECK(record != NULL && record->kind == REDMUX_KIND_ACTIVE && record->flags == 0, "a restart tells active");
        CHECK(reader_next(&readers[i], 20, NULL) == NULL, "once");
    }
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

int main(void)
{
    fixture_start(&fixture, NULL);
    a_killed_link();
    a_server_that_is_gone();
    a_stop_is_no_loss();
    fixture_end(&fixture);
    return 0;
}
