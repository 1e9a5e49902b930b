package redmux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Subscription is an ordered stream of messages: Next, Messages or Chan, or Events with losses and drops in their places. One
// goroutine reads it at a time. Channels come and go while it lives.
type Subscription struct {
	client  *Client
	stream  *stream
	pattern string
	channel chan Message
	once    sync.Once

	// What follows belongs to who reads.
	reading atomic.Bool
	told    bool // there may be something to take
	records []native.Record
	data    []byte
	at      int
	over    error // its end, once that was read
	names   names
}

// Subscribe subscribes to channels, perhaps none yet, and waits until Redis confirmed them. Where it refused some, Error.Names
// lists them, and nothing stays subscribed.
func (c *Client) Subscribe(ctx context.Context, channels ...string) (*Subscription, error) {
	return c.SubscribeWith(ctx, channels)
}

// SubscribeWith is Subscribe with options: OnMessage and its sisters, InboxRecords, InboxPolicy, NoWait, …
func (c *Client) SubscribeWith(ctx context.Context, channels []string, options ...SubOption) (*Subscription, error) {
	given := collect(options)
	given.noWait = given.noWait || len(channels) == 0
	return c.subscribe(ctx, "subscribe", given, func(s *Subscription, inbox, token uint64, limit int64) int32 {
		handle, status := native.NewSubscription(c.core.handle, s.stream.inbox)
		s.stream.own(handle)
		if status != native.OK || len(channels) == 0 {
			return status
		}
		return native.Change(1, handle, channels, inbox, token, limit)
	})
}

// SubscribePattern subscribes to one of Redis' patterns: news.*, h?llo, [ab]*.
func (c *Client) SubscribePattern(ctx context.Context, pattern string, options ...SubOption) (*Subscription, error) {
	what := fmt.Sprintf("subscribe to %q", pattern)
	return c.subscribe(ctx, what, collect(options), func(s *Subscription, inbox, token uint64, limit int64) int32 {
		handle, status := native.NewPattern(c.core.handle, s.stream.inbox, pattern, inbox, token, limit)
		s.pattern = pattern
		s.stream.own(handle)
		return status
	})
}

func (c *Client) subscribe(ctx context.Context, what string, given settings,
	begin func(s *Subscription, inbox, token uint64, limit int64) int32) (*Subscription, error) {
	stream, err := c.core.newStream(given.options, what, false)
	if err != nil {
		return nil, err
	}
	s := &Subscription{client: c, stream: stream}
	ask := func(inbox, token uint64, limit int64) int32 { return begin(s, inbox, token, limit) }
	if given.noWait {
		err = c.core.only(what, ask)
	} else {
		_, err = c.run(ctx, what, ask)
	}
	if err != nil {
		c.core.closeStream(stream)
		return nil, err
	}
	runtime.SetFinalizer(s, (*Subscription).dropped)
	if len(given.handlers) > 0 {
		s.serve(given.handlers, func() {})
	}
	return s, nil
}

func (s *Subscription) dropped() {
	if s.client.core.closeStream(s.stream) {
		s.client.core.logger.Warn("redmux: a subscription was not closed", "inbox", s.stream.inbox)
	}
}

// --- channels

func (s *Subscription) change(adds int, channels []string) asking {
	return func(inbox, token uint64, limit int64) int32 {
		return native.Change(adds, s.stream.handle, channels, inbox, token, limit)
	}
}

func (s *Subscription) run(ctx context.Context, what string, ask asking) error {
	defer runtime.KeepAlive(s)
	_, err := s.client.run(ctx, what, ask)
	return err
}

func (s *Subscription) ask(ctx context.Context, what string, ask native.Ask) error {
	defer runtime.KeepAlive(s)
	return s.client.ask(ctx, what, ask, s.stream.handle)
}

// Add adds channels and waits until Redis confirmed them. Those that it refused (ErrRefused, Error.Names) are left out; the others
// are active.
func (s *Subscription) Add(ctx context.Context, channels ...string) error {
	err := s.run(ctx, "add", s.change(1, channels))
	if refused := (*Error)(nil); errors.As(err, &refused) && len(refused.Names) > 0 {
		_ = s.RemoveNoWait(refused.Names...)
	}
	return err
}

// AddNoWait adds channels without waiting.
func (s *Subscription) AddNoWait(channels ...string) error {
	return s.client.core.only("add", s.change(1, channels))
}

// Remove removes channels and waits until Redis let them go.
func (s *Subscription) Remove(ctx context.Context, channels ...string) error {
	return s.run(ctx, "remove", s.change(0, channels))
}

// RemoveNoWait removes channels without waiting.
func (s *Subscription) RemoveNoWait(channels ...string) error {
	return s.client.core.only("remove", s.change(0, channels))
}

// Clear removes every channel; the subscription stays.
func (s *Subscription) Clear(ctx context.Context) error { return s.ask(ctx, "clear", native.Clear) }

// WaitActive waits until every channel is active or refused.
func (s *Subscription) WaitActive(ctx context.Context) error {
	return s.ask(ctx, "wait active", native.Active)
}

// Drain unsubscribes; what came until Redis confirmed that can still be read, and then the stream ends.
func (s *Subscription) Drain(ctx context.Context) error { return s.ask(ctx, "drain", native.Drain) }

// Channels are the channels that it has, in no order, or its pattern; none when it is closed.
func (s *Subscription) Channels() []string {
	defer runtime.KeepAlive(s)
	found, _ := native.Names(s.stream.handle)
	return found
}

// Dropped is how many messages had no room so far; 0 when it is closed.
func (s *Subscription) Dropped() int64 {
	defer runtime.KeepAlive(s)
	var counted struct{ Dropped int64 }
	if found, status := native.Stats(0, s.stream.inbox); status == native.OK {
		_ = json.Unmarshal(found, &counted)
	}
	return counted.Dropped
}

// Close closes at once: what was not read is gone, and whoever reads comes to the end. Harmless when it is closed.
func (s *Subscription) Close() error {
	s.client.core.closeStream(s.stream)
	runtime.SetFinalizer(s, nil)
	return nil
}

// --- reading

// errEnd is the end of a stream that the application closed.
var errEnd error = fail(native.Closed, "read", "the subscription is closed")

// Next is the next message. ErrClosed when the subscription is closed, ErrSlowConsumer when its policy closed it; the context's
// error when that ends first, also if messages wait.
func (s *Subscription) Next(ctx context.Context) (m Message, err error) {
	for {
		event, err := s.read(ctx, &m)
		if event == nil || err != nil {
			return m, err
		}
		s.say(event)
	}
}

// read is the next event; a message goes into m, where it needs no memory of its own.
func (s *Subscription) read(ctx context.Context, m *Message) (Event, error) {
	if !s.reading.CompareAndSwap(false, true) {
		return nil, fail(native.Busy, "read", "another goroutine reads this subscription")
	}
	defer s.reading.Store(false)
	return s.next(ctx, m)
}

func (s *Subscription) next(ctx context.Context, m *Message) (Event, error) {
	for {
		if ctx.Err() != nil {
			return nil, ended(ctx, "read")
		}
		if s.stream.closed.Load() {
			return nil, s.ending()
		}
		for s.at < len(s.records) {
			r := &s.records[s.at]
			s.at++
			if r.Kind == native.KindMessage {
				s.message(r, m)
				return nil, nil
			}
			if event := s.other(r); event != nil {
				return event, nil
			}
		}
		if err := s.more(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *Subscription) message(r *native.Record, m *Message) {
	m.Channel, m.Data, m.nanos = s.names.of(r, s.data), r.Data(s.data), int64(r.Aux)
	if r.Flags&native.FlagPattern != 0 {
		m.Pattern = s.pattern
	}
}

// other is the event of a record that is no message; nil for what a reader passes over, and for the end, which is kept.
func (s *Subscription) other(r *native.Record) Event {
	if r.Kind != native.KindClosed {
		return decode(r, s.data)
	}
	s.over = errEnd
	if r.Status != native.OK && r.Status != native.Closed {
		s.over = fail(r.Status, "read", "")
	}
	return nil
}

// ending is how the stream ended: once with its reason, then as closed.
func (s *Subscription) ending() (over error) {
	over, s.over = s.over, errEnd
	if over == nil || s.stream.closed.Load() {
		return errEnd
	}
	return over
}

// more waits for the next block and copies it: one piece of memory for all its payloads, nothing native is kept.
func (s *Subscription) more(ctx context.Context) error {
	s.records, s.data, s.at = s.records[:0], nil, 0
	for {
		if s.over != nil || s.stream.closed.Load() {
			return s.ending()
		}
		if s.told {
			var status int32
			s.records, s.data, s.told, status = s.stream.copied(s.records)
			if status == native.OK {
				return nil
			} else if status == native.Closed {
				return s.ending()
			} else if status != native.Timeout {
				return fail(status, "read", "")
			}
		}
		if cap(s.records) > 8 { // the room that it keeps while it waits
			s.records = nil
		}
		if s.told = s.stream.signal.wait(ctx); !s.told {
			return ended(ctx, "read")
		}
	}
}

// Messages is the messages, until the subscription or ctx ends. Closing it ends the loop without an error; ctx and ErrSlowConsumer
// come as the last error. A loop may be left, and another one go on from there.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			var m Message
			event, err := s.read(ctx, &m)
			if event != nil {
				s.say(event)
			} else if err == errEnd || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Events is the same stream with Message, Lost, Active, Dropped and Refused, each where it happened.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return events(ctx, s.read)
}

func events(ctx context.Context, read func(ctx context.Context, m *Message) (Event, error)) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			var m Message
			event, err := read(ctx, &m)
			if event == nil && err == nil {
				event = m
			}
			if err == errEnd || !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Chan is the messages as a channel without a buffer, which is closed at the end; a reason other than Close is logged. From its first
// call on a goroutine reads the subscription for it.
func (s *Subscription) Chan() <-chan Message {
	s.once.Do(func() {
		s.channel = make(chan Message)
		give := OnMessage(func(m Message) error {
			select {
			case s.channel <- m:
			case <-s.stream.done:
			}
			return nil
		})
		s.serve(collect([]SubOption{give}).handlers, func() { close(s.channel) })
	})
	return s.channel
}

// serve has a goroutine call the handlers, one event after the other, until the end. From now on it is the one that reads, also while a
// handler runs; where another goroutine reads already, that is the error.
func (s *Subscription) serve(handlers []handler, end func()) {
	core, read, first := s.client.core, s.read, s.reading.CompareAndSwap(false, true)
	go func() {
		defer end()
		if first {
			read = s.next
			defer s.reading.Store(false)
		}
		for event, err := range events(context.Background(), read) {
			if err != nil {
				core.logger.Error("redmux: a subscription ended", "error", err)
				return
			}
			handled := false
			for _, called := range handlers {
				handled = called(core, event) || handled
			}
			if !handled {
				s.say(event)
			}
		}
	}()
}

// say logs what plain reading passes over.
func (s *Subscription) say(event Event) {
	log := s.client.core.logger
	switch e := event.(type) {
	case Lost:
		log.Warn("redmux: the connection was lost, messages may be missing", "reason", e.Text)
	case Dropped:
		log.Warn("redmux: messages were dropped: the reader is too slow", "count", e.Count)
	case Refused:
		log.Warn("redmux: refused by Redis' ACL", "channel", e.Channel)
	}
}
