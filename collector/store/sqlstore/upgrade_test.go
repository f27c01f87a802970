package sqlstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

// TestTokensAndPoliciesFromBeforeScopesAndDates: a token made before there were
// scopes may do everything, as it could, and a policy applied before there were
// effective dates has been in force since.
func TestTokensAndPoliciesFromBeforeScopesAndDates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := sqlstore.OldDatabase(t.Context(), path, 4); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	db := raw(t, path)
	exec(t, db, "INSERT INTO leaf (idx, kind, at, body) VALUES (0, 'policy', ?, x'7b7d')", at.UnixMicro())
	exec(t, db, "INSERT INTO policy (leaf, digest, source, applied_at) VALUES (0, 'd', x'78', ?)", at.UnixMicro())
	exec(t, db, "INSERT INTO token (name, hash, created_at, last_used) VALUES ('first', 'h', ?, ?)", at.UnixMicro(), at.UnixMicro())
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	token, err := s.TokenByHash(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	want := store.Token{Name: "first", Hash: "h", CreatedAt: at, LastUsed: at, Scopes: []string{"admin"}}
	if diff := cmp.Diff(want, token); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	policy, err := s.PolicyInForce(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(store.PolicyRecord{Digest: "d", Source: []byte("x"), AppliedAt: at, EffectiveAt: at}, policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if first, err := s.EnforcePolicy(t.Context(), 0); err != nil || first {
		t.Errorf("it comes into force again: %v %v", first, err)
	}
}
