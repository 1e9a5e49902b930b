/* Runs one scenario (docs/scenarios.md) through the C ABI.
 *
 *     REDMUX_FIXTURE=target/debug/examples/fixture ./run tests/scenarios/NAME.json
 *
 * Every operation has an inbox of its own that its completion comes to; every subscription has one for its events.
 *
 * The steps are in clients.h, subscriptions.h and requests.h; here are their names, the world, and other processes.
 */
#include "clients.h"
#include "requests.h"
#include "subscriptions.h"

static struct program fixtures[MANY], processes[MANY];

/* ---- what was begun ---- */

static void await(const struct json *step)
{
    struct operation *operation = NAMED(operations, step, "as", "", 0);
    const char *verb = json_text(operation->step, "do", "");
    if (operation->has_thread)
        pthread_join(operation->thread, NULL);
    if (strcmp(verb, "ask") == 0)
        judge_ask(operation, step, "data");
    else if (strcmp(verb, "gather") == 0)
        finish_gather(operation, step);
    else if (!operation->has_thread)
        finish(operation, step);
    memset(operation, 0, sizeof *operation);
}

static void close_one(const struct json *step)
{
    int32_t status;
    if (json_get(step, "sub") != NULL)
        status = redmux_subscription_close(NAMED(subscriptions, step, "sub", "s", 0)->subscription);
    else if (json_get(step, "set") != NULL)
        status = redmux_promises_close(NAMED(sets, step, "set", "p", 0)->promises);
    else if (json_get(step, "responder") != NULL)
        status = redmux_responder_close(NAMED(responders, step, "responder", "r", 0)->handle);
    else
        status = redmux_client_close(NAMED(clients, step, "client", "a", 0)->handle, 5000);
    judge(step, status == REDMUX_ERR_CLOSED ? REDMUX_OK : status, "a second close is harmless");
}

/* Whether a verb is one of these words, which have a space on each side. */
static int is_one_of(const char *verb, const char *words)
{
    char word[40];
    snprintf(word, sizeof word, " %s ", verb);
    return strstr(words, word) != NULL;
}

static int run_step(const struct json *step)
{
    const char *verb = json_text(step, "do", "");
    int of = json_get(step, "set") != NULL, serves = json_get(step, "responder") != NULL;
    if (strcmp(verb, "connect") == 0)
        connect_client(step);
    else if (strcmp(verb, "subscribe") == 0)
        subscribe(step);
    else if (strcmp(verb, "gather") == 0)
        gather(step);
    else if (strcmp(verb, "ask") == 0)
        ask(step);
    else if (strcmp(verb, "respond") == 0)
        respond(step);
    else if (strcmp(verb, "request") == 0)
        request(step);
    else if (is_one_of(verb, " answer end fail cancelled "))
        of_request(step, verb);
    else if (serves && is_one_of(verb, " nothing drain "))
        of_responder(step, verb);
    else if (strcmp(verb, "channels") == 0)
        channels(step);
    else if (strcmp(verb, "publish") == 0 || strcmp(verb, "post") == 0)
        publish(step);
    else if (strcmp(verb, "expect") == 0 || strcmp(verb, "count") == 0 || strcmp(verb, "nothing") == 0)
        read_or_begin(step);
    else if (strcmp(verb, "promises") == 0)
        open_set(step);
    else if (strcmp(verb, "promise") == 0)
        promise(step);
    else if (strcmp(verb, "await") == 0)
        await(step);
    else if (strcmp(verb, "cancel") == 0)
        redmux_inbox_cancel(NAMED(operations, step, "as", "", 0)->inbox, 1);
    else if (strcmp(verb, "logged") == 0)
        logged(step);
    else if (strcmp(verb, "stats") == 0)
        stats(step);
    else if (strcmp(verb, "close") == 0)
        close_one(step);
    else if ((strcmp(verb, "clear") == 0 || strcmp(verb, "wait_active") == 0) && of)
        of_set(step, verb);
    else if (is_one_of(verb, " add remove clear wait_active drain "))
        of_subscription(step, verb);
    else if (is_one_of(verb, " answers ready authenticate stop restart flush barrier "))
        of_client(step, verb);
    else
        return 0;
    return 1;
}

/* ---- the world ---- */

static void world(const struct json *step)
{
    struct program *fixture = NAMED(fixtures, step, "server", "redis", 0);
    const struct json *order = json_get(step, "order"), *is = json_get(step, "is"), *until = json_get(step, "until");
    const char *refusal = json_text(step, "error", NULL);
    long times = (long)json_number(step, "times", 1);
    int64_t end = now_ms() + limit_of(step);
    for (long n = 0; n < times;) {
        const struct json *answer, *ok, *error;
        const char *mark = order->raw, *from = mark;
        while ((mark = strstr(from, "{n}")) != NULL && mark < order->raw + order->raw_len) {
            fprintf(fixture->in, "%.*s%ld", (int)(mark - from), from, n);
            from = mark + 3;
        }
        fprintf(fixture->in, "%.*s\n", (int)(order->raw + order->raw_len - from), from);
        fflush(fixture->in);
        answer = program_read(fixture);
        ok = json_get(answer, "ok");
        error = json_get(answer, "error");
        if (refusal != NULL ? error == NULL || strstr(error->text, refusal) == NULL : error != NULL)
            fail(step, "the answer is %.*s", (int)answer->raw_len, answer->raw);
        if (until != NULL && !json_equal(ok, until) && now_ms() < end) {
            breathe();
            continue;
        }
        if ((is != NULL && !json_equal(ok, is)) || (until != NULL && !json_equal(ok, until)))
            fail(step, "the answer is %.*s", (int)answer->raw_len, answer->raw);
        n++;
    }
}

static void start_fixtures(const struct json *scenario)
{
    static struct json redis = {0};
    const struct json *wanted = json_get(scenario, "servers");
    struct json *all = json_room(sizeof *all), **last = &all->first;
    redis.key = "redis";
    all->kind = JSON_OBJECT;
    servers = all;
    wanted = wanted != NULL ? wanted->first : &redis;
    for (size_t i = 0; wanted != NULL && i < MANY; wanted = wanted->next, i++) {
        char *argv[16] = {getenv("REDMUX_FIXTURE")};
        size_t count = 1;
        if (argv[0] == NULL)
            fail(NULL, "REDMUX_FIXTURE does not name the fixture program");
        for (const struct json *flag = wanted->first; flag != NULL && count < 15; flag = flag->next)
            argv[count++] = flag->text;
        strncpy(fixtures[i].name, wanted->key, 31);
        program_start(&fixtures[i], argv);
        *last = fixtures[i].first = program_read(&fixtures[i]);
        (*last)->key = wanted->key;
        last = &(*last)->next;
    }
}

static void in_process(const struct json *step, char *self)
{
    struct program *process = NAMED(processes, step, "process", "", 1);
    const struct json *answer;
    if (process->pid == 0) {
        char *peer = getenv("REDMUX_SCENARIO_PEER"), *argv[3] = {peer != NULL ? peer : self, "--steps", NULL};
        program_start(process, argv);
        fputc('{', process->in);
        for (const struct json *server = servers->first; server != NULL; server = server->next)
            fprintf(process->in, "%s\"%s\":%.*s", server == servers->first ? "" : ",", server->key,
                    (int)server->raw_len, server->raw);
        fputs("}\n", process->in);
    }
    fprintf(process->in, "%.*s\n", (int)step->raw_len, step->raw);
    fflush(process->in);
    answer = program_read(process);
    if (json_get(answer, "ok") == NULL)
        fail(step, "process %s: %s", process->name, json_text(answer, "error", "?"));
}

static void kill_process(const struct json *step)
{
    struct program *process = NAMED(processes, step, "process", "", 0);
    kill(process->pid, SIGKILL);
    process->killed = 1;
}

/* Closes what is open; nothing may be left. */
static void leave_nothing(void)
{
    leave_no_responder();
    for (size_t i = 0; i < MANY; i++) {
        if (clients[i].name[0] != '\0')
            redmux_client_close(clients[i].handle, 5000);
        redmux_inbox_close(clients[i].events, 1000);
        if (operations[i].inbox.id != 0)
            redmux_inbox_close(operations[i].inbox, 0);
        redmux_subscription_close(subscriptions[i].subscription);
        redmux_promises_close(sets[i].promises);
        redmux_block_release(&subscriptions[i].block);
        redmux_inbox_close(subscriptions[i].inbox, 0);
        redmux_inbox_close(sets[i].inbox, 0);
    }
    if (redmux_debug_live() != 0)
        fail(NULL, "%lld handles or blocks are left", (long long)redmux_debug_live());
}

/* The other process: its steps come from stdin. */
static int told(void)
{
    struct program in = {.name = "stdin", .out = stdin};
    int first = 1;
    for (int c; (c = getc(stdin)) != EOF; first = 0) {
        struct json *line;
        ungetc(c, stdin);
        line = program_read(&in);
        if (first) {
            servers = line;
            continue;
        }
        if (!run_step(line))
            fail(line, "not a step");
        puts("{\"ok\":true}");
        fflush(stdout);
    }
    leave_nothing();
    return 0;
}

static const char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = json_room(1 << 20);
    if (file == NULL || fread(text, 1, (1 << 20) - 1, file) == 0)
        fail(NULL, "cannot be read: %s", strerror(errno));
    fclose(file);
    return text;
}

int main(int argc, char **argv)
{
    const struct json *scenario;
    const char *text;
    int failed = 0;
    if (argc == 2 && strcmp(argv[1], "--steps") == 0)
        return told();
    if (argc != 2) {
        fprintf(stderr, "usage: %s SCENARIO.json\n", argv[0]);
        return 2;
    }
    scenario_file = argv[1];
    text = read_file(argv[1]);
    scenario = json_read(&text);
    if (scenario == NULL || json_get(scenario, "steps") == NULL)
        fail(NULL, "is not a scenario; not JSON near: %.40s", text);
    start_fixtures(scenario);
    for (const struct json *step = json_get(scenario, "steps")->first; step != NULL; step = step->next) {
        const char *verb = json_text(step, "do", "");
        if (strcmp(verb, "world") == 0)
            world(step);
        else if (strcmp(verb, "kill") == 0)
            kill_process(step);
        else if (json_get(step, "process") != NULL)
            in_process(step, argv[0]);
        else if (!run_step(step))
            fail(step, "there is no such step");
    }
    leave_nothing();
    for (size_t i = 0; i < MANY; i++)
        failed |= processes[i].pid != 0 && program_end(&processes[i]) != 0;
    for (size_t i = 0; i < MANY; i++)
        if (fixtures[i].pid != 0)
            program_end(&fixtures[i]);
    if (failed)
        fail(NULL, "another process did not end well");
    return 0;
}
