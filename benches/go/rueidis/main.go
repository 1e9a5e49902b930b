// rueidis' Receive, as its documentation says: a function that is called with each message.
//
//	rueidis ADDRESS MESSAGES PAYLOAD
package main

import (
	"context"
	"os"

	"redmux-bench-peers/measure"

	"github.com/redis/rueidis"
)

func main() {
	ctx, messages := context.Background(), measure.Number(2, 1)
	_, address := measure.Address()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, ForceSingleClient: true})
	measure.Must("connect", err)
	ctx = rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" {
			measure.Ready()
		}
	})
	var count measure.Count
	err = client.Receive(ctx, client.B().Subscribe().Channel(measure.Name(0)).Build(), func(m rueidis.PubSubMessage) {
		count.Add(len(m.Channel), len(m.Message))
		if count.Messages == messages {
			count.Report(measure.Now())
			os.Exit(0)
		}
	})
	measure.Die("receive ended: %v", err)
}
