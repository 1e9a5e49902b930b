// A chat: rooms are channels, joined and left while it runs. Reads commands from standard input:
//
//	+room        join            -room        leave
//	!room text   say             ?            which rooms am I in
//	q            quit
//
//	go run ./examples/chat [redis://localhost]
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	redmux "github.com/redmux/redmux/bindings/go"
)

func main() {
	if err := run(context.Background(), append(os.Args[1:], "")[0]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	client, err := redmux.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	rooms, err := client.SubscribeWith(ctx, nil,
		redmux.OnMessage(func(m redmux.Message) error {
			fmt.Printf("[%s] %s\n", m.Channel, m.Data)
			return nil
		}),
		redmux.OnActive(func(active redmux.Active) {
			if active.Restored {
				fmt.Println("*connected again*")
			} else {
				fmt.Println("joined", active.Channel)
			}
		}),
		redmux.OnLost(func(lost redmux.Lost) { fmt.Println("*disconnected*", lost.Text) }))
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line == "q" {
			return nil
		}
		room, text, _ := strings.Cut(line[1:], " ")
		switch line[0] {
		case '+':
			err = rooms.Add(ctx, room)
		case '-':
			err = rooms.Remove(ctx, room)
		case '!':
			err = client.Post(room, []byte(text))
		case '?':
			in := rooms.Channels()
			slices.Sort(in)
			fmt.Printf("in %d rooms: %s\n", len(in), strings.Join(in, " "))
		}
		if err != nil { // a room may be refused
			fmt.Println(err)
		}
	}
	return nil
}
