package redmux

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// core is a client as its goroutines hold it. They never hold the Client, so that one that was dropped is found.
//
// Two goroutines: the reader parks in the netpoller on a dup of the client's descriptor, completes operations by their token, and
// signals whoever waits for an inbox; the other one takes the event inbox. A logger or a handler may block, so each event is told on
// a goroutine of its own, behind the one before. The reader is the last to go, and closes everything behind itself.
type core struct {
	handle  uint64
	replies uint64
	settings
	events  *stream
	told    chan struct{} // closed when the event before was told
	file    *os.File
	context context.Context // of what the application is asked; ends with the client
	cancel  context.CancelFunc
	tokens  atomic.Uint64
	gone    chan struct{}

	mu      sync.Mutex
	ended   bool
	waiting map[uint64]waiter  // by token
	streams map[uint64]*stream // by inbox
	sets    sync.Map           // promise sets that are open
}

// waiter gets the records of the reply inbox that carry its token, until it says that it has ended.
type waiter interface {
	reply(r *native.Record, data []byte) (over bool)
}

// stream is an inbox that somebody else than the reader takes from, and the source that it belongs to.
type stream struct {
	inbox  uint64
	serves bool          // a responder, or else a subscription
	signal signal        // there may be something to take
	done   chan struct{} // closed with it
	mu     sync.Mutex
	handle uint64
	closed atomic.Bool
}

func newStream(inbox uint64, serves bool) *stream {
	return &stream{inbox: inbox, serves: serves, signal: make(signal, 1), done: make(chan struct{})}
}

// each gives what comes to f, until it is closed; no request behind that, but what was told before. What comes behind a block that left
// nothing is signalled.
func (s *stream) each(f func(r *native.Record, data []byte)) {
	records, data, told := []native.Record(nil), []byte(nil), false
	for !s.closed.Load() {
		if !told {
			<-s.signal
		}
		records, data, told, _ = s.copied(records[:0])
		for i := 0; i < len(records) && !(s.serves && s.closed.Load()); i++ {
			f(&records[i], data)
		}
	}
}

// copied is a copy of what waits in it. A close waits for it, so that nothing is lent any more behind the close.
func (s *stream) copied(records []native.Record) ([]native.Record, []byte, bool, int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return native.Copied(s.inbox, records)
}

// signal is sticky, so that none is missed. It wakes one goroutine.
type signal chan struct{}

func (s signal) wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// wait says whether it came before the context's end.
func (s signal) wait(ctx context.Context) bool {
	if ctx.Done() == nil {
		<-s // a third of what the choice takes
		return true
	}
	select {
	case <-s:
	case <-ctx.Done():
		return false
	}
	return true
}

// own gives it its source; one that came too late is closed.
func (s *stream) own(handle uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = handle
	if s.closed.Load() {
		s.free()
	}
}

// close never waits for the network; it says whether it was open.
func (s *stream) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return false
	}
	s.free() // before handlers hear of it: whoever leaves then would end a request that the close has yet to end
	close(s.done)
	s.signal.wake()
	native.CloseInbox(s.inbox)
	return true
}

func (s *stream) free() {
	if s.serves {
		native.CloseResponder(s.handle)
	} else {
		native.CloseSubscription(s.handle) // none, 0, is harmless
	}
}

func open(given settings) (*core, error) {
	handle, events, failure := native.Open(given.options)
	if failure != nil {
		return nil, failed(failure, "connect")
	}
	c := &core{
		handle: handle, settings: given, events: newStream(events, false), told: make(chan struct{}),
		gone: make(chan struct{}), waiting: map[uint64]waiter{},
	}
	close(c.told)
	c.context, c.cancel = context.WithCancel(context.Background())
	replies, failure := native.NewInbox(handle, nil)
	descriptor := native.Dup(handle)
	if failure == nil && descriptor < 0 {
		failure = &native.Failure{Status: native.Connect, Text: "no descriptor could be had"}
	}
	if failure != nil {
		native.CloseClient(handle)
		native.CloseInbox(replies)
		native.CloseInbox(events)
		return nil, failed(failure, "connect")
	}
	c.replies = replies
	c.streams = map[uint64]*stream{events: c.events}
	c.file = os.NewFile(uintptr(descriptor), "redmux")
	go c.read()
	go c.events.each(c.event)
	return c, nil
}

// --- the reader

func (c *core) read() {
	defer c.finish()
	raw, _ := c.file.SyscallConn() // an error only of no file
	ready := make([]uint64, 64)
	// Called again each time that the descriptor becomes readable, until stop gives the wait a deadline that has passed.
	err := raw.Read(func(uintptr) bool {
		for full := true; full; { // else the list is empty: what comes now makes it readable anew
			inboxes, status := native.Listed(c.handle, ready)
			full = len(inboxes) == len(ready)
			c.mu.Lock()
			if status == native.Closed { // everybody comes to see it
				inboxes = append(slices.Collect(maps.Keys(c.streams)), c.replies)
			}
			for _, inbox := range inboxes {
				if s := c.streams[inbox]; s != nil {
					s.signal.wake()
				}
			}
			c.mu.Unlock()
			if slices.Contains(inboxes, c.replies) {
				c.take()
			}
		}
		return false
	})
	if err != nil && !os.IsTimeout(err) {
		c.logger.Error("redmux: the client's descriptor cannot be watched", "error", err)
	}
	c.take()
}

// take empties the reply inbox. Tokens that nobody waits for any more are passed over.
func (c *core) take() {
	for more := true; more; {
		block := native.Take(c.replies)
		data, records := block.Data(), block.Records()
		c.mu.Lock()
		for i := range records {
			r := &records[i]
			if w := c.waiting[r.Token]; w != nil && w.reply(r, data) {
				delete(c.waiting, r.Token)
			}
		}
		c.mu.Unlock()
		more = block.More()
		block.Release()
	}
}

// finish is the reader's last work: whoever still waits is told, and everything is closed.
func (c *core) finish() {
	native.CloseClient(c.handle)
	_ = c.file.Close()
	c.mu.Lock()
	waiting, streams := c.waiting, c.streams
	c.ended, c.waiting, c.streams = true, nil, nil
	c.mu.Unlock()
	over := native.Record{Kind: native.KindDone, Status: native.Closed}
	for _, w := range waiting {
		w.reply(&over, nil)
	}
	c.sets.Range(func(set, _ any) bool { native.ClosePromises(set.(uint64)); return true })
	for _, s := range streams {
		s.close()
	}
	native.CloseInbox(c.replies)
	c.cancel()
	close(c.gone)
}

// stop closes without waiting for the network. The reader does the rest, and closes gone.
func (c *core) stop() {
	native.CloseClient(c.handle)
	_ = c.file.SetReadDeadline(time.Unix(1, 0))
}

// --- the event inbox

var states = map[uint64]string{
	1: "connecting", 2: "online", 3: "offline", 4: "stopped", 5: "slow consumer", 6: "publish online", 7: "publish offline",
	8: "subscribed",
}

func (c *core) event(r *native.Record, data []byte) {
	if r.Kind == native.KindAsk {
		go c.answer(r.Number, string(r.Name(data)), time.Unix(0, int64(r.Aux)))
		return
	}
	one, before, done := *r, c.told, make(chan struct{})
	c.told = done
	go func() {
		defer close(done)
		<-before
		c.tell(&one, data)
	}()
}

func (c *core) tell(r *native.Record, data []byte) {
	switch r.Kind {
	case native.KindLog:
		level := slog.LevelError - 4*slog.Level(r.Number-1) // error, warn, info, debug
		c.logger.Log(c.context, level, "redmux: "+string(r.Extra(data)))
	case native.KindState:
		if state := states[r.Number]; state != "" && c.onState != nil && !c.events.closed.Load() {
			_ = c.guard("OnState", func() error { c.onState(state, string(r.Extra(data))); return nil })
		}
	case native.KindDropped:
		if r.Status != native.OK {
			c.logger.Warn("redmux: posts were lost", "count", r.Number, "reason", native.StatusWord(r.Status))
		}
	}
}

func (c *core) answer(question uint64, what string, until time.Time) {
	f := c.asks[what]
	if f == nil {
		return
	}
	ctx, cancel := context.WithDeadline(c.context, until)
	defer cancel()
	values := make([]string, 2)
	err := c.guard(what, func() (err error) { values[0], values[1], err = f(ctx); return })
	if what == "address" && values[1] == "" { // the path of a socket
		values = values[:1]
	} else if what == "credentials" && values[0] == "" { // a password only
		values = values[1:]
	}
	if err != nil {
		native.Answer(c.handle, question, native.Connect)
	} else if status := native.Answer(c.handle, question, native.OK, values...); status != native.OK && status != native.Closed {
		c.logger.Warn("redmux: an answer of the application was not taken", "about", what, "reason", native.StatusWord(status))
	}
}

// guard runs what the application gave. Where it fails, that is logged and life goes on.
func (c *core) guard(what string, f func() error) error {
	err := safely(f)
	if err != nil {
		c.logger.Error("redmux: a handler failed", "handler", what, "error", err)
	}
	return err
}

// safely makes an error of a panic.
func safely(f func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	return f()
}

// --- operations

// op is the waiter of an operation that ends with one record.
type op struct {
	what    string
	token   uint64
	done    chan struct{}
	active  chan struct{} // of a promise by name: it is in effect
	refused []string

	// Written before done is closed.
	status  int32
	number  uint64
	said    string
	payload []byte
}

func (o *op) reply(r *native.Record, data []byte) bool {
	switch r.Kind {
	case native.KindRefused:
		o.refused = append(o.refused, string(r.Name(data)))
	case native.KindActive:
		if o.active != nil && r.Flags&native.FlagName != 0 {
			close(o.active)
			o.active = nil
		}
	case native.KindDone, native.KindPublish, native.KindPromise:
		o.status, o.number = r.Status, r.Number
		if r.Status != native.OK {
			o.said = string(r.Extra(data))
		} else if r.DataLen > 0 {
			o.payload = append([]byte(nil), r.Data(data)...)
		}
		close(o.done)
		return true
	}
	return false
}

// begin asks the library; its answer will come to the op.
func (c *core) begin(o *op, ask func(inbox, token uint64) int32) error {
	o.done = make(chan struct{})
	if !c.enlist(o, &o.token) {
		return fail(native.Closed, o.what, "")
	}
	status := ask(c.replies, o.token)
	if status != native.OK {
		c.forget(o.token)
	}
	return check(status, o.what)
}

// enlist gives a waiter its token; false: the client is closed.
func (c *core) enlist(w waiter, token *uint64) bool {
	*token = c.tokens.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.waiting[*token] = w
	}
	return !c.ended
}

func (c *core) forget(token uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, token)
}

func (o *op) err(ctx context.Context) error {
	if o.status == native.OK {
		return nil
	}
	err := fail(o.status, o.what, o.said, o.refused...)
	if deadline, has := ctx.Deadline(); has && !time.Now().Before(deadline) {
		err.cause = context.DeadlineExceeded
	}
	return err
}

// asking asks the library for an operation that completes in inbox with token.
type asking = func(inbox, token uint64, limit int64) int32

// only begins it; nobody waits for its end.
func (c *core) only(what string, ask asking) error {
	return check(ask(c.replies, c.tokens.Add(1), 0), what)
}

// --- inboxes

// newStream makes an inbox and has its readers signalled.
func (c *core) newStream(options []native.Option, what string, serves bool) (*stream, error) {
	inbox, failure := native.NewInbox(c.handle, options)
	if failure != nil {
		return nil, failed(failure, what)
	}
	s := newStream(inbox, serves)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		s.close()
		return nil, fail(native.Closed, what, "")
	}
	c.streams[inbox] = s
	return s, nil
}

// closeResponders closes those before what they publish is waited for: their askers are told.
func (c *core) closeResponders() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.serves {
			s.close()
		}
	}
}

func (c *core) closeStream(s *stream) bool {
	c.mu.Lock()
	delete(c.streams, s.inbox)
	c.mu.Unlock()
	return s.close()
}
