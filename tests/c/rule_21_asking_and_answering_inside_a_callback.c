/* Rule 21 for requests: a callback may answer and ask, and stop what it asked; to wait there is REDMUX_ERR_WOULD_DEADLOCK. */
#include "check.h"

static const redmux_options defaults = {0};

struct side {
    redmux_client client;
    redmux_inbox inbox;
    struct flag answers;
    struct flag ends;
    struct flag requests;
};

static int32_t ask(struct side *side, const char *service, uint64_t token)
{
    return redmux_gather_open(side->client, side->inbox, (const uint8_t *)service, strlen(service),
                              (const uint8_t *)"body", 4, NULL, 0, defaults, token, WAIT_MS, NULL, NULL);
}

static int32_t on_records(void *user, const redmux_block *block)
{
    struct side *side = user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        redmux_responder responder = {r->source};
        redmux_gather gather = {r->source};
        redmux_text *text = NULL;
        redmux_error *error = NULL;

        switch (r->kind) {
        case REDMUX_KIND_REQUEST:
            /* A handler that waits for an answer would wait for itself. */
            CHECK_STATUS(REDMUX_ERR_WOULD_DEADLOCK,
                         redmux_gather_first_wait(side->client, (const uint8_t *)"inner", 5, NULL, 0, NULL, 0, defaults,
                                                  WAIT_MS, &text, &error));
            CHECK(text == NULL, "a result is written only on success");
            CHECK_TEXT(redmux_error_message(error), "callback", "the sentence says why");
            redmux_error_free(error);
            CHECK_STATUS(REDMUX_ERR_WOULD_DEADLOCK, redmux_responder_active_wait(responder, WAIT_MS, NULL));
            CHECK_OK(redmux_responder_answer(responder, r->number, block->data + r->data_off, r->data_len, NULL, 0, 0));
            CHECK_OK(redmux_responder_end(responder, r->number));
            CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_end(responder, r->number));
            /* One that asks. Its answer comes to another callback of the same thread. */
            if (name_is(block, r, "outer"))
                CHECK_OK(ask(side, "inner", 2));
            flag_add(&side->requests, 1);
            break;
        case REDMUX_KIND_ANSWER:
            CHECK(data_is(block, r, "body"), "the body came back");
            flag_add(&side->answers, 1);
            /* The first stop ends it, unless it has ended by itself; the second one never does. */
            (void)redmux_gather_stop(side->client, gather, REDMUX_REASON_PREDICATE);
            CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_gather_stop(side->client, gather, REDMUX_REASON_PREDICATE));
            break;
        case REDMUX_KIND_END:
            CHECK(r->number == REDMUX_REASON_PREDICATE || r->number == REDMUX_REASON_ALL, "it ended well");
            flag_add(&side->ends, 1);
            break;
        default:
            break;
        }
    }
    return 0;
}

int main(void)
{
    struct fixture fixture;
    struct side side = {{0}, {0}, FLAG, FLAG, FLAG};
    redmux_responder outer = {0}, inner = {0};
    redmux_text *text = NULL;
    redmux_bytes answer;

    fixture_start(&fixture, NULL);
    side.client = client_open(fixture.url);
    CHECK_OK(redmux_inbox_new_callback(side.client, defaults, on_records, &side, NULL, &side.inbox, NULL));
    CHECK_OK(redmux_responder_open(side.client, side.inbox, (const uint8_t *)"outer", 5, defaults, 1, &outer, NULL));
    CHECK_OK(redmux_responder_open(side.client, side.inbox, (const uint8_t *)"inner", 5, defaults, 1, &inner, NULL));
    CHECK_OK(redmux_responder_active_wait(outer, WAIT_MS, NULL));
    CHECK_OK(redmux_responder_active_wait(inner, WAIT_MS, NULL));
    for (int i = 0; i < 100; i++)
        CHECK_OK(ask(&side, "outer", 1));
    FLAG_AWAIT(&side.requests, 200, "each outer request made an inner one");
    FLAG_AWAIT(&side.ends, 200, "each gather ends");
    CHECK_EQ(200, flag_get(&side.answers), "with its one answer");

    /* Outside of a callback one may wait. */
    CHECK_OK(redmux_gather_first_wait(side.client, (const uint8_t *)"inner", 5, (const uint8_t *)"hi", 2, NULL, 0,
                                      defaults, WAIT_MS, &text, NULL));
    answer = redmux_text_bytes(text);
    CHECK(answer.len == 2 && memcmp(answer.data, "hi", 2) == 0, "the answer is the caller's");
    redmux_text_free(text);
    FLAG_AWAIT(&side.requests, 201, "its handler goes on to its end");

    CHECK_OK(redmux_client_close(side.client, WAIT_MS));
    CHECK_EQ(200, flag_get(&side.ends), "and only once");
    CHECK_OK(redmux_responder_close(outer));
    CHECK_OK(redmux_responder_close(inner));
    CHECK_OK(redmux_inbox_close(side.inbox, WAIT_MS));
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    fixture_end(&fixture);
    return 0;
}
