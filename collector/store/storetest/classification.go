package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

var classifications = []test{
	{"EmptyEstate", estateEmpty},
	{"StandingsSayWhatHostsClaim", estateClaims},
	{"SomeStandings", estateSome},
	{"RivalsComeAlong", estateRivals},
	{"RulesNewestHolds", estateRules},
	{"ImportsReplaceEntryByEntry", estateImports},
	{"RecordsAndMarksWhatChanged", estateRecords},
	{"NothingWithoutALeaf", estateNothing},
	{"FailingLeafLeavesNothing", estateFailing},
	{"AnErrorOfDecideLeavesNothing", estateRefused},
	{"UnknownAsset", estateUnknown},
	{"SetAttributesForgetsTheClassification", estateForget},
}

func estateOf(t *testing.T, s store.Store, assets []string) store.Estate {
	t.Helper()
	return must[store.Estate](t)(s.Estate(t.Context(), assets))
}

// reclassify records r as it is.
func reclassify(t *testing.T, s store.Store, r store.Reclassification) (int64, error) {
	t.Helper()
	if r.Leaf == nil {
		l := leaf("classification")
		r.Leaf = &l
	}
	return s.Reclassify(t.Context(), nil, func(store.Estate) (store.Reclassification, error) { return r, nil })
}

func classification(asset string, at store.Attributes) store.Classification {
	return store.Classification{
		Asset: asset, Attributes: at, Notes: []string{"a note ü"},
		Provenance: classify.Provenance{classify.Owner: {Source: classify.ByRule, Name: "r1", Digest: "d", By: "ada", At: rounded(t0)}},
		Claims:     classify.Claims{Labels: map[string]string{"k": "' ?"}},
	}
}

func estateEmpty(t *testing.T, s store.Store) {
	e := estateOf(t, s, nil)
	if e.Rules != nil || len(e.Listed)+len(e.Identities)+len(e.Standings) != 0 || e.Next != 0 {
		t.Errorf("got %+v, want an empty estate", e)
	}
	wantEqual(t, "rules", len(must[[]store.RulesRecord](t)(s.RulesHistory(t.Context()))), 0)
	wantEqual(t, "imports", len(must[[]store.AssetImport](t)(s.AssetImports(t.Context()))), 0)
	_, err := s.AssetImportAt(t.Context(), 0)
	wantErr(t, "an unknown import", err, store.ErrNotFound)
}

func estateClaims(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	r := report("A1", 1, "text")
	r.Statement.Labels = map[string]string{"role": "web"}
	r.Statement.Cloud.InstanceType, r.Statement.Cloud.Tags = "m6i.large", map[string]string{"env": "prod"}
	accept(t, s, r)
	e := estateOf(t, s, nil)
	wantEqual(t, "identities", e.Identities, []classify.Identity{
		{Asset: "A1", Name: "host A1", InstanceID: "i-0abc", Account: "111122223333"}, {Asset: "A2", Name: "host A2"},
	})
	wantEqual(t, "claims", e.Standings[0].Claims, classify.Claims{
		InstanceID: "i-0abc", Account: "111122223333", Region: "eu-central-1", InstanceType: "m6i.large",
		Tags: map[string]string{"env": "prod"}, Labels: map[string]string{"role": "web"},
	})
	wantEqual(t, "claims of a silent host", e.Standings[1].Claims, classify.Claims{})
	wantEqual(t, "next leaf", e.Next, leafCount(t, s))
	r = report("A1", 2, "text") // says less: the newest report counts
	accept(t, s, r)
	wantEqual(t, "claims", estateOf(t, s, nil).Standings[0].Claims.Labels, map[string]string(nil))
}

func estateSome(t *testing.T, s store.Store) {
	for _, id := range []string{"A1", "A2", "A3"} {
		trust(t, s, id)
	}
	e := estateOf(t, s, []string{"A3", "A1", "nobody"})
	wantEqual(t, "identities of what bears on them", len(e.Identities), 2)
	wantEqual(t, "identities of the whole", len(estateOf(t, s, []string{}).Identities), 3)
	wantEqual(t, "standings", []string{e.Standings[0].Asset, e.Standings[1].Asset}, []string{"A1", "A3"})
	wantEqual(t, "none", len(estateOf(t, s, []string{}).Standings), 0)
	wantEqual(t, "standings alone", must[[]store.Standing](t)(s.Standings(t.Context(), []string{"A3", "nobody", "A1"})), e.Standings)
}

func estateRivals(t *testing.T, s store.Store) {
	for _, a := range []store.Asset{{ID: "A1", Name: "web"}, {ID: "A2", Name: "WEB"}, {ID: "A3", Name: "x"}, {ID: "A4", Name: "y"}, {ID: "A5", Name: "z"}} {
		a.Key, a.TrustedAt = key(a.ID), t0
		must[int64](t)(s.TrustKey(t.Context(), a, leaf("trust")))
	}
	accept(t, s, report("A3", 1, "text")) // both say they are i-0abc
	accept(t, s, report("A4", 1, "text"))
	asked := func(asset string) (got []string) {
		for _, st := range estateOf(t, s, []string{asset}).Standings {
			got = append(got, st.Asset)
		}
		return got
	}
	wantEqual(t, "one name", asked("A1"), []string{"A1", "A2"})
	wantEqual(t, "one instance", asked("A4"), []string{"A3", "A4"})
	wantEqual(t, "no instance", asked("A5"), []string{"A5"})
}

func estateRules(t *testing.T, s store.Store) {
	first := store.RulesRecord{Digest: "d1", Source: []byte("a: ' \x00"), AppliedAt: after(time.Hour), AppliedBy: "ada"}
	second := store.RulesRecord{Digest: "d2", Source: []byte("b"), AppliedAt: t0, AppliedBy: "bob"}
	for i, r := range []store.RulesRecord{first, second} {
		n, err := reclassify(t, s, store.Reclassification{Rules: &r})
		wantErr(t, "apply", err, nil)
		wantEqual(t, "leaf", n, int64(i))
	}
	first.AppliedAt, second.AppliedAt, second.Leaf = rounded(first.AppliedAt), rounded(t0), 1
	wantEqual(t, "history", must[[]store.RulesRecord](t)(s.RulesHistory(t.Context())), []store.RulesRecord{second, first})
	wantEqual(t, "in force", *estateOf(t, s, nil).Rules, second)
}

func listedEntry(leaf, seen int64, source, name, owner string) classify.Listed {
	return classify.Listed{
		Source: source, Leaf: leaf, Seen: seen,
		Entry: classify.Entry{Kind: classify.KindInstance, Name: name, Place: "line 1", Tags: map[string]string{"a": "'"}, Set: map[classify.Attribute]string{classify.Owner: owner}},
	}
}

func estateImports(t *testing.T, s store.Store) {
	first := store.AssetImport{Source: "cmdb", File: "f.csv", Format: "csv", Digest: "d1", Entries: 2, ImportedAt: t0, ImportedBy: "ada", Text: []byte("a\x00b")}
	a, b := listedEntry(0, 0, "cmdb", "a", "x"), listedEntry(0, 0, "cmdb", "b", "x")
	if _, err := reclassify(t, s, store.Reclassification{Import: &first, Listed: []classify.Listed{a, b}}); err != nil {
		t.Fatal(err)
	}
	second := first
	second.Digest, second.ImportedBy, second.Text = "d2", "bob", []byte("c")
	// b says the same as before; c is new; a is not listed and stays.
	c := listedEntry(1, 1, "cmdb", "c", "y")
	b.Seen = 1
	if _, err := reclassify(t, s, store.Reclassification{Import: &second, Listed: []classify.Listed{b, c}}); err != nil {
		t.Fatal(err)
	}
	a.Digest, a.By, a.At = "d1", "ada", rounded(t0)
	b.Digest, b.By, b.At = "d1", "ada", rounded(t0)
	c.Digest, c.By, c.At = "d2", "bob", rounded(t0)
	wantEqual(t, "listed", estateOf(t, s, nil).Listed, []classify.Listed{a, b, c})
	second.Leaf, second.ImportedAt, first.ImportedAt = 1, rounded(t0), rounded(t0)
	wantEqual(t, "import", must[store.AssetImport](t)(s.AssetImportAt(t.Context(), 1)), second)
	first.Text, second.Text = nil, nil
	wantEqual(t, "imports", must[[]store.AssetImport](t)(s.AssetImports(t.Context())), []store.AssetImport{second, first})
	if _, err := reclassify(t, s, store.Reclassification{Listed: []classify.Listed{a}}); err == nil {
		t.Error("entries without an import were accepted")
	}
}

func estateRecords(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	clean(t, s)
	loud := classification("A1", store.Attributes{Owner: "x", Class: sla.Compute, Exposure: sla.Internal, Environment: sla.NonProduction})
	quiet := classification("A2", store.Attributes{}) // another word, the same attributes
	n, err := reclassify(t, s, store.Reclassification{Changed: []store.Classification{loud, quiet}})
	wantErr(t, "record", err, nil)
	a1, a2 := must[store.Asset](t)(s.Asset(t.Context(), "A1")), must[store.Asset](t)(s.Asset(t.Context(), "A2"))
	wantEqual(t, "attributes", a1.Attributes, loud.Attributes)
	wantEqual(t, "classified", a1.Classified, &loud)
	wantEqual(t, "classified", a2.Classified, &quiet)
	wantEqual(t, "declared stays", a1.Declared, classify.Declared{At: rounded(t0)})
	m := marks(t.Context(), t, s)
	if len(m) != 1 || m["A1"] == 0 {
		t.Errorf("got marks %v, want one of A1, whose attributes changed", m)
	}
	wantEqual(t, "under the leaf", must[[]store.Classification](t)(s.RecordedClassifications(t.Context(), n)), []store.Classification{loud, quiet})
	next := classification("A1", store.Attributes{Owner: "y"})
	n2, err := reclassify(t, s, store.Reclassification{Changed: []store.Classification{next}})
	wantErr(t, "record", err, nil)
	wantEqual(t, "history", must[[]store.ClassificationVersion](t)(s.ClassificationHistory(t.Context(), "A1")), []store.ClassificationVersion{
		{Leaf: n, At: rounded(t0), Classification: loud}, {Leaf: n2, At: rounded(t0), Classification: next},
	})
	wantEqual(t, "standing", estateOf(t, s, nil).Standings[0].Classified, &next)
}

func estateNothing(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	n, err := s.Reclassify(t.Context(), nil, func(e store.Estate) (store.Reclassification, error) {
		return store.Reclassification{Changed: []store.Classification{classification("A1", attributes)}}, nil
	})
	wantErr(t, "reclassify", err, nil)
	wantEqual(t, "leaf", n, int64(-1))
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
	wantEqual(t, "attributes", must[store.Asset](t)(s.Asset(t.Context(), "A1")).Attributes, store.Attributes{})
}

func estateFailing(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	bad := badLeaf()
	n, err := reclassify(t, s, store.Reclassification{
		Rules: &store.RulesRecord{Digest: "d"}, Changed: []store.Classification{classification("A1", attributes)}, Leaf: &bad,
	})
	if err == nil || n != -1 {
		t.Errorf("got leaf %d, error %v for a leaf without a kind", n, err)
	}
	wantEqual(t, "rules", estateOf(t, s, nil).Rules, (*store.RulesRecord)(nil))
	wantEqual(t, "attributes", must[store.Asset](t)(s.Asset(t.Context(), "A1")).Attributes, store.Attributes{})
}

func estateRefused(t *testing.T, s store.Store) {
	refusal := errors.New("refused")
	_, err := s.Reclassify(t.Context(), nil, func(store.Estate) (store.Reclassification, error) { return store.Reclassification{}, refusal })
	wantErr(t, "decide", err, refusal)
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
}

func estateUnknown(t *testing.T, s store.Store) {
	_, err := reclassify(t, s, store.Reclassification{Changed: []store.Classification{classification("nobody", attributes)}})
	wantErr(t, "an unknown asset", err, store.ErrNotFound)
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
}

func estateForget(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	if _, err := reclassify(t, s, store.Reclassification{Changed: []store.Classification{classification("A1", attributes)}}); err != nil {
		t.Fatal(err)
	}
	must[int64](t)(s.SetAttributes(t.Context(), "A1", "host A1", store.Attributes{Owner: "z"}, leaf("attributes")))
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "classified", a.Classified, (*store.Classification)(nil))
	wantEqual(t, "declared", a.Declared.Attributes, store.Attributes{Owner: "z"})
}
