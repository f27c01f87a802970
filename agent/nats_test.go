package agent_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/internal/natstest"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// collector takes reports from a real stream, verifies them, and signs receipts.
type collector struct {
	t    *testing.T
	key  ed25519.PrivateKey
	conn *nats.Conn

	mu       sync.Mutex
	accepted map[uint64]string
	// silent reports are taken and not answered: the receipt is lost.
	silent int
}

func (c *collector) take(m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	transport, err := schema.TransportKeyOf(m.Subject)
	if err != nil {
		c.t.Error(err)
		return
	}
	o, err := envelope.Open(m.Data)
	if err != nil {
		c.t.Errorf("open: %v", err)
		return
	}
	r, err := o.Report()
	if err != nil {
		c.t.Errorf("report: %v", err)
		return
	}
	if r.TransportKey != transport || m.Header.Get(nats.MsgIdHdr) != o.ID {
		c.t.Errorf("subject %s, message id %s; report names %s and is %s", transport, m.Header.Get(nats.MsgIdHdr), r.TransportKey, o.ID)
	}
	if before, ok := c.accepted[r.Sequence]; ok && before != o.ID {
		c.t.Errorf("sequence %d came with two contents", r.Sequence)
	}
	c.accepted[r.Sequence] = o.ID
	if err := m.Ack(); err != nil {
		c.t.Log(err) // it comes again
	}
	if c.silent > 0 {
		c.silent--
		return
	}
	raw, err := envelope.SealReceipt(answer(schema.ReceiptAccepted, o, r), c.key)
	if err != nil {
		c.t.Error(err)
		return
	}
	if err := c.conn.Publish(schema.ReceiptSubject(transport), raw); err != nil {
		c.t.Log(err)
	}
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.accepted)
}

// TestOverARealBroker sends reports through a broker that knows its users, loses
// receipts, and loses the broker.
func TestOverARealBroker(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, nil, public(key), nil)
	dir := t.TempDir()
	broker := natstest.Run(t, natstest.Options{User: h.Identity.TransportKey, Dir: dir})
	c := &collector{t: t, key: key, conn: natstest.Connect(t, broker, 16), accepted: map[uint64]string{}, silent: 2}
	js, err := c.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Subscribe(schema.SubjectReportsAll, c.take, nats.Durable("door"), nats.ManualAck()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	road, err := publish.New(publish.Options{Server: broker.ClientURL(), Transport: h.Identity.Transport, Window: 50 * time.Millisecond, Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	o := h.Options
	o.Road, o.Resend, o.Log = road, 1500*time.Millisecond, log // longer than the broker remembers ids
	a := agent.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()

	eventually(t, "the first report to be receipted though two receipts were lost", func() bool { return h.status(t).Counts.Accepted >= 1 })
	port := broker.Addr().(*net.TCPAddr).Port
	natstest.Stop(broker)
	for range 3 {
		if _, err := a.CollectOnce(ctx); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Run(t, natstest.Options{User: h.Identity.TransportKey, Dir: dir, Port: port})
	eventually(t, "all reports to be receipted after the broker came back", func() bool { return h.waiting(t) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c.count() != 4 {
		t.Errorf("the collector has %d reports, want 4", c.count())
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}
