// Prints every message on a pattern, and what it is told about the connection, until n came:
//
//	go run ./examples/pattern [redis://localhost] ['news.*'] [3]
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	url, pattern, count := "", "news.*", "1"
	for i, given := range []*string{&url, &pattern, &count} {
		if len(os.Args) > i+1 {
			*given = os.Args[i+1]
		}
	}
	n, err := strconv.Atoi(count)
	if err == nil {
		err = run(context.Background(), url, pattern, n)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, pattern string, left int) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	sub, err := client.SubscribePattern(ctx, pattern)
	if err != nil {
		return err
	}
	for event, err := range sub.Events(ctx) {
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case redmux.Active:
			if e.Restored {
				fmt.Println("active again")
			} else {
				fmt.Printf("active: [%s]\n", e.Channel)
			}
		case redmux.Lost:
			fmt.Println("lost:", e.Text)
		case redmux.Message:
			fmt.Printf("pattern: [%s] channel: [%s] msg: [%s]\n", e.Pattern, e.Channel, e.Data)
			left--
		}
		if left == 0 {
			break
		}
	}
	return nil
}
