// go-redis' PubSub, as its documentation says: ReceiveMessage in a loop. With RESP2: with RESP3, its default, 9.18 passes over a message whose
// first bytes end its read buffer, and a run would wait for it for ever.
//
//	go-redis ADDRESS MESSAGES PAYLOAD
package main

import (
	"context"

	"redmux-bench-peers/measure"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, messages := context.Background(), measure.Number(2, 1)
	network, address := measure.Address()
	pubsub := redis.NewClient(&redis.Options{Network: network, Addr: address, Protocol: 2}).Subscribe(ctx, measure.Name(0))
	_, err := pubsub.Receive(ctx)
	measure.Must("subscribe", err)
	measure.Ready()
	var count measure.Count
	for count.Messages < messages {
		m, err := pubsub.ReceiveMessage(ctx)
		measure.Must("receive", err)
		count.Add(len(m.Channel), len(m.Payload))
	}
	count.Report(measure.Now())
}
