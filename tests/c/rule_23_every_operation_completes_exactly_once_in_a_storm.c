/* Rule 23: each operation completes exactly once, whatever happens meanwhile: threads add, remove, clear, publish,
 * promise, wait, flush, cancel, close sources, while the client is stopped and started, its links are killed, and at
 * last closed. Every token is counted. */
#include "check.h"

enum { THREADS = 4, TOKENS = 1 << 18 };

static struct fixture fixture;
static redmux_client client;
static redmux_inbox inboxes[THREADS];
/* What was asked (1 and the number of its case) and how often it ended, by token. Each token is written by one thread and counted by one. */
static unsigned char asked[THREADS][TOKENS], ended[THREADS][TOKENS];
static uint64_t next[THREADS];
static struct flag over = FLAG;
static struct flag full = FLAG; /* how often there was no room */

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void took(int thread, redmux_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind == REDMUX_KIND_DONE || r->kind == REDMUX_KIND_PUBLISHED || r->kind == REDMUX_KIND_PROMISE) {
            CHECK(r->token < TOKENS && asked[thread][r->token], "only what was asked ends");
            CHECK(++ended[thread][r->token] == 1, "once");
            CHECK(r->status != REDMUX_ERR_INTERNAL, "and not for a defect");
        }
    }
}

static void *storms(void *arg)
{
    int thread = (int)(size_t)arg;
    uint32_t seed = 2463534242u + 7919u * (uint32_t)thread;
    redmux_inbox inbox = inboxes[thread], own = {0};
    redmux_subscription subscriptions[3] = {{0}, {0}, {0}};
    redmux_promises promises = {0};
    redmux_block block = {0};
    char text[3][16];
    redmux_bytes names[3];

    while (!flag_get(&over) && next[thread] + 4 < TOKENS) {
        uint64_t token = next[thread]++;
        redmux_subscription *s = &subscriptions[dice(&seed) % 3];
        int32_t status = REDMUX_OK;
        uint32_t what;
        int64_t timeout = dice(&seed) % 4 == 0 ? (int64_t)(1 + dice(&seed) % 30) : -1;
        for (int i = 0; i < 3; i++) {
            snprintf(text[i], sizeof text[i], "n%u", dice(&seed) % 20);
            names[i] = bytes_of(text[i]);
        }
        if (s->id == 0)
            CHECK_OK(redmux_subscription_new(client, inbox, TOKENS - 1, s));
        if (promises.id == 0)
            CHECK_OK(redmux_promises_new(client, inbox, (const uint8_t *)"n", 1, TOKENS - 1, &promises));
        what = dice(&seed) % 20;
        asked[thread][token] = (unsigned char)(1 + what);
        switch (what) {
        case 0: case 1: case 2:
            status = redmux_subscription_add(*s, names, 3, dice(&seed) % 2 ? inbox : own, token, timeout);
            break;
        case 3: case 4:
            status = redmux_subscription_remove(*s, names, 2, own, token, timeout);
            break;
        case 5:
            status = redmux_subscription_clear(*s, own, token, timeout);
            break;
        case 6:
            status = redmux_subscription_active(*s, own, token, timeout);
            break;
        case 7: case 8: case 9:
            status = redmux_client_publish(client, names[0].data, names[0].len, names[1].data, names[1].len, inbox,
                                           token, timeout);
            break;
        case 10:
            status = redmux_promises_make(promises, names[0].data + 1, names[0].len - 1, own, token, timeout);
            break;
        case 11:
            status = redmux_promises_make_later(promises, names[0].data + 1, names[0].len - 1, own, token, timeout,
                                                timeout);
            break;
        case 12:
            status = redmux_promise_make(client, names[0].data, names[0].len, inbox, token, timeout);
            break;
        case 13:
            status = redmux_client_flush(client, inbox, token, timeout);
            break;
        case 14:
            status = redmux_client_barrier(client, inbox, token, timeout);
            break;
        case 15:
            status = redmux_client_ready(client, inbox, token, timeout);
            break;
        case 16:
            status = redmux_promises_active(promises, own, token, timeout);
            break;
        case 17:
            status = redmux_subscription_drain(*s, own, token, timeout);
            break;
        case 18:
            asked[thread][token] = 0;
            for (uint64_t back = 1; back < 6 && back <= token; back++)
                CHECK_OK(redmux_inbox_cancel(inbox, token - back));
            break;
        default:
            asked[thread][token] = 0;
            if (dice(&seed) % 2) {
                redmux_subscription_close(*s);
                s->id = 0;
            } else {
                redmux_promises_close(promises);
                promises.id = 0;
            }
        }
        if (status != REDMUX_OK) {
            asked[thread][token] = 0;
            CHECK(status == REDMUX_ERR_CLOSED || status == REDMUX_ERR_FULL || status == REDMUX_ERR_INACTIVE ||
                      status == REDMUX_ERR_STOPPED,
                  "refused for a reason");
            flag_add(&full, status == REDMUX_ERR_FULL);
            if (status == REDMUX_ERR_CLOSED)
                s->id = 0;
        }
        if (token % 8 == 0 || status == REDMUX_ERR_FULL) {
            while (redmux_inbox_take(inbox, 0, &block) == REDMUX_OK)
                took(thread, &block);
        }
    }
    redmux_block_release(&block);
    return NULL;
}

/* Links are killed, and the client stopped and started, all the while. */
static void harass(int64_t until)
{
    for (int round = 0; now_ms() < until; round++) {
        sleep_ms(30);
        switch (round % 4) {
        case 0: fixture_do(&fixture, "{\"do\":\"kill_pubsub\"}"); break;
        case 1: fixture_do(&fixture, "{\"do\":\"kill_normal\"}"); break;
        case 2: CHECK_OK(redmux_client_stop(client)); sleep_ms(5); CHECK_OK(redmux_client_restart(client)); break;
        default: fixture_do(&fixture, "{\"do\":\"publish\",\"channel\":\"n1\",\"data\":\"x\"}");
        }
    }
}

static void storm(int64_t ms, int begin)
{
    redmux_options options = options_for(fixture.url);
    pthread_t threads[THREADS];
    redmux_block block = {0};
    long total = 0;

    options_put(options, "backoff_max", "20ms");
    options_put(options, "inbox_bytes", "64KiB");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    redmux_options_free(options);
    memset(asked, 0, sizeof asked);
    memset(ended, 0, sizeof ended);
    memset(next, 0, sizeof next);
    flag_set(&over, 0);
    for (int i = 0; i < THREADS; i++) {
        inboxes[i] = inbox_new(client);
        threads[i] = thread_start(storms, (void *)(size_t)i);
    }
    harass(now_ms() + ms);
    flag_set(&over, 1);
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    /* Whatever is left ends with the client. The others may be full of promises that nobody keeps any more, so the end of the
     * close has an inbox of its own. */
    if (begin) {
        redmux_inbox last = inbox_new(client);
        int ends = 0;
        int32_t status;
        CHECK_OK(redmux_client_close_begin(client, last, TOKENS - 2, 2000));
        while ((status = redmux_inbox_take(last, WAIT_MS, &block)) == REDMUX_OK)
            for (size_t i = 0; i < block.count; i++)
                ends += block.records[i].kind == REDMUX_KIND_DONE && block.records[i].token == TOKENS - 2;
        CHECK_STATUS(REDMUX_ERR_CLOSED, status);
        CHECK_EQ(1, ends, "the close ends once");
        CHECK_OK(redmux_inbox_close(last, 0));
    } else {
        CHECK_OK(redmux_client_close(client, 2000));
    }
    for (int i = 0; i < THREADS; i++) {
        int32_t status;
        while ((status = redmux_inbox_take(inboxes[i], WAIT_MS, &block)) == REDMUX_OK)
            took(i, &block);
        CHECK_STATUS(REDMUX_ERR_CLOSED, status);
        for (uint64_t token = 0; token < TOKENS; token++) {
            if (asked[i][token] != 0 && ended[i][token] == 0)
                fprintf(stderr, "case %d, token %d of thread %d did not end\n", asked[i][token] - 1, (int)token, i);
            CHECK_EQ(asked[i][token] != 0, ended[i][token], "what was asked ended");
            total += ended[i][token];
        }
        CHECK_OK(redmux_inbox_close(inboxes[i], 0));
    }
    printf("%ld operations ended, %ld had no room\n", total, flag_get(&full));
    CHECK(total > 1000, "it was a storm");
}

int main(void)
{
    fixture_start(&fixture, NULL);
    for (int round = 0; round < 2; round++)
        storm(2500, round);
    fixture_end(&fixture);
    return 0;
}
