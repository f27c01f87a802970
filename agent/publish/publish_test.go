package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/patchproof/patchproof/agent/internal/natstest"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/schema"
)

const patience = 10 * time.Second

func user(t *testing.T) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// open runs a road to a server for the length of the test.
func open(t *testing.T, url string, pair nkeys.KeyPair) *publish.Road {
	t.Helper()
	r, err := publish.New(publish.Options{
		Server: url, Transport: pair, Window: 50 * time.Millisecond,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

func up(t *testing.T, r *publish.Road) {
	t.Helper()
	select {
	case <-r.Up():
	case <-time.After(patience):
		t.Fatal("the road did not come up")
	}
}

func TestReportsGoAndReceiptsCome(t *testing.T) {
	pair, public := user(t)
	for name, o := range map[string]natstest.Options{
		"broker_that_knows_its_users": {User: public},
		"broker_that_asks_nobody":     {},
	} {
		t.Run(name, func(t *testing.T) {
			broker := natstest.Run(t, o)
			collector := natstest.Connect(t, broker, 0)
			sub, err := collector.SubscribeSync(schema.SubjectReportsAll)
			if err != nil {
				t.Fatal(err)
			}
			if err := collector.Flush(); err != nil {
				t.Fatal(err)
			}
			r := open(t, broker.ClientURL(), pair)
			up(t, r)
			if err := r.Publish(t.Context(), "id-1", []byte("sealed")); err != nil {
				t.Fatal(err)
			}
			m, err := sub.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject != schema.ReportSubject(public) || m.Header.Get(nats.MsgIdHdr) != "id-1" || string(m.Data) != "sealed" {
				t.Errorf("got %s %v %q", m.Subject, m.Header, m.Data)
			}
			if !strings.HasPrefix(m.Reply, publish.InboxPrefix(public)+".") {
				t.Errorf("reply %q is not below the host's own prefix", m.Reply)
			}
			if err := collector.Publish(schema.ReceiptSubject(public), []byte("receipt")); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-r.Receipts():
				if string(got) != "receipt" {
					t.Errorf("got %q", got)
				}
			case <-time.After(patience):
				t.Fatal("no receipt")
			}
		})
	}
}

func TestBrokerComesBack(t *testing.T) {
	pair, public := user(t)
	dir := t.TempDir()
	broker := natstest.Run(t, natstest.Options{User: public, Dir: dir})
	natstest.Connect(t, broker, 0)
	r := open(t, broker.ClientURL(), pair)
	up(t, r)
	port := broker.Addr().(*net.TCPAddr).Port
	natstest.Stop(broker)
	deadline := time.Now().Add(patience)
	for !errors.Is(r.Publish(t.Context(), "id", nil), publish.ErrDown) {
		if time.Now().After(deadline) {
			t.Fatal("publish does not say that the broker is away")
		}
	}
	natstest.Run(t, natstest.Options{User: public, Dir: dir, Port: port})
	up(t, r)
	if err := r.Publish(t.Context(), "id", []byte("sealed")); err != nil {
		t.Errorf("after the broker came back: %v", err)
	}
}

func TestRefusalsOfTheBroker(t *testing.T) {
	pair, _ := user(t)
	broker := natstest.Run(t, natstest.Options{MaxPayload: 1 << 10})
	r := open(t, broker.ClientURL(), pair)
	up(t, r)
	if err := r.Publish(t.Context(), "id", []byte("sealed")); err == nil {
		t.Error("published though there is no stream")
	}
	natstest.Connect(t, broker, 1)
	if err := r.Publish(t.Context(), "id-1", []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), "id-2", []byte("sealed")); err == nil || !strings.Contains(err.Error(), "maximum messages per subject") {
		t.Errorf("over the stream's limit: %v", err)
	}
	if err := r.Publish(t.Context(), "id-3", make([]byte, 2<<10)); !errors.Is(err, publish.ErrTooLarge) {
		t.Errorf("over the broker's limit: %v, want ErrTooLarge", err)
	}
}

func TestStrangerIsNotLetIn(t *testing.T) {
	pair, _ := user(t)
	_, other := user(t)
	broker := natstest.Run(t, natstest.Options{User: other})
	r := open(t, broker.ClientURL(), pair)
	select {
	case <-r.Up():
		t.Error("connected with a key the broker does not know")
	case <-time.After(300 * time.Millisecond):
	}
}

// TestSilentServer ends at once even while a server does not say a word.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pair, _ := user(t)
	r, err := publish.New(publish.Options{Server: "nats://" + l.Addr().String(), Transport: pair, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("ended %s after it was told to", took)
	}
	if err := r.Publish(t.Context(), "id", nil); !errors.Is(err, publish.ErrDown) {
		t.Errorf("publish: %v, want ErrDown", err)
	}
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*Server).Start.func1"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}
