package version

import "strings"

// Marks of an apk key, in the order apk-tools gives two versions that are equal
// so far: a pre-release suffix sorts before the end, and of two different kinds
// the one that may come earlier in a version is the greater.
const (
	apkPre      = 0x01 // plus the suffix's rank
	apkEnd      = 0x10
	apkRevision = 0x11
	apkHash     = 0x12
	apkSuffixNo = 0x13
	apkPost     = 0x14 // plus the suffix's rank
	apkLetter   = 0x20
	apkDigit    = 0x21
)

// Suffixes in rank order, before and after the plain version.
var (
	apkPreSuffixes  = []string{"alpha", "beta", "pre", "rc"}
	apkPostSuffixes = []string{"cvs", "svn", "git", "hg", "p"}
)

// appendAPK appends the key of digits{.digits}[letter]{_suffix[digits]}[~hash][-rdigits].
func appendAPK(dst []byte, v string) ([]byte, string) {
	n := digits(v)
	if n == 0 {
		return dst, "it does not start with a digit"
	}
	dst = appendNumber(append(dst, apkDigit), v[:n])
	s := v[n:]
	for strings.HasPrefix(s, ".") {
		if n = digits(s[1:]); n == 0 {
			return dst, "a dot is not followed by a digit"
		}
		dst = appendAPKDigits(dst, s[1:1+n])
		s = s[1+n:]
	}
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		dst = append(dst, apkLetter, s[0])
		s = s[1:]
	}
	for strings.HasPrefix(s, "_") {
		mark, size := apkSuffix(s[1:])
		if size == 0 {
			return dst, "the suffix is not one of alpha, beta, pre, rc, cvs, svn, git, hg, p"
		}
		dst = append(dst, mark)
		s = s[1+size:]
		if n = digits(s); n > 0 {
			dst = appendNumber(append(dst, apkSuffixNo), s[:n])
			s = s[n:]
		}
	}
	if strings.HasPrefix(s, "~") {
		if n = hexDigits(s[1:]); n == 0 {
			return dst, "the commit hash is empty"
		}
		dst = append(append(dst, apkHash), s[1:1+n]...)
		s = s[1+n:]
	}
	if strings.HasPrefix(s, "-r") {
		if n = digits(s[2:]); n == 0 {
			return dst, "the revision is not a number"
		}
		dst = appendNumber(append(dst, apkRevision), s[2:2+n])
		s = s[2+n:]
	}
	if s != "" {
		return dst, "it does not end where an apk version ends"
	}
	return append(dst, apkEnd), ""
}

// appendAPKDigits appends a number after a dot. With a leading zero on either
// side apk compares such numbers as strings, as Gentoo does with fractions; all
// of those sort before the numbers without one.
func appendAPKDigits(dst []byte, digits string) []byte {
	dst = append(dst, apkDigit)
	if digits[0] == '0' {
		return append(append(dst, 0), digits...)
	}
	return appendNumber(dst, digits)
}

func apkSuffix(s string) (mark byte, size int) {
	n := 0
	for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
		n++
	}
	for i, suffix := range apkPreSuffixes {
		if s[:n] == suffix {
			return apkPre + byte(i), n
		}
	}
	for i, suffix := range apkPostSuffixes {
		if s[:n] == suffix {
			return apkPost + byte(i), n
		}
	}
	return 0, 0
}

func hexDigits(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n] >= 'a' && s[n] <= 'f') {
		n++
	}
	return n
}
