package sqlstore_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/epss"
	"github.com/patchproof/patchproof/collector/feed/osv"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// shared finds a file of the data beside the checkout.
func shared(t testing.TB, path ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
	data := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(data); err != nil {
		t.Skipf("the data beside the checkout is not there: %v", err)
	}
	return filepath.Join(append([]string{data}, path...)...)
}

func almaLinux9(t testing.TB) advisory.Batch {
	t.Helper()
	path := shared(t, "advisories", "osv", "AlmaLinux-9", "all.zip")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := osv.ParseZip(bytes.NewReader(b), int64(len(b)), osv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func epssScores(t testing.TB) advisory.Batch {
	t.Helper()
	f, err := os.Open(shared(t, "exploit", "epss", "epss_scores-2025-08-17.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := epss.Parse(zr)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// timed applies a batch and logs how long it took.
func timed(t testing.TB, s store.Store, what string, b advisory.Batch) store.Applied {
	t.Helper()
	begin := time.Now()
	applied, err := s.ApplyBatch(t.Context(), b, at, aLeaf)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v (%+v)", what, time.Since(begin).Round(time.Millisecond), applied)
	return applied
}

func TestAlmaLinux9(t *testing.T) {
	s, b := open(t), almaLinux9(t)
	n := len(b.Advisories)
	if got := timed(t, s, "first import", b); got.Added != n {
		t.Errorf("%+v, want %d added", got, n)
	}
	if got := timed(t, s, "again", b); got.Unchanged != n || got.Added+got.Changed+got.Missing > 0 {
		t.Errorf("%+v, want %d unchanged", got, n)
	}
	begin := time.Now()
	list, err := s.AdvisoriesFor(t.Context(), inventory.Release{Distro: "almalinux", Version: "9"})
	if err != nil || len(list) != n {
		t.Fatalf("%d advisories (%v), want %d", len(list), err, n)
	}
	t.Logf("%d advisories loaded: %v", n, time.Since(begin).Round(time.Millisecond))
}

func TestEPSS(t *testing.T) {
	if testing.Short() {
		t.Skip("290 000 rows")
	}
	s, b := open(t), epssScores(t)
	trustHost(t, s, "A1")
	fill(t, s, "A1", 200)
	n := len(b.Facts)
	if got := timed(t, s, "first import", b); got.Added != n {
		t.Errorf("%+v, want %d added", got, n)
	}
	if got := timed(t, s, "again", b); got.Unchanged != n {
		t.Errorf("%+v, want %d unchanged", got, n)
	}
	for i := range b.Facts {
		e := *b.Facts[i].EPSS
		e.Date = "2025-08-18"
		b.Facts[i].EPSS = &e
	}
	if got := timed(t, s, "the next day", b); got.Changed != n || got.MarkedAssets != 0 {
		t.Errorf("%+v, want %d changed and no asset marked", got, n)
	}
	if got, err := s.Facts(t.Context(), []string{b.Facts[0].Vulnerability}); err != nil || len(got) != 1 {
		t.Errorf("facts %v (%v)", fmt.Sprint(got), err)
	}
}
