package evidence

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/patchproof/patchproof/collector/store"
)

// assessment holds what was recorded under a leaf against its digests: findings,
// what else was found of the assets, facts.
func (r *run) assessment(l store.Leaf) error {
	var b AssessmentBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	list, err := r.Store.RecordedFindings(r.ctx, l.Index)
	if err != nil {
		return err
	}
	r.Findings += len(list)
	digest, err := FindingsDigest(list)
	if err != nil {
		return err
	}
	if len(list) != b.Findings || digest != b.Digest {
		return fmt.Errorf("the findings recorded under it are not those it was made for (%d of %d there)", len(list), b.Findings)
	}
	outcomes, err := r.Store.Outcomes(r.ctx, l.Index)
	if err != nil {
		return err
	}
	if b.Outcomes == "" {
		r.said.old = true
		if len(outcomes) > 0 {
			return fmt.Errorf("%d outcomes are recorded under it and it names none", len(outcomes))
		}
		return nil
	}
	if digest, err = OutcomesDigest(outcomes); err != nil {
		return err
	}
	if digest != b.Outcomes || len(outcomes) != len(b.Assets) {
		return fmt.Errorf("the outcomes recorded under it are not those it was made for (%d of %d there)", len(outcomes), len(b.Assets))
	}
	for i := range outcomes {
		r.said.outcome(&outcomes[i])
	}
	return r.checkContents(l, b.Contents, "facts_seen")
}

// outcome takes in what an assessment found of an asset.
func (s *said) outcome(o *store.Outcome) {
	if len(o.Only) > 0 {
		return
	}
	if was := s.outcomes[o.Asset]; was != nil && o.InForce == nil {
		o.InForce = was.InForce
	}
	s.outcomes[o.Asset] = o
	s.requests.Ask(o)
}

// checkApprovals holds requests and decisions against the assessments that asked
// and the leaves that decided.
func (r *run) checkApprovals() error {
	list, err := r.Store.Approvals(r.ctx)
	if err != nil {
		return r.fault("approvals", err)
	}
	for _, a := range list {
		where := "approval " + a.ID
		want := r.said.requests.all[a.ID]
		delete(r.said.requests.all, a.ID)
		switch {
		case want == nil && !r.said.old:
			r.problem(where, "no assessment asked for it")
		case want == nil && a.State != store.ApprovalPending && a.State != store.ApprovalSuperseded:
			r.problem(where, "it is %s, and no leaf says so", a.State)
		case want != nil && r.said.old && a.State == store.ApprovalSuperseded:
			// Whether it was is not told by older leaves.
		case want != nil && !sameApproval(a, *want):
			r.problem(where, "it is not what was asked for and decided: %s by %q", want.State, want.DecidedBy)
		}
	}
	for id := range r.said.requests.all {
		r.problem("approval "+id, "it was asked for or decided and has no row: it was removed")
	}
	return nil
}

func sameApproval(a, b store.Approval) bool {
	at, decided := a.RequestedAt.Equal(b.RequestedAt), a.DecidedAt.Equal(b.DecidedAt)
	a.RequestedAt, a.DecidedAt = b.RequestedAt, b.DecidedAt
	return at && decided && a == b
}

// checkAssessed holds what an asset shows of its assessment against the newest
// outcome recorded of it.
func (r *run) checkAssessed(where string, a store.Asset) error {
	var want store.Outcome
	if o := r.said.outcomes[a.ID]; o != nil {
		want = *o
	} else if r.said.old {
		return nil
	}
	var wrong []string
	check := func(what string, same bool) {
		if !same {
			wrong = append(wrong, what)
		}
	}
	check("coverage", a.Covered == want.Covered)
	check("gaps", len(a.Gaps) == 0 && len(want.Gaps) == 0 || reflect.DeepEqual(a.Gaps, want.Gaps))
	check("attributes in force", reflect.DeepEqual(a.InForce, want.InForce))
	list, err := r.Store.UndeterminedOf(r.ctx, a.ID)
	if err != nil {
		return r.fault(where, err)
	}
	digest, err := store.UndeterminedDigest(list)
	if err != nil {
		return r.fault(where, err)
	}
	check("undetermined comparisons", digest == want.Undetermined || want.Undetermined == "" && len(list) == 0)
	if len(wrong) > 0 {
		r.problem(where, "not what was last recorded of it: %s", strings.Join(wrong, ", "))
	}
	return nil
}
