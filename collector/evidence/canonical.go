package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// canonical encodes v with the keys of every object sorted bytewise, at every
// depth, so that the order of struct fields does not show; no space, no escapes
// but those JSON demands and U+2028, U+2029.
func canonical(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	c := canon{in: bytes.TrimSuffix(text.Bytes(), []byte("\n")), out: make([]byte, 0, text.Len())}
	if err := c.value(); err != nil {
		return nil, fmt.Errorf("sort keys: %w", err)
	}
	return c.out, nil
}

// canon moves JSON that the encoder wrote - valid, without space - from in to
// out, and sorts what has keys. Every finding of every assessment passes here, so
// it makes no tree.
type canon struct {
	in, out []byte
	at      int
	scratch []byte
}

// member is one of an object: its key, decoded, and where it stands in out.
type member struct {
	key      string
	from, to int
}

var errNoValue = errors.New("no JSON value")

func (c *canon) value() error {
	if c.at >= len(c.in) {
		return errNoValue
	}
	switch c.in[c.at] {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		_, err := c.text()
		return err
	default:
		from := c.at
		for c.at < len(c.in) && !strings.ContainsRune(",]}", rune(c.in[c.at])) {
			c.at++
		}
		c.out = append(c.out, c.in[from:c.at]...)
		return nil
	}
}

// next passes over a byte and says whether it was there.
func (c *canon) next(b byte) bool {
	if c.at < len(c.in) && c.in[c.at] == b {
		c.at++
		return true
	}
	return false
}

func (c *canon) array() error {
	c.at++
	c.out = append(c.out, '[')
	for !c.next(']') {
		if c.next(',') {
			c.out = append(c.out, ',')
		}
		if err := c.value(); err != nil {
			return err
		}
	}
	c.out = append(c.out, ']')
	return nil
}

func (c *canon) object() error {
	c.at++
	from := len(c.out)
	var space [32]member
	members := space[:0]
	for !c.next('}') {
		c.next(',')
		m := member{from: len(c.out)}
		var err error
		if m.key, err = c.text(); err != nil {
			return err
		}
		if !c.next(':') {
			return errNoValue
		}
		c.out = append(c.out, ':')
		if err := c.value(); err != nil {
			return err
		}
		m.to = len(c.out)
		members = append(members, m)
	}
	slices.SortStableFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	c.scratch = append(c.scratch[:0], '{')
	for i, m := range members {
		if i+1 < len(members) && members[i+1].key == m.key {
			continue // of two with one key the last counts, as for every decoder
		}
		if len(c.scratch) > 1 {
			c.scratch = append(c.scratch, ',')
		}
		c.scratch = append(c.scratch, c.out[m.from:m.to]...)
	}
	c.out = append(append(c.out[:from], c.scratch...), '}')
	return nil
}

// text moves a string and returns what it says. One with escapes, which a value
// that marshals itself may have spelt otherwise, is spelt again.
func (c *canon) text() (string, error) {
	if !c.next('"') {
		return "", errNoValue
	}
	from := c.at - 1
	plain := true
	for c.at < len(c.in) && c.in[c.at] != '"' {
		if c.in[c.at] == '\\' {
			plain = false
			c.at++
		}
		c.at++
	}
	if !c.next('"') {
		return "", errNoValue
	}
	raw := c.in[from:c.at]
	if plain {
		c.out = append(c.out, raw...)
		return string(raw[1 : len(raw)-1]), nil
	}
	var said string
	if err := json.Unmarshal(raw, &said); err != nil {
		return "", err
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(said); err != nil {
		return "", err
	}
	c.out = append(c.out, bytes.TrimSuffix(again.Bytes(), []byte("\n"))...)
	return said, nil
}
