package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// model is what a store must amount to, in maps.
type model struct {
	t     *testing.T
	store store.Store

	leaves   int64
	assets   map[string]*modelAsset
	reports  map[string]int64          // report id -> leaf
	used     map[string][]store.Report // asset -> its reports
	dirty    map[string]bool
	findings map[string]finding.Finding
	// taken are marks an assessor holds, by asset, and stale says which of them
	// were overtaken by a newer mark.
	taken map[string]store.Mark
	stale map[string]bool
}

type modelAsset struct {
	head, assessed uint64
	headID         string
	refold, forked bool
}

// contradict reports whether two reports of a host cannot be of one chain.
func contradict(a, b store.Report) bool {
	if a.Sequence > b.Sequence {
		a, b = b, a
	}
	return a.Sequence == b.Sequence || a.Previous != "" && a.Previous == b.Previous || a.Sequence+1 == b.Sequence && b.Previous != a.ID
}

// stateMachine drives a store and the model by the same random acts and
// compares what they answer.
func stateMachine(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{
			t: t, store: open(t), assets: map[string]*modelAsset{}, reports: map[string]int64{},
			used: map[string][]store.Report{}, dirty: map[string]bool{}, findings: map[string]finding.Finding{},
			taken: map[string]store.Mark{}, stale: map[string]bool{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"trust":  m.trust,
			"accept": m.accept,
			"take":   m.take,
			"assess": m.assess,
			"all":    m.markAll,
			"":       m.check,
		})
	})
}

func (m *model) asset(rt *rapid.T) string {
	return fmt.Sprint("A", rapid.IntRange(1, 3).Draw(rt, "asset"))
}

func (m *model) mark(asset string) {
	m.dirty[asset] = true
	m.stale[asset] = true
}

func (m *model) trust(rt *rapid.T) {
	id := m.asset(rt)
	n, err := m.store.TrustKey(m.t.Context(), store.Asset{ID: id, Key: key(id), Name: id}, leaf("trust"))
	if m.assets[id] != nil {
		if !errors.Is(err, store.ErrExists) {
			rt.Fatalf("trust %s again: %v", id, err)
		}
		return
	}
	m.leaf(rt, n, err)
	m.assets[id] = new(modelAsset)
}

// leaf checks that an act got the next leaf.
func (m *model) leaf(rt *rapid.T, n int64, err error) {
	if err != nil || n != m.leaves {
		rt.Fatalf("got leaf %d and error %v, want leaf %d", n, err, m.leaves)
	}
	m.leaves++
}

func (m *model) accept(rt *rapid.T) {
	id := m.asset(rt)
	seq := rapid.Uint64Range(1, 5).Draw(rt, "sequence")
	r := report(id, seq, rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "text"))
	n, err := m.store.AcceptReport(m.t.Context(), r, leaf("report"))
	a := m.assets[id]
	var want error
	switch {
	case a == nil:
		want = store.ErrNotFound
	case m.reports[r.ID] != 0:
		want = store.ErrExists
	}
	if want != nil {
		if !errors.Is(err, want) {
			rt.Fatalf("accept %d of %s: got error %v, want %v", seq, id, err, want)
		}
		return
	}
	m.leaf(rt, n, err)
	a.forked = a.forked || slices.ContainsFunc(m.used[id], func(o store.Report) bool { return contradict(o, r) })
	m.reports[r.ID], m.used[id] = n, append(m.used[id], r)
	if seq > a.head || seq == a.head && r.ID > a.headID {
		a.head, a.headID = seq, r.ID
	}
	a.refold = a.refold || seq <= a.assessed || a.forked && a.assessed > 0
	m.mark(id)
}

func (m *model) take(rt *rapid.T) {
	list, err := m.store.DirtyAssets(m.t.Context(), 1)
	if err != nil {
		rt.Fatal(err)
	}
	for _, mark := range list {
		m.taken[mark.Asset], m.stale[mark.Asset] = mark, false
	}
}

func (m *model) assess(rt *rapid.T) {
	ids := slices.Sorted(maps.Keys(m.taken))
	if len(ids) == 0 {
		rt.Skip("no mark is taken")
	}
	id := rapid.SampledFrom(ids).Draw(rt, "taken")
	mark, a := m.taken[id], m.assets[id]
	as := store.Assessment{Mark: mark, At: t0, AssessedSequence: a.head}
	if v := rapid.IntRange(0, 3).Draw(rt, "vulnerability"); v > 0 {
		state := rapid.SampledFrom([]finding.State{finding.Open, finding.Fixed, finding.PendingReboot}).Draw(rt, "state")
		as.Changed = []finding.Finding{made(id, fmt.Sprint("C", v), state, "P1")}
	}
	l := leaf("assessment")
	n, err := m.store.ApplyAssessments(m.t.Context(), []store.Assessment{as}, &l)
	if !m.dirty[id] {
		if !errors.Is(err, store.ErrConflict) {
			rt.Fatalf("assess %s, whose mark is gone: %v", id, err)
		}
		return
	}
	if len(as.Changed) > 0 {
		m.leaf(rt, n, err)
	} else if n != -1 || err != nil {
		rt.Fatalf("an assessment that changes nothing: leaf %d, error %v", n, err)
	}
	for _, f := range as.Changed {
		m.findings[f.ID] = storedFinding(f)
	}
	a.assessed = a.head
	if !m.stale[id] {
		a.refold, m.dirty[id] = false, false
		m.stale[id] = true // used up
	}
}

func (m *model) markAll(rt *rapid.T) {
	if err := m.store.MarkAll(m.t.Context()); err != nil {
		rt.Fatal(err)
	}
	for id := range m.assets {
		m.mark(id)
	}
}

// check compares everything the store answers with the model.
func (m *model) check(rt *rapid.T) {
	if n, err := m.store.LeafCount(m.t.Context()); err != nil || n != m.leaves {
		rt.Fatalf("got %d leaves (%v), want %d", n, err, m.leaves)
	}
	list, err := m.store.DirtyAssets(m.t.Context(), 0)
	if err != nil {
		rt.Fatal(err)
	}
	dirty := map[string]bool{}
	for _, mark := range list {
		dirty[mark.Asset] = true
	}
	for id, a := range m.assets {
		if dirty[id] != m.dirty[id] {
			rt.Fatalf("%s is marked: %v, want %v", id, dirty[id], m.dirty[id])
		}
		m.checkAsset(rt, id, a)
	}
	got, err := m.store.ListFindings(m.t.Context(), store.FindingQuery{})
	if err != nil || len(got) != len(m.findings) {
		rt.Fatalf("got %d findings (%v), want %d", len(got), err, len(m.findings))
	}
	for _, f := range got {
		if f.State != m.findings[f.ID].State {
			rt.Fatalf("finding %s is %s, want %s", f.ID, f.State, m.findings[f.ID].State)
		}
	}
}

func (m *model) checkAsset(rt *rapid.T, id string, want *modelAsset) {
	a, err := m.store.Asset(m.t.Context(), id)
	if err != nil {
		rt.Fatal(err)
	}
	got := modelAsset{assessed: a.AssessedSequence, refold: a.Refold, forked: a.Forked}
	if a.Head != nil {
		got.head, got.headID = a.Head.Sequence, a.Head.ReportID
	}
	if got != *want || a.Moved {
		rt.Fatalf("%s: %+v, moved %v; want %+v", id, got, a.Moved, *want)
	}
	states, err := m.store.States(m.t.Context(), id, 0)
	if err != nil || len(states) != len(m.used[id]) {
		rt.Fatalf("%s has %d states (%v), want %d", id, len(states), err, len(m.used[id]))
	}
	for _, r := range states {
		if m.reports[r.ID] != r.LeafIndex || r.Asset != id {
			rt.Fatalf("%s: state %d is report %s at leaf %d", id, r.Sequence, r.ID, r.LeafIndex)
		}
	}
}
