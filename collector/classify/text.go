package classify

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkText keeps what inventories and rules say fit for a terminal and a table.
func checkText(what, s string) error {
	switch {
	case len(s) > maxValue:
		return fmt.Errorf("%s has %d bytes, at most %d", what, len(s), maxValue)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s %s holds characters that cannot be printed", what, quote(s))
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%s %s begins or ends with a space", what, quote(s))
	}
	return nil
}

// quote shows at most the beginning of a value, with what is hidden escaped.
func quote(s string) string {
	const shown = 60
	if len(s) <= shown {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:shown], "")) + "…"
}

// glob reports whether a pattern is all of s: * is any run of characters, also
// none, ? is one. It takes time in proportion to the product of their lengths.
func glob(pattern, s string) bool {
	p, at := 0, 0
	star, from := -1, 0
	for at < len(s) {
		r, size := utf8.DecodeRuneInString(s[at:])
		if p < len(pattern) {
			c, n := utf8.DecodeRuneInString(pattern[p:])
			if c == '*' {
				star, from = p, at
				p++
				continue
			}
			if c == '?' || c == r && (r != utf8.RuneError || pattern[p:p+n] == s[at:at+size]) {
				p += n
				at += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		// Let the last star take one character more.
		_, skip := utf8.DecodeRuneInString(s[from:])
		from += skip
		p, at = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}
