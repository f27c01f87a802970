package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// ErrNotSuspect says that a host has one line, so that there is nothing to decide.
var ErrNotSuspect = errors.New("nothing says that two hosts speak with this host's key")

// ClearRequest is an operator's word on a suspicion: the line of Keep is the host's.
type ClearRequest struct {
	// Host is an asset's id or name, Keep a report's id or a beginning of one that
	// is no other's.
	Host, Keep string
	Reason, By string
}

// Cleared is what came of a ClearRequest.
type Cleared struct {
	Asset store.Asset
	// Keep is the report that was named, in full; Kept and Aside count reports.
	Keep        string
	Kept, Aside int
	Leaf        int64
}

// ClearClone records which line of reports is the host's. The others are set
// aside: they stay on record and no longer count. ErrInvalid says what of the
// request makes no sense, store.ErrConflict that a report came meanwhile.
func (d *Door) ClearClone(ctx context.Context, req ClearRequest) (Cleared, error) {
	a, err := d.o.Store.Asset(ctx, req.Host)
	if err != nil {
		return Cleared{}, fmt.Errorf("clear clone: %w", err)
	}
	c, err := d.clear(ctx, a, req)
	if err != nil {
		return Cleared{}, fmt.Errorf("clear clone %s: %w", a.Name, err)
	}
	d.o.Log.Info("line kept", "asset", a.ID, "report", c.Keep, "kept", c.Kept, "aside", c.Aside, "leaf", c.Leaf)
	return c, nil
}

func (d *Door) clear(ctx context.Context, a store.Asset, req ClearRequest) (Cleared, error) {
	if strings.TrimSpace(req.Reason) == "" {
		return Cleared{}, fmt.Errorf("%w: say why this line is the host's", ErrInvalid)
	}
	l, err := d.o.Store.Lineage(ctx, a.ID)
	if err != nil {
		return Cleared{}, err
	}
	if p := lineage.Trace(l.Nodes, l.Decisions); !p.Suspect() {
		return Cleared{}, ErrNotSuspect
	}
	keep, err := reportNamed(l.Nodes, req.Keep)
	if err != nil {
		return Cleared{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	line, err := lineage.Line(l.Nodes, l.Decisions, keep)
	if err != nil {
		return Cleared{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	decision := store.CloneDecision{Asset: a.ID, Keep: keep, By: req.By, At: schema.Timestamp(d.o.Now()), Reason: req.Reason}
	leaf, err := evidence.CloneLeaf(decision, len(l.Nodes))
	if err != nil {
		return Cleared{}, err
	}
	c := Cleared{Asset: a, Keep: keep, Kept: len(line), Aside: len(l.Nodes) - len(line)}
	c.Leaf, err = d.o.Store.DecideClone(ctx, decision, len(l.Nodes), leaf)
	return c, err
}

// minNamed is the shortest beginning of an id that names a report.
const minNamed = 8

// reportNamed finds the one report whose id begins so.
func reportNamed(nodes []lineage.Node, typed string) (string, error) {
	typed = strings.ToLower(strings.TrimSpace(typed))
	if len(typed) < minNamed {
		return "", fmt.Errorf("report %q: give at least %d characters of its id", typed, minNamed)
	}
	var found []string
	for _, n := range nodes {
		if strings.HasPrefix(n.ID, typed) {
			found = append(found, n.ID)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("report %q: %d reports of the host begin so", typed, len(found))
	}
	return found[0], nil
}
