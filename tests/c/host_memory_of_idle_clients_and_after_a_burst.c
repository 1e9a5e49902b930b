/* An idle client with a subscription costs little, and neither blocking calls nor a burst that nobody read, once it is
 * taken, leave anything behind.
 *
 * Resident memory beyond the library itself: a first client was opened, used and closed before anything is measured.
 */
#include "flood.h"

static struct fixture fixture;

static long resident_kib(void)
{
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &pages) == 2, "the kernel says");
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void one_and_gone(void)
{
    redmux_client client = client_open(fixture.url);
    redmux_inbox inbox = inbox_new(client);
    subscribe(client, inbox, "first", 1);
    CHECK_EQ(1, publish(client, "first", "x"), "it works");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    CHECK_OK(redmux_inbox_close(inbox, 0));
}

static void idle_clients(void)
{
    enum { CLIENTS = 20 };
    redmux_client clients[CLIENTS];
    long before = resident_kib(), each;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(fixture.url);
        subscribe(clients[i], inbox_new(clients[i]), "idle", 1);
    }
    each = (resident_kib() - before) / CLIENTS;
    printf("an idle client with a subscription: %ld KiB\n", each);
    CHECK(each < 256, "an idle client costs less than 256 KiB");
    for (int i = 0; i < CLIENTS; i++)
        CHECK_OK(redmux_client_close(clients[i], WAIT_MS));
}

/* Each blocking call waits in an inbox of its own, which is gone with it. */
static void blocking_calls(void)
{
    enum { CALLS = 20000 };
    redmux_client client = client_open(fixture.url);
    redmux_inbox inbox = inbox_new(client);
    redmux_subscription subscription = subscribe(client, inbox, "calls", 1);
    long before, grown;
    for (int i = 0; i < CALLS / 10; i++)
        CHECK_OK(redmux_subscription_active_wait(subscription, WAIT_MS, NULL));
    before = resident_kib();
    for (int i = 0; i < CALLS; i++)
        CHECK_OK(redmux_subscription_active_wait(subscription, WAIT_MS, NULL));
    grown = resident_kib() - before;
    printf("%d blocking calls: %ld KiB\n", CALLS, grown);
    CHECK(grown < 2048, "blocking calls leave nothing behind");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    CHECK_OK(redmux_inbox_close(inbox, 0));
}

static long long stat_of(redmux_inbox inbox, const char *key)
{
    redmux_text *text = NULL;
    long long value;
    CHECK_OK(redmux_inbox_stats(inbox, &text));
    value = field_number((const char *)redmux_text_bytes(text).data, key);
    redmux_text_free(text);
    return value;
}

static void a_burst_that_nobody_reads(const char *path)
{
    long count = getenv("REDMUX_DEEP") != NULL ? 10000000 : 1000000;
    redmux_client client = client_open(fixture.url);
    redmux_inbox inbox = inbox_new(client);
    redmux_block block = {0};
    long before, full, after;
    long long messages = 0, dropped = 0;
    subscribe(client, inbox, "flood", 1);
    CHECK_OK(redmux_inbox_take(inbox, WAIT_MS, &block));
    redmux_block_release(&block);
    before = resident_kib();
    flood_await(flood_start(path, count));
    CHECK_OK(redmux_client_barrier_wait(client, 60000, NULL));
    full = resident_kib();
    CHECK(stat_of(inbox, "bytes") <= 64 * 1024 * 1024, "the inbox keeps its bound");
    while (redmux_inbox_take(inbox, 0, &block) == REDMUX_OK)
        for (size_t i = 0; i < block.count; i++) {
            messages += block.records[i].kind == REDMUX_KIND_MESSAGE;
            if (block.records[i].kind == REDMUX_KIND_DROPPED)
                dropped += (long long)block.records[i].number;
        }
    CHECK_EQ(count, messages + dropped, "each message came or is counted");
    CHECK_EQ(0, stat_of(inbox, "bytes"), "the inbox is empty");
    /* What the allocator kept goes back a little later. */
    for (int64_t end = now_ms() + WAIT_MS; (after = resident_kib()) - before >= 4096 && now_ms() < end;)
        sleep_ms(50);
    printf("%ld messages, %lld of them dropped: %ld KiB before, %ld KiB when full, %ld KiB when taken\n", count,
           dropped, before, full, after);
    /* The bound counts records and bytes; what is beside them (vectors, buffers) may double that, not more. */
    CHECK(full - before < 2 * 65536, "what waits costs about what it is charged");
    CHECK(after - before < 4096, "and its memory is given back");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    CHECK_OK(redmux_inbox_close(inbox, 0));
}

int main(void)
{
    char path[256];
    fixture_start(&fixture, "--config", "client-output-buffer-limit=pubsub 0 0 0", NULL);
    field_text(fixture.line, "path", path, sizeof path);
    one_and_gone();
    idle_clients();
    blocking_calls();
    for (int round = 0; round < (getenv("REDMUX_DEEP") != NULL ? 2 : 1); round++)
        a_burst_that_nobody_reads(path);
    fixture_end(&fixture);
    return 0;
}
