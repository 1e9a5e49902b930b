/* Rule 21 for events: a callback may use what its records name from its first call on, also before the call that opened it
 * has returned. */
#define _GNU_SOURCE
#include "check.h"
#include <sched.h>

enum { CLIENTS = 300 };

static int32_t answers(void *user, const redmux_block *block)
{
    struct flag *asked = user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind != REDMUX_KIND_QUESTION)
            continue;
        CHECK_OK(redmux_question_answer((redmux_client){r->source}, r->number, 0, NULL, 0));
        flag_add(asked, 1);
    }
    return 0;
}

static int32_t makes_a_promise(void *user, const redmux_block *block)
{
    struct flag *made = user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind != REDMUX_KIND_ACTIVE)
            continue;
        CHECK_OK(redmux_promises_make((redmux_promises){r->source}, (const uint8_t *)"x", 1, (redmux_inbox){0}, 1, -1));
        flag_add(made, 1);
    }
    return 0;
}

int main(void)
{
    struct fixture fixture;
    redmux_options options;
    cpu_set_t one;
    fixture_start(&fixture, NULL);
    options = options_for(fixture.url);
    options_put(options, "ask", "credentials");
    /* On one processor whoever is woken often runs before whoever woke it goes on. */
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK_EQ(0, sched_setaffinity(0, sizeof one, &one), "it runs on one processor");

    for (int n = 0; n < CLIENTS; n++) {
        struct flag asked = FLAG, made = FLAG;
        redmux_client client = {0};
        redmux_inbox inbox;
        redmux_promises promises;
        CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, answers, &asked, NULL, &client, NULL, NULL));
        CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
        CHECK(flag_get(&asked) > 0, "it was asked");
        inbox = inbox_new_callback(client, makes_a_promise, &made, NULL);
        CHECK_OK(redmux_promises_new(client, inbox, (const uint8_t *)"p:", 2, 1, &promises));
        FLAG_AWAIT(&made, 1, "the set is active");
        CHECK_OK(redmux_client_close(client, WAIT_MS));
        redmux_promises_close(promises);
        redmux_inbox_close(inbox, WAIT_MS);
    }
    redmux_options_free(options);
    fixture_end(&fixture);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    return 0;
}
