/* Rule 24: a gather's end says why it ended, how many were expected, who answered, who did not, and keeps what came. */
#include "check.h"

static redmux_gather ask(redmux_client client, redmux_inbox inbox, redmux_options options, uint64_t token,
                         int64_t timeout_ms)
{
    redmux_gather gather = {0};
    CHECK_OK(redmux_gather_open(client, inbox, (const uint8_t *)"x", 1, NULL, 0, NULL, 0, options, token, timeout_ms,
                                &gather, NULL));
    return gather;
}

/* Reads up to the end of a gather; how many answers came before it. Its report is copied out. */
static int ends(struct reader *reader, redmux_gather gather, uint64_t reason, int32_t status, char *report, size_t size)
{
    for (int answers = 0;;) {
        const redmux_record *r = reader_next(reader, WAIT_MS, NULL);
        CHECK(r != NULL, "the end comes");
        if (r->source != gather.id)
            continue;
        if (r->kind == REDMUX_KIND_ANSWER)
            answers++;
        if (r->kind != REDMUX_KIND_END)
            continue;
        CHECK_EQ(reason, r->number, "the reason");
        CHECK_STATUS(status, r->status);
        extra_of(&reader->block, r, report, size);
        return answers;
    }
}

int main(void)
{
    struct fixture fixture;
    redmux_client asker, server;
    redmux_inbox answers, requests;
    redmux_options none = {0}, options = {0};
    redmux_responder responder = {0};
    redmux_gather gather;
    struct reader got, in;
    char report[4096];
    uint64_t ticket;

    fixture_start(&fixture, NULL);
    options = options_for(fixture.url);
    options_put(options, "strict", "true");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &asker, NULL, NULL));
    redmux_options_free(options);
    options = options_for(fixture.url);
    options_put(options, "name", "node-7");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &server, NULL, NULL));
    redmux_options_free(options);
    answers = inbox_new(asker);
    requests = inbox_new(server);
    got = reader_of(answers);
    in = reader_of(requests);

    gather = ask(asker, answers, none, 1, 0);
    CHECK_EQ(0, ends(&got, gather, REDMUX_REASON_NO_RESPONDERS, REDMUX_ERR_NO_RESPONDERS, report, sizeof report),
             "nobody is there");
    CHECK_EQ(0, field_number(report, "expected"), "and Redis says so");

    CHECK_OK(redmux_responder_open(server, requests, (const uint8_t *)"x", 1, none, 9, &responder, NULL));
    CHECK_OK(redmux_responder_active_wait(responder, WAIT_MS, NULL));

    /* It answers, and its end is its last word. */
    gather = ask(asker, answers, none, 2, 0);
    ticket = await_kind(&in, REDMUX_KIND_REQUEST)->number;
    CHECK_OK(redmux_responder_answer(responder, ticket, (const uint8_t *)"1", 1, NULL, 0, 0));
    CHECK_OK(redmux_responder_answer(responder, ticket, (const uint8_t *)"2", 1, NULL, 0, 1));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_responder_answer(responder, ticket, NULL, 0, NULL, 0, 1));
    CHECK_EQ(2, ends(&got, gather, REDMUX_REASON_ALL, REDMUX_OK, report, sizeof report), "both answers come first");
    CHECK_EQ(1, field_number(report, "expected"), "one received it");
    CHECK_EQ(0, field_number(report, "missing_count"), "and finished");
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_gather_stop(asker, gather, REDMUX_REASON_CANCELLED));

    /* It answers once and falls silent: what came is kept, and who is missing is named. */
    gather = ask(asker, answers, none, 3, 2000);
    ticket = await_kind(&in, REDMUX_KIND_REQUEST)->number;
    CHECK_OK(redmux_responder_answer(responder, ticket, (const uint8_t *)"1", 1, NULL, 0, 0));
    CHECK_EQ(1, ends(&got, gather, REDMUX_REASON_DEADLINE, REDMUX_ERR_TIMEOUT, report, sizeof report), "one is kept");
    CHECK_TEXT(report, "\"node-7\"", "the silent one is named");
    CHECK_EQ(1, field_number(report, "missing_count"), "alone");
    CHECK_OK(redmux_responder_end(responder, ticket));

    /* It fails. */
    gather = ask(asker, answers, none, 4, 0);
    ticket = await_kind(&in, REDMUX_KIND_REQUEST)->number;
    CHECK_OK(redmux_responder_fail(responder, ticket, (const uint8_t *)"NO", 2, (const uint8_t *)"luck", 4, 1));
    CHECK_EQ(1, ends(&got, gather, REDMUX_REASON_FAILED, REDMUX_ERR_REMOTE, report, sizeof report), "the error is told");
    CHECK_EQ(1, field_number(report, "errors"), "and counted");

    /* The caller gives it up, by its id and by its token; the handler is told. */
    gather = ask(asker, answers, none, 5, 0);
    ticket = await_kind(&in, REDMUX_KIND_REQUEST)->number;
    CHECK_OK(redmux_gather_stop(asker, gather, REDMUX_REASON_CANCELLED));
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_gather_stop(asker, gather, REDMUX_REASON_CANCELLED));
    ends(&got, gather, REDMUX_REASON_CANCELLED, REDMUX_ERR_CANCELLED, report, sizeof report);
    CHECK_EQ(ticket, await_kind(&in, REDMUX_KIND_CANCEL)->number, "the handler is told which");
    CHECK_STATUS(REDMUX_ERR_CANCELLED, redmux_responder_answer(responder, ticket, NULL, 0, NULL, 0, 0));
    CHECK_OK(redmux_responder_answer(responder, ticket, NULL, 0, NULL, 0, 1));
    gather = ask(asker, answers, none, 6, 0);
    CHECK_OK(redmux_inbox_cancel(answers, 6));
    ends(&got, gather, REDMUX_REASON_CANCELLED, REDMUX_ERR_CANCELLED, report, sizeof report);

    /* The client is closed. */
    gather = ask(asker, answers, none, 7, 0);
    CHECK_OK(redmux_client_close(asker, WAIT_MS));
    ends(&got, gather, REDMUX_REASON_CLOSED, REDMUX_ERR_CLOSED, report, sizeof report);
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_inbox_take(answers, WAIT_MS, &got.block));

    reader_end(&got);
    reader_end(&in);
    CHECK_OK(redmux_client_close(server, WAIT_MS));
    CHECK_OK(redmux_responder_close(responder));
    CHECK_OK(redmux_inbox_close(answers, WAIT_MS));
    CHECK_OK(redmux_inbox_close(requests, WAIT_MS));
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    fixture_end(&fixture);
    return 0;
}
