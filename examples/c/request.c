/* One request, many answers. Start it as often as you like with `serve` and a name; then ask:
 *
 *     ./request serve One &
 *     ./request serve Two &
 *     ./request ask
 *
 * A URL may stand before these words; else the server is that of REDIS_URL, else localhost. */
#include <redmux.h>
#include <stdio.h>
#include <string.h>

static const uint8_t service[] = "hello";
static const uint8_t question[] = "Who is there?";

static int serve(redmux_client client, redmux_inbox inbox, const char *name)
{
    redmux_responder responder;
    redmux_block block = {0};
    redmux_error *error = NULL;

    if (redmux_responder_open(client, inbox, service, 5, (redmux_options){0}, 0, &responder, &error) != REDMUX_OK ||
        redmux_responder_active_wait(responder, 0, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    printf("serving as %s\n", name);
    fflush(stdout);
    while (redmux_inbox_take(inbox, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind != REDMUX_KIND_REQUEST)
                continue;
            printf("asked: [%.*s]\n", (int)r->data_len, (const char *)block.data + r->data_off);
            fflush(stdout);
            /* The ticket is the record's number; the last answer ends the request. */
            redmux_responder_answer(responder, r->number, (const uint8_t *)name, strlen(name), NULL, 0, 1);
        }
    }
    return 0;
}

static int ask(redmux_client client, redmux_inbox inbox)
{
    redmux_block block = {0};
    redmux_error *error = NULL;
    int answers = 0, ended = 0;

    if (redmux_gather_open(client, inbox, service, 5, question, sizeof question - 1, NULL, 0, (redmux_options){0}, 0, 0,
                           NULL, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    /* Answers as they come, then one end, which says why it ended and who is missing. */
    while (!ended && redmux_inbox_take(inbox, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_ANSWER) {
                answers++;
                printf("answer: [%.*s]\n", (int)r->data_len, (const char *)block.data + r->data_off);
            } else if (r->kind == REDMUX_KIND_END) {
                ended = 1;
                printf("%d answer%s%s%s\n", answers, answers == 1 ? "" : "s", r->status != REDMUX_OK ? ": " : "",
                       r->status != REDMUX_OK ? redmux_status_message(r->status) : "");
            }
        }
    }
    redmux_block_release(&block);
    return answers > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    redmux_client client;
    redmux_inbox inbox;
    redmux_error *error = NULL;
    const char *url = argc > 1 && strstr(argv[1], "://") != NULL ? argv[1] : NULL;
    char **words = argv + (url != NULL ? 2 : 1);
    int count = argc - (int)(words - argv), serving = count > 0 && strcmp(words[0], "serve") == 0, result;

    if (redmux_client_open(url, &client, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &inbox, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    result = serving ? serve(client, inbox, count > 1 ? words[1] : "somebody") : ask(client, inbox);
    redmux_client_close(client, 1000);
    return result;
}
