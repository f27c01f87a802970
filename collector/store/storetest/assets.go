package storetest

import (
	"testing"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

var assets = []test{
	{"RoundTrip", assetRoundTrip},
	{"DeclaresItsAttributes", assetDeclared},
	{"RefusesAKnownKey", assetTwice},
	{"RefusesATakenID", assetTakenID},
	{"FailingLeafLeavesNothing", assetFailingLeaf},
	{"FindsByIDOrName", assetFind},
	{"ListsByNameThenID", assetOrder},
	{"SetAttributes", assetAttributes},
	{"SetAttributesFailingLeaf", assetAttributesFailingLeaf},
	{"HostileNames", assetHostileName},
}

var attributes = store.Attributes{
	Account: "1", OU: "trading", Region: "eu", Service: "wallet", Owner: "team", Class: sla.Compute,
	Exposure: sla.Internal, Environment: sla.Production, Core: true, ColdWallet: true,
}

func assetRoundTrip(t *testing.T, s store.Store) {
	a := store.Asset{ID: "A1", Name: "db 1", Key: key("A1"), TrustedAt: t0, Attributes: attributes}
	a.Declared = classify.Declared{Attributes: store.Attributes{Owner: "team"}, By: "ada", At: t0}
	n := must[int64](t)(s.TrustKey(t.Context(), a, leaf("trust")))
	wantEqual(t, "leaf", n, int64(0))
	a.TrustedAt, a.Declared.At, a.AttributesAt = rounded(t0), rounded(t0), rounded(t0)
	wantEqual(t, "by key", must[store.Asset](t)(s.AssetByKey(t.Context(), a.Key)), a)
	wantEqual(t, "by id", must[store.Asset](t)(s.Asset(t.Context(), a.ID)), a)
	_, err := s.AssetByKey(t.Context(), "nobody")
	wantErr(t, "an unknown key", err, store.ErrNotFound)
}

func assetDeclared(t *testing.T, s store.Store) {
	a := store.Asset{ID: "A1", Name: "db", Key: key("A1"), TrustedAt: t0, Attributes: attributes}
	must[int64](t)(s.TrustKey(t.Context(), a, leaf("trust")))
	got := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "declared", got.Declared, classify.Declared{Attributes: attributes, At: rounded(t0)})
}

func assetTwice(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	_, err := s.TrustKey(t.Context(), store.Asset{ID: "A2", Key: key("A1")}, leaf("trust"))
	wantErr(t, "a known key", err, store.ErrExists)
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
	wantEqual(t, "assets", len(must[[]store.Asset](t)(s.Assets(t.Context()))), 1)
}

func assetTakenID(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	_, err := s.TrustKey(t.Context(), store.Asset{ID: "A1", Key: key("A2")}, leaf("trust"))
	wantErr(t, "a taken id", err, store.ErrExists)
}

func assetFailingLeaf(t *testing.T, s store.Store) {
	if _, err := s.TrustKey(t.Context(), store.Asset{ID: "A1", Key: "k"}, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	_, err := s.AssetByKey(t.Context(), "k")
	wantErr(t, "the key", err, store.ErrNotFound)
}

func assetFind(t *testing.T, s store.Store) {
	for _, a := range []store.Asset{{ID: "A1", Name: "web"}, {ID: "A2", Name: "web"}, {ID: "A3", Name: "db"}, {ID: "A4", Name: "A3"}} {
		a.Key = key(a.ID)
		must[int64](t)(s.TrustKey(t.Context(), a, leaf("trust")))
	}
	wantEqual(t, "by name", must[store.Asset](t)(s.Asset(t.Context(), "db")).ID, "A3")
	wantEqual(t, "an id wins over a name", must[store.Asset](t)(s.Asset(t.Context(), "A3")).ID, "A3")
	_, err := s.Asset(t.Context(), "web")
	wantErr(t, "an ambiguous name", err, store.ErrConflict)
	_, err = s.Asset(t.Context(), "we")
	wantErr(t, "a part of a name", err, store.ErrNotFound)
}

func assetOrder(t *testing.T, s store.Store) {
	for _, a := range []store.Asset{{ID: "A3", Name: "b"}, {ID: "A2", Name: "c"}, {ID: "A1", Name: "c"}, {ID: "A4", Name: "B"}} {
		a.Key = key(a.ID)
		must[int64](t)(s.TrustKey(t.Context(), a, leaf("trust")))
	}
	var got []string
	for _, a := range must[[]store.Asset](t)(s.Assets(t.Context())) {
		got = append(got, a.ID)
	}
	wantEqual(t, "order", got, []string{"A4", "A3", "A1", "A2"})
}

func assetAttributes(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	clean(t, s)
	n := must[int64](t)(s.SetAttributes(t.Context(), "A1", "new name", attributes, leaf("attributes")))
	wantEqual(t, "leaf", n, leafCount(t, s)-1)
	a := must[store.Asset](t)(s.Asset(t.Context(), "new name"))
	wantEqual(t, "attributes", a.Attributes, attributes)
	wantEqual(t, "declared", a.Declared, classify.Declared{Attributes: attributes, At: rounded(t0)})
	if len(marks(t.Context(), t, s)) != 1 {
		t.Error("the asset was not marked")
	}
	_, err := s.SetAttributes(t.Context(), "nobody", "", attributes, leaf("attributes"))
	wantErr(t, "an unknown asset", err, store.ErrNotFound)
}

func assetAttributesFailingLeaf(t *testing.T, s store.Store) {
	before := trust(t, s, "A1")
	clean(t, s)
	if _, err := s.SetAttributes(t.Context(), "A1", "x", attributes, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	a := must[store.Asset](t)(s.Asset(t.Context(), "A1"))
	wantEqual(t, "name", a.Name, before.Name)
	wantEqual(t, "attributes", a.Attributes, before.Attributes)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 0)
}

func assetHostileName(t *testing.T, s store.Store) {
	name := "'); DROP TABLE asset; -- ? ?0 \x00 \xff \" ` ü"
	must[int64](t)(s.TrustKey(t.Context(), store.Asset{ID: "A1", Key: key("A1"), Name: name}, leaf("trust")))
	got := must[[]store.Asset](t)(s.Assets(t.Context()))
	wantEqual(t, "name", got[0].Name, "'); DROP TABLE asset; -- ? ?0 \uFFFD \uFFFD \" ` ü")
}
