package version

import (
	"math"
	"strings"
)

// Marks of a Debian key. Within a run of non-digits dpkg sorts '~' before the
// end of the run, the end before letters, and letters before everything else.
const (
	debTilde = 0x01
	debEnd   = 0x02
	debOther = 0x80 // added to a character that is neither
)

// appendDeb appends the key of [epoch:]upstream[-revision]. What dpkg warns of
// and orders all the same (no leading digit, a character outside the policy)
// is refused: words such as "<unfixed>" are no versions.
func appendDeb(dst []byte, v string) ([]byte, string) {
	epoch := uint32(0)
	if e, rest, ok := strings.Cut(v, ":"); ok {
		var why string
		if epoch, why = parseEpoch(e, math.MaxInt32); why != "" {
			return dst, why
		}
		v = rest
	}
	revision := ""
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		if revision = v[i+1:]; revision == "" {
			return dst, "the revision is empty"
		}
		v = v[:i]
	}
	if v == "" {
		return dst, "the upstream version is empty"
	}
	if !isDigit(v[0]) {
		return dst, "it does not start with a digit"
	}
	dst = appendEpoch(dst, epoch)
	dst, ok := appendDebPart(dst, v, "-:")
	if !ok {
		return dst, "a character is not allowed in an upstream version"
	}
	if dst, ok = appendDebPart(dst, revision, ""); !ok {
		return dst, "a character is not allowed in a revision"
	}
	return dst, ""
}

// appendDebPart appends runs of non-digits and digits in turn, as dpkg's
// verrevcmp reads them. The last run of digits is always written, so that "1a"
// and "1a0" have one key.
func appendDebPart(dst []byte, s, extra string) ([]byte, bool) {
	for {
		for s != "" && !isDigit(s[0]) {
			switch c := s[0]; {
			case isLetter(c):
				dst = append(dst, c)
			case c == '~':
				dst = append(dst, debTilde)
			case c == '.', c == '+', strings.IndexByte(extra, c) >= 0:
				dst = append(dst, debOther+c)
			default:
				return dst, false
			}
			s = s[1:]
		}
		n := digits(s)
		dst = appendNumber(append(dst, debEnd), s[:n])
		if s = s[n:]; s == "" {
			return append(dst, debEnd), true
		}
	}
}
