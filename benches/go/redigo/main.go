// redigo's PubSubConn, which go-mpx stands on: Receive in a loop.
//
//	redigo ADDRESS MESSAGES PAYLOAD
package main

import (
	"redmux-bench-peers/measure"

	"github.com/gomodule/redigo/redis"
)

func main() {
	messages := measure.Number(2, 1)
	network, address := measure.Address()
	conn, err := redis.Dial(network, address)
	measure.Must("dial", err)
	pubsub := redis.PubSubConn{Conn: conn}
	measure.Must("subscribe", pubsub.Subscribe(measure.Name(0)))
	if _, ok := pubsub.Receive().(redis.Subscription); !ok {
		measure.Die("SUBSCRIBE was not confirmed")
	}
	measure.Ready()
	var count measure.Count
	for count.Messages < messages {
		switch m := pubsub.Receive().(type) {
		case redis.Message:
			count.Add(len(m.Channel), len(m.Data))
		case error:
			measure.Die("receive: %v", m)
		}
	}
	count.Report(measure.Now())
}
