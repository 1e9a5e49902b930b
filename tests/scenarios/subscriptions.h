/* The steps of subscriptions and promises, and what is expected of the events that come to either.
 */
#ifndef REDMUX_SCENARIO_SUBSCRIPTIONS_H
#define REDMUX_SCENARIO_SUBSCRIPTIONS_H

#include "operations.h"

/* ---- subscriptions ---- */

static redmux_bytes *names_of(const struct json *step, size_t *count)
{
    static redmux_bytes names[64];
    const struct json *list = json_get(step, "channels");
    *count = 0;
    for (list = list != NULL ? list->first : NULL; list != NULL && *count < 64; list = list->next) {
        struct bytes name = bytes_of(list, 0);
        names[(*count)++] = (redmux_bytes){(const uint8_t *)name.data, name.len};
    }
    return names;
}

static void subscribe(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct source *source = NAMED(subscriptions, step, "sub", "s", 1);
    const struct json *pattern = json_get(step, "pattern");
    struct operation *operation = begin(step, client->handle);
    redmux_options options;
    size_t count;
    redmux_bytes *names = names_of(step, &count);
    redmux_options_new(&options);
    set_options(step, options);
    if (operation->status == REDMUX_OK)
        operation->status = redmux_inbox_new(client->handle, options, &source->inbox, NULL);
    redmux_options_free(options);
    if (operation->status == REDMUX_OK && pattern != NULL) {
        struct bytes bytes = bytes_of(pattern, 0);
        operation->status = redmux_subscription_new_pattern(client->handle, source->inbox, (const uint8_t *)bytes.data,
                                                            bytes.len, 1, operation->inbox, 1, limit_of(step),
                                                            &source->subscription);
    } else if (operation->status == REDMUX_OK) {
        operation->status = redmux_subscription_new(client->handle, source->inbox, 1, &source->subscription);
        operation->left = count > 0;
        if (operation->status == REDMUX_OK && count > 0)
            operation->status = redmux_subscription_add(source->subscription, names, count, operation->inbox, 1,
                                                        limit_of(step));
    }
    operation->opened = source->subscription;
    if (json_number(step, "wait", 1) == 0) {
        judge(step, operation->status, "");
        operation->left = 0;
    }
    end_or_go_on(operation, step);
}

static void of_subscription(const struct json *step, const char *verb)
{
    struct source *source = NAMED(subscriptions, step, "sub", "s", 0);
    struct client *client = NAMED(clients, step, "client", "a", 0);
    redmux_subscription subscription = source->subscription;
    struct operation *operation = begin(step, client->handle);
    redmux_inbox inbox = operation->inbox;
    int64_t limit = limit_of(step);
    size_t count;
    redmux_bytes *names = names_of(step, &count);
    if (strcmp(verb, "add") == 0)
        operation->status = redmux_subscription_add(subscription, names, count, inbox, 1, limit);
    else if (strcmp(verb, "remove") == 0)
        operation->status = redmux_subscription_remove(subscription, names, count, inbox, 1, limit);
    else if (strcmp(verb, "clear") == 0)
        operation->status = redmux_subscription_clear(subscription, inbox, 1, limit);
    else if (strcmp(verb, "drain") == 0)
        operation->status = redmux_subscription_drain(subscription, inbox, 1, limit);
    else
        operation->status = redmux_subscription_active(subscription, inbox, 1, limit);
    if (json_number(step, "wait", 1) == 0) {
        judge(step, operation->status, "");
        operation->left = 0;
    }
    end_or_go_on(operation, step);
}

static void channels(const struct json *step)
{
    struct source *source = NAMED(subscriptions, step, "sub", "s", 0);
    redmux_list *list = NULL;
    size_t wanted = 0;
    judge(step, redmux_subscription_names(source->subscription, &list), "");
    for (const struct json *is = json_get(step, "is")->first; is != NULL; is = is->next, wanted++) {
        int found = 0;
        for (size_t i = 0; i < redmux_list_count(list); i++)
            found |= same(bytes_of(is, 0), redmux_list_item(list, i).data, redmux_list_item(list, i).len);
        if (!found)
            fail(step, "%.*s is not among them", (int)is->raw_len, is->raw);
    }
    if (redmux_list_count(list) != wanted)
        fail(step, "there are %zu", redmux_list_count(list));
    redmux_list_free(list);
}

/* ---- events ---- */

/* The next event, NULL at the end of the stream (and where nothing came in time, with the status of that). */
static const redmux_record *next_event(struct source *source, int64_t limit, int named_active, int32_t *status)
{
    int64_t end = now_ms() + limit;
    for (;;) {
        const redmux_record *r;
        if (source->next >= source->block.count) {
            int64_t left = end - now_ms();
            *status = redmux_inbox_take(source->inbox, left > 0 ? left : 0, &source->block);
            source->next = 0;
            if (*status == REDMUX_ERR_CLOSED)
                *status = REDMUX_OK;
            if (source->block.count == 0)
                return NULL;
        }
        r = &source->block.records[source->next++];
        *status = REDMUX_OK;
        switch (r->kind) {
        case REDMUX_KIND_ACTIVE:
            if ((r->flags & REDMUX_FLAG_NAME) == 0 || named_active)
                return r;
            break;
        case REDMUX_KIND_MESSAGE:
        case REDMUX_KIND_LOST:
        case REDMUX_KIND_DROPPED:
        case REDMUX_KIND_REFUSED:
            return r;
        case REDMUX_KIND_CLOSED:
            *status = r->status == REDMUX_ERR_CLOSED ? REDMUX_OK : r->status;
            source->ended = 1;
            return NULL;
        default:
            break;
        }
    }
}

static void expect_one(const struct json *step, struct source *source, const struct json *wanted, long n)
{
    const char *see = json_text(wanted, "see", ""), *error = json_text(wanted, "error", NULL);
    const struct json *name = json_get(wanted, "name"), *pattern = json_get(wanted, "pattern");
    int32_t status = REDMUX_OK;
    const redmux_record *r = next_event(source, limit_of(step), name != NULL && strcmp(see, "active") == 0, &status);
    const uint8_t *data = source->block.data;
    char word[64];
    int right;
    if (r == NULL && status == REDMUX_ERR_TIMEOUT)
        fail(step, "%.*s did not come", (int)wanted->raw_len, wanted->raw);
    word_of(r != NULL ? r->status : status, word);
    if (r == NULL)
        right = strcmp(see, "end") == 0 && strcmp(error != NULL ? error : "redmux_ok", word) == 0;
    else if (r->kind == REDMUX_KIND_MESSAGE)
        right = strcmp(see, "message") == 0 &&
                same(bytes_of(json_get(wanted, "channel"), n), data + r->name_off, r->name_len) &&
                same(bytes_of(json_get(wanted, "data"), n), data + r->data_off, r->data_len) &&
                ((r->flags & REDMUX_FLAG_PATTERN) != 0) == (pattern != NULL) &&
                same(bytes_of(pattern, n), data + r->extra_off, r->extra_len);
    else if (r->kind == REDMUX_KIND_LOST)
        right = strcmp(see, "lost") == 0 && (error == NULL || strcmp(error, word) == 0);
    else if (r->kind == REDMUX_KIND_DROPPED)
        right = strcmp(see, "dropped") == 0 && (double)r->number == json_number(wanted, "count", -1);
    else
        right = strcmp(see, r->kind == REDMUX_KIND_ACTIVE ? "active" : "refused") == 0 &&
                (r->kind == REDMUX_KIND_REFUSED || ((r->flags & REDMUX_FLAG_NAME) != 0) == (name != NULL)) &&
                (name == NULL || same(bytes_of(name, n), data + r->name_off, r->name_len));
    if (!right)
        fail(step, "%.*s was wanted (repetition %ld), but came: kind %d, name %.*s, data %.*s, number %llu, status %s",
             (int)wanted->raw_len, wanted->raw, n, r != NULL ? r->kind : -1, r != NULL ? (int)r->name_len : 0,
             r != NULL ? (const char *)data + r->name_off : "", r != NULL && r->data_len < 200 ? (int)r->data_len : 0,
             r != NULL ? (const char *)data + r->data_off : "", r != NULL ? (unsigned long long)r->number : 0, word);
}

/* expect, count and nothing: the steps that read. */
static void *read_events(void *of)
{
    const struct json *step = of;
    struct source *source = NAMED(subscriptions, step, "sub", "s", 0);
    const char *verb = json_text(step, "do", "");
    int32_t status;
    if (strcmp(verb, "expect") == 0) {
        for (const struct json *see = json_get(step, "see")->first; see != NULL; see = see->next)
            for (long n = 0, times = (long)json_number(see, "times", 1); n < times; n++)
                expect_one(step, source, see, n);
    } else if (strcmp(verb, "count") == 0) {
        double total = 0, wanted = json_number(step, "total", 0);
        while (total < wanted) {
            const redmux_record *r = next_event(source, limit_of(step), 0, &status);
            if (r == NULL || (r->kind != REDMUX_KIND_MESSAGE && r->kind != REDMUX_KIND_DROPPED))
                fail(step, "after %.0f came something else", total);
            total += r->kind == REDMUX_KIND_MESSAGE ? 1 : (double)r->number;
        }
        if (total != wanted)
            fail(step, "came to %.0f", total);
    } else {
        const redmux_record *r = next_event(source, 0, 0, &status);
        if (r != NULL || status != REDMUX_ERR_TIMEOUT)
            fail(step, "there is something: kind %d", r != NULL ? r->kind : -1);
    }
    return NULL;
}

static void read_or_begin(const struct json *step)
{
    struct operation *operation;
    if (json_get(step, "as") == NULL) {
        read_events((void *)(uintptr_t)step);
        return;
    }
    operation = NAMED(operations, step, "as", "", 1);
    operation->has_thread = 1;
    pthread_create(&operation->thread, NULL, read_events, (void *)(uintptr_t)step);
}

/* ---- promises ---- */

static void open_set(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct source *set = NAMED(sets, step, "set", "p", 1);
    struct bytes prefix = bytes_of(json_get(step, "prefix"), 0);
    judge(step, redmux_inbox_new(client->handle, (redmux_options){0}, &set->inbox, NULL), "");
    judge(step, redmux_promises_new(client->handle, set->inbox, (const uint8_t *)prefix.data, prefix.len, 1,
                                    &set->promises), "");
}

static void of_set(const struct json *step, const char *verb)
{
    struct source *set = NAMED(sets, step, "set", "p", 0);
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct operation *operation;
    if (strcmp(verb, "clear") == 0) {
        judge(step, redmux_promises_clear(set->promises, NULL), "");
        return;
    }
    operation = begin(step, client->handle);
    operation->status = redmux_promises_active(set->promises, operation->inbox, 1, limit_of(step));
    end_or_go_on(operation, step);
}

static void promise(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    struct operation *operation = begin(step, client->handle);
    struct bytes name = bytes_of(json_get(step, json_get(step, "name") != NULL ? "name" : "suffix"), 0);
    const uint8_t *data = (const uint8_t *)name.data;
    if (json_get(step, "name") != NULL) {
        redmux_block block = {0};
        operation->status =
            redmux_promise_make(client->handle, data, name.len, operation->inbox, 1, limit_of(step));
        if (operation->status == REDMUX_OK && (redmux_inbox_take(operation->inbox, 10000, &block) != REDMUX_OK ||
                                               block.records[0].kind != REDMUX_KIND_ACTIVE))
            fail(step, "its channel did not become active");
        redmux_block_release(&block);
    } else {
        redmux_promises set = NAMED(sets, step, "set", "p", 0)->promises;
        operation->status =
            json_number(step, "wait", 0) != 0
                ? redmux_promises_make_later(set, data, name.len, operation->inbox, 1, limit_of(step), 10000)
                : redmux_promises_make(set, data, name.len, operation->inbox, 1, limit_of(step));
    }
    judge(step, operation->status, "");
    if (operation->status != REDMUX_OK) {
        redmux_inbox_close(operation->inbox, 0);
        operation->name[0] = '\0';
    }
}

#endif
