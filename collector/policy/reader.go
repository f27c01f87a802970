package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDays bounds every number of days: ten years.
const maxDays = 3650

// reader walks the YAML nodes and collects every problem on the way.
type reader struct {
	problems []Problem
	failed   bool
}

// field is a node and where it stands. A nil node is one that is missing, which
// was reported when its parent was read.
type field struct {
	node *yaml.Node
	path string
}

func (r *reader) fail(f field, message, hint string) {
	r.failed = true
	r.add(Problem{Severity: Error, Path: f.path, Line: f.line(), Message: message, Hint: hint})
}

func (r *reader) warn(f field, message, hint string) {
	r.add(Problem{Severity: Warning, Path: f.path, Line: f.line(), Message: message, Hint: hint})
}

func (r *reader) add(p Problem) { r.problems = append(r.problems, p) }

func (f field) line() int {
	if f.node == nil {
		return 0
	}
	return f.node.Line
}

// document reads the one document of a file.
func (r *reader) document(src []byte) field {
	if len(src) > maxSize {
		r.fail(field{}, fmt.Sprintf("the file has %d bytes, more than %d", len(src), maxSize), "")
		return field{}
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		if errors.Is(err, io.EOF) {
			message = "the file is empty"
		}
		r.fail(field{}, message, "'patchproof policy show --default' prints a complete file")
		return field{}
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail(field{node: &second}, "the file holds more than one document", "keep one")
	}
	if len(doc.Content) != 1 {
		r.fail(field{}, "the file is empty", "'patchproof policy show --default' prints a complete file")
		return field{}
	}
	r.refuseAliases(doc.Content[0])
	if r.failed {
		return field{}
	}
	return field{node: doc.Content[0]}
}

// refuseAliases keeps the file readable from top to bottom, and small.
func (r *reader) refuseAliases(n *yaml.Node) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.fail(field{node: n}, "anchors and aliases are not used in a policy", "write the value out")
		return
	}
	for _, c := range n.Content {
		r.refuseAliases(c)
	}
}

// fields reads a mapping whose keys are all of required and any of optional.
func (r *reader) fields(f field, required, optional []string) map[string]field {
	got := r.anyFields(f)
	if got == nil {
		return map[string]field{}
	}
	for _, key := range sortedKeys(got) {
		if !slices.Contains(required, key) && !slices.Contains(optional, key) {
			r.fail(got[key], "unknown key", "known here: "+strings.Join(append(slices.Clone(required), optional...), ", "))
			delete(got, key)
		}
	}
	for _, key := range required {
		if _, ok := got[key]; !ok {
			r.fail(field{f.node, join(f.path, key)}, "missing", "")
		}
	}
	return got
}

// anyFields reads a mapping with keys of the operator's choice; nil when it is none.
func (r *reader) anyFields(f field) map[string]field {
	if f.node == nil {
		return nil
	}
	if f.node.Kind != yaml.MappingNode {
		r.fail(f, "not a mapping of keys to values", "")
		return nil
	}
	got := make(map[string]field, len(f.node.Content)/2)
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key, value := f.node.Content[i], f.node.Content[i+1]
		path := join(f.path, key.Value)
		if key.Kind != yaml.ScalarNode {
			r.fail(field{key, f.path}, "a key is not a word", "")
			continue
		}
		if _, twice := got[key.Value]; twice {
			r.fail(field{key, path}, "stated twice", "keep one")
			continue
		}
		got[key.Value] = field{value, path}
	}
	return got
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys(m map[string]field) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// word reads a scalar as it is written; ok is false when it is missing or no scalar.
func (r *reader) word(f field) (string, bool) {
	if f.node == nil {
		return "", false
	}
	if f.node.Kind != yaml.ScalarNode || f.node.Tag == "!!null" {
		r.fail(f, "not a single value", "")
		return "", false
	}
	return f.node.Value, true
}

// words reads a list of scalars.
func (r *reader) words(f field) []field {
	if f.node == nil {
		return nil
	}
	if f.node.Kind != yaml.SequenceNode || len(f.node.Content) == 0 {
		r.fail(f, "not a list with at least one value", "")
		return nil
	}
	list := make([]field, 0, len(f.node.Content))
	for i, n := range f.node.Content {
		list = append(list, field{n, f.path + "[" + strconv.Itoa(i) + "]"})
	}
	return list
}

// oneOf reads a word that has to be among the known ones.
func (r *reader) oneOf(f field, known ...string) string {
	w, ok := r.word(f)
	if ok && !slices.Contains(known, w) {
		r.fail(f, fmt.Sprintf("%q is not one of: %s", w, strings.Join(known, ", ")), "")
	}
	return w
}

func (r *reader) whole(f field, low, high int) int {
	w, ok := r.word(f)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(w)
	if err != nil || n < low || n > high {
		r.fail(f, fmt.Sprintf("%q is not a whole number from %d to %d", w, low, high), "")
		return 0
	}
	return n
}

func (r *reader) number(f field, low, high float64) float64 {
	w, ok := r.word(f)
	if !ok {
		return 0
	}
	x, err := strconv.ParseFloat(w, 64)
	if err != nil || math.IsNaN(x) || x < low || x > high {
		r.fail(f, fmt.Sprintf("%q is not a number from %g to %g", w, low, high), "")
		return 0
	}
	return x
}

func (r *reader) yes(f field) bool {
	return r.oneOf(f, "true", "false") == "true"
}

// parseDays reads "14 days" or "1 day".
func parseDays(text string) (int, bool) {
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > maxDays || (unit != "days" && unit != "day") {
		return 0, false
	}
	return n, true
}

// days reads a field that holds "14 days".
func (r *reader) days(f field) int {
	w, ok := r.word(f)
	if !ok {
		return 0
	}
	n, ok := parseDays(w)
	if !ok {
		r.fail(f, fmt.Sprintf("%q is not a number of days", w), fmt.Sprintf("write it as \"14 days\", from 0 to %d", maxDays))
	}
	return n
}
