package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// outputFlag adds -o with the formats a command knows; the first is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *string {
	out := new(string)
	cmd.Flags().StringVarP(out, "output", "o", formats[0], "output format: "+strings.Join(formats, ", "))
	prev := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		for _, f := range formats {
			if *out == f {
				if prev != nil {
					return prev(c, args)
				}
				return nil
			}
		}
		return usage(fmt.Errorf("output format %q: want one of %s", *out, strings.Join(formats, ", ")))
	}
	return out
}

// column is one column of a table.
type column struct {
	head string
	// min is how narrow it may get when a terminal is short of room; 0 never shrinks.
	min   int
	right bool
}

// table is rows of text under heads, printed as a table or as CSV.
type table struct {
	columns []column
	rows    [][]string
	// notes, when set, holds a line to print under each row.
	notes []string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table. On a terminal, columns that may shrink do so until
// a row fits; anywhere else nothing is ever cut.
func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = width(c.head)
	}
	rows := make([][]string, len(t.rows))
	for i, r := range t.rows {
		rows[i] = make([]string, len(r))
		for j, cell := range r {
			rows[i][j] = clean(cell)
			widths[j] = max(widths[j], width(rows[i][j]))
		}
	}
	if limit := terminalWidth(w); limit > 0 {
		t.shrink(widths, limit)
	}
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	t.line(w, heads, widths)
	for i, r := range rows {
		t.line(w, r, widths)
		if i < len(t.notes) {
			fmt.Fprintf(w, "    %s\n", clean(t.notes[i]))
		}
	}
}

// shrink takes room from the widest shrinkable column until the row fits.
func (t *table) shrink(widths []int, limit int) {
	for {
		total := 2 * (len(widths) - 1)
		widest := -1
		for i, n := range widths {
			total += n
			if m := t.columns[i].min; m > 0 && n > m && (widest < 0 || n > widths[widest]) {
				widest = i
			}
		}
		if total <= limit || widest < 0 {
			return
		}
		widths[widest]--
	}
}

func (t *table) line(w io.Writer, cells []string, widths []int) {
	var b strings.Builder
	for i, cell := range cells {
		cell = cut(cell, widths[i])
		pad := strings.Repeat(" ", widths[i]-width(cell))
		switch {
		case t.columns[i].right:
			b.WriteString(pad + cell)
		case i == len(cells)-1:
			b.WriteString(cell)
		default:
			b.WriteString(cell + pad)
		}
		if i < len(cells)-1 {
			b.WriteString("  ")
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// csv writes the table for a spreadsheet; no cell can become a formula.
func (t *table) csv(w io.Writer) error {
	cw := csv.NewWriter(w)
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = strings.ToLower(strings.ReplaceAll(c.head, " ", "_"))
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

// printJSON writes an answer as it is promised: two spaces, no HTML escaping.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// clean shows what a terminal must not act on: control, bidirectional and
// other invisible characters, and bytes that are no text, become \u escapes.
func clean(s string) string {
	safe := true
	for _, r := range s {
		if hidden(r) {
			safe = false
			break
		}
	}
	if safe && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case hidden(r) && r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden reports runes that change how other text is shown: controls, format
// characters (bidi overrides among them), line and paragraph separators.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
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
