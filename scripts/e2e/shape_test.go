package e2e_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/shapes anew from what the programs answer")

// The shape of a JSON answer is the list of its fields with their types, one a
// line: "assets[].name string". A "?" behind a field says that it may be absent,
// "*" stands for the keys of a map. Scripts of others rest on these files: a
// field that is renamed, retyped or gone fails here.

// hasShape holds the JSON of an answer to testdata/shapes/NAME.txt.
func hasShape(t *testing.T, name string, a answer) {
	t.Helper()
	a.exits(t, 0)
	var doc any
	if err := json.Unmarshal([]byte(a.stdout), &doc); err != nil {
		t.Fatalf("%s: %v\n%.2000s", strings.Join(a.args, " "), err, a.stdout)
	}
	path := filepath.Join("testdata", "shapes", name+".txt")
	text, err := os.ReadFile(path)
	if err != nil && (!*update || !errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	promised := parseShape(string(text))
	seen := observe(doc, promised)
	if *update {
		if err := os.WriteFile(path, []byte(promised.merge(seen).String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(promised.expect(seen).String(), seen.String()); diff != "" {
		t.Errorf("%s: its JSON is not what %s promises (-promised +answered):\n%s", strings.Join(a.args, " "), path, diff)
	}
}

// field is what is known of the values at one path.
type field struct {
	kind     string
	count    int // objects that had it
	optional bool
}

// shape maps the path of a field to what is known of it.
type shape map[string]*field

func parseShape(text string) shape {
	s := shape{}
	for line := range strings.Lines(text) {
		if path, kind, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			bare, optional := strings.CutSuffix(path, "?")
			s[bare] = &field{kind: kind, optional: optional}
		}
	}
	return s
}

func (s shape) String() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(s)) {
		mark := ""
		if s[path].optional {
			mark = "?"
		}
		fmt.Fprintf(&b, "%s%s %s\n", path, mark, s[path].kind)
	}
	return b.String()
}

// observe lists what a document holds. Where the promise has a map, keys fold to
// "*". A new field that not every object at its place has is optional.
func observe(doc any, promised shape) shape {
	s, objects := shape{}, map[string]int{}
	s.walk("", doc, promised, objects)
	for path, f := range s {
		p := promised[path]
		f.optional = p != nil && p.optional || p == nil && !strings.HasSuffix(path, "]") && f.count < objects[parent(path)]
	}
	return s
}

func (s shape) walk(path string, v any, promised shape, objects map[string]int) {
	switch v := v.(type) {
	case map[string]any:
		objects[path]++
		for key, value := range v {
			at := strings.TrimPrefix(path+"."+key, ".")
			if fold := strings.TrimPrefix(path+".*", "."); promised[fold] != nil {
				at = fold
			}
			s.see(at, value)
			s.walk(at, value, promised, objects)
		}
	case []any:
		for _, item := range v {
			if _, nested := item.(map[string]any); !nested {
				s.see(path+"[]", item)
			}
			s.walk(path+"[]", item, promised, objects)
		}
	}
}

func (s shape) see(path string, v any) {
	kind := kindOf(v)
	f := s[path]
	switch {
	case f == nil:
		s[path] = &field{kind: kind, count: 1}
		return
	case f.kind == "null":
		f.kind = kind
	case kind != f.kind && kind != "null" && !strings.Contains(f.kind, kind):
		f.kind += "|" + kind
	}
	f.count++
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "list"
	default:
		return "object"
	}
}

// expect is the part of a promise that an answer must show: what may be absent,
// and what lies below an empty list or an absent object, need not be there.
func (s shape) expect(seen shape) shape {
	out := shape{}
	for path, f := range s {
		if seen[path] == nil && (f.optional || !seen.reaches(parent(path))) {
			continue
		}
		if p := seen[path]; p != nil && p.kind == "null" && f.optional {
			f = &field{kind: "null", optional: true}
		}
		out[path] = f
	}
	return out
}

// reaches reports whether the answer holds an object at a path.
func (s shape) reaches(path string) bool {
	if path == "" {
		return true
	}
	if strings.HasSuffix(path, "[]") {
		for other := range s {
			if strings.HasPrefix(other, path) {
				return true
			}
		}
		return false
	}
	return s[path] != nil && s[path].kind == "object"
}

// merge keeps the optional fields of a promise that an answer happens not to show.
func (s shape) merge(seen shape) shape {
	out := maps.Clone(seen)
	for path, f := range s {
		if out[path] == nil && (f.optional || !seen.reaches(parent(path))) {
			out[path] = f
		}
	}
	return out
}

func parent(path string) string {
	if bare, ok := strings.CutSuffix(path, "[]"); ok {
		return bare
	}
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func TestShapeTellsChangesFromAbsence(t *testing.T) {
	promised := parseShape("n number\nrows list\nrows[].id string\nrows[].note? string\nby object\nby.* number\n")
	for _, c := range []struct {
		name, doc string
		same      bool
	}{
		{"as_promised", `{"n":1,"rows":[{"id":"a"},{"id":"b","note":"x"}],"by":{"k":1}}`, true},
		{"no_rows", `{"n":1,"rows":[],"by":{"k":1}}`, true},
		{"field_renamed", `{"n":1,"rows":[{"ident":"a"}],"by":{"k":1}}`, false},
		{"field_gone", `{"rows":[{"id":"a"}],"by":{"k":1}}`, false},
		{"field_retyped", `{"n":"1","rows":[{"id":"a"}],"by":{"k":1}}`, false},
		{"field_new", `{"n":1,"m":1,"rows":[{"id":"a"}],"by":{"k":1}}`, false},
		{"list_is_null", `{"n":1,"rows":null,"by":{"k":1}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var doc any
			if err := json.Unmarshal([]byte(c.doc), &doc); err != nil {
				t.Fatal(err)
			}
			seen := observe(doc, promised)
			if got := promised.expect(seen).String() == seen.String(); got != c.same {
				t.Errorf("%s: same shape %v, want %v", c.doc, got, c.same)
			}
		})
	}
}
