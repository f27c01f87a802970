package sla

import (
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
)

// defaultSeverity is what the shipped policy says; a test holds the two together.
var defaultSeverity = SeverityRules{
	Sources: []string{"vendor", "cna", "adp", "nvd"},
	Bands:   Bands{Critical: 9, High: 7, Medium: 4},
	Bands2:  Bands{High: 7, Medium: 4},
	Ratings: map[string]finding.Severity{
		"critical":  finding.Critical,
		"important": finding.High, "high": finding.High,
		"moderate": finding.Medium, "medium": finding.Medium,
		"low": finding.Low, "negligible": finding.Low, "unimportant": finding.Low, "none": finding.Low,
	},
}

// SeverityOf chooses a severity by the shipped policy's rules and says where it
// came from ("cna CVSS 3.1 9.8", "vendor rating Important"). See [SeverityRules.Of].
func SeverityOf(scores []advisory.Score, rating string) (sev finding.Severity, source string) {
	return defaultSeverity.Of(scores, rating)
}

// Of chooses a severity: by source first, within a source the newest CVSS
// version, and of several scores of one source and version the highest. A
// rating counts only where no source has a score. With neither it is High
// until scored.
func (r SeverityRules) Of(scores []advisory.Score, rating string) (sev finding.Severity, source string) {
	if best, ok := r.choose(scores); ok {
		return r.band(best), best.Source + " CVSS " + best.Version + " " + strconv.FormatFloat(best.Value, 'f', 1, 64)
	}
	word := strings.TrimSpace(rating)
	if sev, ok := r.Ratings[strings.ToLower(word)]; ok {
		return sev, "vendor rating " + word
	}
	if word != "" {
		return finding.High, "rating " + strconv.Quote(word) + " is not a severity: High until scored"
	}
	return finding.High, "neither score nor rating: High until scored"
}

func (r SeverityRules) choose(scores []advisory.Score) (advisory.Score, bool) {
	for _, source := range r.Sources {
		var best advisory.Score
		found := false
		for _, s := range scores {
			if s.Source != source || !(s.Value >= 0 && s.Value <= 10) {
				continue
			}
			if !found || newer(s, best) {
				best, found = s, true
			}
		}
		if found {
			return best, true
		}
	}
	return advisory.Score{}, false
}

func newer(a, b advisory.Score) bool {
	if x, y := cvssRank(a.Version), cvssRank(b.Version); x != y {
		return x > y
	}
	return a.Value > b.Value
}

// cvssRank orders CVSS versions; a version nobody knows comes last.
func cvssRank(version string) int {
	switch version {
	case "4.0":
		return 4
	case "3.1":
		return 3
	case "3.0":
		return 2
	case "2.0", "2":
		return 1
	default:
		return 0
	}
}

func (r SeverityRules) band(s advisory.Score) finding.Severity {
	bands := r.Bands
	if cvssRank(s.Version) == 1 {
		bands = r.Bands2
	}
	switch {
	case bands.Critical > 0 && s.Value >= bands.Critical:
		return finding.Critical
	case s.Value >= bands.High:
		return finding.High
	case s.Value >= bands.Medium:
		return finding.Medium
	default:
		return finding.Low
	}
}
