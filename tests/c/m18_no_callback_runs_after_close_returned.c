/* When a close returns REDMUX_OK on another thread no callback runs or will run: its user data is freed that moment,
 * while messages come as fast as the server gives them.
 *
 * A second by default, REDMUX_SECONDS of them if that is set. AddressSanitizer sees any touch of what was freed;
 * without it the data is overwritten first. */
#include "flood.h"

enum { ALIVE = 0x5afe };

struct watch {
    int state; /* ALIVE until it is freed; written by whoever owns it alone */
    int dropped;
    struct flag called;
};

static int32_t called(void *user, const redmux_block *block)
{
    struct watch *watch = user;
    CHECK_EQ(ALIVE, watch->state, "the user data is there");
    CHECK(block->count > 0, "there are records");
    flag_add(&watch->called, 1);
    return 0;
}

static void dropped(void *user)
{
    struct watch *watch = user;
    CHECK_EQ(ALIVE, watch->state, "the user data is there");
    watch->dropped++;
}

static struct watch *watch_new(void)
{
    static const struct watch fresh = {ALIVE, 0, FLAG};
    struct watch *watch = malloc(sizeof *watch);
    CHECK(watch != NULL, "there is memory");
    *watch = fresh;
    return watch;
}

static void watch_free(struct watch *watch)
{
    CHECK_EQ(1, watch->dropped, "drop ran once, before close returned");
    memset(watch, 0xa5, sizeof *watch);
    free(watch);
}

static redmux_client client_with_threads(const char *url, const char *threads)
{
    redmux_options options = options_for(url);
    redmux_client client = {0};
    options_put(options, "callback_threads", threads);
    /* A close of the client gives callbacks what waits; that need not be long. */
    options_put(options, "inbox_bytes", "256KiB");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    redmux_options_free(options);
    return client;
}

struct closer {
    redmux_client client;
    redmux_inbox inbox; /* closed instead of the client, if it is one */
};

static void *closes(void *arg)
{
    struct closer *closer = arg;
    if (closer->inbox.id != 0)
        CHECK_OK(redmux_inbox_close(closer->inbox, WAIT_MS));
    else
        CHECK_OK(redmux_client_close(closer->client, WAIT_MS));
    return NULL;
}

/* Three inboxes with callbacks in the flood, on one thread or on two; they are closed one by one or with their client,
 * on this thread or on another. Returns how often callbacks ran. */
static long round_of(const char *url, int round)
{
    enum { INBOXES = 3 };
    redmux_client client = client_with_threads(url, round % 2 == 0 ? "1" : "2");
    struct watch *watches[INBOXES];
    redmux_inbox inboxes[INBOXES];
    int one_by_one = round % 4 < 2, elsewhere = round % 8 < 4;
    long calls = 0;
    for (int i = 0; i < INBOXES; i++) {
        watches[i] = watch_new();
        inboxes[i] = inbox_new_callback(client, called, watches[i], dropped);
        subscribe(client, inboxes[i], "flood", 1);
    }
    for (int i = 0; i < INBOXES; i++)
        FLAG_AWAIT(&watches[i]->called, 2 + round % 3, "messages come");
    for (int i = 0; i < (one_by_one ? INBOXES : 1); i++) {
        struct closer closer = {client, one_by_one ? inboxes[i] : (redmux_inbox){0}};
        if (elsewhere)
            thread_join(thread_start(closes, &closer));
        else
            closes(&closer);
        if (one_by_one) {
            calls += watches[i]->called.value;
            watch_free(watches[i]);
        }
    }
    if (one_by_one) {
        CHECK_OK(redmux_client_close(client, WAIT_MS));
        return calls;
    }
    for (int i = 0; i < INBOXES; i++) {
        calls += watches[i]->called.value;
        watch_free(watches[i]);
        CHECK_OK(redmux_inbox_close(inboxes[i], WAIT_MS));
    }
    return calls;
}

int main(void)
{
    struct fixture fixture;
    int64_t end;
    long calls = 0;
    int rounds = 0;
    pid_t pid;
    char path[256];
    fixture_start(&fixture, "--config", "client-output-buffer-limit=pubsub 0 0 0", NULL);
    field_text(fixture.line, "path", path, sizeof path);
    pid = flood_start(path, 0);
    for (end = now_ms() + 1000 * seconds_or(1); now_ms() < end || rounds < 8; rounds++)
        calls += round_of(fixture.url, rounds);
    flood_end(pid);
    printf("%d rounds, %ld callbacks\n", rounds, calls);
    fixture_end(&fixture);
    return 0;
}
