package redmux

import "github.com/redmux/redmux/bindings/go/internal/native"

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
