package pin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchproof/patchproof/agent/pin"
)

// party is a certificate with its key.
type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a certificate by an authority, or by itself.
func sign(t *testing.T, by *party, change func(*x509.Certificate)) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	change(template)
	if by == nil {
		by = &party{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert, key}
}

func authority(t *testing.T) *party {
	t.Helper()
	return sign(t, nil, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
}

func server(t *testing.T, by *party, names ...string) *party {
	t.Helper()
	return sign(t, by, func(c *x509.Certificate) { named(c, names) })
}

func named(c *x509.Certificate, names []string) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
}

// serve answers TLS with a chain.
func serve(t *testing.T, version uint16, leaf *party, chain ...*party) string {
	t.Helper()
	cert := tls.Certificate{PrivateKey: leaf.key, Certificate: [][]byte{leaf.cert.Raw}}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.cert.Raw)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, MaxVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return l.Addr().String()
}

func file(t *testing.T, parties ...*party) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	var text []byte
	for _, p := range parties {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sum(p *party) string {
	s := sha256.Sum256(p.cert.Raw)
	return hex.EncodeToString(s[:])
}

// connect dials an address by the name it is to have.
func connect(t *testing.T, a *pin.Authority, addr, name string) error {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, port, _ := net.SplitHostPort(addr)
	secure, err := a.Client(t.Context(), conn, net.JoinHostPort(name, port))
	if err != nil {
		return err
	}
	if _, err := secure.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(secure, make([]byte, 1))
	return err
}

func TestOnlyThePinnedAuthorityIsBelieved(t *testing.T) {
	ca, other := authority(t), authority(t)
	good := server(t, ca, "collector.example", "127.0.0.1")
	middle := sign(t, ca, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
	below := server(t, middle, "collector.example")
	expired := sign(t, ca, func(c *x509.Certificate) {
		c.NotAfter = time.Now().Add(-time.Minute)
		named(c, []string{"collector.example"})
	})
	notCA := server(t, nil, "collector.example")
	for name, c := range map[string]struct {
		file    string
		sum     string
		version uint16
		chain   []*party // the first is the server
		host    string
		want    bool
	}{
		"by_file":              {file(t, ca), "", tls.VersionTLS13, []*party{good}, "collector.example", true},
		"by_sum":               {"", sum(ca), tls.VersionTLS13, []*party{good, ca}, "collector.example", true},
		"by_both":              {file(t, ca, other), sum(ca), tls.VersionTLS13, []*party{good}, "collector.example", true},
		"by_address":           {file(t, ca), "", tls.VersionTLS13, []*party{good}, "127.0.0.1", true},
		"by_sum_and_address":   {"", sum(ca), tls.VersionTLS13, []*party{good, ca}, "127.0.0.1", true},
		"one_of_two_in_file":   {file(t, other, ca), "", tls.VersionTLS13, []*party{good}, "collector.example", true},
		"through_intermediate": {"", sum(ca), tls.VersionTLS13, []*party{below, middle, ca}, "collector.example", true},

		"other_authority":        {file(t, other), "", tls.VersionTLS13, []*party{good}, "collector.example", false},
		"other_authority_by_sum": {"", sum(other), tls.VersionTLS13, []*party{good, ca}, "collector.example", false},
		"pinned_but_not_signing": {"", sum(ca), tls.VersionTLS13, []*party{server(t, other, "collector.example"), ca}, "collector.example", false},
		"authority_not_sent":     {"", sum(ca), tls.VersionTLS13, []*party{good}, "collector.example", false},
		"both_and_other_signs":   {file(t, ca, other), sum(ca), tls.VersionTLS13, []*party{server(t, other, "collector.example")}, "collector.example", false},
		"other_name":             {file(t, ca), "", tls.VersionTLS13, []*party{good}, "elsewhere.example", false},
		"other_name_by_sum":      {"", sum(ca), tls.VersionTLS13, []*party{good, ca}, "elsewhere.example", false},
		"other_address_by_sum":   {"", sum(ca), tls.VersionTLS13, []*party{good, ca}, "127.0.0.2", false},
		"expired":                {file(t, ca), "", tls.VersionTLS13, []*party{expired}, "collector.example", false},
		"leaf_pinned":            {"", sum(notCA), tls.VersionTLS13, []*party{notCA, notCA}, "collector.example", false},
		"old_tls":                {file(t, ca), "", tls.VersionTLS12, []*party{good}, "collector.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := pin.Load(c.file, c.sum)
			if err != nil {
				t.Fatal(err)
			}
			err = connect(t, a, serve(t, c.version, c.chain[0], c.chain[1:]...), c.host)
			if (err == nil) != c.want {
				t.Errorf("got %v, want connected %t", err, c.want)
			}
			if err != nil && c.version == tls.VersionTLS13 && !errors.Is(err, pin.ErrUnpinned) {
				t.Errorf("got %v, want ErrUnpinned", err)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	ca, other := authority(t), authority(t)
	empty, key := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ file, sum string }{
		"no_file": {"/nowhere/ca.pem", ""}, "empty": {empty, ""}, "a_key": {key, ""}, "a_server": {file(t, server(t, ca, "x")), ""},
		"another_sum": {file(t, ca), sum(other)}, "no_sum": {"", "abc"}, "upper_case": {"", "AB" + sum(ca)[2:]},
	} {
		if _, err := pin.Load(c.file, c.sum); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	if a, err := pin.Load("", ""); a != nil || err != nil {
		t.Errorf("nothing pinned gives %v, %v", a, err)
	}
}
