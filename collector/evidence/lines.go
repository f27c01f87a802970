package evidence

import (
	"reflect"
	"time"

	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
)

// KindClone is the leaf of an operator's decision on a suspicion.
const KindClone = "clone_decision"

// CloneBody is the body of a decision's leaf.
type CloneBody struct {
	Asset string `json:"asset"`
	// Keep is a report of the line that is the host's, Reports how many reports of
	// the host were held then.
	Keep    string `json:"keep"`
	Reports int    `json:"reports"`
	By      string `json:"by"`
	Reason  string `json:"reason"`
}

// CloneLeaf makes the leaf of a decision on a host of so many reports.
func CloneLeaf(d store.CloneDecision, reports int) (store.Leaf, error) {
	return LeafFor(KindClone, d.At, CloneBody{Asset: d.Asset, Keep: d.Keep, Reports: reports, By: d.By, Reason: d.Reason})
}

// clone notes a decision.
func (s *said) clone(l store.Leaf) error {
	var b CloneBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	s.decisions = append(s.decisions, store.CloneDecision{Leaf: l.Index, Asset: b.Asset, Keep: b.Keep, By: b.By, At: l.At, Reason: b.Reason})
	return nil
}

// checkRetirements finds words on assets that nobody said.
func (r *run) checkRetirements() error {
	rows, err := r.Store.Retirements(r.ctx, "")
	if err != nil {
		return r.fault("retirements", err)
	}
	said := 0
	for _, list := range r.said.retired {
		said += len(list)
	}
	if len(rows) != said {
		r.problem("retirements", "%d are recorded, the log has %d", len(rows), said)
	}
	return nil
}

// checkDecisions holds the rows of decisions against their leaves.
func (r *run) checkDecisions() error {
	rows, err := r.Store.CloneDecisions(r.ctx, "")
	if err != nil {
		return r.fault("decisions on clones", err)
	}
	if len(rows) != len(r.said.decisions) || len(rows) > 0 && !reflect.DeepEqual(instants(rows), instants(r.said.decisions)) {
		r.problem("decisions on clones", "the %d rows are not what %d leaves say", len(rows), len(r.said.decisions))
	}
	return nil
}

func instants(ds []store.CloneDecision) []store.CloneDecision {
	out := make([]store.CloneDecision, len(ds))
	for i, d := range ds {
		d.At = d.At.UTC().Truncate(time.Microsecond)
		out[i] = d
	}
	return out
}

// checkLines reads the lines of a host again, from its reports and the decisions
// on it: which are suspicious, and which report is its head. It returns that
// report's id.
func (r *run) checkLines(where string, a store.Asset, states []store.Report) (head string, err error) {
	l, err := r.Store.Lineage(r.ctx, a.ID)
	if err != nil {
		return "", r.fault(where, err)
	}
	moved, forked := lineage.MovedIn(l.Nodes), lineage.Forked(l.Nodes)
	p := lineage.Trace(l.Nodes, l.Decisions)
	plain := lineage.Trace(l.Nodes, nil)
	if moved != a.Moved || forked != a.Forked {
		r.problem(where, "it is recorded as forked %v, moved %v; its reports say otherwise: %v", a.Forked, a.Moved, plain.Why)
	}
	if len(p.Heads) == 0 || len(l.Nodes) != len(states) {
		r.problem(where, "%d reports have a place among the others, %d are there", len(l.Nodes), len(states))
		return states[len(states)-1].ID, nil
	}
	if !a.Forked && !a.Moved {
		return states[len(states)-1].ID, nil
	}
	if moved {
		r.Breaks = append(r.Breaks, Break{
			Asset: a.ID, Kind: BreakMachine, Sequence: a.Head.Sequence, Report: p.Heads[0], What: "its reports come from more than one machine",
		})
	}
	return p.Heads[0], nil
}
