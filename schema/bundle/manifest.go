package bundle

import (
	"crypto/ed25519"
	"time"

	"github.com/patchproof/patchproof/schema"
)

// Manifest is what a host signs of a bundle as a whole.
type Manifest struct {
	// Host is the KeyID of the evidence key that signs the manifest. Envelopes by
	// another key may travel along: a host that changed its key brings what the old
	// one had sealed.
	Host string `json:"host"`
	// First and Last are the lowest and highest sequence of the host's reports in
	// the bundle, 0 when it has none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Count is how many lines come before the manifest, IDs name them in order.
	Count int      `json:"count"`
	IDs   []string `json:"ids"`
	// MadeAt is the host's own clock, a claim.
	MadeAt time.Time `json:"made_at"`
	// Agent is the version of the agent that made it.
	Agent string `json:"agent"`
}

// MaxManifest is the most bytes of a manifest's JSON: MaxLines ids and the rest.
const MaxManifest = 1 << 20

// maxManifestEnvelope is room for MaxManifest in base64.
const maxManifestEnvelope = MaxManifest*4/3 + 1024

const maxAgent = 256

// EncodeManifest returns the one spelling of a manifest.
func EncodeManifest(m Manifest) ([]byte, error) {
	m.MadeAt = schema.Timestamp(m.MadeAt)
	m.Agent = schema.CleanText(m.Agent, maxAgent)
	if m.IDs == nil {
		m.IDs = []string{}
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	return schema.MarshalCanonical(m)
}

// DecodeManifest returns the manifest a payload holds. It refuses any bytes
// EncodeManifest would not have written; the error is a *schema.Refusal.
func DecodeManifest(payload []byte) (Manifest, error) {
	return schema.DecodeStrict(payload, MaxManifest, Manifest.validate)
}

func (m Manifest) validate() error {
	bad := func(format string, args ...any) error {
		return schema.Refuse(schema.ReasonOutOfBounds, "manifest: "+format, args...)
	}
	if _, err := schema.ParseKeyID(m.Host); err != nil {
		return bad("host: %w", err)
	}
	if m.Count != len(m.IDs) || m.Count > MaxLines || m.IDs == nil {
		return bad("count %d of %d ids, at most %d", m.Count, len(m.IDs), MaxLines)
	}
	if m.First > m.Last || (m.First == 0) != (m.Last == 0) || m.Last > schema.MaxInteger {
		return bad("first %d, last %d", m.First, m.Last)
	}
	seen := make(map[string]struct{}, len(m.IDs))
	for _, id := range m.IDs {
		if !schema.IsDigest(id) {
			return bad("%.80q is not an id", id)
		}
		seen[id] = struct{}{}
	}
	if len(seen) != len(m.IDs) {
		return bad("an id is named twice")
	}
	if m.MadeAt.IsZero() {
		return bad("made_at: missing")
	}
	if err := schema.CheckTimestamp("made_at", m.MadeAt); err != nil {
		return err
	}
	if m.Agent != schema.CleanText(m.Agent, maxAgent) {
		return bad("agent: too long, or not text")
	}
	return nil
}

// names holds the manifest against the lines and against who signed it.
func (m Manifest) names(lines []Line, signer ed25519.PublicKey) error {
	if key := schema.KeyID(signer); key != m.Host {
		return schema.Refuse(schema.ReasonManifestDiffers, "the manifest is of host %s and signed by %s", m.Host, key)
	}
	if len(lines) != m.Count {
		return schema.Refuse(schema.ReasonManifestDiffers, "%d lines, the manifest says %d", len(lines), m.Count)
	}
	for i, l := range lines {
		if l.ID != m.IDs[i] {
			return schema.Refuse(schema.ReasonManifestDiffers, "line %d is %s, the manifest says %s", i+1, l.ID, m.IDs[i])
		}
	}
	return nil
}
