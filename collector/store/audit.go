package store

import (
	"context"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
)

// TrustedKey is a key that is trusted for an asset, with the leaf that says so.
type TrustedKey struct {
	Key       string
	Asset     string
	TrustedAt time.Time
	Leaf      int64
}

// AdvisoryHistory tells what Advisories answered when the log had fewer leaves.
type AdvisoryHistory interface {
	// For is AdvisoriesFor, Generation changes whenever its answer does.
	For(r inventory.Release, leaves int64) []advisory.Advisory
	Generation(r inventory.Release, leaves int64) int64
	// Advisory is one as For has it for any of the releases, nil when none has.
	Advisory(feed, id string, leaves int64) *advisory.Advisory
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
	// "vulnerability missing leaf facts". FactKinds lists the kinds there are facts of.
	FactsDigest(ctx context.Context, kind string) (string, error)
	FactKinds(ctx context.Context) ([]string, error)
	// Outcomes returns what assessments recorded under a leaf, by asset.
	Outcomes(ctx context.Context, leaf int64) ([]Outcome, error)
	// EachQuarantined calls f for every quarantined envelope, with Raw, by digest.
	EachQuarantined(ctx context.Context, f func(Quarantined) error) error
	// FeedRecords lists what is held of feeds, by name, without counts.
	FeedRecords(ctx context.Context) ([]FeedState, error)
	// Releases lists the distribution releases that reports are of.
	Releases(ctx context.Context) ([]inventory.Release, error)
	// AdvisoryHistory reads every version of the advisories of some releases.
	AdvisoryHistory(ctx context.Context, releases []inventory.Release) (AdvisoryHistory, error)
	// StatesBefore, FindingsBefore are States and AssetFindings as they were when the
	// log had some leaves.
	StatesBefore(ctx context.Context, asset string, after uint64, leaves int64) ([]Report, error)
	FindingsBefore(ctx context.Context, asset string, leaves int64) ([]finding.Finding, error)
	// FactsSeen returns what assessments read of vulnerabilities, up to the leaf of one.
	FactsSeen(ctx context.Context, vulnerabilities []string, leaf int64) (map[string]advisory.Facts, error)
	// CheckDerived recomputes everything that is kept for speed alone - groupings,
	// counts, names, uses - from what it is derived from, and calls fault for each
	// row that is not what it has to be. Where names the table and the row.
	CheckDerived(ctx context.Context, fault func(where, what string)) error
}
