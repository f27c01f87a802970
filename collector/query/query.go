// Package query answers people's questions: what is due when, and why, who has
// a vulnerability, what an asset runs, how complete the picture is.
//
// Invariants:
//   - It only reads.
//   - Every answer says as of when, under which policy and from which feeds it
//     was given, and how many rows it holds.
//   - What could not be read, compared or covered is in the answer, never left out.
package query

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

// Store is what answering needs of the collector's memory.
type Store interface {
	store.Reports
	store.Lines
	store.Assets
	store.Quarantine
	store.Advisories
	store.Assessments
	store.Findings
	store.Evidence
	store.Policies
	store.Classifications
	store.Past
}

// Service answers questions over a store.
type Service struct {
	Store Store
	Now   func() time.Time

	// position is set where the service answers for the past.
	position *store.Position
	// zone is that of the policy a day was asked of last: reading one takes milliseconds.
	zone atomic.Pointer[policyZone]
}

type policyZone struct {
	policy string
	zone   *time.Location
}

// policyAt is the policy in force at the end of the second that an instant names:
// it may have come into force in it. A past instant is meant to the microsecond.
func (s *Service) policyAt(ctx context.Context, at time.Time) (store.PolicyRecord, error) {
	if s.position != nil {
		return s.Store.PolicyInForce(ctx, at)
	}
	return s.Store.PolicyInForce(ctx, at.Add(time.Second-time.Microsecond))
}

// Meta says what an answer stands on.
type Meta struct {
	AsOf time.Time `json:"as_of" doc:"Instant the answer speaks of."`
	// Leaf is set in answers on the past.
	Leaf *int64 `json:"leaf,omitempty" doc:"Newest leaf of the evidence log by then; only in answers on the past."`
	// Count is the number of rows in the answer.
	Count int `json:"count"`
	// Filters restate what was asked for, by the names of the filters.
	Filters map[string]string `json:"filters" doc:"What was asked for, by the names of the filters."`
	// Policy is the digest of the policy in force.
	Policy string `json:"policy" doc:"SHA-256 of the policy in force."`
	Feeds  []Feed `json:"feeds" doc:"Feeds the answer stands on."`
	// Coverage says how complete the picture behind the answer is.
	Coverage AssetCounts `json:"coverage"`
}

// Feed says how fresh one source is.
type Feed struct {
	Name       string    `json:"name"`
	Kind       string    `json:"kind"`
	Digest     string    `json:"digest" doc:"SHA-256 of the newest applied snapshot or upsert."`
	Published  time.Time `json:"published,omitzero" doc:"The publisher's own date of the data."`
	ImportedAt time.Time `json:"imported_at"`
	AgeSeconds int64     `json:"age_seconds" doc:"From the import to the instant of the answer."`
	Snapshot   bool      `json:"snapshot" doc:"Whether a whole snapshot was ever applied."`
	Advisories int       `json:"advisories"`
	Withdrawn  int       `json:"withdrawn"`
	Missing    int       `json:"missing" doc:"Advisories held that the newest snapshot no longer lists."`
	Facts      int       `json:"facts"`
	Releases   []string  `json:"releases" doc:"Distribution releases covered."`
	Held       *Held     `json:"held,omitempty"`
}

// Held is a snapshot that waits for a person.
type Held struct {
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// now is the instant an answer speaks of.
func (s *Service) now() time.Time {
	if s.position != nil {
		return s.position.At
	}
	return s.Now().UTC().Truncate(time.Second)
}

func (s *Service) meta(ctx context.Context, at time.Time, count int) (Meta, error) {
	feeds, err := s.Feeds(ctx)
	if err != nil {
		return Meta{}, err
	}
	m := Meta{AsOf: at, Count: count, Filters: map[string]string{}, Feeds: feeds}
	if s.position != nil {
		m.Leaf = &s.position.Leaf
	}
	if m.Coverage, err = s.assetCounts(ctx, at); err != nil {
		return m, err
	}
	rec, err := s.policyAt(ctx, at)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return m, fmt.Errorf("read policy: %w", err)
	default:
		m.Policy = rec.Digest
	}
	return m, nil
}

// Feeds states what is held of every feed.
func (s *Service) Feeds(ctx context.Context) ([]Feed, error) {
	states, err := s.Store.Feeds(ctx)
	if err != nil {
		return nil, fmt.Errorf("list feeds: %w", err)
	}
	at := s.now()
	out := make([]Feed, 0, len(states))
	for _, f := range states {
		row := Feed{
			Name: f.Feed.Name, Kind: f.Feed.Kind, Digest: f.Digest, Published: f.Published,
			ImportedAt: f.ImportedAt, AgeSeconds: int64(max(at.Sub(f.ImportedAt), 0) / time.Second), Snapshot: !f.SnapshotAt.IsZero(), Advisories: f.Advisories,
			Withdrawn: f.Withdrawn, Missing: f.Missing, Facts: f.Facts, Releases: []string{},
		}
		for _, r := range f.Releases {
			row.Releases = append(row.Releases, r.String())
		}
		if f.Held != nil {
			row.Held = &Held{Digest: f.Held.Digest, At: f.Held.At, Reason: f.Held.Reason}
		}
		out = append(out, row)
	}
	return out, nil
}
