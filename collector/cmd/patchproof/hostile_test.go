package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/xuri/excelize/v2"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/query"
)

// acts are the commands that talk to a collector with -o and do not ask: what they
// print is what they did. Whatever lists something is made of answers, and is
// tried by the tests below.
var acts = []string{
	"asset import", "asset reinstate", "asset retire", "asset set", "approval deny", "approval grant", "classify apply", "classify test",
	"feed import", "host clear-clone", "host trust",
	"policy apply", "policy diff", "policy show", "policy simulate", "token create", "token revoke",
}

// commands are those below a command that match, by their words.
func commandsBelow(root *cobra.Command, match func(*cobra.Command) bool) map[string]*cobra.Command {
	out := map[string]*cobra.Command{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if match(c) {
			out[strings.TrimPrefix(c.CommandPath(), "patchproof ")] = c
		}
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk(root)
	return out
}

func TestEveryCommandThatListsAsksLikeTheOthers(t *testing.T) {
	talks := commandsBelow(newRootCommand(), func(c *cobra.Command) bool {
		return c.Flags().Lookup("url") != nil && c.Flags().Lookup("output") != nil
	})
	for name, c := range talks {
		if c.Annotations[asks] == "" && !slices.Contains(acts, name) {
			t.Errorf("%s prints what a collector answers and is not made of answers: hostile names are not tried on it", name)
		}
	}
	if len(talks) < 20 {
		t.Errorf("got %d commands that talk to a collector", len(talks))
	}
}

// liar is a collector whose every text is hostile: it answers each question by
// the schema of the API's own document.
type liar struct {
	t       *testing.T
	doc     map[string]any
	strings []string
	next    int
}

func newLiar(t *testing.T, strings ...string) *httptest.Server {
	t.Helper()
	rec := httptest.NewRecorder()
	h := api.New(api.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Query: &query.Service{}})
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/openapi.json", nil))
	l := &liar{t: t, strings: strings}
	if err := json.Unmarshal(rec.Body.Bytes(), &l.doc); err != nil {
		t.Fatalf("read the API's document: %v: %.200s", err, rec.Body)
	}
	srv := httptest.NewServer(l)
	t.Cleanup(srv.Close)
	return srv
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for path, methods := range l.doc["paths"].(map[string]any) {
		pattern := "^" + regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"
		op, ok := methods.(map[string]any)["get"].(map[string]any)
		if !ok || !regexp.MustCompile(pattern).MatchString(r.URL.Path) || strings.Contains(path, "{") == slices.Contains(l.plain(), r.URL.Path) {
			continue
		}
		schema := dig(op, "responses", "200", "content", "application/json", "schema")
		l.next = 0
		if err := json.NewEncoder(w).Encode(l.value("", schema.(map[string]any), 0)); err != nil {
			l.t.Error(err)
		}
		return
	}
	l.t.Errorf("%s is not in the API's document", r.URL.Path)
}

// plain are the paths without a name in them.
func (l *liar) plain() (out []string) {
	for path := range l.doc["paths"].(map[string]any) {
		if !strings.Contains(path, "{") {
			out = append(out, path)
		}
	}
	return out
}

func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// value makes a value of a schema, with every text that it can hold.
func (l *liar) value(name string, s map[string]any, depth int) any {
	if ref, ok := s["$ref"].(string); ok {
		parts := strings.Split(ref, "/")
		return l.value(name, dig(l.doc, "components", "schemas", parts[len(parts)-1]).(map[string]any), depth)
	}
	kind, _ := s["type"].(string)
	if kinds, ok := s["type"].([]any); ok {
		kind, _ = kinds[0].(string)
	}
	switch kind {
	case "string":
		return l.text(name, s)
	case "integer", "number":
		return 7
	case "boolean":
		return true
	case "array":
		list := []any{}
		n := 2
		if depth <= 1 {
			n = len(l.strings)
		}
		for range n {
			list = append(list, l.value(name, s["items"].(map[string]any), depth+1))
		}
		return list
	default:
		return l.object(s, depth)
	}
}

func (l *liar) text(name string, s map[string]any) string {
	switch {
	case name == "next":
		return "" // the last page
	case s["format"] == "date-time":
		return "2026-06-01T12:00:00Z"
	case s["contentEncoding"] == "base64":
		return "aGVsbG8="
	}
	l.next++
	return l.strings[l.next%len(l.strings)]
}

func (l *liar) object(s map[string]any, depth int) map[string]any {
	out := map[string]any{}
	props, _ := s["properties"].(map[string]any)
	for _, k := range sortedKeys(props) {
		out[k] = l.value(k, props[k].(map[string]any), depth+1)
	}
	if more, ok := s["additionalProperties"].(map[string]any); ok {
		for range 2 {
			out[l.text("", nil)] = l.value("", more, depth+1)
		}
	}
	return out
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// ask runs a command as people do, with a word for each name it wants.
func askLiar(t *testing.T, srv *httptest.Server, name string, c *cobra.Command, format string) (stdout, stderr string) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(name)
	for _, word := range strings.Fields(c.Use)[1:] {
		if !strings.HasPrefix(word, "[") {
			args = append(args, "CVE-2026-1")
		}
	}
	args = append(args, "--url", srv.URL, "--token-file", token, "-o", format)
	if format == "csv" || format == "jsonl" {
		args = append(args, "--provenance")
	}
	var out, talk bytes.Buffer
	if code := run(args, &out, &talk); code != exitOK {
		t.Fatalf("%v: exit status %d: %.500s", args, code, &talk)
	}
	return out.String(), talk.String()
}

// TestHostileNamesThroughEveryCommand: whatever texts a collector has, and so
// hosts and publishers, no output of any command lets one act on who reads it.
func TestHostileNamesThroughEveryCommand(t *testing.T) {
	small := slices.DeleteFunc(slices.Clone(hostile), func(s string) bool { return len(s) > 1000 || !utf8.ValidString(s) }) // JSON has no other
	srv := newLiar(t, small...)
	questions := commandsBelow(newRootCommand(), func(c *cobra.Command) bool { return c.Annotations[asks] != "" })
	for name, c := range questions {
		_, formats, _ := strings.Cut(c.Flags().Lookup("output").Usage, ": ")
		for _, format := range []string{"table", "json", "jsonl", "csv", "xlsx"} {
			if !strings.Contains(formats, format) {
				continue
			}
			t.Run(name+" "+format, func(t *testing.T) {
				out, talk := askLiar(t, srv, name, c, format)
				mustBeTame(t, "standard error", talk, "\n")
				tame(t, format, out)
			})
		}
	}
}

func tame(t *testing.T, format, out string) {
	t.Helper()
	switch format {
	case "table":
		mustBeTame(t, format, out, "\n")
	case "json":
		if !json.Valid([]byte(out)) {
			t.Errorf("got no JSON: %.200s", out)
		}
	case "jsonl":
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				t.Errorf("got a line that is no JSON: %.200s", line)
			}
		}
	case "csv":
		mustBeTame(t, format, out, "\n")
		r := csv.NewReader(strings.NewReader(out))
		r.Comment = '#'
		rows, err := r.ReadAll()
		if err != nil || len(rows) < 2 {
			t.Fatalf("got %d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			for _, cell := range row {
				noFormula(t, cell)
			}
		}
	case "xlsx":
		noFormulas(t, out)
	}
}

// noFormula fails for a cell that a spreadsheet would run.
func noFormula(t *testing.T, cell string) {
	t.Helper()
	if cell != "" && cell != "-" && strings.ContainsRune("=+-@＝", []rune(cell)[0]) {
		t.Errorf("got cell %q, which a spreadsheet would run", cell)
	}
}

func noFormulas(t *testing.T, book string) {
	t.Helper()
	f, err := excelize.OpenReader(strings.NewReader(book))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, sheet := range f.GetSheetList() {
		rows, err := f.GetRows(sheet)
		if err != nil || len(rows) < 2 {
			t.Fatalf("sheet %s: got %d rows, %v", sheet, len(rows), err)
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
}
