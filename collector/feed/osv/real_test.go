package osv_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/osv"
	"github.com/patchproof/patchproof/collector/inventory"
)

// sharedData finds ../shared/data beside the checkout.
func sharedData(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	data := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(data); err != nil {
		tb.Skipf("real data is not beside the checkout: %v", err)
	}
	return data
}

func parseZip(tb testing.TB, path string, o osv.Options) advisory.Batch {
	tb.Helper()
	b, err := tryZip(tb, path, o)
	if err != nil {
		tb.Fatalf("parse %s: %v", path, err)
	}
	return b
}

func tryZip(tb testing.TB, path string, o osv.Options) (advisory.Batch, error) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	return osv.ParseZip(f, st.Size(), o)
}

func almalinux(version string) inventory.Release {
	return inventory.Release{Distro: "almalinux", Version: version}
}

var almaArchives = []string{"AlmaLinux-8", "AlmaLinux-9", "AlmaLinux-10"}

func TestAlmaLinuxArchives(t *testing.T) {
	data := sharedData(t)
	for _, tt := range []struct {
		version string
		records int
		rows    int
		// modular advisories, and those whose stream nobody says
		modular, unnamed int
		rated            int
	}{
		{"8", 3237, 39984, 623, 15, 2041},
		{"9", 1783, 23051, 100, 0, 1783},
		{"10", 660, 6125, 0, 0, 660},
	} {
		b := parseZip(t, filepath.Join(data, "advisories/osv/AlmaLinux-"+tt.version+"/all.zip"), osv.Options{})
		if b.Feed.Name != "osv:AlmaLinux:"+tt.version || !b.Snapshot || len(b.Advisories) != tt.records {
			t.Errorf("got feed %q, snapshot %v, %d advisories; want osv:AlmaLinux:%s, true, %d", b.Feed.Name, b.Snapshot, len(b.Advisories), tt.version, tt.records)
		}
		rows, modular, unnamed, rated := 0, 0, 0, 0
		for _, a := range b.Advisories {
			rows += len(a.Affected)
			if a.Affected[0].Module != "" {
				modular++
			}
			if a.Affected[0].Module == "*" {
				unnamed++
			}
			if a.Rating != "" {
				rated++
			}
		}
		if rows != tt.rows || modular != tt.modular || unnamed != tt.unnamed || rated != tt.rated {
			t.Errorf("%s: got %d rows, %d modular advisories, %d without a stream, %d rated; want %d, %d, %d, %d",
				b.Feed.Name, rows, modular, unnamed, rated, tt.rows, tt.modular, tt.unnamed, tt.rated)
		}
		if want := []inventory.Release{almalinux(tt.version)}; !slices.Equal(b.Releases, want) {
			t.Errorf("got releases %v, want %v", b.Releases, want)
		}
		if !slices.IsSortedFunc(b.Advisories, func(a, b advisory.Advisory) int { return cmpString(a.ID, b.ID) }) {
			t.Errorf("%s: advisories are not ordered by id", b.Feed.Name)
		}
		t.Logf("%s: skipped %v, published %v, digest %s", b.Feed.Name, b.Skipped, b.Published, b.Digest)
	}
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// BenchmarkAlmaLinux reads the three archives, 5 680 records and 35 MB of JSON, for one release.
func BenchmarkAlmaLinux(b *testing.B) {
	data := sharedData(b)
	keep := osv.Options{Keep: func(r inventory.Release) bool { return r == almalinux("9") }}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, name := range almaArchives {
			n += len(parseZip(b, filepath.Join(data, "advisories/osv", name, "all.zip"), keep).Advisories)
		}
		if n != 1783 {
			b.Fatalf("got %d advisories, want 1783", n)
		}
	}
}

// TestAgreesWithTheOracle: what an independent program read in the same archive
// for one host is what we read.
func TestAgreesWithTheOracle(t *testing.T) {
	data := sharedData(t)
	doc, err := os.ReadFile(filepath.Join(data, "oracles/computed/expected-alma_9.json"))
	if err != nil {
		t.Fatal(err)
	}
	var oracle struct {
		Findings []struct {
			ID        string    `json:"id"`
			CVEs      []string  `json:"cves"`
			Published time.Time `json:"published"`
			Packages  []struct {
				Package string `json:"package"`
				Fixed   string `json:"fixed"`
				Modular bool   `json:"modular"`
			} `json:"packages"`
		} `json:"findings"`
	}
	if err := json.Unmarshal(doc, &oracle); err != nil {
		t.Fatal(err)
	}
	byID := map[string]advisory.Advisory{}
	for _, a := range parseZip(t, filepath.Join(data, "advisories/osv/AlmaLinux-9/all.zip"), osv.Options{}).Advisories {
		byID[a.ID] = a
	}
	for _, want := range oracle.Findings {
		a := byID[want.ID]
		cves := slices.Clone(want.CVEs)
		if len(cves) == 0 {
			cves = []string{want.ID}
		}
		slices.Sort(cves)
		cves = slices.Compact(cves) // AlmaLinux lists some twice
		if !slices.Equal(a.Vulnerabilities, cves) || !a.Issued.Equal(want.Published) {
			t.Errorf("%s: got %v of %v, want %v of %v", want.ID, a.Vulnerabilities, a.Issued, cves, want.Published)
		}
		for _, p := range want.Packages {
			if !slices.ContainsFunc(a.Affected, func(row advisory.Affected) bool {
				return row.Name == p.Package && (row.Module != "") == p.Modular && row.Ranges[0].Introduced == "0" && row.Ranges[0].Fixed == p.Fixed
			}) {
				t.Errorf("%s: no row for %s fixed in %s, modular %v", want.ID, p.Package, p.Fixed, p.Modular)
			}
		}
	}
	if len(oracle.Findings) != 368 {
		t.Errorf("the oracle has %d findings, want 368", len(oracle.Findings))
	}
}
