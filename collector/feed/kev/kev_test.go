package kev_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/kev"
)

const catalogue = `{
  "title": "CISA Catalog of Known Exploited Vulnerabilities",
  "catalogVersion": "2024.11.18", "dateReleased": "2024-11-18T15:01:02.1234567Z", "count": 2,
  "vulnerabilities": [
    {"cveID": "CVE-2024-9474", "vendorProject": "A", "product": "B", "vulnerabilityName": "Some Flaw", "dateAdded": "2024-11-18",
     "shortDescription": "x", "requiredAction": "y", "dueDate": "2024-12-09", "knownRansomwareCampaignUse": "Known", "notes": "", "cwes": ["CWE-78"]},
    {"cveID": "CVE-2021-4034", "vulnerabilityName": "Another", "dateAdded": "2022-06-27", "dueDate": "", "knownRansomwareCampaignUse": "Unknown", "field_of_tomorrow": 1}
  ]
}`

func TestParse(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(catalogue)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{"plain": catalogue, "marked": "\xef\xbb\xbf" + catalogue, "gzip": packed.String()} {
		b, err := kev.Parse(strings.NewReader(doc))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := []advisory.Facts{
			{Vulnerability: "CVE-2021-4034", KEV: &advisory.KEV{Added: "2022-06-27", Name: "Another"}},
			{Vulnerability: "CVE-2024-9474", KEV: &advisory.KEV{Added: "2024-11-18", Due: "2024-12-09", Name: "Some Flaw", Ransomware: true}},
		}
		if diff := cmp.Diff(want, b.Facts); diff != "" {
			t.Errorf("%s: facts differ (-want +got):\n%s", name, diff)
		}
		if !b.Snapshot || !b.Published.Equal(time.Date(2024, 11, 18, 15, 1, 2, 123456000, time.UTC)) || len(b.Digest) != 64 {
			t.Errorf("%s: got snapshot %v, published %v, digest %q", name, b.Snapshot, b.Published, b.Digest)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	swap := func(old, with string) string { return strings.Replace(catalogue, old, with, 1) }
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "is empty"},
		{"cut_off", catalogue[:200], "broken JSON at byte 200"},
		{"list", "[]", "not in CISA's format"},
		{"another_object", "{}", "is missing"},
		{"cut_off_and_mended", swap(`"count": 2`, `"count": 3`), "states 3 entries and has 2"},
		{"no_count", swap(`"count": 2,`, ``), "is missing"},
		{"twice", swap("CVE-2021-4034", "CVE-2024-9474"), "CVE-2024-9474 is there twice"},
		{"not_a_cve", swap("CVE-2021-4034", "CVE-2021"), `entry 2: cveID "CVE-2021" is not a CVE id`},
		{"date_in_words", swap(`"dateAdded": "2024-11-18"`, `"dateAdded": "Monday"`), `CVE-2024-9474: dateAdded "Monday"`},
		{"no_date", swap(`"dateAdded": "2024-11-18"`, `"x": ""`), "dateAdded \"\" is not a date"},
		{"impossible_due", swap("2024-12-09", "2024-13-09"), `dueDate "2024-13-09"`},
		{"release_in_words", swap("2024-11-18T15:01:02.1234567Z", "now"), `dateReleased "now"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := kev.Parse(strings.NewReader(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "KEV catalogue: ") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(b.Facts) > 0 {
				t.Error("a part of a faulty catalogue came out")
			}
		})
	}
}

func TestRealCatalogue(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "data", "exploit", "kev", "known_exploited_vulnerabilities.json"))
	if err != nil {
		t.Skipf("real data is not beside the checkout: %v", err)
	}
	b, err := kev.Parse(bytes.NewReader(doc))
	if err != nil || len(b.Facts) != 1404 {
		t.Errorf("got %d entries, %v; want 1404", len(b.Facts), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(catalogue))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := kev.Parse(bytes.NewReader(doc))
		if err != nil {
			return
		}
		for _, fact := range b.Facts {
			if !advisory.IsCVE(fact.Vulnerability) || fact.KEV == nil || fact.KEV.Added == "" {
				t.Fatalf("accepted %+v", fact)
			}
		}
	})
}
