// Package envelope seals what a host and the collector say in a signed
// wrapper, and opens it: DSSE (https://github.com/secure-systems-lab/dsse) with
// one Ed25519 signature. A report travels as one zstd frame of its in-toto
// statement, a receipt as plain JSON.
//
// Invariants:
//
//   - Nothing is inflated or parsed before its signature is verified. Only the
//     wrapper, which has one spelling and a bounded size, is read before.
//   - An envelope's bytes are exactly what Seal writes for the same payload, key
//     and signature: field order, no white space, padded standard base64.
//     Anything else is refused, so a report cannot be re-spelt on the road.
//   - The id of a report is the SHA-256 of the DSSE pre-authentication encoding:
//     of what is signed, not of how the wrapper is spelt.
//   - The key id is the key. Open proves who holds the bytes' key; whether that
//     key is a trusted host's is the collector's question.
//   - Inflation is bounded twice: by the size the frame declares, and by what
//     its blocks could at most hold, both checked before memory is taken.
//
// The cryptography is crypto/ed25519 and crypto/sha256 alone and runs in FIPS
// 140-3 mode (GODEBUG=fips140=only).
package envelope

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/patchproof/patchproof/schema"
)

// Payload types.
const (
	TypeStatement = "application/vnd.patchproof.statement.v1+zstd"
	TypeReceipt   = "application/vnd.patchproof.receipt.v1+json"
)

// MaxEnvelope is the most bytes of a report's envelope.
const MaxEnvelope = 8 << 20

// MaxReceiptEnvelope is the most bytes of a receipt's envelope.
const MaxReceiptEnvelope = 32 << 10

// wrapper is the DSSE envelope, its fields in the order they are written.
type wrapper struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// Seal signs a report and returns its envelope and id.
func Seal(r *schema.Report, key ed25519.PrivateKey) (raw []byte, id string, err error) {
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		return nil, "", fmt.Errorf("seal report: %w", err)
	}
	frame, err := deflate(payload)
	if err != nil {
		return nil, "", fmt.Errorf("seal report: %w", err)
	}
	raw, signed, err := seal(TypeStatement, frame, key)
	if err != nil {
		return nil, "", fmt.Errorf("seal report: %w", err)
	}
	if len(raw) > MaxEnvelope {
		return nil, "", fmt.Errorf("seal report: %w",
			schema.Refuse(schema.ReasonTooLarge, "%d bytes, at most %d", len(raw), MaxEnvelope))
	}
	return raw, idOf(signed), nil
}

// Opened is a report's envelope whose signature holds. Its content has not been
// looked at.
type Opened struct {
	// ID is the report's id: the SHA-256 (hex) of what was signed.
	ID string
	// Key is the key that signed, which the envelope itself names.
	Key   ed25519.PublicKey
	frame []byte
}

// Open verifies the envelope of a report with the key it names. It reads
// nothing inside; the error is a *schema.Refusal.
func Open(raw []byte) (*Opened, error) {
	if len(raw) > MaxEnvelope {
		return nil, schema.Refuse(schema.ReasonTooLarge, "envelope: %d bytes, at most %d", len(raw), MaxEnvelope)
	}
	key, frame, signed, err := open(raw, TypeStatement)
	if err != nil {
		return nil, err
	}
	return &Opened{ID: idOf(signed), Key: key, frame: frame}, nil
}

// Report inflates and decodes what was signed. The error is a *schema.Refusal.
func (o *Opened) Report() (*schema.Report, error) {
	payload, err := inflate(o.frame)
	if err != nil {
		return nil, err
	}
	return schema.DecodeStatement(payload)
}

// SealReceipt signs a receipt with the collector's receipt key.
func SealReceipt(r schema.Receipt, key ed25519.PrivateKey) ([]byte, error) {
	payload, err := schema.EncodeReceipt(r)
	if err != nil {
		return nil, fmt.Errorf("seal receipt: %w", err)
	}
	raw, _, err := seal(TypeReceipt, payload, key)
	if err != nil {
		return nil, fmt.Errorf("seal receipt: %w", err)
	}
	return raw, nil
}

// OpenReceipt returns a receipt signed by the pinned key. A receipt by any
// other key is refused unread; the error is a *schema.Refusal.
func OpenReceipt(raw []byte, pinned ed25519.PublicKey) (schema.Receipt, error) {
	if len(raw) > MaxReceiptEnvelope {
		return schema.Receipt{}, schema.Refuse(schema.ReasonTooLarge,
			"receipt envelope: %d bytes, at most %d", len(raw), MaxReceiptEnvelope)
	}
	key, payload, _, err := open(raw, TypeReceipt)
	if err != nil {
		return schema.Receipt{}, err
	}
	if !key.Equal(pinned) {
		return schema.Receipt{}, schema.Refuse(schema.ReasonWrongKey,
			"receipt by key %s, pinned is %s", schema.Fingerprint(key), schema.Fingerprint(pinned))
	}
	return schema.DecodeReceipt(payload)
}

// Signed is an envelope whose signature holds, with its payload unread.
type Signed struct {
	// Type is the payload's.
	Type string
	// ID is the SHA-256 (hex) of what was signed.
	ID      string
	Key     ed25519.PublicKey
	Payload []byte
}

// TypeOf returns the payload type an envelope of at most limit bytes names. Nothing
// is verified; the error is a *schema.Refusal.
func TypeOf(raw []byte, limit int) (string, error) {
	if len(raw) > limit {
		return "", schema.Refuse(schema.ReasonTooLarge, "envelope: %d bytes, at most %d", len(raw), limit)
	}
	w, err := decode(raw)
	if err != nil {
		return "", err
	}
	return w.PayloadType, nil
}

// Sign wraps a payload that is neither a report nor a receipt, and returns the
// envelope and the id of what was signed.
func Sign(payloadType string, payload []byte, key ed25519.PrivateKey) (raw []byte, id string, err error) {
	raw, signed, err := seal(payloadType, payload, key)
	if err != nil {
		return nil, "", fmt.Errorf("sign %s: %w", payloadType, err)
	}
	return raw, idOf(signed), nil
}

// Verify opens an envelope of at most limit bytes, of one of the payload types,
// with the key it names. It reads nothing inside; the error is a *schema.Refusal.
func Verify(raw []byte, limit int, payloadTypes ...string) (*Signed, error) {
	if len(raw) > limit {
		return nil, schema.Refuse(schema.ReasonTooLarge, "envelope: %d bytes, at most %d", len(raw), limit)
	}
	w, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(payloadTypes, w.PayloadType) {
		return nil, schema.Refuse(schema.ReasonPayloadType, "payloadType %.200q: want one of %q", w.PayloadType, payloadTypes)
	}
	key, payload, signed, err := verify(raw, w)
	if err != nil {
		return nil, err
	}
	return &Signed{Type: w.PayloadType, ID: idOf(signed), Key: key, Payload: payload}, nil
}

func seal(payloadType string, payload []byte, key ed25519.PrivateKey) (raw, signed []byte, err error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, nil, fmt.Errorf("private key of %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, nil, errors.New("the private key has no Ed25519 public key")
	}
	signed = pae(payloadType, payload)
	sig := ed25519.Sign(key, signed)
	return encode(payloadType, payload, schema.KeyID(pub), sig), signed, nil
}

// open checks the wrapper and its signature, and returns the payload unread.
func open(raw []byte, payloadType string) (key ed25519.PublicKey, payload, signed []byte, err error) {
	w, err := decode(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	if w.PayloadType != payloadType {
		return nil, nil, nil, schema.Refuse(schema.ReasonPayloadType, "payloadType %.200q: want %q", w.PayloadType, payloadType)
	}
	return verify(raw, w)
}

// verify checks the one signature of a wrapper that was decoded from raw.
func verify(raw []byte, w *wrapper) (key ed25519.PublicKey, payload, signed []byte, err error) {
	if n := len(w.Signatures); n != 1 {
		return nil, nil, nil, schema.Refuse(schema.ReasonSignatureCount, "%d signatures, want exactly one", n)
	}
	key, err = schema.ParseKeyID(w.Signatures[0].KeyID)
	if err != nil {
		return nil, nil, nil, schema.Refuse(schema.ReasonBadKey, "keyid: %w", err)
	}
	payload, err = base64.StdEncoding.DecodeString(w.Payload)
	if err != nil {
		return nil, nil, nil, schema.Refuse(schema.ReasonMalformed, "payload: %w", err)
	}
	sig, err := base64.StdEncoding.DecodeString(w.Signatures[0].Sig)
	if err != nil {
		return nil, nil, nil, schema.Refuse(schema.ReasonMalformed, "sig: %w", err)
	}
	if !bytes.Equal(raw, encode(w.PayloadType, payload, w.Signatures[0].KeyID, sig)) {
		return nil, nil, nil, schema.Refuse(schema.ReasonNotCanonical, "the envelope is not spelt as Seal spells it")
	}
	signed = pae(w.PayloadType, payload)
	if !ed25519.Verify(key, signed, sig) {
		return nil, nil, nil, schema.Refuse(schema.ReasonBadSignature, "the signature is not by key %s over this payload", schema.KeyID(key))
	}
	return key, payload, signed, nil
}

// decode reads the wrapper. Duplicate and case-folded keys and white space pass
// here and fall when open spells the envelope again.
func decode(raw []byte) (*wrapper, error) {
	var w wrapper
	if err := schema.UnmarshalStrict(raw, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// encode spells an envelope. The strings are of fixed alphabets that JSON does
// not escape.
func encode(payloadType string, payload []byte, keyID string, sig []byte) []byte {
	size := len(payloadType) + base64.StdEncoding.EncodedLen(len(payload)) + len(keyID) +
		base64.StdEncoding.EncodedLen(len(sig)) + 100
	b := make([]byte, 0, size)
	b = append(b, `{"payloadType":"`...)
	b = append(b, payloadType...)
	b = append(b, `","payload":"`...)
	b = base64.StdEncoding.AppendEncode(b, payload)
	b = append(b, `","signatures":[{"keyid":"`...)
	b = append(b, keyID...)
	b = append(b, `","sig":"`...)
	b = base64.StdEncoding.AppendEncode(b, sig)
	return append(b, `"}]}`...)
}

// pae is the DSSE pre-authentication encoding, protocol DSSEv1. It is written
// out here because the reference package links an SSH implementation, which the
// agent must not; a test holds the two equal.
func pae(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payloadType)+len(payload)+40)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

func idOf(signed []byte) string {
	sum := sha256.Sum256(signed)
	return hex.EncodeToString(sum[:])
}
