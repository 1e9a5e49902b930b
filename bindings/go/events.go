package redmux

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Event is what a subscription's stream is made of: Message, Lost, Active, Dropped or Refused, each where it happened.
type Event interface{ event() }

// Message is a message. Data is its reader's own: it is in no other message and is never used again.
type Message struct {
	Channel string
	Data    []byte
	// Pattern is set where a pattern matched.
	Pattern string
	nanos   int64
}

// Text is the payload as a string.
func (m Message) Text() string { return string(m.Data) }

// Time is when it was read from the socket.
func (m Message) Time() time.Time { return time.Unix(0, m.nanos) }

// String shows it to a person.
func (m Message) String() string { return fmt.Sprintf("%s: %s", m.Channel, m.Data) }

// Active with Restored: all is subscribed again after an outage. Otherwise Redis has the channel, or the pattern, now.
type Active struct {
	Channel  string
	Restored bool
	Outage   time.Duration
}

// Lost says that the connection was lost: from here until an Active with Restored messages may be missing.
type Lost struct {
	// Reason is a word: link_lost, ping_timeout, …
	Reason, Text string
	Outages      int
	LastByte     time.Time
}

// Dropped says that so many messages had no room exactly here.
type Dropped struct{ Count int }

// Refused says that Redis' ACL refuses a channel that was subscribed before; it is tried again now and then.
type Refused struct{ Channel string }

func (Message) event() {}
func (Active) event()  {}
func (Lost) event()    {}
func (Dropped) event() {}
func (Refused) event() {}

// Payload is a Message, an Answer or a *Request.
type Payload interface {
	payload() (of string, data []byte)
}

func (m Message) payload() (string, []byte) { return m.Channel, m.Data }

// DecodeJSON reads a payload; the error, an ErrDecode, names the channel or the service, and the bytes.
func DecodeJSON[T any](p Payload) (value T, err error) {
	of, data := p.payload()
	if err = json.Unmarshal(data, &value); err != nil {
		said := fmt.Sprintf("bad JSON on %q, %d bytes: %.200q: %v", of, len(data), data, err)
		return value, &Error{Op: "decode", Message: said, cause: err}
	}
	return value, nil
}

// names are channels by number, so that a string is made once a name and not once a message. The last one stands apart: messages
// often come in runs.
type names struct {
	number uint64
	name   string
	known  map[uint64]string
}

const namesKept = 1 << 17 // numbers are never given again: beyond it, forget those that may be over

func (n *names) of(r *native.Record, data []byte) string {
	if r.Number != 0 && r.Number == n.number {
		return n.name
	}
	if r.Number == 0 {
		return string(r.Name(data))
	}
	name, is := n.known[r.Number]
	if !is {
		name = string(r.Name(data))
		if n.known == nil || len(n.known) >= namesKept {
			n.known = map[uint64]string{}
		}
		n.known[r.Number] = name
	}
	n.number, n.name = r.Number, name
	return name
}

// decode is the event of a record that is no plain message; nil for what a reader passes over.
func decode(r *native.Record, data []byte) Event {
	switch r.Kind {
	case native.KindActive:
		if r.Flags&native.FlagName != 0 {
			return Active{Channel: string(r.Name(data))}
		}
		return Active{Restored: true, Outage: time.Duration(r.Aux)}
	case native.KindLost:
		return Lost{native.StatusWord(r.Status), string(r.Extra(data)), int(r.Number), time.Unix(0, int64(r.Aux))}
	case native.KindDropped:
		return Dropped{int(r.Number)}
	case native.KindRefused:
		return Refused{string(r.Name(data))}
	}
	return nil
}

// head is what wrappers know of a head line, and of what is said of an end.
type head struct {
	ID, From, By, Name, Code, Message string
	Retriable                         bool
	H                                 map[string]string
	Expected, Duplicates, Late        int
	Missing                           []head
}

// headOf reads the head line of a request, or of an answer that is no error; nobody may change it any more. encoding/json takes more time
// for it than everything else that Go does for a request, and most lines are what the library writes where there are no headers: one
// object of strings and numbers, no spaces, no escapes.
func headOf(line []byte) (h head) {
	all, key, begin, found := native.Text(line), "", 0, [...]string{"", "", "", ""}
	for i, c := range line {
		switch {
		case c == '"' && begin == 0:
			begin = i + 1
		case c == '"' && i+1 < len(line) && line[i+1] == ':':
			key, begin = all[begin:i], 0
		case c == '"':
			if place := slices.Index(wanted, key); place >= 0 {
				found[place] = all[begin:i]
			}
			begin = 0
		case c == '\\' || begin == 0 && (c <= ' ' || c == '[' || c == '{' && i > 0):
			_ = json.Unmarshal(line, &h) // the library read it before
			return h
		}
	}
	return head{ID: found[0], From: found[1], By: found[2], Name: found[3]}
}

var wanted = []string{"id", "from", "by", "name"}
