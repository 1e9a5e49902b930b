package redmux

import (
	"encoding/json"
	"strings"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// head is what wrappers know of a head line, and of what is said of an end.
type head struct {
	ID, From, By, Name, Code, Message string
	Retriable                         bool
	H                                 map[string]string
	Expected, Duplicates, Late        int
	Missing                           []head
}

// headOf reads the head line of a request, or of an answer that is no error, which nobody changes any more. encoding/json takes more
// time for it than everything else that Go does for a request, and most lines are what the library writes where there are no headers:
// one object of strings without escapes, no spaces.
func headOf(line []byte) (h head) {
	all := native.Text(line)
	usual := strings.IndexByte(all, '\\') < 0
	for rest := all; usual && rest != "}"; {
		var key, value string
		key, value, rest, usual = pair(rest)
		switch key {
		case "id":
			h.ID = value
		case "from":
			h.From = value
		case "by":
			h.By = value
		case "name":
			h.Name = value
		}
	}
	if !usual {
		h = head{}
		_ = json.Unmarshal(line, &h) // the library read it before
	}
	return h
}

// pair is the first pair of an object, and what stands behind it. The value is empty if it is no string.
func pair(line string) (key, value, rest string, usual bool) {
	if len(line) < 2 || line[0] != '{' && line[0] != ',' || line[1] != '"' {
		return "", "", "", false
	}
	key, rest, _ = strings.Cut(line[2:], `":`)
	if strings.HasPrefix(rest, `"`) {
		value, rest, usual = strings.Cut(rest[1:], `"`)
		return key, value, rest, usual
	}
	for i, c := range []byte(rest) {
		if c == ',' || c == '}' {
			return key, "", rest[i:], true
		} else if c <= ' ' || c == '"' || c == '{' || c == '[' {
			break
		}
	}
	return "", "", "", false
}
