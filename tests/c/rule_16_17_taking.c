/* Rules 16 and 17: records come in blocks; the client's descriptor is readable exactly while some inbox waits in the
 * ready list; wake ends a wait; take_many takes from many; a lent block outlives what it came from.
 */
#include "check.h"

static int readable(int32_t fd, int timeout_ms)
{
    struct pollfd poller = {fd, POLLIN, 0};
    CHECK(poll(&poller, 1, timeout_ms) >= 0, "the descriptor can be polled");
    return (poller.revents & POLLIN) != 0;
}

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)block;
    flag_add(user, 1);
    return 0;
}

static void the_descriptor_is_readable_exactly_while_the_list_is_not_empty(const char *url)
{
    redmux_client client = client_open(url);
    redmux_inbox one = inbox_new(client), two = inbox_new(client), ready[4];
    redmux_block block = {0};
    struct flag calls = FLAG;
    redmux_inbox by_callback = inbox_new_callback(client, ignore, &calls, NULL);
    int32_t fd = -1, again = -1;
    size_t count = 99;

    CHECK_OK(redmux_client_fd(client, &fd));
    CHECK_OK(redmux_client_fd(client, &again));
    CHECK_EQ(fd, again, "a client has one descriptor");
    CHECK(!readable(fd, 0), "an empty list is not readable");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_wait(client, 0, ready, 4, &count));

    CHECK_OK(redmux_client_flush(client, one, 1, WAIT_MS));
    CHECK(readable(fd, WAIT_MS), "readable when an inbox has something");
    CHECK_OK(redmux_client_flush(client, two, 2, WAIT_MS));
    CHECK_OK(redmux_client_wait(client, 0, ready, 1, &count));
    CHECK_EQ(1, count, "no more than asked for");
    CHECK_EQ(one.id, ready[0].id, "in the order in which they became ready");
    CHECK(readable(fd, 0), "readable while another waits");
    CHECK_OK(redmux_client_wait(client, 0, ready, 4, &count));
    CHECK(count == 1 && ready[0].id == two.id, "the other one");
    CHECK(!readable(fd, 0), "not readable once the list is empty, whatever the inboxes hold");

    /* Taking what is there does not enter the list; what comes next does. */
    CHECK_OK(redmux_inbox_take(one, 0, &block));
    CHECK(!readable(fd, 0), "a take that leaves nothing enters nothing");
    CHECK_OK(redmux_client_flush(client, one, 1, WAIT_MS));
    CHECK(readable(fd, WAIT_MS), "readable again");
    CHECK_OK(redmux_client_wait(client, WAIT_MS, ready, 4, &count));
    CHECK(count == 1 && ready[0].id == one.id, "the one that has something");
    redmux_block_release(&block);

    CHECK_OK(redmux_client_flush(client, by_callback, 3, WAIT_MS));
    FLAG_AWAIT(&calls, 1, "the callback is called");
    CHECK(!readable(fd, 20), "an inbox with a callback never enters the list");

    /* An inbox that ends enters too. */
    CHECK_OK(redmux_inbox_close(two, WAIT_MS));
    CHECK(readable(fd, WAIT_MS), "an inbox that is closed is told of");
    CHECK_OK(redmux_client_wait(client, 0, ready, 4, &count));
    CHECK(count == 1 && ready[0].id == two.id, "by its handle");
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_take(ready[0], 0, &block));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_inbox_close(one, WAIT_MS);
    redmux_inbox_close(by_callback, WAIT_MS);
}

struct waiter {
    redmux_client client;
    struct flag started;
    int32_t status;
    size_t count;
    int64_t took;
};

static void *wait_long(void *arg)
{
    struct waiter *waiter = arg;
    redmux_inbox ready[1];
    int64_t begin = now_ms();
    flag_add(&waiter->started, 1);
    waiter->count = 99;
    waiter->status = redmux_client_wait(waiter->client, 6 * WAIT_MS, ready, 1, &waiter->count);
    waiter->took = now_ms() - begin;
    return NULL;
}

static void wake_ends_one_wait_running_or_next(const char *url)
{
    struct waiter waiter = {{0}, FLAG, 99, 99, 0};
    redmux_inbox ready[1];
    pthread_t thread;
    size_t count = 99;
    waiter.client = client_open(url);

    thread = thread_start(wait_long, &waiter);
    FLAG_AWAIT(&waiter.started, 1, "the thread waits");
    sleep_ms(20);
    CHECK_OK(redmux_client_wake(waiter.client));
    thread_join(thread);
    CHECK_STATUS(REDMUX_OK, waiter.status);
    CHECK(waiter.count == 0 && waiter.took < WAIT_MS, "a wake is OK with a count of 0");

    CHECK_OK(redmux_client_wake(waiter.client));
    CHECK_OK(redmux_client_wait(waiter.client, WAIT_MS, ready, 1, &count));
    CHECK_EQ(0, count, "a wake before the wait ends it too");
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_client_wait(waiter.client, 10, ready, 1, &count));

    /* A close ends a wait as well. */
    thread = thread_start(wait_long, &waiter);
    FLAG_AWAIT(&waiter.started, 2, "the thread waits");
    sleep_ms(20);
    CHECK_OK(redmux_client_close(waiter.client, WAIT_MS));
    thread_join(thread);
    CHECK_STATUS(REDMUX_ERR_CLOSED, waiter.status);
}

static void take_many_takes_from_all_that_have_something(const char *url)
{
    redmux_client client = client_open(url);
    redmux_inbox inboxes[5];
    redmux_block blocks[5];
    size_t count = 99;
    memset(blocks, 0, sizeof blocks);
    for (int i = 0; i < 4; i++)
        inboxes[i] = inbox_new(client);
    inboxes[4].id = 12345;
    CHECK_OK(redmux_client_flush(client, inboxes[1], 1, WAIT_MS));
    CHECK_OK(redmux_client_flush(client, inboxes[3], 3, WAIT_MS));
    CHECK_OK(redmux_client_flush_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_inbox_close(inboxes[2], WAIT_MS));

    CHECK_OK(redmux_client_take_many(client, inboxes, 5, blocks, &count));
    CHECK_EQ(4, count, "empty ones are skipped");
    CHECK(blocks[0].inbox.id == inboxes[1].id && blocks[0].status == REDMUX_OK && blocks[0].count == 1 &&
              blocks[0].records[0].token == 1,
          "a block of the first that had something");
    CHECK(blocks[1].inbox.id == inboxes[2].id && blocks[1].status == REDMUX_ERR_CLOSED && blocks[1].id == 0 &&
              blocks[1].count == 0 && blocks[1].records == NULL,
          "one that has ended says so");
    CHECK(blocks[2].inbox.id == inboxes[3].id && blocks[2].records[0].token == 3, "a block of the next");
    CHECK(blocks[3].inbox.id == 12345 && blocks[3].status == REDMUX_ERR_CLOSED, "so does one that never was");

    /* A block of take_many may go on as the block of a take. */
    CHECK_STATUS(REDMUX_ERR_TIMEOUT, redmux_inbox_take(inboxes[1], 0, &blocks[0]));
    for (size_t i = 0; i < count; i++)
        redmux_block_release(&blocks[i]);
    CHECK_OK(redmux_client_take_many(client, inboxes, 2, blocks, &count));
    CHECK_EQ(0, count, "nothing is left");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    for (int i = 0; i < 4; i++)
        redmux_inbox_close(inboxes[i], WAIT_MS);
}

static void a_lent_block_outlives_inbox_client_and_library(const char *url)
{
    redmux_client client = client_open(url);
    redmux_inbox inbox = inbox_new(client);
    redmux_subscription subscription = subscribe(client, inbox, "news", 1);
    redmux_block block = {0};
    const redmux_record *record;

    for (;;) {
        /* Until the block that holds the message. */
        publish(client, "news", "still here");
        CHECK_OK(redmux_inbox_take(inbox, WAIT_MS, &block));
        record = &block.records[block.count - 1];
        if (record->kind == REDMUX_KIND_MESSAGE)
            break;
    }
    CHECK(block.count <= 1024, "a block has at most 1,024 records");
    CHECK_EQ(inbox.id, block.inbox.id, "a block says where it came from");
    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    CHECK(data_is(&block, record, "still here"), "it outlives its inbox");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    CHECK(data_is(&block, record, "still here"), "it outlives its client");
    CHECK_OK(redmux_shutdown(WAIT_MS));
    CHECK(name_is(&block, record, "news") && data_is(&block, record, "still here"), "it outlives the library's thread");
    CHECK_EQ(1, redmux_debug_live(), "it is all that is left");
    redmux_block_release(&block);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");

    /* The next client starts the thread again. */
    client = client_open(url);
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

/* Every record of a flood, in order, by the descriptor alone. */
static void a_loop_over_the_descriptor_misses_nothing(const char *url)
{
    enum { MESSAGES = 3000 };
    redmux_client client = client_open(url);
    redmux_inbox inbox = inbox_new(client), ready[1];
    redmux_subscription subscription = subscribe(client, inbox, "flood", 1);
    redmux_block block = {0};
    int32_t fd = -1;
    size_t count;
    uint32_t next = 0;
    CHECK_OK(redmux_client_fd(client, &fd));
    for (uint32_t i = 0; i < MESSAGES; i++)
        CHECK_OK(redmux_client_post(client, (const uint8_t *)"flood", 5, (const uint8_t *)&i, sizeof i));
    while (next < MESSAGES) {
        int32_t status;
        CHECK(readable(fd, WAIT_MS), "readable while something is to come");
        CHECK_OK(redmux_client_wait(client, 0, ready, 1, &count));
        status = redmux_inbox_take(ready[0], 0, &block);
        /* What made it come again may have been taken with what it came for. */
        if (status == REDMUX_ERR_TIMEOUT)
            continue;
        CHECK_OK(status);
        for (size_t i = 0; i < block.count; i++) {
            uint32_t number;
            if (block.records[i].kind != REDMUX_KIND_MESSAGE)
                continue;
            memcpy(&number, block.data + block.records[i].data_off, sizeof number);
            CHECK_EQ(next, number, "in order, none missing");
            next++;
        }
    }
    redmux_block_release(&block);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_inbox_close(inbox, WAIT_MS);
    redmux_subscription_close(subscription);
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    the_descriptor_is_readable_exactly_while_the_list_is_not_empty(fixture.url);
    wake_ends_one_wait_running_or_next(fixture.url);
    take_many_takes_from_all_that_have_something(fixture.url);
    a_lent_block_outlives_inbox_client_and_library(fixture.url);
    a_loop_over_the_descriptor_misses_nothing(fixture.url);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    fixture_end(&fixture);
    return 0;
}
