/* A host that left SIGPIPE at its default lives on when the server dies while it publishes. One that has no descriptors
 * left gets statuses, and goes on when there are some again. */
#include "check.h"
#include <signal.h>
#include <sys/resource.h>

static struct fixture fixture;
static struct flag over = FLAG;

static void *publishes(void *arg)
{
    static uint8_t data[8192];
    while (!flag_get(&over)) {
        int32_t status = redmux_client_publish_wait(*(redmux_client *)arg, (const uint8_t *)"x", 1, data, sizeof data,
                                                    200, NULL, NULL);
        CHECK(status == REDMUX_OK || status == REDMUX_ERR_UNKNOWN || status == REDMUX_ERR_NOT_SENT, "a status");
        status = redmux_client_post(*(redmux_client *)arg, (const uint8_t *)"x", 1, data, sizeof data);
        CHECK(status == REDMUX_OK || status == REDMUX_ERR_FULL, "a status");
    }
    return NULL;
}

/* One thread that waits alone writes and reads the sockets itself. */
static void sigpipe_is_left_at_its_default(const char *url, int count)
{
    redmux_client client = {0};
    redmux_options options = options_for(url);
    pthread_t threads[3];
    flag_set(&over, 0);
    signal(SIGPIPE, SIG_DFL);
    options_put(options, "backoff_max", "10ms");
    CHECK_OK(redmux_client_open_with(options, REDMUX_EVENTS_NONE, NULL, NULL, NULL, &client, NULL, NULL));
    redmux_options_free(options);
    publish(client, "x", "y");
    for (int i = 0; i < count; i++)
        threads[i] = thread_start(publishes, &client);
    for (int round = 0; round < 6; round++) {
        sleep_ms(20);
        if (round % 2 == 0) {
            fixture_do(&fixture, "{\"do\":\"kill\"}");
            sleep_ms(20);
            fixture_do(&fixture, "{\"do\":\"start\"}");
        } else {
            fixture_do(&fixture, "{\"do\":\"kill_normal\"}");
        }
    }
    flag_set(&over, 1);
    for (int i = 0; i < count; i++)
        thread_join(threads[i]);
    for (int64_t end = now_ms() + WAIT_MS;;) {
        if (redmux_client_publish_wait(client, (const uint8_t *)"x", 1, NULL, 0, 1000, NULL, NULL) == REDMUX_OK)
            break;
        CHECK(now_ms() < end, "publishing goes on");
    }
    CHECK_OK(redmux_client_close(client, WAIT_MS));
}

/* As many descriptors as are open now, and `more`. */
static void descriptors(int more)
{
    struct rlimit limit;
    int lowest = dup(0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && lowest >= 0, "the kernel says");
    close(lowest);
    limit.rlim_cur = (rlim_t)(lowest + more);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the kernel agrees");
}

static void few_descriptors(void)
{
    struct rlimit all;
    CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0, "the kernel says");
    for (int shut = 0; shut < 2; shut++) {
        for (int more = 0; more < 10; more++) {
            redmux_client client = {0};
            redmux_error *error = NULL;
            redmux_text *text = NULL;
            int32_t status, fd = -1;
            if (shut)
                CHECK_OK(redmux_shutdown(WAIT_MS));
            descriptors(more);
            status = redmux_client_open(fixture.url, &client, &error);
            if (status != REDMUX_OK) {
                CHECK(error != NULL && strlen(redmux_error_message(error)) > 10, "the error says what is missing");
                redmux_error_free(error);
                error = NULL;
                setrlimit(RLIMIT_NOFILE, &all);
                CHECK_OK(redmux_client_open(fixture.url, &client, NULL));
            } else {
                redmux_inbox inbox = inbox_new(client);
                redmux_subscription subscription = {0};
                redmux_bytes names[1] = {bytes_of("few")};
                CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
                status = redmux_subscription_add_wait(subscription, names, 1, 60, &error);
                CHECK(status == REDMUX_OK || status == REDMUX_ERR_TIMEOUT, "a status");
                redmux_error_free(error);
                status = redmux_client_publish_wait(client, (const uint8_t *)"few", 3, NULL, 0, 60, NULL, NULL);
                CHECK(status == REDMUX_OK || status == REDMUX_ERR_UNKNOWN || status == REDMUX_ERR_NOT_SENT,
                      "a status");
                status = redmux_client_fd(client, &fd);
                CHECK(status == REDMUX_OK || status < 0, "a status");
                CHECK_OK(redmux_client_stats(client, &text));
                redmux_text_free(text);
                setrlimit(RLIMIT_NOFILE, &all);
                /* It goes on by itself. */
                CHECK_OK(redmux_subscription_active_wait(subscription, WAIT_MS, NULL));
                CHECK_EQ(1, publish(client, "few", "x"), "it goes on when there are descriptors again");
                CHECK_OK(redmux_client_fd(client, &fd));
            }
            CHECK_OK(redmux_client_close(client, WAIT_MS));
        }
    }
}

int main(void)
{
    char unix_url[256];
    fixture_start(&fixture, NULL);
    field_text(fixture.line, "unix_url", unix_url, sizeof unix_url);
    sigpipe_is_left_at_its_default(fixture.url, 3);
    sigpipe_is_left_at_its_default(fixture.url, 1);
    sigpipe_is_left_at_its_default(unix_url, 1);
    few_descriptors();
    fixture_end(&fixture);
    return 0;
}
