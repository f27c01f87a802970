package store

import (
	"context"
	"errors"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// Errors of questions on the past.
var (
	// ErrNoHistory: the instant is before anything that was kept.
	ErrNoHistory = errors.New("before the record begins")
	// ErrNotKept: what was asked for is of the present only.
	ErrNotKept = errors.New("not kept for the past")
)

// Position is a place in the evidence log: what was recorded by an instant.
type Position struct {
	At time.Time
	// Leaf is the newest leaf by then, Checkpoint the size of the newest checkpoint,
	// 0 for none.
	Leaf       int64
	Checkpoint int64
}

// AssetVersion is an asset as it stood from a leaf on, without its reports and how
// far it is assessed.
type AssetVersion struct {
	Leaf  int64
	At    time.Time // the leaf's
	Asset Asset
}

// PeriodCount counts findings by what became of them in a period. Those that ran at
// its start, were recorded in it, or came back, less those that closed, are those
// that run at its end. One that closed and came back in it only ran through.
type PeriodCount struct {
	Value string
	// Outcome is how the Closed ones ended, as is known at the period's end; rows
	// without one count the others.
	Outcome finding.Outcome

	OpenAtStart, Recorded, Reopened, Closed, OpenAtEnd int
	// Dated counts those of the Closed that had a deadline.
	Dated int
	// Breached and Unmitigated count breaches in the period, Due patch deadlines that
	// fell in it.
	Breached, Unmitigated, Due int
}

// Past answers for moments that are over.
type Past interface {
	// Past calls f with the store as it stood at the end of an instant, which must
	// be over. Two calls with the same instant see the same, whatever is recorded
	// between them and whatever instants it bears. Verbs whose answers are not kept
	// return ErrNotKept; f must not write, nor keep what it was given.
	// ErrNoHistory when the record begins later.
	Past(ctx context.Context, at time.Time, f func(Store, Position) error) error
	// Between is Past at the later of two instants, in which Period tells what became
	// of findings since the earlier one.
	Between(ctx context.Context, from, to time.Time, f func(Store, Position) error) error
	// Period counts what became of the findings that a query lets through at the end
	// of a period, by one of Groupings or all together; only within Between. What
	// orders and pages a query is not looked at.
	Period(ctx context.Context, q FindingQuery, by string) ([]PeriodCount, error)
	// HistoryBegins is the first instant that can be asked about; ErrNotFound
	// before the first leaf.
	HistoryBegins(ctx context.Context) (time.Time, error)
	// AssetVersions returns every state of an asset but its reports, oldest first;
	// ErrNotFound when there is no such asset. A database from before states were kept
	// begins with the state of its migration.
	AssetVersions(ctx context.Context, id string) ([]AssetVersion, error)
	// AssetKeys returns the keys ever trusted for an asset, by leaf.
	AssetKeys(ctx context.Context, id string) ([]TrustedKey, error)
	// FactsNotKept names the kinds of facts on a vulnerability that are not told of
	// the moment in view, though they may have been known: EPSS scores of what no
	// finding was of. There are none in the present.
	FactsNotKept(ctx context.Context, vulnerability string) ([]string, error)
}
