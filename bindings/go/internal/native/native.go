// Package native is the C ABI of redmux in Go's types: one small function for each call, no decisions.
//
// No goroutine ever blocks here: whatever waits is asked for with a token, and its end is taken from an inbox. Handles are
// numbers, so nothing of C can dangle; bytes that go in are borrowed for the call.
package native

/*
#include "redmux.h"

#include <fcntl.h>

static int dup_fd(redmux_client client)
{
    int32_t fd;
    return redmux_client_fd(client, &fd) == REDMUX_OK ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
}

// The operations of one shape, in the order of Ask.
static int32_t ask(int what, uint64_t id, redmux_inbox inbox, uint64_t token, int64_t timeout_ms)
{
    switch (what) {
    case 0: return redmux_client_ready((redmux_client){id}, inbox, token, timeout_ms);
    case 1: return redmux_client_flush((redmux_client){id}, inbox, token, timeout_ms);
    case 2: return redmux_client_barrier((redmux_client){id}, inbox, token, timeout_ms);
    case 3: return redmux_subscription_clear((redmux_subscription){id}, inbox, token, timeout_ms);
    case 4: return redmux_subscription_drain((redmux_subscription){id}, inbox, token, timeout_ms);
    case 5: return redmux_subscription_active((redmux_subscription){id}, inbox, token, timeout_ms);
    case 6: return redmux_promises_active((redmux_promises){id}, inbox, token, timeout_ms);
    case 7: return redmux_responder_active((redmux_responder){id}, inbox, token, timeout_ms);
    default: return redmux_responder_drain((redmux_responder){id}, inbox, token, timeout_ms);
    }
}

// By value: what a call gets an address of lives on Go's heap, and is looked through for pointers each time.
static redmux_block take(redmux_inbox inbox)
{
    redmux_block block = {0};
    block.status = redmux_inbox_take(inbox, 0, &block);
    return block;
}

static void give_back(uint64_t id) { redmux_block_release(&(redmux_block){.id = id}); }

static int32_t promise(int kind, uint64_t id, const uint8_t *name, size_t name_len, redmux_inbox inbox, uint64_t token,
                       int64_t timeout_ms, int64_t wait_ms)
{
    switch (kind) {
    case 0: return redmux_promise_make((redmux_client){id}, name, name_len, inbox, token, timeout_ms);
    case 1: return redmux_promises_make((redmux_promises){id}, name, name_len, inbox, token, timeout_ms);
    default: return redmux_promises_make_later((redmux_promises){id}, name, name_len, inbox, token, timeout_ms, wait_ms);
    }
}
*/
import "C"

import (
	"runtime"
	"strings"
	"unsafe"
)

// ABI is the number that this package was compiled against.
const ABI = C.REDMUX_ABI_VERSION

// The statuses, kinds, flags and reasons that the wrapper acts upon.
const OK, Closed, Busy, Cancelled = C.REDMUX_OK, C.REDMUX_ERR_CLOSED, C.REDMUX_ERR_BUSY, C.REDMUX_ERR_CANCELLED
const NoResponders, Remote, Connect, Timeout = C.REDMUX_ERR_NO_RESPONDERS, C.REDMUX_ERR_REMOTE, C.REDMUX_ERR_CONNECT, C.REDMUX_ERR_TIMEOUT
const KindMessage, KindActive, KindLost, KindDropped = C.REDMUX_KIND_MESSAGE, C.REDMUX_KIND_ACTIVE, C.REDMUX_KIND_LOST, C.REDMUX_KIND_DROPPED
const KindDone, KindPublish, KindPromise, KindRefused = C.REDMUX_KIND_DONE, C.REDMUX_KIND_PUBLISHED, C.REDMUX_KIND_PROMISE, C.REDMUX_KIND_REFUSED
const KindRequest, KindCancel, KindAnswer, KindEnd = C.REDMUX_KIND_REQUEST, C.REDMUX_KIND_CANCEL, C.REDMUX_KIND_ANSWER, C.REDMUX_KIND_END
const KindAsk, KindLog, KindState, KindClosed = C.REDMUX_KIND_QUESTION, C.REDMUX_KIND_LOG, C.REDMUX_KIND_STATE, C.REDMUX_KIND_CLOSED
const FlagPattern, FlagName, FlagLast, FlagFailed = C.REDMUX_FLAG_PATTERN, C.REDMUX_FLAG_NAME, C.REDMUX_FLAG_LAST, C.REDMUX_FLAG_FAILED
const FlagAgain, Predicate, GivenUp = C.REDMUX_FLAG_AGAIN, C.REDMUX_REASON_PREDICATE, C.REDMUX_REASON_CANCELLED

// Record is redmux_record, field by field; a test holds the two layouts together.
type Record struct {
	Kind, Flags                                            uint16
	Status                                                 int32
	Source, Token, Number, Aux                             uint64
	NameOff, NameLen, ExtraOff, ExtraLen, DataOff, DataLen uint32
}

// Name is the record's name in its block's data.
func (r *Record) Name(data []byte) []byte { return data[r.NameOff : r.NameOff+r.NameLen] }

// Extra is the record's extra part.
func (r *Record) Extra(data []byte) []byte { return data[r.ExtraOff : r.ExtraOff+r.ExtraLen] }

// Data is the record's payload, which cannot grow into its neighbours.
func (r *Record) Data(data []byte) []byte {
	end := r.DataOff + r.DataLen
	return data[r.DataOff:end:end]
}

// Block is a lent block. What it lends is copied, and it is given back, before anything else is done.
type Block struct{ c C.redmux_block }

// Records are borrowed until Release.
func (b *Block) Records() []Record {
	return unsafe.Slice((*Record)(unsafe.Pointer(b.c.records)), b.c.count)
}

// Data is borrowed until Release.
func (b *Block) Data() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(b.c.data)), b.c.data_len) }

// More says that records stayed behind. What comes where none did is listed.
func (b *Block) More() bool { return b.c.more > 0 }

// Take takes the oldest block of an inbox; an empty one where there is none.
func Take(inbox uint64) Block { return Block{C.take(inboxOf(inbox))} }

// Release gives it back.
func (b *Block) Release() { C.give_back(b.c.id) }

// Copied takes a block, appends its records to some, copies what they point into in one piece, and gives it back.
func Copied(inbox uint64, records []Record) (all []Record, data []byte, more bool, status int32) {
	block := Take(inbox)
	if block.c.status == C.REDMUX_OK {
		lent := block.Data()
		data = make([]byte, len(lent)) // in this shape it is not cleared first
		copy(data, lent)
		records = append(records, block.Records()...)
		block.Release()
	}
	return records, data, block.More(), int32(block.c.status)
}

// Text is bytes that nobody changes any more.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Failure is a status with the library's sentence about it.
type Failure struct {
	Status int32
	Text   string
}

func clientOf(id uint64) C.redmux_client             { return C.redmux_client{id: u64(id)} }
func inboxOf(id uint64) C.redmux_inbox               { return C.redmux_inbox{id: u64(id)} }
func subscriptionOf(id uint64) C.redmux_subscription { return C.redmux_subscription{id: u64(id)} }
func promisesOf(id uint64) C.redmux_promises         { return C.redmux_promises{id: u64(id)} }
func responderOf(id uint64) C.redmux_responder       { return C.redmux_responder{id: u64(id)} }

func u64(n uint64) C.uint64_t               { return C.uint64_t(n) }
func i64(n int64) C.int64_t                 { return C.int64_t(n) }
func chars(s string) *C.uint8_t             { return (*C.uint8_t)(unsafe.StringData(s)) }
func size[T string | []byte](of T) C.size_t { return C.size_t(len(of)) }
func bytes(b []byte) *C.uint8_t             { return (*C.uint8_t)(unsafe.SliceData(b)) }

// list is names for C, which may be used until they are unpinned.
func list(names []string, pins *runtime.Pinner) (*C.redmux_bytes, C.size_t) {
	all := make([]C.redmux_bytes, len(names)+1)
	for i, name := range names {
		all[i] = C.redmux_bytes{data: chars(name), len: size(name)}
		pins.Pin(all[i].data)
	}
	return &all[0], C.size_t(len(names))
}

func taken(status C.int32_t, out **C.redmux_text) ([]byte, int32) {
	defer C.redmux_text_free(*out)
	found := C.redmux_text_bytes(*out)
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(found.data)), found.len)...), int32(status)
}

// Option is a key of docs/options.md and its value, as text.
type Option struct{ Key, Value string }

// zeroed is a string with its end, as C wants some.
func zeroed(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(append([]byte(s), 0))))
}

// with calls with these options; what they do not say is as the client has it.
func with(options []Option, call func(C.redmux_options, **C.redmux_error) C.int32_t) *Failure {
	var given C.redmux_options
	var err *C.redmux_error
	status := C.int32_t(C.REDMUX_OK)
	if len(options) > 0 {
		C.redmux_options_new(&given)
		defer C.redmux_options_free(given)
		for i := 0; i < len(options) && status == C.REDMUX_OK; i++ {
			status = C.redmux_options_set(given, zeroed(options[i].Key), zeroed(options[i].Value), &err)
		}
	}
	if status == C.REDMUX_OK {
		status = call(given, &err)
	}
	if status == C.REDMUX_OK {
		return nil
	}
	defer C.redmux_error_free(err)
	return &Failure{int32(status), C.GoString(C.redmux_error_message(err))}
}

// Open opens a client with an event inbox.
func Open(options []Option) (client, events uint64, failed *Failure) {
	var handle C.redmux_client
	var inbox C.redmux_inbox
	failed = with(options, func(given C.redmux_options, err **C.redmux_error) C.int32_t {
		return C.redmux_client_open_with(given, C.REDMUX_EVENTS_TAKE, nil, nil, nil, &handle, &inbox, err)
	})
	return uint64(handle.id), uint64(inbox.id), failed
}

// NewInbox makes an inbox that is taken from.
func NewInbox(client uint64, options []Option) (uint64, *Failure) {
	var inbox C.redmux_inbox
	failed := with(options, func(given C.redmux_options, err **C.redmux_error) C.int32_t {
		return C.redmux_inbox_new(clientOf(client), given, &inbox, err)
	})
	return uint64(inbox.id), failed
}

// CloseInbox discards what waits in it.
func CloseInbox(inbox uint64) { C.redmux_inbox_close(inboxOf(inbox), 0) }

// Cancel asks the operations with this token to end.
func Cancel(inbox, token uint64) { C.redmux_inbox_cancel(inboxOf(inbox), u64(token)) }

// Dup is a descriptor of one's own that is readable while some inbox of the client has something, and at its end; or -1.
func Dup(client uint64) int { return int(C.dup_fd(clientOf(client))) }

// Listed writes the inboxes that have something into ready, and takes them off the client's list.
func Listed(client uint64, ready []uint64) ([]uint64, int32) {
	var count C.size_t
	status := C.redmux_client_wait(clientOf(client), 0, (*C.redmux_inbox)(unsafe.Pointer(&ready[0])), C.size_t(len(ready)), &count)
	return ready[:count], int32(status)
}

// Ask is an operation that needs nothing but its object; it completes with done.
type Ask int

// Of a client, of a subscription, of a promise set, and of a responder.
const Ready, Flush, Barrier, Clear, Drain, Active, PromisesActive, ResponderActive, ResponderDrain Ask = 0, 1, 2, 3, 4, 5, 6, 7, 8

// Of asks it of an object.
func (a Ask) Of(id, inbox, token uint64, limit int64) int32 {
	return int32(C.ask(C.int(a), u64(id), inboxOf(inbox), u64(token), i64(limit)))
}

// Authenticate completes with done. An empty user is Redis' default one.
func Authenticate(client uint64, user, password string, inbox, token uint64, limit int64) int32 {
	var who *C.char
	if user != "" {
		who = zeroed(user)
	}
	return int32(C.redmux_client_authenticate(clientOf(client), who, zeroed(password), inboxOf(inbox), u64(token), i64(limit)))
}

// Answer answers a question of the event inbox, or refuses with a status.
func Answer(client, question uint64, status int32, values ...string) int32 {
	var pins runtime.Pinner
	defer pins.Unpin()
	all, count := list(values, &pins)
	return int32(C.redmux_question_answer(clientOf(client), u64(question), C.int32_t(status), all, count))
}

// Stop disconnects.
func Stop(client uint64) int32 { return int32(C.redmux_client_stop(clientOf(client))) }

// Restart connects again.
func Restart(client uint64) int32 { return int32(C.redmux_client_restart(clientOf(client))) }

// Stats is JSON about a client, or about one of its inboxes, which is not 0.
func Stats(client, inbox uint64) ([]byte, int32) {
	var out *C.redmux_text
	if inbox != 0 {
		return taken(C.redmux_inbox_stats(inboxOf(inbox), &out), &out)
	}
	return taken(C.redmux_client_stats(clientOf(client), &out), &out)
}

// CloseClient ends everything at once.
func CloseClient(client uint64) { C.redmux_client_close(clientOf(client), 0) }

// Publish completes with published.
func Publish(client uint64, channel string, data []byte, inbox, token uint64, limit int64) int32 {
	return int32(C.redmux_client_publish(clientOf(client), chars(channel), size(channel), bytes(data), size(data), inboxOf(inbox), u64(token), i64(limit)))
}

// Post publishes and completes with nothing.
func Post(client uint64, channel string, data []byte) int32 {
	return int32(C.redmux_client_post(clientOf(client), chars(channel), size(channel), bytes(data), size(data)))
}

// NewSubscription makes one without channels.
func NewSubscription(client, inbox uint64) (uint64, int32) {
	var handle C.redmux_subscription
	status := C.redmux_subscription_new(clientOf(client), inboxOf(inbox), 0, &handle)
	return uint64(handle.id), int32(status)
}

// NewPattern makes a subscription to a pattern; it completes with done in replies.
func NewPattern(client, inbox uint64, pattern string, replies, token uint64, limit int64) (uint64, int32) {
	var handle C.redmux_subscription
	status := C.redmux_subscription_new_pattern(clientOf(client), inboxOf(inbox), chars(pattern), size(pattern), 0,
		inboxOf(replies), u64(token), i64(limit), &handle)
	return uint64(handle.id), int32(status)
}

// Change adds names, which completes with done when every one is active or refused, or removes them (adds 0).
func Change(adds int, subscription uint64, names []string, inbox, token uint64, limit int64) int32 {
	var pins runtime.Pinner
	defer pins.Unpin()
	all, count := list(names, &pins)
	if adds == 0 {
		return int32(C.redmux_subscription_remove(subscriptionOf(subscription), all, count, inboxOf(inbox), u64(token), i64(limit)))
	}
	return int32(C.redmux_subscription_add(subscriptionOf(subscription), all, count, inboxOf(inbox), u64(token), i64(limit)))
}

// Names are what a subscription wants.
func Names(subscription uint64) ([]string, int32) {
	var list *C.redmux_list
	status := C.redmux_subscription_names(subscriptionOf(subscription), &list)
	defer C.redmux_list_free(list)
	names := make([]string, C.redmux_list_count(list))
	for i := range names {
		item := C.redmux_list_item(list, C.size_t(i))
		names[i] = string(unsafe.Slice((*byte)(unsafe.Pointer(item.data)), item.len))
	}
	return names, int32(status)
}

// CloseSubscription lets its names go.
func CloseSubscription(subscription uint64) {
	C.redmux_subscription_close(subscriptionOf(subscription))
}

// NewPromises makes a set of promises under a prefix.
func NewPromises(client, inbox uint64, prefix string) (uint64, int32) {
	var handle C.redmux_promises
	status := C.redmux_promises_new(clientOf(client), inboxOf(inbox), chars(prefix), size(prefix), 0, &handle)
	return uint64(handle.id), int32(status)
}

// Of a promise: by name at once, or of a set: at once, or as soon as that is active.
const ByName, OfSet, OfSetLater = 0, 1, 2

// Promise makes one of a client or a promise set; it completes with promise.
func Promise(kind int, id uint64, name string, inbox, token uint64, limit, wait int64) int32 {
	return int32(C.promise(C.int(kind), u64(id), chars(name), size(name), inboxOf(inbox), u64(token), i64(limit), i64(wait)))
}

// ClearPromises ends every promise of the set.
func ClearPromises(promises uint64) int32 {
	return int32(C.redmux_promises_clear(promisesOf(promises), nil))
}

// ClosePromises ends the set.
func ClosePromises(promises uint64) { C.redmux_promises_close(promisesOf(promises)) }

// Gather asks a service; its answers and its end come with token. headers are JSON.
func Gather(client, inbox uint64, service string, data, headers []byte, options []Option, token uint64, limit int64) (uint64, *Failure) {
	var gather C.redmux_gather
	failed := with(options, func(given C.redmux_options, err **C.redmux_error) C.int32_t {
		return C.redmux_gather_open(clientOf(client), inboxOf(inbox), chars(service), size(service), bytes(data), size(data),
			bytes(headers), size(headers), given, u64(token), i64(limit), &gather, err)
	})
	return uint64(gather.id), failed
}

// StopGather ends it with a reason; harmless when it has ended.
func StopGather(client, gather, reason uint64) {
	C.redmux_gather_stop(clientOf(client), C.redmux_gather{id: u64(gather)}, u64(reason))
}

// NewResponder serves a service.
func NewResponder(client, inbox uint64, service string, options []Option) (uint64, *Failure) {
	var responder C.redmux_responder
	failed := with(options, func(given C.redmux_options, err **C.redmux_error) C.int32_t {
		return C.redmux_responder_open(clientOf(client), inboxOf(inbox), chars(service), size(service), given, 0, &responder, err)
	})
	return uint64(responder.id), failed
}

// AnswerRequest answers a request; the last answer ends it. headers are JSON.
func AnswerRequest(responder, request uint64, data, headers []byte, last bool) int32 {
	return int32(C.redmux_responder_answer(responderOf(responder), u64(request), bytes(data), size(data), bytes(headers), size(headers), flag[last]))
}

// EndRequest ends it without another answer; harmless when it has ended.
func EndRequest(responder, request uint64) {
	C.redmux_responder_end(responderOf(responder), u64(request))
}

var flag = map[bool]C.int32_t{true: 1}

// FailRequest ends it with an error.
func FailRequest(responder, request uint64, code, message string, retriable bool) int32 {
	return int32(C.redmux_responder_fail(responderOf(responder), u64(request), chars(code), size(code), chars(message), size(message), flag[retriable]))
}

// CloseResponder ends it and the requests that it has.
func CloseResponder(responder uint64) { C.redmux_responder_close(responderOf(responder)) }

// StatusWord is `closed` for REDMUX_ERR_CLOSED.
func StatusWord(status int32) string {
	name := C.GoString(C.redmux_status_name(C.int32_t(status)))
	return strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(name, "REDMUX_ERR_"), "REDMUX_"))
}

// StatusMessage is one line about a status.
func StatusMessage(status int32) string {
	return C.GoString(C.redmux_status_message(C.int32_t(status)))
}

// LibraryABI is the number of the library that is linked.
func LibraryABI() uint32 { return uint32(C.redmux_abi_version()) }

// LibraryVersion is the version of the library that is linked.
func LibraryVersion() string { return C.GoString(C.redmux_version_string()) }

// DebugLive is how many handles and lent blocks are open in this process; for tests.
func DebugLive() int64 { return int64(C.redmux_debug_live()) }
