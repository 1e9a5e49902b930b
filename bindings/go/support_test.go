package redmux_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	redmux "github.com/redmux/redmux/bindings/go"
	"github.com/redmux/redmux/bindings/go/internal/native"
)

// fixture is the tests' server (tests/support/fixture.rs), told in lines of JSON.
type fixture struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	url     string
	path    string
	mu      sync.Mutex
}

func startFixture(flags ...string) *fixture {
	program := os.Getenv("REDMUX_FIXTURE")
	if program == "" {
		program = "../../target/debug/examples/fixture"
	}
	f := &fixture{command: exec.Command(program, flags...)}
	in, err := f.command.StdinPipe()
	must(err)
	out, err := f.command.StdoutPipe()
	must(err)
	f.in, f.out = in, bufio.NewReader(out)
	must(f.command.Start())
	first := f.read()
	f.url, f.path = first["url"].(string), first["path"].(string)
	return f
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (f *fixture) read() (line map[string]any) {
	found, err := f.out.ReadBytes('\n')
	must(err)
	must(json.Unmarshal(found, &line))
	return line
}

// do gives it an order: do("numsub", "channel", "news").
func (f *fixture) do(word string, given ...any) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	order := map[string]any{"do": word}
	for i := 0; i < len(given); i += 2 {
		order[given[i].(string)] = given[i+1]
	}
	encoded, err := json.Marshal(order)
	must(err)
	_, err = f.in.Write(append(encoded, '\n'))
	must(err)
	answer := f.read()
	if said, refused := answer["error"]; refused {
		panic(fmt.Sprint(word, ": ", said))
	}
	return answer["ok"]
}

func (f *fixture) end() {
	_ = f.in.Close()
	_ = f.command.Wait()
}

func (f *fixture) port() string { return f.url[strings.LastIndexByte(f.url, ':')+1:] }

// server is for the tests that do not stop or change theirs.
var server *fixture

func TestMain(m *testing.M) {
	if exits() {
		return
	}
	server = startFixture()
	must(os.Setenv("REDIS_URL", server.url))
	client, err := redmux.Connect(context.Background(), server.url) // the library's own thread is there from now on
	must(err)
	must(client.Close())
	status := m.Run()
	if live := native.DebugLive(); live != 0 {
		fmt.Println("FAIL:", live, "handles or blocks are left")
		status = 1
	}
	server.end()
	os.Exit(status)
}

// begin is what every test begins with: its time, and at its end nothing left.
func begin(t *testing.T) context.Context {
	t.Helper()
	before := hold()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(func() {
		cancel()
		end := time.Now().Add(10 * time.Second) // goroutines and threads need a moment to end
		for left := hold(); !left.within(before); left = hold() {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<16)
				t.Fatalf("before %+v, now %+v\n%s", before, left, stacks[:runtime.Stack(stacks, true)])
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return ctx
}

// held is what a process holds: handles and blocks of the library, goroutines, descriptors, and the library's threads.
type held struct {
	live                             int64
	goroutines, descriptors, threads int
}

func (h held) within(other held) bool {
	return h.live <= other.live && h.goroutines <= other.goroutines && h.descriptors <= other.descriptors && h.threads <= other.threads
}

func hold() held {
	now := held{live: native.DebugLive(), goroutines: runtime.NumGoroutine()}
	descriptors, err := os.ReadDir("/proc/self/fd")
	must(err)
	now.descriptors = len(descriptors) // those of Go itself came with the first client
	tasks, err := os.ReadDir("/proc/self/task")
	must(err)
	for _, one := range tasks {
		if name, err := os.ReadFile("/proc/self/task/" + one.Name() + "/comm"); err == nil && strings.HasPrefix(string(name), "redmux") {
			now.threads++
		}
	}
	return now
}

// connect is a client that is closed at the test's end.
func connect(t *testing.T, ctx context.Context, options ...redmux.Option) *redmux.Client {
	t.Helper()
	client, err := redmux.Connect(ctx, server.url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func subscribe(t *testing.T, ctx context.Context, client *redmux.Client, channels ...string) *redmux.Subscription {
	t.Helper()
	sub, err := client.Subscribe(ctx, channels...)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, wanted T) {
	t.Helper()
	if got != wanted {
		t.Fatalf("got %v, wanted %v", got, wanted)
	}
}

// logged is a logger, and what it was told.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventually waits for what has no event of its own.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}
