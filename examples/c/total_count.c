/* Every instance counts something; any of them knows the total. Each line on standard input asks for it:
 *
 *     ./total_count [redis://localhost] [5]
 */
#include <pthread.h>
#include <redmux.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t service[] = "count";

static redmux_client client;
static redmux_inbox asked, answers;
static redmux_responder responder;
static const char *count;

/* Says what this one counts to whoever asks. The take ends with the client. */
static void *serve(void *unused)
{
    redmux_block block = {0};

    while (redmux_inbox_take(asked, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++)
            if (block.records[i].kind == REDMUX_KIND_REQUEST)
                redmux_responder_answer(responder, block.records[i].number, (const uint8_t *)count, strlen(count), NULL, 0, 1);
    }
    return unused;
}

/* Asks everybody, this one too, and adds up what they say. */
static int ask(redmux_error **error)
{
    redmux_block block = {0};
    int total = 0, instances = 0, ended = 0;

    if (redmux_gather_open(client, answers, service, sizeof service - 1, NULL, 0, NULL, 0, (redmux_options){0}, 0, 5000, NULL,
                           error) != REDMUX_OK)
        return 0;
    while (!ended && redmux_inbox_take(answers, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_ANSWER) {
                char text[32];
                snprintf(text, sizeof text, "%.*s", (int)r->data_len, (const char *)block.data + r->data_off);
                total += atoi(text);
                instances++;
            } else if (r->kind == REDMUX_KIND_END) {
                ended = 1;
                /* What came is a total of those; whether there could be more is said with it. */
                printf("total: %d of %d instance%s%s%s\n", total, instances, instances == 1 ? "" : "s",
                       r->status != REDMUX_OK ? ": " : "", r->status != REDMUX_OK ? redmux_status_message(r->status) : "");
                fflush(stdout);
            }
        }
    }
    redmux_block_release(&block);
    return ended;
}

int main(int argc, char **argv)
{
    redmux_error *error = NULL;
    pthread_t serving;
    char line[256];
    const char *url = argc > 1 && strstr(argv[1], "://") != NULL ? argv[1] : NULL;
    char **words = argv + (url != NULL ? 2 : 1);

    count = words[0] != NULL ? words[0] : "5";
    if (redmux_client_open(url, &client, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &asked, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &answers, &error) != REDMUX_OK ||
        redmux_responder_open(client, asked, service, sizeof service - 1, (redmux_options){0}, 0, &responder, &error) != REDMUX_OK ||
        redmux_responder_active_wait(responder, 0, &error) != REDMUX_OK || pthread_create(&serving, NULL, serve, NULL) != 0) {
        fprintf(stderr, "%s\n", error != NULL ? redmux_error_message(error) : "there is no thread to serve in");
        redmux_error_free(error);
        return 1;
    }
    printf("counting %s\n", count);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL && ask(&error))
        continue;
    redmux_client_close(client, 1000);
    pthread_join(serving, NULL);
    if (error == NULL)
        return 0;
    fprintf(stderr, "%s\n", redmux_error_message(error));
    redmux_error_free(error);
    return 1;
}
