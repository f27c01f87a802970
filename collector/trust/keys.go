// Package trust keeps the collector's own keys and knows how its secrets look:
// the receipt key, which agents pin; the log key, which signs checkpoints; and
// the API tokens of people.
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
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchproof/patchproof/schema"
)

// The files of a key directory.
const (
	ReceiptFile = "receipt.pem"
	LogFile     = "log.key"
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
	if err := openDir(dir); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	k := new(Keys)
	if err := k.openReceipt(filepath.Join(dir, ReceiptFile)); err != nil {
		return nil, fmt.Errorf("open receipt key: %w", err)
	}
	if err := k.openLog(filepath.Join(dir, LogFile)); err != nil {
		return nil, fmt.Errorf("open log key: %w", err)
	}
	return k, nil
}

func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return refuseShared(dir, info, 0o700)
}

// refuseShared refuses what anyone but the owner can read, write or enter.
func refuseShared(path string, info fs.FileInfo, want fs.FileMode) error {
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, others can reach it; run chmod %o %s, and think about who may have read it",
			path, info.Mode().Perm(), want, path)
	}
	return nil
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

// readOrMake returns a file's content, made by the given function on first use.
func readOrMake(path string, content func() ([]byte, error)) ([]byte, error) {
	text, err := readPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	err = create(path, text)
	if errors.Is(err, fs.ErrExist) { // another process was first
		return readPrivate(path)
	}
	return text, err
}

// maxKeyFile bounds what is read of a key file; both kinds have under 200 bytes.
const maxKeyFile = 4096

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := refuseShared(path, info, 0o600); err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s has %d bytes, a key file has at most %d", path, info.Size(), maxKeyFile)
	}
	return os.ReadFile(path)
}

// create writes a file whole or not at all, and never over another: the content
// is synced under a name of its own and then linked to its place.
func create(path string, content []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
