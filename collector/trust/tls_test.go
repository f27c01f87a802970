package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/trust"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func openTLS(t *testing.T, o trust.TLSOptions) *trust.TLS {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	c, err := trust.OpenTLS(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dial makes one connection to a listener with the certificate.
func dial(t *testing.T, c *trust.TLS, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState(), nil
}

func TestCertificateIsForTheNames(t *testing.T) {
	dir := t.TempDir() + "/tls"
	c := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"collector.example", "192.0.2.7"}})
	for _, name := range []string{"collector.example", "192.0.2.7", "localhost", "127.0.0.1", "::1"} {
		client := c.Trusting()
		client.ServerName = name
		if s, err := dial(t, c, client); err != nil || s.Version != tls.VersionTLS13 {
			t.Errorf("%s: version %x, %v", name, s.Version, err)
		}
	}
	other := c.Trusting()
	other.ServerName = "elsewhere.example"
	if _, err := dial(t, c, other); err == nil {
		t.Error("the certificate is for any name")
	}
	if _, err := dial(t, c, &tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("the system's roots believe it")
	}
	old := c.Trusting()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := dial(t, c, old); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
	for _, name := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestAuthorityStays(t *testing.T) {
	dir := t.TempDir() + "/tls"
	first := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}})
	if again := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}}); again.Pin() != first.Pin() || !leaf(t, again).Equal(leaf(t, first)) {
		t.Error("authority or certificate changed between two opens")
	}
	renamed := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"b.example"}})
	if renamed.Pin() != first.Pin() || leaf(t, renamed).VerifyHostname("b.example") != nil || leaf(t, renamed).VerifyHostname("a.example") == nil {
		t.Error("new names want a new certificate of the same authority")
	}
}

func leaf(t *testing.T, c *trust.TLS) *x509.Certificate {
	t.Helper()
	cert, err := c.Config().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

// The certificate is replaced before it ends, while connections come; so is one
// whose end passed while nothing ran.
func TestCertificateIsRenewed(t *testing.T) {
	dir, at := t.TempDir()+"/tls", &clock{time.Now()}
	c := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}, Now: at.now})
	first := leaf(t, c)
	at.at = first.NotAfter.Add(-40 * 24 * time.Hour)
	if !leaf(t, c).Equal(first) {
		t.Error("replaced too early")
	}
	at.at = first.NotAfter.Add(-29 * 24 * time.Hour)
	second := leaf(t, c)
	if second.Equal(first) || !second.NotAfter.After(first.NotAfter) || second.NotBefore.After(at.at) {
		t.Errorf("not replaced with 29 days left: until %s", second.NotAfter)
	}
	if kept := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}, Now: at.now}); !leaf(t, kept).Equal(second) {
		t.Error("the new certificate was not kept")
	}
	at.at = at.at.Add(365 * 24 * time.Hour)
	if late := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}, Now: at.now}); leaf(t, late).NotAfter.Before(at.at) {
		t.Error("an expired certificate is shown")
	}
}

// A disk that takes no new certificate leaves the old one in use, and says so.
func TestRenewalThatFailsIsTold(t *testing.T) {
	dir, at := t.TempDir()+"/tls", &clock{time.Now()}
	c := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}, Now: at.now})
	first := leaf(t, c)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	at.at = first.NotAfter.Add(-24 * time.Hour)
	if !leaf(t, c).Equal(first) || c.Err() == nil {
		t.Errorf("got %v, want the old certificate and an error", c.Err())
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	at.at = at.at.Add(2 * time.Minute)
	if leaf(t, c).Equal(first) || c.Err() != nil {
		t.Errorf("got %v, want a new certificate and no error", c.Err())
	}
}

// A write that was cut short, and another pair's half, are made anew; another
// authority's half is not.
func TestHalfWrittenCertificateIsMadeAnew(t *testing.T) {
	dir, other := t.TempDir()+"/tls", t.TempDir()+"/tls"
	first := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}})
	openTLS(t, trust.TLSOptions{Dir: other, Names: []string{"a.example"}})
	move := func(name string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	move("server.key")
	if c := openTLS(t, trust.TLSOptions{Dir: dir, Names: []string{"a.example"}}); c.Pin() != first.Pin() {
		t.Error("another authority")
	}
	move("ca.key")
	if _, err := trust.OpenTLS(trust.TLSOptions{Dir: dir, Names: []string{"a.example"}, Now: time.Now}); err == nil {
		t.Error("opened with another authority's key")
	}
}

func TestGivenFiles(t *testing.T) {
	own := t.TempDir() + "/own"
	mine := openTLS(t, trust.TLSOptions{Dir: own, Names: []string{"a.example"}})
	o := trust.TLSOptions{
		Cert: filepath.Join(own, "server.pem"), Key: filepath.Join(own, "server.key"), CA: filepath.Join(own, "ca.pem"),
	}
	at := &clock{time.Now()}
	o.Now = at.now
	c := openTLS(t, o)
	client := mine.Trusting()
	client.ServerName = "a.example"
	s, err := dial(t, c, client)
	if err != nil {
		t.Fatal(err)
	}
	if last := s.PeerCertificates[len(s.PeerCertificates)-1]; len(s.PeerCertificates) != 2 || !last.IsCA {
		t.Error("the chain does not bring the authority along")
	}
	// A newer certificate in the same place is taken up without a restart.
	openTLS(t, trust.TLSOptions{Dir: own, Names: []string{"b.example"}})
	at.at = at.at.Add(2 * time.Minute)
	if leaf(t, c).VerifyHostname("b.example") != nil || c.Err() != nil {
		t.Errorf("the new file is not used: %v", c.Err())
	}
	stranger := t.TempDir() + "/other"
	openTLS(t, trust.TLSOptions{Dir: stranger, Names: []string{"a.example"}})
	for name, change := range map[string]func(*trust.TLSOptions){
		"no_key":            func(o *trust.TLSOptions) { o.Key = "" },
		"no_authority":      func(o *trust.TLSOptions) { o.CA = "" },
		"another_authority": func(o *trust.TLSOptions) { o.CA = filepath.Join(stranger, "ca.pem") },
		"another_key":       func(o *trust.TLSOptions) { o.Key = filepath.Join(stranger, "server.key") },
		"not_an_authority":  func(o *trust.TLSOptions) { o.CA = write(t, leafPEM(t, mine)) },
		"gone":              func(o *trust.TLSOptions) { o.Cert += ".not" },
	} {
		bad := o
		change(&bad)
		if _, err := trust.OpenTLS(bad); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, _, err := c.Issue([]string{"x.example"}, time.Hour); !errors.Is(err, trust.ErrGiven) {
		t.Errorf("got %v, want ErrGiven", err)
	}
	alone := openTLS(t, trust.TLSOptions{Dir: t.TempDir() + "/x"})
	if until, authority := alone.Expires(); !until.IsZero() || authority.IsZero() || alone.Err() != nil {
		t.Errorf("an authority alone: until %s and %s, %v", until, authority, alone.Err())
	}
	if _, err := dial(t, alone, alone.Trusting()); err == nil {
		t.Error("an authority alone showed a certificate")
	}
	if text := string(c.CA()); !strings.Contains(text, "BEGIN CERTIFICATE") || strings.Contains(text, "PRIVATE") {
		t.Errorf("CA gives %q", text)
	}
}

func leafPEM(t *testing.T, c *trust.TLS) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf(t, c).Raw})
}

func write(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
