package redmux_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is documented is run: the README's programs and the examples; and every public name is documented.

func TestEveryPublicNameIsDocumented(t *testing.T) {
	files := token.NewFileSet()
	var parsed []*ast.File
	paths, err := filepath.Glob("*.go")
	ok(t, err)
	for _, path := range paths {
		if !strings.HasSuffix(path, "_test.go") {
			file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
			ok(t, err)
			parsed = append(parsed, file)
		}
	}
	found, err := doc.NewFromFiles(files, parsed, "redmux")
	ok(t, err)
	functions := found.Funcs
	for _, one := range found.Types {
		if one.Doc == "" {
			t.Errorf("type %s has no documentation", one.Name)
		}
		functions = append(functions, slices.Concat(one.Funcs, one.Methods)...)
	}
	for _, one := range functions {
		if one.Doc == "" {
			t.Errorf("%s has no documentation", one.Name)
		}
	}
	if len(functions) < 60 {
		t.Fatal(len(functions))
	}
}

// built is a program of this module; go build's cache makes the second time cheap.
func built(t *testing.T, what string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", "redmux_dev", "-o", program, what).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestB10TheReadmesProgramsPrintTheirOwnOutput(t *testing.T) {
	begin(t)
	readme := strings.ReplaceAll(read(t, "README.md"), "redis://localhost", server.url)
	programs := regexp.MustCompile("(?s)```go\n(package main.*?)```\n\n```console\n(.*?)```").FindAllStringSubmatch(readme, -1)
	equal(t, len(programs), 2)
	for _, one := range programs {
		path := filepath.Join(t.TempDir(), "main.go")
		ok(t, os.WriteFile(path, []byte(one[1]), 0o600))
		out, err := exec.Command(built(t, path)).CombinedOutput()
		ok(t, err)
		equal(t, string(out), one[2])
	}
}

// program is an example that runs.
type program struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

func startExample(t *testing.T, name string, arguments ...string) *program {
	t.Helper()
	p := &program{t: t, command: exec.Command(built(t, "./examples/"+name), append([]string{server.url}, arguments...)...)}
	in, err := p.command.StdinPipe()
	ok(t, err)
	out, err := p.command.StdoutPipe()
	ok(t, err)
	p.in, p.out = in, bufio.NewScanner(out)
	p.command.Stderr = os.Stderr
	ok(t, p.command.Start())
	late := time.AfterFunc(30*time.Second, func() { _ = p.command.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	})
	return p
}

func (p *program) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("it ended")
	}
	return p.out.Text()
}

func (p *program) reads(lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		equal(p.t, p.line(), line)
	}
}

func (p *program) says(lines ...string) {
	for _, line := range lines {
		_, err := io.WriteString(p.in, line+"\n")
		ok(p.t, err)
	}
}

func (p *program) endsWell() {
	p.t.Helper()
	if p.out.Scan() {
		p.t.Fatal(p.out.Text())
	}
	ok(p.t, p.command.Wait())
}

func publishTo(t *testing.T, channel, data string) {
	t.Helper()
	equal(t, server.do("publish", "channel", channel, "data", data).(float64), 1)
}

func TestExampleSimple(t *testing.T) {
	p := startExample(t, "simple")
	p.reads("channel: [mychannel] msg: [Hello World!]")
	p.endsWell()
}

func TestB10ExampleChatIsInteractive(t *testing.T) {
	p := startExample(t, "chat")
	p.says("+lobby")
	p.reads("joined lobby")
	p.says("!lobby Is anybody here?", "?")
	lines := []string{p.line(), p.line()}
	slices.Sort(lines)
	equal(t, strings.Join(lines, "|"), "[lobby] Is anybody here?|in 1 rooms: lobby")
	equal(t, server.do("kill_pubsub").(float64), 1)
	if line := p.line(); !strings.HasPrefix(line, "*disconnected* ") {
		t.Fatal(line)
	}
	p.reads("*connected again*")
	p.says("-lobby", "q")
	p.endsWell()
}

func TestExamplePattern(t *testing.T) {
	p := startExample(t, "pattern", "news.*", "2")
	p.reads("active: [news.*]")
	publishTo(t, "news.sport", "2:1")
	publishTo(t, "news.weather", "rain")
	p.reads("pattern: [news.*] channel: [news.sport] msg: [2:1]", "pattern: [news.*] channel: [news.weather] msg: [rain]")
	p.endsWell()
}

func TestExamplePromises(t *testing.T) {
	p := startExample(t, "promises")
	p.reads("promise on [p:job-42]: [done]", "promise on [p:nobody]: nobody kept it")
	p.endsWell()
}

func TestExampleHello(t *testing.T) {
	p := startExample(t, "hello", "you")
	name, err := os.Hostname()
	ok(t, err)
	p.reads("hello you, says "+name, "1 of 1 answered: all")
	p.endsWell()
}

func TestR1ExampleTotalCountKnowsWhatAllInstancesCount(t *testing.T) {
	one, two := startExample(t, "total_count", "5"), startExample(t, "total_count", "7")
	one.reads("counting 5")
	two.reads("counting 7")
	two.says("how many?")
	two.reads("total: 12 of 2 instances, 0 missing")
	ok(t, one.in.Close())
	one.endsWell()
	two.says("and now?")
	two.reads("total: 7 of 1 instances, 0 missing")
	ok(t, two.in.Close())
	two.endsWell()
}

func TestR17ExampleResourceIsHadFromWhicheverInstanceIsAsked(t *testing.T) {
	one, two := startExample(t, "resource", "node-1", "boat=red"), startExample(t, "resource", "node-2", "car=blue")
	for _, url := range []string{one.line(), two.line()} {
		for path, wanted := range map[string]string{
			"boat": `200 {"boat":"red","holder":"node-1"}`, "car": `200 {"car":"blue","holder":"node-2"}`, "bike": "404 ",
		} {
			response, err := http.Get(url + path)
			ok(t, err)
			body, err := io.ReadAll(response.Body)
			ok(t, err)
			ok(t, response.Body.Close())
			if got := fmt.Sprint(response.StatusCode, " ", string(body)); !strings.HasPrefix(got, wanted) {
				t.Fatal(path, got)
			}
		}
	}
	for _, p := range []*program{one, two} {
		ok(t, p.in.Close())
		p.endsWell()
	}
}

func TestB2B4ExampleBrokerHearsSevenAndSkipsBadJSON(t *testing.T) {
	p := startExample(t, "broker")
	p.reads("listening on 5 channels")
	for _, channel := range []string{"orders", "users", "stock", "prices"} {
		publishTo(t, channel, `{"id":1}`)
	}
	publishTo(t, "alerts", "{bad")
	for _, channel := range []string{"alerts", "orders", "orders"} {
		publishTo(t, channel, `{"id":2}`)
	}
	p.reads("orders: map[id:1]", "users: map[id:1]", "stock: map[id:1]", "prices: map[id:1]")
	if line := p.line(); !strings.HasPrefix(line, `skipped: redmux: decode: bad JSON on "alerts", 4 bytes: "{bad": `) {
		t.Fatal(line)
	}
	p.reads("alerts: map[id:2]", "orders: map[id:2]", "orders: map[id:2]")
	p.endsWell()
}

func TestB4ExampleBrokerEndsWellOnSIGTERM(t *testing.T) {
	p := startExample(t, "broker")
	p.reads("listening on 5 channels")
	ok(t, p.command.Process.Signal(syscall.SIGTERM))
	p.endsWell()
}
