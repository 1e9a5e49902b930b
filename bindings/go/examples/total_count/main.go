// Every instance counts something; any of them knows the total. Each line on standard input asks for it:
//
//	go run ./examples/total_count [redis://localhost] [5]
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	url, count := "", "5"
	for i, given := range []*string{&url, &count} {
		if len(os.Args) > i+1 {
			*given = os.Args[i+1]
		}
	}
	if err := run(context.Background(), url, count); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, count string) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Respond(ctx, "count", func(context.Context, *redmux.Request) ([]byte, error) {
		return []byte(count), nil
	})
	if err != nil {
		return err
	}
	fmt.Println("counting", count)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		gather, err := client.Gather(ctx, "count", nil, redmux.TimeLimit(5*time.Second))
		if err != nil {
			return err
		}
		total, instances := 0, 0
		for answer := range gather.Seq() {
			n, err := strconv.Atoi(answer.Text())
			if err != nil {
				return err
			}
			total += n
			instances++
		}
		fmt.Printf("total: %d of %d instances, %d missing\n", total, instances, len(gather.End().Missing))
	}
	return nil
}
