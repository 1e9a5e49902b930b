package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// objects are the objects of one process, and the steps that users do.
type objects struct {
	servers  step
	clients  map[string]*redmux.Client
	mu       sync.Mutex // of answers, which questions read
	answers  map[string]step
	subs     map[string]*redmux.Subscription
	sets     map[string]*redmux.Promises
	promises map[string]*redmux.Promise
	begun    map[string]*begun
	requests
}

func newObjects(servers step) *objects {
	return &objects{
		servers: servers, clients: map[string]*redmux.Client{}, answers: map[string]step{},
		subs: map[string]*redmux.Subscription{}, sets: map[string]*redmux.Promises{}, promises: map[string]*redmux.Promise{},
		begun: map[string]*begun{}, requests: requests{
			gathers: map[string][]*redmux.Gather{}, responders: map[string]*responder{}, handled: map[string]*handled{},
		},
	}
}

// begun is a step that goes on while others are done.
type begun struct {
	cancel context.CancelFunc
	over   chan struct{}
	result any
	err    error
}

// telling is a context that tells when somebody begins to wait for its end: then the call has been made.
type telling struct {
	context.Context
	once  *sync.Once
	waits chan struct{}
}

func (t telling) Done() <-chan struct{} {
	t.once.Do(func() { close(t.waits) })
	return t.Context.Done()
}

// begin runs work on a goroutine of its own, and returns when its call has been made.
func begin(work func(context.Context) (any, error)) *begun {
	ctx, cancel := context.WithCancel(context.Background())
	t := telling{ctx, &sync.Once{}, make(chan struct{})}
	b := &begun{cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(b.over)
		b.result, b.err = work(t)
	}()
	select {
	case <-t.waits:
	case <-b.over:
	}
	return b
}

func (b *begun) await() (any, error) {
	<-b.over
	b.cancel()
	return b.result, b.err
}

// within gives work the step's time.
func within(ctx context.Context, s step, work func(context.Context) error) error {
	if s.limit() < 0 {
		return work(ctx)
	}
	ctx, cancel := limited(ctx, s.limit())
	defer cancel()
	return work(ctx)
}

// limited is context.WithTimeout that goes on telling.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	t, is := ctx.(telling)
	if !is {
		return context.WithTimeout(ctx, d)
	}
	inner, cancel := context.WithTimeout(t.Context, d)
	return telling{inner, t.once, t.waits}, cancel
}

var errNoSub = &redmux.Error{Code: -200, Op: "read", Message: "there is no such subscription"}

func (o *objects) client(s step) *redmux.Client { return o.clients[s.text("client", "a")] }

func (o *objects) run(s step) error {
	do := s.text("do", "")
	work := func(ctx context.Context) (any, error) { return o.do(ctx, do, s) }
	if as := s.text("as", ""); as != "" && do != "await" && do != "cancel" && do != "promise" && do != "gather" {
		o.begun[as] = begin(work)
		return nil
	}
	result, err := work(context.Background())
	return judge(s, result, err)
}

func judge(s step, result any, err error) error {
	seen := ""
	if failure := (*redmux.Error)(nil); errors.As(err, &failure) {
		seen = failure.Kind()
	} else if err != nil {
		return err
	}
	if wanted := s.text("error", ""); seen != wanted {
		return fmt.Errorf("ended with %q, not %q: %v", seen, wanted, err)
	}
	for _, part := range s.list("says") {
		if !strings.Contains(err.Error(), part.(string)) {
			return fmt.Errorf("its text has no %v: %v", part, err)
		}
	}
	if err != nil {
		return nil
	}
	if wanted, has := s["receivers"].(float64); has && result != int64(wanted) {
		return fmt.Errorf("%v received it", result)
	}
	if data, has := s["data"]; has && s.text("do", "") == "await" {
		if got, _ := result.([]byte); string(got) != string(raw(data, 0)) {
			return fmt.Errorf("got %q", result)
		}
	}
	return nil
}

func (o *objects) do(ctx context.Context, do string, s step) (any, error) {
	switch do {
	case "connect":
		return nil, o.connect(ctx, s)
	case "answers":
		o.mu.Lock()
		defer o.mu.Unlock()
		o.answers[s.text("client", "a")] = s.inner("answers")
		return nil, nil
	case "ready":
		return nil, within(ctx, s, o.client(s).Ready)
	case "authenticate":
		return nil, within(ctx, s, func(ctx context.Context) error {
			return o.client(s).Authenticate(ctx, s.text("user", ""), s.text("password", ""))
		})
	case "stop":
		return nil, o.client(s).Stop()
	case "restart":
		return nil, o.client(s).Restart()
	case "flush":
		return nil, within(ctx, s, o.client(s).Flush)
	case "barrier":
		return nil, within(ctx, s, o.client(s).Barrier)
	case "publish":
		return o.publish(ctx, s)
	case "post":
		for n := range int(s.number("times", 1)) {
			if err := o.client(s).Post(name(s["channel"], n), raw(s["data"], n)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	case "logged":
		s["until"] = true
		return nil, until(s, func() (any, error) { return lines.has(s.text("line", "")), nil })
	case "stats":
		return nil, until(s, func() (any, error) { return o.stat(s) })
	case "promises":
		set, err := o.client(s).Promises(name(s["prefix"], 0))
		if err == nil {
			o.sets[s.text("set", "p")] = set
		}
		return nil, err
	case "promise":
		return nil, o.promise(ctx, s)
	case "await":
		as := s.text("as", "")
		if o.gathers[as] != nil {
			return nil, o.ended(ctx, s)
		}
		if promise := o.promises[as]; promise != nil {
			delete(o.promises, as)
			return promise.Wait(ctx)
		}
		return o.begun[as].await()
	case "cancel":
		if promise := o.promises[s.text("as", "")]; promise != nil {
			promise.Cancel()
		} else if gathers := o.gathers[s.text("as", "")]; gathers != nil {
			return nil, gathers[0].Close()
		} else {
			o.begun[s.text("as", "")].cancel()
		}
		return nil, nil
	case "close":
		return nil, o.close(s)
	case "gather":
		return nil, o.gather(ctx, s)
	case "ask":
		return o.ask(ctx, s)
	case "respond":
		return nil, o.respond(ctx, s)
	case "request":
		return nil, o.request(s)
	case "answer", "end", "fail", "cancelled":
		return nil, o.order(s)
	}
	if r := o.responders[s.text("responder", "")]; r != nil && do == "drain" {
		return nil, within(ctx, s, r.Drain)
	} else if r != nil && do == "nothing" {
		if len(r.came)+len(r.known) > 0 {
			return nil, errors.New("there is a request")
		}
		return nil, nil
	}
	if set := o.sets[s.text("set", "")]; set != nil {
		if do == "clear" {
			return nil, set.Clear()
		}
		return nil, within(ctx, s, set.WaitActive)
	}
	return nil, o.onSub(ctx, do, s)
}

func (o *objects) connect(ctx context.Context, s step) error {
	key, server := s.text("client", "a"), o.servers.inner(s.text("server", "redis"))
	url := server.text("url", server.text("unix_url", ""))
	if via := s.text("via", ""); via != "" {
		url = server.text(via+"_url", "")
	}
	limit := s.limit()
	var options []redmux.Option
	for option, value := range s.inner("options") {
		if option == "connect_timeout" {
			limit, _ = time.ParseDuration(value.(string))
			continue
		}
		options = append(options, redmux.Set(option, value.(string)))
	}
	if s.text("via", "") == "tls" {
		options = append(options, redmux.Set("tls_ca", server.inner("certs").text("ca", "")))
	}
	o.mu.Lock()
	o.answers[key] = s.inner("answers")
	o.mu.Unlock()
	if _, asked := o.answers[key]["address"]; asked {
		url = ""
		options = append(options, redmux.Address(func(context.Context) (string, string, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			address := o.servers.inner(o.answers[key].text("address", "")).text("url", "")
			return net.SplitHostPort(address[strings.LastIndexByte(address, '/')+1:])
		}))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if _, asked := o.answers[key]["credentials"]; asked {
		options = append(options, redmux.Credentials(func(context.Context) (string, string, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			given := o.answers[key].list("credentials")
			return given[0].(string), given[1].(string), nil
		}))
	}
	options = append(options, redmux.ConnectTimeout(limit))
	if s.flag("lazy", false) {
		options = append(options, redmux.Lazy())
	}
	client, err := redmux.Connect(ctx, url, options...)
	if err == nil {
		o.clients[key] = client
	}
	return err
}

func (o *objects) publish(ctx context.Context, s step) (any, error) {
	client, times := o.client(s), int(s.number("times", 1))
	one := func(n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (result any, err error) {
			err = within(ctx, s, func(ctx context.Context) error {
				result, err = client.Publish(ctx, name(s["channel"], n), raw(s["data"], n))
				return err
			})
			return result, err
		}
	}
	if times == 1 {
		return one(0)(ctx)
	}
	all := make([]*begun, times)
	for n := range all {
		all[n] = begin(one(n))
	}
	for _, b := range all {
		if _, err := b.await(); err != nil {
			return nil, err
		}
	}
	return all[0].await()
}

func (o *objects) stat(s step) (any, error) {
	found, err := o.client(s).Stats()
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(found, &value); err != nil {
		return nil, err
	}
	for _, part := range strings.Split(s.text("key", ""), ".") {
		value = value.(map[string]any)[part]
	}
	return value, nil
}

func (o *objects) promise(ctx context.Context, s step) error {
	limit := redmux.Within(s.limit()) // a negative one is for ever
	var promise *redmux.Promise
	var err error
	if s["name"] != nil {
		promise, err = o.client(s).Promise(ctx, name(s["name"], 0), limit)
	} else {
		set, suffix := o.sets[s.text("set", "p")], name(s["suffix"], 0)
		if s.flag("wait", false) {
			promise, err = set.WaitNew(suffix, limit)
		} else {
			promise, err = set.New(suffix, limit)
		}
	}
	if err == nil {
		o.promises[s.text("as", "")] = promise
	}
	return err
}

func (o *objects) close(s step) error {
	if set := o.sets[s.text("set", "")]; set != nil {
		return set.Close()
	}
	if r := o.responders[s.text("responder", "")]; r != nil {
		return r.Close()
	}
	if sub := o.subs[s.text("sub", "")]; sub != nil {
		return sub.Close()
	}
	return o.client(s).Close()
}

func (o *objects) onSub(ctx context.Context, do string, s step) error {
	if do == "subscribe" {
		return o.subscribe(ctx, s)
	}
	sub := o.subs[s.text("sub", "s")]
	if sub == nil {
		return errNoSub
	}
	channels, wait := names(s.list("channels")), s.flag("wait", true)
	switch do {
	case "add":
		if !wait {
			return sub.AddNoWait(channels...)
		}
		return within(ctx, s, func(ctx context.Context) error { return sub.Add(ctx, channels...) })
	case "remove":
		if !wait {
			return sub.RemoveNoWait(channels...)
		}
		return within(ctx, s, func(ctx context.Context) error { return sub.Remove(ctx, channels...) })
	case "clear":
		return within(ctx, s, sub.Clear)
	case "wait_active":
		return within(ctx, s, sub.WaitActive)
	case "drain":
		return within(ctx, s, sub.Drain)
	case "channels":
		has, wanted := sub.Channels(), names(s.list("is"))
		slices.Sort(has)
		slices.Sort(wanted)
		if !slices.Equal(has, wanted) {
			return fmt.Errorf("it has %q", has)
		}
		return nil
	case "expect":
		return expect(ctx, sub, s)
	case "count":
		return count(ctx, sub, s)
	case "nothing":
		return nothing(sub)
	}
	return fmt.Errorf("there is no such step")
}

func (o *objects) subscribe(ctx context.Context, s step) error {
	var options []redmux.SubOption
	for option, value := range s.inner("options") {
		switch option {
		case "inbox_policy":
			options = append(options, redmux.InboxPolicy(value.(string)))
		case "inbox_records":
			options = append(options, redmux.InboxRecords(size(value.(string))))
		case "inbox_bytes":
			options = append(options, redmux.InboxBytes(size(value.(string))))
		}
	}
	if !s.flag("wait", true) {
		options = append(options, redmux.NoWait())
	}
	return within(ctx, s, func(ctx context.Context) (err error) {
		var sub *redmux.Subscription
		if s["pattern"] != nil {
			sub, err = o.client(s).SubscribePattern(ctx, name(s["pattern"], 0), options...)
		} else {
			sub, err = o.client(s).SubscribeWith(ctx, names(s.list("channels")), options...)
		}
		if err == nil {
			o.subs[s.text("sub", "s")] = sub
		}
		return err
	})
}

// size reads 64k, 1MiB and 100.
func size(given string) int {
	var n int
	var unit string
	_, _ = fmt.Sscanf(given, "%d%s", &n, &unit)
	if unit != "" {
		n <<= map[byte]int{'k': 10, 'K': 10, 'm': 20, 'M': 20, 'g': 30, 'G': 30}[unit[0]]
	}
	return n
}

func (o *objects) end() error {
	for _, client := range o.clients {
		if err := client.Close(); err != nil {
			return err
		}
	}
	return left()
}
