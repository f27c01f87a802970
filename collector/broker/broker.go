// Package broker keeps who may do what at the NATS broker: an operator, its
// accounts, and the users that hosts and the collector connect as, all as signed
// claims (JWT) that any nats-server checks without asking the collector.
//
// The operator and each account have two keys. The identity key says who they
// are; it signs nothing but the first claims and lies in a directory of its own,
// which may be taken away. The signing key does the daily work and is replaced by
// a new one with the identity keys.
//
// Invariants:
//   - A host's claims carry no permissions. They are signed with a scoped key,
//     whose template the broker applies: publish to the host's own report subject,
//     read its own receipts and its own inbox, and nothing else.
//   - The stream lives in an account that hosts are not in, and no third account can
//     import what the two share.
//   - A revocation is on disk before it is anywhere else, and stays until the last
//     claims it is about have expired.
//   - Secrets lie in files that only their owner can read, and are never logged.
//
// Specification: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// MaxMessage is the largest message the broker takes: an envelope and the room
// for NATS headers beside it.
const MaxMessage = envelope.MaxEnvelope + MaxHeader

// MaxHeader is the room a message has for NATS headers, in bytes.
const MaxHeader = 4 << 10

// How long a host's claims hold.
const (
	DefaultTTL = 30 * 24 * time.Hour
	MaxTTL     = 90 * 24 * time.Hour
)

// Errors of this package.
var (
	// ErrExists: the directory holds an authority already.
	ErrExists = errors.New("the broker's keys exist already")
	// ErrNotLive: a revocation is on record, and the broker has not been told. It
	// is told again by Push.
	ErrNotLive = errors.New("revoked on record, but the broker was not reached")
)

// Account is one of the broker's accounts.
type Account string

// The accounts.
const (
	// System is where account claims are pushed and denials are told.
	System Account = "system"
	// Collector holds the stream of reports.
	Collector Account = "collector"
	// Hosts is where enrolled hosts connect.
	Hosts Account = "hosts"
	// Guests is for programs of this machine while the embedded broker listens on
	// loopback without TLS. No other broker knows it.
	Guests Account = "guests"
)

var accounts = []Account{System, Collector, Hosts, Guests}

// Authority signs claims. It is safe for concurrent use.
type Authority struct {
	dir         string
	now         func() time.Time
	operator    nkeys.KeyPair // signing key
	operatorJWT string
	signing     map[Account]nkeys.KeyPair
	ids         map[Account]string

	mu     sync.Mutex // guards what follows
	claims map[Account]string
	push   func(ctx context.Context, account, claims string) error
}

// Open reads the authority in dir, and makes it on first use. Identity keys are
// made in, or read from, the directory offline; it is not looked at when dir is
// there.
func Open(dir, offline string, now func() time.Time) (*Authority, error) {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		if err := Init(dir, offline); err != nil && !errors.Is(err, ErrExists) {
			return nil, err
		}
	}
	a := &Authority{dir: dir, now: now, signing: map[Account]nkeys.KeyPair{}, ids: map[Account]string{}, claims: map[Account]string{}}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("open the broker's keys in %s: %w", dir, err)
	}
	return a, nil
}

// OperatorJWT is the operator's claims, which a broker trusts by configuration.
func (a *Authority) OperatorJWT() string { return a.operatorJWT }

// ID is an account's public key.
func (a *Authority) ID(n Account) string { return a.ids[n] }

// AccountJWT is an account's claims as they stand.
func (a *Authority) AccountJWT(n Account) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.claims[n]
}

// Issue signs the claims with which the holder of a transport key connects as a
// host, for a time of at most MaxTTL; zero is DefaultTTL. The name is for people
// who look at the broker. Claims issued in the second of the key's revocation or
// before it are void.
func (a *Authority) Issue(transportKey, name string, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	if ttl < 0 || ttl > MaxTTL {
		return "", fmt.Errorf("issue claims: %s is not between 0 and %s", ttl, MaxTTL)
	}
	if !nkeys.IsValidPublicUserKey(transportKey) {
		return "", fmt.Errorf("issue claims: %.80q is not a NATS user key", transportKey)
	}
	c := jwt.NewUserClaims(transportKey)
	c.SetScoped(true)
	c.Name = schema.CleanText(name, maxName)
	c.IssuerAccount = a.ids[Hosts]
	c.Expires = a.now().Add(ttl).Unix()
	text, err := c.Encode(a.signing[Hosts])
	if err != nil {
		return "", fmt.Errorf("issue claims: %w", err)
	}
	return text, nil
}

// maxName bounds a name in claims, in bytes: a broker reads at most 4 KiB of
// what a connection first says.
const maxName = 256

// Revoke makes void all claims of a transport key that were issued until now, and
// tells the broker, which cuts live connections. It returns ErrNotLive when the
// broker could not be told.
func (a *Authority) Revoke(ctx context.Context, transportKey string) error {
	if !nkeys.IsValidPublicUserKey(transportKey) {
		return fmt.Errorf("revoke claims: %.80q is not a NATS user key", transportKey)
	}
	if err := a.record(transportKey); err != nil {
		return fmt.Errorf("revoke claims of %s: %w", transportKey, err)
	}
	if err := a.Push(ctx); err != nil {
		return fmt.Errorf("revoke claims of %s: %w: %w", transportKey, ErrNotLive, err)
	}
	return nil
}

// record puts a revocation into the claims of the hosts' account.
func (a *Authority) record(transportKey string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := jwt.DecodeAccountClaims(a.claims[Hosts])
	if err != nil {
		return err
	}
	now := a.now()
	prune(c.Revocations, now)
	c.RevokeAt(transportKey, now)
	text, err := c.Encode(a.operator)
	if err != nil {
		return err
	}
	if err := trust.ReplacePrivate(a.path(Hosts, claimsExt), []byte(text)); err != nil {
		return err
	}
	a.claims[Hosts] = text
	return nil
}

// prune forgets revocations of claims that have all expired.
func prune(r jwt.RevocationList, now time.Time) {
	for key, at := range r {
		if now.Sub(time.Unix(at, 0)) > MaxTTL+time.Hour {
			r.ClearRevocation(key)
		}
	}
}

// Revoked lists the transport keys that are revoked, sorted, and since when.
func (a *Authority) Revoked() ([]Revocation, error) {
	c, err := jwt.DecodeAccountClaims(a.AccountJWT(Hosts))
	if err != nil {
		return nil, fmt.Errorf("list revocations: %w", err)
	}
	var out []Revocation
	for key, at := range c.Revocations {
		out = append(out, Revocation{TransportKey: key, At: time.Unix(at, 0).UTC()})
	}
	slices.SortFunc(out, func(x, y Revocation) int {
		if x.TransportKey < y.TransportKey {
			return -1
		}
		return 1
	})
	return out, nil
}

// Revocation makes void a key's claims that were issued at a second or before it.
type Revocation struct {
	TransportKey string
	At           time.Time
}

// OnPush sets how the broker is told of an account's claims.
func (a *Authority) OnPush(push func(ctx context.Context, account, claims string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.push = push
}

// Push tells the broker the claims of the hosts' account as they stand.
func (a *Authority) Push(ctx context.Context) error {
	a.mu.Lock()
	push, text := a.push, a.claims[Hosts]
	a.mu.Unlock()
	if push == nil {
		return errors.New("no broker is connected")
	}
	return push(ctx, a.ids[Hosts], text)
}

// User is somebody who connects to the broker.
type User struct {
	JWT string
	key nkeys.KeyPair
}

// Sign signs the broker's nonce.
func (u User) Sign(nonce []byte) ([]byte, error) { return u.key.Sign(nonce) }

// User makes a user of one of the collector's own accounts, with a key that ends
// with the process.
func (a *Authority) User(n Account) (User, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return User{}, fmt.Errorf("make a user of account %s: %w", n, err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return User{}, fmt.Errorf("make a user of account %s: %w", n, err)
	}
	c := jwt.NewUserClaims(public)
	c.SetScoped(true)
	c.Name = string(n)
	c.IssuerAccount = a.ids[n]
	text, err := c.Encode(a.signing[n])
	if err != nil {
		return User{}, fmt.Errorf("make a user of account %s: %w", n, err)
	}
	return User{JWT: text, key: key}, nil
}

func (a *Authority) path(n Account, ext string) string {
	return filepath.Join(a.dir, string(n)+ext)
}
