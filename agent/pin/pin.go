// Package pin makes TLS connections that believe one certificate authority: the
// one the operator pinned, as a file or by its SHA-256.
//
// Invariants:
//   - The system's roots are never asked; TLS is 1.3, nothing older.
//   - The name or address that was dialled must be in the certificate, whichever
//     way the authority is pinned.
//   - An authority known by its SHA-256 must come with the server's chain.
package pin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
)

// ErrUnpinned says that a server showed no certificate of the pinned authority.
var ErrUnpinned = errors.New("the server shows no certificate of the pinned authority")

// maxFile bounds the file of authorities.
const maxFile = 1 << 20

// Authority is whom connections believe.
type Authority struct {
	roots []*x509.Certificate
	sum   string
}

// Load reads authorities from a PEM file, and takes one known by its SHA-256 in
// hex. Either may be empty; with both, the file must hold the one of that
// SHA-256, and no other is believed. It returns nil when both are empty.
func Load(file, sum string) (*Authority, error) {
	if file == "" && sum == "" {
		return nil, nil //nolint:nilnil // nothing pinned is a state of its own
	}
	if sum != "" {
		if err := CheckSum(sum); err != nil {
			return nil, err
		}
	}
	a := &Authority{sum: sum}
	if file == "" {
		return a, nil
	}
	roots, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", file, err)
	}
	if sum != "" {
		roots = slices.DeleteFunc(roots, func(c *x509.Certificate) bool { return sumOf(c) != sum })
		if len(roots) == 0 {
			return nil, fmt.Errorf("read authority %s: none has SHA-256 %s", file, sum)
		}
	}
	a.roots = roots
	return a, nil
}

// CheckSum returns an error unless s has the form of a SHA-256 in lowercase hex.
func CheckSum(s string) error {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != s {
		return fmt.Errorf("%.80q is not a SHA-256 in lowercase hex", s)
	}
	return nil
}

func read(file string) ([]*x509.Certificate, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("has more than %d bytes", maxFile)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a PEM block %.40q, only CERTIFICATE belongs there", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, fmt.Errorf("%.80q is not the certificate of an authority", c.Subject)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM block CERTIFICATE")
	}
	return out, nil
}

func sumOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Config is for connections to one host, a name or an address.
func (a *Authority) Config(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// The library would ask the system's roots, and knows no pin by SHA-256:
		// VerifyConnection does all that it would do.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection:   func(s tls.ConnectionState) error { return a.verify(s, host) },
	}
}

func (a *Authority) verify(s tls.ConnectionState, host string) error {
	if len(s.PeerCertificates) == 0 {
		return ErrUnpinned
	}
	roots, middle, known := x509.NewCertPool(), x509.NewCertPool(), len(a.roots)
	for _, c := range a.roots {
		roots.AddCert(c)
	}
	for _, c := range s.PeerCertificates[1:] {
		if a.roots == nil && c.IsCA && sumOf(c) == a.sum {
			roots.AddCert(c)
			known++
		} else {
			middle.AddCert(c)
		}
	}
	if known == 0 {
		return ErrUnpinned
	}
	if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, DNSName: host}); err != nil {
		return fmt.Errorf("%w: %w", ErrUnpinned, err)
	}
	return nil
}

// Client makes a connection to an address ("host:port") and finishes the TLS
// handshake on it.
func (a *Authority) Client(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	secure := tls.Client(conn, a.Config(host))
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s: %w", address, err), conn.Close())
	}
	return secure, nil
}
