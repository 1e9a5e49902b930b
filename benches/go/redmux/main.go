//go:build redmux_dev

// redmux in Go, as its README says: Next in a loop, or a range over Messages.
//
//	redmux-go ADDRESS MESSAGES PAYLOAD next|messages
//	redmux-go ADDRESS COUNT 0 memory        so many subscriptions of one channel each
//	redmux-go ADDRESS COUNT 0 names         so many channels of one subscription
//	redmux-go ADDRESS COUNT 0 trips         one message at a time: posted, and read before the next one is
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"redmux-bench-peers/measure"

	redmux "github.com/redmux/redmux/bindings/go"
)

func next(ctx context.Context, sub *redmux.Subscription, messages int) (count measure.Count) {
	for count.Messages < messages {
		m, err := sub.Next(ctx)
		measure.Must("next", err)
		count.Add(len(m.Channel), len(m.Data))
	}
	return count
}

func ranged(ctx context.Context, sub *redmux.Subscription, messages int) (count measure.Count) {
	for m, err := range sub.Messages(ctx) {
		measure.Must("messages", err)
		count.Add(len(m.Channel), len(m.Data))
		if count.Messages == messages {
			break
		}
	}
	return count
}

// What the garbage collector would free is given back before each look.
func memory(ctx context.Context, client *redmux.Client, count int) {
	subs := make([]*redmux.Subscription, count)
	warm, err := client.Subscribe(ctx, "bench:warm-up")
	measure.Must("subscribe", err)
	held(count, func() any {
		for n := range subs {
			subs[n], err = client.Subscribe(ctx, measure.Name(n))
			measure.Must("subscribe", err)
		}
		return subs
	}, func() {})
	for _, sub := range append(subs, warm) {
		measure.Must("close", sub.Close())
	}
}

// held says what came with count of something that open makes, which is kept, and what is left of it behind settle.
func held(count int, open func() (keep any), settle func()) {
	debug.FreeOSMemory()
	before, began := measure.Resident(), measure.Now()
	keep := open()
	ended := measure.Now()
	settle()
	debug.FreeOSMemory()
	fmt.Printf("{\"count\": %d, \"bytes\": %d, \"wall_ns\": %d, \"cpu_ns\": %d}\n", count, measure.Resident()-before,
		measure.Wall(began, ended), measure.CPU(began, ended))
	runtime.KeepAlive(keep)
}

func named(ctx context.Context, client *redmux.Client, count int) {
	sub, err := client.Subscribe(ctx, "bench:warm-up")
	measure.Must("subscribe", err)
	names, others := make([]string, count), make([]string, count/10)
	for n := range names {
		names[n] = measure.Name(n)
	}
	for n := range others {
		others[n] = measure.Name(count + n)
	}
	measure.Must("add", sub.Add(ctx, others...)) // what is done for the first time is not counted
	measure.Must("remove", sub.Remove(ctx, others...))
	read := func() { // and what told that they are active
		measure.Must("post", client.Post("bench:warm-up", nil))
		_, err := sub.Next(ctx)
		measure.Must("next", err)
	}
	read()
	held(count, func() any {
		measure.Must("add", sub.Add(ctx, names...))
		return names
	}, read)
}

// trips: the first tenth is not counted.
func trips(ctx context.Context, client *redmux.Client, count int) {
	sub, err := client.Subscribe(ctx, measure.Name(0))
	measure.Must("subscribe", err)
	var began measure.Moment
	data := make([]byte, 8)
	for n := range count + count/10 {
		if n == count/10 {
			began = measure.Now()
		}
		binary.LittleEndian.PutUint64(data, uint64(n))
		measure.Must("post", client.Post(measure.Name(0), data))
		m, err := sub.Next(ctx)
		measure.Must("next", err)
		if !bytes.Equal(m.Data, data) {
			measure.Die("message %d is another one", n)
		}
	}
	ended := measure.Now()
	fmt.Printf("{\"messages\": %d, \"wall_ns\": %d, \"cpu_ns\": %d}\n", count, measure.Wall(began, ended), measure.CPU(began, ended))
}

func main() {
	if len(os.Args) < 5 {
		measure.Die("usage: redmux-go ADDRESS MESSAGES PAYLOAD next|messages|memory|names|trips")
	}
	ctx, messages := context.Background(), measure.Number(2, 1)
	_, address := measure.Address()
	client, err := redmux.Connect(ctx, "redis://"+address+"?inbox_policy=pause&timeout=120s")
	measure.Must("connect", err)
	alone := map[string]func(context.Context, *redmux.Client, int){"memory": memory, "names": named, "trips": trips}
	if do := alone[os.Args[4]]; do != nil {
		do(ctx, client, messages)
		measure.Must("close", client.Close())
		return
	}
	ways := map[string]func(context.Context, *redmux.Subscription, int) measure.Count{"next": next, "messages": ranged}
	read := ways[os.Args[4]]
	if read == nil {
		measure.Die("there is no %s", os.Args[4])
	}
	sub, err := client.Subscribe(ctx, measure.Name(0))
	measure.Must("subscribe", err)
	measure.Ready()
	count := read(ctx, sub, messages)
	last := measure.Now()
	if dropped := sub.Dropped(); dropped != 0 {
		measure.Die("%d messages were dropped", dropped)
	}
	count.Report(last)
	measure.Must("close", client.Close())
}
