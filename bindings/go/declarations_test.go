package redmux_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	redmux "github.com/redmux/redmux/bindings/go"
	"github.com/redmux/redmux/bindings/go/internal/native"
)

// The declarations are held against the header, the exports, the record's layout and the golden blocks.

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	found, err := os.ReadFile(path)
	ok(t, err)
	return string(found)
}

func TestTheHeaderInTheModuleIsTheLibrarys(t *testing.T) {
	if read(t, "internal/native/redmux.h") != read(t, root+"/include/redmux.h") {
		t.Fatal("internal/native/redmux.h is an old copy: make header")
	}
}

func TestWhatIsCalledIsExported(t *testing.T) {
	exports := strings.Fields(read(t, root+"/include/redmux.exports"))
	code := regexp.MustCompile(`(?m)//.*$`).ReplaceAllString(read(t, "internal/native/native.go"), "")
	called := map[string]bool{}
	for _, call := range regexp.MustCompile(`\b(redmux_\w+)\(`).FindAllStringSubmatch(code, -1) {
		called[call[1]] = true
		if !slices.Contains(exports, call[1]) {
			t.Errorf("%s is no export", call[1])
		}
	}
	for _, export := range exports {
		// What waits inside the library blocks a thread; callbacks would run Go on its threads; the rest is not needed here.
		waits := strings.HasSuffix(export, "_wait") && export != "redmux_client_wait"
		if !called[export] && !waits && !slices.Contains(unused, export) {
			t.Errorf("%s is exported and not called, and not listed as unused", export)
		}
	}
	for _, name := range unused {
		if called[name] || !slices.Contains(exports, name) {
			t.Errorf("%s stands among the unused", name)
		}
	}
}

var unused = []string{
	"redmux_client_close_begin", "redmux_client_open", "redmux_client_take_many", "redmux_client_wake", "redmux_error_code",
	"redmux_error_redis", "redmux_error_retriable", "redmux_inbox_new_callback", "redmux_options_describe", "redmux_options_get",
	"redmux_options_set_file", "redmux_options_set_json", "redmux_options_set_url", "redmux_shutdown", "redmux_version_number",
}

func TestTheRecordHasTheDocumentedLayout(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| (u16|i32|u32|u64) \\| `(\\w+)`").FindAllStringSubmatch(read(t, root+"/docs/records.md"), 13)
	record := reflect.TypeOf(native.Record{})
	equal(t, record.NumField(), len(rows))
	equal(t, record.Size(), 64)
	for i, row := range rows {
		field := record.Field(i)
		offset, err := strconv.Atoi(row[1])
		ok(t, err)
		equal(t, int(field.Offset), offset)
		equal(t, strings.ToLower(field.Name), strings.ReplaceAll(row[3], "_", ""))
		equal(t, field.Type.String(), map[string]string{"u16": "uint16", "i32": "int32", "u32": "uint32", "u64": "uint64"}[row[2]])
	}
}

func TestTheLibraryIsTheHeadersVersion(t *testing.T) {
	equal(t, native.LibraryABI(), native.ABI)
	equal(t, native.LibraryVersion(), redmux.Version)
}

func TestEveryStatusHasAnErrorOfItsKind(t *testing.T) {
	kinds := []error{
		redmux.ErrArgument, redmux.ErrClosed, redmux.ErrState, redmux.ErrInactive, redmux.ErrCancelled, redmux.ErrConnect,
		redmux.ErrLinkLost, redmux.ErrNotSent, redmux.ErrUnknown, redmux.ErrServer, redmux.ErrAuth, redmux.ErrRefused,
		redmux.ErrFull, redmux.ErrTooLarge, redmux.ErrSlowConsumer, redmux.ErrTimeout, redmux.ErrNoResponders, redmux.ErrRemote,
	}
	plain := []int{-201, -503, -900} // a fork, no memory, and a defect
	seen := 0
	for _, row := range regexp.MustCompile(`#define REDMUX_ERR_(\w+) (-\d+)`).FindAllStringSubmatch(read(t, root+"/include/redmux.h"), -1) {
		code, err := strconv.Atoi(row[2])
		ok(t, err)
		failure := &redmux.Error{Code: code}
		equal(t, failure.Kind(), strings.ToLower(row[1]))
		is := slices.ContainsFunc(kinds, func(kind error) bool { return failure.Is(kind) })
		equal(t, is, !slices.Contains(plain, code))
		seen++
	}
	if seen < 30 {
		t.Fatal(seen)
	}
}

func TestEveryReasonHasItsWord(t *testing.T) {
	rows := regexp.MustCompile(`#define REDMUX_REASON_(\w+) (\d+)`).FindAllStringSubmatch(read(t, root+"/include/redmux.h"), -1)
	equal(t, len(redmux.Reasons), len(rows)+1)
	for i, row := range rows {
		equal(t, strconv.Itoa(i+1), row[2])
		equal(t, redmux.Reasons[i+1], strings.ToLower(row[1]))
	}
}

func TestGoldenBlocksAreDecodedToTheLetter(t *testing.T) {
	var kinds []string
	for _, row := range regexp.MustCompile(`#define REDMUX_KIND_(\w+) (\d+)`).FindAllStringSubmatch(read(t, root+"/include/redmux.h"), -1) {
		kinds = append(kinds, strings.ToLower(row[1]))
		equal(t, strconv.Itoa(len(kinds)), row[2])
	}
	files, err := filepath.Glob(root + "/tests/golden/*.json")
	ok(t, err)
	if len(files) < 8 {
		t.Fatal(files)
	}
	for _, file := range files {
		text := read(t, file)
		var wanted struct {
			About string
			Count int
		}
		ok(t, json.Unmarshal([]byte(text), &wanted))
		block := []byte(read(t, strings.TrimSuffix(file, "json")+"bin"))
		data := block[wanted.Count*64:]
		aligned := make([]native.Record, wanted.Count)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), wanted.Count*64), block)
		lines := make([]string, wanted.Count)
		for i := range aligned {
			r := &aligned[i]
			is := "null"
			if kind := int(r.Kind); kind >= 1 && kind <= len(kinds) {
				is = strconv.Quote(kinds[kind-1])
			}
			lines[i] = fmt.Sprintf(`{"is":%s,"kind":%d,"flags":%d,"status":%d,"source":%d,"token":%d,"number":%d,"aux":%d,`+
				`"name_off":%d,"name_len":%d,"extra_off":%d,"extra_len":%d,"data_off":%d,"data_len":%d,"name":%s,"extra":%s,"data":%s}`,
				is, r.Kind, r.Flags, r.Status, r.Source, r.Token, r.Number, r.Aux, r.NameOff, r.NameLen, r.ExtraOff, r.ExtraLen,
				r.DataOff, r.DataLen, part(r.Name(data)), part(r.Extra(data)), part(r.Data(data)))
		}
		got := fmt.Sprintf("{\n\"about\": \"%s\",\n\"count\": %d,\n\"data_len\": %d,\n\"records\": [\n%s\n]\n}\n",
			wanted.About, wanted.Count, len(data), strings.Join(lines, ",\n"))
		if got != text {
			t.Errorf("%s:\n%s\nnot\n%s", file, got, text)
		}
		told := 0 // a reader of subscriptions is told these, and passes over what it does not know
		for i := range aligned {
			if slices.Contains([]uint16{1, 2, 3, 4, 8}, aligned[i].Kind) {
				told++
			}
		}
		equal(t, len(redmux.DecodeAll(aligned, data)), told)
		if strings.HasSuffix(file, "buffer.json") {
			result := redmux.GatherAll(aligned, data)
			equal(t, fmt.Sprintf("%q", result), `["first" "" "no room (BUSY)" "deadline 3 [api-3] 2s"]`)
		}
	}
}

func part(data []byte) string {
	for _, one := range data {
		if one < 0x20 || one > 0x7e {
			return `{"hex":"` + hex.EncodeToString(data) + `"}`
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(data)) + `"`
}

func TestAnEmptyPartOfABlockIsAnAddressInMemory(t *testing.T) {
	begin(t)
	client, events, failure := native.Open([]native.Option{{Key: "url", Value: server.url}})
	equal(t, failure, nil)
	defer native.CloseInbox(events)
	defer native.CloseClient(client)
	inbox, failure := native.NewInbox(client, nil)
	equal(t, failure, nil)
	defer native.CloseInbox(inbox)
	equal(t, native.Flush.Of(client, inbox, 1, 0), native.OK)
	eventually(t, "the flush is done", func() bool {
		block := native.Take(inbox)
		defer block.Release()
		// Go ends a program that has a small number for a pointer on a stack when that grows.
		return len(block.Records()) == 1 && len(block.Data()) == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(block.Data()))) > 4096
	})
}
