// Package publish is the NATS road: it takes sealed reports to the collector's
// stream and brings receipts back.
//
// Invariants:
//   - It decides nothing: what is sent and when, and whether a receipt is
//     genuine, is the sender's business. The broker's acknowledgement means that
//     the broker has the bytes, and nothing more.
//   - Nothing is buffered while the broker is away. Publish fails then, and the
//     spool stays the only queue.
//   - After a connection is lost the next attempt comes at a random moment of a
//     window that doubles up to a limit, so that a fleet does not return at once.
//   - Replies arrive below a prefix of this host's own, which is all that a
//     broker with permissions has to let it read.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Errors of this package.
var (
	// ErrDown: there is no connection to the broker now.
	ErrDown = errors.New("not connected to the broker")
	// ErrTooLarge: the broker takes no message of this size.
	ErrTooLarge = errors.New("report is larger than the broker's max_payload")
)

// Reconnects spread over a window between these.
const (
	firstWindow = 4 * time.Second
	lastWindow  = 2 * time.Minute
)

const (
	dialTimeout = 5 * time.Second
	ackTimeout  = 10 * time.Second
)

// maxReceipts is how many receipts wait for the sender before the subscription
// pushes back.
const maxReceipts = 64

// Options say where the broker is and who we are there.
type Options struct {
	// Server is one NATS URL, or several with commas between.
	Server string
	// Transport is the NATS user key; it signs the broker's nonce when it sends one.
	Transport nkeys.KeyPair
	// Window is the first window of reconnects, 4 s when zero.
	Window time.Duration
	Log    *slog.Logger
}

// Road is a connection that is kept up for as long as Run runs.
type Road struct {
	options      Options
	transportKey string
	receipts     chan []byte
	up           chan struct{}

	mu sync.Mutex
	js jetstream.JetStream // nil while the broker is away
}

// New makes a road; Run brings it up.
func New(o Options) (*Road, error) {
	key, err := o.Transport.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make road: %w", err)
	}
	if o.Window == 0 {
		o.Window = firstWindow
	}
	return &Road{options: o, transportKey: key, receipts: make(chan []byte, maxReceipts), up: make(chan struct{}, 1)}, nil
}

// InboxPrefix is the prefix of the reply subjects of a host.
func InboxPrefix(transportKey string) string { return "_INBOX." + transportKey }

// Receipts delivers what arrives on this host's receipt subject, unverified.
func (r *Road) Receipts() <-chan []byte { return r.receipts }

// Up delivers a value after each connection: receipts sent before it are lost.
func (r *Road) Up() <-chan struct{} { return r.up }

// Run keeps the connection up until ctx ends.
func (r *Road) Run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		lost, err := r.connect(ctx)
		if err == nil {
			failures = 0
			r.options.Log.Info("broker connected")
			err = r.stay(ctx, lost)
		}
		if ctx.Err() != nil {
			return nil
		}
		delay := jitter(r.options.Window, failures)
		failures++
		r.options.Log.Warn("broker away", "err", err, "retry_in", delay.Round(time.Millisecond))
		sleep(ctx, delay)
	}
	return nil
}

// session is one connection.
type session struct {
	conn   *nats.Conn
	closed chan struct{}
}

// connect opens a session with the nonce signed when the broker asks for that.
// A broker that sends no nonce asks nobody who they are; what it is given then
// is what anybody may have, since reports are signed and receipts are verified.
func (r *Road) connect(ctx context.Context) (*session, error) {
	s, err := r.dial(ctx, nats.Nkey(r.transportKey, r.options.Transport.Sign))
	if errors.Is(err, nats.ErrNkeysNotSupported) {
		s, err = r.dial(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.options.Server, err)
	}
	if err := r.open(s); err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", r.options.Server, err)
	}
	return s, nil
}

// dialer makes connections that the end of ctx interrupts, while they are made
// and while the server has not yet said a word.
type dialer struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of dial
	mu   sync.Mutex
	conn net.Conn
}

// Dial makes a connection.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(d.ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = conn
	return conn, err
}

func (d *dialer) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close() // its reader gets the error
	}
}

func (r *Road) dial(ctx context.Context, more ...nats.Option) (*session, error) {
	d := &dialer{ctx: ctx}
	defer context.AfterFunc(ctx, d.interrupt)()
	s := &session{closed: make(chan struct{})}
	conn, err := nats.Connect(r.options.Server, append([]nats.Option{
		nats.Name("patchproof-agent"),
		nats.NoReconnect(),
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(d),
		nats.CustomInboxPrefix(InboxPrefix(r.transportKey)),
		nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// Denied publishes and subscriptions surface only here.
			r.options.Log.Warn("broker refused", "err", err)
		}),
	}, more...)...)
	s.conn = conn
	return s, err
}

// open subscribes to receipts before anything is published.
func (r *Road) open(s *session) error {
	js, err := jetstream.New(s.conn)
	if err != nil {
		return err
	}
	_, err = s.conn.Subscribe(schema.ReceiptSubject(r.transportKey), func(m *nats.Msg) { r.receive(s, m) })
	if err != nil {
		return fmt.Errorf("subscribe to receipts: %w", err)
	}
	if err := s.conn.FlushTimeout(dialTimeout); err != nil {
		return fmt.Errorf("subscribe to receipts: %w", err)
	}
	r.mu.Lock()
	r.js = js
	r.mu.Unlock()
	select {
	case r.up <- struct{}{}:
	default: // the sender has not yet seen the one before
	}
	return nil
}

func (r *Road) receive(s *session, m *nats.Msg) {
	if len(m.Data) > envelope.MaxReceiptEnvelope {
		r.options.Log.Warn("receipt ignored", "err", fmt.Sprintf("%d bytes, at most %d", len(m.Data), envelope.MaxReceiptEnvelope))
		return
	}
	select {
	case r.receipts <- m.Data:
	case <-s.closed:
	}
}

// stay waits until the connection is lost or ctx ends.
func (r *Road) stay(ctx context.Context, s *session) error {
	defer func() {
		r.mu.Lock()
		r.js = nil
		r.mu.Unlock()
		s.conn.Close()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-s.closed:
		if err := s.conn.LastError(); err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
		return errors.New("connection lost")
	}
}

// Publish gives the broker one sealed report and waits for its
// acknowledgement. ErrDown when there is no connection.
func (r *Road) Publish(ctx context.Context, id string, raw []byte) error {
	r.mu.Lock()
	js := r.js
	r.mu.Unlock()
	if js == nil {
		return ErrDown
	}
	if limit := js.Conn().MaxPayload(); int64(len(raw)) > limit {
		return fmt.Errorf("publish report: %w: %d bytes, at most %d", ErrTooLarge, len(raw), limit)
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	_, err := js.Publish(ctx, schema.ReportSubject(r.transportKey), raw,
		jetstream.WithMsgID(id), jetstream.WithExpectStream(schema.StreamReports))
	switch {
	case errors.Is(err, nats.ErrConnectionClosed):
		return ErrDown
	case err != nil:
		return fmt.Errorf("publish report: %w", err)
	}
	return nil
}

// jitter returns a moment of the window after this many failures in a row.
func jitter(window time.Duration, failures int) time.Duration {
	window <<= min(failures, 16)
	return rand.N(min(max(window, 1), max(lastWindow, 1))) //nolint:gosec // it spreads load and hides nothing
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
