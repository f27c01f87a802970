package natsin_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// denied publishes or subscribes and expects the broker to say no.
func denied(t *testing.T, nc *nats.Conn, do func() error) {
	t.Helper()
	if err := errors.Join(do(), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := nc.LastError(); err != nil && strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the broker did not refuse; last error %v", nc.LastError())
}

// quiet keeps expected errors off the test's output.
var quiet = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

func TestHostReachesOnlyItsOwnSubjects(t *testing.T) {
	r := run(t)
	h, other := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	for name, do := range map[string]func(*nats.Conn) error{
		"report_of_another": func(nc *nats.Conn) error { return nc.Publish(schema.ReportSubject(other.TransportKey()), []byte("x")) },
		"receipt":           func(nc *nats.Conn) error { return nc.Publish(schema.ReceiptSubject(h.TransportKey()), []byte("x")) },
		"jetstream_api":     func(nc *nats.Conn) error { return nc.Publish("$JS.API.STREAM.DELETE.REPORTS", nil) },
		"ack":               func(nc *nats.Conn) error { return nc.Publish("$JS.ACK.REPORTS.door.1.1.1.1.0", nil) },
		"read_receipts": func(nc *nats.Conn) error {
			_, err := nc.SubscribeSync(schema.ReceiptSubject(other.TransportKey()))
			return err
		},
		"read_reports": func(nc *nats.Conn) error { _, err := nc.SubscribeSync(schema.SubjectReportsAll); return err },
		"inbox_of_another": func(nc *nats.Conn) error {
			_, err := nc.SubscribeSync("_INBOX." + other.TransportKey() + ".x")
			return err
		},
		"read_all":   func(nc *nats.Conn) error { _, err := nc.SubscribeSync(">"); return err },
		"deliveries": func(nc *nats.Conn) error { _, err := nc.SubscribeSync("$JS.>"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			nc := h.Connect(t, r.broker, quiet)
			denied(t, nc, func() error { return do(nc) })
		})
	}
}

func TestAnonymousMayOnlyReport(t *testing.T) {
	r := run(t)
	for name, do := range map[string]func(*nats.Conn) error{
		"receipt":       func(nc *nats.Conn) error { return nc.Publish(schema.ReceiptSubject("U"), []byte("x")) },
		"jetstream_api": func(nc *nats.Conn) error { return nc.Publish("$JS.API.INFO", nil) },
		"system":        func(nc *nats.Conn) error { return nc.Publish("$SYS.REQ.SERVER.PING", nil) },
		"elsewhere":     func(nc *nats.Conn) error { return nc.Publish("patchproof.v1.other", nil) },
		"deeper":        func(nc *nats.Conn) error { return nc.Publish("patchproof.v1.reports.a.b", nil) },
		"read_reports":  func(nc *nats.Conn) error { _, err := nc.SubscribeSync(schema.SubjectReportsAll); return err },
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := r.broker.ConnectHost(quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			denied(t, nc, func() error { return do(nc) })
		})
	}
}

func TestFalseIdentitiesAreTurnedAway(t *testing.T) {
	h, other := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	broker := natstest.BrokerIn(t, t.TempDir(), "127.0.0.1:0")
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountKey, _ := account.PublicKey()
	for name, opt := range map[string]nats.Option{
		"another_hosts_signature": nats.Nkey(h.TransportKey(), other.Transport.Sign),
		"no_signature":            nats.Nkey(h.TransportKey(), func([]byte) ([]byte, error) { return nil, nil }),
		"not_a_user_key":          nats.Nkey(accountKey, account.Sign),
		"collector_user":          nats.UserInfo("collector", "guess"),
		"collector_user_empty":    nats.UserInfo("collector", ""),
		"some_user":               nats.UserInfo("root", "root"),
		"token":                   nats.Token("x"),
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := nats.Connect(broker.URL(), opt)
			if err == nil {
				nc.Close()
				t.Fatal("let in")
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("got %v, want an authorization error", err)
			}
		})
	}
}

// A reply subject makes the broker publish its acknowledgement; a host must not
// be able to aim it at JetStream's API or at another host's reports.
func TestReplySubjectReachesNothing(t *testing.T) {
	r, h, victim := run(t), natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	r.trust(t, victim)
	victims := victim.Connect(t, r.broker)
	receipts, err := victims.SubscribeSync(schema.ReceiptSubject(victim.TransportKey()))
	if err != nil {
		t.Fatal(err)
	}
	if err := victims.Flush(); err != nil {
		t.Fatal(err)
	}
	nc := h.Connect(t, r.broker, quiet)
	targets := []string{
		"$JS.API.STREAM.DELETE.REPORTS", "$JS.API.STREAM.PURGE.REPORTS", "$JS.API.CONSUMER.DELETE.REPORTS.door",
		"$JS.API.CONSUMER.PAUSE.REPORTS.door", schema.ReportSubject(victim.TransportKey()), schema.ReceiptSubject(victim.TransportKey()),
	}
	for _, target := range targets {
		for range 3 {
			if err := nc.PublishRequest(schema.ReportSubject(h.TransportKey()), target, []byte("x "+target)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the messages to be refused", func() bool {
		list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(list) >= len(targets)
	})
	list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range list {
		if q.Road != "nats/"+h.TransportKey() {
			t.Errorf("a message arrived as if from %s", q.Road)
		}
	}
	// The broker's acknowledgement can be aimed at a receipt subject. It says
	// nothing of the attacker's choice and is no receipt.
	for range 3 {
		if m, err := receipts.NextMsg(100 * time.Millisecond); err == nil {
			if got, err := envelope.OpenReceipt(m.Data, r.pinned); err == nil {
				t.Errorf("the victim was sent receipt %+v", got)
			}
		}
	}
	if _, err := r.sender(t, victim).Send(limit(t), byID(t, victim, 2)); err != nil {
		t.Errorf("the road no longer works: %v", err)
	}
}

// Oversized, empty and misaddressed messages are refused by the broker or on
// record, and the road goes on.
func TestMalformedMessages(t *testing.T) {
	r, h := run(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	anon, err := r.broker.ConnectHost(quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer anon.Close()
	if err := anon.Publish(schema.ReportSubject(h.TransportKey()), make([]byte, envelope.MaxEnvelope+64<<10)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("oversized: got %v, want ErrMaxPayload", err)
	}
	header := nats.NewMsg(schema.ReportSubject(h.TransportKey()))
	header.Header.Set("X", strings.Repeat("x", 8<<10))
	header.Data = make([]byte, envelope.MaxEnvelope-4<<10)
	js, err := jetstream.New(h.Connect(t, r.broker, quiet))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), header); err == nil {
		t.Log("a message with large headers was taken") // the door refuses its content below
	}
	raw, _ := h.Seal(t, h.Report(t, 1))
	for _, m := range []struct {
		key  string
		data []byte
	}{
		{h.TransportKey(), nil},
		{h.TransportKey(), make([]byte, envelope.MaxEnvelope)},
		{h.TransportKey(), make([]byte, envelope.MaxEnvelope+1)},
		{"nobody", []byte("x")},
		{"nobody", raw},
		{strings.Repeat("U", 3000), raw},
		{h.TransportKey()[:55] + "A", raw},
	} {
		if err := anon.Publish(schema.ReportSubject(m.key), m.data); err != nil {
			t.Fatal(err)
		}
		if err := anon.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "an empty stream", func() bool { return r.empty(t) })
	reasons := map[string]int{}
	list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range list {
		reasons[q.Reason]++
		if q.Count == 0 || len(q.Road) > 80 {
			t.Errorf("odd record %+v", q)
		}
	}
	if reasons[schema.ReasonTransportMismatch] != 1 || reasons[schema.ReasonTooLarge] != 1 || reasons[schema.ReasonMalformed] < 2 {
		t.Errorf("got reasons %v", reasons)
	}
	if _, err := r.sender(t, h).Send(limit(t), byID(t, h, 1)); err != nil {
		t.Errorf("the road no longer works: %v", err)
	}
}
