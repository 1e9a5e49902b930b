package redmux

import (
	"encoding/json"
	"testing"
)

func TestAHeadLineIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for _, line := range []string{
		`{}`,
		`{"v":1,"k":"answer","id":"q1","by":"i.1","name":"web-1","seq":0}`,
		`{"v":1,"k":"request","id":"q1","from":"api","reply":"r","ttl":4990,"attempt":1}`,
		`{"v":1,"id":"","other":"name","by":"id","new":null,"name":"é,so}:]"}`,
		`{"v":1,"from":"api","h":{"name":"a header","traceparent":"00-1"},"name":"n"}`,
		`{"v": 1, "name": "spaces"}`,
		"{\"v\":\t1,\"name\":\r\n\"white\"}",
		`{"name":"an \"escape\"","by":"\"name\":\"x","id":"\u00e9"}`,
		`{"by":"b","list":["name","from"],"name":"n"}`,
	} {
		var h head
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got := headOf([]byte(line))
		if got.ID != h.ID || got.From != h.From || got.By != h.By || got.Name != h.Name || len(got.H) != len(h.H) {
			t.Errorf("%s is read as %+v instead of %+v", line, got, h)
		}
	}
}
