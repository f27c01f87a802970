package natsin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// road is a running road over a real broker, door and store.
type road struct {
	broker *natstest.Server
	road   *natsin.Road
	door   *ingest.Door
	store  *sqlstore.Store
	pinned ed25519.PublicKey
	// broken makes the door undecided while it is set.
	broken atomic.Bool
	calls  atomic.Int64
	stop   func() error
}

// Accept stands before the door, to make it fail for a while.
func (r *road) Accept(ctx context.Context, d ingest.Delivery) ([]byte, error) {
	r.calls.Add(1)
	if r.broken.Load() {
		return nil, errors.New("the disk is on fire")
	}
	return r.door.Accept(ctx, d)
}

func run(t *testing.T) *road {
	t.Helper()
	return runWith(t, natstest.Broker(t))
}

func runWith(t *testing.T, b *natstest.Server) *road {
	t.Helper()
	r := &road{broker: b}
	st := sqltest.Open(t)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	r.store, r.pinned = st, key.Public().(ed25519.PublicKey)
	log := slog.New(slog.DiscardHandler)
	r.door = ingest.NewDoor(ingest.Options{
		Store: st, ReceiptKey: key, LogOrigin: "patchproof.dev/log/test", LogEpoch: 1, Now: time.Now, Log: log,
		Publish: func(_, transportKey string, receipt []byte) error {
			return r.road.PublishReceipt(transportKey, receipt)
		},
	})
	r.start(t)
	return r
}

// start runs the road; stop ends it and waits.
func (r *road) start(t *testing.T) {
	t.Helper()
	var err error
	nc := natstest.Conn(t, r.broker)
	if r.road, err = natsin.Open(t.Context(), nc, r, natsin.StreamOptions{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // outlives the test's own context
	done := make(chan error, 1)
	go func() { done <- r.road.Run(ctx) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func (r *road) trust(t *testing.T, h *natstest.Host) {
	t.Helper()
	if _, err := r.door.Trust(t.Context(), ingest.TrustRequest{Key: schema.KeyID(h.Public()), Name: h.Name()}); err != nil {
		t.Fatal(err)
	}
}

func (r *road) sender(t *testing.T, h *natstest.Host) *natstest.Sender {
	t.Helper()
	return &natstest.Sender{Conn: h.Connect(t, r.broker), Host: h, Pinned: r.pinned, Retry: 500 * time.Millisecond}
}

// byID is a chain of n sealed reports.
func byID(t *testing.T, h *natstest.Host, n int) map[string][]byte {
	t.Helper()
	raws, ids := h.Chain(t, n)
	m := map[string][]byte{}
	for i, id := range ids {
		m[id] = raws[i]
	}
	return m
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("timed out waiting for %s", what)
}

func (r *road) empty(t *testing.T) bool {
	t.Helper()
	d, err := r.road.Depth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.Messages == 0 && d.AckPending == 0
}

// limit bounds a test's wait.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestReportsAreReceipted(t *testing.T) {
	r := run(t)
	const hosts, each = 3, 5
	for n := range hosts {
		h := natstest.NewHost(t, n)
		r.trust(t, h)
		if got, err := r.sender(t, h).Send(limit(t), byID(t, h, each)); err != nil || len(got) != each {
			t.Fatalf("host %d: got %d receipts, %v; want %d", n, len(got), err, each)
		}
	}
	if n, err := r.store.LeafCount(t.Context()); err != nil || n != hosts+hosts*each {
		t.Errorf("got %d leaves, %v; want %d", n, err, hosts+hosts*each)
	}
	eventually(t, "an empty stream", func() bool { return r.empty(t) })
}

// Reports of a host nobody trusts wait in quarantine; trust answers them without
// another delivery.
func TestTrustAnswersWhatWaits(t *testing.T) {
	r, h := run(t), natstest.NewHost(t, 1)
	nc := h.Connect(t, r.broker)
	receipts, err := nc.SubscribeSync(schema.ReceiptSubject(h.TransportKey()))
	if err != nil {
		t.Fatal(err)
	}
	raws, ids := h.Chain(t, 2)
	for i, raw := range raws {
		if err := nc.Publish(schema.ReportSubject(h.TransportKey()), raw); err != nil {
			t.Fatal(err)
		}
		if got := r.next(t, receipts); got.Reason != schema.ReasonUnknownKey || got.ReportID != ids[i] {
			t.Fatalf("got %+v, want unknown_key for %s", got, ids[i])
		}
	}
	r.trust(t, h)
	for i := range raws {
		if got := r.next(t, receipts); got.Kind != schema.ReceiptAccepted || got.ReportID != ids[i] {
			t.Errorf("got %+v, want %s accepted", got, ids[i])
		}
	}
}

func (r *road) next(t *testing.T, s *nats.Subscription) schema.Receipt {
	t.Helper()
	m, err := s.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatalf("wait for a receipt: %v", err)
	}
	got, err := envelope.OpenReceipt(m.Data, r.pinned)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// While the door cannot decide, nothing is acknowledged and nothing is lost.
func TestUndecidedIsTriedAgain(t *testing.T) {
	r, h := run(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	r.broken.Store(true)
	raws, _ := h.Chain(t, 3)
	nc := h.Connect(t, r.broker)
	for _, raw := range raws {
		if err := nc.Publish(schema.ReportSubject(h.TransportKey()), raw); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a second try", func() bool { return r.calls.Load() > int64(len(raws)) })
	if d, err := r.road.Depth(t.Context()); err != nil || d.Messages != 3 || d.Retries < 3 {
		t.Errorf("got depth %+v, %v; want 3 messages and their retries", d, err)
	}
	r.broken.Store(false)
	eventually(t, "an empty stream", func() bool { return r.empty(t) })
	if n, err := r.store.LeafCount(t.Context()); err != nil || n != 4 {
		t.Errorf("got %d leaves, %v; want 4", n, err)
	}
}

// A road that stops and one that starts again share nothing but the stream.
func TestRestartLosesAndDoublesNothing(t *testing.T) {
	r, h := run(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	const n = 40
	envelopes := byID(t, h, n)
	done := make(chan error, 1)
	ctx := limit(t)
	sender := r.sender(t, h)
	go func() {
		got, err := sender.Send(ctx, envelopes)
		if err == nil && len(got) != n {
			err = fmt.Errorf("got %d receipts, want %d", len(got), n)
		}
		done <- err
	}()
	for i := 0; ; i++ {
		time.Sleep(30 * time.Millisecond)
		if err := r.stop(); err != nil {
			t.Fatalf("stop %d: %v", i, err)
		}
		r.start(t)
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if leaves, err := r.store.LeafCount(t.Context()); err != nil || leaves != 1+n {
				t.Errorf("got %d leaves, %v; want %d", leaves, err, 1+n)
			}
			return
		default:
		}
	}
}

// What stopped cleanly has acknowledged everything it decided.
func TestStopLosesNoAcknowledgement(t *testing.T) {
	r, h := run(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	if _, err := r.sender(t, h).Send(limit(t), byID(t, h, 10)); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	eventually(t, "an empty stream", func() bool { return r.empty(t) })
	// A slow machine makes the sender send again, so what came is counted and not assumed.
	if came, decided := r.came(t), uint64(r.calls.Load()); decided != came {
		t.Errorf("got %d decisions on %d messages: some were decided again", decided, came)
	}
}

// came is how many messages the stream ever took in.
func (r *road) came(t *testing.T) uint64 {
	t.Helper()
	js, err := jetstream.New(natstest.Conn(t, r.broker))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), schema.StreamReports)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

func TestStreamNeverDropsWhatWaits(t *testing.T) {
	broker := natstest.Broker(t)
	nc := natstest.Conn(t, broker)
	if _, err := natsin.Open(t.Context(), nc, nil, natsin.StreamOptions{MaxBytes: 1 << 20}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(h *natstest.Host, size int) error {
		_, err := js.Publish(t.Context(), schema.ReportSubject(h.TransportKey()), make([]byte, size))
		return err
	}
	h := natstest.NewHost(t, 1)
	accepted := 0
	for range 100 {
		if err := publish(h, 10); err != nil {
			break
		}
		accepted++
	}
	if accepted != 16 {
		t.Errorf("one host may have %d reports waiting, want 16", accepted)
	}
	stream, err := js.Stream(t.Context(), schema.StreamReports)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		_ = publish(natstest.NewHost(t, 10+n), 100<<10)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 1 || info.State.Bytes > 1<<20 {
		t.Errorf("got %+v; want the first message still there and at most 1 MiB", info.State)
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the stream can be purged")
	}
	if err := stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("messages can be deleted")
	}
}

// The message id belongs to whoever uses it first; the report gets through all
// the same.
func TestPoisonedMessageID(t *testing.T) {
	r, h, attacker := run(t), natstest.NewHost(t, 1), natstest.NewHost(t, 666)
	r.trust(t, h)
	raw, id := h.Seal(t, h.Report(t, 1))
	poison := nats.NewMsg(schema.ReportSubject(attacker.TransportKey()))
	poison.Header.Set(jetstream.MsgIDHeader, id)
	poison.Data = []byte("garbage")
	if err := attacker.Connect(t, r.broker).PublishMsg(poison); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(h.Connect(t, r.broker))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the report behind a poisoned id", func() bool {
		if _, err := js.Publish(t.Context(), schema.ReportSubject(h.TransportKey()), raw, jetstream.WithMsgID(id)); err != nil {
			t.Fatal(err)
		}
		_, err := r.store.Report(t.Context(), id)
		return err == nil
	})
}

func TestListenOnlyOnLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:4222", "[::]:4222", "192.0.2.1:4222", "example.com:4222", ":4222", "127.0.0.1", "127.0.0.1:x"} {
		_, err := natsin.StartBroker(t.Context(), natsin.BrokerOptions{Dir: t.TempDir(), Listen: addr, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			t.Fatalf("listens on %s", addr)
		}
		if !strings.HasPrefix(addr, "127") && !errors.Is(err, natsin.ErrNotLoopback) {
			t.Errorf("%s: got %v, want ErrNotLoopback", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0"} {
		b := natstest.BrokerIn(t, t.TempDir(), addr)
		nc, err := nats.Connect(b.URL())
		if err != nil {
			t.Fatalf("%s at %s: %v", addr, b.URL(), err)
		}
		nc.Close()
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("road", func(t *testing.T) {
		r, h := run(t), natstest.NewHost(t, 1)
		r.trust(t, h)
		if _, err := r.sender(t, h).Send(limit(t), byID(t, h, 1)); err != nil {
			t.Fatal(err)
		}
	})
}

var _ natsin.Door = (*ingest.Door)(nil)
