//go:build linux

package natsin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// cluster is nats-server processes that run on an exported configuration.
type cluster struct {
	nodes     []broker.Node
	processes []*exec.Cmd
	logs      []bytes.Buffer
	dir       string
	authority *broker.Authority
	tls       *trust.TLS
	program   string
}

// nodes is how many there are: one, or as many as a soak asks for.
func nodes(t *testing.T) int {
	t.Helper()
	s := os.Getenv("PATCHPROOF_TEST_CLUSTER_NODES")
	if s == "" {
		return 1
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("PATCHPROOF_TEST_CLUSTER_NODES=%q: want a number", s)
	}
	return n
}

func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	keys := t.TempDir()
	c := &cluster{dir: filepath.Join(t.TempDir(), "export"), program: filepath.Join(t.TempDir(), "nats-server")}
	build := exec.Command("go", "build", "-o", c.program, "github.com/nats-io/nats-server/v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	var err error
	if c.authority, err = broker.Open(filepath.Join(keys, "broker"), "", time.Now); err != nil {
		t.Fatal(err)
	}
	if c.tls, err = trust.OpenTLS(trust.TLSOptions{Dir: filepath.Join(keys, "tls"), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	for range n {
		c.nodes = append(c.nodes, broker.Node{Host: "127.0.0.1", Port: freePort(t), RoutePort: freePort(t)})
	}
	err = c.authority.Export(broker.Export{
		Dir: c.dir, Nodes: c.nodes, CA: c.tls.CA(), MaxStore: 256 << 20,
		Certificate: func(host string) ([]byte, []byte, error) { return c.tls.Issue([]string{host}, time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.processes, c.logs = make([]*exec.Cmd, n), make([]bytes.Buffer, n)
	t.Cleanup(func() { c.stop(t) })
	for i := range c.nodes {
		c.startNode(t, i)
	}
	for _, node := range c.nodes {
		eventually(t, node.Name()+" to listen", func() bool {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", node.Port), time.Second)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return c
}

func (c *cluster) startNode(t *testing.T, i int) {
	t.Helper()
	p := exec.Command(c.program, "-c", "nats-server.conf")
	p.Dir = filepath.Join(c.dir, c.nodes[i].Name())
	p.Stdout, p.Stderr = &c.logs[i], &c.logs[i]
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	c.processes[i] = p
}

// stop ends the nodes, and shows what they said when the test failed.
func (c *cluster) stop(t *testing.T) {
	for i, p := range c.processes {
		if p == nil {
			continue
		}
		_ = p.Process.Kill()
		_ = p.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", c.nodes[i].Name(), &c.logs[i])
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *cluster) urls() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.URL())
	}
	return out
}

// connect joins as a host does.
func (c *cluster) connect(claims string, h *natstest.Host, more ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(strings.Join(c.urls(), ","), append([]nats.Option{
		nats.UserJWT(func() (string, error) { return claims, nil }, h.Transport.Sign), h.Inbox(), quiet,
		nats.Secure(c.tls.Trusting()), nats.TLSHandshakeFirst(), nats.IgnoreDiscoveredServers(),
		nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond),
	}, more...)...)
}

// overCluster is a road over a cluster, a door and a store.
func overCluster(t *testing.T, c *cluster) *road {
	t.Helper()
	r := new(road)
	st, err := sqlstore.Open(t.Context(), filepath.Join(t.TempDir(), "collector.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.store, r.pinned = st, key.Public().(ed25519.PublicKey)
	r.door = ingest.NewDoor(ingest.Options{
		Store: st, ReceiptKey: key, LogOrigin: "patchproof.dev/log/test", LogEpoch: 1, Now: time.Now, Log: log,
		Publish: func(_, transportKey string, receipt []byte) error {
			return r.road.PublishReceipt(transportKey, receipt)
		},
	})
	joined, err := natsin.Join(t.Context(), natsin.ClusterOptions{URLs: c.urls(), TLS: c.tls.Trusting(), Authority: c.authority, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(joined.Close)
	nc, err := joined.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.road, err = natsin.Open(t.Context(), nc, r, natsin.StreamOptions{MaxBytes: 64 << 20, Replicas: len(c.nodes)}, log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // outlives the test's own context
	done := make(chan error, 1)
	go func() { done <- r.road.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// Servers that others run, with the configuration we write for them, are the same
// broker: reports are receipted, hosts reach their own only, a revocation cuts them
// off, and a node that dies and comes back costs nothing and knows of it.
func TestServersOfOthers(t *testing.T) {
	c := startCluster(t, nodes(t))
	r := overCluster(t, c)
	h, other := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	r.trust(t, h)
	r.trust(t, other)
	claims := map[*natstest.Host]string{}
	for _, x := range []*natstest.Host{h, other} {
		var err error
		if claims[x], err = c.authority.Issue(x.TransportKey(), x.Name(), 0); err != nil {
			t.Fatal(err)
		}
	}
	nc, err := c.connect(claims[h], h)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raws, ids := h.Chain(t, 8)
	send := func(from, to int) {
		t.Helper()
		some := map[string][]byte{}
		for i := from; i < to; i++ {
			some[ids[i]] = raws[i]
		}
		s := &natstest.Sender{Conn: nc, Host: h, Pinned: r.pinned, Retry: time.Second}
		if got, err := s.Send(limit(t), some); err != nil || len(got) != to-from {
			t.Fatalf("got %d receipts, %v; want %d", len(got), err, to-from)
		}
	}
	send(0, 4)
	denied(t, nc, func() error { return nc.Publish("$JS.API.STREAM.DELETE.REPORTS", nil) })
	denied(t, nc, func() error { return nc.Publish(schema.ReportSubject(other.TransportKey()), []byte("x")) })
	denied(t, nc, func() error { _, err := nc.SubscribeSync("patchproof.v1.receipts.*"); return err })
	for name, option := range map[string]nats.Option{"guest": nats.Name("x"), "key_alone": nats.Nkey(h.TransportKey(), h.Transport.Sign)} {
		if in, err := nats.Connect(c.urls()[0], option, nats.NoReconnect(), nats.Secure(c.tls.Trusting()), nats.TLSHandshakeFirst()); !errors.Is(err, nats.ErrAuthorization) {
			in.Close()
			t.Errorf("%s: %v, want an authorization error", name, err)
		}
	}
	old := c.tls.Trusting()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if in, err := nats.Connect(c.urls()[0], nats.NoReconnect(), nats.Secure(old), nats.TLSHandshakeFirst()); err == nil || errors.Is(err, nats.ErrAuthorization) {
		in.Close()
		t.Errorf("TLS 1.2: %v, want no handshake", err)
	}
	c.revokeAndSee(t, other, claims[other])
	c.killNode(t, nc)
	send(4, 8)
	if in, err := c.connect(claims[other], other, nats.NoReconnect()); !errors.Is(err, nats.ErrAuthorization) {
		in.Close()
		t.Errorf("after a node came back, the revoked host: %v, want an authorization error", err)
	}
}

// revokeAndSee measures how long a revoked host stays connected.
func (c *cluster) revokeAndSee(t *testing.T, h *natstest.Host, claims string) {
	t.Helper()
	closed := make(chan time.Time, 1)
	nc, err := c.connect(claims, h, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { closed <- time.Now() }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	began := time.Now()
	if err := c.authority.Revoke(t.Context(), h.TransportKey()); err != nil {
		t.Fatal(err)
	}
	select {
	case at := <-closed:
		t.Logf("cut %s after the act", at.Sub(began).Round(time.Microsecond))
		if at.Sub(began) > time.Second {
			t.Errorf("cut after %s, want 1 s", at.Sub(began))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the connection stays")
	}
}

// killNode kills the node a host is connected to, or of several the stream's leader
// with it, and starts it again.
func (c *cluster) killNode(t *testing.T, nc *nats.Conn) {
	t.Helper()
	port := nc.ConnectedAddr()[strings.LastIndexByte(nc.ConnectedAddr(), ':')+1:]
	for i, n := range c.nodes {
		if strconv.Itoa(n.Port) != port {
			continue
		}
		if err := c.processes[i].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.processes[i].Wait()
		c.startNode(t, i)
		eventually(t, "the host to be connected again", nc.IsConnected)
		return
	}
	t.Fatalf("no node listens on %s", nc.ConnectedAddr())
}
