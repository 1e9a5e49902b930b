// Package redmux is one Redis connection for every conversation: the subscriptions, patterns and promises of a program share one
// connection to hear and one to speak, both made again for ever, and the program is told when it may have missed something.
//
//	client, err := redmux.Connect(ctx, "redis://localhost")
//	sub, err := client.Subscribe(ctx, "news", "sport")
//	n, err := client.Publish(ctx, "news", []byte("hi")) // how many received it
//	for m, err := range sub.Messages(ctx) { … }
//
// Names are strings of any bytes, payloads are byte slices. A context bounds the call that it is given to, and cancels it in the
// library; without a deadline the client's option timeout (10 s) counts. Everything may be used from any goroutine; one goroutine at
// a time reads a subscription. What is not closed is closed when it is collected, with a warning.
//
// Plain Pub/Sub loses what is published while the connection is away. Events tells from when to when; the other ways to read log it.
package redmux

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Version is the version of this package.
const Version = "0.1.0"

const closeTime = 5 * time.Second

// Client is one connection to hear and one to speak, made again for ever.
type Client struct {
	core    *core
	closing atomic.Bool
}

// Connect connects, and waits until the link is up, ConnectTimeout is over or ctx ends; the error says why the last attempt failed.
// An empty url is the environment's: REDIS_URL, else REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, else localhost:6379.
func Connect(ctx context.Context, url string, options ...Option) (*Client, error) {
	if found := native.LibraryABI(); found != native.ABI {
		return nil, fail(-104, "connect", fmt.Sprintf("the library has ABI %d, this package was compiled for ABI %d", found, native.ABI))
	}
	given := collect(append([]Option{Set("wrapper", "go/"+Version), func(s *settings) { s.connectTimeout = closeTime }}, options...))
	if url != "" {
		given.options = slices.Insert(given.options, 0, native.Option{Key: "url", Value: url})
	}
	if given.logger == nil { // it usually prints, so it is told of warnings only; before the url, which may say otherwise
		given.logger = slog.Default()
		given.options = slices.Insert(given.options, 0, native.Option{Key: "log_level", Value: "warn"})
	}
	inner, err := open(given)
	if err != nil {
		return nil, err
	}
	client := &Client{core: inner}
	runtime.SetFinalizer(client, (*Client).dropped)
	if !given.lazy {
		ctx, cancel := context.WithTimeout(ctx, given.connectTimeout)
		defer cancel()
		if err := client.Ready(ctx); err != nil {
			client.closing.Store(true)
			client.leave()
			return nil, err
		}
	}
	return client, nil
}

func (c *Client) dropped() {
	if !c.closing.Swap(true) {
		c.core.logger.Warn("redmux: a client was not closed")
		c.core.stop()
	}
}

// run asks the library and waits for its answer; the client stays alive meanwhile. Where the context has a deadline the library has
// it too, and is waited for: it says what became of a publish. A context that was cancelled cancels the operation and is not waited
// for.
func (c *Client) run(ctx context.Context, what string, ask asking) (*op, error) {
	defer runtime.KeepAlive(c)
	o := &op{what: what}
	if ctx.Err() != nil {
		return o, ended(ctx, what)
	}
	deadline, _ := ctx.Deadline()
	if err := c.core.begin(o, func(inbox, token uint64) int32 { return ask(inbox, token, limitOf(deadline)) }); err != nil {
		return o, err
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if _, has := ctx.Deadline(); !has || ctx.Err() != context.DeadlineExceeded {
			c.core.forget(o.token)
			native.Cancel(c.core.replies, o.token)
			return o, ended(ctx, what)
		}
		<-o.done
	}
	return o, o.err(ctx)
}

func (c *Client) ask(ctx context.Context, what string, ask native.Ask, id uint64) error {
	_, err := c.run(ctx, what, func(inbox, token uint64, limit int64) int32 { return ask.Of(id, inbox, token, limit) })
	return err
}

// Ready waits until the subscriber link is up; its timeout says why the last attempt failed.
func (c *Client) Ready(ctx context.Context) error {
	return c.ask(ctx, "connect", native.Ready, c.core.handle)
}

// Publish publishes, and returns how many received it. ErrNotSent: repeat it if you like; ErrUnknown: nobody knows.
func (c *Client) Publish(ctx context.Context, channel string, data []byte) (int64, error) {
	done, err := c.run(ctx, `publish to "`+channel+`"`, func(inbox, token uint64, limit int64) int32 {
		return native.Publish(c.core.handle, channel, data, inbox, token, limit)
	})
	return int64(done.number), err
}

// PublishJSON publishes a value as JSON.
func (c *Client) PublishJSON(ctx context.Context, channel string, value any) (int64, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("redmux: publish to %q: %w", channel, err)
	}
	return c.Publish(ctx, channel, data)
}

// Post publishes without waiting for anything. What is lost is counted in Stats and logged.
func (c *Client) Post(channel string, data []byte) error {
	defer runtime.KeepAlive(c)
	return check(native.Post(c.core.handle, channel, data), "post")
}

// PostJSON posts a value as JSON.
func (c *Client) PostJSON(channel string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("redmux: post to %q: %w", channel, err)
	}
	return c.Post(channel, data)
}

// Fulfill keeps a promise, wherever it was made: a publish on its name.
func (c *Client) Fulfill(ctx context.Context, name string, data []byte) (int64, error) {
	return c.Publish(ctx, name, data)
}

// Flush waits until everything that was published and posted before is answered.
func (c *Client) Flush(ctx context.Context) error {
	return c.ask(ctx, "flush", native.Flush, c.core.handle)
}

// Barrier waits until everything that was published before can be read here, where it is subscribed.
func (c *Client) Barrier(ctx context.Context) error {
	return c.ask(ctx, "barrier", native.Barrier, c.core.handle)
}

// Authenticate gives new credentials to the live connections and all later ones. An empty user is Redis' default one.
func (c *Client) Authenticate(ctx context.Context, user, password string) error {
	_, err := c.run(ctx, "authenticate", func(inbox, token uint64, limit int64) int32 {
		return native.Authenticate(c.core.handle, user, password, inbox, token, limit)
	})
	return err
}

// Stop disconnects and keeps everything that is subscribed, until Restart.
func (c *Client) Stop() error { return check(native.Stop(c.core.handle), "stop") }

// Restart connects a stopped client again.
func (c *Client) Restart() error { return check(native.Restart(c.core.handle), "restart") }

// Stats is what the client counted: JSON, described by docs/stats.schema.json.
func (c *Client) Stats() (json.RawMessage, error) {
	defer runtime.KeepAlive(c)
	found, status := native.Stats(c.core.handle, 0)
	return found, check(status, "stats")
}

// Close lets publishes finish for up to 5 s, ends everything that waits, and disconnects. A handler that is running goes on to its
// end, and is the last. A second call is harmless.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return c.Shutdown(ctx)
}

// Shutdown is Close, and lets publishes finish until ctx ends. The error says that some had no answer by then.
func (c *Client) Shutdown(ctx context.Context) error {
	if c.closing.Swap(true) {
		<-c.core.gone
		return nil
	}
	c.core.closeResponders()
	err := c.ask(ctx, "close", native.Flush, c.core.handle)
	c.leave()
	if failure, is := err.(*Error); is && (failure.Timeout() || ctx.Err() != nil) {
		return err
	}
	return nil // what was lost with the connection was told to who published it
}

func (c *Client) leave() {
	c.core.stop()
	<-c.core.gone
	runtime.SetFinalizer(c, nil)
}
