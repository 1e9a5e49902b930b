//go:build redmux_dev

// A question and its answer with redmux in Go, as its README says: Request and Respond.
//
//	redmux-go-request ADDRESS serve
//	redmux-go-request ADDRESS ask COUNT IN_FLIGHT
package main

import (
	"context"
	"os"

	"redmux-bench-peers/measure"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	ctx := context.Background()
	_, address := measure.Address()
	client, err := redmux.Connect(ctx, "redis://"+address)
	measure.Must("connect", err)
	if len(os.Args) > 2 && os.Args[2] == "serve" {
		echo := func(_ context.Context, request *redmux.Request) ([]byte, error) { return request.Data, nil }
		_, err := client.Respond(ctx, "bench", echo)
		measure.Must("respond", err)
		measure.UntilStdinCloses()
	} else {
		measure.Ask(func(body []byte) ([]byte, error) {
			answer, err := client.Request(ctx, "bench", body)
			return answer.Data, err
		})
	}
	measure.Must("close", client.Close())
}
