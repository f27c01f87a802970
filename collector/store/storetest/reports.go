package storetest

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var reports = []test{
	{"RoundTrip", reportRoundTrip},
	{"ReturnsTheLeafsIndex", reportLeafIndex},
	{"RefusesTheSameTwice", reportTwice},
	{"RefusesAFork", reportFork},
	{"RefusesAnUnknownAsset", reportUnknownAsset},
	{"RefusesAPartThatIsNotHeld", reportMissingPart},
	{"RefusesATextThatIsNotItsDigest", reportWrongPart},
	{"RefusesASequenceTooGreat", reportGreatSequence},
	{"FailingLeafLeavesNothing", reportFailingLeaf},
	{"HeadIsTheHighestSequence", reportHead},
	{"OlderReportAsksForARefold", reportRefold},
	{"MarksItsAsset", reportMarks},
	{"StatesInOrderAfter", reportStates},
	{"EachInLeafOrder", reportEach},
	{"EachStopsAtAnError", reportEachStops},
	{"MissingParts", reportMissingParts},
	{"SharesParts", reportSharesParts},
	{"CountsDuplicates", reportDuplicates},
	{"TransportKeyIsTheFirst", reportTransportKey},
}

func reportRoundTrip(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 7, "bash\t5.2\ncoreutils\t9.1\n")
	r.Statement.Bodies = map[string]string{schema.PartPackages: "bash\t5.2\ncoreutils\t9.1\n"}
	r.Statement.Gaps = []schema.Gap{{Extractor: "rpm", Kind: "corrupt", Detail: "a\x00b ' ? \u2028"}}
	n := accept(t, s, r)
	got := must[store.Report](t)(s.Report(t.Context(), r.ID))
	wantEqual(t, "report", got, stored(r, n))
	wantEqual(t, "part", must[string](t)(s.Part(t.Context(), r.SetDigest)), "bash\t5.2\ncoreutils\t9.1\n")
	_, err := s.Report(t.Context(), "nothing")
	wantErr(t, "an unknown report", err, store.ErrNotFound)
	_, err = s.Part(t.Context(), "nothing")
	wantErr(t, "an unknown part", err, store.ErrNotFound)
}

func reportLeafIndex(t *testing.T, s store.Store) {
	trust(t, s, "A1") // leaf 0
	wantEqual(t, "first index", accept(t, s, report("A1", 1, "x")), int64(1))
	wantEqual(t, "second index", accept(t, s, report("A1", 2, "x")), int64(2))
	wantEqual(t, "leaves", leafCount(t, s), int64(3))
}

func reportTwice(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 1, "x")
	accept(t, s, r)
	clean(t, s)
	before := leafCount(t, s)
	_, err := s.AcceptReport(t.Context(), r, leaf("report"))
	wantErr(t, "again", err, store.ErrExists)
	wantEqual(t, "leaves", leafCount(t, s), before)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
}

func reportFork(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	before := leafCount(t, s)
	other := report("A1", 1, "y")
	_, err := s.AcceptReport(t.Context(), other, leaf("report"))
	wantErr(t, "fork", err, store.ErrFork)
	wantEqual(t, "leaves", leafCount(t, s), before)
	wantEqual(t, "the fork's part", must[[]string](t)(s.MissingParts(t.Context(), []string{other.SetDigest})), []string{other.SetDigest})
}

func reportUnknownAsset(t *testing.T, s store.Store) {
	_, err := s.AcceptReport(t.Context(), report("A1", 1, "x"), leaf("report"))
	wantErr(t, "unknown asset", err, store.ErrNotFound)
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
}

func reportMissingPart(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 1, "x")
	r.PartsTexts = nil
	_, err := s.AcceptReport(t.Context(), r, leaf("report"))
	wantErr(t, "a part never sent", err, store.ErrNotFound)
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
}

func reportWrongPart(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 1, "x")
	r.PartsTexts = map[string]string{r.SetDigest: "not x"}
	if _, err := s.AcceptReport(t.Context(), r, leaf("report")); err == nil {
		t.Error("a text under another text's digest was accepted")
	}
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
	wantEqual(t, "missing", must[[]string](t)(s.MissingParts(t.Context(), []string{r.SetDigest})), []string{r.SetDigest})
}

func reportGreatSequence(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	if _, err := s.AcceptReport(t.Context(), report("A1", math.MaxUint64, "x"), leaf("report")); err == nil {
		t.Error("a sequence beyond 63 bits was accepted")
	}
	accept(t, s, report("A1", math.MaxInt64, "x"))
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "head", a.Head.Sequence, uint64(math.MaxInt64))
	wantEqual(t, "states after the end", len(must[[]store.Report](t)(s.States(t.Context(), "A1", math.MaxUint64))), 0)
}

func reportFailingLeaf(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	clean(t, s)
	r := report("A1", 1, "x")
	if _, err := s.AcceptReport(t.Context(), r, badLeaf()); err == nil {
		t.Fatal("a leaf without a kind was accepted")
	}
	_, err := s.Report(t.Context(), r.ID)
	wantErr(t, "the report", err, store.ErrNotFound)
	wantEqual(t, "missing parts", len(must[[]string](t)(s.MissingParts(t.Context(), []string{r.SetDigest}))), 1)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
	if a := must[store.Asset](t)(s.Asset(t.Context(), "A1")); a.Head != nil {
		t.Errorf("the head moved: %+v", a.Head)
	}
	accept(t, s, r)
}

func reportHead(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 2, "two"))
	late := report("A1", 1, "one")
	accept(t, s, late)
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	r := report("A1", 2, "two")
	wantEqual(t, "head", a.Head, &store.Head{
		ReportID: r.ID, Sequence: 2, CollectedAt: rounded(r.CollectedAt), ReceivedAt: rounded(r.ReceivedAt),
		Release: debian12, Kernel: r.Kernel, SetDigest: r.SetDigest, Packages: 2, Complete: true,
		Hostname: "A1.example", OSName: "Debian GNU/Linux 12 (bookworm)", Arch: "x86_64",
		InstanceID: "i-0abc", AccountID: "111122223333", Region: "eu-central-1", Agent: "1.0.0",
	})
}

func reportRefold(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 2, "two"))
	m := must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0))[0]
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 2})
	refold := func() bool { return must[store.Asset](t)(s.Asset(t.Context(), "A1")).Refold }
	wantEqual(t, "refold after a fold", refold(), false)
	accept(t, s, report("A1", 3, "three"))
	wantEqual(t, "refold after a newer report", refold(), false)
	accept(t, s, report("A1", 1, "one"))
	wantEqual(t, "refold after an older report", refold(), true)
	m = must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0))[0]
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 3})
	wantEqual(t, "refold after folding again", refold(), false)
}

func reportMarks(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	clean(t, s)
	accept(t, s, report("A1", 1, "x"))
	first := marks(t.Context(), t, s)
	if len(first) != 1 || first["A1"] == 0 {
		t.Fatalf("marks %v, want one of A1", first)
	}
	accept(t, s, report("A1", 2, "x"))
	if again := marks(t.Context(), t, s)["A1"]; again <= first["A1"] {
		t.Errorf("the second mark's version %d is not after the first's %d", again, first["A1"])
	}
}

func reportStates(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	index := map[uint64]int64{}
	for _, seq := range []uint64{3, 1, 10, 2} {
		index[seq] = accept(t, s, report("A1", seq, "x"))
	}
	accept(t, s, report("A2", 5, "x"))
	var want []store.Report
	for _, seq := range []uint64{2, 3, 10} {
		r := stored(report("A1", seq, "x"), index[seq])
		r.Raw, r.Statement = nil, schema.Report{}
		want = append(want, r)
	}
	wantEqual(t, "states after 1", must[[]store.Report](t)(s.States(t.Context(), "A1", 1)), want)
}

func reportEach(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	var want []store.Report
	for seq := uint64(200); seq > 0; seq-- { // more than one page of any implementation
		r := report("A1", seq, "x")
		want = append(want, stored(r, accept(t, s, r)))
	}
	var got []store.Report
	if err := s.EachReport(t.Context(), func(r store.Report) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "reports", got, want)
}

func reportEachStops(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	accept(t, s, report("A1", 2, "x"))
	stop := errors.New("stop")
	calls := 0
	err := s.EachReport(t.Context(), func(store.Report) error { calls++; return stop })
	wantErr(t, "each", err, stop)
	wantEqual(t, "calls", calls, 1)
}

func reportMissingParts(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	ask := []string{digest("zz"), digest("x"), digest("y"), digest("y")}
	got := must[[]string](t)(s.MissingParts(t.Context(), ask))
	wantEqual(t, "count", len(got), 2)
	if strings.Compare(got[0], got[1]) >= 0 {
		t.Errorf("missing parts are not sorted: %v", got)
	}
	wantEqual(t, "of nothing", len(must[[]string](t)(s.MissingParts(t.Context(), nil))), 0)
}

func reportSharesParts(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	big := strings.Repeat("package\t1.0\n", 50_000)
	accept(t, s, report("A1", 1, big))
	r := report("A2", 1, big)
	r.PartsTexts = nil // by digest only
	accept(t, s, r)
	wantEqual(t, "text", must[string](t)(s.Part(t.Context(), r.SetDigest)) == big, true)
}

func reportDuplicates(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	r := report("A1", 1, "x")
	accept(t, s, r)
	before := leafCount(t, s)
	wantEqual(t, "at first", must[int64](t)(s.Duplicates(t.Context(), r.ID)), int64(0))
	for range 3 {
		if err := s.RecordDuplicate(t.Context(), r.ID, after(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "after three", must[int64](t)(s.Duplicates(t.Context(), r.ID)), int64(3))
	wantEqual(t, "leaves", leafCount(t, s), before)
	wantErr(t, "of nothing", s.RecordDuplicate(t.Context(), "nothing", t0), store.ErrNotFound)
}

func reportTransportKey(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	accept(t, s, report("A1", 1, "x"))
	r := report("A1", 2, "x")
	r.Statement.TransportKey = "Uother"
	accept(t, s, r)
	wantEqual(t, "transport key", must[store.Asset](t)(s.Asset(t.Context(), "A1")).TransportKey, "UA1")
}
