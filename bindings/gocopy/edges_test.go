package redmux_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// Where wrappers break: closes at bad moments, cancels, leaks, exits, floods, few processors, the garbage collector.

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

func TestASecondReaderIsTold(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	first := make(chan string)
	go func() {
		m, err := sub.Next(ctx)
		for errors.Is(err, redmux.ErrState) { // the other one was first
			m, err = sub.Next(ctx)
		}
		first <- fmt.Sprint(m.Text(), err)
	}()
	eventually(t, "the second reader is told", func() bool {
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err := sub.Next(soon)
		return errors.Is(err, redmux.ErrState)
	})
	ok(t, client.Post("x", []byte("y")))
	equal(t, <-first, "y<nil>")
}

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
	if _, err := client.Subscribe(soon, "gone"); !errors.Is(err, soon.Err()) {
		t.Fatal(err)
	}
	own.do("thaw")
	eventually(t, "Redis lets the channel go", func() bool { return own.do("numsub", "channel", "gone") == 0.0 })
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

func TestALoopThatIsLeftGoesOnLaterWithoutALoss(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	for n := range 100 {
		ok(t, client.Post("x", []byte(strconv.Itoa(n))))
	}
	ok(t, client.Barrier(ctx))
	for n := 0; n < 100; n += 2 {
		for m, err := range sub.Messages(ctx) {
			ok(t, err)
			equal(t, m.Text(), strconv.Itoa(n))
			break
		}
		m, err := sub.Next(ctx)
		ok(t, err)
		equal(t, m.Text(), strconv.Itoa(n+1))
	}
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

func TestAFloodKeepsItsOrderAndLeavesTheProcessorToOthers(t *testing.T) {
	ctx := begin(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	client := connect(t, ctx)
	sub, err := client.SubscribeWith(ctx, []string{"x", "y"}, redmux.InboxBytes(1<<30))
	ok(t, err)
	var turns atomic.Int64
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	const messages = 300_000
	go func() {
		for n := range messages {
			for client.Post([]string{"x", "y"}[n%2], []byte(strconv.Itoa(n))) != nil { // the queue is full
				runtime.Gosched()
			}
		}
	}()
	read := 0
	for m, err := range sub.Messages(ctx) {
		ok(t, err)
		if m.Text() != strconv.Itoa(read) || m.Channel != []string{"x", "y"}[read%2] {
			t.Fatalf("%d: %v", read, m)
		}
		if read++; read == messages {
			break
		}
	}
	close(over)
	if turns.Load() < 3 { // Go takes the processor away every 10 ms
		t.Fatal(turns.Load())
	}
}

func TestOneProcessorIsEnough(t *testing.T) {
	ctx := begin(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	client := connect(t, ctx)
	var work sync.WaitGroup
	for n := range 10 {
		sub := subscribe(t, ctx, client, strconv.Itoa(n))
		work.Add(1)
		go func() {
			defer work.Done()
			for i := range 100 {
				got, err := client.Publish(ctx, strconv.Itoa(n), []byte(strconv.Itoa(i)))
				if err != nil || got != 1 {
					t.Error(got, err)
				}
				if m, err := sub.Next(ctx); err != nil || m.Text() != strconv.Itoa(i) {
					t.Error(m, err)
				}
			}
		}()
	}
	work.Wait()
}

func TestPayloadsStayWhatTheyAreUnderTheGarbageCollector(t *testing.T) {
	ctx := begin(t)
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	client := connect(t, ctx)
	sub, err := client.SubscribePattern(ctx, "gc.*", redmux.InboxBytes(1<<30))
	ok(t, err)
	const messages = 5000
	go func() {
		for n := range messages {
			_ = client.Post("gc."+strconv.Itoa(n), bytes.Repeat([]byte{byte(n)}, n%500))
			if n%100 == 0 {
				runtime.GC()
			}
		}
	}()
	var kept []redmux.Message
	for m, err := range sub.Messages(ctx) {
		ok(t, err)
		if kept = append(kept, m); len(kept) == messages {
			break
		}
	}
	for n, m := range kept {
		equal(t, m.Channel, "gc."+strconv.Itoa(n))
		equal(t, m.Pattern, "gc.*")
		if !bytes.Equal(m.Data, bytes.Repeat([]byte{byte(n)}, n%500)) || cap(m.Data) != len(m.Data) {
			t.Fatal(n, m)
		}
	}
	for n := range kept { // growing one reaches no other
		_ = append(kept[n].Data, "over the end"...)
	}
	for n, m := range kept {
		if !bytes.Equal(m.Data, bytes.Repeat([]byte{byte(n)}, n%500)) {
			t.Fatal(n, m)
		}
	}
}

func TestManyClientsAndGoroutinesAtOnce(t *testing.T) {
	ctx := begin(t)
	var work sync.WaitGroup
	shared := connect(t, ctx)
	for n := range 8 {
		work.Add(1)
		go func() {
			defer work.Done()
			client := shared
			if n%2 == 0 {
				var err error
				if client, err = redmux.Connect(ctx, server.url); err != nil {
					t.Error(err)
					return
				}
				defer client.Close()
			}
			name := "many" + strconv.Itoa(n)
			sub, err := client.Subscribe(ctx, name)
			if err != nil {
				t.Error(err)
				return
			}
			defer sub.Close()
			for i := range 200 {
				if _, err := client.Publish(ctx, name, []byte(strconv.Itoa(i))); err != nil {
					t.Error(err)
				}
				if m, err := sub.Next(ctx); err != nil || m.Text() != strconv.Itoa(i) {
					t.Error(m, err)
				}
			}
		}()
	}
	work.Wait()
}

func TestAnyBytesAreNamesAndPayloads(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	for _, channel := range []string{"\xff\x00", "ü", ""} {
		sub := subscribe(t, ctx, client, channel)
		equal(t, slices.Equal(sub.Channels(), []string{channel}), true)
		for _, data := range []string{"\x00", "", strings.Repeat("x", 1<<20)} {
			got, err := client.Publish(ctx, channel, []byte(data))
			ok(t, err)
			equal(t, got, 1)
			m, err := sub.Next(ctx)
			ok(t, err)
			equal(t, m.Channel, channel)
			equal(t, m.Text() == data, true)
		}
		ok(t, sub.Close())
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	ctx := begin(t)
	_, err := redmux.Connect(ctx, server.url, redmux.Set("ping_intervall", "2s"))
	if !errors.Is(err, redmux.ErrArgument) || !strings.Contains(err.Error(), "ping_interval") {
		t.Fatal(err)
	}
	client := connect(t, ctx)
	if _, err := client.SubscribeWith(ctx, nil, redmux.InboxPolicy("none")); !errors.Is(err, redmux.ErrArgument) {
		t.Fatal(err)
	}
	if _, err := redmux.Connect(ctx, "nonsense://"); !errors.Is(err, redmux.ErrArgument) {
		t.Fatal(err)
	}
}

func TestASlowConsumerIsToldOnce(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub, err := client.SubscribeWith(ctx, []string{"x"}, redmux.InboxRecords(2), redmux.InboxPolicy("close"))
	ok(t, err)
	for range 5 {
		ok(t, client.Post("x", nil))
	}
	ok(t, client.Barrier(ctx))
	var last error
	for _, last = range sub.Messages(ctx) {
	}
	if !errors.Is(last, redmux.ErrSlowConsumer) {
		t.Fatal(last)
	}
	if _, err := sub.Next(ctx); !errors.Is(err, redmux.ErrClosed) {
		t.Fatal(err)
	}
	ok(t, sub.Close())
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
