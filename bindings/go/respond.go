package redmux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Request is a request to answer.
type Request struct {
	Service string
	Data    []byte
	// ID is the same for all who got this request; From is the name of the client that asks.
	ID, From string
	Headers  map[string]string
	// Again says that it was sent again, after a connection was lost.
	Again     bool
	responder *Responder
	ticket    uint64
	said      bool // its last answer ended it
	context   asker
	cancel    context.CancelFunc
}

// Text is the request as a string.
func (r *Request) Text() string { return string(r.Data) }

func (r *Request) payload() (string, []byte) { return r.Service, r.Data }

// Answer gives an answer that is not the last: before what the handler returns, or, where it returns nil, the last of several.
// ErrCancelled, ErrClosed: nobody waits for it any more.
func (r *Request) Answer(data []byte, headers map[string]string) error {
	return r.answer(data, headers, false)
}

func (r *Request) answer(data []byte, headers map[string]string, last bool) error {
	status := native.AnswerRequest(r.responder.stream.handle, r.ticket, data, encoded(headers), last)
	if status == native.Cancelled || status == native.Closed {
		r.cancel() // the library's word that nobody waits is still to come
	}
	if last {
		r.said = status == native.OK
	}
	return check(status, "answer")
}

// Handler answers a request. What it returns is the last answer; nil is none, and empty bytes are an empty one. An error is an error
// for who asks, and logged; a *RemoteError says it in its own words, and is not. ctx ends with the asker's time, and when nobody waits
// for an answer any more; requests made with it carry its trace on.
type Handler func(ctx context.Context, r *Request) ([]byte, error)

// Responder serves a service until it or its client is closed.
type Responder struct {
	client  *Client
	what    string
	handler Handler
	stream  *stream
	mu      sync.Mutex
	working map[uint64]context.CancelFunc // the ends of the handlers' contexts, by ticket
}

// Respond serves a service, and returns when Redis has its name. Each request is handled on a goroutine of its own, at most
// Concurrency (64) at once.
func (c *Client) Respond(ctx context.Context, service string, handler Handler, options ...RespondOption) (*Responder, error) {
	what := fmt.Sprintf("respond to %q", service)
	stream, err := c.core.newStream(nil, what, true)
	if err != nil {
		return nil, err
	}
	r := &Responder{client: c, what: what, handler: handler, stream: stream, working: map[uint64]context.CancelFunc{}}
	id, failure := native.NewResponder(c.core.handle, stream.inbox, service, collect(options).options)
	if failure != nil {
		_ = r.Close()
		return nil, failed(failure, what)
	}
	stream.own(id)
	go func() {
		defer r.leave()
		stream.each(r.record)
	}()
	if err := c.ask(ctx, what, native.ResponderActive, id); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Drain takes nothing new, waits until the handlers have left, and closes. ErrTimeout: some had not, and their askers were told.
func (r *Responder) Drain(ctx context.Context) error {
	defer r.Close()
	return r.client.ask(ctx, r.what, native.ResponderDrain, r.stream.handle)
}

// Close closes at once: the contexts of the handlers end, and their askers are told. Harmless when it is closed.
func (r *Responder) Close() error {
	r.client.core.closeStream(r.stream)
	r.leave()
	return nil
}

// leave ends the contexts of the handlers. Those that begin meanwhile are ended when the stream is.
func (r *Responder) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cancel := range r.working {
		cancel()
	}
}

func (r *Responder) record(one *native.Record, data []byte) {
	switch one.Kind {
	case native.KindRequest:
		r.begin(one, data)
	case native.KindCancel:
		r.mu.Lock()
		if cancel := r.working[one.Number]; cancel != nil {
			cancel()
		}
		r.mu.Unlock()
	case native.KindClosed:
		_ = r.Close()
	case native.KindLost, native.KindRefused:
		r.client.core.logger.Warn("redmux: requests may be missed", "what", r.what, "reason", native.StatusWord(one.Status))
	}
}

func (r *Responder) begin(one *native.Record, data []byte) {
	h := headOf(one.Extra(data))
	request := &Request{
		Service: native.Text(one.Name(data)), Data: one.Data(data), ID: h.ID, From: h.From, Headers: h.H,
		Again: one.Flags&native.FlagAgain != 0, responder: r, ticket: one.Number,
		context: asker{until: time.Unix(0, int64(one.Aux)), trace: h.H["traceparent"]},
	}
	request.context.Context, request.cancel = context.WithCancel(context.Background()) // a parent with many children takes longer
	r.mu.Lock()
	r.working[request.ticket] = request.cancel
	r.mu.Unlock()
	go r.handle(request)
}

// asker is a handler's context. It ends when the library says so, and not by a clock of its own, which might be ahead of who asks.
type asker struct {
	context.Context
	until time.Time
	trace string
}

func (a *asker) Deadline() (time.Time, bool) { return a.until, true }

func (a *asker) Value(key any) any {
	if key == (traced{}) {
		return a.trace
	}
	return a.Context.Value(key)
}

func (r *Responder) handle(request *Request) {
	defer r.left(request)
	var data []byte
	err := safely(func() (err error) { data, err = r.handler(&request.context, request); return })
	if err == nil && data != nil {
		err = request.answer(data, nil, true)
	}
	if err == nil || request.context.Err() != nil {
		return // all is said, or nobody hears it
	}
	var remote *RemoteError
	if !errors.As(err, &remote) {
		r.client.core.logger.Error("redmux: a handler failed; its asker is told", "what", r.what, "error", err)
		remote = &RemoteError{Code: "FAILED", Message: err.Error()}
	}
	native.FailRequest(r.stream.handle, request.ticket, remote.Code, remote.Message, remote.Retriable)
}

// left ends the request, however its handler was left.
func (r *Responder) left(request *Request) {
	r.mu.Lock()
	delete(r.working, request.ticket)
	r.mu.Unlock()
	request.cancel()
	if !request.said {
		native.EndRequest(r.stream.handle, request.ticket) // harmless where something ended it
	}
}
