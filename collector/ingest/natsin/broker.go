package natsin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/broker"
)

const (
	// startTimeout bounds how long a broker may take to recover its stream.
	startTimeout = 60 * time.Second
	// helloTimeout is what a connection gets to make its handshake and say who it
	// is: room for thousands that come at once.
	helloTimeout = 10 * time.Second
	// healthEvery is how often Run looks whether the broker still stores.
	healthEvery = 5 * time.Second
)

// reservedFiles are descriptors that connections leave to the database, the stream
// and the API: who can reach the port must not be able to take them.
const reservedFiles = 1024

// maxConnections is how many connections the process can afford.
func maxConnections() int {
	return min(max(openFiles()-reservedFiles, 64), server.DEFAULT_MAX_CONNECTIONS)
}

// ErrNotLoopback says that somebody was asked to listen without TLS where others
// than this machine's users can reach it.
var ErrNotLoopback = errors.New("without TLS only loopback addresses are allowed")

// ErrStorage says that the broker turned its storage off, as it does when the disk is
// full. It comes back only with a new broker.
var ErrStorage = errors.New("the broker stopped storing messages (is its disk full?)")

// BrokerOptions say where an embedded broker stores and listens.
type BrokerOptions struct {
	// Dir holds the stream's files.
	Dir string
	// Listen is a host:port, port 0 for any free one; beyond loopback it needs TLS.
	// Empty listens nowhere: only Connect reaches the broker.
	Listen string
	// TLS is the listener's; nil for none. The handshake comes before anything else.
	TLS *tls.Config
	// Authority says who may do what.
	Authority *broker.Authority
	// Guests lets programs of this machine in that show no claims: they may publish
	// reports and read receipts, which are signed. It needs a loopback address and
	// no TLS.
	Guests bool
	// MaxStore bounds the bytes on disk; 0 is DefaultMaxStore.
	MaxStore int64
	// MaxConnections bounds connections, those not yet let in among them; 0 is what
	// the process may hold open but for reservedFiles.
	MaxConnections int
	// Denied is told of everything a connection was refused. May be nil.
	Denied func(Denial)
	Log    *slog.Logger
}

// DefaultMaxStore bounds the stream on disk: one full report from each of
// 10 000 hosts is about 1 GiB.
const DefaultMaxStore = 4 << 30

// Broker is an embedded NATS server with JetStream.
type Broker struct {
	server    *server.Server
	resolver  *server.MemAccResolver
	authority *broker.Authority
	// fatal holds the first thing the server could not go on from.
	fatal chan error
}

// StartBroker starts an embedded broker and waits until it serves. The caller
// closes it.
func StartBroker(ctx context.Context, o BrokerOptions) (*Broker, error) {
	opts, err := serverOptions(o)
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b := &Broker{resolver: new(server.MemAccResolver), authority: o.Authority, fatal: make(chan error, 1)}
	if err := b.trust(opts, o); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if b.server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.server.SetLoggerV2(newServerLog(o.Log, b.fatal, o.Denied), false, false, false)
	b.server.Start()
	if err := b.awaitReady(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("start broker: %w", err)
	}
	return b, nil
}

// trust makes the broker believe what the authority has signed, and nobody else.
func (b *Broker) trust(opts *server.Options, o BrokerOptions) error {
	operator, err := jwt.DecodeOperatorClaims(o.Authority.OperatorJWT())
	if err != nil {
		return err
	}
	opts.TrustedOperators = []*jwt.OperatorClaims{operator}
	opts.SystemAccount = o.Authority.ID(broker.System)
	opts.AccountResolver = b.resolver
	known := []broker.Account{broker.System, broker.Collector, broker.Hosts}
	if o.Guests {
		guest, err := o.Authority.User(broker.Guests)
		if err != nil {
			return err
		}
		opts.DefaultSentinel = guest.JWT
		known = append(known, broker.Guests)
	}
	for _, n := range known {
		if err := b.resolver.Store(o.Authority.ID(n), o.Authority.AccountJWT(n)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateAccount puts new claims of an account in force at once: who is revoked in
// them is cut off.
func (b *Broker) UpdateAccount(_ context.Context, id, claims string) error {
	c, err := jwt.DecodeAccountClaims(claims)
	if err != nil {
		return fmt.Errorf("update account %s: %w", id, err)
	}
	if err := b.resolver.Store(id, claims); err != nil {
		return fmt.Errorf("update account %s: %w", id, err)
	}
	account, err := b.server.LookupAccount(id)
	if err != nil {
		return fmt.Errorf("update account %s: %w", id, err)
	}
	b.server.UpdateAccountClaims(account, c)
	return nil
}

func serverOptions(o BrokerOptions) (*server.Options, error) {
	opts := &server.Options{}
	if o.MaxStore == 0 {
		o.MaxStore = DefaultMaxStore
	}
	opts.ServerName = "patchproof"
	opts.JetStream = true
	opts.StoreDir = o.Dir
	opts.JetStreamMaxStore = o.MaxStore
	opts.JetStreamMaxMemory = 1 << 20 // nothing of ours is kept in memory
	opts.NoSigs = true                // signals belong to the program
	opts.MaxPayload = broker.MaxMessage
	// The largest message and its protocol lines; a connection that does not read
	// its receipts is cut off beyond this.
	opts.MaxPending = 4 * broker.MaxMessage
	opts.MaxSubs = 64
	opts.MaxConn = cmp.Or(o.MaxConnections, maxConnections())
	opts.DontListen = true
	opts.AuthTimeout, opts.TLSTimeout = helloTimeout.Seconds(), helloTimeout.Seconds()
	if o.TLS != nil {
		opts.TLS, opts.TLSConfig, opts.TLSHandshakeFirst = true, o.TLS, true
	}
	if o.Guests && o.TLS != nil {
		return nil, errors.New("guests are for loopback without TLS")
	}
	if o.Listen == "" {
		return opts, nil
	}
	if o.TLS == nil {
		if err := CheckLoopback(o.Listen); err != nil {
			return nil, err
		}
	}
	var err error
	opts.DontListen = false
	opts.Host, opts.Port, err = split(o.Listen)
	return opts, err
}

// split reads a listen address.
func split(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("listen on %q: want HOST:PORT: %w", addr, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen on %q: port must be a number from 0 to 65535", addr)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// CheckLoopback returns an error that wraps ErrNotLoopback unless addr is
// localhost or a loopback IP address with a port.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen on %q: want HOST:PORT: %w", addr, err)
	}
	if host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("listen on %q: %w", addr, ErrNotLoopback)
	}
	return nil
}

func (b *Broker) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !b.server.ReadyForConnections(10 * time.Millisecond) {
		select {
		case err := <-b.fatal:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait until it serves: %w", ctx.Err())
		default:
		}
	}
	if !b.server.JetStreamEnabled() {
		return ErrStorage
	}
	return nil
}

// Connect returns the collector's own connection, which may do everything in
// its account. It does not pass through a socket.
func (b *Broker) Connect(opts ...nats.Option) (*nats.Conn, error) {
	user, err := b.authority.User(broker.Collector)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	opts = append([]nats.Option{
		nats.InProcessServer(b.server), nats.Name("patchproof"), nats.MaxReconnects(-1),
		nats.UserJWT(func() (string, error) { return user.JWT, nil }, user.Sign),
	}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return nc, nil
}

// ConnectLocal returns a connection that does not pass through a socket, with
// the rights of whom the options say, or of a guest.
func (b *Broker) ConnectLocal(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(b.server)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return nc, nil
}

// URL is where hosts connect, empty when the broker listens nowhere.
func (b *Broker) URL() string {
	if b.server.Addr() == nil {
		return ""
	}
	return b.server.ClientURL()
}

// Run watches the broker until ctx is done. It returns ErrStorage when the
// broker turned its storage off, so that the program ends and its supervisor
// starts it anew: hosts keep what they have no receipt for.
func (b *Broker) Run(ctx context.Context) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := b.Check(); err != nil {
				return err
			}
		}
	}
}

// Check returns an error when the broker does not serve or store. A stream that
// met a write error refuses every message from then on, although the broker
// says that JetStream is enabled; only its health check tells.
func (b *Broker) Check() error {
	if !b.server.Running() {
		return errors.New("the broker is not running")
	}
	if !b.server.JetStreamEnabled() {
		return ErrStorage
	}
	if h := b.server.Healthz(nil); h.Error != "" {
		return fmt.Errorf("%w: %s", ErrStorage, h.Error)
	}
	return nil
}

// Close stops the broker and waits until its files are closed.
func (b *Broker) Close() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
