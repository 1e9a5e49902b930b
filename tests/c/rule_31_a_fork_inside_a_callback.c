/* Rule 31: a child that is forked inside a callback is outside of it, and its new clients work, blocking calls too. */
#include "check.h"
#include <sys/wait.h>

static char url[200];
static struct flag forked;

static int32_t forks(void *user, const redmux_block *block)
{
    int result = 0;
    pid_t pid;
    (void)user;
    (void)block;
    if (flag_get(&forked))
        return 0;
    pid = fork();
    CHECK(pid >= 0, "a child");
    if (pid == 0) {
        redmux_client client;
        int32_t status = redmux_client_open(url, &client, NULL);
        if (status == REDMUX_OK)
            status = redmux_client_ready_wait(client, 10000, NULL);
        if (status == REDMUX_OK)
            status = redmux_client_close(client, 10000);
        _exit(status == REDMUX_OK ? 0 : 1);
    }
    CHECK(waitpid(pid, &result, 0) == pid, "it ends");
    CHECK(result == 0, "its client was ready and closed");
    flag_add(&forked, 1);
    return 0;
}

int main(void)
{
    struct fixture fixture;
    redmux_client client;
    redmux_inbox inbox;
    fixture_start(&fixture, NULL);
    snprintf(url, sizeof url, "%s", fixture.url);
    client = client_open(url);
    inbox = inbox_new_callback(client, forks, NULL, NULL);
    subscribe(client, inbox, "news", 1);
    publish(client, "news", "fork");
    CHECK(flag_reaches(&forked, 1, 30000), "the callback forked and its child did well");
    CHECK(redmux_client_close(client, 10000) == REDMUX_OK, "the parent goes on");
    fixture_end(&fixture);
    return 0;
}
