package redmux_test

import (
	"context"
	"testing"

	redmux "github.com/redmux/redmux/bindings/go"
)

// What the options of a client and of a call say, and where.

func TestWhatACallDoesNotSayIsAsTheEnvironmentHasIt(t *testing.T) {
	ctx := begin(t)
	t.Setenv("REDIS_URL", server.url+"?strict=true&max_answers=1&inbox_policy=close")
	client, err := redmux.Connect(ctx, "")
	ok(t, err)
	defer client.Close()
	respond(t, ctx, client, "x", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		_ = r.Answer(r.Data, nil)
		return r.Data, nil
	})
	g, err := client.Gather(ctx, "x", []byte("hi"), redmux.Expect(3))
	ok(t, err)
	result, err := g.All(ctx)
	ok(t, err)
	equal(t, result.Reason, "overflow") // one answer is all there is room for

	sub, err := client.SubscribeWith(ctx, []string{"news"}, redmux.InboxRecords(8))
	ok(t, err)
	for range 20 {
		ok(t, client.Post("news", nil))
	}
	ok(t, client.Barrier(ctx))
	for err == nil {
		_, err = sub.Next(ctx)
	}
	is(t, err, redmux.ErrSlowConsumer)
}
