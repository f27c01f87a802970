package natsin

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Denial is something the broker refused a connection.
type Denial struct {
	// Kind is publish, subscribe, authentication, limit or protocol.
	Kind string
	// TransportKey is whose connection it was; empty for guests and for those who
	// were not let in.
	TransportKey string
	// Address is where the connection came from.
	Address string
}

// Kinds of denials.
const (
	DeniedPublish        = "publish"
	DeniedSubscribe      = "subscribe"
	DeniedAuthentication = "authentication"
	DeniedLimit          = "limit"
	DeniedProtocol       = "protocol"
)

// DenialKinds lists them.
var DenialKinds = []string{DeniedPublish, DeniedSubscribe, DeniedAuthentication, DeniedLimit, DeniedProtocol}

// A server has no event for what it denies, only a line in its log: address,
// number, then what the client calls itself (quoted, its own words), then who it
// is when it was let in, then what happened.
var (
	aboutClient = regexp.MustCompile(`^(\S+) - cid:\d+ - (.*)$`)
	ownWords    = regexp.MustCompile(`^"(?:[^"\\]|\\.)*" - `)
	whoItIs     = regexp.MustCompile(`^"[A-Z2-7]{56}/hosts/jwt:(U[A-Z2-7]{55})" - `)
	somebody    = regexp.MustCompile(`^"(?:[^"\\]|\\.)*" - `)
)

// denialIn reads a log line about a connection; false when it is about something
// else.
func denialIn(line string) (Denial, bool) {
	m := aboutClient.FindStringSubmatch(line)
	if m == nil {
		return Denial{}, false
	}
	d, rest := Denial{Address: m[1]}, m[2]
	rest = rest[len(ownWords.FindString(rest)):]
	if who := whoItIs.FindStringSubmatch(rest); who != nil {
		d.TransportKey, rest = who[1], rest[len(who[0]):]
	} else {
		rest = rest[len(somebody.FindString(rest)):]
	}
	d.Kind = kindOf(rest)
	return d, true
}

func kindOf(what string) string {
	switch {
	case strings.HasPrefix(what, "Publish Violation"):
		return DeniedPublish
	case strings.HasPrefix(what, "Subscription Violation"):
		return DeniedSubscribe
	case strings.HasPrefix(what, "authentication error"), strings.HasPrefix(what, "Bad src Ip"), strings.HasPrefix(what, "Outside connect times"):
		return DeniedAuthentication
	case strings.HasPrefix(what, "maximum "):
		return DeniedLimit
	default:
		return DeniedProtocol
	}
}

// Lines about connections are anybody's to cause: at most this many a second are
// written, and a moment's more.
const (
	linesASecond = 1
	linesAtOnce  = 20
)

// serverLog hands the broker's log lines to slog, and tells of denials. What the
// server calls fatal would end a server of its own; here it ends the start.
type serverLog struct {
	log    *slog.Logger
	fatal  chan<- error
	denied func(Denial)
	limit  *rate.Limiter
	// unsaid counts lines that were over the limit.
	unsaid atomic.Int64
}

func newServerLog(log *slog.Logger, fatal chan<- error, denied func(Denial)) *serverLog {
	if denied == nil {
		denied = func(Denial) {}
	}
	return &serverLog{log: log.With("component", "broker"), fatal: fatal, denied: denied, limit: rate.NewLimiter(linesASecond, linesAtOnce)}
}

func (l *serverLog) Noticef(f string, v ...any) { l.line(slog.LevelDebug, f, v) }
func (l *serverLog) Debugf(f string, v ...any)  { l.line(slog.LevelDebug, f, v) }
func (l *serverLog) Tracef(string, ...any)      {}

// Errorf is how a server speaks of its own faults and of every denial.
func (l *serverLog) Errorf(format string, v ...any) {
	d, ok := denialIn(fmt.Sprintf(format, v...))
	if !ok {
		l.line(slog.LevelError, format, v)
		return
	}
	l.denied(d)
	if !l.limit.Allow() {
		l.unsaid.Add(1)
		return
	}
	l.log.Warn("broker denied", "kind", d.Kind, "transport_key", d.TransportKey, "address", d.Address,
		"text", fmt.Sprintf(format, v...), "unsaid", l.unsaid.Swap(0))
}

// meant are warnings about what is so on purpose: 4 KiB more than the server would
// choose, for headers; and no word before the handshake.
var meant = []string{"Maximum payloads over", "Clients that are not using"}

func (l *serverLog) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	for _, known := range meant {
		if strings.HasPrefix(format, known) {
			level = slog.LevelDebug
		}
	}
	l.line(level, format, v)
}

func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default:
	}
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "broker says", "text", fmt.Sprintf(format, v...))
}
