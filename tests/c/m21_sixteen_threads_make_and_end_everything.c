/* 16 threads create, add, remove and close what they share, all at once: each call answers with a status that fits, no
 * thread hangs, nothing is left over, and ThreadSanitizer sees no race.
 *
 * Two seconds by default, REDMUX_SECONDS of them if that is set. The threads find each other's handles in slots that
 * are read and written with relaxed atomics: a lock around them would put an order between the threads, and hide from the
 * sanitizer what the library itself leaves out. */
#include "check.h"

enum { THREADS = 16, CLIENTS = 3, INBOXES = 12, SUBSCRIPTIONS = 24, PROMISES = 4, NAMES = 8 };

static struct fixture fixture;
static uint64_t clients[CLIENTS], inboxes[INBOXES], subscriptions[SUBSCRIPTIONS], promise_sets[PROMISES];
static long over, opened, dropped, calls;

#define LOAD(slot) __atomic_load_n(slot, __ATOMIC_RELAXED)
#define SWAP(slot, id) __atomic_exchange_n(slot, id, __ATOMIC_RELAXED)
#define COUNT(counter) __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED)

static uint32_t dice(uint32_t *seed, uint32_t sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % sides;
}

static void was_dropped(void *user)
{
    (void)user;
    COUNT(&dropped);
}

/* Now and then it makes or ends something itself, from inside. */
static int32_t called(void *user, const redmux_block *block)
{
    uint64_t count = block->count;
    (void)user;
    COUNT(&calls);
    if (count % 3 == 0) {
        redmux_subscription subscription = {LOAD(&subscriptions[count % SUBSCRIPTIONS])};
        redmux_subscription_close(subscription);
    }
    return 0;
}

/* What may come of a call on a handle that another thread may be closing. */
static void fits(int32_t status, const char *what)
{
    switch (status) {
    case REDMUX_OK:
    case REDMUX_ERR_CLOSED:
    case REDMUX_ERR_BUSY:
    case REDMUX_ERR_CONFLICT:
    case REDMUX_ERR_FULL:
    case REDMUX_ERR_INACTIVE:
    case REDMUX_ERR_NOT_SENT:
    case REDMUX_ERR_SUPERSEDED:
    case REDMUX_ERR_TIMEOUT:
    case REDMUX_ERR_UNKNOWN:
    case REDMUX_ERR_CANCELLED:
    case REDMUX_ERR_INTERRUPTED:
    /* An inbox of another client. */
    case REDMUX_ERR_INVALID_ARGUMENT:
        return;
    default:
        check_failed(__FILE__, __LINE__, "the status fits", what, redmux_status_name(status));
    }
}

#define FITS(call) fits(call, #call)

static void another_client(uint64_t *slot)
{
    redmux_client old, fresh = client_open(fixture.url);
    COUNT(&opened);
    old.id = SWAP(slot, fresh.id);
    FITS(redmux_client_close(old, old.id % 2 == 0 ? 0 : WAIT_MS));
}

static void another_inbox(uint64_t *slot, redmux_client client, int by_callback)
{
    redmux_options none = {0};
    redmux_inbox old, fresh = {0};
    if (by_callback)
        FITS(redmux_inbox_new_callback(client, none, called, NULL, was_dropped, &fresh, NULL));
    else
        FITS(redmux_inbox_new(client, none, &fresh, NULL));
    old.id = SWAP(slot, fresh.id);
    FITS(redmux_inbox_close(old, WAIT_MS));
}

static void another_subscription(uint64_t *slot, redmux_client client, redmux_inbox inbox, uint32_t kind)
{
    redmux_subscription old, fresh = {0};
    if (kind == 0)
        FITS(redmux_subscription_new_pattern(client, inbox, (const uint8_t *)"n*", 2, 1, inbox, 2, 1000, &fresh));
    else
        FITS(redmux_subscription_new(client, inbox, 1, &fresh));
    old.id = SWAP(slot, fresh.id);
    if (kind == 1)
        FITS(redmux_subscription_drain(old, inbox, 3, 1000));
    FITS(redmux_subscription_close(old));
}

static void another_promise_set(uint64_t *slot, redmux_client client, redmux_inbox inbox)
{
    redmux_promises old, fresh = {0};
    FITS(redmux_promises_new(client, inbox, (const uint8_t *)"n", 1, 1, &fresh));
    old.id = SWAP(slot, fresh.id);
    FITS(redmux_promises_close(old));
}

static void one_step(uint32_t *seed, redmux_block *block)
{
    static const char *const all[NAMES] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"};
    redmux_client client = {LOAD(&clients[dice(seed, CLIENTS)])};
    redmux_inbox inbox = {LOAD(&inboxes[dice(seed, INBOXES)])};
    redmux_subscription subscription = {LOAD(&subscriptions[dice(seed, SUBSCRIPTIONS)])};
    redmux_promises promises = {LOAD(&promise_sets[dice(seed, PROMISES)])};
    uint32_t first = dice(seed, NAMES), count = 1 + dice(seed, 3);
    const uint8_t *name = (const uint8_t *)all[first];
    redmux_bytes names[3];
    redmux_list *list = NULL;
    redmux_text *text = NULL;
    for (uint32_t i = 0; i < 3; i++)
        names[i] = bytes_of(all[(first + i) % NAMES]);
    switch (dice(seed, 24)) {
    case 0:
        if (dice(seed, 16) == 0)
            another_client(&clients[dice(seed, CLIENTS)]);
        break;
    case 1:
        another_inbox(&inboxes[dice(seed, INBOXES)], client, (int)dice(seed, 2));
        break;
    case 2:
    case 3:
        another_subscription(&subscriptions[dice(seed, SUBSCRIPTIONS)], client, inbox, dice(seed, 6));
        break;
    case 4:
        another_promise_set(&promise_sets[dice(seed, PROMISES)], client, inbox);
        break;
    case 5:
        FITS(redmux_promises_make_later(promises, name + 1, 1, inbox, 4, 500, 500));
        break;
    case 6:
        FITS(redmux_client_publish(client, name, 2, name, 2, inbox, 5, 1000));
        break;
    case 7:
        FITS(redmux_subscription_names(subscription, &list));
        redmux_list_free(list);
        break;
    case 8:
        FITS(redmux_client_stats(client, &text));
        redmux_text_free(text);
        break;
    case 9:
        FITS(redmux_inbox_cancel(inbox, 2 + dice(seed, 4)));
        break;
    case 10:
        FITS(redmux_subscription_add_wait(subscription, names, count, 20, NULL));
        break;
    case 11:
        FITS(redmux_client_publish_wait(client, name, 2, name, 2, 20, NULL, NULL));
        break;
    case 12:
    case 13:
    case 14:
        FITS(redmux_client_post(client, name, 2, name, 2));
        break;
    case 15:
    case 16:
    case 17:
        FITS(redmux_inbox_take(inbox, dice(seed, 2), block));
        break;
    case 18:
    case 19:
    case 20:
        FITS(redmux_subscription_remove(subscription, names, count, inbox, 2, 1000));
        break;
    default:
        FITS(redmux_subscription_add(subscription, names, count, inbox, 2, 1000));
    }
}

static void *steps(void *arg)
{
    uint32_t seed = (uint32_t)(size_t)arg;
    redmux_block block = {0};
    long count = 0;
    for (; !LOAD(&over); count++)
        one_step(&seed, &block);
    redmux_block_release(&block);
    return (void *)count;
}

static void end_all(void)
{
    for (int i = 0; i < CLIENTS; i++)
        FITS(redmux_client_close((redmux_client){clients[i]}, WAIT_MS));
    for (int i = 0; i < INBOXES; i++)
        FITS(redmux_inbox_close((redmux_inbox){inboxes[i]}, WAIT_MS));
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        FITS(redmux_subscription_close((redmux_subscription){subscriptions[i]}));
    for (int i = 0; i < PROMISES; i++)
        FITS(redmux_promises_close((redmux_promises){promise_sets[i]}));
    CHECK_EQ(0, redmux_debug_live(), "nothing is left over");
}

int main(void)
{
    pthread_t threads[THREADS];
    long total = 0;
    fixture_start(&fixture, NULL);
    for (int i = 0; i < CLIENTS; i++)
        another_client(&clients[i]);
    for (int i = 0; i < INBOXES; i++)
        another_inbox(&inboxes[i], (redmux_client){clients[i % CLIENTS]}, i % 2);
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = thread_start(steps, (void *)(i + 1));
    sleep_ms((int)(1000 * seconds_or(2)));
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) {
        void *count = NULL;
        CHECK(pthread_join(threads[i], &count) == 0, "the thread ends");
        CHECK(count != NULL, "it did something");
        total += (long)(size_t)count;
    }
    end_all();
    CHECK_OK(redmux_shutdown(WAIT_MS));
    printf("%ld steps, %ld clients, %ld callbacks, %ld drops\n", total, opened, calls, dropped);
    CHECK(calls > 0 && dropped > 0, "callbacks ran and ended");
    fixture_end(&fixture);
    return 0;
}
