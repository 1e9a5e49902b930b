/* A question and its answer over the buffer.
 *
 *     request ADDRESS serve
 *     request ADDRESS ask COUNT IN_FLIGHT
 *     request ADDRESS naive COUNT IN_FLIGHT
 *
 * serve says "ready" and answers until its stdin closes. ask has so many requests open at once. naive is the way of old, with
 * the same library: a channel for each request, subscribed for its answer alone; its responder is `serve_naive`. */
#include "latency.h"
#include "mux.h"

enum { BODY = 16, MOST = 1024 };

static const uint8_t SERVICE[] = "bench";

static void *until_stdin_closes(void *unused)
{
    (void)unused;
    while (getchar() != EOF) continue;
    _exit(0);
}

static void serve(redmux_client client, redmux_inbox inbox)
{
    redmux_responder responder;
    redmux_options options;
    redmux_error *error = NULL;
    redmux_block block = {0};
    pthread_t ends;
    must("options", redmux_options_new(&options), NULL);
    must("option", redmux_options_set(options, "concurrency", "2000", &error), error);
    must("serve", redmux_responder_open(client, inbox, SERVICE, 5, options, 1, &responder, &error), error);
    must("active", redmux_responder_active_wait(responder, 0, &error), error);
    if (pthread_create(&ends, NULL, until_stdin_closes, NULL)) die("no thread");
    ready();
    while (redmux_inbox_take(inbox, -1, &block) == REDMUX_OK)
        for (size_t k = 0; k < block.count; k++) {
            const redmux_record *r = &block.records[k];
            if (r->kind != REDMUX_KIND_REQUEST) continue;
            must("answer", redmux_responder_answer(responder, r->number, block.data + r->data_off, r->data_len, NULL, 0, 1), NULL);
        }
}

/* Whoever asks the naive way names the channel of its answer in the first 16 bytes of the payload. */
static void serve_naive(redmux_client client, redmux_inbox inbox)
{
    redmux_subscription subscription;
    redmux_error *error = NULL;
    redmux_block block = {0};
    redmux_bytes name = {SERVICE, 5};
    pthread_t ends;
    must("subscribe", redmux_subscription_new(client, inbox, 1, &subscription), NULL);
    must("add", redmux_subscription_add_wait(subscription, &name, 1, 0, &error), error);
    if (pthread_create(&ends, NULL, until_stdin_closes, NULL)) die("no thread");
    ready();
    while (redmux_inbox_take(inbox, -1, &block) == REDMUX_OK)
        for (size_t k = 0; k < block.count; k++) {
            const redmux_record *r = &block.records[k];
            const uint8_t *data = block.data + r->data_off;
            if (r->kind == REDMUX_KIND_MESSAGE) must("post", redmux_client_post(client, data, NAME_LEN, data + NAME_LEN, BODY), NULL);
        }
}

static void ask_one(redmux_client client, redmux_inbox inbox, unsigned long i)
{
    int64_t now = wall_ns();
    char body[BODY] = {0};
    redmux_error *error = NULL;
    memcpy(body, &now, sizeof now);
    must("ask", redmux_gather_open(client, inbox, SERVICE, 5, (uint8_t *)body, BODY, NULL, 0, (redmux_options){0}, i, 0, NULL, &error), error);
}

static void promise_one(redmux_client client, redmux_inbox inbox, unsigned long i)
{
    char name[NAME_LEN + 16];
    sprintf(name, NAME_FORMAT, i);
    must("promise", redmux_promise_make(client, (uint8_t *)name, NAME_LEN, inbox, i, 0), NULL);
}

static void publish_naive(redmux_client client, unsigned long i)
{
    char payload[NAME_LEN + BODY + 16] = {0};
    int64_t now = wall_ns();
    sprintf(payload, NAME_FORMAT, i);
    memcpy(payload + NAME_LEN, &now, sizeof now);
    must("post", redmux_client_post(client, SERVICE, 5, (uint8_t *)payload, NAME_LEN + BODY), NULL);
}

int main(int argc, char **argv)
{
    redmux_inbox inbox;
    redmux_block block = {0};
    redmux_error *error = NULL;
    char line[16];
    if (argc < 3) die("usage: request ADDRESS serve|serve_naive|ask|naive [COUNT IN_FLIGHT]");
    redmux_client client = mux_open(argv[1]);
    must("inbox", redmux_inbox_new(client, (redmux_options){0}, &inbox, &error), error);
    if (!strcmp(argv[2], "serve")) serve(client, inbox);
    if (!strcmp(argv[2], "serve_naive")) serve_naive(client, inbox);
    int naive = !strcmp(argv[2], "naive");
    unsigned long count = number(argv[3]), window = number(argv[4]), sent = 0, got = 0;
    moment first, last;

    /* The first request makes the channel for answers. */
    if (!naive) {
        redmux_text *text = NULL;
        must("first", redmux_gather_first_wait(client, SERVICE, 5, NULL, 0, NULL, 0, (redmux_options){0}, 0, &text, &error), error);
        redmux_text_free(text);
    }
    ready();
    if (!fgets(line, sizeof line, stdin)) return 1;
    first = moment_now();
    for (; sent < window; sent++) naive ? promise_one(client, inbox, sent) : ask_one(client, inbox, sent);
    while (got < count) {
        must("take", redmux_inbox_take(inbox, 30000, &block), NULL);
        int64_t now = wall_ns();
        for (size_t k = 0; k < block.count; k++) {
            const redmux_record *r = &block.records[k];
            const char *data = (const char *)block.data + r->data_off;
            if (naive && r->kind == REDMUX_KIND_ACTIVE) publish_naive(client, r->token);
            if (r->kind == (naive ? REDMUX_KIND_PROMISE : REDMUX_KIND_ANSWER)) {
                if (r->status != 0) die("an answer is the error %s", redmux_status_name(r->status));
                latency_add(data, now);
                if (naive) got++;
            } else if (r->kind == REDMUX_KIND_END) {
                if (r->number != REDMUX_REASON_ALL) die("a request ended for the reason %llu", (unsigned long long)r->number);
                got++;
            } else {
                continue;
            }
            if ((naive || r->kind == REDMUX_KIND_END) && sent < count) naive ? promise_one(client, inbox, sent++) : ask_one(client, inbox, sent++);
        }
    }
    last = moment_now();
    redmux_block_release(&block);
    printf("{\"messages\": %lu, \"p50\": %.0f, \"p99\": %.0f, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", got, latency_at(0.5),
           latency_at(0.99), (long long)(last.cpu - first.cpu), (long long)(last.wall - first.wall));
    fflush(stdout);
    redmux_client_close(client, 5000);
    return 0;
}
