/* Two things at once in one thread, by poll(2): lines from standard input are published on a channel, and messages of
 * that channel are printed. No thread of yours, no callback.
 *
 *     ./poll redis://localhost mychannel
 */
#include <redmux.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print(const redmux_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        const char *data = (const char *)block->data;
        if (r->kind == REDMUX_KIND_MESSAGE)
            printf("[%.*s] %.*s\n", (int)r->name_len, data + r->name_off, (int)r->data_len, data + r->data_off);
        else if (r->kind == REDMUX_KIND_LOST)
            printf("lost: %.*s\n", (int)r->extra_len, data + r->extra_off);
        else if (r->kind == REDMUX_KIND_ACTIVE)
            printf("active\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *channel = argc > 2 ? argv[2] : "mychannel";
    redmux_bytes name = {(const uint8_t *)channel, strlen(channel)};
    redmux_client client;
    redmux_inbox inbox, ready;
    redmux_subscription subscription;
    redmux_block block = {0};
    redmux_error *error = NULL;
    struct pollfd fds[2] = {{0, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    char lines[4096], *from, *end;
    size_t count, used = 0;
    ssize_t len;

    if (redmux_client_open(argc > 1 ? argv[1] : NULL, &client, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &inbox, &error) != REDMUX_OK ||
        redmux_subscription_new(client, inbox, 0, &subscription) != REDMUX_OK ||
        redmux_subscription_add_wait(subscription, &name, 1, 0, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    redmux_client_fd(client, &fds[0].fd);
    while (poll(fds, 2, -1) >= 0) {
        /* The client first, so that nothing is left behind when the input ends. */
        while (redmux_client_wait(client, 0, &ready, 1, &count) == REDMUX_OK && count == 1)
            if (redmux_inbox_take(ready, 0, &block) == REDMUX_OK)
                print(&block);
        if (!fds[1].revents)
            continue;
        if ((len = read(STDIN_FILENO, lines + used, sizeof lines - used)) <= 0)
            break;
        used += (size_t)len;
        for (from = lines; (end = memchr(from, '\n', (size_t)(lines + used - from))); from = end + 1)
            redmux_client_post(client, name.data, name.len, (const uint8_t *)from, (size_t)(end - from));
        /* A line may come in pieces; one that is longer than this goes in pieces. */
        used = (size_t)(lines + used - from);
        memmove(lines, from, used);
        if (used == sizeof lines) {
            redmux_client_post(client, name.data, name.len, (const uint8_t *)lines, used);
            used = 0;
        }
    }
    if (used)
        redmux_client_post(client, name.data, name.len, (const uint8_t *)lines, used);
    /* What was posted is behind this barrier, so it is in the inbox when the wait returns. */
    redmux_client_barrier_wait(client, 0, NULL);
    while (redmux_inbox_take(inbox, 0, &block) == REDMUX_OK)
        print(&block);
    redmux_block_release(&block);
    return redmux_client_close(client, 1000) == REDMUX_OK ? 0 : 1;
}
