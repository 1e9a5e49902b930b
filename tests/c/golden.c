/* Decodes the golden blocks with the header's own structs, and holds the layout of both structs.
 *
 * It prints what it finds in the canonical spelling of docs/records.md and compares it with NAME.json byte by byte, so
 * it needs no reader of JSON. Compiled with -D_POSIX_C_SOURCE=200809L. Usage: golden [folder]; without one, tests/golden. */
#include <redmux.h>

#include <dirent.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define EXPECT(condition) \
    ((condition) ? (void)0 : (void)(failures++, fprintf(stderr, "golden.c:%d: %s\n", __LINE__, #condition)))

static const char *const kinds[] = {"message",  "active",   "lost",    "dropped", "done",   "published", "promise",
                                    "refused",  "request",  "cancel",  "accepted", "answer", "end",       "mail",
                                    "gap",      "question", "log",     "state",    "closed"};

/* A file in memory, with a NUL behind it; exits when it cannot be read. */
static char *slurp(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t size = 0;
    *len = 0;
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    do {
        size = size * 2 + 4096;
        bytes = realloc(bytes, size);
        if (bytes == NULL) {
            abort();
        }
        *len += fread(bytes + *len, 1, size - 1 - *len, file);
    } while (*len == size - 1);
    bytes[*len] = '\0';
    fclose(file);
    return bytes;
}

/* One part; a part that does not lie in the data is spelled as an error, which no file holds. */
static void spell(FILE *out, const char *key, const redmux_block *block, uint32_t off, uint32_t len) {
    const uint8_t *at = block->data + off;
    int plain = 1;
    uint32_t i;
    fprintf(out, ",\"%s\":", key);
    if ((uint64_t)off + len > block->data_len || (len == 0 && off != 0)) {
        fprintf(out, "OUT OF RANGE");
        return;
    }
    for (i = 0; i < len; i++) {
        plain = plain && at[i] >= 0x20 && at[i] <= 0x7e;
    }
    fprintf(out, plain ? "\"" : "{\"hex\":\"");
    for (i = 0; i < len; i++) {
        if (plain) {
            fprintf(out, "%s%c", at[i] == '"' || at[i] == '\\' ? "\\" : "", at[i]);
        } else {
            fprintf(out, "%02x", (unsigned)at[i]);
        }
    }
    fprintf(out, plain ? "\"" : "\"}");
}

static void print_record(FILE *out, const redmux_block *block, const redmux_record *r) {
    if (r->kind >= 1 && r->kind <= sizeof kinds / sizeof kinds[0]) {
        fprintf(out, "{\"is\":\"%s\"", kinds[r->kind - 1]);
    } else {
        fprintf(out, "{\"is\":null");
    }
    fprintf(out, ",\"kind\":%u,\"flags\":%u,\"status\":%" PRId32, (unsigned)r->kind, (unsigned)r->flags, r->status);
    fprintf(out, ",\"source\":%" PRIu64 ",\"token\":%" PRIu64, r->source, r->token);
    fprintf(out, ",\"number\":%" PRIu64 ",\"aux\":%" PRIu64, r->number, r->aux);
    fprintf(out, ",\"name_off\":%" PRIu32 ",\"name_len\":%" PRIu32, r->name_off, r->name_len);
    fprintf(out, ",\"extra_off\":%" PRIu32 ",\"extra_len\":%" PRIu32, r->extra_off, r->extra_len);
    fprintf(out, ",\"data_off\":%" PRIu32 ",\"data_len\":%" PRIu32, r->data_off, r->data_len);
    spell(out, "name", block, r->name_off, r->name_len);
    spell(out, "extra", block, r->extra_off, r->extra_len);
    spell(out, "data", block, r->data_off, r->data_len);
    fprintf(out, "}");
}

static void check(const char *folder, const char *file) {
    char path[1024], *json, *bin, *found = NULL, *records_end;
    size_t json_len, bin_len, found_len = 0, i;
    redmux_block block;
    redmux_record *records;
    FILE *out;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    json = slurp(path, &json_len);
    snprintf(path, sizeof path, "%s/%.*s.bin", folder, (int)(strlen(file) - strlen(".json")), file);
    bin = slurp(path, &bin_len);

    memset(&block, 0, sizeof block);
    records_end = strstr(json, "\"count\": ");
    block.count = records_end == NULL ? 0 : (size_t)strtoul(records_end + strlen("\"count\": "), NULL, 10);
    EXPECT(block.count > 0 && block.count * sizeof(redmux_record) <= bin_len);
    if (block.count == 0 || block.count * sizeof(redmux_record) > bin_len) {
        exit(1);
    }
    records = malloc(block.count * sizeof *records);
    if (records == NULL) {
        abort();
    }
    memcpy(records, bin, block.count * sizeof *records);
    block.records = records;
    block.data = (const uint8_t *)bin + block.count * sizeof *records;
    block.data_len = bin_len - block.count * sizeof *records;

    out = open_memstream(&found, &found_len);
    if (out == NULL) {
        abort();
    }
    /* The line for a person is taken over; everything else is what the block says. */
    fprintf(out, "%.*s", (int)(records_end - json), json);
    fprintf(out, "\"count\": %zu,\n\"data_len\": %zu,\n\"records\": [\n", block.count, block.data_len);
    for (i = 0; i < block.count; i++) {
        print_record(out, &block, &block.records[i]);
        fprintf(out, i + 1 == block.count ? "\n" : ",\n");
    }
    fprintf(out, "]\n}\n");
    fclose(out);
    if (found_len != json_len || memcmp(found, json, json_len) != 0) {
        failures++;
        fprintf(stderr, "%s: expected\n%s\nfound\n%s\n", file, json, found);
    }
    free(found);
    free(records);
    free(bin);
    free(json);
}

static void layout(void) {
    EXPECT(sizeof(redmux_record) == 64);
    EXPECT(offsetof(redmux_record, kind) == 0 && offsetof(redmux_record, flags) == 2);
    EXPECT(offsetof(redmux_record, status) == 4 && offsetof(redmux_record, source) == 8);
    EXPECT(offsetof(redmux_record, token) == 16 && offsetof(redmux_record, number) == 24);
    EXPECT(offsetof(redmux_record, aux) == 32);
    EXPECT(offsetof(redmux_record, name_off) == 40 && offsetof(redmux_record, name_len) == 44);
    EXPECT(offsetof(redmux_record, extra_off) == 48 && offsetof(redmux_record, extra_len) == 52);
    EXPECT(offsetof(redmux_record, data_off) == 56 && offsetof(redmux_record, data_len) == 60);
    if (sizeof(void *) == 8) {
        EXPECT(sizeof(redmux_block) == 56);
        EXPECT(offsetof(redmux_block, id) == 0 && offsetof(redmux_block, inbox) == 8);
        EXPECT(offsetof(redmux_block, records) == 16 && offsetof(redmux_block, count) == 24);
        EXPECT(offsetof(redmux_block, data) == 32 && offsetof(redmux_block, data_len) == 40);
        EXPECT(offsetof(redmux_block, more) == 48 && offsetof(redmux_block, status) == 52);
    }
    EXPECT(REDMUX_KIND_MESSAGE == 1 && REDMUX_KIND_CLOSED == 19 && REDMUX_FLAG_PATTERN == 1);
    EXPECT(REDMUX_FLAG_NAME == 1);
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "tests/golden";
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int blocks = 0;
    if (dir == NULL) {
        perror(folder);
        return 1;
    }
    layout();
    while ((entry = readdir(dir)) != NULL) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, ".json") == 0) {
            check(folder, entry->d_name);
            blocks++;
        }
    }
    closedir(dir);
    EXPECT(blocks >= 8);
    return failures == 0 ? 0 : 1;
}
