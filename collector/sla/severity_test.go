package sla_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

func score(source, version string, value float64) advisory.Score {
	return advisory.Score{Source: source, Version: version, Value: value}
}

func TestSeverityOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		scores []advisory.Score
		rating string
		want   finding.Severity
		source string
	}{
		{"vendor_before_cna", []advisory.Score{score("cna", "3.1", 9.8), score("vendor", "3.1", 5.0)}, "", finding.Medium, "vendor CVSS 3.1 5.0"},
		{"cna_before_adp", []advisory.Score{score("adp", "3.1", 9.8), score("cna", "3.1", 5.0)}, "", finding.Medium, "cna CVSS 3.1 5.0"},
		{"adp_before_nvd", []advisory.Score{score("nvd", "3.1", 9.8), score("adp", "3.1", 5.0)}, "", finding.Medium, "adp CVSS 3.1 5.0"},
		{"nvd_alone", []advisory.Score{score("nvd", "3.1", 9.8)}, "", finding.Critical, "nvd CVSS 3.1 9.8"},
		{"source_before_version", []advisory.Score{score("cna", "4.0", 9.8), score("vendor", "2.0", 4.0)}, "", finding.Medium, "vendor CVSS 2.0 4.0"},
		{"4.0_before_3.1", []advisory.Score{score("cna", "3.1", 9.8), score("cna", "4.0", 5.0)}, "", finding.Medium, "cna CVSS 4.0 5.0"},
		{"3.1_before_3.0", []advisory.Score{score("cna", "3.0", 9.8), score("cna", "3.1", 5.0)}, "", finding.Medium, "cna CVSS 3.1 5.0"},
		{"3.0_before_2", []advisory.Score{score("cna", "2.0", 9.8), score("cna", "3.0", 5.0)}, "", finding.Medium, "cna CVSS 3.0 5.0"},
		{"2_before_what_nobody_knows", []advisory.Score{score("cna", "9.9", 9.8), score("cna", "2", 5.0)}, "", finding.Medium, "cna CVSS 2 5.0"},
		{"the_higher_of_two_alike", []advisory.Score{score("cna", "3.1", 5.0), score("cna", "3.1", 7.5), score("cna", "3.1", 6.0)}, "", finding.High, "cna CVSS 3.1 7.5"},
		{"a_score_before_a_rating", []advisory.Score{score("nvd", "2.0", 1.0)}, "Critical", finding.Low, "nvd CVSS 2.0 1.0"},
		{"critical_from_9.0", []advisory.Score{score("cna", "3.1", 9.0)}, "", finding.Critical, "cna CVSS 3.1 9.0"},
		{"high_to_8.9", []advisory.Score{score("cna", "3.1", 8.9)}, "", finding.High, "cna CVSS 3.1 8.9"},
		{"high_from_7.0", []advisory.Score{score("cna", "4.0", 7.0)}, "", finding.High, "cna CVSS 4.0 7.0"},
		{"medium_to_6.9", []advisory.Score{score("cna", "3.0", 6.9)}, "", finding.Medium, "cna CVSS 3.0 6.9"},
		{"medium_from_4.0", []advisory.Score{score("cna", "3.1", 4.0)}, "", finding.Medium, "cna CVSS 3.1 4.0"},
		{"low_to_3.9", []advisory.Score{score("cna", "3.1", 3.9)}, "", finding.Low, "cna CVSS 3.1 3.9"},
		{"zero_is_low", []advisory.Score{score("cna", "3.1", 0)}, "", finding.Low, "cna CVSS 3.1 0.0"},
		{"cvss2_ten_is_high", []advisory.Score{score("nvd", "2.0", 10)}, "", finding.High, "nvd CVSS 2.0 10.0"},
		{"cvss2_high_from_7.0", []advisory.Score{score("nvd", "2.0", 7.0)}, "", finding.High, "nvd CVSS 2.0 7.0"},
		{"cvss2_medium", []advisory.Score{score("nvd", "2.0", 6.9)}, "", finding.Medium, "nvd CVSS 2.0 6.9"},
		{"cvss2_low", []advisory.Score{score("nvd", "2.0", 3.9)}, "", finding.Low, "nvd CVSS 2.0 3.9"},
		{"no_score_that_is_one", []advisory.Score{score("cna", "3.1", -1), score("vendor", "3.1", 11)}, "Low", finding.Low, "vendor rating Low"},
		{"rating_critical", nil, "Critical", finding.Critical, "vendor rating Critical"},
		{"rating_important", nil, "Important", finding.High, "vendor rating Important"},
		{"rating_high", nil, "high", finding.High, "vendor rating high"},
		{"rating_moderate", nil, "Moderate", finding.Medium, "vendor rating Moderate"},
		{"rating_medium", nil, " medium ", finding.Medium, "vendor rating medium"},
		{"rating_low", nil, "LOW", finding.Low, "vendor rating LOW"},
		{"rating_negligible", nil, "Negligible", finding.Low, "vendor rating Negligible"},
		{"rating_unimportant", nil, "unimportant", finding.Low, "vendor rating unimportant"},
		{"rating_nobody_knows", nil, "untriaged", finding.High, `rating "untriaged" is not a severity: High until scored`},
		{"neither", nil, "", finding.High, "neither score nor rating: High until scored"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sev, source := sla.SeverityOf(c.scores, c.rating)
			if sev != c.want || source != c.source {
				t.Errorf("got %s by %q, want %s by %q", sev, source, c.want, c.source)
			}
			shippedSev, shippedSource := shipped().Severity.Of(c.scores, c.rating)
			if shippedSev != sev || shippedSource != source {
				t.Errorf("the shipped policy says %s by %q", shippedSev, shippedSource)
			}
		})
	}
}

func TestNVDCanBeLeftOut(t *testing.T) {
	p := edited(t, "sources: [vendor, cna, adp, nvd]", "sources: [vendor, cna, adp]")
	sev, source := p.Severity.Of([]advisory.Score{score("nvd", "3.1", 3.0)}, "")
	if sev != finding.High || source != "neither score nor rating: High until scored" {
		t.Errorf("got %s by %q", sev, source)
	}
}
