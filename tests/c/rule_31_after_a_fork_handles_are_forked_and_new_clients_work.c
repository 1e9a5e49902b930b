/* Rule 31: after a fork, REDMUX_ERR_FORKED from inherited handles; new clients in the child work; the parent goes on.
 *
 * The parent's other threads are inside calls at every fork, so that whatever lock they hold is held for ever in the
 * child. */
#include "check.h"

static struct fixture fixture;
static char parent_url[200];
static char child_url[200];
static struct flag over = FLAG;

static struct {
    redmux_client client;
    redmux_inbox inbox;
    redmux_inbox calls;
    redmux_options options;
    redmux_promises promises;
    redmux_subscription subscription;
    redmux_block block;
    redmux_text *text;
    redmux_list *list;
    redmux_error *error;
} had;

static int32_t ignore(void *user, const redmux_block *block)
{
    (void)user;
    (void)block;
    return 0;
}

#define FORKED(call) CHECK_STATUS(REDMUX_ERR_FORKED, call)

/* Every function of the header that takes a handle. */
static void all_is_forked(void)
{
    const uint8_t *x = (const uint8_t *)"x";
    redmux_bytes names[1] = {bytes_of("x")};
    redmux_inbox none = {0}, got = {0};
    redmux_options defaults = {0};
    redmux_client opened = {0};
    redmux_promises promises = {0};
    redmux_subscription subscription = {0};
    redmux_block block = had.block, blocks[1];
    redmux_text *text = NULL;
    redmux_list *list = NULL;
    redmux_error *error = NULL;
    size_t count = 0;
    uint64_t receivers = 0;
    int32_t fd = -1;
    struct flag dropped = FLAG;

    FORKED(redmux_client_open_with(had.options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &opened, NULL, &error));
    CHECK_EQ(REDMUX_ERR_FORKED, redmux_error_code(error), "the error says it too");
    CHECK(strlen(redmux_error_message(error)) > 10, "and in words");
    redmux_error_free(error);
    FORKED(redmux_client_ready(had.client, had.inbox, 1, 1000));
    FORKED(redmux_client_ready_wait(had.client, 1000, NULL));
    FORKED(redmux_client_authenticate(had.client, NULL, "p", had.inbox, 1, 1000));
    FORKED(redmux_question_answer(had.client, 1, 0, names, 1));
    FORKED(redmux_client_stop(had.client));
    FORKED(redmux_client_restart(had.client));
    FORKED(redmux_client_wait(had.client, 1000, &got, 1, &count));
    FORKED(redmux_client_wake(had.client));
    FORKED(redmux_client_fd(had.client, &fd));
    FORKED(redmux_client_take_many(had.client, &had.inbox, 1, blocks, &count));
    FORKED(redmux_client_stats(had.client, &text));
    FORKED(redmux_inbox_new(had.client, defaults, &got, NULL));
    FORKED(redmux_inbox_new_callback(had.client, defaults, ignore, &dropped, drop_counts, &got, NULL));
    CHECK_EQ(1, flag_get(&dropped), "drop runs also when registering fails");
    FORKED(redmux_inbox_take(had.inbox, -1, &block));
    CHECK_EQ(0, block.id, "take always writes its block");
    FORKED(redmux_inbox_cancel(had.inbox, 1));
    FORKED(redmux_inbox_stats(had.inbox, &text));
    FORKED(redmux_options_set(had.options, "name", "x", NULL));
    FORKED(redmux_options_set_url(had.options, "redis://x", NULL));
    FORKED(redmux_options_set_json(had.options, "{}", NULL));
    FORKED(redmux_options_set_file(had.options, "/dev/null", NULL));
    FORKED(redmux_options_get(had.options, "name", &text, NULL));
    FORKED(redmux_promises_new(had.client, had.inbox, x, 1, 1, &promises));
    FORKED(redmux_promises_make(had.promises, x, 1, had.inbox, 1, 1000));
    FORKED(redmux_promises_make_later(had.promises, x, 1, had.inbox, 1, 1000, 1000));
    FORKED(redmux_promises_make_wait(had.promises, x, 1, 1000, &text, NULL));
    FORKED(redmux_promises_active(had.promises, had.inbox, 1, 1000));
    FORKED(redmux_promises_active_wait(had.promises, 1000, NULL));
    FORKED(redmux_promises_clear(had.promises, &count));
    FORKED(redmux_promise_make(had.client, x, 1, had.inbox, 1, 1000));
    FORKED(redmux_promise_wait(had.client, x, 1, 1000, &text, NULL));
    FORKED(redmux_client_publish(had.client, x, 1, x, 1, had.inbox, 1, 1000));
    FORKED(redmux_client_publish_wait(had.client, x, 1, x, 1, 1000, &receivers, NULL));
    FORKED(redmux_client_post(had.client, x, 1, x, 1));
    FORKED(redmux_client_flush(had.client, had.inbox, 1, 1000));
    FORKED(redmux_client_flush_wait(had.client, 1000, NULL));
    FORKED(redmux_client_barrier(had.client, had.inbox, 1, 1000));
    FORKED(redmux_client_barrier_wait(had.client, 1000, NULL));
    FORKED(redmux_subscription_new(had.client, had.inbox, 1, &subscription));
    FORKED(redmux_subscription_new_pattern(had.client, had.inbox, x, 1, 1, none, 1, 1000, &subscription));
    FORKED(redmux_subscription_add(had.subscription, names, 1, none, 1, 1000));
    FORKED(redmux_subscription_add_wait(had.subscription, names, 1, 1000, NULL));
    FORKED(redmux_subscription_remove(had.subscription, names, 1, none, 1, 1000));
    FORKED(redmux_subscription_remove_wait(had.subscription, names, 1, 1000, NULL));
    FORKED(redmux_subscription_clear(had.subscription, none, 1, 1000));
    FORKED(redmux_subscription_clear_wait(had.subscription, 1000, NULL));
    FORKED(redmux_subscription_drain(had.subscription, none, 1, 1000));
    FORKED(redmux_subscription_drain_wait(had.subscription, 1000, NULL));
    FORKED(redmux_subscription_active(had.subscription, none, 1, 1000));
    FORKED(redmux_subscription_active_wait(had.subscription, 1000, NULL));
    FORKED(redmux_subscription_names(had.subscription, &list));
    /* What ends things comes last, twice, and in the wrong order. */
    for (int twice = 0; twice < 2; twice++) {
        FORKED(redmux_client_close_begin(had.client, had.inbox, 1, 1000));
        FORKED(redmux_client_close(had.client, -1));
        FORKED(redmux_inbox_close(had.inbox, -1));
        FORKED(redmux_subscription_close(had.subscription));
        FORKED(redmux_promises_close(had.promises));
        redmux_options_free(had.options);
    }
    CHECK(text == NULL && list == NULL && got.id == 0 && fd == -1, "results are written only on success");
}

/* What can be released is released: lent blocks leak on purpose, the rest is memory of this process. */
static void releasing_is_harmless(void)
{
    CHECK(had.block.count > 0, "the parent had lent a block");
    CHECK(had.block.records[0].source == had.subscription.id, "which can still be read");
    redmux_block_release(&had.block);
    CHECK_EQ(0, had.block.id, "the struct is zeroed");
    redmux_block_release(&had.block);
    redmux_text_free(had.text);
    redmux_list_free(had.list);
    redmux_error_free(had.error);
    CHECK_EQ(0, redmux_debug_live(), "a child has no handles of its own yet");
}

static void a_new_client_works(const char *channel)
{
    redmux_client client = client_open(child_url);
    redmux_inbox inbox = inbox_new(client);
    struct reader reader = reader_of(inbox);
    subscribe(client, inbox, channel, 5);
    if (had.inbox.id != 0)
        FORKED(redmux_client_publish(client, (const uint8_t *)"x", 1, NULL, 0, had.inbox, 1, 1000));
    CHECK_EQ(1, publish(client, channel, "hello"), "the child is subscribed once");
    await_token(&reader, REDMUX_KIND_MESSAGE, 5);
    CHECK(data_is(&reader.block, &reader.block.records[reader.next - 1], "hello"), "and gets it");
    reader_end(&reader);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

/* What a child does; a byte in `wait` says that it may end. */
static void child(int round, int wait)
{
    char channel[64], byte;
    alarm(60);
    all_is_forked();
    releasing_is_harmless();
    snprintf(channel, sizeof channel, "child-%d", round);
    a_new_client_works(channel);
    if (round % 4 == 0) {
        int status = 0;
        redmux_client mine = client_open(child_url);
        pid_t grandchild;
        CHECK_OK(redmux_client_ready_wait(mine, WAIT_MS, NULL));
        grandchild = fork();
        if (grandchild == 0) {
            alarm(60);
            all_is_forked();
            FORKED(redmux_client_ready_wait(mine, 1000, NULL));
            FORKED(redmux_client_close(mine, -1));
            a_new_client_works(channel);
            CHECK_OK(redmux_shutdown(WAIT_MS));
            a_new_client_works(channel);
            _exit(0);
        }
        CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0, "the fork of a fork works too");
        CHECK_OK(redmux_client_ready_wait(mine, WAIT_MS, NULL));
        CHECK_OK(redmux_client_close(mine, WAIT_MS));
    }
    CHECK(read(wait, &byte, 1) == 1, "the parent says when");
    if (round % 2 == 0)
        exit(0);
    _exit(0);
}

static void *publishes(void *arg)
{
    (void)arg;
    while (!flag_get(&over))
        publish(had.client, "busy", "x");
    return NULL;
}

static void *takes(void *arg)
{
    redmux_block block = {0};
    (void)arg;
    while (!flag_get(&over))
        redmux_inbox_take(had.calls, 5, &block);
    redmux_block_release(&block);
    return NULL;
}

static void *opens(void *arg)
{
    (void)arg;
    while (!flag_get(&over)) {
        redmux_client client = client_open(parent_url);
        redmux_inbox inbox = inbox_new(client);
        redmux_subscription subscription = {0};
        CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
        CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
        CHECK_OK(redmux_client_close(client, WAIT_MS));
        redmux_inbox_close(inbox, 0);
        redmux_subscription_close(subscription);
    }
    return NULL;
}

static void *sets(void *arg)
{
    (void)arg;
    while (!flag_get(&over)) {
        redmux_options options = options_for(parent_url);
        options_put(options, "name", "other");
        redmux_options_free(options);
    }
    return NULL;
}

/* Forks a child that lives until there is a byte in `hold`. */
static pid_t start(int round, int hold[2])
{
    pid_t pid;
    CHECK(pipe(hold) == 0, "there is a pipe");
    pid = fork();
    CHECK(pid >= 0, "there is a process");
    if (pid == 0) {
        child(round, hold[0]);
    }
    close(hold[0]);
    return pid;
}

static void ends_well(pid_t pid)
{
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid, "the child ends");
    CHECK_EQ(0, status, "and did what it should");
}

enum { CHILDREN = 12 };

int main(void)
{
    struct reader reader;
    pthread_t threads[4];
    pid_t pids[CHILDREN];
    int holds[CHILDREN][2];

    fixture_start(&fixture, NULL);
    snprintf(parent_url, sizeof parent_url, "%s?name=parent", fixture.url);
    snprintf(child_url, sizeof child_url, "%s?name=child", fixture.url);

    /* Before any client: the hooks must be there all the same. */
    had.options = options_for(parent_url);
    {
        pid_t pid = fork();
        if (pid == 0) {
            FORKED(redmux_options_set(had.options, "name", "x", NULL));
            a_new_client_works("early");
            _exit(0);
        }
        ends_well(pid);
    }

    had.client = client_open(parent_url);
    had.inbox = inbox_new(had.client);
    had.calls = inbox_new(had.client);
    had.subscription = subscribe(had.client, had.inbox, "news", 1);
    subscribe(had.client, had.calls, "busy", 2);
    CHECK_OK(redmux_promises_new(had.client, had.calls, (const uint8_t *)"p:", 2, 3, &had.promises));
    CHECK_OK(redmux_promises_active_wait(had.promises, WAIT_MS, NULL));
    CHECK_OK(redmux_inbox_take(had.inbox, WAIT_MS, &had.block));
    CHECK_OK(redmux_client_stats(had.client, &had.text));
    CHECK_OK(redmux_subscription_names(had.subscription, &had.list));
    CHECK_STATUS(REDMUX_ERR_UNKNOWN_OPTION, redmux_options_set(had.options, "nothing", "1", &had.error));

    reader = reader_of(had.inbox);
    threads[0] = thread_start(publishes, NULL);
    threads[1] = thread_start(takes, NULL);
    threads[2] = thread_start(opens, NULL);
    threads[3] = thread_start(sets, NULL);
    for (int round = 0; round < CHILDREN; round++) {
        char text[32];
        sleep_ms(3 * round);
        pids[round] = start(round, holds[round]);
        /* The parent's subscription goes on while the child closes what it inherited. */
        for (int i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "%d-%d", round, i);
            CHECK_EQ(1, fixture_publish(&fixture, "news", text), "the parent is subscribed once");
            await_token(&reader, REDMUX_KIND_MESSAGE, 1);
            CHECK(data_is(&reader.block, &reader.block.records[reader.next - 1], text), "in order, without a hole");
        }
    }
    flag_set(&over, 1);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);

    /* The children live and hold what they inherited; nothing of it may be the server's to see. */
    CHECK_OK(redmux_client_close(had.client, WAIT_MS));
    for (int64_t end = now_ms() + WAIT_MS;; sleep_ms(20)) {
        const char *clients = fixture_do(&fixture, "{\"do\":\"client_list\"}");
        if (strstr(clients, "\"name\":\"parent\"") == NULL)
            break;
        CHECK(now_ms() < end, "no ghost of the parent's client stays at the server");
    }
    for (int round = 0; round < CHILDREN; round++) {
        CHECK(write(holds[round][1], "x", 1) == 1, "the child is there");
        ends_well(pids[round]);
        close(holds[round][1]);
    }
    reader_end(&reader);
    redmux_block_release(&had.block);
    redmux_options_free(had.options);
    redmux_inbox_close(had.inbox, 0);
    redmux_inbox_close(had.calls, 0);
    fixture_end(&fixture);
    return 0;
}
