package store

import (
	"context"
	"errors"
	"time"
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

// Past answers for moments that are over.
type Past interface {
	// Past calls f with the store as it stood at the end of an instant, which must
	// be over. Two calls with the same instant see the same, whatever is recorded
	// between them and whatever instants it bears. Verbs whose answers are not kept
	// return ErrNotKept; f must not write, nor keep what it was given.
	// ErrNoHistory when the record begins later.
	Past(ctx context.Context, at time.Time, f func(Store, Position) error) error
	// HistoryBegins is the first instant that can be asked about; ErrNotFound
	// before the first leaf.
	HistoryBegins(ctx context.Context) (time.Time, error)
	// FactsNotKept names the kinds of facts on a vulnerability that are not told of
	// the moment in view, though they may have been known: EPSS scores of what no
	// finding was of. There are none in the present.
	FactsNotKept(ctx context.Context, vulnerability string) ([]string, error)
}
