/* The steps of requests and responders: what is asked, what a handler says, and what came of it.
 */
#ifndef REDMUX_SCENARIO_REQUESTS_H
#define REDMUX_SCENARIO_REQUESTS_H

#include "operations.h"

/* A record that outlives its block. */
struct record {
    uint16_t kind, flags;
    int32_t status;
    uint64_t number;
    const struct json *head;
    struct bytes name, data;
    struct record *next;
    int matched;
};

struct responder {
    char name[32];
    redmux_client client;
    redmux_responder handle;
    redmux_inbox inbox;
    struct record *unread;
};

struct request {
    char name[32];
    struct responder *of;
    uint64_t ticket;
};

static struct responder responders[MANY];
static struct request requests[MANY];

static struct bytes copied(const uint8_t *data, size_t len)
{
    struct bytes out = {json_room(len + 1), len};
    if (len > 0)
        memcpy(out.data, data, len);
    return out;
}

static struct record *keep(const redmux_block *block, const redmux_record *r)
{
    struct record *out = json_room(sizeof *out);
    const char *at = copied(block->data + r->extra_off, r->extra_len).data;
    out->kind = r->kind;
    out->flags = r->flags;
    out->status = r->status;
    out->number = r->number;
    out->head = *at == '{' ? json_read(&at) : NULL;
    out->name = copied(block->data + r->name_off, r->name_len);
    out->data = copied(block->data + r->data_off, r->data_len);
    return out;
}

static struct bytes headers_of(const struct json *step)
{
    const struct json *headers = json_get(step, "headers");
    struct bytes out = {NULL, 0};
    return headers != NULL ? copied((const uint8_t *)headers->raw, headers->raw_len) : out;
}

/* The headers of a head line have the wanted ones among them. */
static int headers_fit(const struct json *wanted, const struct json *head)
{
    const struct json *header = json_get(wanted, "headers");
    for (header = header != NULL ? header->first : NULL; header != NULL; header = header->next)
        if (strcmp(json_text(json_get(head, "h"), header->key, ""), header->text) != 0)
            return 0;
    return 1;
}

static redmux_options options_of(const struct json *step)
{
    redmux_options options;
    redmux_options_new(&options);
    set_options(step, options);
    return options;
}

/* ---- asking ---- */

static void gather(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct operation *operation = begin(step, client->handle);
    struct bytes service = bytes_of(json_get(step, "service"), 0), headers = headers_of(step);
    long times = (long)json_number(step, "times", 1);
    redmux_options options = options_of(step);
    redmux_error *error = NULL;
    for (long n = 0; n < times && operation->status == REDMUX_OK; n++) {
        struct bytes data = bytes_of(json_get(step, "data"), n);
        operation->status = redmux_gather_open(client->handle, operation->inbox, (const uint8_t *)service.data, service.len,
                                               (const uint8_t *)data.data, data.len, (const uint8_t *)headers.data,
                                               headers.len, options, (uint64_t)n + 1, limit_of(step), NULL, &error);
    }
    redmux_options_free(options);
    operation->left = times;
    judge(step, operation->status, error != NULL ? redmux_error_message(error) : "");
    redmux_error_free(error);
    if (operation->status != REDMUX_OK) {
        redmux_inbox_close(operation->inbox, 0);
        memset(operation, 0, sizeof *operation);
    }
}

static int fits(const struct json *wanted, const struct record *came, long n)
{
    const char *from = json_text(wanted, "from", NULL), *code = json_text(wanted, "code", NULL);
    const char *message = json_text(wanted, "message", NULL);
    const struct json *data = json_get(wanted, "data"), *retriable = json_get(wanted, "retriable");
    return (data == NULL || same(bytes_of(data, n), came->data.data, came->data.len)) &&
           (from == NULL || strcmp(from, json_text(came->head, "name", "")) == 0) &&
           (code == NULL || strcmp(code, json_text(came->head, "code", "")) == 0) &&
           (message == NULL || strcmp(message, json_text(came->head, "message", "")) == 0) &&
           (retriable == NULL || retriable->number == json_number(came->head, "retriable", 0)) &&
           headers_fit(wanted, came->head);
}

/* What came of one kind, values or errors, is what was wanted. */
static void compare(const struct json *step, const char *key, struct record *came, int failed, long n)
{
    const struct json *wanted = json_get(step, key);
    int in_order = json_number(step, "in_order", 0) != 0;
    if (wanted == NULL)
        return;
    for (wanted = wanted->first; wanted != NULL; wanted = wanted->next) {
        struct record *at = came;
        for (; at != NULL; at = at->next) {
            if (at->matched || ((at->flags & REDMUX_FLAG_FAILED) != 0) != failed)
                continue;
            at->matched = fits(wanted, at, n);
            if (at->matched || in_order)
                break;
        }
        if (at == NULL || !at->matched)
            fail(step, "%.*s is not among the %s (repetition %ld)", (int)wanted->raw_len, wanted->raw, key, n);
    }
    for (; came != NULL; came = came->next)
        if (!came->matched && ((came->flags & REDMUX_FLAG_FAILED) != 0) == failed)
            fail(step, "one more of the %s came (repetition %ld): %.*s", key, n, (int)came->data.len, came->data.data);
}

static void reason_word(uint64_t reason, char *out, size_t size)
{
    static const char *const words[] = {"?",         "no_responders", "all",    "count",       "predicate", "quiet",
                                        "deadline",  "cancelled",     "closed", "interrupted", "failed",    "overflow"};
    snprintf(out, size, "%s", reason < sizeof words / sizeof *words ? words[reason] : words[0]);
}

static void judge_gather(const struct json *step, struct record *answers, const struct record *end, long n)
{
    const char *reason = json_text(step, "reason", NULL);
    const struct json *missing = json_get(step, "missing"), *expected = json_get(step, "expected"), *at;
    size_t wanted = 0, listed = 0;
    char word[32];
    reason_word(end->number, word, sizeof word);
    if (reason != NULL && strcmp(reason, word) != 0)
        fail(step, "ended with reason %s (repetition %ld): %.*s", word, n, end->head != NULL ? (int)end->head->raw_len : 0,
             end->head != NULL ? end->head->raw : "");
    compare(step, "answers", answers, 0, n);
    compare(step, "errors", answers, 1, n);
    if (expected != NULL && json_number(end->head, "expected", -1) != expected->number)
        fail(step, "its end says %.*s", (int)end->head->raw_len, end->head->raw);
    if (missing == NULL)
        return;
    for (at = json_get(end->head, "missing")->first; at != NULL; at = at->next)
        listed++;
    for (missing = missing->first; missing != NULL; missing = missing->next, wanted++) {
        for (at = json_get(end->head, "missing")->first; at != NULL; at = at->next)
            if (strcmp(json_text(at, "name", ""), missing->text) == 0)
                break;
        if (at == NULL)
            fail(step, "%s is not missing: %.*s", missing->text, (int)end->head->raw_len, end->head->raw);
    }
    if (listed != wanted)
        fail(step, "missing are %.*s", (int)end->head->raw_len, end->head->raw);
}

/* Reads what comes until each repetition has ended. */
static void finish_gather(struct operation *operation, const struct json *step)
{
    struct bytes until = bytes_of(json_get(operation->step, "until"), 0);
    int has_until = json_get(operation->step, "until") != NULL;
    long times = operation->left;
    struct record **answers = json_room(sizeof *answers * (size_t)times), **ends = json_room(sizeof *ends * (size_t)times);
    struct record ***last = json_room(sizeof *last * (size_t)times);
    redmux_block block = {0};
    for (long n = 0; n < times; n++)
        last[n] = &answers[n];
    while (operation->left > 0) {
        int32_t taken = redmux_inbox_take(operation->inbox, 30000, &block);
        if (taken != REDMUX_OK)
            fail(step, "nothing ended it: %s", redmux_status_name(taken));
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            uint64_t n = r->token - 1;
            if (n >= (uint64_t)times)
                fail(step, "a record of another request");
            if (r->kind == REDMUX_KIND_ANSWER) {
                *last[n] = keep(&block, r);
                if (has_until && same(until, (*last[n])->data.data, (*last[n])->data.len))
                    redmux_gather_stop(operation->client, (redmux_gather){r->source}, REDMUX_REASON_PREDICATE);
                last[n] = &(*last[n])->next;
            } else if (r->kind == REDMUX_KIND_END) {
                ends[n] = keep(&block, r);
                operation->left--;
            }
        }
    }
    redmux_block_release(&block);
    redmux_inbox_close(operation->inbox, 0);
    for (long n = 0; n < times; n++)
        judge_gather(step, answers[n], ends[n], n);
}

/* Asks for one answer, perhaps on a thread of its own. */
static void *ask_now(void *of)
{
    struct operation *operation = of;
    const struct json *step = operation->step;
    struct bytes service = bytes_of(json_get(step, "service"), 0), data = bytes_of(json_get(step, "data"), 0);
    struct bytes headers = headers_of(step);
    redmux_options options = options_of(step);
    redmux_error *error = NULL;
    redmux_text *text = NULL;
    operation->status = redmux_gather_first_wait(operation->client, (const uint8_t *)service.data, service.len,
                                                 (const uint8_t *)data.data, data.len, (const uint8_t *)headers.data,
                                                 headers.len, options, limit_of(step), &text, &error);
    redmux_options_free(options);
    if (text != NULL)
        operation->answer = copied(redmux_text_bytes(text).data, redmux_text_bytes(text).len);
    snprintf(operation->text, sizeof operation->text, "%s", error != NULL ? redmux_error_message(error) : "");
    redmux_text_free(text);
    redmux_error_free(error);
    return NULL;
}

static void judge_ask(struct operation *operation, const struct json *step, const char *key)
{
    judge(step, operation->status, operation->text);
    if (json_get(step, key) != NULL && !same(bytes_of(json_get(step, key), 0), operation->answer.data, operation->answer.len))
        fail(step, "the answer is %.*s", (int)operation->answer.len, operation->answer.data);
}

static void ask(const struct json *step)
{
    static struct operation now;
    struct operation *operation = json_get(step, "as") != NULL ? NAMED(operations, step, "as", "", 1) : &now;
    operation->client = NAMED(clients, step, "client", "a", 0)->handle;
    operation->step = step;
    if (operation != &now) {
        operation->has_thread = 1;
        pthread_create(&operation->thread, NULL, ask_now, operation);
        return;
    }
    ask_now(operation);
    judge_ask(operation, step, "answer");
    memset(operation, 0, sizeof *operation);
}

/* ---- serving ---- */

static int32_t echo(void *user, const redmux_block *block)
{
    (void)user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        if (r->kind == REDMUX_KIND_REQUEST)
            redmux_responder_answer((redmux_responder){r->source}, r->number, block->data + r->data_off, r->data_len, NULL,
                                    0, 1);
    }
    return 0;
}

static void respond(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct responder *responder = NAMED(responders, step, "responder", "r", 1);
    struct bytes service = bytes_of(json_get(step, "service"), 0);
    redmux_options options = options_of(step);
    redmux_error *error = NULL;
    int32_t status;
    redmux_responder_close(responder->handle); /* an earlier one of this name */
    redmux_inbox_close(responder->inbox, 0);
    responder->unread = NULL;
    responder->client = client->handle;
    if (strcmp(json_text(step, "does", ""), "echo") == 0)
        status = redmux_inbox_new_callback(client->handle, (redmux_options){0}, echo, NULL, NULL, &responder->inbox, &error);
    else
        status = redmux_inbox_new(client->handle, (redmux_options){0}, &responder->inbox, &error);
    if (status == REDMUX_OK)
        status = redmux_responder_open(client->handle, responder->inbox, (const uint8_t *)service.data, service.len, options,
                                       1, &responder->handle, &error);
    redmux_options_free(options);
    if (status == REDMUX_OK)
        status = redmux_responder_active_wait(responder->handle, limit_of(step), &error);
    judge_error(step, status, error);
    if (status != REDMUX_OK) {
        redmux_responder_close(responder->handle);
        redmux_inbox_close(responder->inbox, 0);
        memset(responder, 0, sizeof *responder);
    }
}

/* Takes what is there, after at most that long. */
static int more_requests(struct responder *responder, int64_t limit)
{
    struct record **last = &responder->unread;
    redmux_block block = {0};
    while (*last != NULL)
        last = &(*last)->next;
    if (redmux_inbox_take(responder->inbox, limit, &block) != REDMUX_OK)
        return 0;
    for (size_t i = 0; i < block.count; i++) {
        if (block.records[i].kind != REDMUX_KIND_REQUEST && block.records[i].kind != REDMUX_KIND_CANCEL)
            continue;
        *last = keep(&block, &block.records[i]);
        last = &(*last)->next;
    }
    redmux_block_release(&block);
    return 1;
}

/* The next record of a kind (of a request, unless that is 0), which is read then; NULL if none came in time. */
static struct record *next_record(struct responder *responder, uint16_t kind, uint64_t ticket, int64_t limit)
{
    int64_t end = now_ms() + limit;
    for (;;) {
        for (struct record **at = &responder->unread; *at != NULL; at = &(*at)->next) {
            struct record *found = *at;
            if (found->kind == kind && (ticket == 0 || found->number == ticket)) {
                *at = found->next;
                return found;
            }
        }
        if (!more_requests(responder, limit > 0 && end > now_ms() ? end - now_ms() : 0))
            return NULL;
    }
}

static void request(const struct json *step)
{
    struct responder *responder = NAMED(responders, step, "responder", "r", 0);
    struct request *request = NAMED(requests, step, "request", "q", 1);
    struct record *came = next_record(responder, REDMUX_KIND_REQUEST, 0, limit_of(step));
    const struct json *service = json_get(step, "service"), *data = json_get(step, "data");
    const char *id = json_text(step, "id", NULL);
    if (came == NULL)
        fail(step, "no request came");
    if ((service != NULL && !same(bytes_of(service, 0), came->name.data, came->name.len)) ||
        (data != NULL && !same(bytes_of(data, 0), came->data.data, came->data.len)) || !headers_fit(step, came->head) ||
        (id != NULL && strcmp(id, json_text(came->head, "id", "")) != 0))
        fail(step, "the request is of %.*s: %.*s %.*s", (int)came->name.len, came->name.data, (int)came->data.len,
             came->data.data, (int)came->head->raw_len, came->head->raw);
    request->of = responder;
    request->ticket = came->number;
}

static void of_request(const struct json *step, const char *verb)
{
    struct request *request = NAMED(requests, step, "request", "q", 0);
    redmux_responder responder = request->of->handle;
    int ended = strcmp(verb, "answer") != 0 || json_number(step, "last", 1) != 0;
    int32_t status;
    if (strcmp(verb, "answer") == 0) {
        struct bytes data = bytes_of(json_get(step, "data"), 0), headers = headers_of(step);
        status = redmux_responder_answer(responder, request->ticket, (const uint8_t *)data.data, data.len,
                                         (const uint8_t *)headers.data, headers.len, ended);
    } else if (strcmp(verb, "fail") == 0) {
        const char *code = json_text(step, "code", "ERROR"), *message = json_text(step, "message", "");
        status = redmux_responder_fail(responder, request->ticket, (const uint8_t *)code, strlen(code),
                                       (const uint8_t *)message, strlen(message), json_number(step, "retriable", 0) != 0);
    } else {
        struct record *told = NULL;
        if (strcmp(verb, "cancelled") == 0)
            told = next_record(request->of, REDMUX_KIND_CANCEL, request->ticket, limit_of(step));
        if (strcmp(verb, "cancelled") == 0 && told == NULL)
            fail(step, "no cancel came");
        status = redmux_responder_end(responder, request->ticket);
        if (told != NULL && told->status == REDMUX_ERR_CLOSED && status == REDMUX_ERR_CLOSED)
            status = REDMUX_OK; /* the close of the responder ended it */
    }
    judge(step, status, "");
    if (ended)
        memset(request, 0, sizeof *request);
}

static void of_responder(const struct json *step, const char *verb)
{
    struct responder *responder = NAMED(responders, step, "responder", "r", 0);
    struct operation *operation;
    if (strcmp(verb, "nothing") == 0) {
        struct record *came = next_record(responder, REDMUX_KIND_REQUEST, 0, 0);
        if (came != NULL)
            fail(step, "there is a request: %.*s", (int)came->data.len, came->data.data);
        return;
    }
    operation = begin(step, responder->client);
    if (operation->status == REDMUX_OK)
        operation->status = redmux_responder_drain(responder->handle, operation->inbox, 1, limit_of(step));
    end_or_go_on(operation, step);
}

static void leave_no_responder(void)
{
    for (size_t i = 0; i < MANY; i++) {
        redmux_responder_close(responders[i].handle);
        redmux_inbox_close(responders[i].inbox, 1000);
    }
}

#endif
