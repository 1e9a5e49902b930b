/* A broker's subscriber: five channels, seven messages of JSON, none lost because it waits until it is active.
 * Ends within a second of SIGTERM.
 *
 *     ./broker redis://localhost [n]        n: end after so many messages (7)
 */
#include <redmux.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stop_pipe[2];

static void on_signal(int number)
{
    ssize_t ignored = write(stop_pipe[1], "x", 1);
    (void)number;
    (void)ignored;
}

int main(int argc, char **argv)
{
    static const char *const channels[5] = {"orders", "users", "stock", "prices", "alerts"};
    long left = argc > 2 ? atol(argv[2]) : 7;
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription;
    redmux_bytes names[5];
    redmux_block block = {0};
    redmux_error *error = NULL;
    struct pollfd fds[2] = {{0, POLLIN, 0}, {0, POLLIN, 0}};
    redmux_inbox ready;
    size_t count;

    for (int i = 0; i < 5; i++)
        names[i] = (redmux_bytes){(const uint8_t *)channels[i], strlen(channels[i])};
    if (pipe(stop_pipe) != 0)
        return 1;
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    if (redmux_client_open(argc > 1 ? argv[1] : NULL, &client, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &inbox, &error) != REDMUX_OK ||
        redmux_subscription_new(client, inbox, 0, &subscription) != REDMUX_OK ||
        redmux_subscription_add_wait(subscription, names, 5, 0, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    printf("listening on 5 channels\n");
    fflush(stdout);

    /* The client's descriptor is readable while an inbox has something to take. */
    redmux_client_fd(client, &fds[0].fd);
    fds[1].fd = stop_pipe[0];
    while (left > 0 && (poll(fds, 2, -1) >= 0) && !fds[1].revents) {
        while (redmux_client_wait(client, 0, &ready, 1, &count) == REDMUX_OK) {
            if (redmux_inbox_take(ready, 0, &block) != REDMUX_OK)
                continue;
            for (size_t i = 0; i < block.count; i++) {
                const redmux_record *r = &block.records[i];
                if (r->kind != REDMUX_KIND_MESSAGE)
                    continue;
                printf("%.*s: %.*s\n", (int)r->name_len, (const char *)block.data + r->name_off, (int)r->data_len,
                       (const char *)block.data + r->data_off);
                fflush(stdout);
                left--;
            }
        }
    }
    redmux_block_release(&block);
    return redmux_client_close(client, 500) == REDMUX_OK ? 0 : 1;
}
