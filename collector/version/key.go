package version

// appendNumber appends a run of decimal digits so that bytes order as numbers:
// leading zeros are dropped and the length comes first. An empty run is zero.
func appendNumber(dst []byte, digits string) []byte {
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
	}
	if n := len(digits); n < 0xff {
		dst = append(dst, byte(n))
	} else {
		dst = append(dst, 0xff, byte(n>>8), byte(n))
	}
	return append(dst, digits...)
}

// appendEpoch appends an epoch as four bytes, big endian.
func appendEpoch(dst []byte, epoch uint32) []byte {
	return append(dst, byte(epoch>>24), byte(epoch>>16), byte(epoch>>8), byte(epoch))
}

// parseEpoch reads a decimal epoch of at most limit.
func parseEpoch(s string, limit uint64) (uint32, string) {
	if s == "" {
		return 0, "the epoch is empty"
	}
	var n uint64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, "the epoch is not a number"
		}
		if n = n*10 + uint64(s[i]-'0'); n > limit {
			return 0, "the epoch is too big"
		}
	}
	return uint32(n), ""
}

// digits returns the length of the run of digits that s starts with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// letters returns the length of the run of ASCII letters that s starts with.
func letters(s string) int {
	n := 0
	for n < len(s) && isLetter(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool  { return c-'0' <= 9 }
func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }
