package classify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a rules file.
const (
	MaxRules    = 1 << 20 // bytes
	maxRules    = 5000
	maxPatterns = 1000
)

// Fault is one thing wrong with a file of rules or of assets.
type Fault struct {
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error says a fault on one line.
func (f Fault) Error() string {
	s := f.Message
	if f.Line > 0 {
		s = fmt.Sprintf("line %d: %s", f.Line, s)
	}
	if f.Hint != "" {
		s += "; " + f.Hint
	}
	return s
}

// Invalid is every fault of a file at once.
type Invalid struct{ Faults []Fault }

// maxFaults bounds how many faults one message spells out.
const maxFaults = 20

// Error lists the faults.
func (e *Invalid) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i == maxFaults {
			fmt.Fprintf(&b, "\nand %d more", len(e.Faults)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
	}
	return b.String()
}

// Digest is the SHA-256 (hex) of a file.
func Digest(src []byte) string {
	sum := sha256.Sum256(src)
	return hex.EncodeToString(sum[:])
}

// ParseRules reads a rules file. The error is an [*Invalid] with every fault.
func ParseRules(src []byte) (*Rules, error) {
	p := &parser{}
	rs := p.file(src)
	if len(p.faults) > 0 {
		return nil, &Invalid{Faults: p.faults}
	}
	rs.Digest = Digest(src)
	return rs, nil
}

// parser walks the YAML and collects faults.
type parser struct{ faults []Fault }

func (p *parser) fail(n *yaml.Node, hint, format string, args ...any) {
	f := Fault{Message: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil {
		f.Line = n.Line
	}
	p.faults = append(p.faults, f)
}

const start = "a file begins with 'version: 1' and 'rules:'"

func (p *parser) file(src []byte) *Rules {
	doc := p.document(src)
	if doc == nil {
		return nil
	}
	top := p.mapping(doc, "the file", []string{"version", "rules"})
	if v := top["version"]; v == nil {
		p.fail(doc, start, "no version")
	} else if v.Kind != yaml.ScalarNode || v.Value != "1" {
		p.fail(v, start, "version is not 1")
	}
	list := top["rules"]
	if list == nil {
		p.fail(doc, start, "no rules")
		return nil
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		p.fail(list, start, "rules is not a list with at least one rule")
		return nil
	}
	if len(list.Content) > maxRules {
		p.fail(list, "", "%d rules, at most %d", len(list.Content), maxRules)
		return nil
	}
	rs := &Rules{}
	seen := map[string]int{}
	for _, n := range list.Content {
		r := p.rule(n)
		if line, twice := seen[r.ID]; twice && r.ID != "" {
			p.fail(n, "each rule has an id of its own", "rule %q is already on line %d", r.ID, line)
		}
		seen[r.ID] = r.Line
		rs.Rules = append(rs.Rules, r)
	}
	return rs
}

// document reads the one document of a file, without anchors: it must be
// readable from top to bottom.
func (p *parser) document(src []byte) *yaml.Node {
	if len(src) > MaxRules {
		p.fail(nil, "", "the file has %d bytes, at most %d", len(src), MaxRules)
		return nil
	}
	if !utf8.Valid(src) {
		p.fail(nil, "save it as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		if errors.Is(err, io.EOF) {
			message = "the file is empty"
		}
		p.fail(nil, start, "%s", message)
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		p.fail(&second, "keep one", "the file holds more than one document")
		return nil
	}
	if len(doc.Content) != 1 {
		p.fail(nil, start, "the file is empty")
		return nil
	}
	p.refuseAliases(doc.Content[0])
	if len(p.faults) > 0 {
		return nil
	}
	return doc.Content[0]
}

func (p *parser) refuseAliases(n *yaml.Node) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		p.fail(n, "write the value out", "anchors and aliases are not used in rules")
		return
	}
	for _, c := range n.Content {
		p.refuseAliases(c)
	}
}

// mapping reads a mapping with known keys only.
func (p *parser) mapping(n *yaml.Node, what string, known []string) map[string]*yaml.Node {
	got := map[string]*yaml.Node{}
	for _, e := range p.entries(n, what) {
		if !slices.Contains(known, e.key.Value) {
			p.fail(e.key, "known here: "+strings.Join(known, ", "), "%s has an unknown key %s", what, quote(e.key.Value))
			continue
		}
		got[e.key.Value] = e.value
	}
	return got
}

type entry struct{ key, value *yaml.Node }

// entries reads a mapping whose keys are words, each stated once.
func (p *parser) entries(n *yaml.Node, what string) []entry {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "", "%s is not a mapping of keys to values", what)
		return nil
	}
	var out []entry
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.fail(key, "", "a key of %s is not a word", what)
		case seen[key.Value]:
			p.fail(key, "keep one", "%s states %s twice", what, quote(key.Value))
		default:
			seen[key.Value] = true
			out = append(out, entry{key, value})
		}
	}
	return out
}

var ruleID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func (p *parser) rule(n *yaml.Node) Rule {
	r := Rule{Line: n.Line, Set: map[Attribute]Value{}}
	top := p.mapping(n, "a rule", []string{"id", "match", "set"})
	if id := top["id"]; id == nil || id.Kind != yaml.ScalarNode || !ruleID.MatchString(id.Value) {
		p.fail(n, "for example id: wallet-hosts", "a rule needs an id of lower-case letters, digits, '.', '_' and '-', at most 64")
	} else {
		r.ID = id.Value
	}
	what := "rule " + r.ID
	if m := top["match"]; m == nil {
		p.fail(n, `match: {name: "*"} fits every asset`, "%s has no match", what)
	} else {
		r.Match = p.conditions(m, what)
	}
	if s := top["set"]; s == nil {
		p.fail(n, "", "%s sets nothing", what)
	} else {
		p.sets(s, what, r.Set)
	}
	return r
}

func (p *parser) conditions(n *yaml.Node, what string) []Condition {
	var out []Condition
	all := p.entries(n, what+": match")
	if len(all) == 0 && n.Kind == yaml.MappingNode {
		p.fail(n, `match: {name: "*"} fits every asset`, "%s: match has no condition", what)
	}
	for _, e := range all {
		f := Field(e.key.Value)
		switch {
		case !slices.Contains(fieldNames, e.key.Value):
			p.fail(e.key, "known here: "+strings.Join(fieldNames, ", "), "%s: match has an unknown key %s", what, quote(e.key.Value))
		case f == FieldTag || f == FieldLabel:
			keyed := p.entries(e.value, what+": "+e.key.Value)
			if len(keyed) == 0 && e.value.Kind == yaml.MappingNode {
				p.fail(e.value, "", "%s: %s names no key", what, f)
			}
			for _, k := range keyed {
				out = append(out, Condition{Field: f, Key: k.key.Value, Patterns: p.patterns(k.value, what)})
			}
		default:
			out = append(out, Condition{Field: f, Patterns: p.patterns(e.value, what)})
		}
	}
	return out
}

// patterns reads one pattern or a list of them.
func (p *parser) patterns(n *yaml.Node, what string) []string {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	if len(list) == 0 || len(list) > maxPatterns {
		p.fail(n, "", "%s: a condition has %d patterns, want 1 to %d", what, len(list), maxPatterns)
		return nil
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			p.fail(v, "a condition is a word, a glob or a list of them", "%s: not a single value", what)
			continue
		}
		if err := checkText("a pattern", v.Value); err != nil {
			p.fail(v, "", "%s: %v", what, err)
			continue
		}
		out = append(out, v.Value)
	}
	return out
}

func (p *parser) sets(n *yaml.Node, what string, out map[Attribute]Value) {
	known := make([]string, len(settable))
	for i, a := range settable {
		known[i] = string(a)
	}
	all := p.mapping(n, what+": set", known)
	if len(all) == 0 && n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.fail(n, "known here: "+strings.Join(known, ", "), "%s sets nothing", what)
	}
	for _, name := range sorted(all) {
		a, v := Attribute(name), all[name]
		if v.Kind == yaml.MappingNode {
			if t := p.mapping(v, what+": "+name, []string{"tag"})["tag"]; t != nil && t.Kind == yaml.ScalarNode && t.Value != "" {
				out[a] = Value{Tag: t.Value}
			} else {
				p.fail(v, "for example owner: {tag: Owner}", "%s: %s names no tag to take its value from", what, name)
			}
			continue
		}
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" || v.Value == "" {
			p.fail(v, "", "%s: %s is not a single value", what, name)
			continue
		}
		w, err := Normal(a, v.Value)
		if err != nil {
			p.fail(v, "", "%s: %v", what, err)
			continue
		}
		if w == "" {
			p.fail(v, "leave it out: what no rule sets is unknown", "%s: %s is set to unknown", what, name)
			continue
		}
		out[a] = Value{Word: w}
	}
}
