package redmux_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// A context ends what it was given to, and leaves nothing of it.

func TestAContextEndsEveryCall(t *testing.T) {
	ctx := begin(t)
	own := startFixture()
	defer own.end()
	client, err := redmux.Connect(ctx, own.url, redmux.Logger((&logged{}).logger()))
	ok(t, err)
	defer func() {
		now, cancel := context.WithCancel(ctx)
		cancel()
		_ = client.Shutdown(now) // the server does not answer
	}()
	sub, err := client.Subscribe(ctx, "x")
	ok(t, err)
	defer sub.Close()
	promises, err := client.Promises("p:")
	ok(t, err)
	ok(t, promises.WaitActive(ctx))
	defer promises.Close()
	own.do("freeze")
	ok(t, client.Post("x", nil)) // what flush waits for
	calls := map[string]func(context.Context) error{
		"publish":   func(ctx context.Context) error { _, err := client.Publish(ctx, "x", nil); return err },
		"flush":     client.Flush,
		"barrier":   client.Barrier,
		"subscribe": func(ctx context.Context) error { _, err := client.Subscribe(ctx, "new"); return err },
		"pattern":   func(ctx context.Context) error { _, err := client.SubscribePattern(ctx, "new*"); return err },
		"add":       func(ctx context.Context) error { return sub.Add(ctx, "more") },
		"next":      func(ctx context.Context) error { _, err := sub.Next(ctx); return err },
		"messages": func(ctx context.Context) (last error) {
			for _, err := range sub.Messages(ctx) {
				last = err
			}
			return last
		},
		"events": func(ctx context.Context) (last error) {
			for _, err := range sub.Events(ctx) {
				last = err
			}
			return last
		},
		"promise": func(ctx context.Context) error { _, err := client.Promise(ctx, "new"); return err },
		"wait": func(ctx context.Context) error {
			promise, err := promises.New("a", redmux.Within(redmux.Forever))
			if err == nil {
				_, err = promise.Wait(ctx)
			}
			return err
		},
		"connect": func(ctx context.Context) error { _, err := redmux.Connect(ctx, own.url); return err },
	}
	for what, call := range calls {
		over, cancel := context.WithCancel(ctx)
		cancel()
		if err := call(over); !errors.Is(err, context.Canceled) || !errors.Is(err, redmux.ErrCancelled) {
			t.Errorf("%s, ended before: %v", what, err)
		}
		during, cancel := context.WithCancel(ctx)
		time.AfterFunc(5*time.Millisecond, cancel)
		if err := call(during); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, ended while it waited: %v", what, err)
		}
		late, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		if err := call(late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, with a deadline: %v", what, err)
		}
		cancel()
	}
	own.do("thaw")
}

func TestAStormOfCancelsLeavesNothing(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	promises, err := client.Promises("p:")
	ok(t, err)
	ok(t, promises.WaitActive(ctx))
	sub := subscribe(t, ctx, client, "x")
	for turn := range 30 {
		storm, cancel := context.WithCancel(ctx)
		var work sync.WaitGroup
		for n := range 20 {
			work.Add(4)
			go func() { defer work.Done(); _, _ = client.Publish(storm, "x", []byte("y")) }()
			go func() { defer work.Done(); _ = sub.Add(storm, "c"+strconv.Itoa(n)) }()
			go func() {
				defer work.Done()
				if one, err := client.Subscribe(storm, "d"+strconv.Itoa(n)); err == nil {
					_ = one.Close()
				}
			}()
			go func() {
				defer work.Done()
				if promise, err := promises.New(strconv.Itoa(n)); err == nil {
					_, _ = promise.Wait(storm)
				}
			}()
		}
		for range turn % 4 {
			runtime.Gosched()
		}
		cancel()
		work.Wait()
	}
	ok(t, client.Barrier(ctx))
	found, err := client.Stats()
	ok(t, err)
	stats, err := redmux.DecodeJSON[struct{ Operations, Sources int }](redmux.Message{Data: found})
	ok(t, err)
	equal(t, stats.Operations, 0)
	equal(t, stats.Sources, 2)
}

func TestASubscribeThatIsCancelledLeavesNoSubscription(t *testing.T) {
	ctx := begin(t)
	own := startFixture()
	defer own.end()
	client, err := redmux.Connect(ctx, own.url)
	ok(t, err)
	defer client.Close()
	own.do("freeze")
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := client.Subscribe(soon, "gone"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	own.do("thaw")
	eventually(t, "Redis lets the channel go", func() bool { return own.do("numsub", "channel", "gone") == 0.0 })
}

func TestAContextThatEndsInTheLoopEndsIt(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	for range 100 {
		ok(t, client.Post("x", nil))
	}
	ok(t, client.Barrier(ctx))
	over, cancel := context.WithCancel(ctx)
	read := 0
	for _, err := range sub.Messages(over) {
		if err != nil {
			equal(t, errors.Is(err, context.Canceled), true)
			break
		}
		read++
		cancel()
	}
	cancel()
	equal(t, read, 1)
}

func TestAReadsContextBoundsItWhereTheGatherHasNone(t *testing.T) {
	ctx := begin(t)
	client, handler := connect(t, ctx), newSlow()
	respond(t, ctx, client, "x", handler.handle)
	for what, read := range map[string]func(context.Context, *redmux.Gather) error{
		"next": func(ctx context.Context, g *redmux.Gather) error { _, err := g.Next(ctx); return err },
		"all":  func(ctx context.Context, g *redmux.Gather) error { _, err := g.All(ctx); return err },
	} {
		t.Log(what)
		g, err := client.Gather(context.Background(), "x", nil, redmux.Strict())
		ok(t, err)
		<-handler.begun
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		is(t, read(soon, g), context.DeadlineExceeded)
		<-handler.told // it was given up
		equal(t, g.End().Reason, "cancelled")
	}
}
