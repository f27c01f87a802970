package schema

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeyID names an evidence or receipt key: the lowercase hex of its 32 bytes.
// It is the DSSE keyid, so an envelope carries the key it is verified with.
func KeyID(pub ed25519.PublicKey) string { return hex.EncodeToString(pub) }

// ParseKeyID returns the key an id names. Beyond the spelling it refuses what
// crypto/ed25519 would verify with but nobody alone holds: non-canonical
// encodings of a point, and the points of low order, for which signatures that
// verify can be made without any private key.
func ParseKeyID(s string) (ed25519.PublicKey, error) {
	if len(s) != 2*ed25519.PublicKeySize {
		return nil, fmt.Errorf("parse key id: %d characters, want %d", len(s), 2*ed25519.PublicKeySize)
	}
	key, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("parse key id: %w", err)
	}
	if KeyID(key) != s {
		return nil, errors.New("parse key id: want lowercase hex")
	}
	if err := checkPoint(key); err != nil {
		return nil, fmt.Errorf("parse key id: %w", err)
	}
	return key, nil
}

// The y coordinates, little endian, of the eight points of low order. The sign
// of x does not matter: both points with such a y are of low order.
var lowOrder = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // the identity
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
}

// fieldPrime is 2^255-19, little endian; y must be below it.
const fieldPrime = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"

func checkPoint(key []byte) error {
	var y [ed25519.PublicKeySize]byte
	copy(y[:], key)
	y[31] &= 0x7f
	spelt := hex.EncodeToString(y[:])
	for _, low := range lowOrder {
		if spelt == low {
			return errors.New("a point of low order: anybody could sign for it")
		}
	}
	if bigEndian(spelt) >= bigEndian(fieldPrime) {
		return errors.New("not the canonical encoding of a point")
	}
	return nil
}

// bigEndian turns the hex of a little-endian number around, so that strings of
// equal length compare as the numbers do.
func bigEndian(littleHex string) string {
	var b strings.Builder
	for i := len(littleHex) - 2; i >= 0; i -= 2 {
		b.WriteString(littleHex[i : i+2])
	}
	return b.String()
}

var fingerprintEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Fingerprint is the spelling of a key for people to read to each other: the
// SHA-256 of the key in base32, 13 groups of 4 joined by "-".
func Fingerprint(pub ed25519.PublicKey) string {
	return FingerprintOf(sha256.Sum256(pub))
}

// FingerprintOf is the spelling of a SHA-256 for people to read to each other.
func FingerprintOf(sum [sha256.Size]byte) string {
	return group(fingerprintEncoding.EncodeToString(sum[:]))
}

func group(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += 4 {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(s[i:min(i+4, len(s))])
	}
	return b.String()
}

// ParseFingerprint returns the canonical form of a fingerprint as a person may
// type it: in any case, with spaces, with dashes or without.
func ParseFingerprint(s string) (string, error) {
	const maxTyped = 256
	if len(s) > maxTyped {
		return "", fmt.Errorf("parse fingerprint: %d characters, want 52 in 13 groups of 4", len(s))
	}
	bare := strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ' || r == '\t' || r == '\n' || r == '\r':
			return -1
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
	sum, err := fingerprintEncoding.DecodeString(bare)
	if err != nil {
		return "", fmt.Errorf("parse fingerprint: %w", err)
	}
	if len(bare) != 52 || len(sum) != sha256.Size {
		return "", fmt.Errorf("parse fingerprint: %d letters and digits, want 52 in 13 groups of 4", len(bare))
	}
	// The last character carries four spare bits, which must be zero: one
	// fingerprint has one spelling.
	if fingerprintEncoding.EncodeToString(sum) != bare {
		return "", errors.New("parse fingerprint: the last character is mistyped")
	}
	return group(bare), nil
}
