/* One subscription, one message: prints `channel: [mychannel] msg: [Hello World!]`.
 *
 *     cc simple.c $(pkg-config --cflags --libs redmux) -o simple && ./simple redis://localhost
 */
#include <redmux.h>
#include <stdio.h>

static const char text[] = "Hello World!";

/* Says what went wrong and frees it. */
static int fail(const char *what, int32_t status, redmux_error *error)
{
    fprintf(stderr, "%s: %s: %s\n", what, redmux_status_name(status), redmux_error_message(error));
    redmux_error_free(error);
    return 1;
}

int main(int argc, char **argv)
{
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription subscription;
    redmux_error *error = NULL;
    redmux_bytes name = {(const uint8_t *)"mychannel", 9};
    redmux_block block = {0};
    int heard = 0;
    int32_t status;

    /* No argument: REDIS_URL, REDIS_HOST and the like, else localhost. */
    if ((status = redmux_client_open(argc > 1 ? argv[1] : NULL, &client, &error)) != REDMUX_OK)
        return fail("open", status, error);
    if ((status = redmux_inbox_new(client, (redmux_options){0}, &inbox, &error)) != REDMUX_OK)
        return fail("inbox", status, error);
    if ((status = redmux_subscription_new(client, inbox, 0, &subscription)) != REDMUX_OK)
        return fail("subscription", status, NULL);
    if ((status = redmux_subscription_add_wait(subscription, &name, 1, 0, &error)) != REDMUX_OK)
        return fail("add", status, error);
    if ((status = redmux_client_publish_wait(client, name.data, name.len, (const uint8_t *)text, sizeof text - 1, 0,
                                             NULL, &error)) != REDMUX_OK)
        return fail("publish", status, error);

    while (!heard && redmux_inbox_take(inbox, 10000, &block) == REDMUX_OK) {
        for (size_t i = 0; i < block.count; i++) {
            const redmux_record *r = &block.records[i];
            if (r->kind == REDMUX_KIND_MESSAGE) {
                printf("channel: [%.*s] msg: [%.*s]\n", (int)r->name_len, (const char *)block.data + r->name_off,
                       (int)r->data_len, (const char *)block.data + r->data_off);
                heard = 1;
            }
        }
    }
    redmux_block_release(&block);
    redmux_client_close(client, 1000);
    redmux_inbox_close(inbox, 1000);
    redmux_subscription_close(subscription);
    return heard ? 0 : 1;
}
