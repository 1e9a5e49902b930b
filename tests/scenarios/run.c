/* Runs one scenario (docs/scenarios.md) through the C ABI.
 *
 *     REDMUX_FIXTURE=target/debug/examples/fixture ./run tests/scenarios/NAME.json
 *
 * Every operation has an inbox of its own that its completion comes to; every subscription has one for its events.
 */
#include "world.h"

#include <pthread.h>
#include <redmux.h>

enum { MANY = 32 };

/* Something that was begun: an operation's inbox, or a thread that reads events. */
struct operation {
    char name[32];
    redmux_inbox inbox;
    redmux_client client;
    redmux_subscription opened; /* let go if the operation fails */
    int32_t status;             /* of the call that began it */
    long left;                  /* completions that are to come */
    char text[2000];
    pthread_t thread;
    int has_thread;
    struct bytes answer; /* of a request that wants one */
    const struct json *step;
    struct client *owner;
};

struct client {
    char name[32];
    redmux_client handle;
    redmux_inbox events;
    const struct json *volatile answers; /* read by the thread that asks */
};

struct source { /* a subscription or a promise set */
    char name[32];
    redmux_subscription subscription;
    redmux_promises promises;
    redmux_inbox inbox;
    redmux_block block;
    size_t next;
    int ended;
};

static struct client clients[MANY];
static struct source subscriptions[MANY], sets[MANY];
static struct operation operations[MANY];
static struct program fixtures[MANY], processes[MANY];
static const struct json *servers; /* name to a fixture's first line */

/* ---- names ---- */

#define NAMED(array, step, key, otherwise, make) \
    (&(array)[named((array)[0].name, sizeof (array)[0], step, key, otherwise, make)])

static size_t named(char *first, size_t size, const struct json *step, const char *key, const char *otherwise, int make)
{
    const char *name = json_text(step, key, otherwise);
    for (size_t i = 0; i < MANY; i++) {
        char *at = first + i * size;
        if (*at == '\0' && make)
            strncpy(at, name, 31);
        if (strcmp(at, name) == 0)
            return i;
    }
    fail(step, "there is no %s named %s", key, name);
    return 0;
}

static int64_t limit_of(const struct json *step)
{
    double seconds = json_number(step, "timeout", 10);
    return seconds < 0 ? -1 : (int64_t)(seconds * 1000);
}

/* ---- how a step ends ---- */

static void word_of(int32_t status, char *out)
{
    const char *name = redmux_status_name(status);
    name += strncmp(name, "REDMUX_ERR_", 11) == 0 ? 11 : 0;
    for (; *name != '\0'; name++)
        *out++ = *name >= 'A' && *name <= 'Z' ? (char)(*name | 32) : *name;
    *out = '\0';
}

/* The status and the text are what the step wants. */
static void judge(const struct json *step, int32_t status, const char *text)
{
    const char *wanted = json_text(step, "error", NULL);
    const struct json *says = json_get(step, "says");
    char word[64];
    word_of(status, word);
    if (wanted == NULL ? status != REDMUX_OK : strcmp(word, wanted) != 0)
        fail(step, "ended with %s, not %s: %s", word, wanted == NULL ? "ok" : wanted, text);
    for (says = says != NULL ? says->first : NULL; says != NULL; says = says->next)
        if (strstr(text, says->text) == NULL)
            fail(step, "its text has no %s: %s", says->text, text);
}

static void judge_error(const struct json *step, int32_t status, redmux_error *error)
{
    judge(step, status, redmux_error_message(error));
    redmux_error_free(error);
}

/* ---- operations ---- */

static void add_text(struct operation *operation, const uint8_t *data, size_t len)
{
    size_t used = strlen(operation->text);
    snprintf(operation->text + used, sizeof operation->text - used, " %.*s", (int)len, (const char *)data);
}

static struct operation *begin(const struct json *step, redmux_client client)
{
    static struct operation now; /* of a step that waits for itself */
    struct operation *operation =
        json_get(step, "as") != NULL ? NAMED(operations, step, "as", "", 1) : &now;
    char name[32];
    memcpy(name, operation->name, sizeof name);
    memset(operation, 0, sizeof *operation);
    memcpy(operation->name, name, sizeof name);
    operation->client = client;
    operation->left = 1;
    operation->step = step;
    operation->status = redmux_inbox_new(client, (redmux_options){0}, &operation->inbox, NULL);
    return operation;
}

/* Takes what the operation completes with, and holds it against what the step says. */
static void finish(struct operation *operation, const struct json *step)
{
    const struct json *data = json_get(step, "data"), *receivers = json_get(step, "receivers");
    int32_t status = operation->status, taken = REDMUX_OK;
    redmux_block block = {0};
    if (status != REDMUX_OK)
        add_text(operation, (const uint8_t *)redmux_status_message(status), strlen(redmux_status_message(status)));
    while (status == REDMUX_OK && operation->left > 0) {
        taken = redmux_inbox_take(operation->inbox, 20000, &block);
        if (taken != REDMUX_OK)
            fail(step, "nothing ended it: %s", redmux_status_name(taken));
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_REFUSED)
                add_text(operation, block.data + r->name_off, r->name_len);
            if (r->kind != REDMUX_KIND_DONE && r->kind != REDMUX_KIND_PUBLISHED && r->kind != REDMUX_KIND_PROMISE)
                continue;
            operation->left--;
            status = r->status;
            add_text(operation, block.data + r->extra_off, r->extra_len);
            if (r->kind == REDMUX_KIND_PUBLISHED && receivers != NULL && (double)r->number != receivers->number)
                fail(step, "had %llu receivers", (unsigned long long)r->number);
            if (r->kind == REDMUX_KIND_PROMISE && status == REDMUX_OK && data != NULL &&
                !same(bytes_of(data, 0), block.data + r->data_off, r->data_len))
                fail(step, "got %.*s", (int)r->data_len, (const char *)block.data + r->data_off);
        }
    }
    redmux_block_release(&block);
    redmux_inbox_close(operation->inbox, 0);
    if (status != REDMUX_OK && operation->opened.id != 0)
        redmux_subscription_close(operation->opened);
    judge(step, status, operation->text);
    if (status != REDMUX_OK && operation->owner != NULL) {
        redmux_client_close(operation->owner->handle, 1000);
        redmux_inbox_close(operation->owner->events, 1000);
        operation->owner->name[0] = '\0';
    }
}

static void end_or_go_on(struct operation *operation, const struct json *step)
{
    if (json_get(step, "as") == NULL)
        finish(operation, step);
}

/* ---- clients ---- */

static char *lines; /* that were logged, each with its newline */
static pthread_mutex_t logging = PTHREAD_MUTEX_INITIALIZER;

static void keep_line(const uint8_t *data, size_t len)
{
    size_t used;
    pthread_mutex_lock(&logging);
    used = lines != NULL ? strlen(lines) : 0;
    lines = realloc(lines, used + len + 2);
    if (lines == NULL)
        abort();
    sprintf(lines + used, "%.*s\n", (int)len, (const char *)data);
    pthread_mutex_unlock(&logging);
}

static void logged(const struct json *step)
{
    int64_t end = now_ms() + limit_of(step);
    for (;;) {
        int found;
        pthread_mutex_lock(&logging);
        found = lines != NULL && strstr(lines, json_text(step, "line", "?")) != NULL;
        pthread_mutex_unlock(&logging);
        if (found)
            return;
        if (now_ms() > end)
            fail(step, "was not logged, but:\n%s", lines != NULL ? lines : "");
        breathe();
    }
}

static int32_t on_event(void *user, const redmux_block *block)
{
    struct client *client = user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        redmux_bytes values[2] = {{NULL, 0}, {NULL, 0}};
        size_t count = 0;
        const struct json *answers = client->answers;
        if (r->kind == REDMUX_KIND_LOG)
            keep_line(block->data + r->extra_off, r->extra_len);
        if (r->kind != REDMUX_KIND_QUESTION)
            continue;
        if (r->name_len == strlen("address")) {
            const char *url = json_text(json_get(servers, json_text(answers, "address", "redis")), "url", "");
            const char *host = strstr(url, "://") + 3, *port = strrchr(url, ':') + 1;
            values[0] = (redmux_bytes){(const uint8_t *)host, (size_t)(port - 1 - host)};
            values[1] = (redmux_bytes){(const uint8_t *)port, strspn(port, "0123456789")};
            count = 2;
        } else {
            const struct json *value = json_get(answers, "credentials")->first;
            for (; value != NULL && count < 2; value = value->next)
                values[count++] = (redmux_bytes){(const uint8_t *)value->text, value->len};
        }
        redmux_question_answer((redmux_client){r->source}, r->number, REDMUX_OK, values, count);
    }
    return 0;
}

static void set_options(const struct json *step, redmux_options options)
{
    const struct json *option = json_get(step, "options");
    redmux_error *error = NULL;
    for (option = option != NULL ? option->first : NULL; option != NULL; option = option->next) {
        int32_t status = redmux_options_set(options, option->key, option->text, &error);
        if (status != REDMUX_OK)
            judge_error(step, status, error);
    }
}

static void connect_client(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 1);
    const struct json *server = json_get(servers, json_text(step, "server", "redis"));
    const struct json *answers = json_get(step, "answers");
    const char *via = json_text(step, "via", NULL), *url;
    char key[32] = "url", ask[64] = "";
    redmux_options options;
    redmux_error *error = NULL;
    int32_t status;

    client->answers = answers;
    redmux_options_new(&options);
    if (via != NULL)
        snprintf(key, sizeof key, "%s_url", via);
    url = json_text(server, key, json_text(server, "unix_url", ""));
    if (json_get(answers, "address") == NULL && redmux_options_set_url(options, url, &error) != REDMUX_OK)
        judge_error(step, REDMUX_ERR_INVALID_URL, error);
    if (via != NULL && strcmp(via, "tls") == 0)
        redmux_options_set(options, "tls_ca", json_text(json_get(server, "certs"), "ca", ""), NULL);
    for (const struct json *answer = answers != NULL ? answers->first : NULL; answer != NULL; answer = answer->next)
        strcat(strcat(ask, ask[0] != '\0' ? "," : ""), answer->key);
    redmux_options_set(options, "ask", ask, NULL);
    set_options(step, options);
    status = redmux_client_open_with(options, REDMUX_EVENTS_CALLBACK, on_event, client, NULL, &client->handle, &client->events,
                                     &error);
    redmux_options_free(options);
    if (status != REDMUX_OK) {
        judge_error(step, status, error);
    } else if (json_number(step, "lazy", 0) == 0) {
        struct operation *ready = begin(step, client->handle);
        ready->owner = client;
        ready->status = redmux_client_ready(client->handle, ready->inbox, 1, limit_of(step));
        end_or_go_on(ready, step);
    }
}

static void of_client(const struct json *step, const char *verb)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    redmux_client handle = client->handle;
    struct operation *operation;
    if (strcmp(verb, "answers") == 0) {
        client->answers = json_get(step, "answers");
        return;
    }
    if (strcmp(verb, "stop") == 0 || strcmp(verb, "restart") == 0) {
        judge(step, *verb == 's' ? redmux_client_stop(handle) : redmux_client_restart(handle), "");
        return;
    }
    operation = begin(step, handle);
    if (operation->status == REDMUX_OK) {
        redmux_inbox inbox = operation->inbox;
        if (strcmp(verb, "ready") == 0)
            operation->status = redmux_client_ready(handle, inbox, 1, limit_of(step));
        else if (strcmp(verb, "flush") == 0)
            operation->status = redmux_client_flush(handle, inbox, 1, limit_of(step));
        else if (strcmp(verb, "barrier") == 0)
            operation->status = redmux_client_barrier(handle, inbox, 1, limit_of(step));
        else
            operation->status = redmux_client_authenticate(handle, json_text(step, "user", NULL),
                                                           json_text(step, "password", ""), inbox, 1, limit_of(step));
    }
    end_or_go_on(operation, step);
}

static void publish(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    int posted = strcmp(json_text(step, "do", ""), "post") == 0;
    long times = (long)json_number(step, "times", 1);
    struct operation *operation = posted ? NULL : begin(step, client->handle);
    for (long n = 0; n < times; n++) {
        struct bytes channel = bytes_of(json_get(step, "channel"), n), data = bytes_of(json_get(step, "data"), n);
        const uint8_t *to = (const uint8_t *)channel.data, *what = (const uint8_t *)data.data;
        if (posted)
            judge(step, redmux_client_post(client->handle, to, channel.len, what, data.len), "");
        else if (operation->status == REDMUX_OK)
            operation->status = redmux_client_publish(client->handle, to, channel.len, what, data.len,
                                                      operation->inbox, 1, limit_of(step));
        free(channel.data);
        free(data.data);
    }
    if (!posted) {
        operation->left = times;
        end_or_go_on(operation, step);
    }
}

static void stats(const struct json *step)
{
    struct client *client = NAMED(clients, step, "client", "a", 0);
    const struct json *is = json_get(step, "is"), *until = json_get(step, "until");
    int64_t end = now_ms() + limit_of(step);
    for (;;) {
        redmux_text *text = NULL;
        char path[100];
        const struct json *value;
        const char *at;
        judge(step, redmux_client_stats(client->handle, &text), "");
        at = (const char *)redmux_text_bytes(text).data;
        value = json_read(&at);
        snprintf(path, sizeof path, "%s", json_text(step, "key", ""));
        for (char *part = strtok(path, "."); part != NULL; part = strtok(NULL, "."))
            value = json_get(value, part);
        if (value != NULL && value->number == (is != NULL ? is : until)->number) {
            redmux_text_free(text);
            return;
        }
        if (until == NULL || now_ms() > end)
            fail(step, "is %.*s", value != NULL ? (int)value->raw_len : 0, value != NULL ? value->raw : "");
        redmux_text_free(text);
        breathe();
    }
}

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

#include "requests.h"

/* ---- what was begun ---- */

static void await(const struct json *step)
{
    struct operation *operation = NAMED(operations, step, "as", "", 0);
    const char *verb = json_text(operation->step, "do", "");
    if (operation->has_thread)
        pthread_join(operation->thread, NULL);
    if (strcmp(verb, "ask") == 0)
        judge_ask(operation, step, "data");
    else if (strcmp(verb, "gather") == 0)
        finish_gather(operation, step);
    else if (!operation->has_thread)
        finish(operation, step);
    memset(operation, 0, sizeof *operation);
}

static void close_one(const struct json *step)
{
    int32_t status;
    if (json_get(step, "sub") != NULL)
        status = redmux_subscription_close(NAMED(subscriptions, step, "sub", "s", 0)->subscription);
    else if (json_get(step, "set") != NULL)
        status = redmux_promises_close(NAMED(sets, step, "set", "p", 0)->promises);
    else if (json_get(step, "responder") != NULL)
        status = redmux_responder_close(NAMED(responders, step, "responder", "r", 0)->handle);
    else
        status = redmux_client_close(NAMED(clients, step, "client", "a", 0)->handle, 5000);
    judge(step, status == REDMUX_ERR_CLOSED ? REDMUX_OK : status, "a second close is harmless");
}

/* Whether a verb is one of these words, which have a space on each side. */
static int is_one_of(const char *verb, const char *words)
{
    char word[40];
    snprintf(word, sizeof word, " %s ", verb);
    return strstr(words, word) != NULL;
}

static int run_step(const struct json *step)
{
    const char *verb = json_text(step, "do", "");
    int of = json_get(step, "set") != NULL, serves = json_get(step, "responder") != NULL;
    if (strcmp(verb, "connect") == 0)
        connect_client(step);
    else if (strcmp(verb, "subscribe") == 0)
        subscribe(step);
    else if (strcmp(verb, "gather") == 0)
        gather(step);
    else if (strcmp(verb, "ask") == 0)
        ask(step);
    else if (strcmp(verb, "respond") == 0)
        respond(step);
    else if (strcmp(verb, "request") == 0)
        request(step);
    else if (is_one_of(verb, " answer end fail cancelled "))
        of_request(step, verb);
    else if (serves && is_one_of(verb, " nothing drain "))
        of_responder(step, verb);
    else if (strcmp(verb, "channels") == 0)
        channels(step);
    else if (strcmp(verb, "publish") == 0 || strcmp(verb, "post") == 0)
        publish(step);
    else if (strcmp(verb, "expect") == 0 || strcmp(verb, "count") == 0 || strcmp(verb, "nothing") == 0)
        read_or_begin(step);
    else if (strcmp(verb, "promises") == 0)
        open_set(step);
    else if (strcmp(verb, "promise") == 0)
        promise(step);
    else if (strcmp(verb, "await") == 0)
        await(step);
    else if (strcmp(verb, "cancel") == 0)
        redmux_inbox_cancel(NAMED(operations, step, "as", "", 0)->inbox, 1);
    else if (strcmp(verb, "logged") == 0)
        logged(step);
    else if (strcmp(verb, "stats") == 0)
        stats(step);
    else if (strcmp(verb, "close") == 0)
        close_one(step);
    else if ((strcmp(verb, "clear") == 0 || strcmp(verb, "wait_active") == 0) && of)
        of_set(step, verb);
    else if (is_one_of(verb, " add remove clear wait_active drain "))
        of_subscription(step, verb);
    else if (is_one_of(verb, " answers ready authenticate stop restart flush barrier "))
        of_client(step, verb);
    else
        return 0;
    return 1;
}

/* ---- the world ---- */

static void world(const struct json *step)
{
    struct program *fixture = NAMED(fixtures, step, "server", "redis", 0);
    const struct json *order = json_get(step, "order"), *is = json_get(step, "is"), *until = json_get(step, "until");
    const char *refusal = json_text(step, "error", NULL);
    long times = (long)json_number(step, "times", 1);
    int64_t end = now_ms() + limit_of(step);
    for (long n = 0; n < times;) {
        const struct json *answer, *ok, *error;
        const char *mark = order->raw, *from = mark;
        while ((mark = strstr(from, "{n}")) != NULL && mark < order->raw + order->raw_len) {
            fprintf(fixture->in, "%.*s%ld", (int)(mark - from), from, n);
            from = mark + 3;
        }
        fprintf(fixture->in, "%.*s\n", (int)(order->raw + order->raw_len - from), from);
        fflush(fixture->in);
        answer = program_read(fixture);
        ok = json_get(answer, "ok");
        error = json_get(answer, "error");
        if (refusal != NULL ? error == NULL || strstr(error->text, refusal) == NULL : error != NULL)
            fail(step, "the answer is %.*s", (int)answer->raw_len, answer->raw);
        if (until != NULL && !json_equal(ok, until) && now_ms() < end) {
            breathe();
            continue;
        }
        if ((is != NULL && !json_equal(ok, is)) || (until != NULL && !json_equal(ok, until)))
            fail(step, "the answer is %.*s", (int)answer->raw_len, answer->raw);
        n++;
    }
}

static void start_fixtures(const struct json *scenario)
{
    static struct json redis = {0};
    const struct json *wanted = json_get(scenario, "servers");
    struct json *all = json_room(sizeof *all), **last = &all->first;
    redis.key = "redis";
    all->kind = JSON_OBJECT;
    servers = all;
    wanted = wanted != NULL ? wanted->first : &redis;
    for (size_t i = 0; wanted != NULL && i < MANY; wanted = wanted->next, i++) {
        char *argv[16] = {getenv("REDMUX_FIXTURE")};
        size_t count = 1;
        if (argv[0] == NULL)
            fail(NULL, "REDMUX_FIXTURE does not name the fixture program");
        for (const struct json *flag = wanted->first; flag != NULL && count < 15; flag = flag->next)
            argv[count++] = flag->text;
        strncpy(fixtures[i].name, wanted->key, 31);
        program_start(&fixtures[i], argv);
        *last = fixtures[i].first = program_read(&fixtures[i]);
        (*last)->key = wanted->key;
        last = &(*last)->next;
    }
}

static void in_process(const struct json *step, char *self)
{
    struct program *process = NAMED(processes, step, "process", "", 1);
    const struct json *answer;
    if (process->pid == 0) {
        char *peer = getenv("REDMUX_SCENARIO_PEER"), *argv[3] = {peer != NULL ? peer : self, "--steps", NULL};
        program_start(process, argv);
        fputc('{', process->in);
        for (const struct json *server = servers->first; server != NULL; server = server->next)
            fprintf(process->in, "%s\"%s\":%.*s", server == servers->first ? "" : ",", server->key,
                    (int)server->raw_len, server->raw);
        fputs("}\n", process->in);
    }
    fprintf(process->in, "%.*s\n", (int)step->raw_len, step->raw);
    fflush(process->in);
    answer = program_read(process);
    if (json_get(answer, "ok") == NULL)
        fail(step, "process %s: %s", process->name, json_text(answer, "error", "?"));
}

static void kill_process(const struct json *step)
{
    struct program *process = NAMED(processes, step, "process", "", 0);
    kill(process->pid, SIGKILL);
    process->killed = 1;
}

/* Closes what is open; nothing may be left. */
static void leave_nothing(void)
{
    leave_no_responder();
    for (size_t i = 0; i < MANY; i++) {
        if (clients[i].name[0] != '\0')
            redmux_client_close(clients[i].handle, 5000);
        redmux_inbox_close(clients[i].events, 1000);
        if (operations[i].inbox.id != 0)
            redmux_inbox_close(operations[i].inbox, 0);
        redmux_subscription_close(subscriptions[i].subscription);
        redmux_promises_close(sets[i].promises);
        redmux_block_release(&subscriptions[i].block);
        redmux_inbox_close(subscriptions[i].inbox, 0);
        redmux_inbox_close(sets[i].inbox, 0);
    }
    if (redmux_debug_live() != 0)
        fail(NULL, "%lld handles or blocks are left", (long long)redmux_debug_live());
}

/* The other process: its steps come from stdin. */
static int told(void)
{
    struct program in = {.name = "stdin", .out = stdin};
    int first = 1;
    for (int c; (c = getc(stdin)) != EOF; first = 0) {
        struct json *line;
        ungetc(c, stdin);
        line = program_read(&in);
        if (first) {
            servers = line;
            continue;
        }
        if (!run_step(line))
            fail(line, "not a step");
        puts("{\"ok\":true}");
        fflush(stdout);
    }
    leave_nothing();
    return 0;
}

static const char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = json_room(1 << 20);
    if (file == NULL || fread(text, 1, (1 << 20) - 1, file) == 0)
        fail(NULL, "cannot be read: %s", strerror(errno));
    fclose(file);
    return text;
}

int main(int argc, char **argv)
{
    const struct json *scenario;
    const char *text;
    int failed = 0;
    if (argc == 2 && strcmp(argv[1], "--steps") == 0)
        return told();
    if (argc != 2) {
        fprintf(stderr, "usage: %s SCENARIO.json\n", argv[0]);
        return 2;
    }
    scenario_file = argv[1];
    text = read_file(argv[1]);
    scenario = json_read(&text);
    if (scenario == NULL || json_get(scenario, "steps") == NULL)
        fail(NULL, "is not a scenario; not JSON near: %.40s", text);
    start_fixtures(scenario);
    for (const struct json *step = json_get(scenario, "steps")->first; step != NULL; step = step->next) {
        const char *verb = json_text(step, "do", "");
        if (strcmp(verb, "world") == 0)
            world(step);
        else if (strcmp(verb, "kill") == 0)
            kill_process(step);
        else if (json_get(step, "process") != NULL)
            in_process(step, argv[0]);
        else if (!run_step(step))
            fail(step, "there is no such step");
    }
    leave_nothing();
    for (size_t i = 0; i < MANY; i++)
        failed |= processes[i].pid != 0 && program_end(&processes[i]) != 0;
    for (size_t i = 0; i < MANY; i++)
        if (fixtures[i].pid != 0)
            program_end(&fixtures[i]);
    if (failed)
        fail(NULL, "another process did not end well");
    return 0;
}
