package storetest

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

var tokens = []test{
	{"RoundTrip", tokenRoundTrip},
	{"RefusesATakenNameOrHash", tokenTwice},
	{"FailingLeafLeavesNothing", tokenFailingLeaf},
	{"TouchMovesForwardOnly", tokenTouch},
	{"RevokeIsForGood", tokenRevoke},
}

func tokenRoundTrip(t *testing.T, s store.Store) {
	tok := store.Token{
		Name: "ci", Hash: digest("secret"), CreatedAt: t0, CreatedBy: "first", Scopes: []string{"read", "operate"}, ExpiresAt: after(time.Hour),
	}
	if err := s.AddToken(t.Context(), tok, leaf("token")); err != nil {
		t.Fatal(err)
	}
	if err := s.AddToken(t.Context(), store.Token{Name: "admin", Hash: digest("other"), CreatedAt: t0}, leaf("token")); err != nil {
		t.Fatal(err)
	}
	tok.CreatedAt, tok.ExpiresAt = rounded(t0), rounded(tok.ExpiresAt)
	wantEqual(t, "by hash", must[store.Token](t)(s.TokenByHash(t.Context(), tok.Hash)), tok)
	_, err := s.TokenByHash(t.Context(), "nothing")
	wantErr(t, "an unknown hash", err, store.ErrNotFound)
	list := must[[]store.Token](t)(s.Tokens(t.Context()))
	wantEqual(t, "names", []string{list[0].Name, list[1].Name}, []string{"admin", "ci"})
	wantEqual(t, "leaves", leafCount(t, s), int64(2))
}

func tokenTwice(t *testing.T, s store.Store) {
	if err := s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h"}, leaf("token")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "name", s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h2"}, leaf("token")), store.ErrExists)
	wantErr(t, "hash", s.AddToken(t.Context(), store.Token{Name: "ci2", Hash: "h"}, leaf("token")), store.ErrExists)
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
}

func tokenFailingLeaf(t *testing.T, s store.Store) {
	if err := s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h"}, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	_, err := s.TokenByHash(t.Context(), "h")
	wantErr(t, "the token", err, store.ErrNotFound)
}

func tokenTouch(t *testing.T, s store.Store) {
	if err := s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h"}, leaf("token")); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{after(time.Hour), t0} {
		if err := s.TouchToken(t.Context(), "ci", at); err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "last used", must[store.Token](t)(s.TokenByHash(t.Context(), "h")).LastUsed, rounded(after(time.Hour)))
	wantErr(t, "an unknown token", s.TouchToken(t.Context(), "nobody", t0), store.ErrNotFound)
}

func tokenRevoke(t *testing.T, s store.Store) {
	if err := s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h", Scopes: []string{"admin"}}, leaf("token")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeToken(t.Context(), "ci", "boss", t0, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	wantEqual(t, "revoked at, without a leaf", must[store.Token](t)(s.TokenByHash(t.Context(), "h")).RevokedAt, time.Time{})
	wantEqual(t, "leaf", must[int64](t)(s.RevokeToken(t.Context(), "ci", "boss", t0, leaf("token_revoked"))), int64(1))
	got := must[store.Token](t)(s.TokenByHash(t.Context(), "h"))
	wantEqual(t, "revoked at", got.RevokedAt, rounded(t0))
	wantEqual(t, "revoked by", got.RevokedBy, "boss")
	_, err := s.RevokeToken(t.Context(), "ci", "other", after(time.Hour), leaf("token_revoked"))
	wantErr(t, "again", err, store.ErrConflict)
	_, err = s.RevokeToken(t.Context(), "nobody", "boss", t0, leaf("token_revoked"))
	wantErr(t, "an unknown token", err, store.ErrNotFound)
	wantErr(t, "its name", s.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h2"}, leaf("token")), store.ErrExists)
	wantEqual(t, "leaves", leafCount(t, s), int64(2))
}

var policies = []test{
	{"TheLatestEffectiveIsInForce", policyInForce},
	{"History", policyHistory},
	{"MarksEveryAsset", policyMarks},
	{"ComesIntoForceOnce", policyEnforce},
	{"ByDigest", policyByDigest},
	{"FailingLeafLeavesNothing", policyFailingLeaf},
}

func putPolicy(t *testing.T, s store.Store, p store.PolicyRecord) int64 {
	t.Helper()
	return must[int64](t)(s.ApplyPolicy(t.Context(), p, leaf("policy")))
}

func policyInForce(t *testing.T, s store.Store) {
	_, err := s.PolicyInForce(t.Context(), t0)
	wantErr(t, "before the first", err, store.ErrNotFound)
	wantEqual(t, "leaf", putPolicy(t, s, store.PolicyRecord{Digest: "first", AppliedAt: t0}), int64(0))
	putPolicy(t, s, store.PolicyRecord{Digest: "planned", AppliedAt: after(time.Hour), EffectiveAt: after(10 * time.Hour)})
	putPolicy(t, s, store.PolicyRecord{Digest: "meanwhile", AppliedAt: after(2 * time.Hour)})
	putPolicy(t, s, store.PolicyRecord{Digest: "planned too", AppliedAt: after(3 * time.Hour), EffectiveAt: after(20 * time.Hour)})
	putPolicy(t, s, store.PolicyRecord{Digest: "instead", AppliedAt: after(4 * time.Hour), EffectiveAt: after(20 * time.Hour)})
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{0, "first"},
		{time.Hour, "first"},
		{2 * time.Hour, "meanwhile"},
		{10*time.Hour - time.Microsecond, "meanwhile"},
		{10 * time.Hour, "planned"},
		{20 * time.Hour, "instead"},
		{1000 * time.Hour, "instead"},
	} {
		got := must[store.PolicyRecord](t)(s.PolicyInForce(t.Context(), after(c.at)))
		wantEqual(t, "in force after "+c.at.String(), got.Digest, c.want)
	}
	_, err = s.PolicyInForce(t.Context(), t0.Add(-time.Second))
	wantErr(t, "before the first was applied", err, store.ErrNotFound)
}

func policyHistory(t *testing.T, s store.Store) {
	wantEqual(t, "empty", len(must[[]store.PolicyRecord](t)(s.PolicyHistory(t.Context()))), 0)
	trust(t, s, "A1") // leaves of other acts lie between
	first := store.PolicyRecord{Digest: "d1", Source: []byte("a: 1 # ' \x00"), AppliedAt: t0}
	second := store.PolicyRecord{
		Digest: "d2", Source: []byte("a: 2"), AppliedAt: after(time.Hour), EffectiveAt: after(48 * time.Hour), By: "boss <b>",
		Looser: []store.LooserCell{{Path: "timelines.code.low", From: "14 days", To: "30 days"}},
	}
	want := []store.PolicyRecord{first, second, first} // back to the first
	for i := range want {
		want[i].Leaf = putPolicy(t, s, want[i])
		want[i].AppliedAt = rounded(want[i].AppliedAt)
		if want[i].EffectiveAt.IsZero() {
			want[i].EffectiveAt = want[i].AppliedAt
		}
		want[i].EffectiveAt = rounded(want[i].EffectiveAt)
	}
	wantEqual(t, "history", must[[]store.PolicyRecord](t)(s.PolicyHistory(t.Context())), want)
}

func policyByDigest(t *testing.T, s store.Store) {
	_, err := s.Policy(t.Context(), "d1")
	wantErr(t, "a policy nobody applied", err, store.ErrNotFound)
	first := store.PolicyRecord{Digest: "d1", Source: []byte("a: 1"), AppliedAt: rounded(t0), EffectiveAt: rounded(t0)}
	first.Leaf = putPolicy(t, s, first)
	putPolicy(t, s, store.PolicyRecord{Digest: "d2", AppliedAt: t0})
	again := first
	again.AppliedAt, again.EffectiveAt = after(time.Hour), after(time.Hour)
	putPolicy(t, s, again)
	wantEqual(t, "as applied first", must[store.PolicyRecord](t)(s.Policy(t.Context(), "d1")), first)
}

func policyMarks(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	clean(t, s)
	putPolicy(t, s, store.PolicyRecord{Digest: "d", AppliedAt: t0})
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 2)
}

func policyEnforce(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	clean(t, s)
	n := putPolicy(t, s, store.PolicyRecord{Digest: "d", AppliedAt: t0, EffectiveAt: after(time.Hour)})
	wantEqual(t, "marks before it is effective", len(marks(t.Context(), t, s)), 0)
	wantEqual(t, "first", must[bool](t)(s.EnforcePolicy(t.Context(), n)), true)
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 1)
	clean(t, s)
	wantEqual(t, "again", must[bool](t)(s.EnforcePolicy(t.Context(), n)), false)
	wantEqual(t, "marks after", len(marks(t.Context(), t, s)), 0)
	_, err := s.EnforcePolicy(t.Context(), n+1)
	wantErr(t, "a leaf of no policy", err, store.ErrNotFound)
}

func policyFailingLeaf(t *testing.T, s store.Store) {
	if _, err := s.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: "d"}, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	_, err := s.PolicyInForce(t.Context(), after(1000*time.Hour))
	wantErr(t, "the policy", err, store.ErrNotFound)
}
