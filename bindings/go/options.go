package redmux

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redmux/redmux/bindings/go/internal/native"
)

// Option is something about a client, for Connect.
type Option func(*settings)

// settings are what all the options set.
type settings struct {
	options        []native.Option
	lazy, noWait   bool
	connectTimeout time.Duration
	logger         *slog.Logger
	onState        func(state, reason string)
	asks           map[string]ask
	handlers       []handler
	within, active int64 // milliseconds
	headers        map[string]string
	until          func(Answer) bool
}

func collect[O ~func(*settings)](options []O) settings {
	if len(options) == 0 {
		return settings{}
	}
	s := settings{}
	for _, option := range options {
		option(&s)
	}
	return s
}

func set[O ~func(*settings)](key, value string) O {
	return func(s *settings) { s.options = append(s.options, native.Option{Key: key, Value: value}) }
}

type ask = func(ctx context.Context) (first, second string, err error)

// Set sets any option of docs/options.md by its key: Set("ping_interval", "2s").
func Set(key, value string) Option { return set[Option](key, value) }

// Name is the connection's name, as CLIENT LIST shows it.
func Name(name string) Option { return Set("name", name) }

// Timeout is how long a call without a deadline may take (10 s).
func Timeout(d time.Duration) Option { return Set("timeout", text(d)) }

// ConnectTimeout is how long Connect waits, and each attempt to connect (5 s). Without it the url may say how long an attempt takes.
func ConnectTimeout(d time.Duration) Option {
	return func(s *settings) {
		s.connectTimeout = d
		Set("connect_timeout", text(max(d, 10*time.Millisecond)))(s)
	}
}

// Lazy makes Connect return at once; the server may come later.
func Lazy() Option { return func(s *settings) { s.lazy = true } }

// Logger takes what redmux logs: losses and drops that nobody handles, handlers that fail, the life of the links. Without it
// slog.Default(), from warnings on. The option log_level says which.
func Logger(logger *slog.Logger) Option { return func(s *settings) { s.logger = logger } }

// OnState is called with each change of the client (connecting, online, offline, stopped, subscribed, …) and its reason.
func OnState(f func(state, reason string)) Option { return func(s *settings) { s.onState = f } }

// Address is asked at each attempt to connect for host and port, or for the path of a unix socket (without a port).
func Address(f func(ctx context.Context) (host, port string, err error)) Option {
	return asked("address", f)
}

// Credentials is asked at each attempt to connect. An empty user is Redis' default one.
func Credentials(f func(ctx context.Context) (user, password string, err error)) Option {
	return asked("credentials", f)
}

func asked(what string, f ask) Option {
	return func(s *settings) {
		if s.asks == nil {
			s.asks = map[string]ask{}
		}
		s.asks[what] = f
		Set("ask", strings.Join(slices.Collect(maps.Keys(s.asks)), ","))(s)
	}
}

// SubOption is something about a subscription, for SubscribeWith and SubscribePattern.
type SubOption func(*settings)

// handler is a callback; it says whether the event is one of its own.
type handler func(c *core, event Event) bool

func on[E Event](what string, f func(E) error) SubOption {
	called := func(c *core, event Event) bool {
		e, is := event.(E)
		if is {
			_ = c.guard(what, func() error { return f(e) })
		}
		return is
	}
	return func(s *settings) { s.handlers = append(s.handlers, called) }
}

func done[E any](f func(E)) func(E) error { return func(e E) error { f(e); return nil } }

// InboxRecords is how many messages may wait to be read; 0, the default, leaves it to InboxBytes.
func InboxRecords(n int) SubOption { return set[SubOption]("inbox_records", strconv.Itoa(n)) }

// InboxBytes is how many bytes may wait to be read (64 MiB).
func InboxBytes(n int) SubOption { return set[SubOption]("inbox_bytes", strconv.Itoa(n)) }

// InboxPolicy is what a full inbox does: drop-oldest (the default), drop-newest, close or pause.
func InboxPolicy(policy string) SubOption { return set[SubOption]("inbox_policy", policy) }

// NoWait does not wait until Redis confirmed; WaitActive waits.
func NoWait() SubOption { return func(s *settings) { s.noWait = true } }

// OnMessage has redmux read the subscription and call f with each message, one at a time, on one goroutine. An error or a panic
// is logged, and the next message is delivered.
func OnMessage(f func(Message) error) SubOption { return on("OnMessage", f) }

// OnLost is called when the connection was lost: from here messages may be missing.
func OnLost(f func(Lost)) SubOption { return on("OnLost", done(f)) }

// OnActive is called when Redis has a channel, and when all is whole again after an outage.
func OnActive(f func(Active)) SubOption { return on("OnActive", done(f)) }

// OnDropped is called where messages had no room.
func OnDropped(f func(Dropped)) SubOption { return on("OnDropped", done(f)) }

// Forever is a promise without a limit, for Within.
const Forever time.Duration = -1

// PromiseOption is something about a promise.
type PromiseOption func(*settings)

// Within is how long a promise waits for its message, or Forever. Without it the client's option timeout.
func Within(d time.Duration) PromiseOption { return func(s *settings) { s.within = millis(d) } }

// ActiveWithin is how long WaitNew may wait for its set to be active, or Forever; the time of Within begins then.
func ActiveWithin(d time.Duration) PromiseOption { return func(s *settings) { s.active = millis(d) } }

// GatherOption is something about a request, for Gather and Request.
type GatherOption func(*settings)

// SetGather sets any option of scope request (docs/options.md) by its key: SetGather("max_answers", "100").
func SetGather(key, value string) GatherOption { return set[GatherOption](key, value) }

// TimeLimit is how long the gather may take, if the context's deadline is not earlier.
func TimeLimit(d time.Duration) GatherOption { return func(s *settings) { s.within = millis(d) } }

// Expect is how many answers are enough.
func Expect(n int) GatherOption { return SetGather("expect", strconv.Itoa(n)) }

// Quiet is the silence after an answer that ends it.
func Quiet(d time.Duration) GatherOption { return SetGather("quiet", text(d)) }

// Until is called with each answer as it is read; the one for which it is true is the last.
func Until(f func(Answer) bool) GatherOption { return func(s *settings) { s.until = f } }

// Headers go with the request.
func Headers(headers map[string]string) GatherOption {
	return func(s *settings) { s.headers = headers }
}

// Strict waits for everybody who received the request, and not only for those who took it.
func Strict() GatherOption { return SetGather("strict", "true") }

// OthersOnly leaves out the responders of this client.
func OthersOnly() GatherOption { return SetGather("others_only", "true") }

// Repeatable allows to send the request again after a connection was lost.
func Repeatable() GatherOption { return SetGather("repeatable", "true") }

// RespondOption is something about a responder, for Respond.
type RespondOption func(*settings)

// SetRespond sets any option of scope respond (docs/options.md) by its key: SetRespond("version", "2.1").
func SetRespond(key, value string) RespondOption { return set[RespondOption](key, value) }

// Concurrency is how many handlers may run at once (64).
func Concurrency(n int) RespondOption { return SetRespond("concurrency", strconv.Itoa(n)) }

// Waiting is how many requests more may wait for that (1024); beyond it askers are told to come again.
func Waiting(n int) RespondOption { return SetRespond("waiting", strconv.Itoa(n)) }

// Group makes it a member of a queue group: exactly one member serves a request.
func Group(name string) RespondOption { return SetRespond("group", name) }

// CatchAll serves every service whose name begins with the given one.
func CatchAll() RespondOption { return SetRespond("catch_all", "true") }

// millis is a duration in the library's words, rounded up: there 0 is the default and -1 is for ever.
func millis(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return max(1, ceil(d))
}

func text(d time.Duration) string { return strconv.FormatInt(ceil(d), 10) + "ms" }

// ceil adds nothing to the duration itself, which may be the longest.
func ceil(d time.Duration) int64 { return d.Milliseconds() + int64(min(1, max(0, d%time.Millisecond))) }
