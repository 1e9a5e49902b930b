/* A promise, a publish, and the message, one after another.
 *
 *     promises ADDRESS COUNT publish|post|bare
 *
 * publish waits for the number of receivers too, as go-mpx's publisher does; post does not. bare: two sockets and no
 * library, the pattern subscribed on one, PUBLISH and its answer on the other. */
#include "mux.h"

static void bare(const char *address, unsigned long count)
{
    static const char subscribe[] = "*2\r\n$10\r\nPSUBSCRIBE\r\n$7\r\nbench:*\r\n";
    static const char confirmed[] = "*3\r\n$10\r\npsubscribe\r\n$7\r\nbench:*\r\n:1\r\n";
    char command[128], message[160], in[256];
    int listener = dial(address), speaker = dial(address);
    write_all(listener, subscribe, sizeof subscribe - 1);
    for (size_t wait = sizeof confirmed - 1; wait;) wait -= read_some(listener, in, wait);
    for (unsigned long i = 0; i < count; i++) {
        size_t len = (size_t)sprintf(command, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n" NAME_FORMAT "\r\n$4\r\ndone\r\n", NAME_LEN, i);
        size_t wait = (size_t)sprintf(message, "*4\r\n$8\r\npmessage\r\n$7\r\nbench:*\r\n$%d\r\n" NAME_FORMAT "\r\n$4\r\ndone\r\n", NAME_LEN, i);
        size_t got = 0;
        write_all(speaker, command, len);
        for (len = 4; len;) len -= read_some(speaker, in, len);
        while (got < wait) got += read_some(listener, in + got, wait - got);
        if (memcmp(in, message, wait)) die("message %lu is not the one that was published", i);
    }
}

static void promises(redmux_client client, redmux_promises set, redmux_inbox inbox, unsigned long count, int wait)
{
    static const uint8_t done[] = {'d', 'o', 'n', 'e'};
    redmux_block block = {0};
    redmux_error *error = NULL;
    char text[NAME_LEN + 16];
    const uint8_t *name = (const uint8_t *)text;
    for (unsigned long i = 0; i < count; i++) {
        int kept = 0;
        sprintf(text, NAME_FORMAT, i);
        must("promise", redmux_promises_make(set, name + 6, NAME_LEN - 6, (redmux_inbox){0}, i, 0), NULL);
        if (wait) must("publish", redmux_client_publish_wait(client, name, NAME_LEN, done, sizeof done, 0, NULL, &error), error);
        else must("post", redmux_client_post(client, name, NAME_LEN, done, sizeof done), NULL);
        while (!kept) {
            must("take", redmux_inbox_take(inbox, 30000, &block), NULL);
            for (size_t k = 0; k < block.count; k++) {
                const redmux_record *r = &block.records[k];
                if (r->kind != REDMUX_KIND_PROMISE) continue;
                must("promise", r->status, NULL);
                if (r->token != i || r->data_len != sizeof done) die("promise %lu was not kept", i);
                kept = 1;
            }
        }
    }
    redmux_block_release(&block);
}

/* The set is active and the publish link is made before the clock begins. */
static redmux_client prepare(const char *address, redmux_promises *set, redmux_inbox *inbox)
{
    redmux_client client = mux_open(address);
    redmux_error *error = NULL;
    must("inbox", redmux_inbox_new(client, (redmux_options){0}, inbox, &error), error);
    must("set", redmux_promises_new(client, *inbox, (const uint8_t *)"bench:", 6, 1, set), NULL);
    must("active", redmux_promises_active_wait(*set, 0, &error), error);
    must("publish", redmux_client_publish_wait(client, (const uint8_t *)"nobody", 6, NULL, 0, 0, NULL, &error), error);
    return client;
}

int main(int argc, char **argv)
{
    if (argc < 4) die("usage: promises ADDRESS COUNT publish|post|bare");
    unsigned long count = number(argv[2]);
    redmux_client client = {0};
    redmux_inbox inbox = {0};
    redmux_promises set = {0};
    int with_bare = !strcmp(argv[3], "bare");
    moment first, last;

    if (!with_bare) client = prepare(argv[1], &set, &inbox);
    first = moment_now();
    if (with_bare) bare(argv[1], count);
    else promises(client, set, inbox, count, !strcmp(argv[3], "publish"));
    last = moment_now();
    printf("{\"round_trips\": %lu, \"wall_ns\": %lld, \"cpu_ns\": %lld}\n", count, (long long)(last.wall - first.wall),
           (long long)(last.cpu - first.cpu));
    if (client.id) redmux_client_close(client, 5000);
    return 0;
}
