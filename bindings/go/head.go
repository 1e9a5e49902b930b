package redmux

import (
	"encoding/json"
	"strings"
)

// head is what wrappers know of a head line, and of what is said of an end.
type head struct {
	ID, From, By, Name, Code, Message string
	Retriable                         bool
	H                                 map[string]string
	Expected, Duplicates, Late        int
	Missing                           []head
}

// headOf reads the head line of a request, or of an answer that is no error. encoding/json takes more time for it than everything else that
// Go does for a request, and most lines are what the library writes where there are no headers: one object, no spaces, no escapes.
func headOf(line []byte) (h head) {
	all := string(line)
	if strings.LastIndexByte(all, '{') > 0 || strings.ContainsAny(all, " \t\r\n\\[") {
		_ = json.Unmarshal(line, &h) // the library read it before
		return h
	}
	return head{ID: part(all, `"id":"`), From: part(all, `"from":"`), By: part(all, `"by":"`), Name: part(all, `"name":"`)}
}

// part is a string of the line: what stands behind its key, which can stand nowhere else, as quotes in strings are escaped.
func part(line, key string) string {
	_, text, _ := strings.Cut(line, key)
	text, _, _ = strings.Cut(text, `"`)
	return text
}
