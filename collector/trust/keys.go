// Package trust keeps the collector's own keys and knows how its secrets look:
// the receipt key, which agents pin; the log key, which signs checkpoints; the
// recipient key, which opens bundles; and the API tokens of people.
//
// Invariants:
//   - A private key is read only from a file that nobody but its owner can read,
//     in a directory that nobody but its owner can enter.
//   - A key file is made whole or not at all, and is never overwritten.
//   - Neither keys nor tokens are ever printed, logged or stored in clear by this
//     package, but for the one place where a new token is handed out.
//
// Checkpoints are signed as C2SP signed notes (https://c2sp.org/signed-note) in
// Ed25519; see collector/evidence.
package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
)

// The files of a key directory.
const (
	ReceiptFile = "receipt.pem"
	LogFile     = "log.key"
	// RecipientFile holds the key that opens bundles.
	RecipientFile = "recipient.pem"
)

// Keys are the collector's own.
type Keys struct {
	// Receipt signs receipts; agents pin its public half.
	Receipt ed25519.PrivateKey
	// Log signs checkpoints, LogVerifier checks them.
	Log         note.Signer
	LogVerifier note.Verifier
	// LogVerifierKey is the verifier key as text, for auditors (C2SP vkey).
	LogVerifierKey string
	// Origin names the evidence log; it is the log key's name.
	Origin string
	// Recipient opens bundles; agents seal them to its public half.
	Recipient *bundle.RecipientKey
}

// Pin is the receipt key as agents pin it: lowercase hex.
func (k *Keys) Pin() string { return schema.KeyID(k.public()) }

// Fingerprint is the receipt key as people compare it.
func (k *Keys) Fingerprint() string { return schema.Fingerprint(k.public()) }

func (k *Keys) public() ed25519.PublicKey {
	pub, _ := k.Receipt.Public().(ed25519.PublicKey)
	return pub
}

// OpenKeys reads the keys in a directory, and makes directory and keys on first
// use. It refuses a directory or a file that others can read.
func OpenKeys(dir string) (*Keys, error) {
	if err := OpenDir(dir); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	k := new(Keys)
	if err := k.openReceipt(filepath.Join(dir, ReceiptFile)); err != nil {
		return nil, fmt.Errorf("open receipt key: %w", err)
	}
	if err := k.openLog(filepath.Join(dir, LogFile)); err != nil {
		return nil, fmt.Errorf("open log key: %w", err)
	}
	if err := k.openRecipient(filepath.Join(dir, RecipientFile)); err != nil {
		return nil, fmt.Errorf("open recipient key: %w", err)
	}
	return k, nil
}

func (k *Keys) openReceipt(path string) error {
	text, err := readOrMake(path, newReceiptKey)
	if err != nil {
		return err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return fmt.Errorf("%s does not hold one PEM block PRIVATE KEY", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return fmt.Errorf("%s holds a %T, an Ed25519 key is needed", path, parsed)
	}
	k.Receipt = key
	return nil
}

func newReceiptKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// openLog reads a signer key as x/mod/sumdb/note writes it; its name is the
// log's origin, random so that no two collectors ever share one.
func (k *Keys) openLog(path string) error {
	text, err := readOrMake(path, newLogKey)
	if err != nil {
		return err
	}
	skey := strings.TrimSpace(string(text))
	if k.Log, err = note.NewSigner(skey); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if k.LogVerifierKey, err = verifierKey(skey); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if k.LogVerifier, err = note.NewVerifier(k.LogVerifierKey); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	k.Origin = k.Log.Name()
	return nil
}

func newLogKey() ([]byte, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	skey, _, err := note.GenerateKey(rand.Reader, "patchproof.dev/log/"+hex.EncodeToString(id[:]))
	return []byte(skey + "\n"), err
}

// verifierKey derives the verifier's half from a signer key
// (PRIVATE+KEY+name+hash+base64(algorithm, seed)).
func verifierKey(skey string) (string, error) {
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("not a note signer key")
	}
	seed, err := decodeSeed(parts[4])
	if err != nil {
		return "", err
	}
	pub, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], pub)
}
