package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

var concurrency = []test{
	{"OneReportManySenders", concurrentSame},
	{"ForksLeaveOne", concurrentForks},
	{"EveryActHasItsLeaf", concurrentLeaves},
	{"NoMarkIsLost", concurrentMarks},
	{"ReadersDoNotWait", concurrentReaders},
	{"ViewIsOfOneMoment", view},
	{"CancelledWriteLeavesNothing", cancelled},
}

const racers = 8

// together runs f in several goroutines and waits for all.
func together(f func(i int)) {
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func concurrentSame(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 1, "x")
	errs := make([]error, racers)
	together(func(i int) { _, errs[i] = s.AcceptReport(t.Context(), r, leaf("report")) })
	accepted := 0
	for _, err := range errs {
		if err == nil {
			accepted++
		} else {
			wantErr(t, "the others", err, store.ErrExists)
		}
	}
	wantEqual(t, "accepted", accepted, 1)
	wantEqual(t, "leaves", leafCount(t, s), int64(2))
}

func concurrentForks(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	errs := make([]error, racers)
	together(func(i int) {
		_, errs[i] = s.AcceptReport(t.Context(), report("A1", 1, fmt.Sprint("x", i)), leaf("report"))
	})
	for _, err := range errs {
		wantErr(t, "a fork", err, nil)
	}
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "forked", a.Forked, true)
	states := must[[]store.Report](t)(s.States(t.Context(), "A1", 0))
	wantEqual(t, "states", len(states), racers)
	wantEqual(t, "head", a.Head.ReportID, states[len(states)-1].ID)
}

func concurrentLeaves(t *testing.T, s store.Store) {
	const each = 10
	together(func(i int) {
		id := fmt.Sprint("A", i)
		trust(t, s, id)
		for seq := range uint64(each) {
			accept(t, s, report(id, seq+1, "x"))
		}
	})
	want := int64(racers * (each + 1))
	wantEqual(t, "leaves", leafCount(t, s), want)
	seen := map[int64]bool{}
	err := s.EachReport(t.Context(), func(r store.Report) error {
		if seen[r.LeafIndex] || r.LeafIndex < 0 || r.LeafIndex >= want {
			t.Errorf("report %d of %s has leaf %d", r.Sequence, r.Asset, r.LeafIndex)
		}
		seen[r.LeafIndex] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "reports", len(seen), racers*each)
}

// concurrentMarks drains marks while reports arrive. In the end every report is
// folded or its asset is still marked.
func concurrentMarks(t *testing.T, s store.Store) {
	const last = 30
	trust(t, s, "A1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seq := range uint64(last) {
			accept(t, s, report("A1", seq+1, "x"))
		}
	}()
	for draining := true; draining; {
		select {
		case <-done:
			draining = false
		default:
		}
		for range 2 {
			drain(t, s)
		}
	}
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "folded", a.AssessedSequence, uint64(last))
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
}

// drain assesses as an assessor does: mark first, then what the mark is about.
func drain(t *testing.T, s store.Store) {
	t.Helper()
	for _, m := range must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 10)) {
		states := must[[]store.Report](t)(s.States(t.Context(), m.Asset, 0))
		seen := uint64(0)
		if len(states) > 0 {
			seen = states[len(states)-1].Sequence
		}
		f := made(m.Asset, fmt.Sprint("C", seen), finding.Open, "")
		apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: seen, Changed: []finding.Finding{f}})
	}
}

func concurrentReaders(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	together(func(i int) {
		for seq := range uint64(10) {
			if i == 0 {
				accept(t, s, report("A1", seq+1, "x"))
				continue
			}
			n := must[int64](t)(s.LeafCount(t.Context()))
			if got := len(must[[]store.Leaf](t)(s.Leaves(t.Context(), 0, 100))); int64(got) < n {
				t.Errorf("%d leaves listed after %d were counted", got, n)
			}
		}
	})
}

func view(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	stop := errors.New("stop")
	err := s.View(t.Context(), func(v store.Store) error {
		accept(t, s, report("A1", 1, "x"))
		wantEqual(t, "leaves within", leafCount(t, v), int64(1))
		wantEqual(t, "marks within", len(marks(t.Context(), t, v)), 0)
		wantEqual(t, "leaves outside", leafCount(t, s), int64(2))
		return stop
	})
	wantErr(t, "the function's error", err, stop)
	accept(t, s, report("A1", 2, "x"))
}

func cancelled(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.AcceptReport(ctx, report("A1", 1, "x"), leaf("report"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
	accept(t, s, report("A1", 1, "x"))
}
