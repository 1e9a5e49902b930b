/* Rules 4 and 5: bytes in are a pointer and a length, borrowed for the call and copied inside it, NULL only with length
 * 0, and may be any byte; bytes out are a view that stays until the thing named is freed.
 */
#include "check.h"

static const uint8_t odd_name[] = {0, 0xff, 'n', '\r', '\n', 0x80, 0};
static const uint8_t odd_data[] = {0xc3, 0x28, 0, 0, '$', '5', '\r', '\n', 0xfe};

static void names_and_payloads_hold_any_byte(redmux_client client)
{
    redmux_inbox inbox = inbox_new(client);
    struct reader reader = reader_of(inbox);
    redmux_subscription subscription = {0};
    redmux_bytes names[2] = {{odd_name, sizeof odd_name}, {NULL, 0}};
    redmux_list *list = NULL;
    const redmux_record *record;
    redmux_bytes first, second;

    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    CHECK_OK(redmux_subscription_add_wait(subscription, names, 2, WAIT_MS, NULL));

    CHECK_OK(redmux_client_publish_wait(client, odd_name, sizeof odd_name, odd_data, sizeof odd_data, WAIT_MS, NULL,
                                        NULL));
    record = await_kind(&reader, REDMUX_KIND_MESSAGE);
    CHECK(record->name_len == sizeof odd_name &&
              memcmp(reader.block.data + record->name_off, odd_name, sizeof odd_name) == 0,
          "the name comes back as it went in");
    CHECK(record->data_len == sizeof odd_data &&
              memcmp(reader.block.data + record->data_off, odd_data, sizeof odd_data) == 0,
          "the payload comes back as it went in");

    /* The empty name and the empty payload, as NULL with length 0. */
    CHECK_OK(redmux_client_publish_wait(client, NULL, 0, NULL, 0, WAIT_MS, NULL, NULL));
    record = await_kind(&reader, REDMUX_KIND_MESSAGE);
    CHECK_EQ(0, record->name_len, "an empty name is a name");
    CHECK_EQ(0, record->data_len, "an empty payload is a payload");
    CHECK(record->name_off == 0 && record->data_off == 0, "an empty part has offset 0");

    CHECK_OK(redmux_subscription_names(subscription, &list));
    CHECK_EQ(2, redmux_list_count(list), "both names are wanted");
    first = redmux_list_item(list, 0);
    second = redmux_list_item(list, 1);
    CHECK_EQ(sizeof odd_name, first.len + second.len, "the list holds the bytes");
    CHECK(memcmp(first.len > 0 ? first.data : second.data, odd_name, sizeof odd_name) == 0, "the list holds the bytes");
    CHECK_EQ(0, redmux_list_item(list, 2).len, "beyond its end a list is empty");
    CHECK(redmux_list_item(list, (size_t)-1).data != NULL, "empty bytes that come out are not NULL");

    /* What came out of a list stays after the subscription and its inbox are closed. */
    reader_end(&reader);
    CHECK_OK(redmux_subscription_close(subscription));
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    CHECK(memcmp(first.len > 0 ? first.data : second.data, odd_name, sizeof odd_name) == 0, "bytes stay until the free");
    redmux_list_free(list);
}

/* The caller's memory is overwritten as soon as the call returns. */
static void what_goes_in_is_copied_inside_the_call(redmux_client client)
{
    redmux_inbox inbox = inbox_new(client);
    struct reader reader = reader_of(inbox);
    redmux_subscription subscription = {0}, pattern = {0};
    redmux_promises promises = {0};
    char name[] = "copied", data[] = "payload", prefix[] = "pre:", suffix[] = "fix", glob[] = "cop*";
    redmux_bytes names[1];
    const redmux_record *record;

    names[0] = bytes_of(name);
    CHECK_OK(redmux_subscription_new(client, inbox, 1, &subscription));
    CHECK_OK(redmux_subscription_add(subscription, names, 1, inbox, 2, WAIT_MS));
    memset(name, 'x', sizeof name - 1);
    names[0] = bytes_of("elsewhere");
    CHECK(name_is(&reader.block, await_token(&reader, REDMUX_KIND_DONE, 2), ""), "the add is done");

    CHECK_OK(redmux_subscription_new_pattern(client, inbox, (uint8_t *)glob, 4, 3, inbox, 4, WAIT_MS, &pattern));
    memset(glob, 'x', 4);
    CHECK_EQ(0, await_token(&reader, REDMUX_KIND_DONE, 4)->status, "the pattern is active");

    memcpy(name, "copied", 6);
    CHECK_OK(redmux_client_publish(client, (uint8_t *)name, 6, (uint8_t *)data, 7, inbox, 5, WAIT_MS));
    memset(name, 'x', 6);
    memset(data, 'x', 7);
    record = await_token(&reader, REDMUX_KIND_MESSAGE, 1);
    CHECK(name_is(&reader.block, record, "copied") && data_is(&reader.block, record, "payload"), "a publish is copied");
    record = await_token(&reader, REDMUX_KIND_MESSAGE, 3);
    CHECK(part_is(&reader.block, record->extra_off, record->extra_len, "cop*"), "a pattern is copied");

    memcpy(name, "copied", 6);
    memcpy(data, "posting", 7);
    CHECK_OK(redmux_client_post(client, (uint8_t *)name, 6, (uint8_t *)data, 7));
    memset(name, 'x', 6);
    memset(data, 'x', 7);
    record = await_token(&reader, REDMUX_KIND_MESSAGE, 1);
    CHECK(data_is(&reader.block, record, "posting"), "a post is copied");

    CHECK_OK(redmux_promises_new(client, inbox, (uint8_t *)prefix, 4, 6, &promises));
    memset(prefix, 'x', 4);
    CHECK_OK(redmux_promises_make_later(promises, (uint8_t *)suffix, 3, inbox, 7, WAIT_MS, WAIT_MS));
    memset(suffix, 'x', 3);
    CHECK_OK(redmux_promises_active_wait(promises, WAIT_MS, NULL));
    CHECK_EQ(1, publish(client, "pre:fix", "kept"), "the promise is in effect");
    record = await_token(&reader, REDMUX_KIND_PROMISE, 7);
    CHECK(name_is(&reader.block, record, "pre:fix") && data_is(&reader.block, record, "kept"), "a promise is copied");
    CHECK_EQ(4, record->aux, "the prefix is as long as it was");

    reader_end(&reader);
    CHECK_OK(redmux_inbox_close(inbox, WAIT_MS));
    redmux_subscription_close(subscription);
    redmux_subscription_close(pattern);
    redmux_promises_close(promises);
}

static void a_c_string_is_copied_too(const char *url)
{
    char copy[128];
    redmux_client client = {0};
    redmux_options options = {0};
    redmux_text *text = NULL;
    snprintf(copy, sizeof copy, "%s", url);
    CHECK_OK(redmux_client_open(copy, &client, NULL));
    memset(copy, 'x', strlen(copy));
    CHECK_OK(redmux_client_ready_wait(client, WAIT_MS, NULL));
    CHECK_OK(redmux_client_close(client, WAIT_MS));

    strcpy(copy, "mine");
    CHECK_OK(redmux_options_new(&options));
    CHECK_OK(redmux_options_set(options, "name", copy, NULL));
    memset(copy, 'x', 4);
    CHECK_OK(redmux_options_get(options, "name", &text, NULL));
    CHECK(strcmp((const char *)redmux_text_bytes(text).data, "mine") == 0, "a value is copied, and a NUL stands behind");
    CHECK_EQ(4, redmux_text_bytes(text).len, "the NUL is not counted");
    redmux_options_free(options);
    CHECK(strcmp((const char *)redmux_text_bytes(text).data, "mine") == 0, "text stays until it is freed");
    redmux_text_free(text);
}

int main(void)
{
    struct fixture fixture;
    redmux_client client;
    fixture_start(&fixture, NULL);
    client = client_open(fixture.url);
    names_and_payloads_hold_any_byte(client);
    what_goes_in_is_copied_inside_the_call(client);
    CHECK_OK(redmux_client_close(client, WAIT_MS));
    a_c_string_is_copied_too(fixture.url);
    CHECK_EQ(0, redmux_debug_live(), "nothing is left");
    fixture_end(&fixture);
    return 0;
}
