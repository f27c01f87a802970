package main

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
)

func TestCSVCellsCannotBecomeFormulas(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"bash", "bash"},
		{"", ""},
		{"=1+1", "'=1+1"},
		{"+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"},
		{"-2+3", "'-2+3"},
		{"-12", "-12"},
		{"1.5e3", "1.5e3"},
		{"@SUM(A1)", "'@SUM(A1)"},
		{"  =1", "'  =1"},
		{"＝1", "'＝1"},
		{"\t=1", `\u0009=1`},
		{"\r=1", `\u000d=1`},
		{"'quoted", "''quoted"},
		{"|pipe", "'|pipe"},
	} {
		if got := csvCell(c.in); got != c.want {
			t.Errorf("csvCell(%q): got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestCleanShowsWhatATerminalMustNotActOn(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"openssl 3.0.17-1~deb12u2", "openssl 3.0.17-1~deb12u2"},
		{"naïve ✓", "naïve ✓"},
		{"\x1b[31mred", `\u001b[31mred`},
		{"a\nb", `a\u000ab`},
		{"admin\u202etxt.exe", `admin\u202etxt.exe`},
		{"zero\u200bwidth", `zero\u200bwidth`},
		{"bad\xff", `bad\xff`},
		{"tag\U000e0041", `tag\U000e0041`},
	} {
		if got := clean(c.in); got != c.want {
			t.Errorf("clean(%q): got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestTableIsNeverCutOffATerminal(t *testing.T) {
	long := strings.Repeat("x", 500)
	tb := &table{columns: []column{{head: "NAME", min: 4}, {head: "N", right: true}}}
	tb.add(long, "7")
	var out bytes.Buffer
	tb.print(&out)
	if !strings.Contains(out.String(), long) {
		t.Errorf("a table on a pipe lost text: %.80q", out.String())
	}
}

func TestTableShrinksToFit(t *testing.T) {
	tb := &table{columns: []column{{head: "ID"}, {head: "NAME", min: 6}, {head: "WHY", min: 6}}}
	tb.add("F-1234", strings.Repeat("n", 60), strings.Repeat("w", 90))
	_, widths := tb.layout([]int{6, 60, 90}, 80)
	if got := widths[0] + widths[1] + widths[2] + 4; got > 80 {
		t.Errorf("got a row of %d columns, want at most 80 (%v)", got, widths)
	}
	if widths[0] != 6 {
		t.Errorf("a column that may not shrink shrank to %d", widths[0])
	}
	_, widths = tb.layout([]int{6, 60, 90}, 5)
	if widths[1] != 6 || widths[2] != 6 {
		t.Errorf("got %v, want columns at their minimum", widths)
	}
}

func TestTableLeavesOutWhatMattersLeast(t *testing.T) {
	tb := &table{columns: []column{{head: "ID"}, {head: "NAME", min: 6, drop: 1}, {head: "NOTE", drop: 2}, {head: "WHY", min: 6}}}
	for _, c := range []struct {
		limit int
		want  string
	}{{0, ""}, {200, ""}, {30, ""}, {29, "NOTE"}, {20, "NOTE"}, {19, "NAME,NOTE"}, {1, "NAME,NOTE"}} {
		shown, _ := tb.layout([]int{4, 20, 8, 30}, c.limit)
		if got := strings.Join(tb.hidden(shown), ","); got != c.want {
			t.Errorf("at %d columns: left out %q, want %q", c.limit, got, c.want)
		}
	}
}

func TestTableBreaksItsLastColumn(t *testing.T) {
	tb := &table{columns: []column{{head: "N", right: true}, {head: "WHY", min: 8}}, wrapLast: true}
	var out bytes.Buffer
	tb.row(&out, []string{"12", "one two three"}, []int{0, 1}, []int{3, 8}, true)
	if got, want := out.String(), " 12  one two\n     three\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCSVIsReadableByOthers(t *testing.T) {
	tb := &table{columns: []column{{head: "FIXED IN"}, {head: "WHY"}}}
	tb.add("1,2", "a \"b\"")
	var out bytes.Buffer
	if err := tb.csv(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if rows[0][0] != "fixed_in" || rows[1][0] != "1,2" || rows[1][1] != `a "b"` {
		t.Errorf("got %q", rows)
	}
}

func TestWrap(t *testing.T) {
	got := wrap("one two three four", 9)
	want := []string{"one two", "three", "four"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
}
