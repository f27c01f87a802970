package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

var past = []test{
	{"IsWhatThePresentWas", pastIsWhatWas},
	{"NeverChanges", pastNeverChanges},
	{"AClockThatGoesBack", pastClockBack},
	{"AnInstantIsSealedByAsking", pastSealed},
	{"CheckpointsOfTheTime", pastCheckpoints},
	{"BeforeTheRecord", pastBefore},
	{"WhatIsNotKept", pastNotKept},
	{"AsksByWhatAssetsWere", pastAttributes},
	{"PagesThrough", pastPages},
	{"ScoresOfWhatNothingHad", pastScores},
}

// at is a leaf of an instant.
func leafAt(kind string, at time.Time) store.Leaf {
	l := leaf(kind)
	l.At = at
	return l
}

// asOf asks the past; it fails the test when that fails.
func asOf(t testing.TB, s store.Store, at time.Time, f func(store.Store) error) store.Position {
	t.Helper()
	var p store.Position
	err := s.Past(t.Context(), at, func(st store.Store, got store.Position) error {
		p = got
		return f(st)
	})
	if err != nil {
		t.Fatalf("as of %s: %v", at, err)
	}
	return p
}

// everything is all that a store says of what is kept for the past, in JSON.
func everything(t testing.TB, s store.Store) string {
	t.Helper()
	ctx := t.Context()
	all := map[string]any{}
	tell := func(what string, v any, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		all[what] = v
	}
	as, err := s.Assets(ctx)
	for i := range as { // how far the assessor is, is of the present
		as[i].AssessedSequence, as[i].AssessedAt, as[i].Refold = 0, time.Time{}, false
		as[i].Forked, as[i].Moved = false, false
		list, err := s.AssetFindings(ctx, as[i].ID)
		tell("findings of "+as[i].ID, list, err)
		und, err := s.UndeterminedOf(ctx, as[i].ID)
		tell("undetermined of "+as[i].ID, und, err)
		classified, err := s.ClassificationHistory(ctx, as[i].ID)
		tell("classifications of "+as[i].ID, classified, err)
		states, err := s.States(ctx, as[i].ID, 0)
		tell("reports of "+as[i].ID, states, err)
		for _, f := range list {
			h, err := s.FindingHistory(ctx, f.ID)
			tell("history of "+f.ID, h, err)
		}
	}
	tell("assets", as, err)
	list, err := s.ListFindings(ctx, store.FindingQuery{})
	tell("findings", list, err)
	for _, by := range append([]string{""}, store.Groupings...) {
		n, err := s.CountFindings(ctx, store.FindingQuery{}, by, after(24*time.Hour))
		tell("findings by "+by, n, err)
	}
	due, err := s.CountDue(ctx, store.FindingQuery{}, []time.Time{t0, after(72 * time.Hour)})
	tell("due", due, err)
	counts, err := s.CountByAsset(ctx, after(24*time.Hour))
	tell("by asset", counts, err)
	picture, err := s.AssetPicture(ctx, after(time.Hour))
	picture.Waiting = 0
	tell("picture", picture, err)
	undetermined, err := s.CountUndetermined(ctx)
	tell("undetermined", undetermined, err)
	feeds, err := s.Feeds(ctx)
	tell("feeds", feeds, err)
	for _, v := range []string{"C1", "C2", "C3", "C9"} {
		named, err := s.AdvisoriesNaming(ctx, v)
		tell("advisories naming "+v, named, err)
		known, err := s.Facts(ctx, []string{v})
		tell("facts of "+v, known, err)
	}
	estate, err := s.Estate(ctx, nil)
	tell("estate", estate, err)
	imports, err := s.AssetImports(ctx)
	tell("imports", imports, err)
	rules, err := s.RulesHistory(ctx)
	tell("rules", rules, err)
	policies, err := s.PolicyHistory(ctx)
	tell("policies", policies, err)
	checkpoints, err := s.Checkpoints(ctx)
	tell("checkpoints", checkpoints, err)
	leaves, err := s.LeafCount(ctx)
	tell("leaves", leaves, err)
	text, err := json.MarshalIndent(all, "", " ")
	tell("JSON", nil, err)
	return string(text)
}

// acts are one of each that changes what answers say, an hour apart.
func acts(t *testing.T, s store.Store, then func(at time.Time)) {
	t.Helper()
	n := 0
	var at time.Time
	act := func(f func(l func(string) store.Leaf)) {
		n++
		at = after(time.Duration(n) * time.Hour)
		f(func(kind string) store.Leaf { return leafAt(kind, at) })
		then(at)
	}
	assess := func(asset string, sequence uint64, a store.Assessment) func(func(string) store.Leaf) {
		return func(l func(string) store.Leaf) {
			must[any](t)(nil, s.MarkAll(t.Context()))
			a.Mark, a.At, a.AssessedSequence = markOf(t, s, asset), at, sequence
			x := l("assessment")
			must[int64](t)(s.ApplyAssessments(t.Context(), []store.Assessment{a}, &x))
		}
	}
	for _, id := range []string{"A1", "A2"} {
		act(func(l func(string) store.Leaf) {
			must[int64](t)(s.TrustKey(t.Context(), store.Asset{ID: id, Name: "host " + id, Key: key(id), TrustedAt: at}, l("trust")))
		})
	}
	arrive := func(asset string, seq uint64) {
		act(func(l func(string) store.Leaf) {
			must[int64](t)(s.AcceptReport(t.Context(), report(asset, seq, fmt.Sprint("text ", seq)), l("report")))
		})
	}
	arrive("A1", 2)
	first, second := made("A1", "C1", finding.Open, "P1"), made("A1", "C2", finding.Open, "P2")
	maybe := finding.Undetermined{Asset: "A1", Vulnerability: "C9", Component: "src", Comparison: finding.Comparison{Package: "p", Reason: "words"}}
	inForce := store.Attributes{Exposure: sla.Internal}
	act(assess("A1", 2, store.Assessment{Covered: true, Changed: []finding.Finding{first, second}, Undetermined: []finding.Undetermined{maybe, maybe}}))
	arrive("A1", 1) // late: the head stays
	arrive("A1", 3)
	fixed := first
	fixed.State, fixed.Closed = finding.Fixed, after(5*time.Hour)
	act(assess("A1", 3, store.Assessment{
		Changed: []finding.Finding{fixed}, Undetermined: []finding.Undetermined{maybe}, InForce: &inForce,
		Gaps: []schema.Gap{{Extractor: "dpkg", Kind: "unreadable", Detail: "' \n"}},
	}))
	act(assess("A1", 3, store.Assessment{Covered: true, InForce: &inForce}))
	act(func(l func(string) store.Leaf) {
		must[int64](t)(s.SetAttributes(t.Context(), "A1", "renamed", store.Attributes{Owner: "ada", Exposure: sla.Internal}, l("attributes")))
	})
	act(func(l func(string) store.Leaf) {
		x := l("classification")
		must[int64](t)(reclassify(t, s, store.Reclassification{
			Leaf: &x, Rules: &store.RulesRecord{Digest: "d1", Source: []byte("r"), AppliedAt: at},
			Changed: []store.Classification{classification("A1", store.Attributes{Owner: "bob", CrownJewel: true})},
		}))
	})
	for i, entry := range []string{"a", "b", "a"} {
		act(func(l func(string) store.Leaf) {
			x := l("classification")
			n := leafCount(t, s)
			must[int64](t)(reclassify(t, s, store.Reclassification{
				Leaf: &x, Import: &store.AssetImport{Source: "config", File: "f", Format: "csv", Digest: fmt.Sprint("d", i), Entries: 1, ImportedAt: at, Text: []byte("t")},
				Listed: []classify.Listed{listedEntry(n, n, "config", entry, fmt.Sprint("o", i))},
			}))
		})
	}
	act(func(l func(string) store.Leaf) {
		must[store.Applied](t)(s.ApplyBatch(t.Context(), snapshot(adv("DSA-1", "2", "C1"), adv("DSA-2", "2", "C2")), at, l("feed")))
	})
	act(func(l func(string) store.Leaf) {
		must[store.Applied](t)(s.ApplyBatch(t.Context(), snapshot(adv("DSA-1", "3", "C1")), at, l("feed")))
	})
	for i, batch := range []advisory.Batch{
		snapshot(adv("DSA-1", "3", "C2", "C3"), unissued("DSA-3", "4")), // another vulnerability, and one without a date
		kevBatch("C1", "C9"), epssBatch(map[string]float64{"C1": 0.1, "C2": 0.2}),
		kevBatch("C2"), epssBatch(map[string]float64{"C1": 0.7, "C2": 0.2}),
	} {
		act(func(l func(string) store.Leaf) {
			batch.Digest, batch.Published = fmt.Sprint("batch ", i), after(-time.Duration(i)*time.Hour)
			must[store.Applied](t)(s.ApplyBatch(t.Context(), batch, at, l("feed")))
		})
	}
	act(func(l func(string) store.Leaf) {
		must[any](t)(nil, s.HoldBatch(t.Context(), snapshot().Feed, store.Held{Digest: "h", At: at, Reason: "smaller"}, l("feed_held")))
	})
	for _, d := range []string{"p1", "p2"} {
		act(func(l func(string) store.Leaf) {
			must[int64](t)(s.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: d, Source: []byte(d), AppliedAt: at}, l("policy")))
		})
	}
}

// pastIsWhatWas: what is said of a past moment is what was said in it.
func pastIsWhatWas(t *testing.T, s store.Store) {
	type moment struct {
		at   time.Time
		said string
	}
	var told []moment
	acts(t, s, func(at time.Time) {
		said := everything(t, s)
		told = append(told, moment{at, said}, moment{at.Add(59 * time.Minute), said})
	})
	for _, m := range told {
		asOf(t, s, m.at, func(st store.Store) error {
			wantEqual(t, "as of "+m.at.String(), everything(t, st), m.said)
			return nil
		})
	}
}

// pastNeverChanges: what was said of a moment when it had just passed is said of
// it for ever.
func pastNeverChanges(t *testing.T, s store.Store) {
	type moment struct {
		at   time.Time
		said string
		p    store.Position
	}
	var told []moment
	acts(t, s, func(at time.Time) {
		at = at.Add(time.Minute)
		m := moment{at: at}
		m.p = asOf(t, s, at, func(st store.Store) error { m.said = everything(t, st); return nil })
		told = append(told, m)
	})
	for _, m := range told {
		var again string
		p := asOf(t, s, m.at, func(st store.Store) error { again = everything(t, st); return nil })
		wantEqual(t, "position of "+m.at.String(), p, m.p)
		wantEqual(t, "as of "+m.at.String(), again, m.said)
	}
}

func position(t *testing.T, s store.Store, at time.Time) int64 {
	t.Helper()
	return asOf(t, s, at, func(store.Store) error { return nil }).Leaf
}

// pastClockBack: a leaf with an earlier time than one before it came after it.
func pastClockBack(t *testing.T, s store.Store) {
	for _, at := range []time.Duration{0, 10, 5, 7, 20, 12} {
		must[int64](t)(s.AppendLeaf(t.Context(), leafAt("act", after(at*time.Minute))))
	}
	for at, want := range map[time.Duration]int64{0: 0, 4: 0, 9: 0, 10: 3, 19: 3, 20: 5, 30: 5} {
		wantEqual(t, fmt.Sprint("position after ", at, " minutes"), position(t, s, after(at*time.Minute)), want)
	}
}

// pastSealed: once an instant was asked about nothing comes before it, whatever
// time it bears.
func pastSealed(t *testing.T, s store.Store) {
	add := func(minutes time.Duration) {
		must[int64](t)(s.AppendLeaf(t.Context(), leafAt("act", after(minutes*time.Minute))))
	}
	ask := func(minutes time.Duration, want int64) {
		t.Helper()
		wantEqual(t, fmt.Sprint("position after ", minutes, " minutes"), position(t, s, after(minutes*time.Minute)), want)
	}
	add(0)
	ask(10, 0)
	add(5) // was under way, or the clock went back
	ask(10, 0)
	ask(9, 0)
	ask(11, 1)
	add(11) // in the very microsecond
	ask(11, 1)
	add(20)
	ask(12, 2)
	ask(20, 3)
	ask(10, 0)
	ask(5, 0)
	ask(11, 1)
	add(30)
	add(31)
	ask(40, 5) // forgets the seals that are not needed any more
	ask(10, 0)
	ask(11, 1)
	ask(20, 3)
}

func pastCheckpoints(t *testing.T, s store.Store) {
	for i := range 3 {
		must[int64](t)(s.AppendLeaf(t.Context(), leafAt("act", after(time.Duration(i)*time.Minute))))
	}
	sign := func(size int64, minutes time.Duration) {
		must[any](t)(nil, s.Integrate(t.Context(), nil, store.Checkpoint{Size: size, At: after(minutes * time.Minute), Note: []byte{byte(size)}}))
	}
	newest := func(minutes time.Duration) (size int64) {
		asOf(t, s, after(minutes*time.Minute), func(st store.Store) error {
			c, err := st.LastCheckpoint(t.Context())
			size = c.Size
			return err
		})
		return size
	}
	sign(1, 1)
	wantEqual(t, "then", newest(1), int64(1))
	sign(2, 1) // was under way
	wantEqual(t, "asked again", newest(1), int64(1))
	sign(3, 2)
	wantEqual(t, "later", newest(5), int64(3))
	wantEqual(t, "asked again", newest(1), int64(1))
}

func pastBefore(t *testing.T, s store.Store) {
	nothing := func(store.Store, store.Position) error { return nil }
	wantErr(t, "an empty log", s.Past(t.Context(), after(-2*time.Hour), nothing), store.ErrNoHistory)
	_, err := s.HistoryBegins(t.Context())
	wantErr(t, "where an empty log begins", err, store.ErrNotFound)
	trust(t, s, "A1")
	wantErr(t, "before the first leaf", s.Past(t.Context(), after(-time.Hour), nothing), store.ErrNoHistory)
	wantEqual(t, "begins", must[time.Time](t)(s.HistoryBegins(t.Context())), rounded(t0))
	wantErr(t, "at the first leaf", s.Past(t.Context(), rounded(t0), nothing), nil)
}

// pastNotKept: what is of the present alone is never mixed into the past.
func pastNotKept(t *testing.T, s store.Store) {
	dirtyAsset(t, s, "A1")
	ctx := t.Context()
	for what, ask := range map[string]func(store.Store) error{
		"marks":              func(st store.Store) error { _, err := st.DirtyAssets(ctx, 0); return err },
		"keys in quarantine": func(st store.Store) error { _, err := st.QuarantineKeys(ctx, "unknown_key"); return err },
		"quarantine":         func(st store.Store) error { _, err := st.QuarantinedEnvelopes(ctx, "", 1); return err },
		"tokens":             func(st store.Store) error { _, err := st.Tokens(ctx); return err },
		"approvals":          func(st store.Store) error { _, err := st.Approvals(ctx); return err },
		"generation":         func(st store.Store) error { _, err := st.Generation(ctx, debian12); return err },
	} {
		err := s.Past(ctx, after(time.Hour), func(st store.Store, _ store.Position) error { return ask(st) })
		wantErr(t, what, err, store.ErrNotKept)
	}
	asOf(t, s, after(time.Hour), func(st store.Store) error {
		p, err := st.AssetPicture(ctx, t0)
		wantEqual(t, "waiting", p.Waiting, -1)
		return err
	})
	wantEqual(t, "waiting now", must[store.AssetPicture](t)(s.AssetPicture(ctx, t0)).Waiting, 1)
}

// pastAttributes: findings are asked by what their assets were then.
func pastAttributes(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{made("A1", "C1", finding.Open, "P1")}})
	must[int64](t)(s.SetAttributes(t.Context(), "A1", "a", store.Attributes{Owner: "ada"}, leafAt("attributes", after(time.Hour))))
	must[int64](t)(s.SetAttributes(t.Context(), "A1", "a", store.Attributes{Owner: "bob"}, leafAt("attributes", after(2*time.Hour))))
	for at, owner := range map[time.Duration]string{0: "", time.Hour: "ada", 2 * time.Hour: "bob"} {
		asOf(t, s, after(at), func(st store.Store) error {
			for _, who := range []string{"ada", "bob"} {
				want := 0
				if who == owner {
					want = 1
				}
				q := store.FindingQuery{AssetQuery: store.AssetQuery{Owner: []string{who}}}
				wantEqual(t, fmt.Sprint(at, ": of ", who), len(listFindings(t, st, q)), want)
				wantEqual(t, fmt.Sprint(at, ": counted of ", who), len(must[[]store.FindingCount](t)(st.CountFindings(t.Context(), q, "", t0))), want)
			}
			by := must[[]store.FindingCount](t)(st.CountFindings(t.Context(), store.FindingQuery{}, "owner", t0))
			wantEqual(t, fmt.Sprint(at, ": by owner"), by[0].Value, owner)
			for _, q := range []store.FindingQuery{{Package: []string{"bin"}}, {Advisory: []string{"DSA-1"}}} {
				wantEqual(t, fmt.Sprintf("%s: %+v", at, q), len(listFindings(t, st, q)), 1)
			}
			return nil
		})
	}
}

// pastPages: a page follows the page before it as of one moment.
func pastPages(t *testing.T, s store.Store) {
	want := ranked(t, s)
	must[any](t)(nil, s.MarkAll(t.Context()))
	gone := want[3]
	gone.State, gone.Verdict.Priority, gone.Severity = finding.Fixed, "P4", finding.Low
	l := leafAt("assessment", after(2*time.Hour))
	must[int64](t)(s.ApplyAssessments(t.Context(), []store.Assessment{{Mark: markOf(t, s, "A1"), At: t0, AssessedSequence: 1, Changed: []finding.Finding{gone}}}, &l))
	asOf(t, s, after(time.Hour), func(st store.Store) error {
		for _, sort := range [][]store.SortKey{nil, {{Key: "severity"}}, {{Key: "asset", Descending: true}, {Key: "due"}}} {
			all := names(listFindings(t, st, store.FindingQuery{Sort: sort}))
			var got []string
			for q := (store.FindingQuery{Sort: sort, Limit: 3}); ; {
				page := listFindings(t, st, q)
				got = append(got, names(page)...)
				if len(page) < q.Limit {
					break
				}
				q.After = page[len(page)-1].ID
			}
			wantEqual(t, fmt.Sprint("pages by ", sort), got, all)
			if sort == nil {
				wantEqual(t, "order", got, names(want))
			}
		}
		return nil
	})
}

// pastScores: a score of the past is told where a finding is of the vulnerability,
// and is otherwise said not to have been kept.
func pastScores(t *testing.T, s store.Store) {
	m := dirtyAsset(t, s, "A1")
	apply(t, s, store.Assessment{Mark: m, At: t0, AssessedSequence: 1, Changed: []finding.Finding{made("A1", "C1", finding.Open, "P1")}})
	for i, score := range []float64{0.1, 0.9} {
		at := after(time.Duration(i+1) * time.Hour)
		must[store.Applied](t)(s.ApplyBatch(t.Context(), epssBatch(map[string]float64{"C1": score, "C2": score}), at, leafAt("feed", at)))
	}
	asOf(t, s, after(90*time.Minute), func(st store.Store) error {
		facts := factsOf(t, st, "C1", "C2")
		wantEqual(t, "score", facts["C1"].EPSS.Score, 0.1)
		_, there := facts["C2"]
		wantEqual(t, "another is told", there, false)
		wantEqual(t, "of one with findings", len(must[[]string](t)(st.FactsNotKept(t.Context(), "C1"))), 0)
		wantEqual(t, "of another", must[[]string](t)(st.FactsNotKept(t.Context(), "C2")), []string{"epss"})
		return nil
	})
	wantEqual(t, "of now", len(must[[]string](t)(s.FactsNotKept(t.Context(), "C2"))), 0)
}
