package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"bash":               "bash",
		"libstdc++6 ünïcode": "libstdc++6 ünïcode",
		"a\x1b[31mred":       `a\u001b[31mred`,
		"evil\u202egnp.exe":  `evil\u202egnp.exe`,
		"zero\u200bwidth":    `zero\u200bwidth`,
		"two\nlines\r\t":     `two\u000alines\u000d\u0009`,
		"\xff\xfe":           `\xff\xfe`,
		`back\slash`:         `back\\slash`,
		"c1\u009b31m":        `c1\u009b31m`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTableFitsATerminalAndIsNeverCutWithoutOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.SliceOfN(rapid.SliceOfN(rapid.String(), 4, 4), 1, 6).Draw(t, "rows")
		width := rapid.IntRange(4*minColumn+3*columnGap, 200).Draw(t, "width")
		var wide, narrow strings.Builder
		copied := make([][]string, len(cells))
		for i := range cells {
			copied[i] = append([]string{}, cells[i]...)
		}
		writeTable(&narrow, copied, width)
		if n := strings.Count(narrow.String(), "\n"); n != len(cells) {
			t.Fatalf("%d lines for %d rows", n, len(cells))
		}
		for line := range strings.Lines(narrow.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("line of %d columns on a terminal of %d", n, width)
			}
		}
		writeTable(&wide, cells, 0)
		for _, row := range cells { // writeTable made them printable in place
			for _, cell := range row {
				if !strings.Contains(wide.String(), strings.TrimRight(cell, " ")) {
					t.Fatalf("%q is cut without a terminal", cell)
				}
			}
		}
	})
}
