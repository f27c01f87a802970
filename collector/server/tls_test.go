package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// Beyond loopback the broker speaks TLS under an authority that the API names, and
// lets in who has claims; the same report earns the same receipt there.
func TestBeyondLoopback(t *testing.T) {
	o := options(dataDir(t))
	o.NATSListen = "0.0.0.0:0"
	o.TLS = &trust.TLSOptions{Names: []string{"collector.example"}}
	r, h := startWith(t, o), natstest.NewHost(t, 1)
	r.trust(t, schema.KeyID(h.Public()))
	if status, text := r.get(t, "/readyz"); status != http.StatusOK || !strings.HasSuffix(text, "tls ok\n") {
		t.Errorf("readyz: %d %q", status, text)
	}
	var key api.KeyInfo
	if _, text := r.get(t, "/v1/key"); json.Unmarshal([]byte(text), &key) != nil || len(key.CASHA256) != 64 {
		t.Fatalf("key: %s", text)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(key.CA)) {
		t.Fatalf("key: no certificate in %q", key.CA)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.NATS, "tls://"))
	if err != nil {
		t.Fatalf("broker at %s: %v", r.NATS, err)
	}
	authority, err := broker.Open(filepath.Join(r.dir, "keys", "broker"), "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := authority.Issue(h.TransportKey(), h.Name(), 0)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(more ...nats.Option) (*nats.Conn, error) {
		return nats.Connect("tls://127.0.0.1:"+port, append(more, h.Inbox(), nats.TLSHandshakeFirst(),
			nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "collector.example"}))...)
	}
	if nc, err := connect(); !errors.Is(err, nats.ErrAuthorization) {
		nc.Close()
		t.Errorf("a guest: %v, want an authorization error", err)
	}
	if _, text := r.get(t, "/metrics"); !strings.Contains(text, "patchproof_broker_denials_total{kind=\"authentication\"} 1") {
		t.Error("the guest's refusal is not counted")
	}
	if nc, err := nats.Connect("nats://127.0.0.1:"+port, nats.Timeout(500*time.Millisecond)); err == nil {
		nc.Close()
		t.Error("let in without TLS")
	}
	nc, err := connect(nats.UserJWT(func() (string, error) { return claims, nil }, h.Transport.Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	pinned, err := schema.ParseKeyID(key.ReceiptKey)
	if err != nil {
		t.Fatal(err)
	}
	s := &natstest.Sender{Conn: nc, Host: h, Pinned: pinned, Retry: 300 * time.Millisecond}
	if got, err := s.Send(limit(t, 20*time.Second), chain(t, h, 3)); err != nil || len(got) != 3 {
		t.Errorf("got %d receipts, %v; want 3", len(got), err)
	}
}
