package advisory_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/advisory"
)

func TestIsCVE(t *testing.T) {
	for s, want := range map[string]bool{
		"CVE-2024-3094":                 true,
		"CVE-1999-0001":                 true,
		"CVE-2026-1234567890123456789":  true,
		"CVE-2026-12345678901234567890": false,
		"CVE-2024-123":                  false,
		"CVE-2024-12a4":                 false,
		"cve-2024-3094":                 false,
		"DEBIAN-CVE-2024-3094":          false,
		"CVE-2024_3094":                 false,
		"CVE-2024-3094" + " ":           false,
		"":                              false,
	} {
		if got := advisory.IsCVE(s); got != want {
			t.Errorf("IsCVE(%q) = %v, want %v", s, got, want)
		}
	}
}
