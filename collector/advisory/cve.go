package advisory

// IsCVE reports whether s is a CVE id as the CVE programme writes it:
// CVE-YYYY-NNNN with four to nineteen digits.
func IsCVE(s string) bool {
	if len(s) < len("CVE-YYYY-NNNN") || len(s) > len("CVE-YYYY-")+19 || s[:4] != "CVE-" || s[8] != '-' {
		return false
	}
	return digits(s[4:8]) && digits(s[9:])
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
