package storetest

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

var evidence = []test{
	{"LeavesInOrder", leavesInOrder},
	{"RefusesAnEmptyLeaf", leafEmpty},
	{"HashesAndCheckpoints", checkpointRoundTrip},
	{"RefusesACheckpointThatDoesNotGrow", checkpointGrowth},
	{"FailingIntegrateLeavesNothing", checkpointAtomic},
	{"LogStateOnce", logStateOnce},
	{"StartEpoch", startEpoch},
}

func leavesInOrder(t *testing.T, s store.Store) {
	wantEqual(t, "none", leafCount(t, s), int64(0))
	for i := range int64(5) {
		l := store.Leaf{Kind: "k", At: after(time.Duration(i)), Body: []byte{byte(i), 0, 0xff, '\''}}
		wantEqual(t, "index", must[int64](t)(s.AppendLeaf(t.Context(), l)), i)
	}
	got := must[[]store.Leaf](t)(s.Leaves(t.Context(), 2, 2))
	wantEqual(t, "leaves 2 and 3", got, []store.Leaf{
		{Index: 2, Kind: "k", At: rounded(after(2)), Body: []byte{2, 0, 0xff, '\''}},
		{Index: 3, Kind: "k", At: rounded(after(3)), Body: []byte{3, 0, 0xff, '\''}},
	})
	wantEqual(t, "beyond the end", len(must[[]store.Leaf](t)(s.Leaves(t.Context(), 5, 10))), 0)
}

func leafEmpty(t *testing.T, s store.Store) {
	for _, l := range []store.Leaf{{Body: []byte("{}")}, {Kind: "k"}} {
		if _, err := s.AppendLeaf(t.Context(), l); err == nil {
			t.Errorf("leaf %+v was accepted", l)
		}
	}
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
}

func hash(b byte) []byte {
	h := make([]byte, 32)
	h[0], h[31] = b, b
	return h
}

func checkpointRoundTrip(t *testing.T, s store.Store) {
	_, err := s.LastCheckpoint(t.Context())
	wantErr(t, "before the first", err, store.ErrNotFound)
	for range 3 {
		must[int64](t)(s.AppendLeaf(t.Context(), leaf("k")))
	}
	first := store.Checkpoint{Size: 1, At: t0, Note: []byte("note\n\x00")}
	second := store.Checkpoint{Size: 3, At: after(time.Second), Note: []byte("second")}
	for _, step := range []struct {
		hashes map[int64][]byte
		c      store.Checkpoint
	}{{map[int64][]byte{0: hash(1)}, first}, {map[int64][]byte{1: hash(2), 2: hash(3), 3: hash(4)}, second}} {
		if err := s.Integrate(t.Context(), step.hashes, step.c); err != nil {
			t.Fatal(err)
		}
	}
	first.At, second.At = rounded(first.At), rounded(second.At)
	wantEqual(t, "last", must[store.Checkpoint](t)(s.LastCheckpoint(t.Context())), second)
	wantEqual(t, "all", must[[]store.Checkpoint](t)(s.Checkpoints(t.Context())), []store.Checkpoint{first, second})
	wantEqual(t, "hashes", must[map[int64][]byte](t)(s.Hashes(t.Context(), []int64{3, 0})), map[int64][]byte{0: hash(1), 3: hash(4)})
	_, err = s.Hashes(t.Context(), []int64{0, 4})
	wantErr(t, "a hash that is not there", err, store.ErrNotFound)
}

func checkpointGrowth(t *testing.T, s store.Store) {
	for range 3 {
		must[int64](t)(s.AppendLeaf(t.Context(), leaf("k")))
	}
	if err := s.Integrate(t.Context(), nil, store.Checkpoint{Size: 2, Note: []byte("n")}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 1, 2, 4} {
		err := s.Integrate(t.Context(), nil, store.Checkpoint{Size: size, Note: []byte("n")})
		wantErr(t, "no growth, or beyond the leaves", err, store.ErrConflict)
	}
}

func checkpointAtomic(t *testing.T, s store.Store) {
	for range 3 {
		must[int64](t)(s.AppendLeaf(t.Context(), leaf("k")))
	}
	if err := s.Integrate(t.Context(), map[int64][]byte{0: hash(1)}, store.Checkpoint{Size: 1, Note: []byte("n")}); err != nil {
		t.Fatal(err)
	}
	err := s.Integrate(t.Context(), map[int64][]byte{0: hash(9), 1: hash(2)}, store.Checkpoint{Size: 2, Note: []byte("n")})
	wantErr(t, "a hash that is there", err, store.ErrConflict)
	_, err = s.Hashes(t.Context(), []int64{1})
	wantErr(t, "the other hash", err, store.ErrNotFound)
	wantEqual(t, "the first hash", must[map[int64][]byte](t)(s.Hashes(t.Context(), []int64{0}))[0], hash(1))
	wantEqual(t, "checkpoints", len(must[[]store.Checkpoint](t)(s.Checkpoints(t.Context()))), 1)
}

func logStateOnce(t *testing.T, s store.Store) {
	_, _, err := s.LogState(t.Context())
	wantErr(t, "before it has a name", err, store.ErrNotFound)
	if err := s.SetLogState(t.Context(), "example.org/log", 1); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "another name", s.SetLogState(t.Context(), "other", 1), store.ErrExists)
	origin, epoch, err := s.LogState(t.Context())
	if err != nil || origin != "example.org/log" || epoch != 1 {
		t.Errorf("log state %q %d %v", origin, epoch, err)
	}
}

func startEpoch(t *testing.T, s store.Store) {
	_, err := s.StartEpoch(t.Context(), 2, leaf("log_epoch"))
	wantErr(t, "of a log without a name", err, store.ErrConflict)
	if err := s.SetLogState(t.Context(), "o", 1); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "leaf", must[int64](t)(s.StartEpoch(t.Context(), 2, leaf("log_epoch"))), int64(0))
	_, err = s.StartEpoch(t.Context(), 2, leaf("log_epoch"))
	wantErr(t, "again", err, store.ErrConflict)
	if _, err := s.StartEpoch(t.Context(), 3, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	_, epoch, _ := s.LogState(t.Context())
	wantEqual(t, "epoch", epoch, int64(2))
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
}
