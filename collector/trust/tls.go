package trust

import (
	"bytes"
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
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// The files of a TLS directory.
const (
	CAFile        = "ca.pem"
	caKeyFile     = "ca.key"
	serverFile    = "server.pem"
	serverKeyFile = "server.key"
)

const (
	// caLife is how long an authority of our own holds, certLife a certificate of
	// it, which is replaced when a third of that is left.
	caLife   = 10 * 365 * 24 * time.Hour
	certLife = 90 * 24 * time.Hour
	// backdate is how far behind a host's clock may be on the first day.
	backdate = 24 * time.Hour
	// lookAgain is how often given files are looked at for a newer certificate.
	lookAgain = time.Minute
	// retry is the wait after a certificate could not be made.
	retry = time.Minute
)

// ErrGiven says that a certificate was asked for of an authority that is not ours.
var ErrGiven = errors.New("certificates are from files: only their authority can issue another")

// TLSOptions say what a collector shows to those who connect.
type TLSOptions struct {
	// Dir holds the collector's own authority and certificate, made on first use.
	Dir string
	// Names are the DNS names and IP addresses hosts connect to. localhost and its
	// addresses are always there. Without any there is the authority alone, for who
	// listens nowhere.
	Names []string
	// Cert, Key and CA are PEM files that are used instead of our own: the
	// certificate with its chain, its key, and the authority hosts pin.
	Cert, Key, CA string
	Now           func() time.Time
}

// TLS is a server's certificate, kept fresh, and the authority that hosts pin.
// It is safe for concurrent use.
type TLS struct {
	o  TLSOptions
	ca *x509.Certificate
	// caKey is nil when files are given.
	caKey *ecdsa.PrivateKey

	mu sync.Mutex
	// cert is nil when there is the authority alone.
	cert *tls.Certificate
	// look is when the certificate is to be looked at again; failure is why the
	// last look did not help.
	look    time.Time
	failure error
}

// OpenTLS reads the certificate and its authority, or makes them.
func OpenTLS(o TLSOptions) (*TLS, error) {
	t := &TLS{o: o}
	var err error
	if t.Given() {
		err = t.openGiven()
	} else {
		err = t.openOwn()
	}
	if err != nil {
		return nil, fmt.Errorf("open TLS certificate: %w", err)
	}
	return t, nil
}

// Given reports whether the certificate is from files, and its authority not ours.
func (t *TLS) Given() bool { return t.o.Cert != "" }

// Config is for a listener: TLS 1.3 and nothing older.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := t.certificate(); c != nil {
				return c, nil
			}
			return nil, errors.New("there is no certificate, only its authority")
		},
	}
}

// Trusting is for a client on this side that believes the authority and no other.
func (t *TLS) Trusting() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(t.ca)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
}

// CA is the authority as PEM, for agents' configuration.
func (t *TLS) CA() []byte { return pemOf(t.ca.Raw) }

// Pin is the authority's SHA-256 in hex, which agents may pin instead of the file.
func (t *TLS) Pin() string {
	sum := sha256.Sum256(t.ca.Raw)
	return hex.EncodeToString(sum[:])
}

// Expires is when the certificate and its authority end; zero for a certificate
// that there is not.
func (t *TLS) Expires() (certificate, authority time.Time) {
	if c := t.certificate(); c != nil {
		certificate = c.Leaf.NotAfter
	}
	return certificate, t.ca.NotAfter
}

// Err is why the certificate could not be renewed, nil when it needs not be.
func (t *TLS) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cert != nil && t.failure == nil && t.o.Now().After(t.cert.Leaf.NotAfter) {
		return errors.New("the TLS certificate has expired")
	}
	return t.failure
}

// certificate returns the certificate to show now. What cannot be renewed is
// shown as long as there is nothing better; Err says why.
func (t *TLS) certificate() *tls.Certificate {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.o.Now()
	if t.cert == nil || now.Before(t.look) {
		return t.cert
	}
	if t.Given() {
		t.look = now.Add(lookAgain)
		fresh, err := t.readGiven()
		if t.failure = err; err == nil {
			t.cert = fresh
		}
		return t.cert
	}
	if fresh, err := t.issue(now); err != nil {
		t.failure, t.look = fmt.Errorf("renew the TLS certificate: %w", err), now.Add(retry)
	} else {
		t.use(fresh)
	}
	return t.cert
}

// use takes a certificate of our own into use.
func (t *TLS) use(c *tls.Certificate) {
	t.cert, t.failure = c, nil
	t.look = c.Leaf.NotAfter.Add(-certLife / 3)
}

// openOwn reads or makes an authority of our own, and a certificate of it for
// the names.
func (t *TLS) openOwn() error {
	if err := OpenDir(t.o.Dir); err != nil {
		return err
	}
	if err := t.openCA(); err != nil || len(t.o.Names) == 0 {
		return err
	}
	now := t.o.Now()
	kept, err := t.readOwn()
	if err == nil && t.fits(kept.Leaf) && now.Before(kept.Leaf.NotAfter.Add(-certLife/3)) && now.After(kept.Leaf.NotBefore) {
		t.use(kept)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := t.issue(now)
	if err != nil {
		return err
	}
	t.use(fresh)
	return nil
}

// openCA makes the key first: an authority without its key would be of no use,
// a key without a certificate gets another one.
func (t *TLS) openCA() error {
	keyPEM, err := readOrMake(filepath.Join(t.o.Dir, caKeyFile), newECKey)
	if err != nil {
		return err
	}
	if t.caKey, err = parseECKey(keyPEM); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(t.o.Dir, caKeyFile), err)
	}
	path := filepath.Join(t.o.Dir, CAFile)
	text, err := readOrMake(path, t.newCA)
	if err != nil {
		return err
	}
	if t.ca, err = parseCA(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !t.caKey.PublicKey.Equal(t.ca.PublicKey) {
		return fmt.Errorf("%s is not the certificate of the key beside it", path)
	}
	return nil
}

func (t *TLS) newCA() ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := t.o.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "patchproof collector " + serial.Text(16)[:8]},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &t.caKey.PublicKey, t.caKey)
	return pemOf(der), err
}

// Issue makes a certificate of the collector's own authority for another server,
// which may also be a client of its like, and returns it with its chain and key,
// PEM. ErrGiven when the authority is not ours.
func (t *TLS) Issue(names []string, life time.Duration) (cert, key []byte, err error) {
	if t.Given() {
		return nil, nil, ErrGiven
	}
	return t.sign(names, life, t.o.Now(), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// sign makes a certificate with a new key.
func (t *TLS) sign(names []string, life time.Duration, now time.Time, use ...x509.ExtKeyUsage) (certPEM, keyPEM []byte, err error) {
	if keyPEM, err = newECKey(); err != nil {
		return nil, nil, err
	}
	key, err := parseECKey(keyPEM)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "patchproof collector"},
		NotBefore: now.Add(-backdate), NotAfter: earlier(now.Add(life), t.ca.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: use,
	}
	template.DNSNames, template.IPAddresses = split(names)
	der, err := x509.CreateCertificate(rand.Reader, template, t.ca, &key.PublicKey, t.caKey)
	if err != nil {
		return nil, nil, err
	}
	return append(pemOf(der), t.CA()...), keyPEM, nil
}

// issue makes our own certificate, on disk before it is used.
func (t *TLS) issue(now time.Time) (*tls.Certificate, error) {
	certPEM, keyPEM, err := t.sign(t.o.Names, certLife, now, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	// The key goes first: a certificate beside another key is found out and made anew.
	if err := ReplacePrivate(filepath.Join(t.o.Dir, serverKeyFile), keyPEM); err != nil {
		return nil, err
	}
	if err := ReplacePrivate(filepath.Join(t.o.Dir, serverFile), certPEM); err != nil {
		return nil, err
	}
	return t.readOwn()
}

// readOwn reads the certificate of our own; fs.ErrNotExist when there is none, or
// when a write was cut short.
func (t *TLS) readOwn() (*tls.Certificate, error) {
	certPEM, err := ReadPrivate(filepath.Join(t.o.Dir, serverFile))
	if err != nil {
		return nil, err
	}
	keyPEM, err := ReadPrivate(filepath.Join(t.o.Dir, serverKeyFile))
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil || t.verify(&c) != nil {
		return nil, fs.ErrNotExist
	}
	return &c, nil
}

// fits reports whether a certificate is for the names that are asked for.
func (t *TLS) fits(c *x509.Certificate) bool {
	names, ips := split(t.o.Names)
	return slices.Equal(names, c.DNSNames) && slices.EqualFunc(ips, c.IPAddresses, net.IP.Equal)
}

// verify holds a certificate against the authority.
func (t *TLS) verify(c *tls.Certificate) error {
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(t.ca)
	for _, der := range c.Certificate[1:] {
		if m, err := x509.ParseCertificate(der); err == nil {
			middle.AddCert(m)
		}
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: middle, CurrentTime: t.o.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// openGiven reads the files an operator names.
func (t *TLS) openGiven() error {
	if t.o.Key == "" || t.o.CA == "" {
		return errors.New("a certificate needs its key and its authority (cert, key and ca)")
	}
	text, err := os.ReadFile(t.o.CA)
	if err != nil {
		return err
	}
	if t.ca, err = parseCA(text); err != nil {
		return fmt.Errorf("%s: %w", t.o.CA, err)
	}
	t.look = t.o.Now().Add(lookAgain)
	t.cert, err = t.readGiven()
	return err
}

// readGiven reads the given files as they are now. The authority goes along in
// the chain, for agents that know it by its SHA-256.
func (t *TLS) readGiven() (*tls.Certificate, error) {
	keyPEM, err := ReadPrivate(t.o.Key)
	if err != nil {
		return nil, err
	}
	certPEM, err := os.ReadFile(t.o.Cert)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.o.Cert, err)
	}
	if err := t.verify(&c); err != nil {
		return nil, fmt.Errorf("%s under %s: %w", t.o.Cert, t.o.CA, err)
	}
	if !slices.ContainsFunc(c.Certificate, func(der []byte) bool { return bytes.Equal(der, t.ca.Raw) }) {
		c.Certificate = append(c.Certificate, t.ca.Raw)
	}
	return &c, nil
}

// split sorts names into DNS names and addresses, with those of this machine.
func split(names []string) (dns []string, ips []net.IP) {
	dns, ips = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, n := range names {
		if ip := net.ParseIP(n); ip == nil {
			if !slices.Contains(dns, n) {
				dns = append(dns, n)
			}
		} else if !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	return dns, ips
}

func parseCA(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("holds no PEM block CERTIFICATE")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !c.IsCA || !c.BasicConstraintsValid {
		return nil, errors.New("is not the certificate of an authority")
	}
	return c, nil
}

func newECKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseECKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("holds no PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("holds a %T, an ECDSA key is needed", parsed)
	}
	return key, nil
}

func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always of the same length
	return new(big.Int).SetBytes(b[:]), nil
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
