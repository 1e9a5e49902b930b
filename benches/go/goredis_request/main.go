// A question and its answer with go-redis, as one usually does it: one channel for all answers of an asker, and a map from the number of a
// request to who waits for it. (A channel for each request would be a connection for each: a PubSub has one of its own.)
//
//	go-redis-request ADDRESS serve
//	go-redis-request ADDRESS ask COUNT IN_FLIGHT
//
// A question is its number, the body, and the channel for the answer; the answer is number and body.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"redmux-bench-peers/measure"

	"github.com/redis/go-redis/v9"
)

const head = 8 + measure.Body

var ctx = context.Background()

func listen(client *redis.Client, channel string) <-chan *redis.Message {
	pubsub := client.Subscribe(ctx, channel)
	_, err := pubsub.Receive(ctx)
	measure.Must("subscribe", err)
	return pubsub.Channel()
}

// Each question has a goroutine, or the next one would wait until Redis has counted the receivers of the answer.
func serve(client *redis.Client) {
	questions := listen(client, "bench:service")
	go func() {
		for question := range questions {
			go func() {
				measure.Must("answer", client.Publish(ctx, question.Payload[head:], question.Payload[:head]).Err())
			}()
		}
	}()
	measure.UntilStdinCloses()
}

func ask(client *redis.Client) {
	channel := fmt.Sprintf("bench:answers:%d", os.Getpid())
	var mu sync.Mutex
	waiting := map[uint64]chan string{}
	answers := listen(client, channel)
	go func() {
		for answer := range answers {
			number := binary.LittleEndian.Uint64([]byte(answer.Payload[:8]))
			mu.Lock()
			who := waiting[number]
			delete(waiting, number)
			mu.Unlock()
			who <- answer.Payload[8:]
		}
	}()
	var numbers atomic.Uint64
	measure.Ask(func(body []byte) ([]byte, error) {
		number, answer := numbers.Add(1), make(chan string, 1)
		mu.Lock()
		waiting[number] = answer
		mu.Unlock()
		question := append(append(binary.LittleEndian.AppendUint64(nil, number), body...), channel...)
		if err := client.Publish(ctx, "bench:service", question).Err(); err != nil {
			return nil, err
		}
		return []byte(<-answer), nil
	})
}

func main() {
	network, address := measure.Address()
	// With RESP2, as in the other programs with go-redis.
	client := redis.NewClient(&redis.Options{Network: network, Addr: address, Protocol: 2})
	if len(os.Args) > 2 && os.Args[2] == "serve" {
		serve(client)
	} else {
		ask(client)
	}
	measure.Must("close", client.Close())
}
