// Package identity keeps the two keys of a host and the rules of the directory
// they live in.
//
// The evidence key (Ed25519) signs reports; the transport key (a NATS user
// key) signs the broker's connect nonce. A hostile broker chooses that nonce
// and so gets bytes of its choice signed, which is why the two must differ.
//
// Invariants:
//   - both keys are made once, at first start, each written whole or not at
//     all, and never replaced on the machine they were made on: a key that cannot
//     be read is an error, not a reason to make another;
//   - a key file is a regular file of ours (or root's) that nobody else can
//     read; the directory is one nobody else can write; symlinks are refused;
//   - keys belong to the machine they were made on (schema.Machine.Like says which
//     that is). On another one they are archived with all they signed, never
//     deleted, and others are made;
//   - one process collects and one sends for a state directory, see Hold.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
)

// File names in the state directory.
const (
	EvidenceFile  = "evidence.key"
	TransportFile = "transport.key"
	BindingFile   = "machine.json"
	lockExt       = ".lock"
	keysLock      = "keys" + lockExt
	spoolLock     = "spool" + lockExt // the spool's own, beside its directory
)

// maxKeyFile bounds what is read as a key; ours are 119 and 59 bytes.
const maxKeyFile = 4096

// ErrNone says the state directory holds no keys yet: no agent ever started there.
var ErrNone = errors.New("no keys yet")

// Error is a fault of the state directory or of a key file, with what to do about it.
type Error struct {
	Path, Fault, Hint string
	Err               error
}

func (e *Error) Error() string {
	s := e.Path + ": " + e.Fault
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause, if there is one beneath the fault.
func (e *Error) Unwrap() error { return e.Err }

// Identity is a host's keys and the directory they live in.
type Identity struct {
	Dir       string
	Evidence  ed25519.PrivateKey
	Transport nkeys.KeyPair
	// TransportKey is the public transport key (U...).
	TransportKey string
	// Binding is the machine the keys are for; zero for keys that an agent made
	// which knew of none, until the next Open.
	Binding Binding
	// Archived is where Open has put the keys of another machine, empty when there
	// were none.
	Archived string
}

// Public returns the public evidence key.
func (id *Identity) Public() ed25519.PublicKey {
	return id.Evidence.Public().(ed25519.PublicKey)
}

// KeyID returns the evidence key's id as envelopes and receipts name it.
func (id *Identity) KeyID() string { return schema.KeyID(id.Public()) }

// Fingerprint returns what a person compares before trusting this host.
func (id *Identity) Fingerprint() string { return schema.Fingerprint(id.Public()) }

// Open reads the keys in dir. It makes the directory and the keys at first start,
// bound to this machine, and when those that are there belong to another one.
func Open(dir string, here schema.Machine, now time.Time) (*Identity, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	lock, err := durable.WaitLock(filepath.Join(dir, keysLock))
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := durable.RemoveTemps(dir); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	archived, err := archiveForeign(dir, here, now)
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	// Bound first: keys without a binding would be anybody's after a crash.
	if err := bind(dir, here, now); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	if err := createMissing(dir); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	id, err := load(dir)
	if err == nil {
		id.Archived = archived
	}
	return id, err
}

// Load reads the keys in dir and makes nothing; ErrNone before the first start.
func Load(dir string) (*Identity, error) {
	if err := checkDir(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("load identity from %s: %w", dir, ErrNone)
		}
		return nil, fmt.Errorf("load identity: %w", err)
	}
	if absent(filepath.Join(dir, EvidenceFile)) || absent(filepath.Join(dir, TransportFile)) {
		return nil, fmt.Errorf("load identity from %s: %w", dir, ErrNone)
	}
	return load(dir)
}

func load(dir string) (*Identity, error) {
	evidence, err := readEvidence(filepath.Join(dir, EvidenceFile))
	if err != nil {
		return nil, fmt.Errorf("read evidence key: %w", err)
	}
	transport, public, err := readTransport(filepath.Join(dir, TransportFile))
	if err != nil {
		return nil, fmt.Errorf("read transport key: %w", err)
	}
	binding, err := readBinding(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &Identity{Dir: dir, Evidence: evidence, Transport: transport, TransportKey: public, Binding: binding}, nil
}

func createMissing(dir string) error {
	for name, make := range map[string]func() ([]byte, error){EvidenceFile: newEvidence, TransportFile: newTransport} {
		path := filepath.Join(dir, name)
		if !absent(path) {
			continue
		}
		data, err := make()
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if err := durable.CreateFile(path, data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func newEvidence() ([]byte, error) {
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

func newTransport() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed()
	return append(seed, '\n'), err
}

func readEvidence(path string) (ed25519.PrivateKey, error) {
	data, err := readKey(path)
	if err != nil {
		return nil, err
	}
	bad := func(fault string, err error) error {
		return &Error{path, fault, "restore the file from a backup; removing it gives this host a new identity that must be trusted anew", err}
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, bad("not one PEM block of type PRIVATE KEY", nil)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, bad("not a PKCS#8 key", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, bad(fmt.Sprintf("holds a %T, want an Ed25519 key", parsed), nil)
	}
	return key, nil
}

func readTransport(path string) (nkeys.KeyPair, string, error) {
	data, err := readKey(path)
	if err != nil {
		return nil, "", err
	}
	const hint = "restore the file from a backup, or remove it to get a new transport key"
	if n := len(data); n > 0 && data[n-1] == '\n' {
		data = data[:n-1]
	}
	prefix, _, err := nkeys.DecodeSeed(data)
	if err != nil || prefix != nkeys.PrefixByteUser {
		return nil, "", &Error{path, "not a NATS user seed", hint, err}
	}
	pair, err := nkeys.FromSeed(data)
	if err != nil {
		return nil, "", &Error{path, "not a NATS user seed", hint, err}
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, "", &Error{path, "not a NATS user seed", hint, err}
	}
	return pair, public, nil
}

func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
