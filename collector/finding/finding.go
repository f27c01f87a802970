// Package finding holds the nouns of an asset's standing exposure to a
// vulnerability: the finding itself, and the deadline decision made on it.
package finding

import (
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/schema"
)

// State is where a finding stands. Overdue is not a state: it follows from
// the due instant and the time of asking.
type State string

// States. The first three are open: the clock runs. PendingReboot and
// PendingRestart are fixed on disk while the old kernel, or a process with the
// old file, still runs.
const (
	Open           State = "open"
	PendingReboot  State = "pending_reboot"
	PendingRestart State = "pending_restart"
	Fixed          State = "fixed"
	NotAffected    State = "not_affected"
	// Retired: its asset is in use no more.
	Retired State = "retired"
)

// Running reports whether the clock of a finding in this state runs.
func (s State) Running() bool { return s == Open || s == PendingReboot || s == PendingRestart }

// Severity is the level that chooses a row of the standard's tables.
type Severity string

// Severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Rank orders severities: critical 4, high 3, medium 2, low 1, anything else 0.
func (s Severity) Rank() int {
	switch s {
	case Critical:
		return 4
	case High:
		return 3
	case Medium:
		return 2
	case Low:
		return 1
	default:
		return 0
	}
}

// Finding is one asset's standing exposure to one vulnerability in one
// component (source package), with its history so far.
type Finding struct {
	// ID is derived from asset, vulnerability and component, see ID.
	ID            string `json:"id"`
	Asset         string `json:"asset"`
	Vulnerability string `json:"vulnerability"`
	// Component is the source package name.
	Component string `json:"component"`
	State     State  `json:"state"`
	// Reason says in words why the finding is in its state.
	Reason string `json:"reason,omitempty"`
	// Packages are the comparisons behind the state, sorted by package, arch, advisory.
	Packages []Comparison `json:"packages"`
	// Detected is the first detection: when the collector first knew. It only moves earlier.
	Detected time.Time `json:"detected"`
	// DetectedReport is the id of the report that first showed it.
	DetectedReport string `json:"detected_report"`
	// Available is the earliest date the vendor issued a fix, zero when there is none.
	Available         time.Time         `json:"available,omitzero"`
	AvailableKind     advisory.DateKind `json:"available_kind,omitempty"`
	AvailableAdvisory string            `json:"available_advisory,omitempty"`
	// SeenReport is the last report that showed it, SeenAt its receipt.
	SeenReport string    `json:"seen_report"`
	SeenAt     time.Time `json:"seen_at"`
	// Stale: the clock runs, though no state after SeenReport could show it (a gap,
	// a release no feed covers, a version that cannot be compared).
	Stale bool `json:"stale,omitempty"`
	// Closed is when it was found closed, with the report that showed it; zero while open.
	Closed       time.Time `json:"closed,omitzero"`
	ClosedReport string    `json:"closed_report,omitempty"`
	// Severity with where it came from ("vendor rating Important", "cna CVSS 3.1 9.8").
	Severity       Severity `json:"severity"`
	SeveritySource string   `json:"severity_source"`
	// KEV and EPSS restate the facts the verdict was made with.
	KEV     bool    `json:"kev"`
	EPSS    float64 `json:"epss,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Episode counts from 1. One that comes back later than the policy's window is a
	// new episode, a finding of its own: Regression is set and Previous is the id of
	// the one before. 0 is a finding recorded before episodes were.
	Episode    int    `json:"episode,omitempty"`
	Previous   string `json:"previous,omitempty"`
	Regression bool   `json:"regression,omitempty"`
	// Reopened is when it last came back within the window: same episode, same clock.
	Reopened time.Time `json:"reopened,omitzero"`
	// Clock is the history of the deadline, End how the episode ended.
	Clock Clock `json:"clock,omitzero"`
	End   End   `json:"end,omitzero"`
}

// Comparison is one package held against one advisory.
type Comparison struct {
	Package string `json:"package"`
	// Format decides the order of its versions.
	Format    schema.PackageFormat `json:"format"`
	Arch      string               `json:"arch,omitempty"`
	Installed string               `json:"installed"`
	Advisory  string               `json:"advisory"`
	Feed      string               `json:"feed"`
	// Fixed is the version that clears it, empty when there is none yet.
	Fixed string `json:"fixed,omitempty"`
	// Reason is set where the comparison needs words (pending reboot, undetermined).
	Reason string `json:"reason,omitempty"`
}

// Undetermined is a comparison that could not be made. It is shown, and it closes nothing.
type Undetermined struct {
	Asset         string `json:"asset"`
	Vulnerability string `json:"vulnerability"`
	Component     string `json:"component"`
	Comparison
}

// ID derives a finding's stable id ("F-" and 16 base32 characters).
func ID(asset, vulnerability, component string) string {
	return derive("F-", asset, vulnerability, component)
}
