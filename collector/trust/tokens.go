package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// TokenPrefix begins every API token, so that scanners of leaked secrets know one.
const TokenPrefix = "pp_"

// tokenBytes is a token's randomness: 256 bits.
const tokenBytes = 32

// NewToken makes an API token. It is shown once; the store keeps its hash.
func NewToken() (token, hash string, err error) {
	var secret [tokenBytes]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", "", err
	}
	token = TokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	return token, HashToken(token), nil
}

// HashToken returns the SHA-256 (hex) a token is stored and found by. The token
// has 256 random bits, so a slow hash would add nothing.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// ValidToken reports whether a string has the form of a token; it says nothing
// on whether the token is known.
func ValidToken(token string) bool {
	secret, ok := strings.CutPrefix(token, TokenPrefix)
	if !ok {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(secret)
	// The decoder passes over line ends and spare bits: one spelling only.
	return err == nil && len(b) == tokenBytes && base64.RawURLEncoding.EncodeToString(b) == secret
}

// SameHash compares two token hashes in a time that does not tell where they differ.
func SameHash(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// decodeSeed reads the last field of a note signer key: algorithm 1 (Ed25519)
// and the seed.
func decodeSeed(field string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(field)
	if err != nil || len(b) != 1+ed25519.SeedSize || b[0] != 1 {
		return nil, errors.New("not an Ed25519 note signer key")
	}
	return b[1:], nil
}
