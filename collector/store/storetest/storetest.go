// Package storetest is the definition of a store: what every implementation of
// collector/store must do, as tests. An implementation's own test calls [Run].
//
// One file a role. A behaviour that callers rely on belongs here and nowhere
// else; a test of one implementation only holds what is that one's own business.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Open makes an empty store that is closed when the test ends.
type Open func(t testing.TB) store.Store

// Run holds an implementation against the definition.
func Run(t *testing.T, open Open) {
	for _, role := range []struct {
		name  string
		tests []test
	}{
		{"Reports", reports},
		{"Assets", assets},
		{"Quarantine", quarantine},
		{"Advisories", advisories},
		{"Facts", facts},
		{"Assessments", assessments},
		{"Findings", findings},
		{"Evidence", evidence},
		{"Tokens", tokens},
		{"Policies", policies},
		{"Classifications", classifications},
		{"Approvals", approvals},
		{"Audit", audit},
		{"Past", past},
		{"Retirements", retirements},
		{"Concurrency", concurrency},
	} {
		t.Run(role.name, func(t *testing.T) {
			for _, c := range role.tests {
				t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
			}
		})
	}
	t.Run("StateMachine", func(t *testing.T) { stateMachine(t, open) })
}

type test struct {
	name string
	run  func(*testing.T, store.Store)
}

// t0 is an instant with nanoseconds, which every store cuts to microseconds.
var t0 = time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.FixedZone("CET", 3600))

func after(d time.Duration) time.Time { return t0.Add(d) }

// rounded is an instant as every store returns it.
func rounded(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func leaf(kind string) store.Leaf {
	return store.Leaf{Kind: kind, At: t0, Body: []byte(fmt.Sprintf(`{"kind":%q}`, kind))}
}

// badLeaf is one that every store refuses, to fail a verb at its last step.
func badLeaf() store.Leaf { return store.Leaf{Kind: "", At: t0, Body: []byte("{}")} }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func key(name string) string { return digest("key " + name) }

// trust makes an asset named a trusted one.
func trust(t testing.TB, s store.Store, id string) store.Asset {
	t.Helper()
	a := store.Asset{ID: id, Name: "host " + id, Key: key(id), TrustedAt: t0}
	if _, err := s.TrustKey(t.Context(), a, leaf("trust")); err != nil {
		t.Fatalf("trust %s: %v", id, err)
	}
	return a
}

var debian12 = inventory.Release{Distro: "debian", Version: "12"}

// report makes a report of an asset; text is its package part.
func report(asset string, seq uint64, text string) store.Report {
	d := digest(text)
	part := schema.Part{Name: schema.PartPackages, Digest: d, Size: int64(len(text)), Count: 2}
	id := digest(fmt.Sprintf("report %s %d %s", asset, seq, text))
	return store.Report{
		ID: id, Asset: asset, Key: key(asset), Sequence: seq, Previous: previous(asset, seq, text),
		CollectedAt: after(-time.Minute), ReceivedAt: after(time.Duration(seq) * time.Second),
		Release: debian12, Kernel: inventory.Kernel{Release: "6.1.0-1-amd64", Machine: "x86_64"},
		SetDigest: d, Complete: true, Road: "nats", Raw: []byte("raw \x00\xff'? " + id),
		Statement: schema.Report{
			Sequence: seq, CollectedAt: rounded(after(-time.Minute)), TransportKey: "U" + asset,
			Agent: schema.Agent{Version: "1.0.0"}, Host: schema.Host{Hostname: asset + ".example", Arch: "x86_64"},
			OS:    schema.OSRelease{ID: "debian", VersionID: "12", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
			Cloud: &schema.Cloud{Provider: "aws", AccountID: "111122223333", Region: "eu-central-1", InstanceID: "i-0abc"},
			Parts: []schema.Part{part},
		},
		PartsTexts: map[string]string{d: text},
	}
}

// previous is the id of the report with the same text one sequence earlier.
func previous(asset string, seq uint64, text string) string {
	if seq <= 1 {
		return ""
	}
	return digest(fmt.Sprintf("report %s %d %s", asset, seq-1, text))
}

// stored is a report as every store returns it.
func stored(r store.Report, index int64) store.Report {
	r.CollectedAt, r.ReceivedAt = rounded(r.CollectedAt), rounded(r.ReceivedAt)
	r.Statement.Bodies, r.PartsTexts, r.LeafIndex = nil, nil, index
	return r
}

func accept(t testing.TB, s store.Store, r store.Report) int64 {
	t.Helper()
	n, err := s.AcceptReport(t.Context(), r, leaf("report"))
	if err != nil {
		t.Fatalf("accept report %d of %s: %v", r.Sequence, r.Asset, err)
	}
	return n
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func wantEqual(t testing.TB, what string, got, want any, opts ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func leafCount(t testing.TB, s store.Store) int64 {
	t.Helper()
	return must[int64](t)(s.LeafCount(t.Context()))
}

// marks returns the dirty marks by asset.
func marks(ctx context.Context, t testing.TB, s store.Store) map[string]int64 {
	t.Helper()
	list := must[[]store.Mark](t)(s.DirtyAssets(ctx, 0))
	m := make(map[string]int64, len(list))
	for _, k := range list {
		m[k.Asset] = k.Version
	}
	return m
}

// clean drains every mark without saying anything.
func clean(t testing.TB, s store.Store) {
	t.Helper()
	for _, m := range must[[]store.Mark](t)(s.DirtyAssets(t.Context(), 0)) {
		a := must[store.Asset](t)(s.Asset(t.Context(), m.Asset))
		l := leaf("assessment")
		as := store.Assessment{Mark: m, At: t0, AssessedSequence: a.AssessedSequence, Covered: a.Covered, Gaps: a.Gaps}
		as.Undetermined, _ = s.UndeterminedOf(t.Context(), m.Asset)
		if _, err := s.ApplyAssessments(t.Context(), []store.Assessment{as}, &l); err != nil {
			t.Fatalf("clean: %v", err)
		}
	}
}
