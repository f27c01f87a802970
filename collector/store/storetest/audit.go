package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var audit = []test{
	{"TrustedKeys", auditKeys},
	{"ALeafIsSealedWithWhatIsWrittenUnderIt", auditSeal},
	{"AFailingSealLeavesNothing", auditFailingSeal},
	{"ContentsOfOneLeafStay", auditContents},
	{"FactsDigestFollowsTheFacts", auditFacts},
	{"Outcomes", auditOutcomes},
	{"ChangeOfWhatBindsNeedsALeaf", auditInForce},
	{"FactsAreSeenOnce", auditFactsSeen},
	{"FeedRecords", auditFeeds},
	{"DerivedRowsAreRight", auditDerived},
}

func auditKeys(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	wantEqual(t, "keys", must[[]store.TrustedKey](t)(s.TrustedKeys(t.Context())), []store.TrustedKey{
		{Key: key("A1"), Asset: "A1", TrustedAt: rounded(t0), Leaf: 0}, {Key: key("A2"), Asset: "A2", TrustedAt: rounded(t0), Leaf: 1},
	})
	wantEqual(t, "hashes", must[int64](t)(s.HashCount(t.Context())), int64(0))
}

// sealed is a leaf that keeps what it was sealed with.
func sealed(kind string, got *map[string]string) store.Leaf {
	l := leaf(kind)
	l.Seal = func(contents map[string]string) ([]byte, error) {
		*got = contents
		return []byte(fmt.Sprintf(`{"kind":%q,"sealed":true}`, kind)), nil
	}
	return l
}

func contents(t testing.TB, s store.Store, leaf int64) map[string]string {
	t.Helper()
	return must[map[string]string](t)(s.Contents(t.Context(), leaf))
}

func auditSeal(t *testing.T, s store.Store) {
	var got map[string]string
	a := adv("DSA-1", "1.2-3", "CVE-2026-1")
	a.Issued, a.IssuedKind = time.Time{}, ""
	b := snapshot(a)
	n := must[store.Applied](t)(s.ApplyBatch(t.Context(), b, t0, sealed("feed", &got))).Leaf
	held := contents(t, s, n)
	for _, list := range []string{"advisories", "fixes"} {
		if got[list] != held[list] || got[list] == digest("") {
			t.Errorf("%s: sealed with %q, held are %q", list, got[list], held[list])
		}
	}
	wantEqual(t, "facts", got["facts"], must[string](t)(s.FactsDigest(t.Context(), osvFeed.Kind)))
	leaves := must[[]store.Leaf](t)(s.Leaves(t.Context(), n, 1))
	wantEqual(t, "body", string(leaves[0].Body), `{"kind":"feed","sealed":true}`)
}

func auditFailingSeal(t *testing.T, s store.Store) {
	l := leaf("feed")
	broken := errors.New("no seal")
	l.Seal = func(map[string]string) ([]byte, error) { return nil, broken }
	_, err := s.ApplyBatch(t.Context(), snapshot(adv("DSA-1", "1", "C1")), t0, l)
	wantErr(t, "apply", err, broken)
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
	wantEqual(t, "advisories", len(advisoriesFor(t, s, debian12)), 0)
}

func auditContents(t *testing.T, s store.Store) {
	first := applyBatch(t, s, snapshot(adv("DSA-1", "1", "C1"), adv("DSA-2", "1", "C2")), t0).Leaf
	was := contents(t, s, first)
	second := applyBatch(t, s, snapshot(adv("DSA-1", "2", "C1")), after(time.Hour)).Leaf
	wantEqual(t, "contents of the first", contents(t, s, first), was)
	third := applyBatch(t, s, snapshot(adv("DSA-1", "2", "C1"), adv("DSA-2", "1", "C2")), after(2*time.Hour)).Leaf
	same := applyBatch(t, s, snapshot(adv("DSA-1", "2", "C1"), adv("DSA-2", "1", "C2")), after(3*time.Hour)).Leaf
	seen := map[string]int64{}
	for _, n := range []int64{first, second, third} {
		c := contents(t, s, n)["advisories"]
		if other, ok := seen[c]; ok || c == digest("") {
			t.Errorf("leaves %d and %d have the same advisories %s", other, n, c)
		}
		seen[c] = n
	}
	wantEqual(t, "a snapshot that changes nothing", contents(t, s, same)["advisories"], digest(""))
}

func auditFacts(t *testing.T, s store.Store) {
	kev := func() string { return must[string](t)(s.FactsDigest(t.Context(), "kev")) }
	wantEqual(t, "without any", kev(), digest(""))
	applyBatch(t, s, kevBatch("C1", "C2"), t0)
	both := kev()
	applyBatch(t, s, epssBatch(map[string]float64{"C1": 0.5}), t0)
	wantEqual(t, "after facts of another kind", kev(), both)
	applyBatch(t, s, kevBatch("C1"), t0)
	if kev() == both {
		t.Error("a fact was taken off the list and the digest stayed")
	}
	wantEqual(t, "kinds", must[[]string](t)(s.FactKinds(t.Context())), []string{"epss", "kev"})
}

func auditOutcomes(t *testing.T, s store.Store) {
	two, one := dirtyAsset(t, s, "A2"), dirtyAsset(t, s, "A1")
	ask := store.Approval{ID: "R", Cause: finding.CauseClassification, Subject: "A1", What: "less", RequestedBy: "ada", RequestedAt: t0}
	in := []store.Assessment{
		{Mark: two, At: t0, AssessedSequence: 1, AsOf: 4, Changed: []finding.Finding{made("A2", "C1", finding.Open, "P1")}},
		{
			Mark: one, At: t0, AssessedSequence: 7, AsOf: 4, After: 3, Refold: true, Covered: true, Gaps: []schema.Gap{{Extractor: "rpm", Kind: "broken"}},
			InForce: &store.Attributes{Owner: "o"}, Classification: "R", Requests: []store.Approval{ask},
			Undetermined: []finding.Undetermined{{Asset: "A1", Vulnerability: "C2"}},
		},
	}
	n := apply(t, s, in...)
	want := make([]store.Outcome, 2)
	for i, a := range []store.Assessment{in[1], in[0]} {
		want[i] = must[store.Outcome](t)(a.Outcome())
	}
	wantEqual(t, "outcomes", must[[]store.Outcome](t)(s.Outcomes(t.Context(), n)), want)
	wantEqual(t, "the request", want[0].Requests, []store.Request{{ID: "R", Cause: finding.CauseClassification, Subject: "A1", What: "less", By: "ada", At: rounded(t0)}})
	wantEqual(t, "of another leaf", len(must[[]store.Outcome](t)(s.Outcomes(t.Context(), n-1))), 0)
}

func auditInForce(t *testing.T, s store.Store) {
	assess := func(a store.Assessment) int64 {
		t.Helper()
		if err := s.MarkAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.Mark, a.At, a.AssessedSequence = markOf(t, s, "A1"), t0, 1
		return apply(t, s, a)
	}
	dirtyAsset(t, s, "A1")
	ask := []store.Approval{{ID: "R", Cause: finding.CauseClassification, Subject: "A1", RequestedBy: "ada", RequestedAt: t0}}
	binds := &store.Attributes{Owner: "o"}
	for _, c := range []struct {
		name  string
		a     store.Assessment
		leafs bool
	}{
		{"nothing", store.Assessment{}, false},
		{"attributes in force", store.Assessment{InForce: binds}, true},
		{"the same again", store.Assessment{InForce: binds}, false},
		{"a request", store.Assessment{InForce: binds, Classification: "R", Requests: ask}, true},
		{"the same request", store.Assessment{InForce: binds, Classification: "R", Requests: ask}, false},
		{"another classification supersedes it", store.Assessment{InForce: binds, Classification: "S"}, true},
		{"once", store.Assessment{InForce: binds, Classification: "S"}, false},
		{"asked again", store.Assessment{InForce: binds, Classification: "R", Requests: ask}, true},
	} {
		if n := assess(c.a); (n >= 0) != c.leafs {
			t.Errorf("%s: leaf %d, want one: %t", c.name, n, c.leafs)
		}
	}
}

func auditFactsSeen(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	facts := map[string]advisory.Facts{"C1": {Vulnerability: "C1", EPSS: &advisory.EPSS{Score: 0.5}}}
	assess := func(cve string) map[string]string {
		t.Helper()
		var got map[string]string
		l := sealed("assessment", &got)
		must[int64](t)(s.ApplyAssessments(t.Context(), []store.Assessment{
			{Mark: m, At: t0, AssessedSequence: 1, Facts: facts, Changed: []finding.Finding{made("A1", cve, finding.Open, "P1")}},
		}, &l))
		wantEqual(t, "sealed with", got["facts_seen"], contents(t, s, leafCount(t, s)-1)["facts_seen"])
		if err := s.MarkAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		m = markOf(t, s, "A1")
		return got
	}
	none := digest("")
	if got := assess("C1")["facts_seen"]; got == none {
		t.Error("facts were read for the first time and not kept")
	}
	wantEqual(t, "the same facts", assess("C2")["facts_seen"], none)
	facts["C1"] = advisory.Facts{Vulnerability: "C1", EPSS: &advisory.EPSS{Score: 0.75}}
	if got := assess("C3")["facts_seen"]; got == none {
		t.Error("other facts were read and not kept")
	}
}

func auditFeeds(t *testing.T, s store.Store) {
	applyBatch(t, s, snapshot(adv("DSA-1", "1", "C1")), t0)
	h := store.Held{Digest: "d", At: t0, Reason: "shrinks"}
	if err := s.HoldBatch(t.Context(), osvFeed, h, leaf("feed_held")); err != nil {
		t.Fatal(err)
	}
	want := must[[]store.FeedState](t)(s.Feeds(t.Context()))
	for i := range want {
		want[i].Advisories, want[i].Facts, want[i].Missing, want[i].Withdrawn = 0, 0, 0, 0
	}
	wantEqual(t, "records", must[[]store.FeedState](t)(s.FeedRecords(t.Context())), want)
}

// auditDerived draws on everything that keeps something twice.
func auditDerived(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	applyBatch(t, s, snapshot(adv("DSA-1", "1", "C1"), adv("DSA-2", "1", "C1", "C2")), t0)
	applyBatch(t, s, snapshot(adv("DSA-2", "2", "C3")), t0)
	keep(t, s, refused("k", "r", "raw", t0), wide)
	m = markOf(t, s, m.Asset)
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Covered: true, Changed: []finding.Finding{
		made("A1", "C1", finding.Open, "P1"), made("A1", "C2", finding.Fixed, "P2"),
	}, Undetermined: []finding.Undetermined{{Asset: "A1", Vulnerability: "C2", Component: "src"}, {Asset: "A1", Vulnerability: "C3"}}})
	at := store.Attributes{Owner: "another"}
	must[int64](t)(s.SetAttributes(t.Context(), "A1", "name", at, leaf("attributes")))
	err := s.CheckDerived(t.Context(), func(where, what string) { t.Errorf("%s: %s", where, what) })
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	must0(t, s.EachQuarantined(t.Context(), func(q store.Quarantined) error {
		kept += len(q.Raw)
		return nil
	}))
	wantEqual(t, "bytes in quarantine", kept, len("raw"))
}

func must0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
