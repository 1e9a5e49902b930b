/* What the steps of a scenario have made, by name; what they begin, an inbox each; and how a step ends: with the status
 * and the text that it wants.
 */
#ifndef REDMUX_SCENARIO_OPERATIONS_H
#define REDMUX_SCENARIO_OPERATIONS_H

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

#endif
