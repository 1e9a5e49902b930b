/* Promises: wait for one message on a name that nobody subscribed to by itself. Publishing on p:<suffix> keeps one,
 * from wherever; this program shows both ends and publishes itself. The other promise is kept by nobody.
 *
 *     ./promises redis://localhost job-42
 */
#include <redmux.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *suffix = argc > 2 ? argv[2] : "job-42";
    char channel[256];
    redmux_client client;
    redmux_inbox inbox;
    redmux_promises promises;
    redmux_block block = {0};
    redmux_error *error = NULL;
    int ended = 0;

    if (redmux_client_open(argc > 1 ? argv[1] : NULL, &client, &error) != REDMUX_OK ||
        redmux_inbox_new(client, (redmux_options){0}, &inbox, &error) != REDMUX_OK ||
        redmux_promises_new(client, inbox, (const uint8_t *)"p:", 2, 0, &promises) != REDMUX_OK ||
        redmux_promises_active_wait(promises, 0, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    /* In effect when it returns; the token tells promises apart. */
    redmux_promises_make(promises, (const uint8_t *)suffix, strlen(suffix), (redmux_inbox){0}, 1, 5000);
    redmux_promises_make(promises, (const uint8_t *)"nobody", 6, (redmux_inbox){0}, 2, 1000);
    snprintf(channel, sizeof channel, "p:%s", suffix);
    redmux_client_post(client, (const uint8_t *)channel, strlen(channel), (const uint8_t *)"done", 4);

    while (ended < 2 && redmux_inbox_take(inbox, 10000, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind != REDMUX_KIND_PROMISE)
                continue;
            printf("promise %llu on [%.*s]: %s [%.*s]\n", (unsigned long long)r->token, (int)r->name_len,
                   (const char *)block.data + r->name_off, redmux_status_name(r->status), (int)r->data_len,
                   (const char *)block.data + r->data_off);
            ended++;
        }
    }
    redmux_block_release(&block);
    redmux_promises_close(promises);
    redmux_client_close(client, 1000);
    return ended == 2 ? 0 : 1;
}
