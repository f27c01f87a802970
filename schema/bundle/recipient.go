package bundle

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// kemName begins the text of a recipient's key and says what it is for.
const kemName = "mlkem768p256:"

// Recipient is the public key bundles are sealed to: the collector's.
type Recipient struct {
	key hpke.PublicKey
	id  [sha256.Size]byte
}

func newRecipient(key hpke.PublicKey) *Recipient {
	return &Recipient{key: key, id: sha256.Sum256(key.Bytes())}
}

// ParseRecipient reads a key as String writes it.
func ParseRecipient(text string) (*Recipient, error) {
	body, ok := strings.CutPrefix(text, kemName)
	if !ok {
		return nil, fmt.Errorf("parse recipient key: want %s and the key in base64, as `patchproof key show` prints it", kemName)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("parse recipient key: %w", err)
	}
	kem, _, _ := suite()
	key, err := kem.NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("parse recipient key: %w", err)
	}
	r := newRecipient(key)
	if r.String() != text {
		return nil, errors.New("parse recipient key: not spelt as `patchproof key show` prints it")
	}
	return r, nil
}

// String is the key as text, for a configuration file: its kind, a colon, and
// the key in URL-safe base64 without padding.
func (r *Recipient) String() string {
	return kemName + base64.RawURLEncoding.EncodeToString(r.key.Bytes())
}

// ID names the key in the header of a bundle: the SHA-256 (hex) of the key.
func (r *Recipient) ID() string { return hex.EncodeToString(r.id[:]) }

// Fingerprint is the key as people compare it, spelt as that of an evidence key is.
func (r *Recipient) Fingerprint() string { return schema.FingerprintOf(r.id) }

// RecipientKey is the private half, which opens bundles.
type RecipientKey struct {
	key       hpke.PrivateKey
	recipient *Recipient
}

// NewRecipientKey makes a key.
func NewRecipientKey() (*RecipientKey, error) {
	kem, _, _ := suite()
	key, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make recipient key: %w", err)
	}
	return &RecipientKey{key, newRecipient(key.PublicKey())}, nil
}

// ParseRecipientKey reads the bytes of a private key (RFC 9180,
// DeserializePrivateKey).
func ParseRecipientKey(raw []byte) (*RecipientKey, error) {
	kem, _, _ := suite()
	key, err := kem.NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("parse recipient key: %w", err)
	}
	return &RecipientKey{key, newRecipient(key.PublicKey())}, nil
}

// Bytes are the private key's, for ParseRecipientKey.
func (k *RecipientKey) Bytes() ([]byte, error) {
	raw, err := k.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode recipient key: %w", err)
	}
	return raw, nil
}

// Recipient is the public half.
func (k *RecipientKey) Recipient() *Recipient { return k.recipient }
