package storetest

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

var retirements = []test{
	{"RetireAndReinstate", retireAndReinstate},
	{"RetireRefuses", retireRefuses},
}

func retireAndReinstate(t *testing.T, s store.Store) {
	dirtyAsset(t, s, "A1")
	asset := func() store.Asset { return must[store.Asset](t)(s.Asset(t.Context(), "A1")) }
	wantEqual(t, "before", asset().Retirement == nil, true)
	picture := must[store.AssetPicture](t)(s.AssetPicture(t.Context(), t0))
	since := asset().Head.ReceivedAt.Add(time.Minute + 7)

	gone := store.Retirement{Retired: true, At: since, Reason: "it's\x00 sold", By: "ada"}
	first := must[int64](t)(s.Retire(t.Context(), "A1", gone, leaf("retirement")))
	gone.Leaf, gone.At, gone.Recorded, gone.Reason = first, rounded(since), rounded(leaf("retirement").At), "it's\uFFFD sold"
	wantEqual(t, "retired", asset().Retirement, &gone)
	wantEqual(t, "marked", markOf(t, s, "A1").Asset, "A1")
	now := must[store.AssetPicture](t)(s.AssetPicture(t.Context(), t0))
	wantEqual(t, "gone", [3]int{now.Gone, now.Back, now.Total}, [3]int{1, 0, picture.Total})

	later := report("A1", 2, "x")
	later.ReceivedAt = since.Add(time.Hour)
	accept(t, s, later)
	now = must[store.AssetPicture](t)(s.AssetPicture(t.Context(), t0))
	wantEqual(t, "back", [2]int{now.Gone, now.Back}, [2]int{0, 1})
	if a := asset(); a.Gone() == nil || a.Away() != nil {
		t.Errorf("got %+v, away %+v, want gone by word and back", a.Gone(), a.Away())
	}

	use := store.Retirement{At: since.Add(2 * time.Hour), Reason: "in use", By: "bob"}
	second := must[int64](t)(s.Retire(t.Context(), "A1", use, leaf("retirement")))
	use.Leaf, use.At, use.Recorded = second, rounded(use.At), gone.Recorded
	wantEqual(t, "reinstated", asset().Retirement, &use)
	wantEqual(t, "history", must[[]store.Retirement](t)(s.Retirements(t.Context(), "A1")), []store.Retirement{gone, use})
	wantEqual(t, "history of nobody", len(must[[]store.Retirement](t)(s.Retirements(t.Context(), "nobody"))), 0)
}

func retireRefuses(t *testing.T, s store.Store) {
	dirtyAsset(t, s, "A1")
	last := must[store.Asset](t)(s.Asset(t.Context(), "A1")).Head.ReceivedAt
	before := must[int64](t)(s.LeafCount(t.Context()))
	refused := func(what, asset string, r store.Retirement, want error) {
		t.Helper()
		_, err := s.Retire(t.Context(), asset, r, leaf("retirement"))
		wantErr(t, what, err, want)
	}
	refused("nobody", "nobody", store.Retirement{Retired: true, At: last, Reason: "x"}, store.ErrNotFound)
	refused("before its last report", "A1", store.Retirement{Retired: true, At: last.Add(-time.Second), Reason: "x"}, store.ErrConflict)
	refused("reinstating one in use", "A1", store.Retirement{At: last, Reason: "x"}, store.ErrConflict)
	wantEqual(t, "leaves", must[int64](t)(s.LeafCount(t.Context())), before)
	must[int64](t)(s.Retire(t.Context(), "A1", store.Retirement{Retired: true, At: last, Reason: "x"}, leaf("retirement")))
	refused("twice", "A1", store.Retirement{Retired: true, At: last.Add(time.Hour), Reason: "x"}, store.ErrConflict)
	if _, err := s.Retire(t.Context(), "A1", store.Retirement{At: last, Reason: "x"}, badLeaf()); err == nil {
		t.Error("got no error for a leaf that cannot be appended")
	}
	wantEqual(t, "after a leaf that cannot be appended", must[store.Asset](t)(s.Asset(t.Context(), "A1")).Retirement.Retired, true)
}
