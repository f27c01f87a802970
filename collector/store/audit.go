package store

import (
	"context"
	"time"
)

// TrustedKey is a key that is trusted for an asset, with the leaf that says so.
type TrustedKey struct {
	Key       string
	Asset     string
	TrustedAt time.Time
	Leaf      int64
}

// Audit reads what verification holds against the log, and recomputes what is
// kept twice.
type Audit interface {
	// TrustedKeys lists every key ever trusted, by leaf.
	TrustedKeys(ctx context.Context) ([]TrustedKey, error)
	// HashCount returns how many tree hashes are stored.
	HashCount(ctx context.Context) (int64, error)
	// Contents returns the digests of the rows that were written under a leaf, by
	// the names of their lists: the SHA-256 (hex) over one text a row, each with a
	// newline after it. A leaf that is sealed with them names the same.
	//
	//	advisories   JSON arrays [feed, id, digest, missing], by feed, id
	//	fixes        JSON arrays [release, feed, id, fix, first seen in microseconds], in that order
	//	facts_seen   JSON arrays [vulnerability, facts], by vulnerability
	Contents(ctx context.Context, leaf int64) (map[string]string, error)
	// FactsDigest is the same over the facts of a kind of feed as they stand, each
	// "vulnerability missing facts". FactKinds lists the kinds there are facts of.
	FactsDigest(ctx context.Context, kind string) (string, error)
	FactKinds(ctx context.Context) ([]string, error)
	// Outcomes returns what assessments recorded under a leaf, by asset.
	Outcomes(ctx context.Context, leaf int64) ([]Outcome, error)
	// EachQuarantined calls f for every quarantined envelope, with Raw, by digest.
	EachQuarantined(ctx context.Context, f func(Quarantined) error) error
	// FeedRecords lists what is held of feeds, by name, without counts.
	FeedRecords(ctx context.Context) ([]FeedState, error)
	// CheckDerived recomputes everything that is kept for speed alone - groupings,
	// counts, names, uses - from what it is derived from, and calls fault for each
	// row that is not what it has to be. Where names the table and the row.
	CheckDerived(ctx context.Context, fault func(where, what string)) error
}
