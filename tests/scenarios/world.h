/* What a scenario stands on: programs that are talked to in lines of JSON (fixtures and other processes of the
 * scenario), bytes as a step writes them, and the way a step fails.
 */
#ifndef REDMUX_SCENARIO_WORLD_H
#define REDMUX_SCENARIO_WORLD_H

#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- failing ---- */

static const char *scenario_file; /* NULL in a process that another one tells its steps */

/* Says what went otherwise and ends the program; the fixtures end with it. */
static inline void fail(const struct json *step, const char *format, ...)
{
    char text[2000];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (scenario_file == NULL) {
        printf("{\"error\":\"");
        for (const char *at = text; *at != '\0'; at++)
            printf(*at == '"' || *at == '\\' ? "\\%c" : "%c", (unsigned char)*at < 0x20 ? ' ' : *at);
        printf("\"}\n");
    } else {
        fprintf(stderr, "%s: %.*s\n    %s\n", scenario_file, step != NULL ? (int)step->raw_len : 0,
                step != NULL ? step->raw : "", text);
    }
    fflush(NULL);
    _exit(1);
}

/* ---- bytes ---- */

struct bytes {
    char *data;
    size_t len;
};

static inline int hex_digit(char digit)
{
    return digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10;
}

/* A string with its {n} filled in, {"hex":"00ff"}, or {"fill":1000}. */
static inline struct bytes bytes_of(const struct json *value, long n)
{
    struct bytes out = {0};
    if (value == NULL) {
        out.data = json_room(1);
    } else if (value->kind == JSON_STRING) {
        const char *mark = strstr(value->text, "{n}");
        out.data = json_room(value->len + 24);
        if (mark == NULL)
            memcpy(out.data, value->text, out.len = value->len);
        else
            out.len = (size_t)sprintf(out.data, "%.*s%ld%s", (int)(mark - value->text), value->text, n, mark + 3);
    } else if (json_get(value, "hex") != NULL) {
        const struct json *hex = json_get(value, "hex");
        out.data = json_room(hex->len / 2 + 1);
        for (; out.len < hex->len / 2; out.len++)
            out.data[out.len] = (char)(hex_digit(hex->text[2 * out.len]) << 4 | hex_digit(hex->text[2 * out.len + 1]));
    } else {
        out.len = (size_t)json_number(value, "fill", 0);
        out.data = json_room(out.len + 1);
        memset(out.data, 'x', out.len);
    }
    return out;
}

static inline int same(struct bytes one, const void *data, size_t len)
{
    return one.len == len && (len == 0 || memcmp(one.data, data, len) == 0);
}

/* ---- programs ---- */

struct program {
    char name[32];
    pid_t pid;
    FILE *in;
    FILE *out;
    struct json *first; /* of a fixture: where its server is */
    int killed;
};

static inline struct json *program_read(struct program *program)
{
    char *line = NULL;
    size_t size = 0;
    const char *at;
    struct json *value;
    if (getline(&line, &size, program->out) <= 0)
        fail(NULL, "%s said nothing and ended", program->name);
    at = line;
    value = json_read(&at);
    if (value == NULL)
        fail(NULL, "%s said: %s", program->name, line);
    return value;
}

static inline void program_start(struct program *program, char *const *argv)
{
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0)
        fail(NULL, "there are no pipes: %s", strerror(errno));
    fcntl(in[1], F_SETFD, FD_CLOEXEC);
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    program->pid = fork();
    if (program->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]);
        close(out[1]);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    program->in = fdopen(in[1], "w");
    program->out = fdopen(out[0], "r");
}

static inline int program_end(struct program *program)
{
    int status = 0;
    fclose(program->in);
    while (waitpid(program->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    fclose(program->out);
    return program->killed ? 0 : status;
}

/* ---- time ---- */

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Between two questions to the world whether it is so by now. */
static inline void breathe(void)
{
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
}

#endif
