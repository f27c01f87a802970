package classify

import (
	"maps"
	"slices"
	"strings"
)

// Rules are read from top to bottom: for each attribute, the first rule that
// matches and sets it holds.
type Rules struct {
	// Digest is the SHA-256 (hex) of the file.
	Digest string
	Rules  []Rule
}

// Rule sets attributes of the assets that fulfil all its conditions.
type Rule struct {
	ID   string
	Line int
	// Match are the conditions, all of which must hold, in the file's order.
	Match []Condition
	// Set are the values, by attribute.
	Set map[Attribute]Value
}

// Field is what a condition looks at.
type Field string

// Fields of conditions. FieldTag and FieldLabel have a key.
const (
	FieldName         Field = "name"
	FieldAccount      Field = "account"
	FieldOU           Field = "ou"
	FieldRegion       Field = "region"
	FieldInstanceType Field = "instance_type"
	FieldTag          Field = "tag"
	FieldLabel        Field = "label"
)

var fieldNames = []string{
	string(FieldName), string(FieldAccount), string(FieldOU), string(FieldRegion), string(FieldInstanceType), string(FieldTag), string(FieldLabel),
}

// Condition holds when the field's value is one of the patterns.
type Condition struct {
	Field    Field
	Key      string
	Patterns []string
}

// Value is what a rule sets: a word of its own, or the value of a tag.
type Value struct {
	Word string
	// Tag, when set, names the tag whose value is taken; without it the rule says
	// nothing of the attribute.
	Tag string
}

// settable are the attributes a rule may set; the others are facts.
var settable = []Attribute{Class, Exposure, Environment, Core, CrownJewel, ColdWallet, HotWallet, DataSensitivity, Owner, Service}

// fact is something known of an asset; claimed when only the host says so.
type fact struct {
	value   string
	claimed bool
}

// facts are what conditions look at. A field may have two values: the record's
// and the host's.
type facts struct {
	fields map[Field][]fact
	tags   map[string][]fact
	labels map[string][]fact
}

func (f *facts) of(c Condition) []fact {
	switch c.Field {
	case FieldTag:
		return f.tags[c.Key]
	case FieldLabel:
		return f.labels[c.Key]
	default:
		return f.fields[c.Field]
	}
}

// match says whether a rule fits, what made it fit, and whether it fits only by
// the host's word.
func (r *Rule) match(f *facts) (why string, claimed, ok bool) {
	var because []string
	for _, c := range r.Match {
		got, pattern, ok := c.holds(f)
		if !ok {
			return "", false, false
		}
		claimed = claimed || got.claimed
		name := string(c.Field)
		if c.Key != "" {
			name += " " + c.Key
		}
		text := name + " " + quote(got.value)
		if pattern != got.value {
			text += " is " + quote(pattern)
		}
		if got.claimed {
			text += " (claimed)"
		}
		because = append(because, text)
	}
	return strings.Join(because, ", "), claimed, true
}

// holds prefers what the record says: a condition that holds by it does not
// rest on a claim.
func (c Condition) holds(f *facts) (got fact, pattern string, ok bool) {
	for _, got := range f.of(c) {
		for _, p := range c.Patterns {
			if glob(p, got.value) {
				return got, p, true
			}
		}
	}
	return fact{}, "", false
}

// value is what the rule sets an attribute to; ok is false when it takes a tag
// that is not there, or that holds no value of the attribute.
func (r *Rule) value(n Attribute, f *facts) (word string, claimed, ok bool) {
	v, ok := r.Set[n]
	if !ok {
		return "", false, false
	}
	if v.Tag == "" {
		return v.Word, false, true
	}
	for _, t := range f.tags[v.Tag] {
		if w, err := Normal(n, strings.TrimSpace(t.value)); err == nil && w != "" {
			return w, t.claimed, true
		}
	}
	return "", false, false
}

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
