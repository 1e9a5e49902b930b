package redmux

import (
	"context"
	"fmt"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Reasons are the words of the numbers.
var Reasons = reasons

// Millis and DurationText are what the library is told of a duration.
var Millis, DurationText = millis, text

// DecodeAll is what a subscription makes of a block, for the golden ones.
func DecodeAll(records []native.Record, data []byte) (events []Event) {
	s := Subscription{records: records, data: data}
	for i := range records {
		if r := &records[i]; r.Kind == native.KindMessage {
			var m Message
			s.message(r, &m)
			events = append(events, m)
		} else if event := s.other(r); event != nil {
			events = append(events, event)
		}
	}
	return events
}

// GatherAll is what a gather makes of a block: its answers, its errors and its end.
func GatherAll(records []native.Record, data []byte) (lines []string) {
	g := gather{signal: make(signal, 1)}
	for i := range records {
		g.reply(&records[i], data)
	}
	for answer, err := g.next(context.Background()); err == nil; answer, err = g.next(context.Background()) {
		lines = append(lines, answer.Text())
	}
	end := g.result()
	for _, err := range end.Errors {
		lines = append(lines, err.Error())
	}
	return append(lines, fmt.Sprint(end.Reason, " ", end.Expected, " ", end.Missing, " ", end.Elapsed))
}
