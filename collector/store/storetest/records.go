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
}

func tokenRoundTrip(t *testing.T, s store.Store) {
	tok := store.Token{Name: "ci", Hash: digest("secret"), CreatedAt: t0}
	if err := s.AddToken(t.Context(), tok, leaf("token")); err != nil {
		t.Fatal(err)
	}
	if err := s.AddToken(t.Context(), store.Token{Name: "admin", Hash: digest("other"), CreatedAt: t0}, leaf("token")); err != nil {
		t.Fatal(err)
	}
	tok.CreatedAt = rounded(t0)
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

var policies = []test{
	{"NewestHolds", policyNewest},
	{"MarksEveryAsset", policyMarks},
	{"FailingLeafLeavesNothing", policyFailingLeaf},
}

func policyNewest(t *testing.T, s store.Store) {
	_, err := s.CurrentPolicy(t.Context())
	wantErr(t, "before the first", err, store.ErrNotFound)
	first := store.PolicyRecord{Digest: "d1", Source: []byte("a: 1 # ' \x00"), AppliedAt: after(time.Hour)}
	wantEqual(t, "leaf", must[int64](t)(s.ApplyPolicy(t.Context(), first, leaf("policy"))), int64(0))
	second := store.PolicyRecord{Digest: "d2", Source: []byte("a: 2"), AppliedAt: t0}
	must[int64](t)(s.ApplyPolicy(t.Context(), second, leaf("policy")))
	must[int64](t)(s.ApplyPolicy(t.Context(), first, leaf("policy"))) // back to the first
	first.AppliedAt = rounded(first.AppliedAt)
	wantEqual(t, "current", must[store.PolicyRecord](t)(s.CurrentPolicy(t.Context())), first)
}

func policyMarks(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	trust(t, s, "A2")
	clean(t, s)
	must[int64](t)(s.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: "d"}, leaf("policy")))
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 2)
}

func policyFailingLeaf(t *testing.T, s store.Store) {
	if _, err := s.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: "d"}, badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	_, err := s.CurrentPolicy(t.Context())
	wantErr(t, "the policy", err, store.ErrNotFound)
}
