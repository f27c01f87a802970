package cvss_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/feed/cvss"
)

func TestScore(t *testing.T) {
	for _, tt := range []struct {
		vector, version string
		value           float64
	}{
		{"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "3.1", 9.8},
		{"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", "3.1", 10.0},
		{"CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H", "3.1", 5.5},
		{"CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:H/I:H/A:H", "3.0", 7.5},
		{"CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", "3.1", 0},
		{"AV:N/AC:L/Au:N/C:C/I:C/A:C", "2.0", 10.0},
		{"(AV:N/AC:M/Au:N/C:P/I:N/A:N)", "2.0", 4.3},
		{"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", "4.0", 10.0},
		{"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N", "4.0", 8.7},
	} {
		got, err := cvss.Score("cna", tt.vector)
		if err != nil || got.Version != tt.version || got.Value != tt.value || got.Source != "cna" {
			t.Errorf("Score(%q) = %+v, %v; want version %s, value %v", tt.vector, got, err, tt.version, tt.value)
		}
	}
}

func TestScoreRefusesWhatIsNoVector(t *testing.T) {
	for _, vector := range []string{
		"", "medium", "CVSS:3.1/AV:N", "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:9.9/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
		"CVSS:3.1/" + strings.Repeat("AV:N/", 200),
	} {
		if got, err := cvss.Score("cna", vector); !errors.Is(err, cvss.ErrVector) {
			t.Errorf("Score(%q) = %+v, %v; want ErrVector", vector, got, err)
		}
	}
}

func FuzzScore(f *testing.F) {
	f.Add("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")
	f.Add("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N")
	f.Add("AV:N/AC:L/Au:N/C:C/I:C/A:C")
	f.Fuzz(func(t *testing.T, vector string) {
		if s, err := cvss.Score("cna", vector); err == nil && (s.Value < 0 || s.Value > 10) {
			t.Fatalf("Score(%q) = %v", vector, s.Value)
		}
	})
}
