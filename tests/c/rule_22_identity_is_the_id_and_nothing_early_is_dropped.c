/* Rule 22: identity is the id, never an address and never used again. What arrives before anybody looks is kept. */
#include "check.h"

enum { MANY = 200 };

int main(void)
{
    struct fixture fixture;
    redmux_client client;
    redmux_inbox inbox;
    struct reader reader;
    redmux_bytes names[1] = {bytes_of("news")};
    static uint64_t ids[MANY];
    static int active[MANY], messages[MANY], closed[MANY];
    const redmux_record *record;

    fixture_start(&fixture, NULL);
    client = client_open(fixture.url);
    inbox = inbox_new(client);
    reader = reader_of(inbox);
    for (int i = 0; i < MANY; i++) {
        redmux_subscription subscription = {0};
        CHECK_OK(redmux_subscription_new(client, inbox, (uint64_t)i, &subscription));
        ids[i] = subscription.id;
        CHECK(ids[i] != 0 && ids[i] != client.id && ids[i] != inbox.id, "an id is nobody else's");
        for (int j = 0; j < i; j++)
            CHECK(ids[i] != ids[j], "an id is never used again");
        /* Everything of it comes before anybody takes, and most are closed by then. */
        CHECK_OK(redmux_subscription_add_wait(subscription, names, 1, WAIT_MS, NULL));
        CHECK_EQ(1, fixture_publish(&fixture, "news", "early"), "one subscription of Redis");
        CHECK_OK(redmux_client_barrier_wait(client, WAIT_MS, NULL));
        if (i % 2 == 0)
            CHECK_OK(redmux_subscription_close(subscription));
    }
    while ((record = reader_next(&reader, 0, NULL)) != NULL) {
        CHECK(record->token < MANY && record->source == ids[record->token], "a record names its source by id");
        active[record->token] += record->kind == REDMUX_KIND_ACTIVE;
        closed[record->token] += record->kind == REDMUX_KIND_CLOSED;
        if (record->kind == REDMUX_KIND_MESSAGE) {
            CHECK(active[record->token] == 1 && closed[record->token] == 0, "between its active and its closed");
            messages[record->token]++;
        }
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(1, active[i], "active was kept");
        CHECK_EQ(i % 2 == 0, closed[i], "closed was kept");
        CHECK_EQ(i % 2 == 0 ? 1 : MANY - i, messages[i], "each message was kept");
    }
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    fixture_end(&fixture);
    return 0;
}
