// Package assess turns what the collector holds - reports, advisories, facts
// and the policy - into findings with deadlines.
//
// It drains dirty marks: ingest and feed imports mark what they touched in
// their own transaction, assess recomputes it, idempotently; a full
// re-assessment is the same code with every asset marked.
//
// Invariants:
//   - Findings are a fold over an asset's reports in order of sequence, so the
//     order in which envelopes arrived leaves no trace.
//   - Nothing closes because data is missing: an incomplete report, a release no
//     feed covers, an undetermined comparison, an advisory that a newer snapshot
//     no longer lists.
//   - Where two hosts may be speaking with one key, what either shows stands, and
//     ends only when none shows it any more.
//   - First detection only ever moves earlier, and never before the collector
//     held the advisory that names it.
//   - Each batch of outcomes commits with one evidence leaf over its list.
package assess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

const (
	// batchSize bounds how many assets one transaction and one leaf speak of.
	batchSize = 32
	// pollEvery is how long a mark made by another process can lie unseen.
	pollEvery = 5 * time.Second
	// retryAfter spaces attempts when the store refuses.
	retryAfter = 2 * time.Second
	// maxSets bounds the parsed package sets kept in memory.
	maxSets = 256
	// maxReleases bounds the indexes kept in memory.
	maxReleases = 64
	// maxPolicies bounds the parsed policies kept in memory.
	maxPolicies = 16
)

// Store is what assessing needs of the collector's memory.
type Store interface {
	store.Reports
	store.Lines
	store.Assets
	store.Advisories
	store.Assessments
	store.Policies
	store.Approvals
	// View calls f with the store as of one moment.
	View(ctx context.Context, f func(store.Store) error) error
}

// Past is what an assessment is made from: the collector's memory as of a moment.
type Past interface {
	// Asset, its reports in order of sequence after one, and the distinct parts.
	Asset(ctx context.Context, id string) (store.Asset, error)
	States(ctx context.Context, asset string, after uint64) ([]store.Report, error)
	Report(ctx context.Context, id string) (store.Report, error)
	Part(ctx context.Context, digest string) (string, error)
	// Lineage is asked for when the reports are not one chain.
	Lineage(ctx context.Context, asset string) (store.Lineage, error)
	AssetFindings(ctx context.Context, asset string) ([]finding.Finding, error)

	Generation(ctx context.Context, r inventory.Release) (int64, error)
	AdvisoriesFor(ctx context.Context, r inventory.Release) ([]advisory.Advisory, error)
	CoveredReleases(ctx context.Context) ([]inventory.Release, error)
	Facts(ctx context.Context, vulnerabilities []string) (map[string]advisory.Facts, error)

	PolicyInForce(ctx context.Context, at time.Time) (store.PolicyRecord, error)
	Policy(ctx context.Context, digest string) (store.PolicyRecord, error)
	Approval(ctx context.Context, id string) (store.Approval, error)
}

// Assessor drains dirty marks into findings.
type Assessor struct {
	store Store
	// past is what the assessment under way reads.
	past Past
	now  func() time.Time
	log  *slog.Logger
	wake chan struct{}

	// Classify, when set, is called with the assets of a batch before they are
	// dated, so that what a host newly says of itself counts in the same assessment.
	Classify func(ctx context.Context, assets []string) error

	// policy is in force since effective; policies are those that older deadlines
	// were made under, by digest.
	policy    *sla.Policy
	effective time.Time
	policyBy  string
	policies  map[string]*sla.Policy
	indexes   map[inventory.Release]*releaseIndex
	sets      map[string][]schema.Package
}

// releaseIndex is one release's advisories as of a generation.
type releaseIndex struct {
	generation int64
	index      *match.Index
	// all holds every advisory by feed and id, withdrawn ones included.
	all map[advisoryKey]*advisory.Advisory
	// covered is true when a feed speaks of the release, whatever is left of it.
	covered bool
}

type advisoryKey struct{ feed, id string }

// New returns an assessor over a store. It is for one goroutine at a time.
func New(st Store, now func() time.Time, log *slog.Logger) *Assessor {
	return &Assessor{
		store: st, past: st, now: now, log: log.With("component", "assess"),
		wake:     make(chan struct{}, 1),
		policies: map[string]*sla.Policy{},
		indexes:  map[inventory.Release]*releaseIndex{},
		sets:     map[string][]schema.Package{},
	}
}

// Wake makes Run look for marks now. It never blocks.
func (a *Assessor) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run drains marks until ctx is done. A store that refuses is tried again.
func (a *Assessor) Run(ctx context.Context) error {
	for {
		wait := pollEvery
		if _, err := a.Drain(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("assessment failed", "err", err)
			wait = retryAfter
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Drain assesses marked assets until none is left, and returns how many it
// assessed. An asset that cannot be assessed keeps its mark and holds up nobody
// else; what was wrong comes back as an error after the others are done.
func (a *Assessor) Drain(ctx context.Context) (int, error) {
	if err := a.enforce(ctx); err != nil {
		return 0, err
	}
	done := 0
	failed := map[string]error{}
	if _, err := a.store.MarkDue(ctx, a.now()); err != nil {
		return done, fmt.Errorf("mark what fell due: %w", err)
	}
	for {
		marks, err := a.marks(ctx, failed)
		if err != nil {
			return done, fmt.Errorf("list dirty assets: %w", err)
		}
		if len(marks) == 0 {
			return done, errors.Join(slices.Collect(maps.Values(failed))...)
		}
		n, err := a.batch(ctx, marks, failed)
		if err != nil {
			return done, err
		}
		done += n
	}
}

// marks returns the oldest marks to assess together: those that are for whole
// assets, or those that name vulnerabilities.
func (a *Assessor) marks(ctx context.Context, failed map[string]error) ([]store.Mark, error) {
	marks, err := a.oldest(ctx, batchSize, failed)
	if err != nil || len(marks) == 0 {
		return nil, err
	}
	if !scoped(marks[0]) {
		return slices.DeleteFunc(marks, scoped), nil
	}
	if len(marks) == batchSize {
		if marks, err = a.oldest(ctx, redateMarks, failed); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(marks, func(m store.Mark) bool { return !scoped(m) }), nil
}

func scoped(m store.Mark) bool { return len(m.Vulnerabilities) > 0 }

func (a *Assessor) oldest(ctx context.Context, n int, failed map[string]error) ([]store.Mark, error) {
	marks, err := a.store.DirtyAssets(ctx, n+len(failed))
	marks = slices.DeleteFunc(marks, func(m store.Mark) bool { return failed[m.Asset] != nil })
	return marks[:min(n, len(marks))], err
}

// batch assesses assets and records the outcomes together. Assets that cannot
// be assessed are added to failed.
func (a *Assessor) batch(ctx context.Context, marks []store.Mark, failed map[string]error) (int, error) {
	now := a.now().UTC().Truncate(time.Microsecond)
	if scoped(marks[0]) {
		return a.redate(ctx, marks, now, failed)
	}
	marks, err := a.classify(ctx, marks, failed)
	if err != nil || len(marks) == 0 {
		return 0, err
	}
	var outcomes []store.Assessment
	err = a.store.View(ctx, func(st store.Store) error {
		var err error
		outcomes, err = a.view(ctx, st, marks, failed, now)
		return err
	})
	if err != nil || len(outcomes) == 0 {
		return 0, err
	}
	if err := a.record(ctx, outcomes, now); err != nil {
		return 0, err
	}
	return len(outcomes), nil
}

// view assesses assets from the store as of one moment, so that the leaf can say
// which one: whoever replays the log reads the same.
func (a *Assessor) view(ctx context.Context, st store.Store, marks []store.Mark, failed map[string]error, now time.Time) ([]store.Assessment, error) {
	a.past = st
	defer func() { a.past = a.store }()
	leaves, err := st.LeafCount(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.loadPolicy(ctx, now); err != nil {
		return nil, err
	}
	outcomes := make([]store.Assessment, 0, len(marks))
	for _, m := range marks {
		out, err := a.asset(ctx, m, now)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			failed[m.Asset] = fmt.Errorf("assess asset %s: %w", m.Asset, err)
			continue
		}
		out.AsOf = leaves
		outcomes = append(outcomes, out)
	}
	return outcomes, nil
}

func (a *Assessor) record(ctx context.Context, outcomes []store.Assessment, now time.Time) error {
	if len(outcomes) == 0 {
		return nil
	}
	leaf, err := evidence.AssessmentLeaf(outcomes, a.policy.Digest, now)
	if err != nil {
		return err
	}
	_, err = a.store.ApplyAssessments(ctx, outcomes, &leaf)
	if errors.Is(err, store.ErrConflict) {
		return nil // a newer write came between; its mark stays and is drained next
	}
	if err != nil {
		return fmt.Errorf("record assessments: %w", err)
	}
	return nil
}

// classify takes in what the hosts of marked assets newly say of themselves, and
// returns the marks of those it could. When it cannot for all of them together it
// tries each alone, so that one holds up nobody else: it would be dated by what
// its host said before, so it is added to failed.
func (a *Assessor) classify(ctx context.Context, marks []store.Mark, failed map[string]error) ([]store.Mark, error) {
	if a.Classify == nil {
		return marks, nil
	}
	ids := make([]string, len(marks))
	for i, m := range marks {
		ids[i] = m.Asset
	}
	if a.Classify(ctx, ids) == nil {
		return marks, nil
	}
	var able []store.Mark
	for _, m := range marks {
		err := a.Classify(ctx, []string{m.Asset})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			failed[m.Asset] = fmt.Errorf("classify asset %s: %w", m.Asset, err)
			continue
		}
		able = append(able, m)
	}
	return able, nil
}

// asset folds what is new of one asset into its findings and dates them.
func (a *Assessor) asset(ctx context.Context, m store.Mark, now time.Time) (store.Assessment, error) {
	as, err := a.past.Asset(ctx, m.Asset)
	if err != nil {
		return store.Assessment{}, err
	}
	prev, err := a.past.AssetFindings(ctx, as.ID)
	if err != nil {
		return store.Assessment{}, err
	}
	return a.found(ctx, m, as, prev, now)
}

// found is asset with the asset and its findings as they were read.
func (a *Assessor) found(ctx context.Context, m store.Mark, as store.Asset, prev []finding.Finding, now time.Time) (store.Assessment, error) {
	out := store.Assessment{Mark: m, At: now}
	if as.Head == nil {
		return out, nil
	}
	out.AssessedSequence, out.After, out.Refold = as.Head.Sequence, as.AssessedSequence, as.Refold
	ch, err := a.chain(ctx, &as)
	if err != nil {
		return out, err
	}
	window := time.Duration(a.policy.Switches.ReopenDays) * 24 * time.Hour
	f := newFold(as, prev, ch.before, window, backAt(as, ch.steps, now), now)
	for i := range ch.steps {
		f.step(ch.steps[i])
	}
	last := ch.steps[len(ch.steps)-1]
	f.settle(last)
	f.retire()
	reported, err := a.reportedGaps(ctx, ch.heads)
	if err != nil {
		return out, err
	}
	out.Covered = last.result.Covered
	out.Gaps = slices.Concat(ch.gaps, joinGaps(reported, append(contradiction(as), last.result.Gaps...)))
	if lineage.Suspected(ch.gaps) && !lineage.Suspected(as.Gaps) {
		a.log.Warn("clone suspected", "asset", as.ID, "lines", len(ch.heads), "reason", ch.gaps[0].Detail)
	}
	out.Undetermined = f.undetermined(last)
	c, err := a.inForce(ctx, as, now)
	if err != nil {
		return out, err
	}
	out.InForce, out.Classification = &c.force, c.request.ID
	out.Changed, out.Facts, err = a.date(ctx, as, c, f, now)
	out.Requests = c.requests(as, a, f)
	return out, err
}

// joinGaps adds the gaps that matching has found to those the host reports,
// unless the host reports the same one.
func joinGaps(reported, matched []schema.Gap) []schema.Gap {
	out := append([]schema.Gap{}, reported...)
	for _, g := range matched {
		same := func(r schema.Gap) bool { return r.Extractor == g.Extractor && r.Kind == g.Kind && r.Path == g.Path }
		if !slices.ContainsFunc(reported, same) {
			out = append(out, g)
		}
	}
	return out
}

// steps matches the states an assessment must fold: the last assessed one again
// (advisories may have come since) and those after it, or all on a refold.
// before is the state that was assessed last, nil when there is none.
func (a *Assessor) steps(ctx context.Context, as store.Asset) (steps []step, before *store.Report, err error) {
	after := as.AssessedSequence
	if as.Refold {
		after = 0
	}
	from := after
	if from > 0 {
		from-- // the state assessed last comes along
	}
	states, err := a.past.States(ctx, as.ID, from)
	if err != nil {
		return nil, nil, err
	}
	if len(states) == 0 {
		return nil, nil, fmt.Errorf("asset %s has a head and no reports: %w", as.ID, store.ErrNotFound)
	}
	if after > 0 {
		before = &states[0]
	}
	for i, s := range states {
		st, err := a.matchState(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		st.again = before != nil && i == 0
		if i+1 < len(states) {
			st.until = states[i+1].ReceivedAt
		}
		steps = append(steps, st)
	}
	return steps, before, nil
}

// chain is what an assessment folds.
type chain struct {
	steps []step
	// before is the state that was assessed last, nil when there is none.
	before *store.Report
	// heads are the reports that say what is on the host now: one, unless two hosts
	// may be speaking with one key. gaps say that.
	heads []string
	gaps  []schema.Gap
}

// chain reads an asset's reports as the chain they are, or as the lines they are.
func (a *Assessor) chain(ctx context.Context, as *store.Asset) (chain, error) {
	if as.Forked || as.Moved {
		as.Refold = true // what a line adds or ends is told by all of them
		return a.lines(ctx, *as)
	}
	steps, before, err := a.steps(ctx, *as)
	return chain{steps: steps, before: before, heads: []string{as.Head.ReportID}}, err
}

// reportedGaps gathers what hosts say they could not read. What is told of a
// key's use is the collector's own to say.
func (a *Assessor) reportedGaps(ctx context.Context, heads []string) ([]schema.Gap, error) {
	var gaps []schema.Gap
	for _, id := range heads {
		r, err := a.past.Report(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, g := range r.Statement.Gaps {
			if g.Extractor != lineage.Extractor && !slices.Contains(gaps, g) {
				gaps = append(gaps, g)
			}
		}
	}
	return gaps, nil
}

func (a *Assessor) matchState(ctx context.Context, r store.Report) (step, error) {
	ix, err := a.indexFor(ctx, r.Release)
	if err != nil {
		return step{}, err
	}
	set, err := a.set(ctx, r.SetDigest)
	if err != nil {
		return step{}, err
	}
	stale, unlooked, err := a.stale(ctx, r)
	if err != nil {
		return step{}, err
	}
	res := ix.index.Match(inventory.State{
		Release: r.Release, Kernel: r.Kernel,
		Set:   inventory.Set{Digest: r.SetDigest, Packages: set},
		Stale: stale,
	})
	// A feed covers its release even when all it says there was withdrawn.
	res.Covered = ix.covered
	return step{
		report: r, packages: set, result: res, advisories: ix.all, unlooked: unlooked,
		said: gather(res.Matches), installed: versionsOf(set),
	}, nil
}

// stale returns the stale code that a report lists. Without the list, unlooked
// is the reason when the agent tried and could not look.
func (a *Assessor) stale(ctx context.Context, r store.Report) (stale []schema.Stale, unlooked string, err error) {
	if r.StaleDigest == "" {
		full, err := a.past.Report(ctx, r.ID)
		if err != nil {
			return nil, "", fmt.Errorf("load report %s: %w", r.ID, err)
		}
		for _, g := range full.Statement.Gaps {
			if g.Extractor == extractorProcess {
				return nil, "nobody knows whether a process still runs the old code: " + g.Detail, nil
			}
		}
		return nil, "", nil
	}
	if r.StaleDigest == emptyPart {
		return nil, "", nil
	}
	text, err := a.past.Part(ctx, r.StaleDigest)
	if err != nil {
		return nil, "", fmt.Errorf("load stale part %s: %w", r.StaleDigest, err)
	}
	if stale, err = schema.DecodeStale(text); err != nil {
		return nil, "", fmt.Errorf("decode stale part %s: %w", r.StaleDigest, err)
	}
	return stale, "", nil
}

// extractorProcess is how gaps of looking at processes are marked.
const extractorProcess = "process"

// emptyPart is the digest of a part without lines.
var emptyPart = schema.PartDigest("")

// indexFor returns the index of a release, rebuilt when its advisories changed.
func (a *Assessor) indexFor(ctx context.Context, r inventory.Release) (*releaseIndex, error) {
	gen, err := a.past.Generation(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("read generation of %s: %w", r, err)
	}
	if ix, ok := a.indexes[r]; ok && ix.generation == gen {
		return ix, nil
	}
	advs, err := a.past.AdvisoriesFor(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("load advisories of %s: %w", r, err)
	}
	covered, err := a.past.CoveredReleases(ctx)
	if err != nil {
		return nil, fmt.Errorf("list covered releases: %w", err)
	}
	ix := &releaseIndex{
		generation: gen, index: match.NewIndex(r, advs), all: make(map[advisoryKey]*advisory.Advisory, len(advs)),
		covered: slices.Contains(covered, r),
	}
	for i := range advs {
		ix.all[advisoryKey{advs[i].Feed, advs[i].ID}] = &advs[i]
	}
	if len(a.indexes) >= maxReleases { // what a release is called is the host's word
		clear(a.indexes)
	}
	a.indexes[r] = ix
	return ix, nil
}

// set returns a parsed package set; equal sets of different hosts are parsed once.
func (a *Assessor) set(ctx context.Context, digest string) ([]schema.Package, error) {
	if digest == "" {
		return nil, nil // the report has no package part; its gap says why
	}
	if ps, ok := a.sets[digest]; ok {
		return ps, nil
	}
	text, err := a.past.Part(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("load package part %s: %w", digest, err)
	}
	ps, err := schema.DecodePackages(text)
	if err != nil {
		return nil, fmt.Errorf("decode package part %s: %w", digest, err)
	}
	if len(a.sets) >= maxSets {
		clear(a.sets)
	}
	a.sets[digest] = ps
	return ps, nil
}

// enforce marks every asset when another policy has come into force.
func (a *Assessor) enforce(ctx context.Context) error {
	rec, err := a.store.PolicyInForce(ctx, a.now())
	if errors.Is(err, store.ErrNotFound) {
		return nil // without a policy nothing is assessed, and assessing says so
	}
	if err != nil {
		return fmt.Errorf("read the policy in force: %w", err)
	}
	first, err := a.store.EnforcePolicy(ctx, rec.Leaf)
	if err != nil {
		return err
	}
	if first {
		a.log.Info("policy came into force", "digest", rec.Digest, "effective_at", rec.EffectiveAt)
	}
	return nil
}

// loadPolicy takes the policy in force at an instant.
func (a *Assessor) loadPolicy(ctx context.Context, at time.Time) error {
	rec, err := a.past.PolicyInForce(ctx, at)
	if err != nil {
		return fmt.Errorf("load policy: %w", err)
	}
	a.effective, a.policyBy = rec.EffectiveAt, rec.By
	a.policy, err = a.parsed(rec)
	return err
}

// policyOf returns the policy that a deadline was made under.
func (a *Assessor) policyOf(ctx context.Context, digest string) (*sla.Policy, error) {
	if p := a.policies[digest]; p != nil {
		return p, nil
	}
	rec, err := a.past.Policy(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("load policy %s: %w", digest, err)
	}
	return a.parsed(rec)
}

func (a *Assessor) parsed(rec store.PolicyRecord) (*sla.Policy, error) {
	if p := a.policies[rec.Digest]; p != nil {
		return p, nil
	}
	p, err := policy.Read(rec.Source)
	if err != nil {
		return nil, fmt.Errorf("parse policy %s: %w", rec.Digest, err)
	}
	if len(a.policies) >= maxPolicies {
		clear(a.policies)
	}
	a.policies[rec.Digest] = p
	return p, nil
}
