package broker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/trust"
)

// The files of the two directories: NAME.jwt and NAME.nk for the operator and
// each account. In the authority's directory .nk is a signing seed, in the
// offline one an identity seed.
const (
	claimsExt    = ".jwt"
	seedExt      = ".nk"
	operatorName = "operator"
)

// OfflineDir is where identity keys go, below the authority's directory, when no
// other place is named.
const OfflineDir = "offline"

// maxClaims bounds a file of claims: room for 100 000 revocations.
const maxClaims = 16 << 20

// Init makes an authority in dir, which must not be there. Identity keys are read
// from the directory offline, or made there; an empty name means OfflineDir below
// dir. Nothing that runs needs them afterwards.
func Init(dir, offline string) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("make the broker's keys: %s: %w", dir, ErrExists)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make the broker's keys: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*") // made with mode 0700
	if err != nil {
		return fmt.Errorf("make the broker's keys: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if offline == "" {
		offline = filepath.Join(tmp, OfflineDir)
	}
	if err := found(tmp, offline, nil); err != nil {
		return fmt.Errorf("make the broker's keys: %w", err)
	}
	if err := os.Rename(tmp, dir); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the broker's keys: %s: %w", dir, ErrExists)
	} else if err != nil {
		return fmt.Errorf("make the broker's keys: %w", err)
	}
	return nil
}

// found writes a whole authority into an empty directory: new signing keys, and
// claims that name them under the identity keys of the offline directory.
func found(dir, offline string, revoked jwt.RevocationList) error {
	if err := trust.OpenDir(offline); err != nil {
		return err
	}
	op, err := foundPair(dir, offline, operatorName, nkeys.PrefixByteOperator)
	if err != nil {
		return err
	}
	keys := map[Account]pair{}
	for _, n := range accounts {
		if keys[n], err = foundPair(dir, offline, string(n), nkeys.PrefixByteAccount); err != nil {
			return err
		}
	}
	text, err := operatorClaims(op, keys[System])
	if err != nil {
		return fmt.Errorf("sign the operator: %w", err)
	}
	if err := trust.CreatePrivate(filepath.Join(dir, operatorName+claimsExt), []byte(text)); err != nil {
		return err
	}
	for _, n := range accounts {
		var r jwt.RevocationList
		if n == Hosts {
			r = revoked
		}
		if text, err = accountClaims(n, op, keys, r); err != nil {
			return fmt.Errorf("sign account %s: %w", n, err)
		}
		if err := trust.CreatePrivate(filepath.Join(dir, string(n)+claimsExt), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// foundPair takes an identity key from the offline directory, made there on
// first use, and makes a new signing key.
func foundPair(dir, offline, name string, kind nkeys.PrefixByte) (pair, error) {
	path := filepath.Join(offline, name+seedExt)
	identity, err := readSeed(path, kind)
	if errors.Is(err, fs.ErrNotExist) {
		identity, err = newSeed(path, kind)
	}
	if err != nil {
		return pair{}, err
	}
	signing, err := newSeed(filepath.Join(dir, name+seedExt), kind)
	return pair{identity, signing}, err
}

func newSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	key, err := nkeys.CreatePair(kind)
	if err != nil {
		return nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, err
	}
	return key, trust.CreatePrivate(path, append(seed, '\n'))
}

func readSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	text, err := trust.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	if got, _, err := nkeys.DecodeSeed(text); err != nil || got != kind {
		return nil, fmt.Errorf("%s does not hold the seed of an NATS %s key", path, kind)
	}
	return nkeys.FromSeed(text)
}

// load reads the authority and checks that its keys and claims belong together,
// so that a mixture of two backups is found before a host is turned away by it.
func (a *Authority) load() error {
	if err := trust.OpenDir(a.dir); err != nil {
		return err
	}
	var err error
	if a.operator, err = readSeed(a.path(operatorName, seedExt), nkeys.PrefixByteOperator); err != nil {
		return err
	}
	if a.operatorJWT, err = readClaims(a.path(operatorName, claimsExt)); err != nil {
		return err
	}
	op, err := jwt.DecodeOperatorClaims(a.operatorJWT)
	if err != nil {
		return fmt.Errorf("%s: %w", a.path(operatorName, claimsExt), err)
	}
	if op.Issuer != op.Subject || !slices.Contains(op.SigningKeys, public(a.operator)) {
		return fmt.Errorf("%s is not the claims of the key beside it", a.path(operatorName, claimsExt))
	}
	for _, n := range accounts {
		if err := a.loadAccount(n); err != nil {
			return err
		}
	}
	if op.SystemAccount != a.ids[System] {
		return fmt.Errorf("%s names another system account", a.path(operatorName, claimsExt))
	}
	return nil
}

func (a *Authority) loadAccount(n Account) error {
	var err error
	if a.signing[n], err = readSeed(a.path(n, seedExt), nkeys.PrefixByteAccount); err != nil {
		return err
	}
	path := a.path(n, claimsExt)
	if a.claims[n], err = readClaims(path); err != nil {
		return err
	}
	c, err := jwt.DecodeAccountClaims(a.claims[n])
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if c.Issuer != public(a.operator) {
		return fmt.Errorf("%s is signed by another operator", path)
	}
	if scope, ok := c.SigningKeys.GetScope(public(a.signing[n])); !ok || scope == nil {
		return fmt.Errorf("%s does not name the key beside it", path)
	}
	a.ids[n] = c.Subject
	return nil
}

func readClaims(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxClaims+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxClaims {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxClaims)
	}
	return string(text), nil
}
