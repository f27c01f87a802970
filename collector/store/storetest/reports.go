package storetest

import (
	"errors"
	"fmt"
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
	{"KeepsAFork", reportFork},
	{"SeesContradictions", reportContradictions},
	{"SeesOneKeyOnTwoMachines", reportMoved},
	{"DecidesOnClones", decideClone},
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

// Both reports of a fork are kept, and everything is folded again.
func reportFork(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	first, other := report("A1", 1, "x"), report("A1", 1, "y")
	accept(t, s, first)
	apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), AssessedSequence: 1})
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "forked by one report", a.Forked || a.Moved || a.Refold, false)
	accept(t, s, other)
	a = must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "forked", a.Forked, true)
	wantEqual(t, "moved", a.Moved, false)
	wantEqual(t, "refold", a.Refold, true)
	wantEqual(t, "head", a.Head.ReportID, max(first.ID, other.ID))
	wantEqual(t, "states", len(must[[]store.Report](t)(s.States(t.Context(), "A1", 0))), 2)
}

// What contradicts a chain is seen whichever of two reports comes first.
func reportContradictions(t *testing.T, s store.Store) {
	for name, pair := range map[string]func(a, b *store.Report){
		"A-sequence":    func(_, b *store.Report) { b.Sequence = 5 },
		"A-predecessor": func(a, b *store.Report) { b.Sequence, b.Previous = 9, a.Previous },
		"A-broken":      func(_, b *store.Report) { b.Previous = digest("none") },
		"A-backwards":   func(a, b *store.Report) { b.Sequence, b.Previous = 4, a.ID },
	} {
		for _, turned := range []bool{false, true} {
			id := fmt.Sprint(name, turned)
			trust(t, s, id)
			a, b := report(id, 5, "x"), report(id, 6, "y")
			b.Previous = a.ID
			pair(&a, &b)
			if turned {
				a, b = b, a
			}
			accept(t, s, a)
			accept(t, s, b)
			got := must[store.Asset](t)(s.Asset(t.Context(), id))
			wantEqual(t, id+" forked", got.Forked, true)
		}
	}
	trust(t, s, "A-honest")
	a, b := report("A-honest", 5, "x"), report("A-honest", 6, "y")
	b.Previous = a.ID
	accept(t, s, b)
	accept(t, s, a)
	accept(t, s, report("A-honest", 1<<20, "after a lost ledger"))
	got := must[store.Asset](t)(s.Asset(t.Context(), "A-honest"))
	wantEqual(t, "honest", got.Forked || got.Moved, false)
}

// One key on two machines is noticed, and a fact that ties them takes it back.
func reportMoved(t *testing.T, s store.Store) {
	on := func(seq uint64, instance, uuid string) store.Report {
		r := report("A1", seq, "x")
		r.Statement.Cloud, r.Statement.Host.ProductUUID = nil, uuid
		if instance != "" {
			r.Statement.Cloud = &schema.Cloud{Provider: "aws", InstanceID: instance}
		}
		return r
	}
	const u1, u2 = "ec2a1b2c-0000-0000-0000-000000000001", "ec2a1b2c-0000-0000-0000-000000000002"
	moved := func() bool { return must[store.Asset](t)(s.Asset(t.Context(), "A1")).Moved }
	trust(t, s, "A1")
	accept(t, s, on(1, "", u1))
	wantEqual(t, "one machine", moved(), false)
	accept(t, s, on(2, "", u2))
	wantEqual(t, "two machines", moved(), true)
	accept(t, s, on(3, "i-1", u1))
	accept(t, s, on(4, "i-1", u2))
	wantEqual(t, "one instance on two machines", moved(), false)
	accept(t, s, on(5, "i-2", u2))
	wantEqual(t, "two instances", moved(), true)
	nodes := must[store.Lineage](t)(s.Lineage(t.Context(), "A1")).Nodes
	wantEqual(t, "machine", nodes[3].Machine, schema.Machine{Instance: "ec2/i-1", ProductUUID: u2})
}

// A decision sets the head to the line that is kept, once for what was seen.
func decideClone(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	first, other := report("A1", 1, "x"), report("A1", 1, "y")
	if first.ID > other.ID {
		first, other = other, first
	}
	accept(t, s, first)
	accept(t, s, other)
	clean(t, s)
	d := store.CloneDecision{Asset: "A1", Keep: first.ID, By: "ann", At: t0, Reason: "the other is a test copy"}
	for what, test := range map[string]struct {
		change func(*store.CloneDecision)
		seen   int
		want   error
	}{
		"a report that came meanwhile": {func(*store.CloneDecision) {}, 1, store.ErrConflict},
		"a report that is not there":   {func(d *store.CloneDecision) { d.Keep = "none" }, 2, store.ErrNotFound},
		"an asset that is not there":   {func(d *store.CloneDecision) { d.Asset = "A9" }, 2, store.ErrNotFound},
	} {
		wrong := d
		test.change(&wrong)
		_, err := s.DecideClone(t.Context(), wrong, test.seen, leaf("clone"))
		wantErr(t, what, err, test.want)
	}
	silent := d
	silent.Reason = " "
	if _, err := s.DecideClone(t.Context(), silent, 2, leaf("clone")); err == nil {
		t.Error("a decision without a reason was recorded")
	}
	n := must[int64](t)(s.DecideClone(t.Context(), d, 2, leaf("clone")))
	d.Leaf, d.At = n, rounded(d.At)
	wantEqual(t, "decisions", must[[]store.CloneDecision](t)(s.CloneDecisions(t.Context(), "A1")), []store.CloneDecision{d})
	wantEqual(t, "all decisions", len(must[[]store.CloneDecision](t)(s.CloneDecisions(t.Context(), ""))), 1)
	wantEqual(t, "another's decisions", len(must[[]store.CloneDecision](t)(s.CloneDecisions(t.Context(), "A2"))), 0)
	wantEqual(t, "head", must[store.Asset](t)(s.Asset(t.Context(), "A1")).Head.ReportID, first.ID)
	wantEqual(t, "marked", len(marks(t.Context(), t, s)), 1)
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
	accept(t, s, report("A1", 2, "x"))
	m := must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0))[0]
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 2})
	refold := func() bool { return must[store.Asset](t)(s.Asset(t.Context(), "A1")).Refold }
	wantEqual(t, "refold after a fold", refold(), false)
	accept(t, s, report("A1", 3, "x"))
	wantEqual(t, "refold after a newer report", refold(), false)
	accept(t, s, report("A1", 1, "x"))
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
