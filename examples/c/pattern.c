/* A pattern by callback: prints every message on news.*, and what it is told about the connection, until n came.
 *
 *     ./pattern redis://localhost 'news.*' 3
 */
#include <redmux.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the callback and main share. Callbacks of a client run one at a time, and close waits for the last. */
struct heard {
    long left;
    redmux_client client;
    redmux_inbox done;
};

static int32_t on_block(void *user, const redmux_block *block)
{
    struct heard *heard = user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        const char *data = (const char *)block->data;
        switch (r->kind) {
        case REDMUX_KIND_ACTIVE:
            if (r->flags & REDMUX_FLAG_NAME)
                printf("active: [%.*s]\n", (int)r->name_len, data + r->name_off);
            else
                printf("active again\n");
            fflush(stdout);
            break;
        case REDMUX_KIND_LOST:
            printf("lost: %.*s\n", (int)r->extra_len, data + r->extra_off);
            fflush(stdout);
            break;
        case REDMUX_KIND_MESSAGE:
            printf("pattern: [%.*s] channel: [%.*s] msg: [%.*s]\n", (int)r->extra_len, data + r->extra_off,
                   (int)r->name_len, data + r->name_off, (int)r->data_len, data + r->data_off);
            fflush(stdout);
            /* A flush of nothing completes at once: the way to wake the taker of another inbox. */
            if (--heard->left == 0)
                redmux_client_flush(heard->client, heard->done, 1, 0);
            break;
        default:
            break; /* a kind of a later version */
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *pattern = argc > 2 ? argv[2] : "news.*";
    struct heard heard = {argc > 3 ? atol(argv[3]) : 1, {0}, {0}};
    redmux_inbox inbox;
    redmux_subscription subscription;
    redmux_block block = {0};
    redmux_error *error = NULL;
    int ended = 0;

    if (redmux_client_open(argc > 1 ? argv[1] : NULL, &heard.client, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    redmux_inbox_new(heard.client, (redmux_options){0}, &heard.done, NULL);
    redmux_inbox_new_callback(heard.client, (redmux_options){0}, on_block, &heard, NULL, &inbox, NULL);
    if (redmux_subscription_new_pattern(heard.client, inbox, (const uint8_t *)pattern, strlen(pattern), 0, heard.done, 0,
                                        0, &subscription) != REDMUX_OK)
        return 1;
    /* The first done: the pattern is active, or why not. The second: everything was heard. One block may hold both. */
    while (ended < 2 && redmux_inbox_take(heard.done, -1, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++, ended++) {
            if (block.records[i].status != REDMUX_OK) {
                fprintf(stderr, "cannot subscribe to %s: %s\n", pattern, redmux_status_name(block.records[i].status));
                return 1;
            }
        }
    }
    redmux_block_release(&block);
    return redmux_client_close(heard.client, 1000) == REDMUX_OK ? 0 : 1;
}
