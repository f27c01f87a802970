package ingest

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Errors of Trust.
var (
	// ErrUnseen: no quarantined report was sealed by a key with this fingerprint.
	ErrUnseen = errors.New("no report by a key with this fingerprint has arrived; " +
		"start the agent, compare what `patchproof-agent status` prints, and try again, or give the whole key in hex")
	// ErrTrusted: the key is a host's already.
	ErrTrusted = errors.New("the key is already trusted")
	// ErrInvalid: what was asked for makes no sense.
	ErrInvalid = errors.New("invalid")
)

// TrustRequest is an operator's act of letting a host in.
type TrustRequest struct {
	// Key is the fingerprint of a key whose reports wait in quarantine, or a whole
	// key in hex, which may be trusted before its first report.
	Key string
	// Name defaults to the host name in the newest waiting report, then to the asset's id.
	Name       string
	Attributes store.Attributes
	// By says who does it, for the evidence: a token's name, or "cli".
	By string
}

// Trusted is what came of a TrustRequest.
type Trusted struct {
	Asset       store.Asset
	Fingerprint string
	Leaf        int64
	Replay      Replayed
}

// Trust records a new asset for a key and replays the key's waiting reports in
// order of sequence. The trust stands even when the replay is cut short; the
// next ReplayTrusted takes up what is left.
func (d *Door) Trust(ctx context.Context, req TrustRequest) (Trusted, error) {
	key, err := d.resolve(ctx, req.Key)
	if err != nil {
		return Trusted{}, fmt.Errorf("trust host: %w", err)
	}
	id := schema.KeyID(key)
	if held, err := d.o.Store.AssetByKey(ctx, id); err == nil {
		return Trusted{}, fmt.Errorf("trust host: %w, as host %q (%s)", ErrTrusted, held.Name, held.ID)
	} else if !errors.Is(err, store.ErrNotFound) {
		return Trusted{}, fmt.Errorf("trust host: look up key: %w", err)
	}
	t, err := d.admit(ctx, key, req)
	if err != nil {
		return Trusted{}, fmt.Errorf("trust host: %w", err)
	}
	waiting, err := d.waiting(ctx, id)
	if err == nil {
		err = d.replay(ctx, waiting, &t.Replay)
	}
	if err != nil {
		// Trusted all the same: say so beside the error.
		return t, fmt.Errorf("replay waiting reports of %s, which is now trusted: %w", t.Asset.ID, err)
	}
	return t, nil
}

// admit writes the new asset with its leaf. It holds the key's lock, so that a
// report in the door at this moment is either in quarantine before, and found
// by the replay, or sees the key trusted.
func (d *Door) admit(ctx context.Context, key ed25519.PublicKey, req TrustRequest) (Trusted, error) {
	defer d.lock(schema.KeyID(key))()
	at := schema.Timestamp(d.o.Now())
	a := store.Asset{ID: AssetID(key), Name: req.Name, Key: schema.KeyID(key), TrustedAt: at, Attributes: withUnknowns(req.Attributes)}
	a.Declared = classify.Declared{Attributes: req.Attributes, By: req.By, At: at}
	if a.Name == "" {
		waiting, err := d.waiting(ctx, a.Key)
		if err != nil {
			return Trusted{}, err
		}
		a.Name = cmp.Or(hostname(waiting), a.ID)
	}
	if err := errors.Join(checkName(a.Name), checkAttributes(a.Attributes)); err != nil {
		return Trusted{}, err
	}
	t := Trusted{Asset: a, Fingerprint: schema.Fingerprint(key)}
	leaf, err := evidence.TrustLeaf(a, req.By, at)
	if err != nil {
		return Trusted{}, fmt.Errorf("make leaf: %w", err)
	}
	t.Leaf, err = d.o.Store.TrustKey(ctx, a, leaf)
	if errors.Is(err, store.ErrExists) {
		return Trusted{}, fmt.Errorf("%w: %w", ErrTrusted, err)
	}
	if err != nil {
		return Trusted{}, err
	}
	d.o.Log.Info("host trusted", "asset", a.ID, "name", a.Name, "fingerprint", t.Fingerprint, "leaf", t.Leaf)
	return t, nil
}

// AssetID is the id of the asset that is first trusted with a key.
func AssetID(key ed25519.PublicKey) string {
	const length = 16
	sum := sha256.Sum256(append([]byte("patchproof asset v1\n"), key...))
	return "a-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:length]
}

// resolve finds the key an operator means.
func (d *Door) resolve(ctx context.Context, typed string) (ed25519.PublicKey, error) {
	typed = strings.TrimSpace(typed)
	if raw, err := hex.DecodeString(typed); err == nil && len(raw) == ed25519.PublicKeySize {
		key, err := schema.ParseKeyID(strings.ToLower(typed))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return key, nil
	}
	want, err := schema.ParseFingerprint(typed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	keys, err := d.o.Store.QuarantineKeys(ctx, schema.ReasonUnknownKey)
	if err != nil {
		return nil, fmt.Errorf("look up waiting keys: %w", err)
	}
	for id := range keys {
		if key, err := schema.ParseKeyID(id); err == nil && schema.Fingerprint(key) == want {
			return key, nil
		}
	}
	return nil, d.unseen(ctx, want)
}

// unseen tells a fingerprint that is trusted already from one never seen.
func (d *Door) unseen(ctx context.Context, want string) error {
	assets, err := d.o.Store.Assets(ctx)
	if err != nil {
		return fmt.Errorf("list hosts: %w", err)
	}
	for _, a := range assets {
		if key, err := schema.ParseKeyID(a.Key); err == nil && schema.Fingerprint(key) == want {
			return fmt.Errorf("%w, as host %q (%s)", ErrTrusted, a.Name, a.ID)
		}
	}
	return fmt.Errorf("%s: %w", want, ErrUnseen)
}
