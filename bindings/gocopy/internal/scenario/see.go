package main

import (
	"context"
	"errors"
	"fmt"

	redmux "github.com/redmux/redmux/bindings/go"
)

// end is what is seen at the end of a stream: an error, or none.
type end struct{ kind string }

// event is the next event of a subscription, as an `end` at its end. `active` of a name is passed over unless it is named.
func event(ctx context.Context, sub *redmux.Subscription, s step, named bool) (seen any, err error) {
	err = within(ctx, s, func(ctx context.Context) error {
		for e, err := range sub.Events(ctx) {
			if failure := (*redmux.Error)(nil); ctx.Err() == nil && errors.As(err, &failure) {
				seen = end{failure.Kind()}
				return nil
			}
			if err != nil {
				return fmt.Errorf("nothing came: %v", err)
			}
			if active, is := e.(redmux.Active); named || !is || active.Restored {
				seen = e
				return nil
			}
		}
		seen = end{}
		return nil
	})
	return seen, err
}

func expect(ctx context.Context, sub *redmux.Subscription, s step) error {
	for _, one := range s.list("see") {
		wanted := step(one.(map[string]any))
		_, names := wanted["name"]
		for n := range int(wanted.number("times", 1)) {
			seen, err := event(ctx, sub, s, wanted.text("see", "") == "active" && names)
			if err == nil && !isIt(seen, wanted, n) {
				err = fmt.Errorf("came %#v", seen)
			}
			if err != nil {
				return fmt.Errorf("%v was wanted (repetition %d): %w", wanted, n, err)
			}
		}
	}
	return nil
}

func isIt(seen any, wanted step, n int) bool {
	see := wanted.text("see", "")
	_, names := wanted["name"]
	switch e := seen.(type) {
	case redmux.Message:
		return see == "message" && e.Channel == name(wanted["channel"], n) && string(e.Data) == string(raw(wanted["data"], n)) &&
			e.Pattern == name(wanted["pattern"], n)
	case redmux.Active:
		return see == "active" && e.Restored != names && e.Channel == name(wanted["name"], 0)
	case redmux.Lost:
		return see == "lost" && wanted.text("error", e.Reason) == e.Reason
	case redmux.Dropped:
		return see == "dropped" && float64(e.Count) == wanted.number("count", -1)
	case redmux.Refused:
		return see == "refused" && e.Channel == name(wanted["name"], 0)
	case end:
		return see == "end" && e.kind == wanted.text("error", "")
	}
	return false
}

func count(ctx context.Context, sub *redmux.Subscription, s step) error {
	total, wanted := 0, int(s.number("total", 0))
	for total < wanted {
		seen, err := event(ctx, sub, s, false)
		if err != nil {
			return fmt.Errorf("after %d: %w", total, err)
		}
		switch e := seen.(type) {
		case redmux.Message:
			total++
		case redmux.Dropped:
			total += e.Count
		default:
			return fmt.Errorf("after %d came %#v", total, seen)
		}
	}
	if total != wanted {
		return fmt.Errorf("came to %d", total)
	}
	return nil
}

// impatient is a context that ends when somebody begins to wait for it: when nothing is there to read.
type impatient struct {
	context.Context
	waited bool
}

func (i *impatient) Done() <-chan struct{} {
	i.waited = true
	over := make(chan struct{})
	close(over)
	return over
}

func (i *impatient) Err() error {
	if i.waited {
		return context.Canceled
	}
	return nil
}

func nothing(sub *redmux.Subscription) error {
	for e, err := range sub.Events(&impatient{Context: context.Background()}) {
		if active, is := e.(redmux.Active); err == nil && (!is || active.Restored) {
			return fmt.Errorf("there is %#v", e)
		}
	}
	return nil
}
