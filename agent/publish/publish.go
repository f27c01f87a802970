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
//   - With a pinned authority not a byte is said before TLS stands.
//   - Replies arrive below a prefix of this host's own, which is all that a
//     broker with permissions has to let it read.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/agent/pin"
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

// Reconnects spread over windows: the first after a connection that was never
// there, the first after one that was lost, when all hosts lose theirs at once,
// and the longest.
const (
	firstWindow = 4 * time.Second
	LostWindow  = 30 * time.Second
	lastWindow  = 2 * time.Minute
)

const (
	// dialTimeout is room for a TLS handshake with a broker that thousands return to.
	dialTimeout = 10 * time.Second
	ackTimeout  = 10 * time.Second
)

// maxReceipts is how many receipts wait for the sender before the subscription
// pushes back.
const maxReceipts = 64

// Options say where the broker is and who we are there.
type Options struct {
	// Server is one NATS URL, or several with commas between.
	Server string
	// Authority is whom TLS connections believe; without one there is no TLS.
	Authority *pin.Authority
	// Transport is the NATS user key; it signs the broker's nonce when it sends one.
	Transport nkeys.KeyPair
	// Claims returns what the collector signed for this key, empty when it has not.
	// Nil shows none.
	Claims func() (string, error)
	// Renew gets new claims, which Claims returns from then on. It is asked when
	// those at hand are in the last third of their life, when they have expired and
	// when the broker refuses them; at most once in a window that doubles up to an
	// hour. Nil asks nobody.
	Renew func(ctx context.Context) error
	// Window is the first window of reconnects after a lost connection, LostWindow
	// when zero.
	Window time.Duration
	// Changed is told of each change of the road's state. May be nil.
	Changed func(State)
	Now     func() time.Time
	Log     *slog.Logger
}

// Road is a connection that is kept up for as long as Run runs.
type Road struct {
	options      Options
	transportKey string
	receipts     chan []byte
	up           chan struct{}
	renewal      renewal

	mu    sync.Mutex
	js    jetstream.JetStream // nil while the broker is away
	state State
}

// New makes a road; Run brings it up.
func New(o Options) (*Road, error) {
	key, err := o.Transport.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make road: %w", err)
	}
	if o.Window == 0 {
		o.Window = LostWindow
	}
	if o.Claims == nil {
		o.Claims = func() (string, error) { return "", nil }
	}
	if o.Changed == nil {
		o.Changed = func(State) {}
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
	window, failures := min(firstWindow, r.options.Window), 0
	for ctx.Err() == nil {
		r.renew(ctx)
		lost, err := r.connect(ctx)
		if err == nil {
			window, failures = r.options.Window, 0
			r.options.Log.Info("broker connected", "server", lost.conn.ConnectedUrlRedacted())
			err = r.stay(ctx, lost)
		}
		if ctx.Err() != nil {
			return nil
		}
		if refused(err) {
			r.renewal.refused = true
		}
		// The second attempt waits no longer than the first: who came while the broker
		// was starting is back with the others.
		delay := jitter(window, max(failures-1, 0))
		failures++
		r.down(err)
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

// connect opens a session. With claims it is as the host they name; a broker that
// knows no claims is shown the key alone; one that sends no nonce asks nobody who
// they are, and what it is given is what anybody may have, since reports are signed
// and receipts are verified.
func (r *Road) connect(ctx context.Context) (*session, error) {
	claims, err := r.options.Claims()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.options.Server, err)
	}
	var s *session
	if claims != "" {
		s, err = r.dial(ctx, nats.UserJWT(func() (string, error) { return claims, nil }, r.options.Transport.Sign))
	} else {
		s, err = r.dial(ctx, nats.Nkey(r.transportKey, r.options.Transport.Sign))
		if errors.Is(err, nats.ErrNkeysNotSupported) {
			s, err = r.dial(ctx)
		}
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

func (r *Road) dial(ctx context.Context, more ...nats.Option) (*session, error) {
	d := &dialer{ctx: ctx, authority: r.options.Authority}
	defer context.AfterFunc(ctx, d.interrupt)()
	s := &session{closed: make(chan struct{})}
	conn, err := nats.Connect(r.options.Server, append([]nats.Option{
		nats.Name("patchproof-agent"),
		nats.NoReconnect(),
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // the dialer needs the name that is in the certificate
		nats.CustomInboxPrefix(InboxPrefix(r.transportKey)),
		nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// Denied publishes and subscriptions surface only here.
			r.options.Log.Warn("broker refused", "err", err)
			r.fault(fmt.Errorf("the broker refused: %w", err))
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
	r.connected(s.conn.ConnectedUrlRedacted())
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
	due, stop := r.renewalDue()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due:
			r.renew(ctx)
			stop()
			due, stop = r.renewalDue()
		case <-s.closed:
			return s.why()
		}
	}
}

// why tells why a connection closed.
func (s *session) why() error {
	if err := s.conn.LastError(); err != nil {
		return fmt.Errorf("connection lost: %w", err)
	}
	return errors.New("connection lost")
}

// Publish gives the broker one sealed report and waits for its
// acknowledgement. ErrDown when there is no connection.
func (r *Road) Publish(ctx context.Context, id string, raw []byte) error {
	err := r.publish(ctx, id, raw)
	if err != nil && !errors.Is(err, ErrDown) && ctx.Err() == nil {
		r.fault(err)
	}
	return err
}

func (r *Road) publish(ctx context.Context, id string, raw []byte) error {
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
	return jitterWithin(window, failures, lastWindow)
}

func jitterWithin(window time.Duration, failures int, last time.Duration) time.Duration {
	window <<= min(failures, 16)
	return rand.N(min(max(window, 1), last)) //nolint:gosec // it spreads load and hides nothing
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
