/* A chat: rooms are channels, joined and left while it runs. Reads commands from standard input:
 *
 *     +room        join            -room        leave
 *     !room text   say             ?            which rooms am I in
 *     q            quit
 *
 *     ./chat redis://localhost
 */
#include <redmux.h>
#include <stdio.h>
#include <string.h>

static int32_t on_block(void *user, const redmux_block *block)
{
    (void)user;
    for (size_t i = 0; i < block->count; i++) {
        const redmux_record *r = &block->records[i];
        const char *data = (const char *)block->data;
        if (r->kind == REDMUX_KIND_MESSAGE)
            printf("[%.*s] %.*s\n", (int)r->name_len, data + r->name_off, (int)r->data_len, data + r->data_off);
        else if (r->kind == REDMUX_KIND_ACTIVE && r->name_len)
            printf("joined %.*s\n", (int)r->name_len, data + r->name_off);
        else if (r->kind == REDMUX_KIND_ACTIVE)
            printf("*connected again*\n");
        else if (r->kind == REDMUX_KIND_LOST)
            printf("*disconnected* %.*s\n", (int)r->extra_len, data + r->extra_off);
        else if (r->kind == REDMUX_KIND_DROPPED)
            printf("*%llu messages had no room*\n", (unsigned long long)r->number);
    }
    fflush(stdout);
    return 0;
}

static void say(redmux_client client, const char *room_and_text)
{
    const char *space = strchr(room_and_text, ' ');
    if (space)
        redmux_client_post(client, (const uint8_t *)room_and_text, (size_t)(space - room_and_text),
                           (const uint8_t *)space + 1, strlen(space + 1));
}

static void rooms(redmux_subscription chat)
{
    redmux_list *names = NULL;
    if (redmux_subscription_names(chat, &names) != REDMUX_OK)
        return;
    printf("in %zu rooms:", redmux_list_count(names));
    for (size_t i = 0; i < redmux_list_count(names); i++) {
        redmux_bytes name = redmux_list_item(names, i);
        printf(" %.*s", (int)name.len, (const char *)name.data);
    }
    printf("\n");
    fflush(stdout);
    redmux_list_free(names);
}

int main(int argc, char **argv)
{
    redmux_client client;
    redmux_inbox inbox;
    redmux_subscription chat;
    redmux_error *error = NULL;
    char line[4096];

    if (redmux_client_open(argc > 1 ? argv[1] : NULL, &client, &error) != REDMUX_OK) {
        fprintf(stderr, "%s\n", redmux_error_message(error));
        redmux_error_free(error);
        return 1;
    }
    redmux_inbox_new_callback(client, (redmux_options){0}, on_block, NULL, NULL, &inbox, NULL);
    redmux_subscription_new(client, inbox, 0, &chat);
    while (fgets(line, sizeof line, stdin)) {
        redmux_bytes room = {(const uint8_t *)line + 1, 0};
        line[strcspn(line, "\n")] = 0;
        room.len = line[0] ? strlen(line + 1) : 0;
        if (line[0] == 'q')
            break;
        if (line[0] == '+' && redmux_subscription_add_wait(chat, &room, 1, 0, &error) != REDMUX_OK) {
            printf("%s\n", redmux_error_message(error));
            redmux_error_free(error);
            error = NULL;
        }
        if (line[0] == '-')
            redmux_subscription_remove_wait(chat, &room, 1, 0, NULL);
        if (line[0] == '!')
            say(client, line + 1);
        if (line[0] == '?')
            rooms(chat);
    }
    return redmux_client_close(client, 1000) == REDMUX_OK ? 0 : 1;
}
