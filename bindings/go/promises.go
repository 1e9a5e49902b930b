package redmux

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Promise is one message to come.
type Promise struct {
	client *Client
	op     *op
}

// Wait waits for the message. When ctx ends the promise is cancelled. ErrTimeout: nobody kept it; ErrCancelled, ErrLinkLost,
// ErrClosed: nobody can any more.
func (p *Promise) Wait(ctx context.Context) ([]byte, error) {
	defer runtime.KeepAlive(p.client)
	select {
	case <-p.op.done: // also if ctx has ended
	default:
		select {
		case <-p.op.done:
		case <-ctx.Done():
			p.Cancel()
			return nil, ended(ctx, p.op.what)
		}
	}
	return p.op.payload, p.op.err(context.Background())
}

// Cancel ends it with ErrCancelled; harmless when it ended before.
func (p *Promise) Cancel() { native.Cancel(p.client.core.replies, p.op.token) }

// Promise makes a promise on one channel, in effect when this returns: the next message on it keeps it.
func (c *Client) Promise(ctx context.Context, name string, options ...PromiseOption) (*Promise, error) {
	given := collect(options)
	o := &op{what: fmt.Sprintf("promise %q", name), active: make(chan struct{})}
	active := o.active
	p, err := c.promise(o, func(inbox, token uint64) int32 {
		return native.Promise(native.ByName, c.core.handle, name, inbox, token, given.within, 0)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-active:
	case <-o.done:
	case <-ctx.Done():
		p.Cancel()
		return nil, ended(ctx, o.what)
	}
	select {
	case <-active: // perhaps it has ended since
		return p, nil
	default:
		return nil, o.err(ctx)
	}
}

func (c *Client) promise(o *op, ask func(inbox, token uint64) int32) (*Promise, error) {
	defer runtime.KeepAlive(c)
	if err := c.core.begin(o, ask); err != nil {
		return nil, err
	}
	return &Promise{c, o}, nil
}

// Promises is a set of promises on the channels that begin with a prefix, for one subscription of Redis.
type Promises struct {
	client *Client
	prefix string
	handle uint64
	closed atomic.Bool
}

// Promises makes a set of promises under a prefix; WaitActive waits until Redis has it.
func (c *Client) Promises(prefix string) (*Promises, error) {
	what := fmt.Sprintf("promises %q", prefix)
	handle, status := native.NewPromises(c.core.handle, c.core.replies, prefix)
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	if c.core.ended {
		native.ClosePromises(handle)
		status = native.Closed
	}
	if status != native.OK {
		return nil, fail(status, what, "")
	}
	c.core.sets.Store(handle, true)
	p := &Promises{client: c, prefix: prefix, handle: handle}
	runtime.SetFinalizer(p, (*Promises).dropped)
	return p, nil
}

func (p *Promises) dropped() {
	if !p.closed.Load() && !p.client.closing.Load() {
		p.client.core.logger.Warn("redmux: a promise set was not closed", "prefix", p.prefix)
		_ = p.Close()
	}
}

// WaitActive waits until a promise can be made.
func (p *Promises) WaitActive(ctx context.Context) error {
	defer runtime.KeepAlive(p)
	return p.client.ask(ctx, fmt.Sprintf("promises %q", p.prefix), native.PromisesActive, p.handle)
}

// New makes a promise on prefix and suffix, in effect when this returns; it costs no traffic. ErrInactive: not at this moment.
func (p *Promises) New(suffix string, options ...PromiseOption) (*Promise, error) {
	return p.make(native.OfSet, suffix, options)
}

// WaitNew makes a promise as soon as the set is active (ActiveWithin); the time of Within begins then.
func (p *Promises) WaitNew(suffix string, options ...PromiseOption) (*Promise, error) {
	return p.make(native.OfSetLater, suffix, options)
}

func (p *Promises) make(kind int, suffix string, options []PromiseOption) (*Promise, error) {
	defer runtime.KeepAlive(p)
	given := collect(options)
	return p.client.promise(&op{what: fmt.Sprintf("promise %q", p.prefix+suffix)}, func(inbox, token uint64) int32 {
		return native.Promise(kind, p.handle, suffix, inbox, token, given.within, given.active)
	})
}

// Clear ends every promise of the set with ErrCancelled; the set goes on.
func (p *Promises) Clear() error { return check(native.ClearPromises(p.handle), "clear") }

// Close ends the set; its promises end with ErrClosed. Harmless when it is closed.
func (p *Promises) Close() error {
	if !p.closed.Swap(true) {
		p.client.core.sets.Delete(p.handle)
		native.ClosePromises(p.handle)
		runtime.SetFinalizer(p, nil)
	}
	return nil
}
