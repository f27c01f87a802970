package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/patchproof/patchproof/agent/internal/durable"
)

// ClaimsFile holds what the collector signed for the transport key: a NATS user
// JWT. It is no secret, and of use to nobody without the key.
const ClaimsFile = "transport.jwt"

// errOther says that claims are for another key.
var errOther = errors.New("the claims are for another transport key")

// Claims returns what the collector signed for the transport key, empty when it
// has not signed anything yet. Claims for another key are as good as none: the
// host has a new key since.
func (id *Identity) Claims() (string, error) {
	data, err := readKey(filepath.Join(id.Dir, ClaimsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read claims: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if err := id.ours(text); errors.Is(err, errOther) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("read claims %s: %w", filepath.Join(id.Dir, ClaimsFile), err)
	}
	return text, nil
}

// KeepClaims keeps new claims in place of the old. They must be for the
// transport key; whether they are genuine is for the broker to say.
func (id *Identity) KeepClaims(text string) error {
	if len(text) >= maxKeyFile {
		return fmt.Errorf("keep claims: %d bytes, at most %d", len(text), maxKeyFile-1)
	}
	if err := id.ours(text); err != nil {
		return fmt.Errorf("keep claims: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(id.Dir, ClaimsFile), []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep claims: %w", err)
	}
	return nil
}

// ours refuses claims for another key.
func (id *Identity) ours(text string) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("not a JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return fmt.Errorf("not a JWT: %w", err)
	}
	var c struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return fmt.Errorf("not a JWT: %w", err)
	}
	if c.Subject != id.TransportKey {
		return fmt.Errorf("%w, %.60q and not %s", errOther, c.Subject, id.TransportKey)
	}
	return nil
}
