// Subscribes to a channel and publishes to it:
//
//	go run ./examples/simple [redis://localhost]
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	if err := run(append(os.Args[1:], "")[0]); err != nil {
		log.Fatal(err)
	}
}

func run(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	sub, err := client.Subscribe(ctx, "mychannel")
	if err != nil {
		return err
	}
	if err := client.Post("mychannel", []byte("Hello World!")); err != nil {
		return err
	}
	m, err := sub.Next(ctx)
	if err == nil {
		fmt.Printf("channel: [%s] msg: [%s]\n", m.Channel, m.Data)
	}
	return err
}
