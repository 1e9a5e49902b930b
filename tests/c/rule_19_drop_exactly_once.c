/* Rule 19: a callback is a triple; drop runs exactly once, after the last call, also when registering fails. */
#include "check.h"

/* What a callback is given. It is on the heap, so that a call after drop is seen by a sanitizer, and by its count. */
struct user {
    struct flag calls;
    struct flag drops;
    long calls_at_drop;
};

static int32_t on_block(void *user, const redmux_block *block)
{
    struct user *u = user;
    (void)block;
    CHECK_EQ(0, flag_get(&u->drops), "no call after drop");
    flag_add(&u->calls, 1);
    return 0;
}

static void on_drop(void *user)
{
    struct user *u = user;
    u->calls_at_drop = flag_get(&u->calls);
    flag_add(&u->drops, 1);
}

static int32_t on_nothing(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

static struct user *new_user(void)
{
    struct user *user = calloc(1, sizeof *user);
    CHECK(user != NULL, "there is memory");
    pthread_mutex_init(&user->calls.mutex, NULL);
    pthread_cond_init(&user->calls.changed, NULL);
    pthread_mutex_init(&user->drops.mutex, NULL);
    pthread_cond_init(&user->drops.changed, NULL);
    return user;
}

/* Once, and no call since. */
static void end_user(struct user *user)
{
    CHECK_EQ(1, flag_get(&user->drops), "drop runs exactly once");
    CHECK_EQ(user->calls_at_drop, flag_get(&user->calls), "after the last call");
    free(user);
}

static void registering_that_fails_drops(const char *url)
{
    redmux_client client = client_open(url), stale = client_open(url), untouched = {77};
    redmux_options options = options_for(url), bad = {0}, asking = {0};
    redmux_inbox inbox = {77};
    struct user *user;
    CHECK_OK(redmux_client_close(stale, WAIT_MS));

#define FAILS(status, call)                                            \
    do {                                                               \
        user = new_user();                                             \
        CHECK_STATUS(status, call);                                    \
        CHECK(inbox.id == 77 && untouched.id == 77, "nothing is made"); \
        end_user(user);                                                \
    } while (0)

    FAILS(REDMUX_ERR_CLOSED, redmux_inbox_new_callback(stale, bad, on_block, user, on_drop, &inbox, NULL));
    FAILS(REDMUX_ERR_CLOSED, redmux_inbox_new_callback((redmux_client){0}, bad, on_block, user, on_drop, &inbox, NULL));
    FAILS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_new_callback(client, bad, NULL, user, on_drop, &inbox, NULL));
    FAILS(REDMUX_ERR_INVALID_ARGUMENT, redmux_inbox_new_callback(client, bad, on_block, user, on_drop, NULL, NULL));
    bad.id = 12345;
    FAILS(REDMUX_ERR_CLOSED, redmux_inbox_new_callback(client, bad, on_block, user, on_drop, &inbox, NULL));

    FAILS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, NULL, user, on_drop,
                                                               &untouched, NULL, NULL));
    FAILS(REDMUX_ERR_INVALID_ARGUMENT, redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, on_block, user, on_drop,
                                                               NULL, NULL, NULL));
    FAILS(REDMUX_ERR_INVALID_ARGUMENT,
          redmux_client_open_with(options, 99, on_block, user, on_drop, &untouched, NULL, NULL));
    FAILS(REDMUX_ERR_CLOSED, redmux_client_open_with(bad, REDMUX_EVENTS_CALLBACK, on_block, user, on_drop, &untouched,
                                                     NULL, NULL));
    asking = options_for(url);
    options_put(asking, "tls_cert", "/nowhere");
    FAILS(REDMUX_ERR_INVALID_VALUE, redmux_client_open_with(asking, REDMUX_EVENTS_CALLBACK, on_block, user, on_drop,
                                                            &untouched, NULL, NULL));

    /* Without a drop there is none to run. */
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_new_callback(stale, options, on_block, NULL, NULL, &inbox, NULL));

    /* A callback that is given and not asked for is dropped at once. */
    user = new_user();
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_TAKE, on_block, user, on_drop, &untouched, NULL, NULL));
    end_user(user);
    CHECK_OK(redmux_client_close(untouched, WAIT_MS));
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    redmux_options_free(options);
    redmux_options_free(asking);
}

static void closing_drops_after_the_last_call(const char *url)
{
    /* By its own close, by its client's, and where it was never called. */
    for (int how = 0; how < 3; how++) {
        redmux_client client = client_open(url);
        struct user *user = new_user();
        redmux_inbox inbox = inbox_new_callback(client, on_block, user, on_drop);
        if (how < 2) {
            subscribe(client, inbox, "flood", 1);
            for (int i = 0; i < 500; i++)
                CHECK_OK(redmux_client_post(client, (const uint8_t *)"flood", 5, NULL, 0));
            FLAG_AWAIT(&user->calls, 1, "the callback is called");
        }
        CHECK_EQ(0, flag_get(&user->drops), "no drop while it is registered");
        if (how == 0)
            CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
        else
            CHECK_OK(redmux_client_close(client, WAIT_MS));
        end_user(user);
        redmux_inbox_close(inbox, WAIT_MS);
        redmux_client_close(client, WAIT_MS);
    }
}

static void the_events_callback_is_dropped_with_its_client(const char *url)
{
    redmux_options options = options_for(url);
    redmux_client client = {0};
    redmux_inbox events = {0};
    struct user *user = new_user();
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, on_block, user, on_drop, &client, &events, NULL));
    CHECK(events.id != 0, "the event inbox has a handle");
    FLAG_AWAIT(&user->calls, 1, "states come");
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    end_user(user);
    redmux_inbox_close(events, WAIT_MS);
    redmux_options_free(options);
}

/* Whoever wants no handle of the event inbox has none to close. */
static void an_event_inbox_without_a_handle_leaves_none(const char *url)
{
    const int32_t ways[] = {REDMUX_EVENTS_CALLBACK, REDMUX_EVENTS_TAKE};
    redmux_options options = options_for(url);
    for (int i = 0; i < 2; i++) {
        int64_t before = redmux_debug_live();
        redmux_client client = {0};
        CHECK_OK(redmux_client_open_with(options, ways[i], on_nothing, NULL, NULL, &client, NULL, NULL));
        CHECK_OK(redmux_client_close(client, WAIT_MS));
        CHECK_EQ(before, redmux_debug_live(), "nothing is left");
    }
    redmux_options_free(options);
}

struct race {
    redmux_inbox inbox;
    struct flag go;
};

static void *close_inbox(void *arg)
{
    struct race *race = arg;
    flag_reaches(&race->go, 1, WAIT_MS);
    redmux_inbox_close(race->inbox, WAIT_MS);
    return NULL;
}

/* While messages come, an inbox and its client are closed at once. */
static void racing_closes_drop_once(const char *url)
{
    for (int round = 0; round < 30; round++) {
        redmux_client client = client_open(url);
        struct user *user = new_user();
        struct race race = {{0}, FLAG};
        pthread_t thread;
        race.inbox = inbox_new_callback(client, on_block, user, on_drop);
        subscribe(client, race.inbox, "flood", 1);
        for (int i = 0; i < 50; i++)
            CHECK_OK(redmux_client_post(client, (const uint8_t *)"flood", 5, NULL, 0));
        thread = thread_start(close_inbox, &race);
        flag_add(&race.go, 1);
        CHECK_OK(redmux_client_close(client, WAIT_MS));
        CHECK_EQ(1, flag_get(&user->drops), "a close that returns OK has dropped");
        thread_join(thread);
        end_user(user);
    }
}

int main(void)
{
    struct fixture fixture;
    fixture_start(&fixture, NULL);
    registering_that_fails_drops(fixture.url);
    closing_drops_after_the_last_call(fixture.url);
    the_events_callback_is_dropped_with_its_client(fixture.url);
    an_event_inbox_without_a_handle_leaves_none(fixture.url);
    racing_closes_drop_once(fixture.url);
    fixture_end(&fixture);
    return 0;
}
