package redmux_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// One goroutine reads a subscription: a second one, a loop that is left, a reader that is too slow, names and payloads of any bytes.

func TestASecondReaderIsTold(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	first := make(chan string)
	go func() {
		m, err := sub.Next(ctx)
		for errors.Is(err, redmux.ErrState) { // the other one was first
			m, err = sub.Next(ctx)
		}
		first <- fmt.Sprint(m.Text(), err)
	}()
	eventually(t, "the second reader is told", func() bool {
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err := sub.Next(soon)
		return errors.Is(err, redmux.ErrState)
	})
	ok(t, client.Post("x", []byte("y")))
	equal(t, <-first, "y<nil>")
}

func TestALoopThatIsLeftGoesOnLaterWithoutALoss(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	for n := range 100 {
		ok(t, client.Post("x", []byte(strconv.Itoa(n))))
	}
	ok(t, client.Barrier(ctx))
	for n := 0; n < 100; n += 2 {
		for m, err := range sub.Messages(ctx) {
			ok(t, err)
			equal(t, m.Text(), strconv.Itoa(n))
			break
		}
		m, err := sub.Next(ctx)
		ok(t, err)
		equal(t, m.Text(), strconv.Itoa(n+1))
	}
}

func TestAnyBytesAreNamesAndPayloads(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	for _, channel := range []string{"\xff\x00", "ü", ""} {
		sub := subscribe(t, ctx, client, channel)
		equal(t, slices.Equal(sub.Channels(), []string{channel}), true)
		for _, data := range []string{"\x00", "", strings.Repeat("x", 1<<20)} {
			got, err := client.Publish(ctx, channel, []byte(data))
			ok(t, err)
			equal(t, got, 1)
			m, err := sub.Next(ctx)
			ok(t, err)
			equal(t, m.Channel, channel)
			equal(t, m.Text() == data, true)
		}
		ok(t, sub.Close())
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	ctx := begin(t)
	_, err := redmux.Connect(ctx, server.url, redmux.Set("ping_intervall", "2s"))
	if !errors.Is(err, redmux.ErrArgument) || !strings.Contains(err.Error(), "ping_interval") {
		t.Fatal(err)
	}
	client := connect(t, ctx)
	if _, err := client.SubscribeWith(ctx, nil, redmux.InboxPolicy("none")); !errors.Is(err, redmux.ErrArgument) {
		t.Fatal(err)
	}
	if _, err := redmux.Connect(ctx, "nonsense://"); !errors.Is(err, redmux.ErrArgument) {
		t.Fatal(err)
	}
}

func TestASlowConsumerIsToldOnce(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub, err := client.SubscribeWith(ctx, []string{"x"}, redmux.InboxRecords(2), redmux.InboxPolicy("close"))
	ok(t, err)
	for range 5 {
		ok(t, client.Post("x", nil))
	}
	ok(t, client.Barrier(ctx))
	var last error
	for _, last = range sub.Messages(ctx) {
	}
	if !errors.Is(last, redmux.ErrSlowConsumer) {
		t.Fatal(last)
	}
	if _, err := sub.Next(ctx); !errors.Is(err, redmux.ErrClosed) {
		t.Fatal(err)
	}
	ok(t, sub.Close())
}

func TestAReaderBesideACallbackIsTheErrorAndTheCallbackGoesOn(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	seen, errs, released := make(chan string), make(chan error, 10), make(chan struct{})
	var sub *redmux.Subscription
	made := make(chan struct{})
	sub, err := client.SubscribeWith(ctx, []string{"x"}, redmux.OnMessage(func(m redmux.Message) error {
		<-made
		_, err := sub.Next(ctx) // while a callback runs, and inside it
		errs <- err
		seen <- m.Text()
		<-released
		return nil
	}))
	ok(t, err)
	close(made)
	for _, text := range []string{"1", "2", "3"} {
		ok(t, client.Post("x", []byte(text)))
	}
	equal(t, <-seen, "1")
	is(t, <-errs, redmux.ErrState)
	_, err = sub.Next(ctx)
	is(t, err, redmux.ErrState)
	if _, open := <-sub.Chan(); open { // a second loop
		t.Fatal("a message")
	}
	close(released)
	for _, text := range []string{"2", "3"} {
		equal(t, <-seen, text)
	}
	ok(t, sub.Close())
	eventually(t, "it is closed for everybody", func() bool { _, err = sub.Next(ctx); return errors.Is(err, redmux.ErrClosed) })

	sub = subscribe(t, ctx, client, "y")
	messages := sub.Chan()
	_, err = sub.Next(ctx)
	is(t, err, redmux.ErrState)
	ok(t, client.Post("y", []byte("1")))
	equal(t, (<-messages).Text(), "1")
	ok(t, sub.Close())
}
