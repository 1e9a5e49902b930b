/* What the C tests share: checks with a sentence, the fixture that has servers and faults, readers of inboxes, flags
 * between threads. Nothing here waits longer than WAIT_MS; a check that fails ends the program with 1.
 *
 * Compiled with -std=c99 -D_POSIX_C_SOURCE=200809L. The environment's REDMUX_FIXTURE names the fixture program
 * (tests/support/fixture.rs); it ends, and its server with it, when the test does.
 */
#ifndef REDMUX_CHECK_H
#define REDMUX_CHECK_H

#include <redmux.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long anything may take that must come. */
#define WAIT_MS 10000

/* ---- checks ---- */

/* The condition holds; the sentence says what is promised. */
#define CHECK(condition, sentence) \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, sentence, #condition, ""))

/* The call answers with this status. */
#define CHECK_STATUS(expected, call) check_status(__FILE__, __LINE__, expected, call, #call)

/* The call answers with REDMUX_OK. */
#define CHECK_OK(call) CHECK_STATUS(REDMUX_OK, call)

/* Two integers are equal. */
#define CHECK_EQ(expected, actual, sentence) \
    check_equal(__FILE__, __LINE__, (long long)(expected), (long long)(actual), sentence, #actual)

/* The text contains the part. */
#define CHECK_TEXT(text, part, sentence) check_text(__FILE__, __LINE__, text, part, 1, sentence)

/* The text does not contain the part. */
#define CHECK_NO_TEXT(text, part, sentence) check_text(__FILE__, __LINE__, text, part, 0, sentence)

static inline void check_failed(const char *file, int line, const char *sentence, const char *code, const char *detail)
{
    fprintf(stderr, "%s:%d: %s: %s %s\n", file, line, sentence, code, detail);
    fflush(NULL);
    _exit(1);
}

static inline void check_status(const char *file, int line, int32_t expected, int32_t actual, const char *code)
{
    char detail[160];
    if (expected == actual)
        return;
    snprintf(detail, sizeof detail, "gave %s (%d), not %s", redmux_status_name(actual), (int)actual,
             redmux_status_name(expected));
    check_failed(file, line, "the status", code, detail);
}

static inline void check_equal(const char *file, int line, long long expected, long long actual, const char *sentence,
                               const char *code)
{
    char detail[80];
    if (expected == actual)
        return;
    snprintf(detail, sizeof detail, "is %lld, not %lld", actual, expected);
    check_failed(file, line, sentence, code, detail);
}

static inline void check_text(const char *file, int line, const char *text, const char *part, int wanted,
                              const char *sentence)
{
    if (text == NULL || (strstr(text, part) != NULL) != wanted)
        check_failed(file, line, sentence, text == NULL ? "(NULL)" : text, part);
}

/* ---- time ---- */

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(int ms)
{
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

/* How long a test that goes on goes on: REDMUX_SECONDS, or so many. */
static inline long seconds_or(long seconds)
{
    const char *text = getenv("REDMUX_SECONDS");
    return text != NULL && atol(text) > 0 ? atol(text) : seconds;
}

/* ---- the fixture ---- */

struct fixture {
    pid_t pid;
    FILE *in;
    FILE *out;
    char *line; /* the last answer */
    size_t size;
    char url[128]; /* of the server, or of the proxy before it, if there is one */
};

/* Reads one line of JSON. */
static inline const char *fixture_read(struct fixture *fixture)
{
    if (getline(&fixture->line, &fixture->size, fixture->out) <= 0)
        check_failed(__FILE__, __LINE__, "the fixture answers", "it ended", "");
    if (strncmp(fixture->line, "{\"error\"", 8) == 0)
        check_failed(__FILE__, __LINE__, "the fixture obeys", fixture->line, "");
    return fixture->line;
}

/* Where the value of a key begins in a line of JSON without spaces; the first one at any depth. */
static inline const char *field(const char *json, const char *key)
{
    char quoted[64];
    const char *at;
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    at = strstr(json, quoted);
    if (at == NULL)
        check_failed(__FILE__, __LINE__, "the answer has the field", key, json);
    return at + strlen(quoted);
}

static inline long long field_number(const char *json, const char *key)
{
    return strtoll(field(json, key), NULL, 10);
}

/* Copies a string out, with the simple escapes undone. */
static inline void field_text(const char *json, const char *key, char *out, size_t size)
{
    const char *at = field(json, key);
    size_t len = 0;
    CHECK(*at == '"', "the field is a string");
    for (at++; *at != '"' && *at != '\0' && len + 1 < size; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        out[len++] = *at;
    }
    out[len] = '\0';
}

/* Starts a fixture with flags, the last of which is NULL: fixture_start(&fixture, "--proxy", NULL). */
static inline void fixture_start(struct fixture *fixture, ...)
{
    const char *program = getenv("REDMUX_FIXTURE");
    char *flags[32] = {0};
    int count = 1, proxied = 0, in[2], out[2];
    va_list list;

    CHECK(program != NULL, "REDMUX_FIXTURE names the fixture program");
    flags[0] = (char *)(size_t)program;
    va_start(list, fixture);
    while (count < 31 && (flags[count] = va_arg(list, char *)) != NULL)
        proxied |= strcmp(flags[count++], "--proxy") == 0;
    va_end(list);

    memset(fixture, 0, sizeof *fixture);
    CHECK(pipe(in) == 0 && pipe(out) == 0, "there are pipes");
    /* Another child must not hold this one's stdin open. */
    fcntl(in[1], F_SETFD, FD_CLOEXEC);
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    fixture->pid = fork();
    CHECK(fixture->pid >= 0, "there is a process");
    if (fixture->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]);
        close(out[1]);
        execv(program, flags);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    fixture->in = fdopen(in[1], "w");
    fixture->out = fdopen(out[0], "r");
    CHECK(fixture->in != NULL && fixture->out != NULL, "there are streams");
    fixture_read(fixture);
    if (proxied || strstr(fixture->line, "\"url\":") != NULL)
        field_text(fixture->line, proxied ? "proxy_url" : "url", fixture->url, sizeof fixture->url);
}

/* Sends one line of JSON (a format as of printf) and returns the answer, {"ok":...}, until the next one. */
static inline const char *fixture_do(struct fixture *fixture, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(fixture->in, format, list);
    va_end(list);
    fputc('\n', fixture->in);
    fflush(fixture->in);
    return fixture_read(fixture);
}

/* Publishes from outside of the library and returns how many received it. */
static inline long long fixture_publish(struct fixture *fixture, const char *channel, const char *data)
{
    return field_number(fixture_do(fixture, "{\"do\":\"publish\",\"channel\":\"%s\",\"data\":\"%s\"}", channel, data),
                        "ok");
}

/* Ends the fixture and its server. */
static inline void fixture_end(struct fixture *fixture)
{
    int status = 0;
    fclose(fixture->in);
    while (waitpid(fixture->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    fclose(fixture->out);
    free(fixture->line);
    memset(fixture, 0, sizeof *fixture);
}

/* ---- the library ---- */

static inline redmux_bytes bytes_of(const char *text)
{
    redmux_bytes bytes = {(const uint8_t *)text, strlen(text)};
    return bytes;
}

static inline redmux_client client_open(const char *url)
{
    redmux_client client = {0};
    CHECK_OK(redmux_client_open(url, &client, NULL));
    return client;
}

/* Options with a URL. */
static inline redmux_options options_for(const char *url)
{
    redmux_options options = {0};
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_options_set_url(options, url, NULL));
    return options;
}

static inline void options_put(redmux_options options, const char *key, const char *value)
{
    CHECK_OK(redmux_options_set(options, key, value, NULL));
}

static inline redmux_inbox inbox_new(redmux_client client)
{
    redmux_inbox inbox = {0};
    CHECK_OK(redmux_inbox_new(client, (redmux_options){0}, &inbox, NULL));
    return inbox;
}

static inline redmux_inbox inbox_new_callback(redmux_client client, redmux_block_fn callback, void *user,
                                              redmux_drop_fn drop)
{
    redmux_inbox inbox = {0};
    CHECK_OK(redmux_inbox_new_callback(client, (redmux_options){0}, callback, user, drop, &inbox, NULL));
    return inbox;
}

/* A subscription to one channel, active. */
static inline redmux_subscription subscribe(redmux_client client, redmux_inbox inbox, const char *name, uint64_t token)
{
    redmux_subscription subscription = {0};
    redmux_bytes names[1] = {bytes_of(name)};
    CHECK_OK(redmux_subscription_new(client, inbox, token, &subscription));
    CHECK_OK(redmux_subscription_add_wait(subscription, names, 1, WAIT_MS, NULL));
    return subscription;
}

/* Publishes through the client and returns how many received it. */
static inline uint64_t publish(redmux_client client, const char *channel, const char *data)
{
    uint64_t receivers = 0;
    CHECK_OK(redmux_client_publish_wait(client, (const uint8_t *)channel, strlen(channel), (const uint8_t *)data,
                                        strlen(data), WAIT_MS, &receivers, NULL));
    return receivers;
}

/* ---- reading an inbox, record by record ---- */

struct reader {
    redmux_inbox inbox;
    redmux_block block;
    size_t next;
};

static inline struct reader reader_of(redmux_inbox inbox)
{
    struct reader reader;
    memset(&reader, 0, sizeof reader);
    reader.inbox = inbox;
    return reader;
}

/* The next record, or NULL and why; valid until the next call. */
static inline const redmux_record *reader_next(struct reader *reader, int64_t timeout_ms, int32_t *status)
{
    while (reader->next >= reader->block.count) {
        int32_t taken = redmux_inbox_take(reader->inbox, timeout_ms, &reader->block);
        reader->next = 0;
        if (status != NULL)
            *status = taken;
        if (taken != REDMUX_OK)
            return NULL;
    }
    return &reader->block.records[reader->next++];
}

/* The next record of a kind, passing over others. Fails when it does not come in time. */
static inline const redmux_record *await_kind(struct reader *reader, int kind)
{
    int64_t end = now_ms() + WAIT_MS;
    for (;;) {
        int64_t left = end - now_ms();
        int32_t status = REDMUX_OK;
        const redmux_record *record = reader_next(reader, left > 0 ? left : 0, &status);
        char wanted[32];
        if (record != NULL && record->kind == kind)
            return record;
        snprintf(wanted, sizeof wanted, "kind %d", kind);
        if (record == NULL)
            check_failed(__FILE__, __LINE__, "the record comes", wanted, redmux_status_name(status));
    }
}

/* The next record of a kind and with a token, passing over others. */
static inline const redmux_record *await_token(struct reader *reader, int kind, uint64_t token)
{
    for (;;) {
        const redmux_record *record = await_kind(reader, kind);
        if (record->token == token)
            return record;
    }
}

/* Whether a part of a record is this text. */
static inline int part_is(const redmux_block *block, uint32_t off, uint32_t len, const char *text)
{
    return len == strlen(text) && (len == 0 || memcmp(block->data + off, text, len) == 0);
}

static inline int name_is(const redmux_block *block, const redmux_record *record, const char *text)
{
    return part_is(block, record->name_off, record->name_len, text);
}

static inline int data_is(const redmux_block *block, const redmux_record *record, const char *text)
{
    return part_is(block, record->data_off, record->data_len, text);
}

/* Copies the sentence of a record out as a C string. */
static inline const char *extra_of(const redmux_block *block, const redmux_record *record, char *out, size_t size)
{
    size_t len = record->extra_len < size ? record->extra_len : size - 1;
    if (len > 0)
        memcpy(out, block->data + record->extra_off, len);
    out[len] = '\0';
    return out;
}

static inline void reader_end(struct reader *reader)
{
    redmux_block_release(&reader->block);
    reader->next = 0;
}

/* ---- threads ---- */

static inline pthread_t thread_start(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, function, arg) == 0, "there is a thread");
    return thread;
}

static inline void thread_join(pthread_t thread)
{
    CHECK(pthread_join(thread, NULL) == 0, "the thread ends");
}

/* A number that threads wait for. struct flag flag = FLAG; */
struct flag {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    long value;
};

#define FLAG {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void flag_add(struct flag *flag, long more)
{
    pthread_mutex_lock(&flag->mutex);
    flag->value += more;
    pthread_cond_broadcast(&flag->changed);
    pthread_mutex_unlock(&flag->mutex);
}

static inline void flag_set(struct flag *flag, long value)
{
    pthread_mutex_lock(&flag->mutex);
    flag->value = value;
    pthread_cond_broadcast(&flag->changed);
    pthread_mutex_unlock(&flag->mutex);
}

static inline long flag_get(struct flag *flag)
{
    long value;
    pthread_mutex_lock(&flag->mutex);
    value = flag->value;
    pthread_mutex_unlock(&flag->mutex);
    return value;
}

/* Waits until the flag is at least so high; 0 if it is not in time. */
static inline int flag_reaches(struct flag *flag, long value, int timeout_ms)
{
    struct timespec until;
    int reached;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&flag->mutex);
    while (flag->value < value && pthread_cond_timedwait(&flag->changed, &flag->mutex, &until) == 0)
        continue;
    reached = flag->value >= value;
    pthread_mutex_unlock(&flag->mutex);
    return reached;
}

/* The same; it fails when it is not in time. */
#define FLAG_AWAIT(flag, value, sentence) CHECK(flag_reaches(flag, value, WAIT_MS), sentence)

/* A drop that counts its calls in the flag that is its user data. */
static inline void drop_counts(void *user)
{
    flag_add(user, 1);
}

#endif
