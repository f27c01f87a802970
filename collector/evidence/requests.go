package evidence

import (
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// Requests are requests for approval as the leaves tell of them: assessments ask,
// people decide, another classification supersedes.
type Requests struct {
	all map[string]*store.Approval
	of  map[string][]string // by asset, those for its attributes
}

// NewRequests returns none.
func NewRequests() Requests {
	return Requests{all: map[string]*store.Approval{}, of: map[string][]string{}}
}

// Ask takes in what an assessment asks for, and what it asks for no longer.
func (rs Requests) Ask(o *store.Outcome) {
	if o.Classification != "" {
		for _, id := range rs.of[o.Asset] {
			if id != o.Classification {
				rs.all[id].State = store.ApprovalSuperseded
			}
		}
	}
	for _, q := range o.Requests {
		if was := rs.all[q.ID]; was != nil && was.State != store.ApprovalSuperseded {
			continue // it waits, or was decided
		}
		rs.put(store.Approval{
			ID: q.ID, Cause: q.Cause, Subject: q.Subject, What: store.Words(q.What), RequestedBy: q.By, RequestedAt: q.At, State: store.ApprovalPending,
		})
	}
}

// Decide takes in the leaf of a decision.
func (rs Requests) Decide(l store.Leaf) error {
	var b ApprovalBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	rs.put(store.Approval{
		ID: b.Approval, Cause: finding.Cause(b.Cause), Subject: b.Subject, What: b.What, RequestedBy: b.RequestedBy, RequestedAt: b.RequestedAt,
		State: store.ApprovalState(b.Decision), DecidedBy: b.By, DecidedAt: l.At, Reason: store.Words(b.Reason),
	})
	return nil
}

func (rs Requests) put(a store.Approval) {
	if rs.all[a.ID] == nil && a.Cause == finding.CauseClassification {
		rs.of[a.Subject] = append(rs.of[a.Subject], a.ID)
	}
	rs.all[a.ID] = &a
}

// Get returns a request as it stands.
func (rs Requests) Get(id string) (store.Approval, bool) {
	a, ok := rs.all[id]
	if !ok {
		return store.Approval{}, false
	}
	return *a, true
}
