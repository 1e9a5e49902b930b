//go:build mpx

// go-mpx, as its README says, with redigo under it.
//
//	go-mpx ADDRESS messages MESSAGES PAYLOAD    rows M22 and A: counts messages of one channel
//	go-mpx ADDRESS names COUNT                  rows M10 and M14: subscribes, and again after the connection is killed
//	go-mpx ADDRESS promises COUNT               row P1: promise, publish, message, one after another
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"redmux-bench-peers/measure"

	mpx "github.com/RedisMPX/go-mpx"
	"github.com/gomodule/redigo/redis"
)

func dial() (redis.Conn, error) {
	network, address := measure.Address()
	return redis.Dial(network, address)
}

func messages(count int) {
	var seen measure.Count
	active, done := make(chan struct{}, 1), make(chan measure.Moment, 1)
	subscription := mpx.New(dial).NewChannelSubscription(func(channel string, message []byte) {
		seen.Add(len(channel), len(message))
		if seen.Messages == count {
			done <- measure.Now()
		}
	}, nil, func(string) { active <- struct{}{} })
	subscription.Add(measure.Name(0))
	<-active
	measure.Ready()
	last := <-done
	seen.Report(last)
}

// Two lines: the time until all are active, and the time from the loss until all are active again.
func names(count int) {
	var left atomic.Int64
	whole, lost := make(chan measure.Moment, 1), make(chan measure.Moment, 8)
	subscription := mpx.New(dial).NewChannelSubscription(func(string, []byte) {}, func(error) { lost <- measure.Now() },
		func(string) {
			if left.Add(-1) == 0 {
				whole <- measure.Now()
			}
		})
	subscription.Add("bench:warm-up")
	left.Store(1)
	<-whole
	all := make([]string, count)
	for i := range all {
		all[i] = measure.Name(i)
	}
	left.Store(int64(count))
	before, began := measure.Resident(), measure.Now()
	subscription.Add(all...)
	ended := <-whole
	fmt.Printf("{\"wall_ns\": %d, \"cpu_ns\": %d, \"bytes\": %d}\n", measure.Wall(began, ended), measure.CPU(began, ended),
		measure.Resident()-before)
	left.Store(int64(count) + 1)
	measure.Ready()
	began = <-lost
	ended = <-whole
	fmt.Printf("{\"wall_ns\": %d, \"cpu_ns\": %d}\n", measure.Wall(began, ended), measure.CPU(began, ended))
}

func promises(count int) {
	publisher, err := dial()
	measure.Must("dial", err)
	set := mpx.New(dial).NewPromiseSubscription("bench:")
	first, ok := set.WaitForNewPromise("first", time.Minute)
	if !ok {
		measure.Die("the promise subscription was closed")
	}
	first.Cancel()
	began := measure.Now()
	for i := 0; i < count; i++ {
		suffix := strconv.Itoa(i)
		promise, err := set.NewPromise(suffix, time.Minute)
		measure.Must("promise", err)
		_, err = publisher.Do("PUBLISH", "bench:"+suffix, "done")
		measure.Must("publish", err)
		if string(<-promise.C) != "done" {
			measure.Die("promise %d was not kept", i)
		}
	}
	ended := measure.Now()
	fmt.Printf("{\"round_trips\": %d, \"wall_ns\": %d, \"cpu_ns\": %d}\n", count, measure.Wall(began, ended), measure.CPU(began, ended))
}

func main() {
	if len(os.Args) < 4 {
		measure.Die("usage: go-mpx ADDRESS messages|names|promises COUNT")
	}
	switch count := measure.Number(3, 0); os.Args[2] {
	case "messages":
		messages(count)
	case "names":
		names(count)
	case "promises":
		promises(count)
	default:
		measure.Die("there is no %s", os.Args[2])
	}
}
