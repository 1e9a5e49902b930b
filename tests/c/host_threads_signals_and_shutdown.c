/* The host's threads are its own: one redmux-io however many clients, redmux-cb only where there are callbacks, all
 * signals blocked in them; redmux_shutdown ends the thread and a new client works after it. */
#include "check.h"
#include <dirent.h>
#include <signal.h>

static struct fixture fixture;

/* What the kernel says of one of our threads: 0 when it is gone. */
static int thread_is(const char *task, char name[64], unsigned long long *blocked)
{
    char path[300], line[256];
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%.200s/status", task);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    name[0] = '\0';
    *blocked = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Name:\t%63[^\n]", name) != 1)
            (void)sscanf(line, "SigBlk:\t%llx", blocked);
    }
    fclose(file);
    return name[0] != '\0';
}

/* Counts threads with that name, and checks that every signal but the faults is blocked in them. A thread that ends
 * while its page is read shows a mask of zeros there and is gone from the list: so a mask counts when read twice. */
static int threads_named(const char *wanted)
{
    unsigned long long faults = 0, must = 0;
    static const int never[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGKILL, SIGSTOP};
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int count = 0;
    CHECK(tasks != NULL, "the kernel says");
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        faults |= 1ULL << (never[i] - 1);
    must = 0x7fffffffULL & ~faults;
    while ((task = readdir(tasks)) != NULL) {
        char name[64];
        unsigned long long blocked;
        if (task->d_name[0] == '.' || !thread_is(task->d_name, name, &blocked) || strcmp(name, wanted) != 0)
            continue;
        if ((blocked & must) != must && !thread_is(task->d_name, name, &blocked))
            continue;
        count++;
        CHECK_EQ(must, blocked & must, "signals of the host stay with the host's threads");
    }
    closedir(tasks);
    return count;
}

static void threads_become(const char *name, int wanted)
{
    for (int64_t end = now_ms() + WAIT_MS; threads_named(name) != wanted; sleep_ms(10))
        if (now_ms() >= end)
            CHECK_EQ(wanted, threads_named(name), name);
}

static int32_t called(void *user, const redmux_block *block)
{
    (void)block;
    CHECK_STATUS(REDMUX_ERR_WOULD_DEADLOCK, redmux_shutdown(1000));
    flag_add(user, 1);
    return 0;
}

static void *waits_for_ever(void *arg)
{
    redmux_bytes names[1] = {bytes_of("never")};
    CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_subscription_add_wait(*(redmux_subscription *)arg, names, 1, -1, NULL));
    return NULL;
}

static volatile sig_atomic_t alarms;
static volatile pthread_t alarmed;

static void on_alarm(int signal)
{
    (void)signal;
    alarmed = pthread_self();
    alarms++;
}

int main(void)
{
    redmux_client clients[5];
    redmux_inbox inbox;
    struct flag calls = FLAG;
    struct sigaction action;

    fixture_start(&fixture, NULL);
    CHECK_EQ(0, threads_named("redmux-io"), "no thread before the first client");
    for (int i = 0; i < 5; i++) {
        clients[i] = client_open(fixture.url);
        subscribe(clients[i], inbox_new(clients[i]), "x", 1);
    }
    /* One thread for all clients. It takes its name when it first runs. */
    threads_become("redmux-io", 1);
    CHECK_EQ(0, threads_named("redmux-cb"), "and no other where there is no callback");
    for (int i = 0; i < 2; i++)
        subscribe(clients[i], inbox_new_callback(clients[i], called, &calls, NULL), "x", 1);
    threads_become("redmux-cb", 2);
    FLAG_AWAIT(&calls, 2, "callbacks run");

    /* A signal of the process reaches a thread of the host. */
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < 20; i++) {
        kill(getpid(), SIGALRM);
        sleep_ms(1);
        CHECK(pthread_equal(alarmed, pthread_self()), "the handler runs on the host's thread");
    }
    CHECK(alarms > 0, "signals come");

    for (int i = 0; i < 5; i++)
        CHECK_OK(redmux_client_close(clients[i], WAIT_MS));
    threads_become("redmux-cb", 0);
    CHECK_EQ(1, threads_named("redmux-io"), "it stays, parked");
    CHECK_OK(redmux_shutdown(WAIT_MS));
    threads_become("redmux-io", 0);
    CHECK_OK(redmux_shutdown(WAIT_MS));

    /* A new client starts it again. */
    for (int round = 0; round < 3; round++) {
        clients[0] = client_open(fixture.url);
        inbox = inbox_new(clients[0]);
        subscribe(clients[0], inbox, "again", 1);
        CHECK_EQ(1, publish(clients[0], "again", "x"), "a new client works after it");
        threads_become("redmux-io", 1);
        CHECK_OK(redmux_client_close(clients[0], WAIT_MS));
        CHECK_OK(redmux_shutdown(WAIT_MS));
    }

    /* With a client left open: what waits ends, nothing hangs, and the client can be closed. */
    {
        redmux_subscription subscription;
        struct reader reader;
        const redmux_record *record;
        pthread_t waiter;
        int ended = 0;
        int32_t status = REDMUX_OK;
        fixture_do(&fixture, "{\"do\":\"freeze\"}");
        clients[0] = client_open(fixture.url);
        inbox = inbox_new(clients[0]);
        reader = reader_of(inbox);
        CHECK_OK(redmux_subscription_new(clients[0], inbox, 1, &subscription));
        CHECK_OK(redmux_client_ready(clients[0], inbox, 7, -1));
        CHECK_OK(redmux_client_publish(clients[0], (const uint8_t *)"x", 1, NULL, 0, inbox, 8, -1));
        waiter = thread_start(waits_for_ever, &subscription);
        sleep_ms(100);
        CHECK_OK(redmux_shutdown(WAIT_MS));
        thread_join(waiter);
        CHECK_STATUS(REDMUX_ERR_CLOSED, redmux_client_ready_wait(clients[0], -1, NULL));
        CHECK_OK(redmux_client_close(clients[0], WAIT_MS));
        while ((record = reader_next(&reader, WAIT_MS, &status)) != NULL)
            ended += (record->kind == REDMUX_KIND_DONE && record->token == 7) ||
                     (record->kind == REDMUX_KIND_PUBLISHED && record->token == 8) ||
                     record->kind == REDMUX_KIND_CLOSED;
        CHECK_STATUS(REDMUX_ERR_CLOSED, status);
        CHECK_EQ(3, ended, "each operation ended, and the source");
        fixture_do(&fixture, "{\"do\":\"thaw\"}");
    }
    fixture_end(&fixture);
    return 0;
}
