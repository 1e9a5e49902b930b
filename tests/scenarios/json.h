/* A small reader of JSON for the scenarios' runner: values with the text that they came from, so that an order can be
 * handed on as it was written. What is read lives until the program ends.
 */
#ifndef REDMUX_SCENARIO_JSON_H
#define REDMUX_SCENARIO_JSON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_OBJECT };

struct json {
    enum json_kind kind;
    double number;           /* also 1 and 0 of true and false */
    char *text;              /* of a string, with a NUL behind it */
    size_t len;
    const char *key;         /* in an object */
    struct json *first;      /* of a list or an object */
    struct json *next;       /* in the list or object that this is part of */
    const char *raw;         /* as it was written */
    size_t raw_len;
};

static inline void *json_room(size_t size)
{
    void *room = calloc(1, size);
    if (room == NULL)
        abort();
    return room;
}

static inline void json_space(const char **at)
{
    while (**at == ' ' || **at == '\n' || **at == '\t' || **at == '\r')
        ++*at;
}

static inline void json_utf8(struct json *out, unsigned long code)
{
    unsigned char *text = (unsigned char *)out->text;
    if (code < 0x80) {
        text[out->len++] = (unsigned char)code;
    } else if (code < 0x800) {
        text[out->len++] = (unsigned char)(0xc0 | code >> 6);
        text[out->len++] = (unsigned char)(0x80 | (code & 0x3f));
    } else {
        text[out->len++] = (unsigned char)(0xe0 | code >> 12);
        text[out->len++] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        text[out->len++] = (unsigned char)(0x80 | (code & 0x3f));
    }
}

static inline int json_string(const char **at, struct json *out)
{
    const char *end = ++*at;
    while (*end != '"' && *end != '\0')
        end += *end == '\\' && end[1] != '\0' ? 2 : 1;
    out->kind = JSON_STRING;
    out->text = json_room((size_t)(end - *at) + 1);
    for (; **at != '"'; ++*at) {
        if (**at == '\0')
            return 0;
        if (**at != '\\') {
            out->text[out->len++] = **at;
            continue;
        }
        switch (*++*at) {
        case 'n': out->text[out->len++] = '\n'; break;
        case 't': out->text[out->len++] = '\t'; break;
        case 'r': out->text[out->len++] = '\r'; break;
        case 'b': out->text[out->len++] = '\b'; break;
        case 'f': out->text[out->len++] = '\f'; break;
        case 'u': {
            char digits[5] = {0};
            strncpy(digits, *at + 1, 4);
            if (strlen(digits) != 4)
                return 0;
            json_utf8(out, strtoul(digits, NULL, 16));
            *at += 4;
            break;
        }
        default: out->text[out->len++] = **at;
        }
    }
    ++*at;
    return 1;
}

/* Reads one value; NULL where it is none. */
static inline struct json *json_read(const char **at)
{
    struct json *out = json_room(sizeof *out), **last = &out->first;
    char close = 0;
    json_space(at);
    out->raw = *at;
    if (**at == '"') {
        if (!json_string(at, out))
            return NULL;
    } else if (**at == '[' || **at == '{') {
        out->kind = **at == '[' ? JSON_LIST : JSON_OBJECT;
        close = **at == '[' ? ']' : '}';
        ++*at;
        for (json_space(at); **at != close; json_space(at)) {
            struct json key = {0}, *value;
            if (out->kind == JSON_OBJECT) {
                if (**at != '"' || !json_string(at, &key))
                    return NULL;
                json_space(at);
                if (*(*at)++ != ':')
                    return NULL;
            }
            value = json_read(at);
            if (value == NULL)
                return NULL;
            value->key = key.text;
            *last = value;
            last = &value->next;
            json_space(at);
            if (**at == ',')
                ++*at;
            else if (**at != close)
                return NULL;
        }
        ++*at;
    } else if (strncmp(*at, "true", 4) == 0 || strncmp(*at, "null", 4) == 0) {
        out->kind = **at == 't' ? JSON_BOOL : JSON_NULL;
        out->number = **at == 't';
        *at += 4;
    } else if (strncmp(*at, "false", 5) == 0) {
        out->kind = JSON_BOOL;
        *at += 5;
    } else {
        char *end;
        out->kind = JSON_NUMBER;
        out->number = strtod(*at, &end);
        if (end == *at)
            return NULL;
        *at = end;
    }
    out->raw_len = (size_t)(*at - out->raw);
    return out;
}

/* A member of an object, or NULL. */
static inline const struct json *json_get(const struct json *object, const char *key)
{
    const struct json *at = object != NULL && object->kind == JSON_OBJECT ? object->first : NULL;
    while (at != NULL && strcmp(at->key, key) != 0)
        at = at->next;
    return at;
}

static inline const char *json_text(const struct json *object, const char *key, const char *otherwise)
{
    const struct json *value = json_get(object, key);
    return value != NULL && value->kind == JSON_STRING ? value->text : otherwise;
}

static inline double json_number(const struct json *object, const char *key, double otherwise)
{
    const struct json *value = json_get(object, key);
    return value != NULL && (value->kind == JSON_NUMBER || value->kind == JSON_BOOL) ? value->number : otherwise;
}

static inline int json_equal(const struct json *one, const struct json *other)
{
    const struct json *a = one->first, *b = other->first;
    if (one->kind != other->kind)
        return 0;
    if (one->kind == JSON_STRING)
        return one->len == other->len && memcmp(one->text, other->text, one->len) == 0;
    for (; a != NULL && b != NULL; a = a->next, b = b->next)
        if (!json_equal(a, b) || (one->kind == JSON_OBJECT && strcmp(a->key, b->key) != 0))
            return 0;
    return a == NULL && b == NULL && one->number == other->number;
}

#endif
