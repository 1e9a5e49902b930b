package redmux_test

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	redmux "github.com/redmux/redmux/bindings/go"
)

// Floods, few processors, many goroutines, the garbage collector: what Go's runtime does to a program.

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
