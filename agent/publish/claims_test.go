package publish_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/patchproof/patchproof/agent/internal/natstest"
	"github.com/patchproof/patchproof/agent/pin"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/schema"
)

// secured is a server's certificate, which is its own authority, and a pin of it.
func secured(t *testing.T) (*tls.Config, *pin.Authority) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	authority, err := pin.Load("", hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	chain := tls.Certificate{PrivateKey: key, Certificate: [][]byte{der, der}}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{chain}}, authority
}

// holder keeps a host's claims and counts how often new ones were asked for.
type holder struct {
	mu      sync.Mutex
	claims  string
	asked   int
	renew   func() (string, error)
	renewed chan struct{}
}

func (h *holder) Claims() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.claims, nil
}

func (h *holder) Renew(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	fresh, err := h.renew()
	if err == nil {
		h.claims = fresh
	}
	select {
	case h.renewed <- struct{}{}:
	default:
	}
	return err
}

func (h *holder) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// start runs a road for the length of the test.
func start(t *testing.T, o publish.Options) *publish.Road {
	t.Helper()
	o.Now, o.Log = time.Now, slog.New(slog.NewTextHandler(t.Output(), nil))
	if o.Window == 0 {
		o.Window = 50 * time.Millisecond
	}
	r, err := publish.New(o)
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

func TestClaimsOverTLS(t *testing.T) {
	pair, user := user(t)
	config, authority := secured(t)
	realm := natstest.RunOperator(t, config)
	collector := realm.Collector()
	claims := realm.Issue(user, time.Hour, nil)
	r := start(t, publish.Options{
		Server: realm.Server.ClientURL(), Authority: authority, Transport: pair, Claims: func() (string, error) { return claims, nil },
	})
	up(t, r)
	if err := r.Publish(t.Context(), "id", []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	if err := collector.Publish(schema.ReceiptSubject(user), []byte("receipt")); err != nil {
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
	s := r.State()
	if !s.Connected || s.Error != "" || !strings.HasPrefix(s.Server, "tls://") || time.Until(s.ClaimsExpire) > time.Hour || time.Until(s.ClaimsExpire) < 50*time.Minute {
		t.Errorf("state %+v", s)
	}
}

// Another server, at the same address, is not spoken to.
func TestAnotherAuthorityIsNotBelieved(t *testing.T) {
	pair, user := user(t)
	config, _ := secured(t)
	_, other := secured(t)
	realm := natstest.RunOperator(t, config)
	claims := realm.Issue(user, time.Hour, nil)
	r := start(t, publish.Options{
		Server: realm.Server.ClientURL(), Authority: other, Transport: pair, Claims: func() (string, error) { return claims, nil },
	})
	waitFor(t, "an error", func() bool { return r.State().Error != "" })
	if s := r.State(); s.Connected || !strings.Contains(s.Error, pin.ErrUnpinned.Error()) {
		t.Errorf("state %+v", s)
	}
}

// With a pinned authority the first byte on the wire is TLS's, also when the
// server speaks first and in the clear.
func TestNothingIsSaidInTheClear(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	first := make(chan byte, 16)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(`INFO {"server_id":"x","version":"2.15.0","nonce":"abc","max_payload":1000,"tls_required":false}` + "\r\n"))
			b := make([]byte, 1)
			if n, _ := conn.Read(b); n == 1 {
				first <- b[0]
			}
			_ = conn.Close()
		}
	}()
	pair, _ := user(t)
	_, authority := secured(t)
	r := start(t, publish.Options{Server: "nats://" + l.Addr().String(), Authority: authority, Transport: pair})
	for range 3 {
		select {
		case b := <-first:
			if b != 22 { // a TLS handshake record
				t.Fatalf("first byte %q", b)
			}
		case <-time.After(patience):
			t.Fatal("nothing was sent")
		}
	}
	if s := r.State(); s.Connected || s.Error == "" {
		t.Errorf("state %+v", s)
	}
}

// Claims that run out close the connection; before that, and at the latest then,
// new ones are asked for, and the road comes back with them.
func TestClaimsThatRunOutAreRenewed(t *testing.T) {
	pair, user := user(t)
	realm := natstest.RunOperator(t, nil)
	realm.Collector()
	h := &holder{claims: realm.Issue(user, 2*time.Second, nil), renewed: make(chan struct{}, 1)}
	h.renew = func() (string, error) { return realm.Issue(user, time.Hour, nil), nil }
	r := start(t, publish.Options{Server: realm.Server.ClientURL(), Transport: pair, Claims: h.Claims, Renew: h.Renew})
	up(t, r)
	old := r.State().ClaimsExpire
	up(t, r) // the broker closed the first connection
	if now := r.State(); !now.ClaimsExpire.After(old) {
		t.Errorf("back with claims until %s, after those until %s", now.ClaimsExpire, old)
	}
	if n := h.count(); n != 1 {
		t.Errorf("new claims were asked for %d times, want once", n)
	}
	if err := r.Publish(t.Context(), "id", []byte("sealed")); err != nil {
		t.Error(err)
	}
}

// A host without claims asks for them; one that is revoked asks too, is told no,
// says so, and does not ask in a circle.
func TestRevokedHostAsksSeldom(t *testing.T) {
	pair, user := user(t)
	realm := natstest.RunOperator(t, nil)
	realm.Collector()
	h := &holder{renewed: make(chan struct{}, 1)}
	h.renew = func() (string, error) { return realm.Issue(user, time.Hour, nil), nil }
	r := start(t, publish.Options{Server: realm.Server.ClientURL(), Transport: pair, Claims: h.Claims, Renew: h.Renew})
	up(t, r)
	if n := h.count(); n != 1 {
		t.Fatalf("asked %d times, want once", n)
	}
	h.mu.Lock()
	h.renew = func() (string, error) { return "", errors.New("this host was revoked") }
	h.mu.Unlock()
	realm.Revoke(user)
	waitFor(t, "the refusal to be told", func() bool {
		return strings.Contains(r.State().Error, "revoked") || strings.Contains(r.State().Error, "uthorization")
	})
	waitFor(t, "new claims to be asked for", func() bool { return h.count() >= 2 })
	before := h.count()
	time.Sleep(time.Second)
	if more := h.count() - before; more > 8 { // windows of 50 ms that double
		t.Errorf("asked %d times in a second", more)
	}
	if r.State().Connected {
		t.Error("connected")
	}
}

// What the broker denies shows in the state.
func TestDenialsShow(t *testing.T) {
	pair, user := user(t)
	realm := natstest.RunOperator(t, nil)
	realm.Collector()
	claims := realm.Issue(user, time.Hour, func(c *jwt.UserClaims) { c.Pub.Allow = jwt.StringList{"elsewhere"} })
	r := start(t, publish.Options{Server: realm.Server.ClientURL(), Transport: pair, Claims: func() (string, error) { return claims, nil }})
	up(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := r.Publish(ctx, "id", []byte("sealed")); err == nil {
		t.Error("published")
	}
	waitFor(t, "the denial to show", func() bool { return strings.Contains(r.State().Error, "Permissions Violation") })
	if !r.State().Connected {
		t.Error("a denial is no lost connection")
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}
