package redmux

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Error is every error of redmux: what was asked (Op), what happened (Message), and the library's status (Code). Tell kinds
// apart with errors.Is and the Err… values; where a context ended the call, errors.Is finds its error as well.
type Error struct {
	// Code is the library's status; 0 for a payload that is not the JSON it was taken for.
	Code int
	Op   string
	// Message says what happened, to what, and what to do.
	Message string
	// Names are the channels that Redis refused, where it refused any.
	Names []string
	cause error
}

// Error is Op and Message.
func (e *Error) Error() string { return "redmux: " + e.Op + ": " + e.Message }

// Unwrap is the context's or the decoder's error, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Kind is the status as a word: closed, not_sent, …
func (e *Error) Kind() string { return native.StatusWord(int32(e.Code)) }

// Timeout says whether the time given was over.
func (e *Error) Timeout() bool { return e.Code == native.Timeout }

// Is makes errors.Is work with the Err… values. A timeout is a context.DeadlineExceeded too.
func (e *Error) Is(target error) bool {
	if kind, ok := target.(*kind); ok {
		return slices.Contains(kind.codes, e.Code)
	}
	return target == context.DeadlineExceeded && e.Timeout()
}

type kind struct {
	text  string
	codes []int
}

func (k *kind) Error() string { return "redmux: " + k.text }

// The kinds of errors, for errors.Is. An error may be of several: what was not sent is a lost link too.
var (
	// ErrArgument: an argument or an option is not what it must be.
	ErrArgument error = &kind{"an argument or an option is not what it must be", []int{-100, -101, -102, -103, -104}}
	// ErrClosed: the client, subscription or promise set is closed.
	ErrClosed error = &kind{"closed", []int{-200}}
	// ErrState: it cannot be done now: stopped, not stopped, another reader, superseded, in conflict.
	ErrState error = &kind{"it cannot be done now", []int{-202, -203, -204, -206, -207, -208, -209, -210}}
	// ErrInactive: the promise set is not subscribed at this moment; WaitActive, or WaitNew.
	ErrInactive error = &kind{"not subscribed at this moment", []int{-204}}
	// ErrCancelled: ended by a cancel: of a context, a promise, or its set.
	ErrCancelled error = &kind{"cancelled", []int{-205}}
	// ErrConnect: no connection could be made.
	ErrConnect error = &kind{"no connection could be made", []int{-300, -301, -302, -404}}
	// ErrLinkLost: the connection was lost while this was waiting.
	ErrLinkLost error = &kind{"the connection was lost", []int{-303, -304, -305, -306, -307, -308}}
	// ErrInterrupted: the connection was lost before all answers, or the promise's message, had come.
	ErrInterrupted error = &kind{"interrupted", []int{-304}}
	// ErrNoResponders: nobody serves it, or nobody who does had an answer.
	ErrNoResponders error = &kind{"nobody serves it", []int{-309}}
	// ErrRemote: the answer is an error; errors.As finds its *RemoteError.
	ErrRemote error = &kind{"the answer is an error", []int{-310}}
	// ErrNotSent: the publish never left; it is safe to repeat it.
	ErrNotSent error = &kind{"not sent", []int{-305}}
	// ErrUnknown: the publish left and nobody answered: it may have been heard, or not.
	ErrUnknown error = &kind{"sent, and not answered", []int{-306}}
	// ErrServer: Redis answered with an error.
	ErrServer error = &kind{"Redis answered with an error", []int{-400, -401, -402, -403}}
	// ErrAuth: Redis refused the user or the password.
	ErrAuth error = &kind{"Redis refused the user or the password", []int{-401}}
	// ErrRefused: Redis' ACL refuses a name; Error.Names lists all of them.
	ErrRefused error = &kind{"Redis refused a name", []int{-402, -403}}
	// ErrFull: there is no room: a queue or an inbox is full.
	ErrFull error = &kind{"there is no room", []int{-500}}
	// ErrTooLarge: a name or a payload is over its limit.
	ErrTooLarge error = &kind{"too large", []int{-501}}
	// ErrSlowConsumer: the subscription's inbox was full and its policy is to close.
	ErrSlowConsumer error = &kind{"the reader was too slow", []int{-502}}
	// ErrTimeout: the time given is over.
	ErrTimeout error = &kind{"the time given is over", []int{-600}}
	// ErrDecode: a payload is not the JSON that it was taken for.
	ErrDecode error = &kind{"bad JSON", []int{0}}
)

// RemoteError is an answer that is an error: what a gather got, and what a handler returns to say it in its own words.
type RemoteError struct {
	// Code is a word for programs, Message a sentence for people.
	Code, Message string
	// Retriable says that asking again may help.
	Retriable bool
	// Responder is the name of the client that answered.
	Responder string
	status    int
}

// Error is Message and Code.
func (e *RemoteError) Error() string { return e.Message + " (" + e.Code + ")" }

// Is makes it an ErrRemote; one of a responder without room is an ErrFull too.
func (e *RemoteError) Is(target error) bool {
	kind, is := target.(*kind)
	return is && (target == ErrRemote || slices.Contains(kind.codes, e.status))
}

func fail(status int32, op, detail string, refused ...string) *Error {
	if detail == "" {
		detail = native.StatusMessage(status)
	}
	if len(refused) > 0 {
		detail += fmt.Sprintf(": %q", refused)
	}
	return &Error{Code: int(status), Op: op, Message: detail, Names: refused}
}

func check(status int32, op string) error {
	if status != native.OK {
		return fail(status, op, "")
	}
	return nil
}

func failed(failure *native.Failure, op string) error { return fail(failure.Status, op, failure.Text) }

// ended is the error of a call that its context ended, which nobody else has given a better one.
func ended(ctx context.Context, op string) *Error {
	status := int32(native.Cancelled)
	if ctx.Err() == context.DeadlineExceeded {
		status = native.Timeout
	}
	err := fail(status, op, strings.TrimPrefix(context.Cause(ctx).Error(), "context "))
	err.cause = ctx.Err()
	return err
}

// limitOf is a deadline in the library's milliseconds; 0, the client's option `timeout`, where there is none. It is rounded up, so
// that the library is never earlier than the context.
func limitOf(deadline time.Time) int64 {
	if deadline.IsZero() {
		return 0
	}
	return max(1, int64(time.Until(deadline)/time.Millisecond)+1)
}
