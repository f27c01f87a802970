// Package bundle carries what a host has sealed in one file, for hosts that no
// network reaches: signed envelopes, a line each, the last line a manifest the
// host signed, all sealed to the collector's public key.
//
// A bundle has no file names and no archive format; nothing in it is a path.
//
// Invariants:
//
//   - A reader goes in this order and stops at the first refusal: size, header,
//     seal, lines, signatures, manifest; then, by [Opened.Check], inflate and
//     strict decode. Nothing is parsed before the seal holds, and nothing is
//     inflated before its signature does.
//   - Any bit of a bundle that is changed, and any byte that is cut off or added,
//     makes the seal fail: the header is bound to it, the rest is under it.
//   - Every line is one canonical envelope by a key that verifies, and the manifest
//     names exactly these lines in this order.
//   - Nothing is allocated from a length the sender claims.
//   - Every refusal is a *schema.Refusal; no input, however made, panics.
//
// The seal is HPKE (RFC 9180) with ML-KEM-768 and P-256 together
// (draft-ietf-hpke-pq, KEM 0x0050), HKDF-SHA256 and AES-256-GCM, as crypto/hpke
// has it. It runs in FIPS 140-3 mode (GODEBUG=fips140=only). schema/README.md is
// the same contract in prose.
package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// MaxSize is the most bytes of a bundle.
const MaxSize = 32 << 20

// MaxLines is the most lines before the manifest.
const MaxLines = 8192

// HeaderSize is how many bytes stand before the seal: magic, version, KEM, KDF,
// AEAD, two bytes each and big endian, and the recipient's id.
const HeaderSize = len(magic) + 4*2 + sha256.Size

const (
	magic   = "PPBUNDLE"
	version = 1
)

// The one suite of version 1.
func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768P256(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// Overhead is the bytes a bundle has beyond its lines: header, encapsulated key
// and tag.
const Overhead = HeaderSize + 1088 + 65 + 16

// TypeManifest is the payload type of a bundle's last line.
const TypeManifest = "application/vnd.patchproof.manifest.v1+json"

// lineTypes are what a bundle may carry before its manifest.
var lineTypes = []string{envelope.TypeStatement}

// IsBundle reports whether a file begins as a bundle does, of whatever version.
func IsBundle(start []byte) bool { return bytes.HasPrefix(start, []byte(magic)) }

// Line is one envelope of a bundle, its signature verified.
type Line struct {
	// Type is its payload type.
	Type string
	// ID is the SHA-256 (hex) of what was signed, Key who signed it.
	ID  string
	Key ed25519.PublicKey
	Raw []byte
}

// Opened is a bundle whose seal, lines and signatures hold. What the envelopes
// say has not been looked at.
type Opened struct {
	// Recipient is the id of the key it was sealed to.
	Recipient string
	Manifest  Manifest
	Lines     []Line
}

// Seal makes a bundle of envelopes for a recipient. What m says of the lines - host,
// count and ids - is filled in.
func Seal(to *Recipient, lines [][]byte, m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	raw, err := seal(to, lines, m, key)
	if err != nil {
		return nil, fmt.Errorf("seal bundle: %w", err)
	}
	return raw, nil
}

func seal(to *Recipient, lines [][]byte, m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	content, err := write(lines, m, key)
	if err != nil {
		return nil, err
	}
	if n := len(content) + Overhead; n > MaxSize {
		return nil, schema.Refuse(schema.ReasonTooLarge, "%d bytes, at most %d", n, MaxSize)
	}
	// A host must not carry about what nobody will accept.
	if _, _, err := read(content); err != nil {
		return nil, err
	}
	head := header(to)
	_, kdf, aead := suite()
	sealed, err := hpke.Seal(to.key, kdf, aead, head, content)
	if err != nil {
		return nil, err
	}
	return append(head, sealed...), nil
}

func header(to *Recipient) []byte {
	kem, kdf, aead := suite()
	b := make([]byte, 0, HeaderSize)
	b = append(b, magic...)
	for _, n := range []uint16{version, kem.ID(), kdf.ID(), aead.ID()} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, to.id[:]...)
}

// Open opens a bundle with whichever of the keys it is sealed to, and verifies
// its lines and its manifest. The error is a *schema.Refusal.
func Open(raw []byte, keys ...*RecipientKey) (*Opened, error) {
	switch {
	case len(raw) > MaxSize:
		return nil, schema.Refuse(schema.ReasonTooLarge, "bundle: %d bytes, at most %d", len(raw), MaxSize)
	case len(raw) < Overhead:
		return nil, schema.Refuse(schema.ReasonBadHeader, "%d bytes, the smallest bundle has more than %d", len(raw), Overhead)
	}
	key, err := recipientOf(raw[:HeaderSize], keys)
	if err != nil {
		return nil, err
	}
	_, kdf, aead := suite()
	content, err := hpke.Open(key.key, kdf, aead, raw[:HeaderSize], raw[HeaderSize:])
	if err != nil {
		return nil, schema.Refuse(schema.ReasonBadSeal, "the seal does not open: the file was altered or cut since it was written: %w", err)
	}
	lines, m, err := read(content)
	if err != nil {
		return nil, err
	}
	return &Opened{Recipient: key.Recipient().ID(), Manifest: m, Lines: lines}, nil
}

// recipientOf reads a header and finds the key it names.
func recipientOf(head []byte, keys []*RecipientKey) (*RecipientKey, error) {
	if !IsBundle(head) {
		return nil, schema.Refuse(schema.ReasonBadHeader, "the file does not begin with %s", magic)
	}
	kem, kdf, aead := suite()
	at := len(magic)
	for _, want := range []struct {
		what string
		n    uint16
	}{{"version", version}, {"KEM", kem.ID()}, {"KDF", kdf.ID()}, {"AEAD", aead.ID()}} {
		if got := binary.BigEndian.Uint16(head[at:]); got != want.n {
			return nil, schema.Refuse(schema.ReasonBadHeader, "%s %d, this program knows %d", want.what, got, want.n)
		}
		at += 2
	}
	for _, k := range keys {
		if bytes.Equal(head[at:], k.recipient.id[:]) {
			return k, nil
		}
	}
	return nil, schema.Refuse(schema.ReasonWrongRecipient, "sealed to recipient key %x, which is not at hand", head[at:])
}

// write puts the lines and the manifest that names them together.
func write(lines [][]byte, m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	var b bytes.Buffer
	m.IDs = make([]string, 0, len(lines))
	for i, raw := range lines {
		signed, err := envelope.Verify(raw, envelope.MaxEnvelope, lineTypes...)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		m.IDs = append(m.IDs, signed.ID)
		b.Write(raw)
		b.WriteByte('\n')
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the private key has no Ed25519 public key")
	}
	m.Host, m.Count = schema.KeyID(pub), len(lines)
	payload, err := EncodeManifest(m)
	if err != nil {
		return nil, err
	}
	raw, _, err := envelope.Sign(TypeManifest, payload, key)
	if err != nil {
		return nil, err
	}
	b.Write(raw)
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// read takes apart what was sealed: lines, their signatures, the manifest.
func read(content []byte) ([]Line, Manifest, error) {
	texts, err := split(content)
	if err != nil {
		return nil, Manifest{}, err
	}
	last := len(texts) - 1
	lines := make([]Line, last)
	for i, raw := range texts[:last] {
		signed, err := envelope.Verify(raw, envelope.MaxEnvelope, lineTypes...)
		if err != nil {
			return nil, Manifest{}, atLine(i+1, err)
		}
		lines[i] = Line{Type: signed.Type, ID: signed.ID, Key: signed.Key, Raw: raw}
	}
	signed, err := envelope.Verify(texts[last], maxManifestEnvelope, TypeManifest)
	if err != nil {
		return nil, Manifest{}, atLine(last+1, err)
	}
	m, err := DecodeManifest(signed.Payload)
	if err != nil {
		return nil, Manifest{}, atLine(last+1, err)
	}
	if err := m.names(lines, signed.Key); err != nil {
		return nil, Manifest{}, err
	}
	return lines, m, nil
}

// split cuts what was sealed into its lines, which share its memory.
func split(content []byte) ([][]byte, error) {
	if len(content) == 0 || content[len(content)-1] != '\n' {
		return nil, schema.Refuse(schema.ReasonBadLines, "the last line does not end")
	}
	if n := bytes.Count(content, []byte("\n")); n > MaxLines+1 {
		return nil, schema.Refuse(schema.ReasonBadLines, "%d lines, at most %d and a manifest", n, MaxLines)
	}
	return bytes.Split(content[:len(content)-1], []byte("\n")), nil
}

// atLine says where a refusal was met.
func atLine(n int, err error) error {
	if r, ok := errors.AsType[*schema.Refusal](err); ok {
		return schema.Refuse(r.Reason, "line %d: %w", n, r.Err)
	}
	return fmt.Errorf("line %d: %w", n, err)
}

// Check inflates and decodes every report, one at a time, holds the manifest
// against what they say, and hands each to f. The error is a *schema.Refusal, or
// f's.
func (o *Opened) Check(f func(Line, *schema.Report) error) error {
	var first, last uint64
	for i, l := range o.Lines {
		if l.Type != envelope.TypeStatement {
			continue
		}
		r, err := openReport(l.Raw)
		if err != nil {
			return atLine(i+1, err)
		}
		if schema.KeyID(l.Key) == o.Manifest.Host {
			if first == 0 || r.Sequence < first {
				first = r.Sequence
			}
			last = max(last, r.Sequence)
		}
		if err := f(l, r); err != nil {
			return err
		}
	}
	if first != o.Manifest.First || last != o.Manifest.Last {
		return schema.Refuse(schema.ReasonManifestDiffers, "the host's reports are %d to %d, the manifest says %d to %d",
			first, last, o.Manifest.First, o.Manifest.Last)
	}
	return nil
}

func openReport(raw []byte) (*schema.Report, error) {
	opened, err := envelope.Open(raw)
	if err != nil {
		return nil, err
	}
	return opened.Report()
}
