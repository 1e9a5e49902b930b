package redmux_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// What users of RedisMPX, Messaging Broker and the tutorial must find, by the id of its row.

func TestM26CallbacksAndAnEmptyStart(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	seen := make(chan string, 10)
	sub, err := client.SubscribeWith(ctx, nil,
		redmux.OnMessage(func(m redmux.Message) error {
			seen <- fmt.Sprintf("channel: [%s] msg: [%s]", m.Channel, m.Text())
			return nil
		}),
		redmux.OnLost(func(lost redmux.Lost) { seen <- "lost: " + lost.Reason }),
		redmux.OnActive(func(active redmux.Active) { seen <- fmt.Sprintf("active: %q %v", active.Channel, active.Restored) }))
	ok(t, err)
	equal(t, len(sub.Channels()), 0)
	ok(t, sub.Add(ctx, "mychannel"))
	equal(t, <-seen, `active: "mychannel" false`)
	_, err = client.Publish(ctx, "mychannel", []byte("Hello World!"))
	ok(t, err)
	equal(t, <-seen, "channel: [mychannel] msg: [Hello World!]")
	server.do("kill_pubsub")
	equal(t, <-seen, "lost: link_lost")
	equal(t, <-seen, `active: "" true`)
}

func TestM27TenThousandSubscriptionsShareAConnectionAndHaveNoThreadEach(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	before, held := resident(), hold()
	subs := make([]*redmux.Subscription, 10_000)
	for n := range subs {
		var err error
		subs[n], err = client.SubscribeWith(ctx, []string{"user:" + strconv.Itoa(n)}, redmux.InboxRecords(100), redmux.NoWait())
		ok(t, err)
	}
	ok(t, subs[len(subs)-1].WaitActive(ctx))
	each := (resident() - before) / len(subs)
	got, err := client.Publish(ctx, "user:1234", []byte("hi"))
	ok(t, err)
	equal(t, got, 1)
	m, err := subs[1234].Next(ctx)
	ok(t, err)
	equal(t, m.Text(), "hi")
	connections := 0
	for _, one := range server.do("client_list").([]any) {
		if one.(map[string]any)["sub"] != "0" {
			connections++
		}
	}
	equal(t, connections, 1)
	if now := hold(); now.threads > held.threads || now.goroutines > held.goroutines+10 {
		t.Fatalf("%+v before, %+v with %d subscriptions", held, now, len(subs))
	}
	t.Logf("%d resident bytes a subscription", each)
	if each > 4096 && !raceDetector {
		t.Fatalf("%d resident bytes a subscription", each)
	}
}

func resident() int {
	found, err := os.ReadFile("/proc/self/statm")
	must(err)
	pages, err := strconv.Atoi(strings.Fields(string(found))[1])
	must(err)
	return pages * os.Getpagesize()
}

func TestM28CredentialsAreAskedOfTheApplicationAtEachAttempt(t *testing.T) {
	ctx := begin(t)
	own := startFixture("--password", "old")
	defer own.end()
	password := make(chan string, 1)
	password <- "old"
	ask := func(context.Context) (string, string, error) {
		now := <-password
		password <- now
		return "default", now, nil
	}
	client, err := redmux.Connect(ctx, own.url, redmux.Credentials(ask), redmux.Set("backoff_max", "100ms"))
	ok(t, err)
	defer client.Close()
	sub := subscribe(t, ctx, client, "x")
	own.do("stop")
	wanted := []string{"redmux.Active", "redmux.Lost", "redmux.Active"}
	for event, err := range sub.Events(ctx) {
		ok(t, err)
		equal(t, fmt.Sprintf("%T", event), wanted[0])
		wanted = wanted[1:]
		if _, lost := event.(redmux.Lost); lost {
			own.do("configure", "key", "requirepass", "value", "new")
			<-password
			password <- "new"
			own.do("start")
		}
		if len(wanted) == 0 {
			break
		}
	}
}

func TestM28TheAddressIsAskedOfTheApplication(t *testing.T) {
	ctx := begin(t)
	for _, at := range [][2]string{{"127.0.0.1", server.port()}, {server.path, ""}} {
		client, err := redmux.Connect(ctx, "", redmux.Address(func(context.Context) (string, string, error) {
			return at[0], at[1], nil
		}))
		ok(t, err)
		_, err = client.Publish(ctx, "x", []byte("y"))
		ok(t, err)
		ok(t, client.Close())
	}
	_, err := redmux.Connect(ctx, "", redmux.ConnectTimeout(200*time.Millisecond),
		redmux.Address(func(context.Context) (string, string, error) { return "", "", errors.New("no idea") }),
		redmux.Logger((&logged{}).logger()))
	if !errors.Is(err, redmux.ErrTimeout) {
		t.Fatal(err)
	}
}

func TestM29ClearWaitStopAndRestart(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "a", "b")
	ok(t, sub.Clear(ctx))
	equal(t, len(sub.Channels()), 0)
	equal(t, server.do("numsub", "channel", "a").(float64), 0)
	ok(t, client.Stop())
	if err := client.Stop(); !errors.Is(err, redmux.ErrState) {
		t.Fatal(err)
	}
	ok(t, sub.AddNoWait("c"))
	ok(t, client.Restart())
	ok(t, sub.WaitActive(ctx))
	got, err := client.Publish(ctx, "c", []byte("again"))
	ok(t, err)
	equal(t, got, 1)
	m, err := sub.Next(ctx)
	ok(t, err)
	equal(t, m.Text(), "again")
}

func TestP12ThePrefixObject(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	promises, err := client.Promises("p:")
	ok(t, err)
	later, err := promises.WaitNew("later", redmux.Within(10*time.Second), redmux.ActiveWithin(redmux.Forever))
	ok(t, err)
	ok(t, promises.WaitActive(ctx))
	now, err := promises.New("x", redmux.Within(10*time.Second))
	ok(t, err)
	server.do("command", "args", []string{"PUBLISH", "p:x", "kept"})
	server.do("command", "args", []string{"PUBLISH", "p:later", "too"})
	for promise, wanted := range map[*redmux.Promise]string{now: "kept", later: "too"} {
		for range 2 {
			got, err := promise.Wait(ctx)
			ok(t, err)
			equal(t, string(got), wanted)
		}
	}
	gone, err := promises.New("gone", redmux.Within(redmux.Forever))
	ok(t, err)
	ok(t, promises.Clear())
	if _, err := gone.Wait(ctx); !errors.Is(err, redmux.ErrCancelled) {
		t.Fatal(err)
	}
	closed, err := promises.New("closed")
	ok(t, err)
	ok(t, promises.Close())
	ok(t, promises.Close())
	if _, err := closed.Wait(ctx); !errors.Is(err, redmux.ErrClosed) {
		t.Fatal(err)
	}
	single, err := client.Promise(ctx, "one")
	ok(t, err)
	server.do("command", "args", []string{"PUBLISH", "one", "alone"})
	got, err := single.Wait(ctx)
	ok(t, err)
	equal(t, string(got), "alone")
	late, err := client.Promise(ctx, "nobody", redmux.Within(time.Millisecond))
	if err == nil {
		_, err = late.Wait(ctx)
	}
	if !errors.Is(err, redmux.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestB1JSONIsPublishedAndErrorsComeBackByKind(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	sub := subscribe(t, ctx, client, "x")
	got, err := client.PublishJSON(ctx, "x", map[string]any{"ä": []any{1, nil}})
	ok(t, err)
	equal(t, got, 1)
	m, err := sub.Next(ctx)
	ok(t, err)
	equal(t, m.Text(), `{"ä":[1,null]}`)
	if age := time.Since(m.Time()); age < 0 || age > time.Minute {
		t.Fatal(age)
	}
	value, err := redmux.DecodeJSON[map[string][]any](m)
	ok(t, err)
	equal(t, len(value["ä"]), 2)
	ok(t, client.PostJSON("x", nil))
	m, err = sub.Next(ctx)
	ok(t, err)
	equal(t, m.Text(), "null")
	if _, err := client.PublishJSON(ctx, "x", func() {}); err == nil {
		t.Fatal("a function was encoded")
	}

	away, err := redmux.Connect(ctx, "redis://127.0.0.1:1", redmux.Lazy(), redmux.Set("publish_queue", "4k"), redmux.Logger((&logged{}).logger()))
	ok(t, err)
	defer away.Close()
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = away.Publish(soon, "x", []byte("y"))
	for _, wanted := range []error{redmux.ErrNotSent, redmux.ErrLinkLost, context.DeadlineExceeded} {
		if !errors.Is(err, wanted) {
			t.Fatalf("%v is no %v", err, wanted)
		}
	}
	ok(t, away.Post("x", make([]byte, 4000)))
	err = away.Post("x", make([]byte, 4000))
	if failure := (*redmux.Error)(nil); !errors.Is(err, redmux.ErrFull) || !errors.As(err, &failure) || failure.Kind() != "full" {
		t.Fatal(err)
	}
	ok(t, away.Stop())
}

func TestB2FiveChannelsSevenMessages(t *testing.T) {
	ctx := begin(t)
	client := connect(t, ctx)
	channels := []string{"orders", "users", "stock", "prices", "alerts"}
	sub := subscribe(t, ctx, client, channels...)
	wanted := append(slices.Clone(channels), "orders", "orders")
	for _, channel := range wanted {
		equal(t, server.do("publish", "channel", channel, "data", channel).(float64), 1)
	}
	var seen []string
	for m := range sub.Chan() {
		if seen = append(seen, m.Text()); len(seen) == len(wanted) {
			ok(t, sub.Close()) // ends the loop
		}
	}
	if !slices.Equal(seen, wanted) {
		t.Fatal(seen)
	}
}

func TestB3TheEnvironmentInItsOrder(t *testing.T) {
	begin(t)
	wrong := "redis://127.0.0.1:1"
	for _, one := range []struct{ url, environment string }{
		{server.url, "REDIS_URL=" + wrong},
		{"", "REDIS_URL=" + server.url + " REDIS_HOST=127.0.0.1 REDIS_PORT=1"},
		{"", "REDIS_HOST=127.0.0.1 REDIS_PORT=" + server.port()},
	} {
		program := exec.Command(os.Args[0])
		program.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "REDIS") }),
			append(strings.Fields(one.environment), "REDMUX_TEST_EXIT=publish "+one.url)...)
		out, err := program.CombinedOutput()
		ok(t, err)
		equal(t, string(out), "0\n")
	}
}

func TestB4BadJSONInACallbackIsLoggedAndTheNextIsDelivered(t *testing.T) {
	ctx := begin(t)
	var log logged
	client := connect(t, ctx, redmux.Logger(log.logger()))
	seen := make(chan int)
	_, err := client.SubscribeWith(ctx, []string{"x"}, redmux.OnMessage(func(m redmux.Message) error {
		if m.Text() == "panic" {
			panic("at once")
		}
		value, err := redmux.DecodeJSON[int](m)
		if err == nil {
			seen <- value
		}
		return err
	}))
	ok(t, err)
	for _, data := range []string{"{bad\xff", "panic", "1"} {
		_, err = client.Publish(ctx, "x", []byte(data))
		ok(t, err)
	}
	equal(t, <-seen, 1)
	for _, part := range []string{"bad JSON on", "5 bytes", "panic: at once"} {
		if !strings.Contains(log.String(), part) {
			t.Fatalf("no %q in %s", part, log.String())
		}
	}
	_, err = redmux.DecodeJSON[int](redmux.Message{Channel: "x", Data: []byte("{bad\xff")})
	if said := `bad JSON on "x", 5 bytes: "{bad\xff": `; !errors.Is(err, redmux.ErrDecode) || !strings.Contains(err.Error(), said) {
		t.Fatal(err)
	}
}

func TestLogsLossesAndStatesGoWhereTheApplicationSays(t *testing.T) {
	ctx := begin(t)
	var log logged
	states := make(chan string, 100)
	client := connect(t, ctx, redmux.Logger(log.logger()), redmux.OnState(func(state, reason string) { states <- state }))
	sub := subscribe(t, ctx, client, "x")
	server.do("kill_pubsub")
	for _, wanted := range []string{"connecting", "online", "offline", "online"} {
		for state := ""; state != wanted; {
			select {
			case state = <-states:
			case <-ctx.Done():
				t.Fatal(wanted)
			}
		}
	}
	ok(t, sub.WaitActive(ctx))
	ok(t, client.Post("x", []byte("y")))
	_, err := sub.Next(ctx)
	ok(t, err)
	if !strings.Contains(log.String(), "messages may be missing") {
		t.Fatal(log.String())
	}
}
