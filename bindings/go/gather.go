package redmux

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"runtime"
	"sync"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Answer is one answer. Data is its reader's own.
type Answer struct {
	Service string
	Data    []byte
	// Responder is the name of the client that answered: its Name, else its machine's. By is like no other's.
	Responder, By string
	Headers       map[string]string
	// Number is its place among the answers of its responder, from 0; behind the Last one comes no other.
	Number int
	Last   bool
	nanos  int64
	line   []byte
}

// Text is the answer as a string.
func (a Answer) Text() string { return string(a.Data) }

// Time is when it was read from the socket.
func (a Answer) Time() time.Time { return time.Unix(0, a.nanos) }

func (a Answer) payload() (string, []byte) { return a.Service, a.Data }

// Result is what became of a gather. What came is there, whatever the reason.
type Result struct {
	// Reason is a word: all, count, predicate, quiet; no_responders, deadline, cancelled, closed, interrupted, failed, overflow.
	Reason string
	// Answers are those that All collected, in the order in which they came.
	Answers []Answer
	Errors  []*RemoteError
	// Missing are the names of those who took the request and did not finish.
	Missing []string
	// Expected is how many received the request, as Redis counted; -1 where nobody knows.
	Expected         int
	Elapsed          time.Duration
	Duplicates, Late int
	// Err is what Request would return; nil where everything that was wanted came.
	Err error
}

var reasons = [...]string{ // the first where its client is gone, and nobody says why
	"closed", "no_responders", "all", "count", "predicate", "quiet", "deadline", "cancelled", "closed", "interrupted", "failed", "overflow",
}

func encoded(headers map[string]string) (line []byte) {
	if len(headers) > 0 {
		line, _ = json.Marshal(headers)
	}
	return line
}

// traced is where a handler's context has the traceparent of its request.
type traced struct{}

// gather is one as the client's reader holds it, which keeps answers until they are read.
type gather struct {
	core      *core
	service   string
	until     func(Answer) bool
	token, id uint64
	deadline  time.Time
	signal    signal // there may be an answer, or its end

	mu     sync.Mutex
	came   []Answer
	enough bool
	errors []*RemoteError
	over   bool // what is said of its end is below, and read by who asks
	last   native.Record
	said   []byte
	end    *Result
}

func (g *gather) what() string { return fmt.Sprintf("request to %q", g.service) }

func (g *gather) reply(r *native.Record, data []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.Kind == native.KindEnd || r.Kind == native.KindDone: // the latter where its client is gone
		g.over, g.last, g.said = true, *r, append([]byte(nil), r.Extra(data)...)
		g.signal.wake()
		return true
	case r.Kind != native.KindAnswer:
	case r.Flags&native.FlagFailed != 0:
		var h head
		_ = json.Unmarshal(r.Extra(data), &h)
		g.errors = append(g.errors, &RemoteError{h.Code, h.Message, h.Retriable, h.Name, int(r.Status)})
	case !g.enough:
		own := append(append(make([]byte, 0, r.ExtraLen+r.DataLen), r.Extra(data)...), r.Data(data)...)
		g.came = append(g.came, Answer{
			Service: g.service, Number: int(r.Number), Last: r.Flags&native.FlagLast != 0, nanos: int64(r.Aux),
			line: own[:r.ExtraLen], Data: own[r.ExtraLen:len(own):len(own)],
		})
		g.signal.wake()
	}
	return false
}

// result is its end, once it has ended; nil before.
func (g *gather) result() *Result {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over || g.end != nil {
		return g.end
	}
	r, said := &g.last, head{Expected: -1}
	_ = json.Unmarshal(g.said, &said) // expected may be null
	g.end = &Result{
		Reason: reasons[min(r.Number, uint64(len(reasons)-1))], Errors: g.errors, Expected: said.Expected,
		Elapsed: time.Duration(r.Aux), Duplicates: said.Duplicates, Late: said.Late,
	}
	for _, one := range said.Missing {
		g.end.Missing = append(g.end.Missing, one.Name)
	}
	if r.Status == native.Remote && len(g.errors) > 0 {
		failure := fail(r.Status, g.what(), g.errors[0].Error())
		failure.cause = g.errors[0]
		g.end.Err = failure
	} else if r.Status != native.OK {
		g.end.Err = fail(r.Status, g.what(), said.Message)
	}
	return g.end
}

// stop ends it in the library, if it has not ended. What came can still be read, unless it was enough.
func (g *gather) stop(reason uint64) {
	g.mu.Lock()
	open := !g.over
	if reason == native.Predicate {
		g.enough, g.came = true, nil
	}
	g.mu.Unlock()
	if open {
		native.StopGather(g.core.handle, g.id, reason)
	}
}

// due says whether a context ended because the gather's own time is over, which the library ends, and says what came until then.
func (g *gather) due(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return has && ctx.Err() == context.DeadlineExceeded && !g.deadline.IsZero() && !deadline.Before(g.deadline)
}

func (g *gather) next(ctx context.Context) (Answer, error) {
	for {
		g.mu.Lock()
		over, came := g.over, len(g.came) > 0
		if over || len(g.came) > 1 {
			g.signal.wake() // perhaps another goroutine reads too
		}
		if came {
			answer := g.came[0]
			g.came[0], g.came = Answer{}, g.came[1:]
			g.mu.Unlock()
			h := headOf(answer.line)
			answer.Responder, answer.By, answer.Headers, answer.line = h.Name, h.By, h.H, nil
			if g.until != nil && g.until(answer) {
				g.stop(native.Predicate)
			}
			return answer, nil
		}
		g.mu.Unlock()
		if over {
			return Answer{}, io.EOF
		}
		if !g.signal.wait(ctx) {
			if !g.due(ctx) {
				g.stop(native.GivenUp)
				return Answer{}, ended(ctx, g.what())
			}
			<-g.signal
		}
	}
}

func (c *Client) gather(ctx context.Context, service string, data []byte, options []GatherOption) (*gather, error) {
	given := collect(options)
	g := &gather{core: c.core, service: service, until: given.until, signal: make(signal, 1)}
	if ctx.Err() != nil {
		return nil, ended(ctx, g.what())
	}
	if trace, is := ctx.Value(traced{}).(string); is && trace != "" {
		headers := map[string]string{"traceparent": trace}
		maps.Copy(headers, given.headers)
		given.headers = headers
	}
	g.deadline, _ = ctx.Deadline()
	if given.within > 0 {
		own := time.Now().Add(time.Duration(min(given.within, 1<<43)) * time.Millisecond) // 278 years: more is no duration
		if g.deadline.IsZero() || own.Before(g.deadline) {
			g.deadline = own
		}
	}
	if !c.core.enlist(g, &g.token) {
		return nil, fail(native.Closed, g.what(), "")
	}
	id, failure := native.Gather(c.core.handle, c.core.replies, service, data, encoded(given.headers), given.options, g.token, limitOf(g.deadline))
	if failure != nil {
		c.core.forget(g.token)
		return nil, failed(failure, g.what())
	}
	g.id = id
	return g, nil
}

// Gather is one request and the answers of everybody who serves it: Next, Seq or All. Left early it is given up, and who still works
// on it is told.
type Gather struct {
	client *Client
	inner  *gather
	leave  func() bool // stops watching the context
}

// Gather asks everybody who serves it, at once. ctx bounds the whole gather: its deadline is the time limit, unless TimeLimit is
// earlier; without both the client's option timeout (10 s).
func (c *Client) Gather(ctx context.Context, service string, data []byte, options ...GatherOption) (*Gather, error) {
	inner, err := c.gather(ctx, service, data, options)
	if err != nil {
		return nil, err
	}
	g := &Gather{c, inner, context.AfterFunc(ctx, func() {
		if !inner.due(ctx) {
			inner.stop(native.GivenUp)
		}
	})}
	runtime.SetFinalizer(g, (*Gather).Close)
	return g, nil
}

// Next is the next answer; io.EOF behind the last one, whatever the reason, which End says. When ctx ends first, the gather is given
// up.
func (g *Gather) Next(ctx context.Context) (Answer, error) {
	defer runtime.KeepAlive(g)
	return g.inner.next(ctx)
}

// Seq is the answers as they come. Leaving the loop gives the gather up; when it ends by itself, End says why.
func (g *Gather) Seq() iter.Seq[Answer] {
	return func(yield func(Answer) bool) {
		defer g.Close()
		for answer, err := g.Next(context.Background()); err == nil && yield(answer); answer, err = g.Next(context.Background()) {
		}
	}
}

// All waits for its end, and returns everything. The error is only that ctx ended first; what came until then is there.
func (g *Gather) All(ctx context.Context) (result Result, err error) {
	for {
		answer, failure := g.Next(ctx)
		if failure == io.EOF {
			answers := result.Answers
			result = *g.End()
			result.Answers = answers
			return result, err
		} else if failure != nil { // it was given up, and ends
			ctx, err = context.Background(), failure
		} else {
			result.Answers = append(result.Answers, answer)
		}
	}
}

// End is why it ended, once it has; nil before.
func (g *Gather) End() *Result { return g.inner.result() }

// Close gives it up: it ends with cancelled, and what came can still be read. Harmless when it has ended.
func (g *Gather) Close() error {
	g.leave()
	g.inner.stop(native.GivenUp)
	return nil
}

// Request asks, and returns the first answer; who else works on it is told that it is enough. ErrNoResponders; ErrRemote where
// errors came and no answer; ErrTimeout.
func (c *Client) Request(ctx context.Context, service string, data []byte, options ...GatherOption) (Answer, error) {
	defer runtime.KeepAlive(c)
	g, err := c.gather(ctx, service, data, options)
	if err != nil {
		return Answer{}, err
	}
	answer, err := g.next(ctx)
	if err == nil {
		g.stop(native.Predicate)
	} else if err == io.EOF {
		if err = g.result().Err; err == nil {
			err = fail(native.NoResponders, g.what(), "nobody had an answer")
		}
	}
	return answer, err
}

// RequestJSON is Request with a value as JSON, and the first answer's JSON.
func RequestJSON[T any](ctx context.Context, c *Client, service string, value any, options ...GatherOption) (found T, err error) {
	data, err := json.Marshal(value)
	if err == nil {
		var answer Answer
		if answer, err = c.Request(ctx, service, data, options...); err == nil {
			return DecodeJSON[T](answer)
		}
	}
	return found, err
}
