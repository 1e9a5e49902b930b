/* One of many that hold resources: it answers for what it holds, and says nothing of what it does not.
 *
 *     ./resource [redis://localhost] node-1 boat=red car=blue
 *     redmux request resource boat
 *
 * It serves until its standard input is closed. The instances in the other languages answer over HTTP as well, whichever is
 * asked; this one holds its share for them. */
#include <pthread.h>
#include <redmux.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redmux_client client;
static redmux_responder responder;

/* A drain lets what is in work finish, and closes; the take below ends with the client. */
static void *until_stdin_closes(void *unused)
{
    while (getchar() != EOF)
        continue;
    redmux_client_close(client, 1000);
    return unused;
}

static void answer(const redmux_block *block, const redmux_record *r, const char *name, char **held, int count)
{
    const char *key = (const char *)block->data + r->data_off;
    char text[512];
    int i, len;

    for (i = 0; i < count; i++) {
        const char *value = strchr(held[i], '=');
        if (value == NULL || (size_t)(value - held[i]) != r->data_len || memcmp(held[i], key, r->data_len) != 0)
            continue;
        len = snprintf(text, sizeof text, "{\"%.*s\": \"%s\", \"holder\": \"%s\"}", (int)r->data_len, key, value + 1, name);
        if (len > 0 && (size_t)len < sizeof text) {
            redmux_responder_answer(responder, r->number, (const uint8_t *)text, (size_t)len, NULL, 0, 1);
            return;
        }
    }
    redmux_responder_end(responder, r->number);
}

int main(int argc, char **argv)
{
    redmux_inbox inbox;
    redmux_options options;
    redmux_error *error = NULL;
    redmux_block block = {0};
    pthread_t ends;
    const char *url = argc > 1 && strstr(argv[1], "://") != NULL ? argv[1] : NULL;
    char **words = argv + (url != NULL ? 2 : 1);
    int count = argc - (int)(words - argv);
    const char *name = count > 0 ? words[0] : "node-1";

    /* The name is what askers see of who answered. */
    if (redmux_options_new(&options) != REDMUX_OK || redmux_options_set(options, "name", name, &error) != REDMUX_OK ||
        (url != NULL && redmux_options_set_url(options, url, &error) != REDMUX_OK) ||
        redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &inbox, &error) != REDMUX_OK ||
        redmux_responder_open(client, inbox, (const uint8_t *)"resource", 8, (redmux_options){0}, 0, &responder, &error) != REDMUX_OK ||
        redmux_responder_active_wait(responder, 0, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    printf("%s holds %d\n", name, count > 0 ? count - 1 : 0);
    fflush(stdout);
    if (pthread_create(&ends, NULL, until_stdin_closes, NULL) != 0)
        return 1;
    while (redmux_inbox_take(inbox, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            if (block.records[i].kind == REDMUX_KIND_REQUEST)
                answer(&block, &block.records[i], name, words + 1, count > 0 ? count - 1 : 0);
        }
    }
    pthread_join(ends, NULL);
    redmux_options_free(options);
    return 0;
}
