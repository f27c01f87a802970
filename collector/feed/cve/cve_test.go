package cve_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/cve"
)

const (
	v31 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
	v40 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N"
	v2  = "AV:N/AC:M/Au:N/C:P/I:N/A:N"
)

func record(id, cna, adp string) string {
	return `{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"` + id + `","state":"PUBLISHED","dateUpdated":"2024-08-01T18:48:21.899Z"},
"containers":{"cna":{"providerMetadata":{"orgId":"9119a7d8-5eab-497f-8521-727c672e3725","shortName":"x"},"metrics":[` + cna + `]},
"adp":[{"providerMetadata":{"orgId":"af854a3a-2127-422b-91ae-364da2661108","shortName":"CVE"}},
{"title":"CISA ADP Vulnrichment","providerMetadata":{"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0","shortName":"CISA-ADP"},"metrics":[` + adp + `]}]}}`
}

func ssvc(date, exploitation, automatable, impact string) string {
	return `{"other":{"type":"ssvc","content":{"options":[{"Exploitation":"` + exploitation + `"},{"Automatable":"` + automatable + `"},{"Technical Impact":"` + impact + `"}],"timestamp":"` + date + `"}}}`
}

func parse(t *testing.T, doc string) advisory.Batch {
	t.Helper()
	b, err := cve.Parse(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	b := parse(t, record("CVE-2024-1709",
		`{"cvssV2_0":{"vectorString":"`+v2+`","baseScore":4.3},"format":"CVSS"},{"cvssV3_1":{"vectorString":"`+v31+`","baseScore":9.8}},{"cvssV4_0":{"vectorString":"`+v40+`"}},{"other":{"type":"unknown","content":{}}}`,
		`{"cvssV3_1":{"vectorString":"`+v31+`","baseScore":9.8}},`+ssvc("2024-02-24T05:00:21.568850Z", "Active", "Yes", "Total")+`,{"other":{"type":"kev","content":{"dateAdded":"2024-02-22"}}}`))
	want := []advisory.Facts{{
		Vulnerability: "CVE-2024-1709",
		Scores: []advisory.Score{
			{Source: "cna", Version: "4.0", Vector: v40, Value: 8.7},
			{Source: "cna", Version: "3.1", Vector: v31, Value: 9.8},
			{Source: "cna", Version: "2.0", Vector: v2, Value: 4.3},
			{Source: "adp", Version: "3.1", Vector: v31, Value: 9.8},
		},
		SSVC: &advisory.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total", Date: "2024-02-24"},
	}}
	if diff := cmp.Diff(want, b.Facts); diff != "" {
		t.Errorf("facts differ (-want +got):\n%s", diff)
	}
	if b.Snapshot || len(b.Digest) != 64 || !b.Published.Equal(time.Date(2024, 8, 1, 18, 48, 21, 899000000, time.UTC)) {
		t.Errorf("got snapshot %v, digest %q, published %v", b.Snapshot, b.Digest, b.Published)
	}
}

func TestNewestDecisionHolds(t *testing.T) {
	old, recent := ssvc("2024-02-24T05:00:21Z", "none", "no", "partial"), ssvc("2025-02-24T05:00:21Z", "poc", "yes", "total")
	for _, both := range []string{old + "," + recent, recent + "," + old} {
		if got := parse(t, record("CVE-2024-1709", "", both)).Facts[0].SSVC; got.Exploitation != "poc" || got.Date != "2025-02-24" {
			t.Errorf("got %+v, want the newer decision", got)
		}
	}
}

func TestStatedScoreHoldsAndBrokenVectorsAreCounted(t *testing.T) {
	b := parse(t, record("CVE-2024-1709", `{"cvssV3_1":{"vectorString":"nonsense","baseScore":7.1}},{"cvssV3_0":{"vectorString":"nonsense"}},{"cvssV3_1":{"vectorString":"`+v31+`","baseScore":11}}`, ""))
	want := []advisory.Score{{Source: "cna", Version: "3.1", Vector: v31, Value: 9.8}, {Source: "cna", Version: "3.1", Value: 7.1}}
	if diff := cmp.Diff(want, b.Facts[0].Scores); diff != "" {
		t.Errorf("scores differ (-want +got):\n%s", diff)
	}
	if b.Skipped["CVSS vector that cannot be read"] != 1 {
		t.Errorf("skipped is %v", b.Skipped)
	}
}

func TestOtherPublishersAndRejectedRecordsAreCounted(t *testing.T) {
	other := strings.Replace(record("CVE-2024-0001", "", ""), `"shortName":"CVE"}`, `"shortName":"redhat-SADP"},"metrics":[{"cvssV3_1":{"vectorString":"`+v31+`"}}]`, 1)
	rejected := strings.Replace(record("CVE-2024-0002", "", ""), "PUBLISHED", "REJECTED", 1)
	b := parse(t, other+"\n"+rejected+"\n")
	if diff := cmp.Diff([]advisory.Facts{{Vulnerability: "CVE-2024-0001"}}, b.Facts); diff != "" {
		t.Errorf("facts differ (-want +got):\n%s", diff)
	}
	want := map[string]int{"rejected record": 1, "metrics of a publisher other than the CNA and CISA": 1}
	if diff := cmp.Diff(want, b.Skipped); diff != "" {
		t.Errorf("skipped differs (-want +got):\n%s", diff)
	}
}

func TestArchiveDirectoryAndLinesGiveTheSame(t *testing.T) {
	one, two := record("CVE-2024-0001", `{"cvssV3_1":{"vectorString":"`+v31+`"}}`, ""), record("CVE-2024-0002", "", ssvc("2024-02-24T05:00:21Z", "none", "no", "partial"))
	fsys := fstest.MapFS{"2024/0xxx/CVE-2024-0001.json": {Data: []byte(one)}, "2024/0xxx/CVE-2024-0002.json": {Data: []byte(two)}}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, f := range fsys {
		fw, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fw.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fsys["delta.json"] = &fstest.MapFile{Data: []byte(`{"fetchTime":"x"}`)}
	dir, err := cve.ParseDir(fsys)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := cve.ParseZip(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	lines := parse(t, one+"\n"+two)
	if diff := cmp.Diff(lines.Facts, dir.Facts); diff != "" {
		t.Errorf("directory differs (-lines +dir):\n%s", diff)
	}
	if diff := cmp.Diff(lines.Facts, archive.Facts); diff != "" {
		t.Errorf("archive differs (-lines +archive):\n%s", diff)
	}
	if dir.Skipped["change note of the CVE list"] != 1 || dir.Snapshot || archive.Snapshot {
		t.Errorf("directory: skipped %v, snapshot %v", dir.Skipped, dir.Snapshot)
	}
}

func TestParseRefuses(t *testing.T) {
	good := record("CVE-2024-1709", "", ssvc("2024-02-24T05:00:21Z", "none", "no", "partial"))
	swap := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "is empty"},
		{"cut_off", good[:100], "CVE record 1: broken JSON"},
		{"second_cut_off", good + good[:100], "CVE record 2: broken JSON"},
		{"another_object", `{"a":1}`, `dataType is ""`},
		{"version_4", swap(`"dataVersion":"5.1"`, `"dataVersion":"4.0"`), `dataVersion "4.0"`},
		{"not_a_cve", swap("CVE-2024-1709", "CVE-1"), `cveId "CVE-1"`},
		{"state", swap("PUBLISHED", "RESERVED"), `CVE-2024-1709: state "RESERVED"`},
		{"wrong_type", swap(`"metrics":[]`, `"metrics":"x"`), "not a CVE record in format 5.x: at byte"},
		{"unknown_decision", swap(`"partial"`, `"large"`), `Technical Impact is "large", want one of partial, total`},
		{"twice", good + "\n" + good, "CVE-2024-1709 is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := cve.Parse(strings.NewReader(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(b.Facts) > 0 {
				t.Error("a part of a faulty document came out")
			}
		})
	}
}

// spaces never ends, and never completes a record.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestEndlessRecordIsRefused(t *testing.T) {
	_, err := cve.Parse(io.MultiReader(strings.NewReader(`{"a":`), spaces{}))
	if err == nil || !strings.Contains(err.Error(), "the record's size in bytes") {
		t.Errorf("got %v, want a limit", err)
	}
}

func TestRealRecords(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "shared", "data", "exploit", "vulnrichment", "sample")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("real data is not beside the checkout: %v", err)
	}
	b, err := cve.ParseDir(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	decided := 0
	for _, f := range b.Facts {
		if f.SSVC != nil && f.SSVC.Exploitation != "" && f.SSVC.Automatable != "" && f.SSVC.Impact != "" {
			decided++
		}
	}
	if len(b.Facts) != 441 || decided != 441 {
		t.Errorf("got %d records, %d with all three decision points; want 441 of both", len(b.Facts), decided)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(record("CVE-2024-1709", `{"cvssV3_1":{"vectorString":"`+v31+`","baseScore":9.8}}`, ssvc("2024-02-24T05:00:21Z", "none", "no", "partial"))))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := cve.Parse(bytes.NewReader(doc))
		if err != nil {
			return
		}
		for _, fact := range b.Facts {
			for _, s := range fact.Scores {
				if s.Value < 0 || s.Value > 10 || s.Version == "" {
					t.Fatalf("accepted %+v", s)
				}
			}
		}
	})
}
