package store

import (
	"context"
	"time"
)

// Retirement is an operator's word on whether an asset is in use.
type Retirement struct {
	// Leaf bears witness to the act.
	Leaf int64 `json:"leaf"`
	// Retired is false when an earlier retirement was taken back.
	Retired bool `json:"retired"`
	// At is since when it is so, Recorded when somebody said it.
	At       time.Time `json:"at"`
	Recorded time.Time `json:"recorded"`
	Reason   string    `json:"reason"`
	By       string    `json:"by,omitempty"`
}

// Gone says since when an asset is in use no more, and by whose word.
type Gone struct {
	Since time.Time
	// Recorded is when somebody said so.
	Recorded time.Time
	// Retired: an operator said so; else List, which lists it as terminated.
	Retired bool
	List    string
	Reason  string
	By      string
	Leaf    int64
}

// Gone tells whether somebody says that the asset is in use no more, nil when
// nobody does. Of an operator's word and a list's the later instant counts; taking
// a retirement back outweighs what lists said before.
func (a *Asset) Gone() *Gone {
	var gone *Gone
	r := a.Retirement
	if r != nil && r.Retired {
		gone = &Gone{Since: r.At, Recorded: r.Recorded, Retired: true, Reason: r.Reason, By: r.By, Leaf: r.Leaf}
	}
	if a.Classified == nil || a.Classified.Gone == nil {
		return gone
	}
	l := a.Classified.Gone
	if r != nil && !r.Retired && r.Leaf > l.Leaf || gone != nil && !l.At.After(gone.Since) {
		return gone
	}
	return &Gone{Since: l.At, Recorded: l.At, List: l.Source, Reason: "terminated, so says " + l.Source, By: l.By, Leaf: l.Leaf}
}

// Away is Gone, but nil for an asset that has reported since: it is back, whatever
// anybody says.
func (a *Asset) Away() *Gone {
	g := a.Gone()
	if g != nil && a.Head != nil && a.Head.ReceivedAt.After(g.Since) {
		return nil
	}
	return g
}

// Retirements keeps operators' words on whether assets are in use.
type Retirements interface {
	// Retire records a retirement, or that one is taken back, with its leaf, and
	// marks the asset. ErrConflict when it says nothing new, or a report came after
	// the instant it speaks of. Leaf and Recorded are the store's to set.
	Retire(ctx context.Context, asset string, r Retirement, leaf Leaf) (int64, error)
	// Retirements returns what was ever said of an asset, oldest first; of all of
	// them when it is empty.
	Retirements(ctx context.Context, asset string) ([]Retirement, error)
}
