// Package advisory holds the nouns of what publishers say: advisories with
// affected ranges, and facts (KEV, EPSS, CVSS, SSVC) on vulnerabilities.
package advisory

import (
	"time"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// DateKind says where an issue date comes from, best first.
type DateKind string

// Date kinds.
const (
	DateAdvisory   DateKind = "advisory"
	DateRepository DateKind = "repository"
	DateChangelog  DateKind = "changelog"
	DateFirstSeen  DateKind = "first_seen"
)

// Advisory is one publisher's document, normalised.
type Advisory struct {
	ID string `json:"id"`
	// Feed is the feed that carries it, e.g. "osv:AlmaLinux:9", "updateinfo:amazon:2023".
	Feed    string `json:"feed"`
	Summary string `json:"summary,omitempty"`
	// Issued is when the publisher issued it (UTC); IssuedKind its provenance.
	Issued     time.Time `json:"issued,omitzero"`
	IssuedKind DateKind  `json:"issued_kind,omitempty"`
	Modified   time.Time `json:"modified,omitzero"`
	// HeldSince is when the collector first held this advisory; filled by the store,
	// never by a parser. Nothing can be detected before it.
	HeldSince time.Time  `json:"held_since,omitzero"`
	Withdrawn *time.Time `json:"withdrawn,omitempty"`
	// Vulnerabilities are CVE ids, sorted; the advisory's own id when it names none.
	Vulnerabilities []string `json:"vulnerabilities"`
	// Rating is the publisher's word (Critical, Important, ...), empty when none.
	Rating     string     `json:"rating,omitempty"`
	Scores     []Score    `json:"scores,omitempty"`
	References []string   `json:"references,omitempty"`
	Affected   []Affected `json:"affected"`
}

// NameKind says which name an affected range speaks of.
type NameKind string

// Name kinds: Debian and Ubuntu name source packages, rpm distributions binary ones.
const (
	NameSource NameKind = "source"
	NameBinary NameKind = "binary"
)

// Affected is one package of one release with the ranges that are vulnerable.
type Affected struct {
	Release inventory.Release    `json:"release"`
	Format  schema.PackageFormat `json:"format"`
	Name    string               `json:"name"`
	Kind    NameKind             `json:"kind"`
	// Arch lists the architectures it applies to, empty for all.
	Arch []string `json:"arch,omitempty"`
	// Module is "name:stream" when the range applies to that module stream only, or
	// several of them with a space between; "*" when it applies to modular packages whose stream is not named; empty for
	// packages outside any module.
	Module string  `json:"module,omitempty"`
	Ranges []Range `json:"ranges,omitempty"`
	// Versions are exact affected versions, where the publisher lists only those.
	Versions []string `json:"versions,omitempty"`
	// Urgency is the distribution's own word for this package (Debian), if any.
	Urgency string `json:"urgency,omitempty"`
	// LivePatch marks a row that is a live patch, never a fix by package version.
	LivePatch bool `json:"live_patch,omitempty"`
	// ModuleName is, of a live patch told by its module, the regular expression
	// (RE2) of the module's name; its first group is the module's version, which
	// fixes from ModuleVersion on.
	ModuleName    string `json:"module_name,omitempty"`
	ModuleVersion int    `json:"module_version,omitempty"`
}

// Range is [Introduced, Fixed) or [Introduced, LastAffected]; Introduced "0" or
// empty is from the beginning; with neither end nothing is fixed yet.
type Range struct {
	Introduced   string `json:"introduced,omitempty"`
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
}

// Score is one CVSS score with its source: vendor, cna, adp, nvd.
type Score struct {
	Source string `json:"source"`
	// Version is 4.0, 3.1, 3.0 or 2.0.
	Version string  `json:"version"`
	Vector  string  `json:"vector,omitempty"`
	Value   float64 `json:"value"`
}

// Facts are what is known of one vulnerability from anywhere. They are facts,
// not severities; sla.Evaluate decides.
type Facts struct {
	Vulnerability string  `json:"vulnerability"`
	Scores        []Score `json:"scores,omitempty"`
	KEV           *KEV    `json:"kev,omitempty"`
	EPSS          *EPSS   `json:"epss,omitempty"`
	SSVC          *SSVC   `json:"ssvc,omitempty"`
}

// KEV is an entry of CISA's Known Exploited Vulnerabilities catalogue.
type KEV struct {
	// Added and Due are dates YYYY-MM-DD as published.
	Added string `json:"added"`
	Due   string `json:"due,omitempty"`
	Name  string `json:"name,omitempty"`
	// Ransomware is true when use in ransomware campaigns is Known.
	Ransomware bool `json:"ransomware,omitempty"`
}

// EPSS is a probability of exploitation in 30 days, of a date.
type EPSS struct {
	Score      float64 `json:"score"`
	Percentile float64 `json:"percentile"`
	Date       string  `json:"date,omitempty"`
}

// SSVC holds CISA's decision points.
type SSVC struct {
	// Exploitation is none, poc or active.
	Exploitation string `json:"exploitation,omitempty"`
	// Automatable is yes or no; Impact partial or total; empty when unknown.
	Automatable string `json:"automatable,omitempty"`
	Impact      string `json:"impact,omitempty"`
	Date        string `json:"date,omitempty"`
}

// Feed identifies one source of advisories or facts.
type Feed struct {
	// Name is unique: "osv:AlmaLinux:9", "updateinfo:amazon:2023", "kev", "epss", "cve".
	Name string `json:"name"`
	// Kind is osv, updateinfo, kev, epss or cve.
	Kind string `json:"kind"`
}

// Batch is what one parsed document or archive holds.
type Batch struct {
	Feed Feed
	// Snapshot is true when the batch is the whole feed; false for an upsert.
	Snapshot bool
	// Digest is the SHA-256 (hex) of the bytes it was parsed from; for a directory,
	// of the sorted list "digest  name\n" of its files.
	Digest string
	// Published is the publisher's own date of the data, zero when it has none.
	Published  time.Time
	Advisories []Advisory
	Facts      []Facts
	// Releases are the distribution releases the batch covers.
	Releases []inventory.Release
	// Skipped counts, by reason in words, what the document holds and the batch
	// leaves out. It is shown, so that nothing is dropped in silence.
	Skipped map[string]int
}
