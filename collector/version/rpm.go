package version

import (
	"math"
	"strings"
)

// Marks of an rpm key, in rpmvercmp's order: '~' sorts before the end of the
// string, the end before '^', '^' before a run of letters, and letters before
// a run of digits. Letters are above every mark, so the mark that follows a run ends it.
const (
	rpmTilde  = 0x01
	rpmEnd    = 0x02
	rpmCaret  = 0x03
	rpmAlpha  = 0x04
	rpmNumber = 0x05
)

// appendRPM appends the key of [epoch:]version[-release].
func appendRPM(dst []byte, v string) ([]byte, string) {
	epoch := uint32(0)
	if e, rest, ok := strings.Cut(v, ":"); ok {
		var why string
		if epoch, why = parseEpoch(e, math.MaxUint32); why != "" {
			return dst, why
		}
		v = rest
	}
	v, release, hasRelease := strings.Cut(v, "-")
	if v == "" {
		return dst, "the version is empty"
	}
	if hasRelease && release == "" {
		return dst, "the release is empty"
	}
	dst, ok := appendRPMPart(appendEpoch(dst, epoch), v)
	if ok && hasRelease {
		dst, ok = appendRPMPart(dst, release)
	}
	if !ok {
		return dst, "a character is not allowed in an rpm version"
	}
	return dst, ""
}

// appendRPMPart appends runs of letters and of digits, '~' and '^'. What rpm
// allows beside them only separates.
func appendRPMPart(dst []byte, s string) ([]byte, bool) {
	for s != "" {
		switch c := s[0]; {
		case isDigit(c):
			n := digits(s)
			dst = appendNumber(append(dst, rpmNumber), s[:n])
			s = s[n:]
			continue
		case isLetter(c):
			n := letters(s)
			dst = append(append(dst, rpmAlpha), s[:n]...)
			s = s[n:]
			continue
		case c == '~':
			dst = append(dst, rpmTilde)
		case c == '^':
			dst = append(dst, rpmCaret)
		case c == '.', c == '_', c == '+', c == '%', c == '{', c == '}':
		default:
			return dst, false
		}
		s = s[1:]
	}
	return append(dst, rpmEnd), true
}
