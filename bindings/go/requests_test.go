package redmux_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// Requests and responders where wrappers break: left early, cancelled, dropped, closed at bad moments, too many at once.

// slow is a handler that begins, waits until nobody waits for it, and says both.
type slow struct{ begun, told chan struct{} }

func newSlow() slow { return slow{make(chan struct{}, 1000), make(chan struct{}, 1000)} }

func (s slow) handle(ctx context.Context, r *redmux.Request) ([]byte, error) {
	s.begun <- struct{}{}
	<-ctx.Done()
	s.told <- struct{}{}
	return nil, ctx.Err()
}

func echo(_ context.Context, r *redmux.Request) ([]byte, error) { return r.Data, nil }

func respond(t *testing.T, ctx context.Context, client *redmux.Client, service string, handler redmux.Handler, options ...redmux.RespondOption) *redmux.Responder {
	t.Helper()
	r, err := client.Respond(ctx, service, handler, options...)
	ok(t, err)
	return r
}

func is(t *testing.T, err error, kinds ...error) {
	t.Helper()
	for _, kind := range kinds {
		if !errors.Is(err, kind) {
			t.Fatalf("%v is not %v", err, kind)
		}
	}
}

// gathers is how many are open in the library.
func gathers(t *testing.T, client *redmux.Client) int {
	t.Helper()
	found, err := client.Stats()
	ok(t, err)
	stats, err := redmux.DecodeJSON[struct{ Requests struct{ Gathers int } }](redmux.Message{Data: found})
	ok(t, err)
	return stats.Requests.Gathers
}

func TestBreakingOffAnIterationTellsTheHandler(t *testing.T) {
	ctx := begin(t)
	client, told := connect(t, ctx, redmux.Set("strict", "true")), make(chan error)
	respond(t, ctx, client, "x", func(ctx context.Context, r *redmux.Request) ([]byte, error) {
		ok(t, r.Answer(r.Data, nil))
		<-ctx.Done()
		err := r.Answer(r.Data, nil)
		told <- err
		return nil, err
	})
	for _, leave := range []func(){func() {}, func() { panic("left") }} {
		g, err := client.Gather(ctx, "x", []byte("hi"))
		ok(t, err)
		func() {
			defer func() { _ = recover() }()
			for answer := range g.Seq() {
				equal(t, answer.Text(), "hi")
				leave()
				break
			}
		}()
		is(t, <-told, redmux.ErrCancelled)
		result, err := g.All(ctx)
		ok(t, err)
		equal(t, result.Reason, "cancelled")
	}
	equal(t, gathers(t, client), 0)
}

func TestAContextThatEndsGivesUpAndTellsTheHandler(t *testing.T) {
	ctx := begin(t)
	client, handler := connect(t, ctx, redmux.Set("strict", "true")), newSlow()
	respond(t, ctx, client, "x", handler.handle)
	for what, ask := range map[string]func(ctx context.Context) error{
		"request":          func(ctx context.Context) error { _, err := client.Request(ctx, "x", nil); return err },
		"gather, not read": func(ctx context.Context) error { _, err := client.Gather(ctx, "x", nil); return err },
		"next": func(inner context.Context) error {
			g, err := client.Gather(ctx, "x", nil)
			ok(t, err)
			_, err = g.Next(inner)
			return err
		},
		"all": func(inner context.Context) error {
			g, err := client.Gather(ctx, "x", nil)
			ok(t, err)
			result, err := g.All(inner)
			equal(t, result.Reason, "cancelled")
			return err
		},
	} {
		t.Log(what)
		inner, cancel := context.WithCancel(ctx)
		ended := make(chan error)
		go func() { ended <- ask(inner) }()
		<-handler.begun
		cancel()
		if err := <-ended; what != "gather, not read" {
			is(t, err, context.Canceled, redmux.ErrCancelled)
		}
		<-handler.told
		_, err := client.Gather(inner, "x", nil)
		is(t, err, context.Canceled)
	}
	eventually(t, "no gather is open", func() bool { return gathers(t, client) == 0 })
}

func TestTheTimeLimitIsTheOptionsOrTheContextsOrTheClients(t *testing.T) {
	ctx := begin(t)
	client, handler := connect(t, ctx, redmux.Timeout(1500*time.Millisecond), redmux.Set("strict", "true")), newSlow()
	respond(t, ctx, client, "x", handler.handle)
	respond(t, ctx, client, "", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		return []byte("part"), nil
	}, redmux.CatchAll())
	_, err := client.Request(ctx, "y", nil) // both links are up: no time of what follows goes into dialling
	ok(t, err)
	background := context.Background()
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var all []*redmux.Gather // at once, so that the test takes as long as the longest
	asked := []struct {
		ctx     context.Context
		options []redmux.GatherOption
	}{{soon, nil}, {ctx, []redmux.GatherOption{redmux.TimeLimit(700 * time.Millisecond)}}, {background, nil}}
	for _, one := range asked {
		g, err := client.Gather(one.ctx, "x", nil, one.options...)
		ok(t, err)
		all = append(all, g)
	}
	for n, one := range asked {
		result, err := all[n].All(one.ctx) // the same context: what came is there, and there is no error
		ok(t, err)
		equal(t, fmt.Sprint(result.Reason, len(result.Answers), len(result.Missing)), "deadline1 1")
		is(t, result.Err, redmux.ErrTimeout, context.DeadlineExceeded)
		equal(t, result.Elapsed > 500*time.Millisecond && result.Elapsed < 10*time.Second, true)
		<-handler.told
	}
	sooner, cancel := context.WithTimeout(ctx, time.Millisecond) // a read's own, which is shorter than the gather's
	defer cancel()
	g, err := client.Gather(ctx, "y", nil, redmux.Expect(2))
	ok(t, err)
	_, err = g.Next(ctx)
	ok(t, err)
	_, err = g.Next(sooner)
	if err != io.EOF { // or it had ended before
		is(t, err, context.DeadlineExceeded, redmux.ErrTimeout)
	}
}

func TestAGatherThatIsDroppedIsGivenUp(t *testing.T) {
	ctx := begin(t)
	client, handler := connect(t, ctx), newSlow()
	respond(t, ctx, client, "x", handler.handle)
	func() {
		_, err := client.Gather(ctx, "x", nil)
		ok(t, err)
	}()
	<-handler.begun
	eventually(t, "the handler is told", func() bool { runtime.GC(); return len(handler.told) == 1 })
	eventually(t, "no gather is open", func() bool { return gathers(t, client) == 0 })
}

func TestClosingTheClientThatAsksEndsItsGathers(t *testing.T) {
	ctx := begin(t)
	handler := newSlow()
	respond(t, ctx, connect(t, ctx), "x", handler.handle)
	for range 10 {
		client := connect(t, ctx)
		g, err := client.Gather(ctx, "x", nil)
		ok(t, err)
		ended, requested := make(chan string), make(chan error)
		go func() {
			result, err := g.All(ctx)
			ended <- fmt.Sprint(result.Reason, err)
		}()
		go func() {
			_, err := client.Request(ctx, "x", nil)
			requested <- err
		}()
		<-handler.begun
		ok(t, client.Close())
		equal(t, <-ended, "closed<nil>")
		is(t, <-requested, redmux.ErrClosed)
		ok(t, g.Close())
		_, err = client.Gather(ctx, "x", nil)
		is(t, err, redmux.ErrClosed)
		_, err = client.Request(ctx, "x", nil)
		is(t, err, redmux.ErrClosed)
		_, err = client.Respond(ctx, "y", echo)
		is(t, err, redmux.ErrClosed)
	}
}

func TestClosingWhoWorksEndsItsHandlersContextsAndTellsWhoAsks(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx, redmux.Set("strict", "true"))
	for _, what := range []string{"client", "responder", "by the handler: client", "by the handler: responder"} {
		t.Log(what)
		other, handler := connect(t, ctx), newSlow()
		var responder *redmux.Responder
		shut := func() error {
			if strings.Contains(what, "client") {
				return other.Close()
			}
			return responder.Close()
		}
		ready := make(chan struct{})
		responder = respond(t, ctx, other, "x", func(ctx context.Context, r *redmux.Request) ([]byte, error) {
			<-ready
			if strings.HasPrefix(what, "by") {
				ok(t, shut())
			}
			return handler.handle(ctx, r)
		})
		close(ready)
		g, err := client.Gather(ctx, "x", nil)
		ok(t, err)
		<-handler.begun
		ok(t, shut())
		<-handler.told
		result, err := g.All(ctx)
		ok(t, err)
		equal(t, fmt.Sprint(result.Reason, len(result.Errors), result.Missing), "failed1 []")
		equal(t, result.Errors[0].Code, "CLOSED")
		ok(t, responder.Close())
		is(t, responder.Drain(ctx), redmux.ErrClosed)
		ok(t, other.Close())
	}
}

func TestWhatAHandlerReturnsIsWhatTheAskerGets(t *testing.T) {
	ctx := begin(t)
	var log logged
	client := connect(t, ctx, redmux.Name("node"), redmux.Logger(log.logger()), redmux.Set("max_payload", "64k"), redmux.Set("strict", "true"))
	var kept *redmux.Request
	looked := make(chan struct{}) // at a gather that has no end yet
	for service, handler := range map[string]redmux.Handler{
		"echo":  echo,
		"empty": func(context.Context, *redmux.Request) ([]byte, error) { return []byte{}, nil },
		"none":  func(context.Context, *redmux.Request) ([]byte, error) { return nil, nil },
		"fails": func(context.Context, *redmux.Request) ([]byte, error) { return nil, errors.New("no luck") },
		"panic": func(context.Context, *redmux.Request) ([]byte, error) { panic("at once") },
		"exits": func(context.Context, *redmux.Request) ([]byte, error) { runtime.Goexit(); return nil, nil },
		"large": func(context.Context, *redmux.Request) ([]byte, error) { return make([]byte, 100_000), nil },
		"says": func(context.Context, *redmux.Request) ([]byte, error) {
			return nil, fmt.Errorf("wrapped: %w", &redmux.RemoteError{Code: "NOT_FOUND", Message: "no such user", Retriable: true})
		},
		"parts": func(_ context.Context, r *redmux.Request) ([]byte, error) {
			ok(t, r.Answer([]byte("1"), map[string]string{"a": "b"}))
			<-looked
			return r.Data, nil
		},
		"keeps": func(_ context.Context, r *redmux.Request) ([]byte, error) { kept = r; return r.Data, nil },
	} {
		respond(t, ctx, client, service, handler)
	}
	answer, err := client.Request(ctx, "echo", []byte("text"))
	ok(t, err)
	equal(t, fmt.Sprint(answer.Service, answer.Text(), answer.Responder, answer.Last, answer.By != ""), "echotextnodetrue true")
	if age := time.Since(answer.Time()); age < 0 || age > time.Minute {
		t.Fatal(age)
	}
	for _, service := range []string{"echo", "empty"} {
		answer, err = client.Request(ctx, service, nil)
		ok(t, err)
		equal(t, len(answer.Data), 0)
	}
	g, err := client.Gather(ctx, "parts", []byte("2"))
	ok(t, err)
	equal(t, g.End() == nil, true)
	close(looked)
	result, err := g.All(ctx)
	ok(t, err)
	for i, wanted := range []string{"1 map[a:b] 0 false", "2 map[] 1 true"} {
		a := result.Answers[i]
		equal(t, fmt.Sprint(a.Text(), " ", a.Headers, a.Number, a.Last), wanted)
	}
	equal(t, fmt.Sprint(result.Reason, result.Expected, len(result.Answers), result.Err, g.End().Reason), "all1 2 <nil>all")
	for _, service := range []string{"none", "exits", "nobody"} {
		_, err = client.Request(ctx, service, nil)
		is(t, err, redmux.ErrNoResponders)
	}
	for service, said := range map[string]string{"fails": "no luck", "panic": "panic: at once", "large": "limit", "says": "no such user"} {
		_, err = client.Request(ctx, service, nil)
		var remote *redmux.RemoteError
		if is(t, err, redmux.ErrRemote); !errors.As(err, &remote) {
			t.Fatal(err)
		}
		equal(t, remote.Responder, "node")
		if service != "large" && !strings.HasSuffix(remote.Message, said) {
			t.Fatal(remote)
		}
		known := service == "says"
		equal(t, remote.Retriable, known)
		equal(t, remote.Code == "NOT_FOUND", known)
		equal(t, strings.Contains(log.String(), "no such user"), false)
	}
	equal(t, strings.Count(log.String(), "a handler failed"), 3)
	_, err = client.Request(ctx, "keeps", []byte("x"))
	ok(t, err)
	is(t, kept.Answer(nil, nil), redmux.ErrClosed)
	_, err = client.Request(ctx, "echo", nil, redmux.SetGather("expects", "1"))
	is(t, err, redmux.ErrArgument)
	_, err = client.Respond(ctx, "y", echo, redmux.Concurrency(0))
	is(t, err, redmux.ErrArgument)
	_, err = client.Respond(ctx, "echo", echo)
	is(t, err, redmux.ErrState)
}

func TestAThousandRequestsAtOnceAndNoMoreHandlersThanAllowed(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx, redmux.Set("strict", "true"))
	var now, most atomic.Int32
	respond(t, ctx, client, "many", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		runtime.Gosched()
		return r.Data, nil
	}, redmux.Concurrency(7))
	var work sync.WaitGroup
	for n := range 1000 {
		work.Add(1)
		go func() {
			defer work.Done()
			if answer, err := client.Request(ctx, "many", []byte(strconv.Itoa(n))); err != nil || answer.Text() != strconv.Itoa(n) {
				t.Error(n, answer.Text(), err)
			}
		}()
	}
	work.Wait()
	equal(t, most.Load() <= 7, true)
	equal(t, gathers(t, client), 0)
}

func TestAResponderWithoutRoomIsFullAndMayBeAskedAgain(t *testing.T) {
	ctx := begin(t)
	client, handler := connect(t, ctx, redmux.Set("strict", "true")), newSlow()
	respond(t, ctx, client, "x", handler.handle, redmux.Concurrency(1), redmux.Waiting(0))
	first, err := client.Gather(ctx, "x", nil)
	ok(t, err)
	<-handler.begun
	_, err = client.Request(ctx, "x", nil)
	var remote *redmux.RemoteError
	is(t, err, redmux.ErrRemote, redmux.ErrFull)
	equal(t, errors.As(err, &remote) && remote.Retriable, true)
	ok(t, first.Close())
	<-handler.told
}

func TestUntilTakesTheAnswerThatIsEnoughAndNoMore(t *testing.T) {
	ctx := begin(t)
	client, told := connect(t, ctx), make(chan struct{})
	respond(t, ctx, client, "x", func(ctx context.Context, r *redmux.Request) ([]byte, error) {
		for n := range 5 {
			ok(t, r.Answer([]byte(strconv.Itoa(n)), nil))
		}
		<-ctx.Done()
		close(told)
		return nil, nil
	})
	g, err := client.Gather(ctx, "x", nil, redmux.Until(func(a redmux.Answer) bool { return a.Text() == "2" }))
	ok(t, err)
	result, err := g.All(ctx)
	ok(t, err)
	equal(t, fmt.Sprint(result.Reason, len(result.Answers)), "predicate3")
	<-told
}

func TestWhatIsNotSaidOfARequestIsAsTheClientHasIt(t *testing.T) {
	ctx := begin(t)
	client, err := redmux.Connect(ctx, server.url+"?expect=1", redmux.Name("one"), redmux.Set("inbox_policy", "drop-newest"), redmux.Set("strict", "true"))
	ok(t, err)
	defer client.Close()
	respond(t, ctx, client, "x", echo, redmux.Concurrency(3))
	for reason, options := range map[string][]redmux.GatherOption{"count": {redmux.Repeatable()}, "all": {redmux.Expect(0)}} {
		g, err := client.Gather(ctx, "x", nil, options...)
		ok(t, err)
		result, err := g.All(ctx)
		ok(t, err)
		equal(t, result.Reason+result.Answers[0].Responder, reason+"one")
	}
	sub, err := client.SubscribeWith(ctx, []string{"x"}, redmux.InboxRecords(1))
	ok(t, err)
	for _, data := range []string{"first", "second"} {
		_, err := client.Publish(ctx, "x", []byte(data))
		ok(t, err)
	}
	ok(t, client.Barrier(ctx))
	m, err := sub.Next(ctx)
	ok(t, err)
	equal(t, m.Text(), "first")
}

func TestATraceGoesOnThroughWhatAHandlerAsks(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx, redmux.Set("strict", "true"))
	respond(t, ctx, client, "last", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		return []byte(r.Headers["traceparent"] + r.Headers["own"]), nil
	})
	respond(t, ctx, client, "middle", func(ctx context.Context, _ *redmux.Request) ([]byte, error) {
		answer, err := client.Request(ctx, "last", nil, redmux.Headers(map[string]string{"own": "!"}))
		return answer.Data, err
	})
	for trace, wanted := range map[string]string{"": "!", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01!"} {
		var options []redmux.GatherOption
		if trace != "" {
			options = append(options, redmux.Headers(map[string]string{"traceparent": trace}))
		}
		answer, err := client.Request(ctx, "middle", nil, options...)
		ok(t, err)
		equal(t, answer.Text(), wanted)
	}
}

func TestADrainLetsHandlersFinishAsLongAsItMay(t *testing.T) {
	ctx := begin(t)
	client, goOn, begun := connect(t, ctx, redmux.Set("strict", "true")), make(chan struct{}), make(chan struct{}, 1)
	handler := func(context.Context, *redmux.Request) ([]byte, error) {
		begun <- struct{}{}
		<-goOn
		return []byte("finished"), nil
	}
	responder := respond(t, ctx, client, "x", handler)
	g, err := client.Gather(ctx, "x", nil)
	ok(t, err)
	<-begun
	drained := make(chan error)
	go func() { drained <- responder.Drain(ctx) }()
	eventually(t, "nothing new", func() bool { return server.do("numsub", "channel", "redmux:svc:x").(float64) == 0 })
	goOn <- struct{}{}
	ok(t, <-drained)
	result, err := g.All(ctx)
	ok(t, err)
	equal(t, result.Answers[0].Text(), "finished")

	responder = respond(t, ctx, client, "x", handler)
	g, err = client.Gather(ctx, "x", nil)
	ok(t, err)
	<-begun
	soon, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	is(t, responder.Drain(soon), redmux.ErrTimeout)
	result, err = g.All(ctx)
	ok(t, err)
	equal(t, result.Reason, "failed")
	close(goOn)
}

func TestALostLinkInterruptsUnlessItMayBeSentAgain(t *testing.T) {
	ctx := begin(t)
	own := startFixture()
	defer own.end()
	client, err := redmux.Connect(ctx, own.url, redmux.Set("backoff_max", "50ms"), redmux.Set("strict", "true"), redmux.Logger((&logged{}).logger()))
	ok(t, err)
	defer client.Close()
	begun, goOn, again := make(chan struct{}), make(chan struct{}), make(chan bool, 10)
	respond(t, ctx, client, "x", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		begun <- struct{}{}
		<-goOn
		again <- r.Again
		return r.Data, nil
	})
	for _, options := range [][]redmux.GatherOption{nil, {redmux.Repeatable()}} {
		ended := make(chan error)
		go func() {
			_, err := client.Request(ctx, "x", []byte("hi"), options...)
			ended <- err
		}()
		<-begun
		own.do("kill_pubsub")
		if options == nil {
			is(t, <-ended, redmux.ErrInterrupted, redmux.ErrLinkLost)
			goOn <- struct{}{}
		} else {
			goOn <- struct{}{}
			ok(t, <-ended)
		}
		eventually(t, "it is subscribed again", func() bool { return client.Barrier(ctx) == nil })
	}
}

func TestRequestsAsJSON(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx, redmux.Set("strict", "true"))
	type user struct{ ID int }
	respond(t, ctx, client, "x", func(_ context.Context, r *redmux.Request) ([]byte, error) {
		given, err := redmux.DecodeJSON[user](r)
		if err != nil {
			return []byte("{bad"), nil
		}
		return fmt.Appendf(nil, `{"ID":%d}`, given.ID+1), nil
	})
	found, err := redmux.RequestJSON[user](ctx, client, "x", user{7})
	ok(t, err)
	equal(t, found.ID, 8)
	_, err = redmux.RequestJSON[user](ctx, client, "x", "no user")
	is(t, err, redmux.ErrDecode)
	_, err = redmux.RequestJSON[user](ctx, client, "x", func() {})
	equal(t, err != nil, true)
}

func TestAStormOfRequestsLeftEarlyLeavesNothing(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	respond(t, ctx, client, "x", echo)
	for turn := range 20 {
		inner, cancel := context.WithCancel(ctx)
		var work sync.WaitGroup
		for range 50 {
			work.Add(2)
			go func() {
				defer work.Done()
				_, _ = client.Request(inner, "x", nil)
			}()
			go func() {
				defer work.Done()
				if g, err := client.Gather(inner, "x", nil); err == nil && turn%2 == 0 {
					_ = g.Close()
				}
			}()
		}
		for range turn * 10 {
			runtime.Gosched()
		}
		cancel()
		work.Wait()
	}
	eventually(t, "no gather is open", func() bool { return gathers(t, client) == 0 })
}
