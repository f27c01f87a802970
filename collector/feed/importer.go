package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

// Store is what an Importer asks of the collector's memory.
type Store interface {
	store.Advisories
	// VulnerabilitiesWithFindings lists the vulnerabilities some running finding has.
	VulnerabilitiesWithFindings(ctx context.Context) (map[string]struct{}, error)
}

// Importer applies batches to the store, or holds them. One import runs at a time.
type Importer struct {
	Store Store
	Now   func() time.Time
	Log   *slog.Logger

	one sync.Mutex
}

// Result says what became of a batch.
type Result string

// Results.
const (
	// Applied: the batch is in the store.
	Applied Result = "applied"
	// Held: nothing was applied; a person has to confirm.
	Held Result = "held"
	// Unchanged: the store already has exactly this, or something newer.
	Unchanged Result = "unchanged"
)

// Outcome is what became of one batch.
type Outcome struct {
	Feed     string    `json:"feed"`
	Kind     string    `json:"kind"`
	Snapshot bool      `json:"snapshot"`
	Digest   string    `json:"digest"`
	Released time.Time `json:"published,omitzero"`
	Result   Result    `json:"result"`
	// Reasons say why it was held, what a confirmation overruled, or why nothing changed.
	Reasons []string `json:"reasons,omitempty"`
	// Advisories and Facts count what the batch has, Skipped what its document has beside.
	Advisories int            `json:"advisories"`
	Facts      int            `json:"facts"`
	Skipped    map[string]int `json:"skipped,omitempty"`
	// Applied says what changed, zero unless Result is Applied.
	Applied store.Applied `json:"applied,omitzero"`
}

// Import applies a batch, or holds it when it would take something away and
// confirm is false. Nothing is ever applied in part.
func (im *Importer) Import(ctx context.Context, b advisory.Batch, confirm bool) (Outcome, error) {
	return im.ImportAs(ctx, b, confirm, "")
}

// ImportAs is Import with the name of who asks, which the evidence of a
// confirmed import carries.
func (im *Importer) ImportAs(ctx context.Context, b advisory.Batch, confirm bool, by string) (Outcome, error) {
	im.one.Lock()
	defer im.one.Unlock()
	out, err := im.run(ctx, b, confirm, by)
	if err != nil {
		return Outcome{}, fmt.Errorf("import feed %s: %w", b.Feed.Name, err)
	}
	im.report(out)
	return out, nil
}

func (im *Importer) report(out Outcome) {
	log := im.Log.With("feed", out.Feed, "digest", out.Digest)
	switch out.Result {
	case Held:
		log.Warn("feed held", "reasons", out.Reasons)
	case Unchanged:
		log.Info("feed unchanged")
	default:
		log.Info("feed applied", "advisories", out.Advisories, "facts", out.Facts, "overruled", out.Reasons)
	}
}

func (im *Importer) run(ctx context.Context, b advisory.Batch, confirm bool, by string) (Outcome, error) {
	if b.Feed.Name == "" || b.Feed.Kind == "" || b.Digest == "" {
		return Outcome{}, errors.New("a batch needs its feed's name and kind, and a digest")
	}
	states, err := im.Store.Feeds(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if !b.Snapshot {
		route(&b, states)
	}
	out := Outcome{
		Feed: b.Feed.Name, Kind: b.Feed.Kind, Snapshot: b.Snapshot, Digest: b.Digest, Released: b.Published,
		Advisories: len(b.Advisories), Facts: len(b.Facts), Skipped: b.Skipped,
	}
	state := stateOf(states, b.Feed)
	if state.Digest == b.Digest && (!b.Snapshot || !state.SnapshotAt.IsZero()) {
		out.Result = Unchanged
		out.Reasons = []string{"the same bytes were imported at " + state.ImportedAt.Format(time.RFC3339)}
		return out, nil
	}
	out.Reasons, err = im.reasons(ctx, b, state)
	if err != nil {
		return Outcome{}, err
	}
	if len(out.Reasons) > 0 && !confirm {
		out.Result = Held
		return out, im.hold(ctx, b, state, out.Reasons)
	}
	out.Result = Applied
	out.Applied, err = im.apply(ctx, b, out.Reasons, by)
	return out, err
}

func stateOf(states []store.FeedState, f advisory.Feed) store.FeedState {
	for _, s := range states {
		if s.Feed.Name == f.Name {
			return s
		}
	}
	return store.FeedState{Feed: f}
}

// route sends a single record to the feed that has its kind of records. One
// OSV record is named for its release ("osv:Debian:12"); where the whole
// distribution was imported instead ("osv:Debian"), it belongs there.
func route(b *advisory.Batch, states []store.FeedState) {
	whole := b.Feed.Name
	if i := strings.LastIndex(whole, ":"); i > 0 {
		whole = whole[:i]
	}
	for _, s := range states {
		if s.Feed.Name == b.Feed.Name && !s.SnapshotAt.IsZero() {
			return
		}
	}
	for _, s := range states {
		if s.Feed.Name != whole || s.Feed.Kind != b.Feed.Kind || s.SnapshotAt.IsZero() {
			continue
		}
		b.Feed.Name = whole
		advisories := make([]advisory.Advisory, len(b.Advisories))
		for i, a := range b.Advisories {
			a.Feed = whole
			advisories[i] = a
		}
		b.Advisories = advisories
	}
}

// hold records that a batch waits. The same one waiting again is no news.
func (im *Importer) hold(ctx context.Context, b advisory.Batch, state store.FeedState, reasons []string) error {
	h := store.Held{Digest: b.Digest, At: im.now(), Reason: strings.Join(reasons, "; ")}
	if state.Held != nil && state.Held.Digest == h.Digest && state.Held.Reason == h.Reason {
		return nil
	}
	leaf, err := evidence.FeedHeldLeaf(b.Feed, h)
	if err != nil {
		return err
	}
	return im.Store.HoldBatch(ctx, b.Feed, h, leaf)
}

func (im *Importer) apply(ctx context.Context, b advisory.Batch, overruled []string, by string) (store.Applied, error) {
	at := im.now()
	leaf, err := evidence.FeedLeaf(b, strings.Join(overruled, "; "), by, at)
	if err != nil {
		return store.Applied{}, err
	}
	return im.Store.ApplyBatch(ctx, b, at, leaf)
}

func (im *Importer) now() time.Time { return im.Now().UTC().Truncate(time.Microsecond) }
