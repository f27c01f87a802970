package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/xuri/excelize/v2"

	"github.com/patchproof/patchproof/collector/query"
)

// hostile are names a host or a publisher could bear to harm who reads them.
var hostile = []string{
	`<script>alert(1)</script>`, `=HYPERLINK("http://x","y")`, `+1+1`, `-2+3`, `@SUM(A1)`, "\t=1", "＝1", `'`, `"`, `,;`,
	"\x1b]0;title\x07\x1b[2J", "a\r\nb", "\x00", "evil\u202egpj.exe", "zero\u200bwidth", "\u2066iso\u2069", "\xff\xfe", "\uFFFE\uFFFF",
	"_x0041_", "\U000e0041tag", "]]>", "&lt;", strings.Repeat("𝔵", 40_000), strings.Repeat("A", 10<<20),
}

func hostileAnswers() (*answers[query.AssetList], *query.AssetList) {
	a := &answers[query.AssetList]{
		about: func(l *query.AssetList) query.Meta { return l.Meta },
		table: func(l *query.AssetList) *table { return assetTable(l.Assets) },
		items: func(l *query.AssetList) iter.Seq[any] { return each(l.Assets) },
		talk:  func(w io.Writer, l *query.AssetList) { footer(w, l.Meta, "asset") },
	}
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	l := &query.AssetList{Meta: query.Meta{AsOf: at, Count: len(hostile), Policy: "abc"}}
	for _, name := range hostile {
		l.Assets = append(l.Assets, query.Asset{ID: "a-1", Name: name, Kernel: name[:min(len(name), 40)], Packages: 7})
		l.Feeds = append(l.Feeds, query.Feed{Name: name[:min(len(name), 40)], Digest: name[:min(len(name), 40)], ImportedAt: at})
	}
	return a, l
}

func written(t *testing.T, format string, provenance bool) string {
	t.Helper()
	a, l := hostileAnswers()
	var out, talk bytes.Buffer
	if err := a.write(&out, &talk, l, format, provenance); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return out.String()
}

// mustBeTame fails for a rune that changes how other text is shown.
func mustBeTame(t *testing.T, format, text, besides string) {
	t.Helper()
	for i, r := range text {
		if hidden(r) && !strings.ContainsRune(besides, r) || r == unicode.ReplacementChar {
			t.Fatalf("%s: got %U at byte %d", format, r, i)
		}
	}
}

func TestHostileNamesInATable(t *testing.T) {
	mustBeTame(t, "table", written(t, "table", false), "\n")
}

func TestHostileNamesInCSV(t *testing.T) {
	text := written(t, "csv", true)
	mustBeTame(t, "csv", text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil || len(rows) != len(hostile)+1 {
		t.Fatalf("got %d rows, %v, want %d", len(rows), err, len(hostile)+1)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && cell != "-" && strings.ContainsRune("=+-@＝", []rune(cell)[0]) {
				t.Errorf("got cell %q, which a spreadsheet would run", cell)
			}
		}
	}
}

func TestHostileNamesInJSONLines(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(written(t, "jsonl", true), "\n"), "\n")
	if len(lines) != len(hostile)+1 {
		t.Fatalf("got %d lines, want the provenance and %d rows", len(lines), len(hostile))
	}
	for i, line := range lines[1:] {
		var a query.Asset
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		if want := strings.ToValidUTF8(hostile[i], "\uFFFD"); a.Name != want && len(hostile[i]) > 2 {
			t.Errorf("line %d: got %.40q, want %.40q", i, a.Name, want)
		}
	}
}

func TestHostileNamesInAWorkbook(t *testing.T) {
	f, err := excelize.OpenReader(strings.NewReader(written(t, "xlsx", false)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, sheet := range []string{"rows", "about"} {
		rows, err := f.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) < len(hostile)+1 {
			t.Fatalf("sheet %s: got %d rows", sheet, len(rows))
		}
		for y, row := range rows {
			for x, cell := range row {
				mustBeTame(t, "xlsx", cell, "")
				at, err := excelize.CoordinatesToCellName(x+1, y+1)
				if err != nil {
					t.Fatal(err)
				}
				if formula, err := f.GetCellFormula(sheet, at); err != nil || formula != "" {
					t.Errorf("sheet %s: cell %s holds the formula %q, %v", sheet, at, formula, err)
				}
			}
		}
	}
	for i, name := range hostile {
		got, err := f.GetCellValue("rows", "A"+strconv.Itoa(i+2))
		if err != nil {
			t.Fatal(err)
		}
		switch want := clean(name); {
		case name == "\uFFFE\uFFFF":
			want = `\ufffe\uffff`
			fallthrough
		case len(want) < excelize.TotalCellChars:
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case !strings.Contains(got, "cut: "):
			t.Errorf("a cell of %d bytes was cut to %d and does not say so", len(want), len(got))
		}
	}
	if kind, err := f.GetCellType("rows", "D2"); err != nil || kind == excelize.CellTypeInlineString {
		t.Errorf("got a count of type %v, %v, want a number", kind, err)
	}
}

func TestPlainCSVIsPlain(t *testing.T) {
	if text := written(t, "csv", false); strings.HasPrefix(text, "#") || !strings.HasPrefix(text, "name,release,") {
		t.Errorf("got CSV that begins %.40q", text)
	}
}

func TestProvenanceSaysWhatAnAnswerStandsOn(t *testing.T) {
	text := written(t, "csv", true)
	for _, want := range []string{"# as of: 2026-06-01T12:00:00Z\n", "# rows: ", "# policy: abc\n", "# feed <script>alert(1)</script>: digest <script>"} {
		if !strings.Contains(text, want) {
			t.Errorf("the provenance lacks %q", want)
		}
	}
}

func TestTooManyRowsForASheetAreRefused(t *testing.T) {
	tb := &table{columns: []column{{head: "A"}}, rows: make([][]string, excelize.TotalRows)}
	if err := writeXLSX(io.Discard, tb, nil); err == nil || !strings.Contains(err.Error(), "ask for csv") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
}
