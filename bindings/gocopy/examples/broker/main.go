// A broker's subscriber: five channels of JSON, until n messages came or SIGTERM:
//
//	go run ./examples/broker [redis://localhost] [7]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	url, count := "", "7"
	for i, given := range []*string{&url, &count} {
		if len(os.Args) > i+1 {
			*given = os.Args[i+1]
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, err := strconv.Atoi(count)
	if err == nil {
		err = run(ctx, url, n)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string, left int) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	sub, err := client.Subscribe(ctx, "orders", "users", "stock", "prices", "alerts")
	if err != nil {
		return err
	}
	fmt.Println("listening on 5 channels")
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			return err
		}
		value, err := redmux.DecodeJSON[map[string]any](m)
		if err != nil {
			fmt.Println("skipped:", err)
			continue
		}
		fmt.Printf("%s: %v\n", m.Channel, value)
		if left--; left == 0 {
			break
		}
	}
	return nil
}
