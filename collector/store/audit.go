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
	// CheckDerived recomputes everything that is kept for speed alone - groupings,
	// counts, names, uses - from what it is derived from, and calls fault for each
	// row that is not what it has to be. Where names the table and the row.
	CheckDerived(ctx context.Context, fault func(where, what string)) error
}
