/* Rule 30: a process may exit at any moment, busy or not: by exit, by _exit, by returning from main, with threads
 * inside of calls and callbacks, before and after the links are up. Here 100 times. */
#include "check.h"

static int32_t called(void *user, const redmux_block *block)
{
    redmux_client client = *(redmux_client *)user;
    (void)block;
    redmux_client_post(client, (const uint8_t *)"busy", 4, (const uint8_t *)"again", 5);
    return 0;
}

static void *takes(void *arg)
{
    redmux_block block = {0};
    while (redmux_inbox_take(*(redmux_inbox *)arg, -1, &block) == REDMUX_OK)
        continue;
    return NULL;
}

static void *publishes(void *arg)
{
    for (;;)
        redmux_client_publish_wait(*(redmux_client *)arg, (const uint8_t *)"busy", 4, NULL, 0, 1000, NULL, NULL);
    return NULL;
}

static void *waits(void *arg)
{
    redmux_inbox inboxes[4];
    size_t count;
    while (redmux_client_wait(*(redmux_client *)arg, -1, inboxes, 4, &count) == REDMUX_OK)
        continue;
    return NULL;
}

/* A busy program that ends in the way and after the time that `round` says. */
static int child(const char *url, int round)
{
    static redmux_client client;
    static redmux_inbox taken, called_inbox, promised;
    redmux_promises promises = {0};
    redmux_subscription subscription = {0};
    redmux_bytes names[1] = {bytes_of("busy")};
    alarm(30);
    CHECK_OK(redmux_client_open(url, &client, NULL));
    taken = inbox_new(client);
    promised = inbox_new(client);
    called_inbox = inbox_new_callback(client, called, &client, NULL);
    CHECK_OK(redmux_subscription_new(client, called_inbox, 1, &subscription));
    CHECK_OK(redmux_subscription_add(subscription, names, 1, taken, 1, -1));
    CHECK_OK(redmux_subscription_new(client, taken, 1, &subscription));
    CHECK_OK(redmux_subscription_add(subscription, names, 1, taken, 1, -1));
    CHECK_OK(redmux_promises_new(client, promised, (const uint8_t *)"p", 1, 1, &promises));
    CHECK_OK(redmux_promises_make_later(promises, (const uint8_t *)"x", 1, promised, 1, -1, -1));
    pthread_detach(thread_start(takes, &taken));
    pthread_detach(thread_start(publishes, &client));
    pthread_detach(thread_start(waits, &client));
    if (round % 5 != 0)
        sleep_ms(round % 25);
    if (round % 7 == 0)
        redmux_client_close(client, 0);
    switch (round % 3) {
    case 0:
        exit(0);
    case 1:
        _exit(0);
    default:
        return 0;
    }
}

int main(int argc, char **argv)
{
    struct fixture fixture;
    if (argc == 3)
        return child(argv[1], atoi(argv[2]));
    fixture_start(&fixture, NULL);
    for (int round = 0; round < 100; round += 4) {
        pid_t pids[4];
        for (int i = 0; i < 4; i++) {
            pids[i] = fork();
            CHECK(pids[i] >= 0, "there is a process");
            if (pids[i] == 0) {
                char number[16];
                snprintf(number, sizeof number, "%d", round + i);
                /* A program of its own, as every process of a host is. */
                execl("/proc/self/exe", argv[0], i == 3 ? "redis://127.0.0.1:1" : fixture.url, number, (char *)NULL);
                _exit(127);
            }
        }
        for (int i = 0; i < 4; i++) {
            int status = 0;
            CHECK(waitpid(pids[i], &status, 0) == pids[i], "the child ends");
            CHECK_EQ(0, status, "and ends well");
        }
    }
    fixture_end(&fixture);
    return 0;
}
