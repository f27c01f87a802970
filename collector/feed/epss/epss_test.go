package epss_test

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
	"github.com/patchproof/patchproof/collector/feed/epss"
)

const (
	comment = "#model_version:v2023.03.01,score_date:2023-03-07T00:00:00+0000\n"
	header  = "cve,epss,percentile\n"
	rows    = "CVE-2020-5902,0.97567,0.99995\nCVE-2018-19571,0.00113,0.43131\n"
)

func fact(cve string, score, percentile float64, date string) advisory.Facts {
	return advisory.Facts{Vulnerability: cve, EPSS: &advisory.EPSS{Score: score, Percentile: percentile, Date: date}}
}

func gzipped(tb testing.TB, text string) string {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.String()
}

func TestParse(t *testing.T) {
	const date = "2023-03-07"
	dated := []advisory.Facts{fact("CVE-2018-19571", 0.00113, 0.43131, date), fact("CVE-2020-5902", 0.97567, 0.99995, date)}
	undated := []advisory.Facts{fact("CVE-2018-19571", 0.00113, 0.43131, ""), fact("CVE-2020-5902", 0.97567, 0.99995, "")}
	for _, tt := range []struct {
		name, doc string
		want      []advisory.Facts
	}{
		{"comment_and_header", comment + header + rows, dated},
		{"header_only", header + rows, undated},
		{"neither", rows, undated},
		{"comment_only", comment + rows, dated},
		{"windows_lines", strings.ReplaceAll(comment+header+rows, "\n", "\r\n"), dated},
		{"no_last_newline", strings.TrimSuffix(comment+header+rows, "\n"), dated},
		{"byte_order_mark", "\xef\xbb\xbf" + comment + header + rows, dated},
		{"gzip", gzipped(t, comment+header+rows), dated},
		{"another_order_of_columns", "percentile,cve,model,epss\n0.99995,CVE-2020-5902,x,0.97567\n", []advisory.Facts{fact("CVE-2020-5902", 0.97567, 0.99995, "")}},
		{"before_percentiles", "cve,epss\nCVE-2020-5902,0.97567\n", []advisory.Facts{fact("CVE-2020-5902", 0.97567, 0, "")}},
		{"bounds", "CVE-2020-0001,0,0\nCVE-2020-0002,1,1\n", []advisory.Facts{fact("CVE-2020-0001", 0, 0, ""), fact("CVE-2020-0002", 1, 1, "")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := epss.Parse(strings.NewReader(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.Facts); diff != "" {
				t.Errorf("facts differ (-want +got):\n%s", diff)
			}
			if !b.Snapshot || len(b.Digest) != 64 {
				t.Errorf("got snapshot %v, digest %q", b.Snapshot, b.Digest)
			}
			if dated := b.Facts[0].EPSS.Date != ""; dated != b.Published.Equal(time.Date(2023, 3, 7, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("published is %v", b.Published)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	packed := gzipped(t, comment+header+strings.Repeat(rows, 1000))
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "is empty"},
		{"only_a_header", comment + header, "there is no row"},
		{"another_file", "<html>\n", `line 1: "<html>" is neither a row nor a header`},
		{"another_header", "id,score\nCVE-2020-5902,1\n", "neither a row nor a header with cve and epss"},
		{"above_one", "CVE-2020-5902,1.5,0.9\n", `line 1: epss "1.5" is not a number from 0 to 1`},
		{"below_zero", "CVE-2020-5902,-0.1,0.9\n", `epss "-0.1"`},
		{"not_a_number", "CVE-2020-5902,NaN,0.9\n", `epss "NaN"`},
		{"infinite", "CVE-2020-5902,0.5,Inf\n", `percentile "Inf"`},
		{"words", header + "CVE-2020-5902,high,0.9\n", `line 2: epss "high"`},
		{"cut_off_in_a_row", header + rows + "CVE-2020-59", "line 4: \"CVE-2020-59\" has 1 fields"},
		{"cut_off_before_percentile", header + rows + "CVE-2020-5903,0.1", "line 4: \"CVE-2020-5903,0.1\" has 2 fields"},
		{"twice", header + rows + "CVE-2020-5902,0.1,0.1\n", "CVE-2020-5902 is there twice"},
		{"not_a_cve", header + "XVE-2020-5902,0.1,0.1\n", `"XVE-2020-5902" is not a CVE id`},
		{"comment_below", header + rows + comment, "line 4: a comment after the first line"},
		{"date_in_words", "#model_version:x,score_date:today\n" + rows, `score_date "today"`},
		{"endless_line", strings.Repeat("x", 1<<20), "token too long"},
		{"gzip_cut_off", packed[:len(packed)/2], "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := epss.Parse(strings.NewReader(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "EPSS scores: ") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(b.Facts) > 0 {
				t.Error("a part of a faulty file came out")
			}
		})
	}
}

func TestRealFiles(t *testing.T) {
	data := filepath.Join("..", "..", "..", "..", "shared", "data", "exploit")
	for name, want := range map[string]int{
		"epss/epss_scores-2025-08-17.csv.gz":                                        289921,
		"vuls-data-update/raw/epss/testdata/fixtures/epss_scores-2022-02-04.csv.gz": 2,
		"vuls-data-update/raw/epss/testdata/fixtures/epss_scores-2023-03-07.csv.gz": 2,
	} {
		doc, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Skipf("real data is not beside the checkout: %v", err)
		}
		b, err := epss.Parse(bytes.NewReader(doc))
		if err != nil || len(b.Facts) != want || b.Published.IsZero() {
			t.Errorf("%s: got %d scores of %v, %v; want %d", name, len(b.Facts), b.Published, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(comment + header + rows))
	f.Add([]byte("percentile,cve,epss\n0.9,CVE-2020-5902,0.9"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := epss.Parse(bytes.NewReader(doc))
		if err != nil {
			return
		}
		for _, fact := range b.Facts {
			if e := fact.EPSS; !advisory.IsCVE(fact.Vulnerability) || !(e.Score >= 0 && e.Score <= 1 && e.Percentile >= 0 && e.Percentile <= 1) {
				t.Fatalf("accepted %+v %+v", fact, e)
			}
		}
	})
}
