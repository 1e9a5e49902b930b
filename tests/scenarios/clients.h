/* The steps of clients: opening them, the questions that they ask, their log, publishing, statistics.
 */
#ifndef REDMUX_SCENARIO_CLIENTS_H
#define REDMUX_SCENARIO_CLIENTS_H

#include "operations.h"

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

#endif
