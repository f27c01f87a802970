package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// column is one column of a table.
type column struct {
	head string
	// min is how narrow it may get when a terminal is short of room; 0 never shrinks.
	min int
	// drop is how soon it is left out when shrinking is not enough: the highest
	// goes first, 0 always stays.
	drop  int
	right bool
}

// name is what a column is called where programs read it.
func (c *column) name() string { return strings.ToLower(strings.ReplaceAll(c.head, " ", "_")) }

// table is rows of text under heads, printed as a table or as CSV.
type table struct {
	columns []column
	rows    [][]string
	// notes, when set, holds a line to print under each row.
	notes []string
	// wrapLast breaks the last column over lines where it would be cut.
	wrapLast bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// gutter is the room between two columns.
const gutter = "  "

// alignTo is how far a column is aligned where nothing is cut: one long cell
// sticks out and does not blow up every row.
const alignTo = 200

// print writes the table. On a terminal it is made to fit, and says which columns
// that has cost; anywhere else nothing is ever cut or left out.
func (t *table) print(w io.Writer) {
	rows := make([][]string, 0, len(t.rows)+1)
	rows = append(rows, make([]string, len(t.columns)))
	for i, c := range t.columns {
		rows[0][i] = c.head
	}
	for _, r := range t.rows {
		rows = append(rows, slices.Clone(r))
	}
	natural := make([]int, len(t.columns))
	for _, r := range rows {
		for i := range r {
			r[i] = clean(r[i])
			natural[i] = max(natural[i], width(r[i]))
		}
	}
	limit := terminalWidth(w)
	shown, widths := t.layout(natural, limit)
	for i, r := range rows {
		t.row(w, r, shown, widths, limit > 0)
		if n := i - 1; n >= 0 && n < len(t.notes) {
			for _, line := range wrapTo(clean(t.notes[n]), limit-4) {
				fmt.Fprintf(w, "    %s\n", line)
			}
		}
	}
	if hidden := t.hidden(shown); len(t.rows) > 0 && len(hidden) > 0 {
		say := "not shown at this width: " + strings.Join(hidden, ", ")
		for _, line := range wrapTo(say, limit) {
			fmt.Fprintln(w, line)
		}
	}
}

// layout chooses the columns to show and their widths so that a row fits the
// limit: first columns shrink, then those that matter least go. 0 is no limit.
func (t *table) layout(natural []int, limit int) (shown, widths []int) {
	for i := range t.columns {
		shown = append(shown, i)
	}
	for {
		widths = make([]int, len(shown))
		for i, c := range shown {
			widths[i] = natural[c]
			if limit <= 0 {
				widths[i] = min(natural[c], alignTo)
			}
		}
		if limit <= 0 || t.shrink(shown, widths, limit) {
			return shown, widths
		}
		least := 0
		for i, c := range shown {
			if t.columns[c].drop > t.columns[shown[least]].drop {
				least = i
			}
		}
		if t.columns[shown[least]].drop == 0 {
			return shown, widths
		}
		shown = slices.Delete(shown, least, least+1)
	}
}

// shrink takes room from the widest shrinkable column until a row fits, and
// reports whether it does.
func (t *table) shrink(shown, widths []int, limit int) bool {
	for {
		total := len(gutter) * (len(widths) - 1)
		widest := -1
		for i, n := range widths {
			total += n
			if m := t.columns[shown[i]].min; m > 0 && n > m && (widest < 0 || n > widths[widest]) {
				widest = i
			}
		}
		if total <= limit || widest < 0 {
			return total <= limit
		}
		widths[widest]--
	}
}

func (t *table) hidden(shown []int) []string {
	var out []string
	for i, c := range t.columns {
		if !slices.Contains(shown, i) {
			out = append(out, c.head)
		}
	}
	return out
}

// row writes one row, over several lines when its last cell is broken.
func (t *table) row(w io.Writer, cells []string, shown, widths []int, fit bool) {
	var b strings.Builder
	last := len(shown) - 1
	for i, c := range shown {
		cell := cells[c]
		if i == last && t.wrapLast && fit {
			lines := wrapTo(cell, widths[i])
			indent := "\n" + strings.Repeat(" ", width(b.String()))
			b.WriteString(strings.Join(lines, indent))
			break
		}
		if fit {
			cell = cut(cell, widths[i])
		}
		pad := strings.Repeat(" ", max(widths[i]-width(cell), 0))
		if t.columns[c].right {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
		if i < last {
			b.WriteString(gutter)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// csv writes the table for a spreadsheet; no cell can become a formula.
func (t *table) csv(w io.Writer) error {
	cw := csv.NewWriter(w)
	heads := make([]string, len(t.columns))
	for i := range t.columns {
		heads[i] = csvCell(t.columns[i].name())
	}
	if err := cw.Write(heads); err != nil {
		return err
	}
	for _, r := range t.rows {
		safe := make([]string, len(r))
		for i, cell := range r {
			safe[i] = csvCell(cell)
		}
		if err := cw.Write(safe); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

// csvCell quotes what a spreadsheet would run: a leading = + - @ (also behind
// white space, also full-width) gets an apostrophe, numbers excepted.
func csvCell(s string) string {
	s = clean(s)
	lead := strings.TrimLeftFunc(s, unicode.IsSpace)
	if lead == "" {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	switch r, _ := utf8.DecodeRuneInString(lead); r {
	case '=', '+', '-', '@', '＝', '＋', '－', '＠', '\'', '|', '%':
		return "'" + s
	}
	return s
}

func width(s string) int { return utf8.RuneCountInString(s) }

func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	if n <= 1 {
		return string([]rune(s)[:n])
	}
	return string([]rune(s)[:n-1]) + "…"
}

// terminalWidth is the width of the terminal behind w, 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if ws.Col == 0 {
		return 80
	}
	return int(ws.Col)
}

// proseWidth is how wide sentences get on a terminal; elsewhere they are not broken.
func proseWidth(w io.Writer) int {
	const readable = 100
	return min(terminalWidth(w), readable)
}

// wrapTo breaks a sentence at spaces so that lines fit n columns; 0 or less is no limit.
func wrapTo(s string, n int) []string {
	if n <= 0 || width(s) <= n {
		return []string{s}
	}
	return wrap(s, n)
}

// wrap breaks a sentence at spaces so that lines fit n columns.
func wrap(s string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && width(line)+1+width(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
