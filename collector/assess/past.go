package assess

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
)

// past is the record as it was when the log had some leaves. It takes leaves in
// one by one and answers what an assessment then read.
type past struct {
	st      store.Store
	history store.AdvisoryHistory
	all     []store.PolicyRecord

	// leaves counts those taken in.
	leaves   int64
	given    *evidence.Givens
	requests evidence.Requests
	heads    map[string]headOf
	inForce  map[string]*store.Attributes
	// retired is the last word of operators on each asset, derived the last
	// classification.
	retired map[string]*store.Retirement
	derived map[string]*store.Classification
	covers  map[string][]inventory.Release // by feed
	// coverage moves whenever covers does; old is set by a leaf of an older version,
	// that does not say all that an assessment reads.
	coverage int64
	old      bool

	// leaf, outcome are of the assessment that is replayed.
	leaf    int64
	outcome *store.Outcome
}

// headOf is the report of an asset with the highest sequence.
type headOf struct {
	report   string
	sequence uint64
}

func newPast(ctx context.Context, st store.Store) (*past, error) {
	releases, err := st.Releases(ctx)
	if err != nil {
		return nil, err
	}
	p := &past{
		st: st, given: evidence.NewGivens(), requests: evidence.NewRequests(), heads: map[string]headOf{},
		inForce: map[string]*store.Attributes{}, covers: map[string][]inventory.Release{},
		retired: map[string]*store.Retirement{}, derived: map[string]*store.Classification{},
	}
	if p.history, err = st.AdvisoryHistory(ctx, releases); err != nil {
		return nil, err
	}
	p.all, err = st.PolicyHistory(ctx)
	return p, err
}

// take takes in the next leaf.
func (p *past) take(ctx context.Context, l store.Leaf) error {
	p.leaves = l.Index + 1
	switch l.Kind {
	case evidence.KindReport:
		var b evidence.ReportBody
		if err := evidence.OpenLeaf(l, &b); err != nil {
			return err
		}
		if h, ok := p.heads[b.Asset]; !ok || h.sequence < b.Sequence {
			p.heads[b.Asset] = headOf{b.Report, b.Sequence}
		}
	case evidence.KindTrust:
		var b evidence.TrustBody
		if err := evidence.OpenLeaf(l, &b); err != nil {
			return err
		}
		p.given.Trust(&b, l.At)
	case evidence.KindAttributes:
		var b evidence.AttributesBody
		if err := evidence.OpenLeaf(l, &b); err != nil {
			return err
		}
		p.given.Set(&b, l.At)
	case evidence.KindClassification:
		return p.classified(ctx, l)
	case evidence.KindRetirement:
		var b evidence.RetirementBody
		if err := evidence.OpenLeaf(l, &b); err != nil {
			return err
		}
		p.retired[b.Asset] = &store.Retirement{Leaf: l.Index, Retired: b.Retired, At: b.Since, Recorded: l.At, Reason: b.Reason, By: b.By}
	case evidence.KindFeed:
		return p.fed(l)
	case evidence.KindApproval:
		return p.requests.Decide(l)
	case evidence.KindAssessment:
		return p.assessed(ctx, l)
	}
	return nil
}

func (p *past) classified(ctx context.Context, l store.Leaf) error {
	var b evidence.ClassificationBody
	if err := evidence.OpenLeaf(l, &b); err != nil {
		return err
	}
	list, err := p.st.RecordedClassifications(ctx, l.Index)
	if err != nil {
		return err
	}
	p.given.Classify(&b, list, l.At)
	for i := range list {
		p.derived[list[i].Asset] = &list[i]
	}
	return nil
}

func (p *past) fed(l store.Leaf) error {
	var b evidence.FeedBody
	if err := evidence.OpenLeaf(l, &b); err != nil {
		return err
	}
	p.old = p.old || b.Contents == nil
	before := slices.Clone(p.covers[b.Feed])
	if b.Snapshot {
		p.covers[b.Feed] = nil
	}
	for _, r := range b.Releases {
		if !slices.Contains(p.covers[b.Feed], r) {
			p.covers[b.Feed] = append(p.covers[b.Feed], r)
		}
	}
	if !slices.Equal(before, p.covers[b.Feed]) {
		p.coverage++
	}
	return nil
}

func (p *past) assessed(ctx context.Context, l store.Leaf) error {
	outcomes, err := p.st.Outcomes(ctx, l.Index)
	if err != nil {
		return err
	}
	for i := range outcomes {
		o := &outcomes[i]
		if o.InForce != nil {
			p.inForce[o.Asset] = o.InForce
		}
		p.requests.Ask(o)
	}
	return nil
}

// Asset is the asset as the assessment that is replayed found it.
func (p *past) Asset(ctx context.Context, id string) (store.Asset, error) {
	g, ok := p.given.Get(id)
	if !ok {
		return store.Asset{}, fmt.Errorf("asset %s: no leaf says that its key was trusted: %w", id, store.ErrNotFound)
	}
	a := store.Asset{
		ID: id, Name: g.Name, Attributes: g.Attributes, AttributesBy: g.By, AttributesAt: g.At, InForce: p.inForce[id],
		AssessedSequence: p.outcome.After, Refold: p.outcome.Refold,
		Retirement: p.retired[id], Classified: p.derived[id],
	}
	return a, p.lines(ctx, &a)
}

// lines fills in an asset's head, and whether its reports were one line of one
// machine.
func (p *past) lines(ctx context.Context, a *store.Asset) error {
	h, ok := p.heads[a.ID]
	if !ok {
		return nil
	}
	now, err := p.st.Asset(ctx, a.ID)
	if err != nil {
		return err
	}
	if now.Forked || now.Moved {
		l, err := p.Lineage(ctx, a.ID)
		if err != nil {
			return err
		}
		a.Forked, a.Moved = lineage.Forked(l.Nodes), lineage.MovedIn(l.Nodes)
		if a.Forked || a.Moved {
			h.report = lineage.Trace(l.Nodes, l.Decisions).Heads[0]
		}
	}
	r, err := p.Report(ctx, h.report)
	if err != nil {
		return err
	}
	head := r.Head()
	a.Head = &head
	return nil
}

// Lineage is what placed the reports among each other that were there.
func (p *past) Lineage(ctx context.Context, asset string) (store.Lineage, error) {
	l, err := p.st.Lineage(ctx, asset)
	l.Nodes = slices.DeleteFunc(l.Nodes, func(n lineage.Node) bool { return n.Leaf >= p.leaves })
	l.Decisions = slices.DeleteFunc(l.Decisions, func(d lineage.Decision) bool { return d.Leaf >= p.leaves })
	return l, err
}

func (p *past) States(ctx context.Context, asset string, after uint64) ([]store.Report, error) {
	return p.st.StatesBefore(ctx, asset, after, p.leaves)
}

func (p *past) Report(ctx context.Context, id string) (store.Report, error) {
	return p.st.Report(ctx, id)
}

func (p *past) Part(ctx context.Context, digest string) (string, error) {
	return p.st.Part(ctx, digest)
}

func (p *past) AssetFindings(ctx context.Context, asset string) ([]finding.Finding, error) {
	return p.st.FindingsBefore(ctx, asset, p.leaves)
}

func (p *past) Generation(_ context.Context, r inventory.Release) (int64, error) {
	return p.history.Generation(r, p.leaves) + p.coverage<<32, nil
}

func (p *past) AdvisoriesFor(_ context.Context, r inventory.Release) ([]advisory.Advisory, error) {
	return p.history.For(r, p.leaves), nil
}

func (p *past) CoveredReleases(context.Context) ([]inventory.Release, error) {
	var out []inventory.Release
	for _, list := range p.covers {
		out = append(out, list...)
	}
	return out, nil
}

// Facts are those the assessment recorded that it read, or had been read before.
func (p *past) Facts(ctx context.Context, vulnerabilities []string) (map[string]advisory.Facts, error) {
	return p.st.FactsSeen(ctx, vulnerabilities, p.leaf)
}

func (p *past) PolicyInForce(_ context.Context, at time.Time) (store.PolicyRecord, error) {
	best := -1
	for i := range p.all {
		r := &p.all[i]
		if r.Leaf < p.leaves && !r.EffectiveAt.After(at) && (best < 0 || !r.EffectiveAt.Before(p.all[best].EffectiveAt)) {
			best = i
		}
	}
	if best < 0 {
		return store.PolicyRecord{}, fmt.Errorf("policy: %w", store.ErrNotFound)
	}
	return p.all[best], nil
}

func (p *past) Policy(_ context.Context, digest string) (store.PolicyRecord, error) {
	i := slices.IndexFunc(p.all, func(r store.PolicyRecord) bool { return r.Digest == digest && r.Leaf < p.leaves })
	if i < 0 {
		return store.PolicyRecord{}, fmt.Errorf("policy %s: %w", digest, store.ErrNotFound)
	}
	return p.all[i], nil
}

func (p *past) Approval(_ context.Context, id string) (store.Approval, error) {
	a, ok := p.requests.Get(id)
	if !ok {
		return a, fmt.Errorf("approval %s: %w", id, store.ErrNotFound)
	}
	return a, nil
}

var _ Past = (*past)(nil)
