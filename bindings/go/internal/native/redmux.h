/**
 * @file redmux.h
 * redmux: one Redis connection, every conversation.
 *
 * A client holds one subscriber connection and one publish connection and makes them again for ever. What you ask for
 * (subscriptions, promises, publishes) returns at once; everything that comes of it arrives as records in an inbox that
 * you name. You drain an inbox by taking blocks of records, or give it a callback. This page is all you need.
 *
 * The shortest program, without its error handling (`cc news.c $(pkg-config --cflags --libs redmux)`, for a server from
 * Redis 7.0 on):
 *
 *     redmux_client client;
 *     redmux_inbox inbox;
 *     redmux_subscription news;
 *     redmux_bytes names[1] = {{(const uint8_t *)"news", 4}};
 *     redmux_block block = {0};
 *     redmux_client_open("redis://localhost", &client, NULL);
 *     redmux_inbox_new(client, (redmux_options){0}, &inbox, NULL);
 *     redmux_subscription_new(client, inbox, 7, &news);
 *     redmux_subscription_add_wait(news, names, 1, 0, NULL);
 *     while (redmux_inbox_take(inbox, -1, &block) == REDMUX_OK) {
 *         for (size_t i = 0; i < block.count; i++) {
 *             const redmux_record *r = &block.records[i];
 *             if (r->kind == REDMUX_KIND_MESSAGE)
 *                 printf("%.*s\n", (int)r->data_len, (const char *)block.data + r->data_off);
 *         }
 *     }
 *     redmux_block_release(&block);
 *     redmux_client_close(client, 1000);
 *
 * Rules that hold everywhere:
 * - Handles are numbers in a struct, never addresses. {0} is none. A closed, stale or forged handle gives
 *   REDMUX_ERR_CLOSED, from any thread, at any time; one inherited over a fork gives REDMUX_ERR_FORKED: open a new
 *   client in the child.
 * - Every call answers with a status: REDMUX_OK is 0, errors are negative. Results are written only on success.
 * - Calls with a last parameter out_error give a sentence besides: what happened, to what, and what to do. It is written
 *   only when the call fails, so begin with redmux_error *error = NULL; redmux_error_free(NULL) is allowed.
 * - What goes in is borrowed for the call and copied. Names and payloads may hold any byte and have a length; C strings
 *   are used for URLs, option keys and values only.
 * - An operation ends exactly once, as one record with your token: done, published or promise. Its room is reserved
 *   when it is asked for (REDMUX_ERR_FULL if there is none), so it is never dropped. Only messages are ever dropped,
 *   when an inbox is full, and each hole is a dropped record with the exact count.
 * - timeout_ms of an operation: 0 is the client's option timeout (10 s), -1 is for ever. Where a call itself waits (take,
 *   wait, close, shutdown), 0 does not wait and -1 waits for ever. Another negative number is REDMUX_ERR_INVALID_ARGUMENT.
 * - Everything may be called from any thread and inside callbacks. What blocks returns REDMUX_ERR_WOULD_DEADLOCK inside a
 *   callback: the ..._wait functions, redmux_shutdown, and a take or redmux_client_wait whose timeout_ms is not 0.
 * - A signal does not end a wait, and no function may be called in a signal handler or in one of pthread_atfork. To end a
 *   waiting take, close its inbox or client on another thread; or poll redmux_client_fd beside a descriptor of your own.
 * - A thread that waits alone in the process may do the work of redmux-io, the library's own thread, meanwhile: it reads and
 *   writes the sockets, and calls no callback. So it must not be cancelled (pthread_cancel) or left by a longjmp.
 * - Each handle is released by its own call. Closing a client ends its inboxes and sources, but their handles stay, and
 *   inboxes can still be emptied, until they are closed too.
 * - The library never prints, installs no signal handler and no atexit handler, raises no SIGPIPE, and a process may exit
 *   at any moment.
 *
 * Pub/Sub is at most once: what is published while the connection is away is missing. The library says when: each
 * subscription gets one lost record at once and active when it is whole again. What is missing lies between the last
 * record before lost and the renewed acknowledgement. Nothing has to be done: the connection is tried again for ever,
 * after pauses that grow up to the option backoff_max (5 s), and everything wanted is subscribed again.
 */

#ifndef REDMUX_H
#define REDMUX_H

/* Written by cbindgen from src/ffi (`make header`). Do not edit. */

#include <stddef.h>
#include <stdint.h>

/** The version of this header. redmux_version_string() tells the library's. */
#define REDMUX_VERSION "0.1.0"


/**
 * A message. name: channel; extra: the pattern that matched, if any; data: payload; number: the channel name's
 * number (0 for a pattern's message), equal for equal names and never used again; aux: when it was read, unix ns.
 */
#define REDMUX_KIND_MESSAGE 1

/**
 * With REDMUX_FLAG_NAME: after an add, the server has name now (name: the channel or pattern; for a promise set its prefix
 * as a pattern; number: its number). Without: after lost, the source is whole again, and its names are not told one by
 * one; number: how often the link came up, the first time included; aux: how long the outage took, ns.
 */
#define REDMUX_KIND_ACTIVE 2

/**
 * The connection was lost: what was published from the last record before this one until the next active may be
 * missing. Each source that was there gets one, also one without names. status: why (REDMUX_ERR_LINK_LOST,
 * REDMUX_ERR_PING_TIMEOUT, REDMUX_ERR_PROTOCOL, REDMUX_ERR_REDIS); extra: a sentence; number: how many outages are merged
 * here; aux: when the last byte came, unix ns.
 */
#define REDMUX_KIND_LOST 3

/**
 * Messages that had no room, exactly here. number: how many; status: 0, or REDMUX_ERR_TOO_LARGE for a message over
 * max_payload. In the event inbox: posts that were lost.
 */
#define REDMUX_KIND_DROPPED 4

/**
 * An operation ended. status: how; number and aux: see the function; extra: a sentence where it failed, if there is one.
 */
#define REDMUX_KIND_DONE 5

/**
 * A publish ended. number: how many received it; status: 0, REDMUX_ERR_NOT_SENT, REDMUX_ERR_UNKNOWN,
 * REDMUX_ERR_CANCELLED, REDMUX_ERR_REFUSED or REDMUX_ERR_REDIS; extra: a sentence where it failed.
 */
#define REDMUX_KIND_PUBLISHED 6

/**
 * A promise ended. name: its channel, prefix included; data: the message; aux: the length of its set's prefix, if the
 * message came, else 0; status: 0, REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED, REDMUX_ERR_INTERRUPTED, REDMUX_ERR_CLOSED,
 * REDMUX_ERR_TOO_LARGE, REDMUX_ERR_REFUSED, REDMUX_ERR_OVERFLOW or REDMUX_ERR_INTERNAL (as in closed of its set).
 */
#define REDMUX_KIND_PROMISE 7

/**
 * The server refused a name. name: which; extra: Redis' error word; token: of the add that asked for it, else the
 * source's. It is tried again now and then (option refused_retry), and active with the name says that it was allowed.
 */
#define REDMUX_KIND_REFUSED 8

/**
 * A request to answer, with redmux_responder_answer, _end or _fail. source and token: the responder's; number: its ticket;
 * aux: when its asker stops waiting, unix ns; name: the service; extra: JSON, of which id, from (who asks), attempt and h
 * (headers) are for you; data: the body. With REDMUX_FLAG_AGAIN it was sent again.
 */
#define REDMUX_KIND_REQUEST 9

/**
 * Nobody waits for the answer to a request any more. number: its ticket, which still has to be ended; status:
 * REDMUX_ERR_CANCELLED, REDMUX_ERR_TIMEOUT, or REDMUX_ERR_CLOSED if the responder was closed (then it has ended).
 */
#define REDMUX_KIND_CANCEL 10

/**
 * A responder took a request of yours (with the option accepted). source and token: the gather's; number: how many have by
 * now; extra: JSON with by (which responder) and name (its client's name).
 */
#define REDMUX_KIND_ACCEPTED 11

/**
 * An answer. source and token: the gather's; number: its number within its responder, from 0; aux: when it was read, unix
 * ns; name: the service; extra: JSON with by (which responder), name (its client's name), h (headers); data: the body. With
 * REDMUX_FLAG_LAST it is the last of its responder. With REDMUX_FLAG_FAILED it is an error: status is
 * REDMUX_ERR_REMOTE or REDMUX_ERR_FULL, and extra also has code, message and retriable.
 */
#define REDMUX_KIND_ANSWER 12

/**
 * A gather ended: its last record, always. source and token: the gather's; number: why, a REDMUX_REASON; status: 0 or what a
 * caller would raise; aux: how long it took, ns; extra: JSON with expected (how many received it, or null), answers, errors,
 * missing (by and name of who accepted and did not finish), missing_count, duplicates, late, and message where a status says
 * more.
 */
#define REDMUX_KIND_END 13

/**
 * A message of a mailbox (not delivered by this version).
 */
#define REDMUX_KIND_MAIL 14

/**
 * Mail that can no longer be had (not delivered by this version).
 */
#define REDMUX_KIND_GAP 15

/**
 * The library asks you, in the event inbox. name: "address" or "credentials"; number: the id for
 * redmux_question_answer; aux: until when, unix ns.
 */
#define REDMUX_KIND_QUESTION 16

/**
 * A line of log, in the event inbox. number: REDMUX_LOG_...; extra: the line; aux: when, unix ns.
 */
#define REDMUX_KIND_LOG 17

/**
 * The client's state changed, in the event inbox. number: REDMUX_STATE_...; source: the client, or the inbox that is
 * slow; status and extra: why; aux: when, unix ns.
 */
#define REDMUX_KIND_STATE 18

/**
 * A source ended; its last record. status: 0, or why it was closed (REDMUX_ERR_CLOSED with its client,
 * REDMUX_ERR_OVERFLOW, REDMUX_ERR_INTERNAL, or why a pattern could not be added).
 */
#define REDMUX_KIND_CLOSED 19

/**
 * In flags of a message: a pattern matched it, which stands in extra.
 */
#define REDMUX_FLAG_PATTERN 1

/**
 * In flags of active: it is about one name, which may be empty, and not about the whole source.
 */
#define REDMUX_FLAG_NAME 1

/**
 * On answer: the last one of its responder.
 */
#define REDMUX_FLAG_LAST 1

/**
 * On answer: it is an error.
 */
#define REDMUX_FLAG_FAILED 2

/**
 * On request: it was sent again, after a connection was lost.
 */
#define REDMUX_FLAG_AGAIN 1

/**
 * Nobody serves it.
 */
#define REDMUX_REASON_NO_RESPONDERS 1

/**
 * Everybody who took it has finished.
 */
#define REDMUX_REASON_ALL 2

/**
 * As many answers as the option expect says.
 */
#define REDMUX_REASON_COUNT 3

/**
 * You had what you wanted (redmux_gather_stop).
 */
#define REDMUX_REASON_PREDICATE 4

/**
 * No new answer for as long as the option quiet says.
 */
#define REDMUX_REASON_QUIET 5

/**
 * The time was over.
 */
#define REDMUX_REASON_DEADLINE 6

/**
 * You gave it up (redmux_gather_stop, redmux_inbox_cancel).
 */
#define REDMUX_REASON_CANCELLED 7

/**
 * The client or the inbox was closed.
 */
#define REDMUX_REASON_CLOSED 8

/**
 * A connection was lost while it waited, or it could not be sent.
 */
#define REDMUX_REASON_INTERRUPTED 9

/**
 * Everybody who took it answered with an error.
 */
#define REDMUX_REASON_FAILED 10

/**
 * More answers came than there was room for.
 */
#define REDMUX_REASON_OVERFLOW 11

/**
 * A connection is being made.
 */
#define REDMUX_STATE_CONNECTING 1

/**
 * The subscriber link is up.
 */
#define REDMUX_STATE_ONLINE 2

/**
 * The subscriber link is down; it is being made again.
 */
#define REDMUX_STATE_OFFLINE 3

/**
 * Stopped by the application.
 */
#define REDMUX_STATE_STOPPED 4

/**
 * An inbox is full: messages are being dropped. source is its id.
 */
#define REDMUX_STATE_SLOW_CONSUMER 5

/**
 * The publish link is up.
 */
#define REDMUX_STATE_PUBLISH_ONLINE 6

/**
 * The publish link is down; it is being made again.
 */
#define REDMUX_STATE_PUBLISH_OFFLINE 7

/**
 * Every wanted name is active or refused.
 */
#define REDMUX_STATE_SUBSCRIBED 8

/**
 * Something was lost or cannot work.
 */
#define REDMUX_LOG_ERROR 1

/**
 * Something was refused, retried or dropped.
 */
#define REDMUX_LOG_WARN 2

/**
 * The life of the links.
 */
#define REDMUX_LOG_INFO 3

/**
 * Everything else.
 */
#define REDMUX_LOG_DEBUG 4

/**
 * No event inbox.
 */
#define REDMUX_EVENTS_NONE 0

/**
 * An event inbox that is drained by taking blocks.
 */
#define REDMUX_EVENTS_TAKE 1

/**
 * An event inbox that hands its blocks to a callback.
 */
#define REDMUX_EVENTS_CALLBACK 2

/**
 * Success.
 */
#define REDMUX_OK 0

/**
 * An argument is NULL, empty, out of range or not a known value.
 */
#define REDMUX_ERR_INVALID_ARGUMENT -100

/**
 * No option has that key; the message names the nearest.
 */
#define REDMUX_ERR_UNKNOWN_OPTION -101

/**
 * The option exists and the value does not fit it.
 */
#define REDMUX_ERR_INVALID_VALUE -102

/**
 * The URL or connection string cannot be read.
 */
#define REDMUX_ERR_INVALID_URL -103

/**
 * This build was made without the feature.
 */
#define REDMUX_ERR_NOT_BUILT -104

/**
 * The handle is closed, stale or was never given out.
 */
#define REDMUX_ERR_CLOSED -200

/**
 * The handle was made by the parent of this process; open a new client here.
 */
#define REDMUX_ERR_FORKED -201

/**
 * Another thread is inside this inbox; an inbox has one taker at a time.
 */
#define REDMUX_ERR_BUSY -202

/**
 * The call would wait for itself; it was made inside a callback.
 */
#define REDMUX_ERR_WOULD_DEADLOCK -203

/**
 * The promise set is not subscribed at this moment.
 */
#define REDMUX_ERR_INACTIVE -204

/**
 * Cancelled by the caller.
 */
#define REDMUX_ERR_CANCELLED -205

/**
 * A later remove won over this add.
 */
#define REDMUX_ERR_SUPERSEDED -206

/**
 * The client is stopped.
 */
#define REDMUX_ERR_STOPPED -207

/**
 * Only a stopped client can be started again.
 */
#define REDMUX_ERR_NOT_STOPPED -208

/**
 * The service or name is already served by this client.
 */
#define REDMUX_ERR_ALREADY_SUBSCRIBED -209

/**
 * What is asked cannot live beside what is there.
 */
#define REDMUX_ERR_CONFLICT -210

/**
 * No connection could be made.
 */
#define REDMUX_ERR_CONNECT -300

/**
 * The host name could not be resolved.
 */
#define REDMUX_ERR_RESOLVE -301

/**
 * TLS could not be agreed; the message says which part failed.
 */
#define REDMUX_ERR_TLS -302

/**
 * The connection was lost.
 */
#define REDMUX_ERR_LINK_LOST -303

/**
 * The connection was lost while this was waiting.
 */
#define REDMUX_ERR_INTERRUPTED -304

/**
 * Never given to the kernel; it is safe to send again.
 */
#define REDMUX_ERR_NOT_SENT -305

/**
 * Sent, and the connection was lost before the answer came.
 */
#define REDMUX_ERR_UNKNOWN -306

/**
 * The server sent something that is not RESP3.
 */
#define REDMUX_ERR_PROTOCOL -307

/**
 * The server did not answer a PING in time.
 */
#define REDMUX_ERR_PING_TIMEOUT -308

/**
 * Nobody serves it.
 */
#define REDMUX_ERR_NO_RESPONDERS -309

/**
 * The responder answered with an error.
 */
#define REDMUX_ERR_REMOTE -310

/**
 * Redis answered with an error.
 */
#define REDMUX_ERR_REDIS -400

/**
 * Redis refused the user or the password.
 */
#define REDMUX_ERR_AUTH -401

/**
 * Redis refused the name (ACL).
 */
#define REDMUX_ERR_REFUSED -402

/**
 * Some names are active and some were refused.
 */
#define REDMUX_ERR_PARTIAL -403

/**
 * The server is older than Redis 7.0 or does not speak RESP3.
 */
#define REDMUX_ERR_OLD_SERVER -404

/**
 * There is no room; take some records first.
 */
#define REDMUX_ERR_FULL -500

/**
 * A name or a payload is over its limit.
 */
#define REDMUX_ERR_TOO_LARGE -501

/**
 * The inbox was full and its policy is to close.
 */
#define REDMUX_ERR_OVERFLOW -502

/**
 * The machine has no memory for it.
 */
#define REDMUX_ERR_NO_MEMORY -503

/**
 * The time given is over.
 */
#define REDMUX_ERR_TIMEOUT -600

/**
 * A defect of this library; the handle can still be closed.
 */
#define REDMUX_ERR_INTERNAL -900

/**
 * The number of the ABI: raised when something that was there changed or went.
 */
#define REDMUX_ABI_VERSION 1

/**
 * What went wrong: a status, a sentence that says what happened, to what, and what to do, and Redis' own error word.
 * A pointer for one is written only when the call fails: begin with NULL, and set it to NULL after redmux_error_free.
 *
 * Immutable; may be read from any thread and freed on any.
 */
typedef struct redmux_error redmux_error;

/**
 * Byte strings that belong to the caller: the names of a subscription.
 */
typedef struct redmux_list redmux_list;

/**
 * Bytes that belong to the caller: a JSON document, or the payload of a promise.
 */
typedef struct redmux_text redmux_text;

/**
 * An inbox: a bounded queue of records that belongs to a client. {0} is none, or where the documentation says so, the
 * source's own. May be used from any thread; one thread at a time takes from it.
 */
typedef struct redmux_inbox {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_inbox;

/**
 * One record: 64 bytes, little-endian, frozen. Offsets count from the start of its block's data; an empty part has
 * length 0 and offset 0, and none ends with a NUL. A kind that you do not know is to be skipped.
 *
 * What each kind puts into number, aux, name, extra and data stands beside REDMUX_KIND_... and in docs/records.md.
 */
typedef struct redmux_record {
    /**
     * One of REDMUX_KIND_...
     */
    uint16_t kind;
    /**
     * By kind: REDMUX_FLAG_PATTERN of a message, REDMUX_FLAG_NAME of active; the other kinds have none.
     */
    uint16_t flags;
    /**
     * How it ended: a status. 0 is REDMUX_OK.
     */
    int32_t status;
    /**
     * The id of the handle it belongs to: a subscription, promise set, or the client; of one promise by name its own.
     */
    uint64_t source;
    /**
     * Your own number: of the source for what it tells (message, active, lost, dropped, closed), of the operation for
     * its end (done, published, promise; refused). 0 in the event inbox.
     */
    uint64_t token;
    /**
     * By kind.
     */
    uint64_t number;
    /**
     * By kind.
     */
    uint64_t aux;
    /**
     * Where the name begins.
     */
    uint32_t name_off;
    /**
     * How long it is.
     */
    uint32_t name_len;
    /**
     * Where the extra bytes begin.
     */
    uint32_t extra_off;
    /**
     * How many they are.
     */
    uint32_t extra_len;
    /**
     * Where the payload begins.
     */
    uint32_t data_off;
    /**
     * How long it is.
     */
    uint32_t data_len;
} redmux_record;

/**
 * A block: an array of records and the bytes that they point into; at most 1,024 records and 64 KiB of data, or one
 * larger record alone.
 *
 * Zero it before the first take, and pass the same struct to the next: that gives the last block back first.
 */
typedef struct redmux_block {
    /**
     * Which lent block this is; 0 is none, also in a callback, where there is nothing to release.
     */
    uint64_t id;
    /**
     * The inbox that it came from.
     */
    struct redmux_inbox inbox;
    /**
     * The records: borrowed until the block is released, or borrowed until the callback returns.
     */
    const struct redmux_record *records;
    /**
     * How many records.
     */
    size_t count;
    /**
     * The bytes that they point into: borrowed until the block is released, or borrowed until the callback returns.
     */
    const uint8_t *data;
    /**
     * How many bytes.
     */
    size_t data_len;
    /**
     * How many records stayed behind in the inbox when this block was taken.
     */
    uint32_t more;
    /**
     * REDMUX_OK; REDMUX_ERR_CLOSED in an entry of redmux_client_take_many whose inbox has ended.
     */
    int32_t status;
} redmux_block;

/**
 * A client: one subscriber connection and one publish connection, made again for ever. {0} is none. May be used from
 * any thread.
 */
typedef struct redmux_client {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_client;

/**
 * Options of a client, an inbox, a request or a responder. What is not set in those of the last three is as their client
 * has it; {0} is none. May be used from any thread.
 */
typedef struct redmux_options {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_options;

/**
 * Receives blocks, on a thread of the client named redmux-cb.
 *
 * user: what was given with the function, borrowed until drop is called. block: borrowed until the callback returns;
 * copy what you keep. Return 0; anything else is logged, unless it was the logs that the block held, and the next block is
 * delivered. Every function of the library may be called, except the ones that block, which return
 * REDMUX_ERR_WOULD_DEADLOCK. It must not throw or longjmp. All signals but those of faults are blocked on that thread, and
 * what is started there inherits that: a program that you run from a callback needs its own mask (POSIX_SPAWN_SETSIGMASK,
 * or pthread_sigmask in the child).
 */
typedef int32_t (*redmux_block_fn)(void *user, const struct redmux_block *block);

/**
 * Tells that a callback will not be called any more, exactly once, also when it could not be registered. user data
 * may be freed here.
 *
 * user: what was given with the callback, borrowed until the callback returns, its last use. A thread of the client, or
 * the one that closes or that could not register.
 */
typedef void (*redmux_drop_fn)(void *user);

/**
 * Bytes with a length. Any byte may be in them; there is no final NUL.
 */
typedef struct redmux_bytes {
    /**
     * The first byte; NULL only if len is 0. Borrowed for the call where it goes in, borrowed until the thing named
     * in the function's documentation is freed where it comes out.
     */
    const uint8_t *data;
    /**
     * How many there are.
     */
    size_t len;
} redmux_bytes;

/**
 * A request under way. Its id is the source of its records. {0} is none. Nothing has to be released: it ends with its end
 * record. May be used from any thread.
 */
typedef struct redmux_gather {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_gather;

/**
 * A set of promises under a prefix: one subscription of Redis, however many promises. Its id is the source of its
 * records. {0} is none. May be used from any thread.
 */
typedef struct redmux_promises {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_promises;

/**
 * One that serves a service. Its id is the source of its records. {0} is none. May be used from any thread.
 */
typedef struct redmux_responder {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_responder;

/**
 * A subscription: a set of channels, or one pattern. Its id is the source of its records. {0} is none. May be used from
 * any thread.
 */
typedef struct redmux_subscription {
    /**
     * Which; 0 is none.
     */
    uint64_t id;
} redmux_subscription;



#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Gives a lent block back and zeroes the struct. Ends a loop of takes. Harmless when it was given back before, when
 * its inbox or its client is closed, and for NULL and a zeroed struct.
 *
 * block: borrowed for the call. Any thread.
 */
void redmux_block_release(struct redmux_block *block);

/**
 * Opens a client, and returns at once: the server may be away, and is connected to as soon as it is there. Wait for it
 * with redmux_client_ready_wait if you want to know.
 *
 * url: a C string, as for redmux_options_set_url; borrowed for the call. NULL reads the environment: REDIS_URL, else
 * REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB, else localhost:6379. out_client: borrowed for the call, written on
 * success; release with redmux_client_close. out_error: borrowed for the call, may be NULL; the error is owned by the
 * caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_client_open(const char *url,
                           struct redmux_client *out_client,
                           struct redmux_error **out_error);

/**
 * Opens a client with options and, if wanted, an event inbox, where states, logs and questions come.
 *
 * options: from redmux_options_new, borrowed for the call; free them when you like. Without an address in them the
 * environment is read, as in redmux_client_open. events: REDMUX_EVENTS_NONE, REDMUX_EVENTS_TAKE or
 * REDMUX_EVENTS_CALLBACK. callback: for the last of them, else NULL. user: given to it, borrowed until drop is called.
 * drop: called exactly once after the last call, also when this function fails; may be NULL. out_client: borrowed for
 * the call, written on success, before the first callback; release with redmux_client_close. out_events: borrowed for the
 * call, may be NULL where nobody takes; written as out_client with the event inbox, {0} if there is none; release with
 * redmux_inbox_close. out_error: borrowed for the call, may be NULL; the
 * error is owned by the caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_client_open_with(struct redmux_options options,
                                int32_t events,
                                redmux_block_fn callback,
                                void *user,
                                redmux_drop_fn drop,
                                struct redmux_client *out_client,
                                struct redmux_inbox *out_events,
                                struct redmux_error **out_error);

/**
 * Completes with done when the subscriber link is up (number: how often it came up), with REDMUX_ERR_TIMEOUT and the
 * reason of the last failed attempt if it is not in time.
 *
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_client_ready(struct redmux_client client,
                            struct redmux_inbox inbox,
                            uint64_t token,
                            int64_t timeout_ms);

/**
 * Waits until the subscriber link is up. REDMUX_ERR_TIMEOUT: it is not yet, and the error says why the last attempt
 * failed; the client goes on trying.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_client_ready_wait(struct redmux_client client,
                                 int64_t timeout_ms,
                                 struct redmux_error **out_error);

/**
 * Authenticates the live connections again, and every later one: for passwords and tokens that change. Completes with
 * done; REDMUX_ERR_AUTH if the server refused. Connections that are away use it when they are made.
 *
 * user: a C string, borrowed for the call; NULL is Redis' default user. password: a C string, borrowed for the call.
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_client_authenticate(struct redmux_client client,
                                   const char *user,
                                   const char *password,
                                   struct redmux_inbox inbox,
                                   uint64_t token,
                                   int64_t timeout_ms);

/**
 * Answers a question of the event inbox: REDMUX_KIND_QUESTION, whose number is the question's id.
 *
 * "address": values are host and port, or the path of a unix socket. "credentials": user and password, or the password
 * alone, or nothing. REDMUX_ERR_TIMEOUT: it came too late, or was answered before.
 *
 * question: the id. status: 0, or a status that refuses: the attempt to connect fails with it. values: count byte
 * strings, borrowed for the call. Any thread, also inside a callback.
 */
int32_t redmux_question_answer(struct redmux_client client,
                               uint64_t question,
                               int32_t status,
                               const struct redmux_bytes *values,
                               size_t count);

/**
 * Disconnects and keeps everything that is subscribed. Promises end with REDMUX_ERR_INTERRUPTED, publishes that have no
 * answer with REDMUX_ERR_NOT_SENT or REDMUX_ERR_UNKNOWN, and new ones are refused with REDMUX_ERR_STOPPED; there is no
 * lost record. REDMUX_ERR_STOPPED if it is stopped already.
 *
 * Returns at once. Any thread, also inside a callback.
 */
int32_t redmux_client_stop(struct redmux_client client);

/**
 * Connects a stopped client again: every subscription gets active when it is whole. REDMUX_ERR_NOT_STOPPED if it runs.
 *
 * Returns at once. Any thread, also inside a callback.
 */
int32_t redmux_client_restart(struct redmux_client client);

/**
 * Waits for inboxes that have something to take, and takes them off the client's ready list. An inbox enters the list
 * when it becomes non-empty or ends, and again when a take leaves records behind; one with a callback never does. By
 * the time you look, another thread may have emptied it.
 *
 * REDMUX_OK with a count of 0: redmux_client_wake was called. REDMUX_ERR_TIMEOUT: nothing came. REDMUX_ERR_CLOSED: the
 * client is closed. timeout_ms: 0 polls, -1 waits for ever. out_inboxes: room for capacity inboxes, borrowed for the
 * call. out_count: borrowed for the call, written on success. Any thread; inside a callback only timeout_ms 0.
 */
int32_t redmux_client_wait(struct redmux_client client,
                           int64_t timeout_ms,
                           struct redmux_inbox *out_inboxes,
                           size_t capacity,
                           size_t *out_count);

/**
 * Makes one redmux_client_wait, running or the next, return REDMUX_OK with a count of 0. It does not end a waiting
 * redmux_inbox_take. Any thread.
 */
int32_t redmux_client_wake(struct redmux_client client);

/**
 * A descriptor that is readable exactly while some inbox waits in the ready list; for poll, epoll and event loops. With the
 * option `wrapper` it may be readable where nothing waits yet: for one who looks often, the look itself reads what the
 * server sent. Do not read, write or close it; it is closed with the client, so watch a dup of it if you may outlive that:
 * the dup stays readable when the client has ended. Drain it with redmux_client_wait(client, 0, ...).
 *
 * out_fd: borrowed for the call, written on success. Any thread.
 */
int32_t redmux_client_fd(struct redmux_client client,
                         int32_t *out_fd);

/**
 * Takes one block from each of many inboxes in one call. Never waits; inboxes that are empty are skipped, one that has
 * ended gives an entry with status REDMUX_ERR_CLOSED and nothing else in it. Release each block with
 * redmux_block_release, or take again with it.
 *
 * inboxes: count inboxes, borrowed for the call. out_blocks: room for count blocks, borrowed for the call; entries are
 * written from the first on, what was in them is not given back. out_count: borrowed for the call, written on success
 * with how many. Any thread.
 */
int32_t redmux_client_take_many(struct redmux_client client,
                                const struct redmux_inbox *inboxes,
                                size_t count,
                                struct redmux_block *out_blocks,
                                size_t *out_count);

/**
 * What the client counted, as one JSON document; docs/stats.schema.json describes it.
 *
 * out_text: borrowed for the call, written on success; the text is owned by the caller, release with
 * redmux_text_free. Any thread.
 */
int32_t redmux_client_stats(struct redmux_client client,
                            struct redmux_text **out_text);

/**
 * Begins to close a client and returns at once. done comes when every source and operation has ended, before the
 * inboxes end; status REDMUX_ERR_TIMEOUT if publishes had no answer by then, REDMUX_ERR_INTERRUPTED if publishes were
 * lost. The handle is closed from now on; its inboxes yield what they hold and then answer REDMUX_ERR_CLOSED.
 *
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: how long publishes may still
 * take; 0 is the client's option timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_client_close_begin(struct redmux_client client,
                                  struct redmux_inbox inbox,
                                  uint64_t token,
                                  int64_t timeout_ms);

/**
 * Closes a client: publishes that were handed in get their time, then every source and operation ends, then callbacks
 * get what their inboxes hold. Inboxes that are taken from yield what they hold (closed of each source, the ends of
 * operations) and then answer REDMUX_ERR_CLOSED. Publishes without an answer by then end with REDMUX_ERR_NOT_SENT or
 * REDMUX_ERR_UNKNOWN; a server that is away can so hold the close up until timeout_ms.
 *
 * When it returns REDMUX_OK on a thread of yours, no callback of the client runs or will run, and every drop has been
 * called. REDMUX_ERR_TIMEOUT: the client is closed, and a callback still runs; its drop has not been called and nothing
 * of it may be freed before that. Inside a callback it returns at once, and drop says when all is over. A second call
 * gives REDMUX_ERR_CLOSED and is harmless. The handles of its inboxes and sources stay until they are closed, in any
 * order, before or after.
 *
 * timeout_ms: how long publishes and callbacks may take; 0 does not wait for them, -1 for ever. Any thread.
 */
int32_t redmux_client_close(struct redmux_client client,
                            int64_t timeout_ms);

/**
 * The status of an error, as the call returned it; REDMUX_ERR_INVALID_ARGUMENT for NULL.
 *
 * error: borrowed for the call. Any thread.
 */
int32_t redmux_error_code(const struct redmux_error *error);

/**
 * The sentence of an error: what happened, to what, and what to do. Never NULL, ends with a NUL, UTF-8; "" for NULL.
 *
 * error: borrowed for the call. The result: borrowed until error is freed. Any thread.
 */
const char *redmux_error_message(const struct redmux_error *error);

/**
 * Redis' own error word (NOPERM, WRONGPASS, ...), or NULL where Redis said nothing.
 *
 * error: borrowed for the call. The result: borrowed until error is freed. Any thread.
 */
const char *redmux_error_redis(const struct redmux_error *error);

/**
 * 1 if the same call may succeed later without any change, else 0.
 *
 * error: borrowed for the call. Any thread.
 */
int32_t redmux_error_retriable(const struct redmux_error *error);

/**
 * Frees an error. NULL is allowed.
 *
 * error: owned by the caller, release with redmux_error_free, once. Any thread.
 */
void redmux_error_free(struct redmux_error *error);

/**
 * Asks a service. Every responder that serves it, in whatever process, gets the request and may answer. Each answer is an
 * answer record; then comes one end record, which says why it ended: everybody who took it has finished, or an option said
 * that it is enough, or the time was over. What came is never thrown away.
 *
 * The answers of all requests of a client come through one channel, so a request costs one PUBLISH. redmux_gather_stop or
 * redmux_inbox_cancel end it early; responders that still work on it are told. REDMUX_ERR_CONFLICT: a request of this client
 * with that request_id is open.
 *
 * inbox: where answers and the end come, an inbox of this client; the room of the end is reserved
 * (REDMUX_ERR_FULL). service: any bytes, NULL only with length 0; borrowed for the call. body: any bytes, NULL only with
 * length 0; borrowed for the call. headers: a JSON object of strings, or NULL with length 0; borrowed for the call. options: expect, quiet, strict, others_only, repeatable,
 * accepted, max_answers, max_answer_bytes, request_id, wire; {0} takes those of the client. token: comes back in the records.
 * timeout_ms: 0 is the client's option timeout; -1 is refused, a request has an end. out_gather: borrowed for the call, may
 * be NULL; written on success. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
 * redmux_error_free. Any thread, also inside a callback.
 */
int32_t redmux_gather_open(struct redmux_client client,
                           struct redmux_inbox inbox,
                           const uint8_t *service,
                           size_t service_len,
                           const uint8_t *body,
                           size_t body_len,
                           const uint8_t *headers,
                           size_t headers_len,
                           struct redmux_options options,
                           uint64_t token,
                           int64_t timeout_ms,
                           struct redmux_gather *out_gather,
                           struct redmux_error **out_error);

/**
 * Ends a gather: its end record comes with this reason. REDMUX_ERR_CLOSED if it has ended, which is harmless.
 *
 * reason: REDMUX_REASON_PREDICATE if you have what you wanted, REDMUX_REASON_CANCELLED if you do not want it any more. Any
 * thread, also inside a callback.
 */
int32_t redmux_gather_stop(struct redmux_client client,
                           struct redmux_gather gather,
                           uint64_t reason);

/**
 * Asks a service and waits for the first answer; who else works on it is told that it is enough. REDMUX_ERR_NO_RESPONDERS:
 * nobody serves it. REDMUX_ERR_REMOTE: errors came and no answer, and out_error has the first one's sentence;
 * REDMUX_ERR_FULL instead if that one says that it is busy. REDMUX_ERR_TIMEOUT: no answer in time.
 *
 * service: any bytes, NULL only with length 0; borrowed for the call. body: the same, borrowed for the call. headers: a JSON object of strings,
 * or NULL with length 0; borrowed for the call. options: as for redmux_gather_open; {0} takes those of the client.
 * timeout_ms: 0 is the client's option timeout; -1 is refused. out_text: borrowed for the call, written on success; the
 * answer is owned by the caller, release with redmux_text_free. out_error: borrowed for the call, may be NULL; the error is
 * owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_gather_first_wait(struct redmux_client client,
                                 const uint8_t *service,
                                 size_t service_len,
                                 const uint8_t *body,
                                 size_t body_len,
                                 const uint8_t *headers,
                                 size_t headers_len,
                                 struct redmux_options options,
                                 int64_t timeout_ms,
                                 struct redmux_text **out_text,
                                 struct redmux_error **out_error);

/**
 * A new inbox that is drained by redmux_inbox_take. It ends with its client; its handle stays until redmux_inbox_close.
 *
 * options: inbox_bytes, inbox_records and inbox_policy; {0} takes those of the client. out_inbox: borrowed for the
 * call, written on success; release with redmux_inbox_close. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_inbox_new(struct redmux_client client,
                         struct redmux_options options,
                         struct redmux_inbox *out_inbox,
                         struct redmux_error **out_error);

/**
 * A new inbox that hands its blocks to a callback, in order, by one thread at a time. With the option callback_threads
 * at 1, its default, there are never two callbacks of a client at once.
 *
 * options: as for redmux_inbox_new. callback: called on a thread of the client. user: given to it, borrowed until drop
 * is called. drop: called exactly once after the last call, also when this function fails; may be NULL. out_inbox:
 * borrowed for the call, written on success; release with redmux_inbox_close. out_error: borrowed for the call, may be
 * NULL; the error is owned by the caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_inbox_new_callback(struct redmux_client client,
                                  struct redmux_options options,
                                  redmux_block_fn callback,
                                  void *user,
                                  redmux_drop_fn drop,
                                  struct redmux_inbox *out_inbox,
                                  struct redmux_error **out_error);

/**
 * Takes the oldest block of an inbox. The block that the struct holds from an earlier take is given back first, so a
 * loop calls nothing else; redmux_block_release ends it.
 *
 * The struct is always written: unless the result is REDMUX_OK it is {0}, and nothing is to be released.
 * REDMUX_ERR_TIMEOUT: nothing came.
 * REDMUX_ERR_CLOSED: the inbox or its client is closed and everything was taken. REDMUX_ERR_BUSY: another thread is
 * inside. REDMUX_ERR_CONFLICT: the inbox has a callback. REDMUX_ERR_WOULD_DEADLOCK: inside a callback only timeout_ms 0 is
 * allowed.
 *
 * timeout_ms: 0 polls, -1 waits for ever. block: borrowed for the call, zeroed before its first use; what it points to
 * is borrowed until the block is released. Any thread, one at a time.
 */
int32_t redmux_inbox_take(struct redmux_inbox inbox,
                          int64_t timeout_ms,
                          struct redmux_block *block);

/**
 * Asks the operations of an inbox that have this token to end: those that have not ended complete with
 * REDMUX_ERR_CANCELLED. A completion comes in any case; what was fulfilled before stays so. A publish that was given
 * to the kernel cannot be taken back and completes as it would. Never an error when there is nothing to cancel.
 *
 * Any thread, also inside a callback.
 */
int32_t redmux_inbox_cancel(struct redmux_inbox inbox,
                            uint64_t token);

/**
 * The counters of an inbox as JSON: received, taken, dropped, waiting, bytes, peak.
 *
 * out_text: borrowed for the call, written on success; the text is owned by the caller, release with
 * redmux_text_free. Any thread.
 */
int32_t redmux_inbox_stats(struct redmux_inbox inbox,
                           struct redmux_text **out_text);

/**
 * Closes an inbox and everything that delivers into it. What waits in it is discarded, completions included.
 *
 * When it returns REDMUX_OK on a thread of yours, no callback of it runs or will run, and drop has been called.
 * REDMUX_ERR_TIMEOUT: a callback still runs; drop has not been called and nothing may be freed yet. Inside a callback
 * it returns at once: the running call is the last, and drop says when all is over. Blocks that were taken stay valid
 * until they are released. A second call gives REDMUX_ERR_CLOSED and is harmless.
 *
 * timeout_ms: how long to wait for a running callback; 0 does not wait, -1 waits for ever. Any thread.
 */
int32_t redmux_inbox_close(struct redmux_inbox inbox,
                           int64_t timeout_ms);

/**
 * New options with every default.
 *
 * out_options: borrowed for the call, written on success; release with redmux_options_free. Any thread.
 */
int32_t redmux_options_new(struct redmux_options *out_options);

/**
 * Sets one option. docs/options.md and redmux_options_describe list them. An unknown key is
 * REDMUX_ERR_UNKNOWN_OPTION, and the error names the nearest; a bad value is REDMUX_ERR_INVALID_VALUE.
 *
 * key, value: C strings, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by
 * the caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_options_set(struct redmux_options options,
                           const char *key,
                           const char *value,
                           struct redmux_error **out_error);

/**
 * Sets the address, and whatever else a URL says: redis://user:password@host:port, rediss:// (TLS),
 * redis+unix:///path, with options as query parameters (?name=api-3&ping_interval=2s); or a connection string
 * host:port,password=...,name=....
 *
 * url: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
 * caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_options_set_url(struct redmux_options options,
                               const char *url,
                               struct redmux_error **out_error);

/**
 * Sets options from a flat JSON object: {"url": "redis://localhost", "ping_interval": "2s"}.
 *
 * json: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
 * caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_options_set_json(struct redmux_options options,
                                const char *json,
                                struct redmux_error **out_error);

/**
 * Sets options from a file with a flat JSON object.
 *
 * path: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
 * caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_options_set_file(struct redmux_options options,
                                const char *path,
                                struct redmux_error **out_error);

/**
 * The value of one option as text, or every option as one JSON object if key is NULL. Secrets are "***".
 *
 * key: a C string, borrowed for the call, may be NULL. out_text: borrowed for the call, written on success; the text is
 * owned by the caller, release with redmux_text_free. out_error: borrowed for the call, may be NULL; the error is
 * owned by the caller, release with redmux_error_free. Any thread.
 */
int32_t redmux_options_get(struct redmux_options options,
                           const char *key,
                           struct redmux_text **out_text,
                           struct redmux_error **out_error);

/**
 * The table of all options as JSON: key, scope, type, default, range, help. What docs/options.md is made from.
 *
 * out_text: borrowed for the call, written on success; the text is owned by the caller, release with
 * redmux_text_free. Any thread.
 */
int32_t redmux_options_describe(struct redmux_text **out_text);

/**
 * Frees options. Clients and inboxes that were made with them keep what they read. {0} and a second call are allowed.
 * Any thread.
 */
void redmux_options_free(struct redmux_options options);

/**
 * A new set of promises on the channels that begin with a prefix. The prefix is taken literally, whatever bytes are in
 * it. Whoever publishes on prefix and suffix, from wherever, fulfils the promises made there. The set's own records
 * (active, lost, closed) come into inbox like those of a subscription. The server is asked for the prefix at once:
 * wait for it with redmux_promises_active.
 *
 * inbox: of this client. prefix: any bytes, NULL only with length 0; borrowed for the call. token: comes back in the
 * set's records. out_promises: borrowed for the call, written on success; release with redmux_promises_close. Any
 * thread, also inside a callback.
 */
int32_t redmux_promises_new(struct redmux_client client,
                            struct redmux_inbox inbox,
                            const uint8_t *prefix,
                            size_t prefix_len,
                            uint64_t token,
                            struct redmux_promises *out_promises);

/**
 * Makes a promise, which is in effect when this returns: the next message on prefix and suffix completes it. Costs no
 * traffic. Several promises on one name are all completed by one message. REDMUX_ERR_INACTIVE at once if the set is not
 * subscribed at this moment: wait with redmux_promises_active, or use redmux_promises_make_later.
 *
 * Completes with promise: status 0 and the message in data, or REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED (also by
 * redmux_promises_clear), REDMUX_ERR_INTERRUPTED (the connection was lost), REDMUX_ERR_CLOSED, REDMUX_ERR_TOO_LARGE.
 * redmux_inbox_cancel cancels it. suffix: any bytes, NULL only with length 0; borrowed for the call. inbox: where
 * promise comes; {0} is the set's own. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for
 * ever. Any thread, also inside a callback.
 */
int32_t redmux_promises_make(struct redmux_promises promises,
                             const uint8_t *suffix,
                             size_t suffix_len,
                             struct redmux_inbox inbox,
                             uint64_t token,
                             int64_t timeout_ms);

/**
 * Makes a promise as soon as the set is active. Its time begins then. Completes like redmux_promises_make; with
 * REDMUX_ERR_TIMEOUT also if the set is not active within wait_ms.
 *
 * suffix: any bytes, NULL only with length 0; borrowed for the call. inbox: where promise comes; {0} is the set's own.
 * token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. wait_ms: the same, for the wait
 * until it is made. Any thread, also inside a callback.
 */
int32_t redmux_promises_make_later(struct redmux_promises promises,
                                   const uint8_t *suffix,
                                   size_t suffix_len,
                                   struct redmux_inbox inbox,
                                   uint64_t token,
                                   int64_t timeout_ms,
                                   int64_t wait_ms);

/**
 * Makes a promise as soon as the set is active, and waits for its message.
 *
 * suffix: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: how long the set may take to be active,
 * and then the message as long again; 0 is the client's option timeout, -1 for ever. out_text: borrowed for the call, written on success; the message is owned by the caller, release with
 * redmux_text_free. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
 * redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_promises_make_wait(struct redmux_promises promises,
                                  const uint8_t *suffix,
                                  size_t suffix_len,
                                  int64_t timeout_ms,
                                  struct redmux_text **out_text,
                                  struct redmux_error **out_error);

/**
 * Completes with done when the set is active, so that a promise can be made; at once if it is.
 *
 * inbox: where done comes; {0} is the set's own. token: comes back in it. timeout_ms: 0 is the client's option timeout,
 * -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_promises_active(struct redmux_promises promises,
                               struct redmux_inbox inbox,
                               uint64_t token,
                               int64_t timeout_ms);

/**
 * Waits until the set is active, so that a promise can be made.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_promises_active_wait(struct redmux_promises promises,
                                    int64_t timeout_ms,
                                    struct redmux_error **out_error);

/**
 * Ends every promise of the set with REDMUX_ERR_CANCELLED, made and to be made; the set goes on.
 *
 * out_count: borrowed for the call, may be NULL; written on success with how many. Any thread, also inside a callback.
 */
int32_t redmux_promises_clear(struct redmux_promises promises,
                              size_t *out_count);

/**
 * Closes the set at once: its promises end with REDMUX_ERR_CLOSED, then closed is its last record. {0} and a second
 * call give REDMUX_ERR_CLOSED and are harmless.
 *
 * Any thread, also inside a callback.
 */
int32_t redmux_promises_close(struct redmux_promises promises);

/**
 * One promise on one channel, which is subscribed while somebody waits. An active record with the channel's name says
 * that it is in effect; then it completes like redmux_promises_make, and closed follows. For many promises a set is
 * cheaper. redmux_inbox_cancel cancels it.
 *
 * name: any bytes, NULL only with length 0; borrowed for the call. inbox: of this client, where its records come. token:
 * comes back in them. timeout_ms: from now on; 0 is the client's option timeout, -1 for ever. Any thread, also inside a
 * callback.
 */
int32_t redmux_promise_make(struct redmux_client client,
                            const uint8_t *name,
                            size_t name_len,
                            struct redmux_inbox inbox,
                            uint64_t token,
                            int64_t timeout_ms);

/**
 * Waits for one message on one channel.
 *
 * name: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for
 * ever. out_text: borrowed for the call, written on success; the message is owned by the caller, release with
 * redmux_text_free. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
 * redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_promise_wait(struct redmux_client client,
                            const uint8_t *name,
                            size_t name_len,
                            int64_t timeout_ms,
                            struct redmux_text **out_text,
                            struct redmux_error **out_error);

/**
 * Publishes a message. Completes with published: number is how many received it; REDMUX_ERR_NOT_SENT if it was never
 * given to the kernel by its deadline (publish it again if you like), REDMUX_ERR_UNKNOWN if it was and nobody answered,
 * REDMUX_ERR_REFUSED if the ACL forbids the channel. Nothing is ever repeated silently. published may come before or
 * behind the message itself, where that is subscribed here: redmux_client_barrier gives an order.
 *
 * While the server is away it waits for it, until timeout_ms. REDMUX_ERR_STOPPED at once: the client is stopped.
 * REDMUX_ERR_FULL at once: the inbox has no room for the completion, or publish_queue is full. REDMUX_ERR_TOO_LARGE:
 * over max_name or max_payload.
 *
 * channel, data: any bytes, NULL only with length 0; borrowed for the call. inbox: where published comes, an inbox of
 * this client. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any thread, also
 * inside a callback.
 */
int32_t redmux_client_publish(struct redmux_client client,
                              const uint8_t *channel,
                              size_t channel_len,
                              const uint8_t *data,
                              size_t data_len,
                              struct redmux_inbox inbox,
                              uint64_t token,
                              int64_t timeout_ms);

/**
 * Publishes a message and waits for the number of receivers. It fails as redmux_client_publish completes.
 *
 * channel, data: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. out_receivers: borrowed for the call, may be NULL; written on success. out_error: borrowed for
 * the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any thread;
 * REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_client_publish_wait(struct redmux_client client,
                                   const uint8_t *channel,
                                   size_t channel_len,
                                   const uint8_t *data,
                                   size_t data_len,
                                   int64_t timeout_ms,
                                   uint64_t *out_receivers,
                                   struct redmux_error **out_error);

/**
 * Publishes a message and completes with nothing: the cheapest way. What is lost is counted in the client's statistics
 * and told in the event inbox as one dropped record. REDMUX_ERR_FULL at once: publish_queue is full. REDMUX_ERR_TOO_LARGE:
 * over max_name or max_payload. REDMUX_ERR_STOPPED: the client is stopped.
 *
 * channel, data: any bytes, NULL only with length 0; borrowed for the call. While the server is away a post waits as
 * long as the client's option timeout says. Any thread, also inside a callback.
 */
int32_t redmux_client_post(struct redmux_client client,
                           const uint8_t *channel,
                           size_t channel_len,
                           const uint8_t *data,
                           size_t data_len);

/**
 * Completes with done when everything that was published and posted before is answered. REDMUX_ERR_INTERRUPTED, with
 * how many in number, if some of it was lost: not sent in its time, or not answered before the connection was lost.
 *
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_client_flush(struct redmux_client client,
                            struct redmux_inbox inbox,
                            uint64_t token,
                            int64_t timeout_ms);

/**
 * Waits until everything that was published and posted before is answered.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_client_flush_wait(struct redmux_client client,
                                 int64_t timeout_ms,
                                 struct redmux_error **out_error);

/**
 * A flush, and then a PING through the subscriber link: its done stands, in an inbox that messages of this client come
 * to, behind everything that was published before. REDMUX_ERR_INTERRUPTED if the link was lost meanwhile.
 *
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_client_barrier(struct redmux_client client,
                              struct redmux_inbox inbox,
                              uint64_t token,
                              int64_t timeout_ms);

/**
 * Waits until everything that was published before has come through the subscriber link: what is subscribed here has
 * it in its inbox.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_client_barrier_wait(struct redmux_client client,
                                   int64_t timeout_ms,
                                   struct redmux_error **out_error);

/**
 * Serves a service from now on. Its records come into inbox: active with its name when Redis has it, request for
 * each request, cancel when nobody waits for one any more, lost and active when the connection goes and comes, closed as the
 * last. Each request has to be ended: by a last answer, redmux_responder_end or redmux_responder_fail.
 *
 * At most as many requests as the option concurrency says are with you and not ended; as many more as the option waiting
 * says wait in the library, and what comes beyond is answered with a retriable error. REDMUX_ERR_ALREADY_SUBSCRIBED: this
 * client serves it. REDMUX_ERR_CONFLICT: on Messaging.Buffer's wire (option wire) one responder for all types and one for a
 * type exclude each other in a client. With the option group exactly one member of the group serves a request. With catch_all the service is
 * what the names of the services begin with.
 *
 * inbox: of this client. service: any bytes, NULL only with length 0; borrowed for the call. options: concurrency, waiting,
 * group, catch_all, version, once, wire; {0} takes those of the client. token: comes back in the records. out_responder: borrowed for
 * the call, written on success; release with redmux_responder_close. out_error: borrowed for the call, may be NULL; the
 * error is owned by the caller, release with redmux_error_free. Any thread, also inside a callback.
 */
int32_t redmux_responder_open(struct redmux_client client,
                              struct redmux_inbox inbox,
                              const uint8_t *service,
                              size_t service_len,
                              struct redmux_options options,
                              uint64_t token,
                              struct redmux_responder *out_responder,
                              struct redmux_error **out_error);

/**
 * Completes with done when Redis has the service's name, so that requests come; at once if it has. REDMUX_ERR_REFUSED: the
 * user may not listen there (ACL); the responder stays, and is tried again.
 *
 * inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option timeout,
 * -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_responder_active(struct redmux_responder responder,
                                struct redmux_inbox inbox,
                                uint64_t token,
                                int64_t timeout_ms);

/**
 * Waits until Redis has the service's name, so that requests come. REDMUX_ERR_REFUSED: the user may not listen there (ACL);
 * the responder stays, and is tried again.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error is
 * owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_responder_active_wait(struct redmux_responder responder,
                                     int64_t timeout_ms,
                                     struct redmux_error **out_error);

/**
 * Answers a request; a request may have several answers. Returns at once. REDMUX_ERR_CLOSED: the request has ended.
 * REDMUX_ERR_CANCELLED: nobody waits for it any more; it still has to be ended, and the last answer is REDMUX_OK then, as an
 * end is. REDMUX_ERR_TOO_LARGE: over max_payload; the request goes on. REDMUX_ERR_FULL: publish_queue has no room, or
 * REDMUX_ERR_STOPPED: the client is stopped; a part may be tried again, a last answer is lost: it has ended the request, and
 * who asked finds this responder missing.
 *
 * request: the ticket, the request record's number. body: any bytes, NULL only with length 0; borrowed for the call.
 * headers: a JSON object of strings, or NULL with length 0; borrowed for the call. last: 1 ends the request, 0 does not.
 * Any thread, also inside a callback.
 */
int32_t redmux_responder_answer(struct redmux_responder responder,
                                uint64_t request,
                                const uint8_t *body,
                                size_t body_len,
                                const uint8_t *headers,
                                size_t headers_len,
                                int32_t last);

/**
 * Ends a request without an answer, or without another one. REDMUX_ERR_CLOSED: it has ended.
 *
 * request: the ticket, the request record's number. Any thread, also inside a callback.
 */
int32_t redmux_responder_end(struct redmux_responder responder, uint64_t request);

/**
 * Ends a request with an error, which its asker gets as an answer with REDMUX_FLAG_FAILED, however long it is: of code 256
 * bytes are sent and of message 8 KiB, or less where max_payload is small. REDMUX_ERR_CLOSED: it has ended.
 *
 * request: the ticket, the request record's number. code: a word, UTF-8, NULL only with length 0; borrowed for the call.
 * message: a sentence, UTF-8, NULL only with length 0; borrowed for the call. retriable: 1 if asking again may help, 0 if
 * not. Any thread, also inside a callback.
 */
int32_t redmux_responder_fail(struct redmux_responder responder,
                              uint64_t request,
                              const uint8_t *code,
                              size_t code_len,
                              const uint8_t *message,
                              size_t message_len,
                              int32_t retriable);

/**
 * Serves what was published before, lets what it has finish, and closes it: closed comes, and then done. With
 * REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED (redmux_inbox_cancel) or REDMUX_ERR_CLOSED it was closed with requests
 * unfinished; their askers were told.
 *
 * inbox: where done comes; {0} is the responder's own. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_responder_drain(struct redmux_responder responder,
                               struct redmux_inbox inbox,
                               uint64_t token,
                               int64_t timeout_ms);

/**
 * Closes a responder at once: requests that it has end, their askers are told, and closed is its last record. {0} and a
 * second call give REDMUX_ERR_CLOSED and are harmless.
 *
 * Any thread, also inside a callback.
 */
int32_t redmux_responder_close(struct redmux_responder responder);

/**
 * The name of a status, "REDMUX_ERR_CLOSED"; "REDMUX_ERR_?" for a number that is none.
 *
 * The result is static: borrowed until the process ends. Any thread.
 */
const char *redmux_status_name(int32_t status);

/**
 * One line about a status, for a person; defined for every number.
 *
 * The result is static: borrowed until the process ends. Any thread.
 */
const char *redmux_status_message(int32_t status);

/**
 * A new subscription to channels, without any yet: add them with redmux_subscription_add. Its records come into inbox:
 * message for each message of its channels, active when a channel that was added is subscribed, lost at once when the
 * connection is lost, active without a name when it is whole again, dropped where messages had no room, closed as the
 * last.
 *
 * Several subscriptions on one name share one subscription of Redis, and each gets every message once. inbox: of this
 * client; several sources may share one. token: comes back in the records. out_subscription: borrowed for the call,
 * written on success; release with redmux_subscription_close. Any thread, also inside a callback.
 */
int32_t redmux_subscription_new(struct redmux_client client,
                                struct redmux_inbox inbox,
                                uint64_t token,
                                struct redmux_subscription *out_subscription);

/**
 * A new subscription to a pattern of Redis' (h?llo, news.*, [ab]*), for its whole life. Completes like
 * redmux_subscription_add. The messages' name is the channel, extra is the pattern; the name of its active is the
 * pattern.
 *
 * inbox: of this client, for the subscription's records. pattern: any bytes, NULL only with length 0; borrowed for the
 * call. token: comes back in the records. done_inbox, done_token: where and with which token done comes; {0} is inbox.
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_subscription: borrowed for the call, written on
 * success; release with redmux_subscription_close. Any thread, also inside a callback.
 */
int32_t redmux_subscription_new_pattern(struct redmux_client client,
                                        struct redmux_inbox inbox,
                                        const uint8_t *pattern,
                                        size_t pattern_len,
                                        uint64_t token,
                                        struct redmux_inbox done_inbox,
                                        uint64_t done_token,
                                        int64_t timeout_ms,
                                        struct redmux_subscription *out_subscription);

/**
 * Adds channels. Completes with done when each is active or refused: number is how many are active, aux how many were
 * refused. REDMUX_ERR_PARTIAL or REDMUX_ERR_REFUSED: a refused record for each stands before it, in the same inbox with
 * the same token; the others are active. REDMUX_ERR_SUPERSEDED: a later remove won. REDMUX_ERR_TIMEOUT: not yet; they
 * stay wanted. Names that it has already are counted and not subscribed twice.
 *
 * REDMUX_ERR_CONFLICT at once: it is to a pattern, which it has for its whole life. REDMUX_ERR_FULL at once: room for the completion and for a refused record per name must be free in the inbox; add
 * many names in several calls. names: count names of any bytes, borrowed for the call. inbox: where done comes; {0} is
 * the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any
 * thread, also inside a callback.
 */
int32_t redmux_subscription_add(struct redmux_subscription subscription,
                                const struct redmux_bytes *names,
                                size_t count,
                                struct redmux_inbox inbox,
                                uint64_t token,
                                int64_t timeout_ms);

/**
 * Adds channels and waits until each is active or refused. The error names the refused ones; the others are active.
 * REDMUX_ERR_TIMEOUT: not yet, the server may be away; they stay wanted.
 *
 * names: count names of any bytes, borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for ever.
 * out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any
 * thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_subscription_add_wait(struct redmux_subscription subscription,
                                     const struct redmux_bytes *names,
                                     size_t count,
                                     int64_t timeout_ms,
                                     struct redmux_error **out_error);

/**
 * Removes channels. Completes with done when the server let them go, or somebody else here still has them. Names that
 * it does not have are ignored. Messages that were read before the call may still be in the inbox.
 *
 * names: count names of any bytes, borrowed for the call. inbox: where done comes; {0} is the subscription's own.
 * token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any thread, also inside a
 * callback.
 */
int32_t redmux_subscription_remove(struct redmux_subscription subscription,
                                   const struct redmux_bytes *names,
                                   size_t count,
                                   struct redmux_inbox inbox,
                                   uint64_t token,
                                   int64_t timeout_ms);

/**
 * Removes channels and waits until the server let them go, or somebody else here still has them.
 *
 * names: count names of any bytes, borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for ever.
 * out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any
 * thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_subscription_remove_wait(struct redmux_subscription subscription,
                                        const struct redmux_bytes *names,
                                        size_t count,
                                        int64_t timeout_ms,
                                        struct redmux_error **out_error);

/**
 * Removes every channel or the pattern. Completes like redmux_subscription_remove; the subscription stays and may get
 * channels again.
 *
 * inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_subscription_clear(struct redmux_subscription subscription,
                                  struct redmux_inbox inbox,
                                  uint64_t token,
                                  int64_t timeout_ms);

/**
 * Removes every channel or the pattern and waits until the server let them go.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_subscription_clear_wait(struct redmux_subscription subscription,
                                       int64_t timeout_ms,
                                       struct redmux_error **out_error);

/**
 * Delivers everything that was published before, unsubscribes, and closes: closed is the subscription's last record, and
 * done follows. The handle stays until redmux_subscription_close, which is then harmless.
 *
 * inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: when it is closed without
 * the server's word; 0 is the client's option timeout, -1 never. Any thread, also inside a callback.
 */
int32_t redmux_subscription_drain(struct redmux_subscription subscription,
                                  struct redmux_inbox inbox,
                                  uint64_t token,
                                  int64_t timeout_ms);

/**
 * Delivers everything that was published before, unsubscribes, waits for the server's word, and closes: closed is then in
 * the inbox, behind everything that came.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_subscription_drain_wait(struct redmux_subscription subscription,
                                       int64_t timeout_ms,
                                       struct redmux_error **out_error);

/**
 * Completes with done when every channel, or the pattern, is active or refused; at once if that is so.
 *
 * inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option
 * timeout, -1 for ever. Any thread, also inside a callback.
 */
int32_t redmux_subscription_active(struct redmux_subscription subscription,
                                   struct redmux_inbox inbox,
                                   uint64_t token,
                                   int64_t timeout_ms);

/**
 * Waits until every channel, or the pattern, is active or refused.
 *
 * timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
 * is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
 */
int32_t redmux_subscription_active_wait(struct redmux_subscription subscription,
                                        int64_t timeout_ms,
                                        struct redmux_error **out_error);

/**
 * The channels that a subscription wants, or its pattern: added minus removed, in no order.
 *
 * out_list: borrowed for the call, written on success; the list is owned by the caller, release with
 * redmux_list_free. Any thread, also inside a callback.
 */
int32_t redmux_subscription_names(struct redmux_subscription subscription,
                                  struct redmux_list **out_list);

/**
 * Closes a subscription at once: what its inbox holds of it stays, and closed is its last record. Never waits for the
 * network. {0} and a second call give REDMUX_ERR_CLOSED and are harmless.
 *
 * Any thread, also inside a callback.
 */
int32_t redmux_subscription_close(struct redmux_subscription subscription);

/**
 * The bytes of a text. A NUL stands behind them and is not counted, so that JSON can be printed as a C string.
 *
 * text: borrowed for the call. The result's data: borrowed until text is freed. NULL has no bytes. Any thread.
 */
struct redmux_bytes redmux_text_bytes(const struct redmux_text *text);

/**
 * Frees a text. NULL is allowed.
 *
 * text: owned by the caller, release with redmux_text_free, once. Any thread.
 */
void redmux_text_free(struct redmux_text *text);

/**
 * How many byte strings a list has; 0 for NULL.
 *
 * list: borrowed for the call. Any thread.
 */
size_t redmux_list_count(const struct redmux_list *list);

/**
 * One byte string of a list; empty beyond its end.
 *
 * list: borrowed for the call. The result's data: borrowed until list is freed. Any thread.
 */
struct redmux_bytes redmux_list_item(const struct redmux_list *list, size_t index);

/**
 * Frees a list. NULL is allowed.
 *
 * list: owned by the caller, release with redmux_list_free, once. Any thread.
 */
void redmux_list_free(struct redmux_list *list);

/**
 * The version of the library, "0.1.0". The result is static: borrowed until the process ends. Any thread.
 */
const char *redmux_version_string(void);

/**
 * The version as a number: 0xMMmmpp (major, minor, patch). Any thread.
 */
uint32_t redmux_version_number(void);

/**
 * The ABI number of the library. A program compiled against REDMUX_ABI_VERSION runs with exactly that number.
 * Any thread.
 */
uint32_t redmux_abi_version(void);

/**
 * How many handles and lent blocks are open in this process: 0 when everything was closed. For tests. Any thread.
 */
int64_t redmux_debug_live(void);

/**
 * Ends the library's own thread, for hosts that count threads. Close the clients first: those that are still open
 * lose their links. The next client starts the thread again. Without this call the thread stays, parked.
 *
 * timeout_ms: how long to wait for it; -1 waits for ever. REDMUX_ERR_TIMEOUT: it has not ended yet.
 * REDMUX_ERR_WOULD_DEADLOCK inside a callback. Any thread.
 */
int32_t redmux_shutdown(int64_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* REDMUX_H */
