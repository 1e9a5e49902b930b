// Scenario runs one scenario (docs/scenarios.md) through redmux for Go:
//
//	REDMUX_FIXTURE=target/debug/examples/fixture scenario tests/scenarios/NAME.json
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// step is a step of a file, and what an event must look like.
type step map[string]any

func (s step) text(key, or string) string {
	if value, is := s[key].(string); is {
		return value
	}
	return or
}

func (s step) number(key string, or float64) float64 {
	if value, is := s[key].(float64); is {
		return value
	}
	return or
}

func (s step) flag(key string, or bool) bool {
	if value, is := s[key].(bool); is {
		return value
	}
	return or
}

func (s step) list(key string) []any {
	list, _ := s[key].([]any)
	return list
}

func (s step) inner(key string) step {
	inner, _ := s[key].(map[string]any)
	return inner
}

func (s step) limit() time.Duration {
	return time.Duration(s.number("timeout", 10) * float64(time.Second))
}

// raw is bytes as scenarios spell them.
func raw(value any, n int) []byte {
	switch v := value.(type) {
	case string:
		return []byte(strings.ReplaceAll(v, "{n}", strconv.Itoa(n)))
	case map[string]any:
		if digits, is := v["hex"].(string); is {
			out := make([]byte, len(digits)/2)
			fmt.Sscanf(digits, "%x", &out)
			return out
		}
		return bytes.Repeat([]byte("x"), int(v["fill"].(float64)))
	}
	return nil
}

func name(value any, n int) string { return string(raw(value, n)) }

func names(values []any) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = name(value, 0)
	}
	return out
}

// program is a fixture, or another process of the scenario: lines of JSON in and out.
type program struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	killed  bool
}

func start(command ...string) (*program, error) {
	p := &program{command: exec.Command(command[0], command[1:]...)}
	p.command.Stderr = os.Stderr
	in, err := p.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p, p.command.Start()
}

func (p *program) read() (line step, err error) {
	found, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(found, &line)
	}
	return line, err
}

func (p *program) send(line any) error {
	encoded, err := json.Marshal(line)
	if err == nil {
		_, err = p.in.Write(append(encoded, '\n'))
	}
	return err
}

func (p *program) ask(line any) (step, error) {
	if err := p.send(line); err != nil {
		return nil, err
	}
	return p.read()
}

func (p *program) end() error {
	_ = p.in.Close()
	if err := p.command.Wait(); err != nil && !p.killed {
		return err
	}
	return nil
}

// until asks again until the answer is the one that is wanted; `is` asks once.
func until(s step, look func() (any, error)) error {
	end := time.Now().Add(s.limit())
	for {
		seen, err := look()
		if err != nil {
			return err
		}
		is, once := s["is"]
		wanted, waits := s["until"]
		switch {
		case once && reflect.DeepEqual(seen, is), waits && reflect.DeepEqual(seen, wanted), !once && !waits:
			return nil
		case once || time.Now().After(end):
			return fmt.Errorf("it is %v", seen)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// world is the first process: the fixtures, the other processes, and the steps in their order.
type world struct {
	fixtures  map[string]*program
	servers   step
	processes map[string]*program
}

func (w *world) order(s step) error {
	for n := range int(s.number("times", 1)) {
		encoded, err := json.Marshal(s["order"])
		if err != nil {
			return err
		}
		order := json.RawMessage(strings.ReplaceAll(string(encoded), "{n}", strconv.Itoa(n)))
		err = until(s, func() (any, error) {
			answer, err := w.fixtures[s.text("server", "redis")].ask(order)
			if err != nil {
				return nil, err
			}
			said, refused := answer["error"].(string)
			if _, wanted := s["error"]; wanted != refused || !strings.Contains(said, s.text("error", "")) {
				return nil, fmt.Errorf("the answer is %v", answer)
			}
			return answer["ok"], nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) elsewhere(s step) error {
	key := s.text("process", "")
	p := w.processes[key]
	if p == nil {
		peer := os.Getenv("REDMUX_SCENARIO_PEER")
		if peer == "" {
			peer = os.Args[0]
		}
		var err error
		if p, err = start(peer, "--steps"); err != nil {
			return err
		}
		w.processes[key] = p
		if err := p.send(w.servers); err != nil {
			return err
		}
	}
	answer, err := p.ask(s)
	if err == nil && answer["ok"] == nil {
		err = fmt.Errorf("process %s: %v", key, answer)
	}
	return err
}

func (w *world) run(scenario step) error {
	servers := scenario.inner("servers")
	if servers == nil {
		servers = step{"redis": []any{}}
	}
	for key, flags := range servers {
		p, err := start(append([]string{os.Getenv("REDMUX_FIXTURE")}, names(flags.([]any))...)...)
		if err != nil {
			return err
		}
		w.fixtures[key] = p
		first, err := p.read()
		if err != nil {
			return err
		}
		w.servers[key] = map[string]any(first)
	}
	objects := newObjects(w.servers)
	for _, given := range scenario.list("steps") {
		s := step(given.(map[string]any))
		var err error
		switch do := s.text("do", ""); {
		case do == "world":
			err = w.order(s)
		case do == "kill":
			p := w.processes[s.text("process", "")]
			p.killed = true
			err = p.command.Process.Kill()
		case s["process"] != nil:
			err = w.elsewhere(s)
		default:
			err = objects.run(s)
		}
		if err != nil {
			shown, _ := json.Marshal(s)
			return fmt.Errorf("%s\n    %w", shown, err)
		}
	}
	if err := objects.end(); err != nil {
		return err
	}
	for key, p := range w.processes {
		if err := p.end(); err != nil {
			return fmt.Errorf("process %s did not end well: %w", key, err)
		}
	}
	return nil
}

// told is the other process: its steps come from stdin.
func told() error {
	lines := bufio.NewReader(os.Stdin)
	var objects *objects
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && objects != nil {
			return objects.end()
		}
		var s step
		if err == nil {
			err = json.Unmarshal(line, &s)
		}
		if err != nil {
			return err
		}
		if objects == nil {
			objects = newObjects(s)
			continue
		}
		if err := objects.run(s); err != nil {
			said, _ := json.Marshal(step{"error": err.Error()})
			fmt.Println(string(said))
			return err
		}
		fmt.Println(`{"ok":true}`)
	}
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(&lines, nil)))
	var err error
	if len(os.Args) > 1 && os.Args[1] == "--steps" {
		err = told()
	} else {
		var file []byte
		var scenario step
		if file, err = os.ReadFile(os.Args[1]); err == nil {
			err = json.Unmarshal(file, &scenario)
		}
		w := &world{fixtures: map[string]*program{}, servers: step{}, processes: map[string]*program{}}
		if err == nil {
			err = w.run(scenario)
		}
		for _, fixture := range w.fixtures {
			_ = fixture.end()
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// logged are the lines that were logged.
type logged struct {
	mu   sync.Mutex
	said strings.Builder
}

var lines logged

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said.WriteString(strings.ReplaceAll(string(line), `\"`, `"`))
	return len(line), nil
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.said.String(), text)
}

// left says what is left of the library's things in this process.
func left() error {
	if live := native.DebugLive(); live != 0 {
		return fmt.Errorf("%d handles or blocks are left", live)
	}
	return nil
}
