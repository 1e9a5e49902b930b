// Asks whoever runs this, this one too, to say hello, and counts the answers:
//
//	go run ./examples/hello [redis://localhost] [world]
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
	url, whom := "", "world"
	for i, given := range []*string{&url, &whom} {
		if len(os.Args) > i+1 {
			*given = os.Args[i+1]
		}
	}
	if err := run(context.Background(), url, whom); err != nil {
		log.Fatal(err)
	}
}

func hello(_ context.Context, r *redmux.Request) ([]byte, error) {
	return []byte("hello " + r.Text()), nil
}

func run(ctx context.Context, url, whom string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Respond(ctx, "hello", hello); err != nil {
		return err
	}
	gather, err := client.Gather(ctx, "hello", []byte(whom))
	if err != nil {
		return err
	}
	count := 0
	for answer := range gather.Seq() {
		count++
		fmt.Printf("%s, says %s\n", answer.Text(), answer.Responder)
	}
	fmt.Printf("%d of %d answered: %s\n", count, gather.End().Expected, gather.End().Reason)
	return nil
}
