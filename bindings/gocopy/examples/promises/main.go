// Two promises, one kept and one not:
//
//	go run ./examples/promises [redis://localhost] [job-42]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	url, suffix := "", "job-42"
	for i, given := range []*string{&url, &suffix} {
		if len(os.Args) > i+1 {
			*given = os.Args[i+1]
		}
	}
	if err := run(context.Background(), url, suffix); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, suffix string) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	promises, err := client.Promises("p:")
	if err != nil {
		return err
	}
	if err := promises.WaitActive(ctx); err != nil {
		return err
	}
	kept, err := promises.New(suffix, redmux.Within(5*time.Second))
	if err != nil {
		return err
	}
	broken, err := promises.New("nobody", redmux.Within(time.Second))
	if err != nil {
		return err
	}
	if _, err := client.Fulfill(ctx, "p:"+suffix, []byte("done")); err != nil {
		return err
	}
	data, err := kept.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("promise on [p:%s]: [%s]\n", suffix, data)
	if _, err := broken.Wait(ctx); !errors.Is(err, redmux.ErrTimeout) {
		return fmt.Errorf("somebody kept it, or: %w", err)
	}
	fmt.Println("promise on [p:nobody]: nobody kept it")
	return nil
}
