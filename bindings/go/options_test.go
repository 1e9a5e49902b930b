package redmux_test

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"
	"time"

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

// silent is a server that takes connections and says nothing; each is told.
func silent(t *testing.T) (address string, dialled chan struct{}) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	dialled = make(chan struct{}, 1000)
	over := make(chan struct{})
	t.Cleanup(func() {
		ok(t, listener.Close())
		<-over
	})
	go func() {
		defer close(over)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			dialled <- struct{}{}
		}
	}()
	return listener.Addr().String(), dialled
}

func TestTheURLSaysHowLongAnAttemptTakesUnlessTheApplicationDoes(t *testing.T) {
	for _, one := range []struct {
		behind, environment string
		options             []redmux.Option
		again               bool
	}{
		{"?connect_timeout=50ms&backoff_min=10ms&backoff_max=20ms", "", nil, true},
		{",connectTimeout=50,backoff_min=10ms,backoff_max=20ms", "", nil, true},
		{"", "?connect_timeout=50ms&backoff_min=10ms&backoff_max=20ms", nil, true},
		{"?connect_timeout=50ms&backoff_min=10ms&backoff_max=20ms", "", []redmux.Option{redmux.ConnectTimeout(time.Second)}, false},
	} {
		t.Run(one.behind+one.environment, func(t *testing.T) {
			ctx, cancel := context.WithCancel(begin(t))
			defer cancel()
			address, dialled := silent(t)
			url := "redis://" + address + one.behind
			if strings.HasPrefix(one.behind, ",") {
				url = address + one.behind
			} else if one.environment != "" {
				t.Setenv("REDIS_URL", url+one.environment)
				url = ""
			}
			failed := make(chan error)
			go func() {
				_, err := redmux.Connect(ctx, url, one.options...)
				failed <- err
			}()
			dials := 0
			for dials < 8 { // a link to hear and one to speak: three attempts of one at the least
				select {
				case <-dialled:
					dials++
					continue
				case err := <-failed:
					is(t, err, redmux.ErrTimeout)
					if one.again {
						t.Fatal(dials, " attempts")
					}
					return
				}
			}
			cancel()
			is(t, <-failed, context.Canceled)
			if !one.again {
				t.Fatal("it tried again too soon")
			}
		})
	}
}

func TestTheURLSaysWhatIsLoggedUnlessTheApplicationDoes(t *testing.T) {
	ctx := begin(t)
	for _, one := range []struct {
		level   string
		options []redmux.Option
		logs    bool
	}{{"info", nil, true}, {"error", nil, false}, {"error", []redmux.Option{redmux.Set("log_level", "info")}, true}} {
		var log logged
		client, err := redmux.Connect(ctx, server.url+"?log_level="+one.level, append(one.options, redmux.Logger(log.logger()))...)
		ok(t, err)
		if one.logs {
			eventually(t, "a line", func() bool { return strings.Contains(log.String(), "level=INFO") })
		}
		ok(t, client.Close())
		if !one.logs && strings.Contains(log.String(), "level=INFO") {
			t.Fatal(log.String())
		}
	}
}

func TestAHandlerThatBlocksHoldsNoQuestionUp(t *testing.T) {
	ctx := begin(t)
	states, release := make(chan string, 1000), make(chan struct{})
	client, err := redmux.Connect(ctx, server.url, redmux.OnState(func(state, _ string) { <-release; states <- state }),
		redmux.Credentials(func(context.Context) (user, password string, err error) { return "", "", nil }))
	close(release)
	ok(t, err)
	defer client.Close()
	equal(t, <-states, "connecting")
	for <-states != "online" { // in their order
	}
}

func TestDurationsAreRoundedUpAndNeverWrapAround(t *testing.T) {
	for _, one := range []struct {
		d      time.Duration
		millis int64
		text   string
	}{
		{0, 1, "0ms"}, {1, 1, "1ms"}, {500 * time.Microsecond, 1, "1ms"}, {time.Millisecond, 1, "1ms"},
		{time.Millisecond + 1, 2, "2ms"}, {time.Second, 1000, "1000ms"}, {redmux.Forever, -1, "0ms"}, {-time.Second, -1, "-1000ms"},
		{math.MaxInt64, 9223372036855, "9223372036855ms"}, {math.MaxInt64 - 775807, 9223372036854, "9223372036854ms"},
	} {
		equal(t, redmux.Millis(one.d), one.millis)
		equal(t, redmux.DurationText(one.d), one.text)
	}
}

func TestTheLongestTimeIsLong(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	p, err := client.Promise(ctx, "long", redmux.Within(math.MaxInt64))
	ok(t, err)
	release := make(chan struct{})
	respond(t, ctx, client, "x", func(_ context.Context, r *redmux.Request) ([]byte, error) { <-release; return r.Data, nil })
	g, err := client.Gather(context.Background(), "x", []byte("hi"), redmux.TimeLimit(math.MaxInt64), redmux.Strict())
	ok(t, err)
	short, err := client.Gather(ctx, "x", nil, redmux.TimeLimit(time.Millisecond), redmux.Strict()) // so much is over by now
	ok(t, err)
	ended, err := short.All(ctx)
	ok(t, err)
	equal(t, ended.Reason, "deadline")
	close(release)
	result, err := g.All(ctx)
	ok(t, err)
	equal(t, result.Reason, "all")
	_, err = client.Fulfill(ctx, "long", []byte("kept"))
	ok(t, err)
	kept, err := p.Wait(ctx)
	ok(t, err)
	equal(t, string(kept), "kept")
}
