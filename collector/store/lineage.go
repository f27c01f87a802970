package store

import (
	"context"
	"time"

	"github.com/patchproof/patchproof/collector/lineage"
)

// Lineage is what places the reports of an asset among each other.
type Lineage struct {
	Nodes     []lineage.Node
	Decisions []lineage.Decision
}

// CloneDecision is an operator's word on a suspicion that two hosts speak with
// one key: the line of Keep is the host's.
type CloneDecision struct {
	Leaf   int64
	Asset  string
	Keep   string // report id
	By     string
	At     time.Time
	Reason string
}

// Lines keeps how the reports of a host follow each other, when they are not one chain.
type Lines interface {
	// Lineage returns what places each report of an asset among the others, and
	// what operators decided, in order of leaf.
	Lineage(ctx context.Context, asset string) (Lineage, error)
	// DecideClone records a decision with its leaf, and marks the asset. seen is
	// how many reports the operator looked at: ErrConflict when it is another
	// number now, ErrNotFound when the asset or the report is not held.
	DecideClone(ctx context.Context, d CloneDecision, seen int, leaf Leaf) (int64, error)
	// CloneDecisions lists the decisions on an asset, on all when it is empty, in
	// order of leaf.
	CloneDecisions(ctx context.Context, asset string) ([]CloneDecision, error)
}
