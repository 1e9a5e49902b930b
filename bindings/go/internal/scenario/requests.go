package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
)

// requests are the gathers and responders of one process.
type requests struct {
	gathers    map[string][]*redmux.Gather
	responders map[string]*responder
	handled    map[string]*handled
}

// responder is one, and the requests that came to it and that no step has named. Handlers run side by side, so of several that came
// any may be the next.
type responder struct {
	*redmux.Responder
	came  chan *handled
	known []*handled
}

// handled is a request with its handler, which does what steps say.
type handled struct {
	request   *redmux.Request
	orders    chan step
	said      chan error // one a step
	left      chan struct{}
	cancelled bool // read behind left
}

func (h *handled) handle(ctx context.Context) ([]byte, error) {
	defer close(h.left)
	for {
		select {
		case <-ctx.Done():
			h.cancelled = true
			return nil, ctx.Err()
		case s := <-h.orders:
			switch s.text("do", "") {
			case "end":
				return nil, nil
			case "fail":
				if code := s.text("code", ""); code != "" {
					return nil, &redmux.RemoteError{Code: code, Message: s.text("message", ""), Retriable: s.flag("retriable", false)}
				}
				return nil, errors.New("the scenario says so")
			}
			data, headers, last := raw(s["data"], 0), texts(s["headers"]), s.flag("last", true)
			if last && headers == nil {
				return data, nil
			}
			if err := h.request.Answer(data, headers); last || err != nil {
				return nil, err
			}
			h.said <- nil
		}
	}
}

func texts(value any) map[string]string {
	given, _ := value.(map[string]any)
	if given == nil {
		return nil
	}
	out := map[string]string{}
	for key, text := range given {
		out[key] = text.(string)
	}
	return out
}

func gatherOptions(s step) []redmux.GatherOption {
	options := []redmux.GatherOption{redmux.TimeLimit(s.limit()), redmux.Headers(texts(s["headers"]))}
	for key, value := range s.inner("options") {
		options = append(options, redmux.SetGather(key, value.(string)))
	}
	if s["until"] != nil {
		options = append(options, redmux.Until(func(a redmux.Answer) bool { return string(a.Data) == string(raw(s["until"], 0)) }))
	}
	return options
}

func (o *objects) gather(ctx context.Context, s step) error {
	var all []*redmux.Gather
	for n := range int(s.number("times", 1)) {
		g, err := o.client(s).Gather(ctx, name(s["service"], 0), raw(s["data"], n), gatherOptions(s)...)
		if err != nil {
			return err
		}
		all = append(all, g)
	}
	o.gathers[s.text("as", "")] = all
	return nil
}

func (o *objects) ask(ctx context.Context, s step) (any, error) {
	answer, err := o.client(s).Request(ctx, name(s["service"], 0), raw(s["data"], 0), gatherOptions(s)...)
	if wanted, has := s["answer"]; err == nil && has && string(answer.Data) != string(raw(wanted, 0)) {
		err = fmt.Errorf("the answer is %q", answer.Data)
	}
	return answer.Data, err
}

// ended waits for a gather, and looks at what became of it.
func (o *objects) ended(ctx context.Context, s step) error {
	for n, g := range o.gathers[s.text("as", "")] {
		result, err := g.All(ctx)
		if err != nil {
			return err
		}
		missing := names(s.list("missing"))
		slices.Sort(missing)
		slices.Sort(result.Missing)
		answers, errs := fitting(s, "answers", result.Answers, isAnswer, n), fitting(s, "errors", result.Errors, isError, n)
		if s.text("reason", result.Reason) != result.Reason || s.number("expected", float64(result.Expected)) != float64(result.Expected) ||
			s["missing"] != nil && !slices.Equal(missing, result.Missing) || !answers || !errs {
			return fmt.Errorf("repetition %d ended so: %+v", n, result)
		}
	}
	delete(o.gathers, s.text("as", ""))
	return nil
}

// fitting says whether what came is what was wanted, and nothing else; in any order, unless it is in_order.
func fitting[T any](s step, key string, came []T, fits func(T, step, int) bool, n int) bool {
	if s[key] == nil {
		return true
	}
	left := slices.Clone(came)
	for _, wanted := range s.list(key) {
		at := slices.IndexFunc(left, func(one T) bool { return fits(one, wanted.(map[string]any), n) })
		if at < 0 || at > 0 && s.flag("in_order", false) {
			return false
		}
		left = slices.Delete(left, at, at+1)
	}
	return len(left) == 0
}

func isAnswer(a redmux.Answer, wanted step, n int) bool {
	return string(a.Data) == string(raw(wanted["data"], n)) && wanted.text("from", a.Responder) == a.Responder &&
		among(texts(wanted["headers"]), a.Headers)
}

func isError(e *redmux.RemoteError, wanted step, _ int) bool {
	return wanted.text("code", e.Code) == e.Code && wanted.text("message", e.Message) == e.Message &&
		wanted.flag("retriable", e.Retriable) == e.Retriable && wanted.text("from", e.Responder) == e.Responder
}

func among(wanted, headers map[string]string) bool {
	for key, value := range wanted {
		if headers[key] != value {
			return false
		}
	}
	return true
}

func (o *objects) respond(ctx context.Context, s step) error {
	r := &responder{came: make(chan *handled, 100_000)}
	var options []redmux.RespondOption
	for key, value := range s.inner("options") {
		options = append(options, redmux.SetRespond(key, value.(string)))
	}
	handler := func(ctx context.Context, request *redmux.Request) ([]byte, error) {
		if s.text("does", "") == "echo" {
			return request.Data, nil
		}
		h := &handled{request: request, orders: make(chan step), said: make(chan error), left: make(chan struct{})}
		r.came <- h
		return h.handle(ctx)
	}
	return within(ctx, s, func(ctx context.Context) (err error) {
		if r.Responder, err = o.client(s).Respond(ctx, name(s["service"], 0), handler, options...); err == nil {
			o.responders[s.text("responder", "r")] = r
		}
		return err
	})
}

func (o *objects) request(s step) error {
	r, late := o.responders[s.text("responder", "r")], time.After(s.limit())
	service, data := name(s["service"], 0), string(raw(s["data"], 0))
	for {
		for i, h := range r.known {
			if (s["service"] == nil || h.request.Service == service) && (s["data"] == nil || h.request.Text() == data) &&
				s.text("id", h.request.ID) == h.request.ID &&
				among(texts(s["headers"]), h.request.Headers) {
				o.handled[s.text("request", "q")] = h
				r.known = slices.Delete(r.known, i, i+1)
				return nil
			}
		}
		select {
		case h := <-r.came:
			r.known = append(r.known, h)
		case <-late:
			return fmt.Errorf("no such request came, but %d others", len(r.known))
		}
	}
}

// order has the request's handler do what a step says.
func (o *objects) order(s step) error {
	h := o.handled[s.text("request", "q")]
	if s.text("do", "") == "cancelled" {
		select {
		case <-h.left:
			if !h.cancelled {
				return errors.New("its handler ended by itself")
			}
			return nil
		case <-time.After(s.limit()):
			return errors.New("its handler was not told")
		}
	}
	select {
	case h.orders <- s:
	case <-h.left:
		return errors.New("its handler has left")
	}
	select {
	case err := <-h.said:
		return err
	case <-h.left:
		return nil
	}
}
