package redmux_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// What is closed, and when: use after it, whoever waits meanwhile, a handler that closes what it serves, a process that ends, and what
// nobody closed.

func TestUseAfterCloseIsClosed(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	promises, err := client.Promises("p:")
	ok(t, err)
	ok(t, client.Close())
	ok(t, client.Close())
	for what, call := range map[string]func() error{
		"publish":     func() error { _, err := client.Publish(ctx, "x", nil); return err },
		"post":        func() error { return client.Post("x", nil) },
		"flush":       func() error { return client.Flush(ctx) },
		"barrier":     func() error { return client.Barrier(ctx) },
		"ready":       func() error { return client.Ready(ctx) },
		"stop":        client.Stop,
		"stats":       func() error { _, err := client.Stats(); return err },
		"subscribe":   func() error { _, err := client.Subscribe(ctx, "y"); return err },
		"pattern":     func() error { _, err := client.SubscribePattern(ctx, "y*", redmux.NoWait()); return err },
		"add":         func() error { return sub.Add(ctx, "z") },
		"add no wait": func() error { return sub.AddNoWait("z") },
		"clear":       func() error { return sub.Clear(ctx) },
		"next":        func() error { _, err := sub.Next(ctx); return err },
		"promises":    func() error { _, err := client.Promises("q:"); return err },
		"wait active": func() error { return promises.WaitActive(ctx) },
		"promise":     func() error { _, err := client.Promise(ctx, "q"); return err },
		"new":         func() error { _, err := promises.New("a"); return err },
		"set clear":   promises.Clear,
	} {
		if err := call(); !errors.Is(err, redmux.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for m, err := range sub.Messages(ctx) {
		t.Fatal(m, err)
	}
	if _, open := <-sub.Chan(); open {
		t.Fatal("a message")
	}
	equal(t, len(sub.Channels()), 0)
	equal(t, sub.Dropped(), 0)
	ok(t, sub.Close())
	ok(t, promises.Close())
}

func TestCloseEndsBlockedReadsAndEveryWait(t *testing.T) {
	ctx := begin(t)
	for round := range 20 {
		client := connect(t, ctx)
		reading, next, channel := subscribe(t, ctx, client, "x"), subscribe(t, ctx, client, "y"), subscribe(t, ctx, client, "z")
		promise, err := client.Promise(ctx, "p", redmux.Within(redmux.Forever))
		ok(t, err)
		var work sync.WaitGroup
		work.Add(4)
		go func() {
			defer work.Done()
			for m, err := range reading.Messages(ctx) {
				t.Error(m, err)
			}
		}()
		go func() {
			defer work.Done()
			if _, err := next.Next(ctx); !errors.Is(err, redmux.ErrClosed) {
				t.Error(err)
			}
		}()
		go func() {
			defer work.Done()
			for m := range channel.Chan() {
				t.Error(m)
			}
		}()
		go func() {
			defer work.Done()
			if _, err := promise.Wait(ctx); !errors.Is(err, redmux.ErrClosed) {
				t.Error(err)
			}
		}()
		if round%2 == 0 {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond) // both: before they wait, and while they do
		}
		ok(t, client.Close())
		work.Wait()
	}
}

func TestClosingASubscriptionEndsItsBlockedNext(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	for range 100 {
		sub := subscribe(t, ctx, client, "x")
		ended := make(chan error)
		go func() {
			_, err := sub.Next(ctx)
			ended <- err
		}()
		runtime.Gosched()
		ok(t, sub.Close())
		if err := <-ended; !errors.Is(err, redmux.ErrClosed) {
			t.Fatal(err)
		}
	}
}

func TestHandlersMayCloseWhatTheyServe(t *testing.T) {
	ctx := begin(t)
	for range 20 {
		client := connect(t, ctx)
		ended := make(chan error, 1)
		_, err := client.SubscribeWith(ctx, []string{"x"}, redmux.OnMessage(func(redmux.Message) error {
			ended <- client.Close()
			return nil
		}))
		ok(t, err)
		ok(t, client.Post("x", []byte("y")))
		ok(t, <-ended)
	}
	client := connect(t, ctx)
	var sub *redmux.Subscription
	ready, ended := make(chan struct{}), make(chan error, 1)
	sub, err := client.SubscribeWith(ctx, []string{"x"}, redmux.OnActive(func(redmux.Active) {
		<-ready
		ended <- sub.Close()
	}))
	ok(t, err)
	close(ready)
	ok(t, <-ended)
	stopped := make(chan error, 1)
	var other atomic.Pointer[redmux.Client]
	made, err := redmux.Connect(ctx, server.url, redmux.OnState(func(state, _ string) {
		if client := other.Load(); client != nil && state == "stopped" {
			stopped <- client.Close()
		}
	}))
	ok(t, err)
	other.Store(made)
	ok(t, made.Stop())
	ok(t, <-stopped)
}

// exits is the program of a child process of these tests.
func exits() bool {
	word, url, child := strings.Cut(os.Getenv("REDMUX_TEST_EXIT"), " ")
	if !child {
		return false
	}
	ctx := context.Background()
	client, err := redmux.Connect(ctx, url)
	must(err)
	if word == "publish" {
		got, err := client.Publish(ctx, "x", []byte("y"))
		must(err)
		fmt.Println(got)
		must(client.Close())
		return true
	}
	heard := make(chan struct{}, 1000)
	_, err = client.SubscribeWith(ctx, []string{"x"}, redmux.OnMessage(func(redmux.Message) error { heard <- struct{}{}; return nil }))
	must(err)
	sub, err := client.Subscribe(ctx, "x")
	must(err)
	go func() {
		for range sub.Chan() {
		}
	}()
	for range 50 {
		must(client.Post("x", []byte("y")))
	}
	<-heard
	return true
}

func TestAProcessMayExitWithAnOpenClientAHundredTimes(t *testing.T) {
	begin(t)
	for range 25 {
		programs := make([]*exec.Cmd, 4)
		outputs := make([]bytes.Buffer, len(programs))
		for n := range programs {
			programs[n] = exec.Command(os.Args[0])
			programs[n].Env = append(os.Environ(), "REDMUX_TEST_EXIT=exit "+server.url)
			programs[n].Stdout, programs[n].Stderr = &outputs[n], &outputs[n]
			ok(t, programs[n].Start())
		}
		for n, program := range programs {
			err := program.Wait()
			if outputs[n].Len() > 0 || err != nil {
				t.Fatal(err, outputs[n].String())
			}
		}
	}
}

func TestAThousandSubscriptionsOpenedAndClosedLeaveNothing(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	before := hold()
	for range 10 {
		subs := make([]*redmux.Subscription, 100)
		for n := range subs {
			var err error
			channels := []string{"c" + strconv.Itoa(n)}
			if n%2 == 0 {
				subs[n], err = client.SubscribeWith(ctx, channels, redmux.NoWait())
			} else {
				subs[n], err = client.SubscribeWith(ctx, channels, redmux.NoWait(), redmux.OnMessage(func(redmux.Message) error { return nil }))
			}
			ok(t, err)
			if n%4 == 0 {
				subs[n].Chan()
			}
		}
		ok(t, subs[99].WaitActive(ctx))
		for _, sub := range subs {
			ok(t, sub.Close())
		}
	}
	ok(t, client.Barrier(ctx))
	eventually(t, "everything is as before", func() bool {
		now := hold()
		now.descriptors-- // the publish link, for the barrier
		return now.within(before)
	})
	found, err := client.Stats()
	ok(t, err)
	stats, err := redmux.DecodeJSON[struct{ Sources int }](redmux.Message{Data: found})
	ok(t, err)
	equal(t, stats.Sources, 0)
}

func TestWhatIsDroppedWithoutACloseIsClosedAndSaid(t *testing.T) {
	ctx := begin(t)
	var log logged
	said := func(what string) func() bool {
		return func() bool {
			runtime.GC()
			return strings.Contains(log.String(), what)
		}
	}
	client, err := redmux.Connect(ctx, server.url, redmux.Logger(log.logger()))
	ok(t, err)
	func() {
		subscribe(t, ctx, client, "dropped")
		promises, err := client.Promises("dropped:")
		ok(t, err)
		ok(t, promises.WaitActive(ctx))
	}()
	eventually(t, "a subscription that was dropped is found", said("a subscription was not closed"))
	eventually(t, "a promise set that was dropped is found", said("a promise set was not closed"))
	eventually(t, "Redis lets them go", func() bool {
		return server.do("numsub", "channel", "dropped") == 0.0 && server.do("numpat") == 0.0
	})
	client = nil
	eventually(t, "a client that was dropped is found", said("a client was not closed"))
	lines := strings.Count(log.String(), "was not closed")
	closed := connect(t, ctx, redmux.Logger(log.logger()))
	ok(t, subscribe(t, ctx, closed, "x").Close())
	ok(t, closed.Close())
	closed = nil
	runtime.GC()
	runtime.GC()
	equal(t, strings.Count(log.String(), "was not closed"), lines) // what was closed is not said
}

func TestOfCallbacksOneThatRunsIsTheLastBehindAClose(t *testing.T) {
	begun, goOn := make(chan string, 100), make(chan struct{})
	// Behind everything else, when all goroutines have ended.
	t.Cleanup(func() { equal(t, len(begun), 0) })
	ctx := begin(t)
	client, err := redmux.Connect(ctx, server.url, redmux.OnState(func(state, _ string) {
		begun <- state
		<-goOn
	}))
	ok(t, err)
	<-begun
	// Meanwhile there is more to tell, which then comes in one piece.
	ok(t, client.Flush(ctx))
	ok(t, client.Stop())
	goOn <- struct{}{}
	<-begun
	ok(t, client.Close())
	close(goOn)
}
