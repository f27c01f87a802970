package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// PartDigest is the SHA-256 of a part's canonical text, in hex. It is what
// `sha256sum` prints for the same bytes.
func PartDigest(text string) string {
	h := sha256.New()
	// In pieces, so that a large part is not copied whole.
	var buf [8192]byte
	for len(text) > 0 {
		n := copy(buf[:], text)
		h.Write(buf[:n])
		text = text[n:]
	}
	return hex.EncodeToString(h.Sum(nil))
}

// NewPart names the part with this canonical text.
func NewPart(name, text string) Part {
	return Part{Name: name, Digest: PartDigest(text), Size: int64(len(text)), Count: strings.Count(text, "\n")}
}

// Part returns the part with this name.
func (r *Report) Part(name string) (Part, bool) {
	for _, p := range r.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return Part{}, false
}

// Missing returns the names of the parts that go by digest only, in order.
func (r *Report) Missing() []string {
	var names []string
	for _, p := range r.Parts {
		if _, ok := r.Bodies[p.Name]; !ok {
			names = append(names, p.Name)
		}
	}
	return names
}

// CheckPart returns an error unless text is the canonical text of a part with
// this name. Every part is UTF-8 text without control characters other than
// tab, in strictly ascending lines that each end in a newline; a part that is
// known is in addition what its encoder writes.
func CheckPart(name, text string) error {
	switch name {
	case PartPackages:
		return checkPackages(text)
	case PartStale:
		_, err := DecodeStale(text)
		return err
	}
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	previous := ""
	for n, line := range lines(text) {
		if c, bad := findControl(line, '\t'); bad {
			return fmt.Errorf("line %d: control character %#02x", n, c)
		}
		if n > 1 && line <= previous {
			return fmt.Errorf("line %d: not after the line before it", n)
		}
		previous = line
	}
	return checkLastLine(text)
}

// lines yields each line of text with its number from 1, without its newline.
func lines(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		for n := 1; text != ""; n++ {
			line, rest, _ := strings.Cut(text, "\n")
			if !yield(n, line) {
				return
			}
			text = rest
		}
	}
}

func checkLastLine(text string) error {
	if text != "" && text[len(text)-1] != '\n' {
		return errors.New("the last line does not end in a newline")
	}
	return nil
}

// findControl returns the first ASCII control character other than allowed.
func findControl(s string, allowed byte) (byte, bool) {
	for i := range len(s) {
		if c := s[i]; (c < 0x20 || c == 0x7f) && c != allowed {
			return c, true
		}
	}
	return 0, false
}
