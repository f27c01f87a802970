package natsin_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
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
			nc, err := r.broker.ConnectLocal(quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			denied(t, nc, func() error { return do(nc) })
		})
	}
}

// forge signs claims of a host with the key that signs hosts, as who has stolen it
// could.
func forge(t *testing.T, b *natstest.Server, h *natstest.Host, change func(*jwt.UserClaims)) string {
	t.Helper()
	seed, err := os.ReadFile(filepath.Join(b.AuthorityDir, string(broker.Hosts)+".nk"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		t.Fatal(err)
	}
	c := jwt.NewUserClaims(h.TransportKey())
	c.SetScoped(true)
	c.IssuerAccount = b.Authority.ID(broker.Hosts)
	change(c)
	text, err := c.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A broker without guests lets nobody in who does not show claims of the
// authority and sign the nonce with the key they name.
func TestFalseIdentitiesAreTurnedAway(t *testing.T) {
	h, other := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	b := natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	elsewhere := natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir()})
	good, err := b.Authority.Issue(h.TransportKey(), h.Name(), 0)
	if err != nil {
		t.Fatal(err)
	}
	as := func(claims string, sign func([]byte) ([]byte, error)) nats.Option {
		return nats.UserJWT(func() (string, error) { return claims, nil }, sign)
	}
	guest, err := b.Authority.User(broker.Guests)
	if err != nil {
		t.Fatal(err)
	}
	for name, opt := range map[string]nats.Option{
		"nothing":                 nats.Name("x"),
		"key_without_claims":      nats.Nkey(h.TransportKey(), h.Transport.Sign),
		"another_hosts_claims":    as(good, other.Transport.Sign),
		"no_signature":            as(good, func([]byte) ([]byte, error) { return nil, nil }),
		"of_another_authority":    h.Claims(t, elsewhere),
		"guest_where_there_is_no": as(guest.JWT, guest.Sign),
		"expired":                 as(forge(t, b, h, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Minute).Unix() }), h.Transport.Sign),
		"not_yet":                 as(forge(t, b, h, func(c *jwt.UserClaims) { c.NotBefore = time.Now().Add(time.Hour).Unix() }), h.Transport.Sign),
		"with_permissions":        as(forge(t, b, h, func(c *jwt.UserClaims) { c.Pub.Allow.Add(">") }), h.Transport.Sign),
		"bearer":                  as(forge(t, b, h, func(c *jwt.UserClaims) { c.BearerToken = true }), other.Transport.Sign),
		"of_the_streams_account":  as(forge(t, b, h, func(c *jwt.UserClaims) { c.IssuerAccount = b.Authority.ID(broker.Collector) }), h.Transport.Sign),
		"of_the_system_account":   as(forge(t, b, h, func(c *jwt.UserClaims) { c.IssuerAccount = b.Authority.ID(broker.System) }), h.Transport.Sign),
		"changed":                 as(good[:len(good)/2]+"A"+good[len(good)/2+1:], h.Transport.Sign),
		"user_and_password":       nats.UserInfo("collector", ""),
		"token":                   nats.Token("x"),
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := nats.Connect(b.URL(), opt)
			if err == nil {
				nc.Close()
				t.Fatal("let in")
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("got %v, want an authorization error", err)
			}
		})
	}
	h.Connect(t, b) // who is who it says is let in
}

// Revocation cuts the connection at once and keeps the host out; claims that are
// issued later let it in again.
func TestRevocationCutsTheConnection(t *testing.T) {
	b := natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	h, bystander := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	claims, closed := h.Claims(t, b), make(chan time.Time, 1)
	nc, err := nats.Connect(b.URL(), claims, h.Inbox(), quiet, nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { closed <- time.Now() }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	other := bystander.Connect(t, b)
	began := time.Now()
	if err := b.Authority.Revoke(t.Context(), h.TransportKey()); err != nil {
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
	if back, err := nats.Connect(b.URL(), claims); !errors.Is(err, nats.ErrAuthorization) {
		back.Close()
		t.Errorf("the same claims again: %v, want an authorization error", err)
	}
	if err := other.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("another host suffered: %v", err)
	}
	time.Sleep(time.Until(began.Truncate(time.Second).Add(1100 * time.Millisecond))) // claims are dated by the second
	h.Connect(t, b)
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
	anon, err := r.broker.ConnectLocal(quiet)
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
