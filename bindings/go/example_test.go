package redmux_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

var ctx = context.Background()

func Example() {
	client, err := redmux.Connect(ctx, os.Getenv("REDIS_URL"), redmux.Name("api-3"))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news", "sport")
	n, _ := client.Publish(ctx, "news", []byte("hi"))
	fmt.Println(n, "received it")
	for m, err := range sub.Messages(ctx) {
		fmt.Println(m.Channel, m.Text(), err)
		break
	}
	// Output:
	// 1 received it
	// news hi <nil>
}

func ExampleConnect() {
	client, err := redmux.Connect(ctx, "", redmux.Name("api-3"), redmux.Set("ping_interval", "2s"), redmux.ConnectTimeout(time.Second),
		redmux.Logger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))))
	fmt.Println(err)
	fmt.Println(client.Close())

	_, err = redmux.Connect(ctx, "redis://127.0.0.1:1", redmux.ConnectTimeout(50*time.Millisecond))
	fmt.Println(errors.Is(err, redmux.ErrTimeout))
	// Output:
	// <nil>
	// <nil>
	// true
}

func ExampleLazy() {
	client, err := redmux.Connect(ctx, "", redmux.Lazy()) // never waits; the server may come later
	fmt.Println(err)
	defer client.Close()
	fmt.Println(client.Ready(ctx))
	// Output:
	// <nil>
	// <nil>
}

func ExampleCredentials() {
	token := func(ctx context.Context) (user, password string, err error) {
		return "", "", nil // ask your vault; this server wants none
	}
	client, err := redmux.Connect(ctx, "", redmux.Credentials(token))
	fmt.Println(err)
	client.Close()
	// Output: <nil>
}

func ExampleClient_Post() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	for range 1000 {
		_ = client.Post("news", []byte("hi")) // costs no round trip; ErrFull: its queue is full
	}
	fmt.Println(client.Flush(ctx))
	// Output: <nil>
}

func ExampleClient_PublishJSON() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "users")
	_, _ = client.PublishJSON(ctx, "users", map[string]any{"name": "Ann"})
	m, _ := sub.Next(ctx)
	fmt.Println(m)
	type user struct{ Name string }
	found, err := redmux.DecodeJSON[user](m)
	fmt.Println(found.Name, err)
	// Output:
	// users: {"name":"Ann"}
	// Ann <nil>
}

func ExampleClient_SubscribeWith() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	done := make(chan bool)
	_, err := client.SubscribeWith(ctx, []string{"news"},
		redmux.OnActive(func(a redmux.Active) { fmt.Println("active:", a.Channel) }),
		redmux.OnLost(func(l redmux.Lost) { fmt.Println("lost:", l.Text) }),
		redmux.OnMessage(func(m redmux.Message) error {
			fmt.Println(m)
			done <- true
			return nil // an error is logged, and the next message delivered
		}),
		redmux.InboxRecords(10_000), redmux.InboxPolicy("drop-newest"))
	fmt.Println(err)
	_, _ = client.Publish(ctx, "news", []byte("hi"))
	<-done
	// Unordered output:
	// <nil>
	// active: news
	// news: hi
}

func ExampleClient_SubscribePattern() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.SubscribePattern(ctx, "news.*")
	_, _ = client.Publish(ctx, "news.sport", []byte("2:1"))
	m, _ := sub.Next(ctx)
	fmt.Println(m.Pattern, m.Channel, m.Text())
	// Output: news.* news.sport 2:1
}

func ExampleSubscription_Add() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx) // may start empty
	fmt.Println(sub.Add(ctx, "news", "sport"), sub.Remove(ctx, "news"), sub.Channels())
	fmt.Println(sub.Clear(ctx), sub.Channels(), sub.Dropped())
	// Output:
	// <nil> <nil> [sport]
	// <nil> [] 0
}

func ExampleSubscription_Next() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := sub.Next(soon)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), errors.Is(err, redmux.ErrTimeout))
	sub.Close()
	_, err = sub.Next(ctx)
	fmt.Println(errors.Is(err, redmux.ErrClosed))
	// Output:
	// true true
	// true
}

func ExampleSubscription_Events() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	_ = client.Post("news", []byte("hi"))
	for event, err := range sub.Events(ctx) {
		if err != nil {
			break
		}
		switch e := event.(type) {
		case redmux.Active:
			fmt.Println("active:", e.Channel, e.Restored)
		case redmux.Lost:
			fmt.Println("messages may be missing from here:", e.Text)
		case redmux.Dropped:
			fmt.Println("too slow for", e.Count)
		case redmux.Message:
			fmt.Println("message:", e.Text())
			sub.Close() // ends the loop
		}
	}
	// Output:
	// active: news false
	// message: hi
}

func ExampleSubscription_Chan() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	_ = client.Post("news", []byte("hi"))
	select {
	case m := <-sub.Chan():
		fmt.Println(m)
	case <-time.After(10 * time.Second):
		fmt.Println("nothing came")
	}
	// Output: news: hi
}

func ExampleSubscription_Drain() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	_, _ = client.Publish(ctx, "news", []byte("the last"))
	fmt.Println(client.Barrier(ctx), sub.Drain(ctx))
	for m := range sub.Messages(ctx) {
		fmt.Println(m)
	}
	// Output:
	// <nil> <nil>
	// news: the last
}

func ExampleClient_Promise() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	promise, _ := client.Promise(ctx, "job:42", redmux.Within(5*time.Second)) // in effect from here
	_, _ = client.Fulfill(ctx, "job:42", []byte("done"))                      // anybody, anywhere
	data, err := promise.Wait(ctx)
	fmt.Println(string(data), err)
	// Output: done <nil>
}

func ExampleClient_Promises() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	jobs, _ := client.Promises("job:") // one subscription of Redis, however many promises
	defer jobs.Close()
	soon, _ := jobs.WaitNew("1") // made when the set is active
	_ = jobs.WaitActive(ctx)
	now, _ := jobs.New("2", redmux.Within(redmux.Forever))
	_ = jobs.Clear()
	for _, promise := range []*redmux.Promise{soon, now} {
		_, err := promise.Wait(ctx)
		fmt.Println(errors.Is(err, redmux.ErrCancelled))
	}
	// Output:
	// true
	// true
}

func ExampleClient_Stop() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	fmt.Println(client.Stop(), client.Restart(), sub.WaitActive(ctx)) // what is subscribed stays
	// Output: <nil> <nil> <nil>
}

func ExampleClient_Barrier() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	sub, _ := client.Subscribe(ctx, "news")
	_ = client.Post("news", []byte("hi"))
	fmt.Println(client.Barrier(ctx)) // what was published before can be read now
	m, _ := sub.Next(ctx)
	fmt.Println(m)
	// Output:
	// <nil>
	// news: hi
}

func ExampleClient_Stats() {
	client, _ := redmux.Connect(ctx, "")
	defer client.Close()
	stats, _ := client.Stats()
	found, _ := redmux.DecodeJSON[struct{ Online bool }](redmux.Message{Data: stats})
	fmt.Println(found.Online)
	// Output: true
}

func ExampleError() {
	_, err := redmux.Connect(ctx, "redis://localhost", redmux.Set("ping_intervall", "2s"))
	var failure *redmux.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Kind(), failure.Code, errors.Is(err, redmux.ErrArgument))
	}
	// Output: unknown_option -101 true
}

func ExampleClient_Gather() {
	client, _ := redmux.Connect(ctx, "", redmux.Name("api-3"))
	defer client.Close()
	_, _ = client.Respond(ctx, "count", func(ctx context.Context, r *redmux.Request) ([]byte, error) {
		_ = r.Answer([]byte("1"), nil) // one of several
		return []byte("2"), nil        // the last one
	})
	gather, _ := client.Gather(ctx, "count", nil, redmux.TimeLimit(5*time.Second), redmux.Strict())
	for answer := range gather.Seq() { // leaving the loop gives the request up
		fmt.Println(answer.Text(), "from", answer.Responder)
	}
	fmt.Println(gather.End().Reason)
	gather, _ = client.Gather(ctx, "count", nil, redmux.Expect(1), redmux.Strict())
	result, err := gather.All(ctx)
	fmt.Println(result.Reason, len(result.Answers), result.Err, err)
	// Output:
	// 1 from api-3
	// 2 from api-3
	// all
	// count 1 <nil> <nil>
}

func ExampleClient_Request() {
	client, _ := redmux.Connect(ctx, "", redmux.Set("strict", "true")) // also a responder that is late to take it
	defer client.Close()
	responder, _ := client.Respond(ctx, "user.lookup", func(ctx context.Context, r *redmux.Request) ([]byte, error) {
		if r.Text() == "7" {
			return []byte(`"Ann"`), nil
		}
		return nil, &redmux.RemoteError{Code: "NOT_FOUND", Message: "no such user"}
	}, redmux.Concurrency(8))
	name, err := redmux.RequestJSON[string](ctx, client, "user.lookup", 7)
	fmt.Println(name, err)
	_, err = client.Request(ctx, "user.lookup", []byte("8"))
	var remote *redmux.RemoteError
	fmt.Println(errors.Is(err, redmux.ErrRemote), errors.As(err, &remote), remote.Code)
	fmt.Println(responder.Drain(ctx)) // lets handlers finish
	_, err = client.Request(ctx, "user.lookup", nil)
	fmt.Println(errors.Is(err, redmux.ErrNoResponders))
	// Output:
	// Ann <nil>
	// true true NOT_FOUND
	// <nil>
	// true
}
