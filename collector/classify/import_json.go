package classify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds how deep a document nests; AWS's own reach about ten.
const maxDepth = 64

func (r *listReader) json(data []byte) {
	if d := depth(data); d > maxDepth {
		r.fail("", "the document nests deeper than %d", maxDepth)
		return
	}
	if data[0] == '[' {
		var rows []json.RawMessage
		if r.decode("", data, &rows) {
			r.objects("", rows)
		}
		return
	}
	var top map[string]json.RawMessage
	if !r.decode("", data, &top) {
		return
	}
	read := false
	for _, s := range shapes {
		if raw, ok := top[s.key]; ok {
			read = true
			r.list.Format = s.format
			s.read(r, raw, top)
		}
	}
	if !read {
		var known []string
		for _, s := range shapes {
			known = append(known, s.key)
		}
		r.fail("", "no list of assets in the document: want an array of objects, or one of the keys %s", strings.Join(known, ", "))
	}
}

// shapes are the documents we read, by the key that tells them.
var shapes = []struct {
	key, format string
	read        func(*listReader, json.RawMessage, map[string]json.RawMessage)
}{
	{"assets", "json", func(r *listReader, raw json.RawMessage, _ map[string]json.RawMessage) {
		var rows []json.RawMessage
		if r.decode("assets", raw, &rows) {
			r.objects("assets", rows)
		}
	}},
	{"Reservations", "ec2", (*listReader).reservations},
	{"InstanceInformationList", "ssm", (*listReader).managed},
	{"Entities", "ssm", (*listReader).inventory},
	{"configurationItems", "config", (*listReader).configuration},
	{"Results", "config", (*listReader).selected},
	{"resourceIdentifiers", "config", (*listReader).discovered},
	{"Accounts", "organizations", (*listReader).accounts},
	{"OrganizationalUnits", "organizations", (*listReader).units},
}

// depth is how deep brackets nest, strings apart.
func depth(data []byte) int {
	now, most := 0, 0
	inString, escaped := false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

func (r *listReader) decode(place string, data []byte, v any) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(v)
	if err == nil {
		if _, after := dec.Token(); !errors.Is(after, io.EOF) {
			err = errors.New("text after the JSON value")
		}
	}
	if err != nil {
		r.fail(place, "not the JSON that is expected here: %v", err)
	}
	return err == nil
}

// objects reads plain objects with the names of CSV columns; tags is an object.
func (r *listReader) objects(place string, rows []json.RawMessage) {
	r.list.Format = "json"
	ignored := map[string]bool{}
	for i, raw := range rows {
		if r.full {
			return
		}
		e := Entry{Kind: KindInstance, Place: fmt.Sprintf("%s[%d]", place, i)}
		before := len(r.faults)
		r.object(&e, raw, ignored)
		if len(r.faults) == before {
			r.add(e)
		}
	}
	r.list.Ignored = sorted(ignored)
}

func (r *listReader) object(e *Entry, raw json.RawMessage, ignored map[string]bool) {
	first := map[string]string{}
	r.pairs(e.Place, raw, func(key string, value json.RawMessage) {
		if fold(key) == "tags" {
			r.pairs(e.Place+".tags", value, func(k string, v json.RawMessage) {
				if s, ok := r.scalar(e.Place, k, v); ok {
					r.tag(e, k, s)
				}
			})
			return
		}
		f := columnOf(key)
		if f == "" {
			ignored[quote(key)] = true
			return
		}
		if other, twice := first[f]; twice {
			r.fail(e.Place, "keys %s and %s are both the %s", quote(other), quote(key), f)
			return
		}
		first[f] = key
		if s, ok := r.scalar(e.Place, key, value); ok {
			r.take(e, f, s)
		}
	})
}

// pairs calls f for the members of an object in their order, repeated ones too.
func (r *listReader) pairs(place string, raw json.RawMessage, f func(string, json.RawMessage)) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		r.fail(place, "not an object")
		return
	}
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			r.fail(place, "%v", err)
			return
		}
		name, _ := key.(string)
		f(name, value)
	}
}

func (r *listReader) scalar(place, key string, raw json.RawMessage) (string, bool) {
	switch raw[0] {
	case '{', '[':
		r.fail(place, "%s is not a single value", quote(key))
		return "", false
	case 'n':
		return "", true
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			r.fail(place, "%s: %v", quote(key), err)
			return "", false
		}
		return s, true
	default:
		return string(raw), true
	}
}
