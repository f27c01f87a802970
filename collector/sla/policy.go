package sla

import (
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// Policy is the standard as values: what package policy read from a policy
// file. It is not changed after it was made.
type Policy struct {
	// Name is the policy's own name, Digest the SHA-256 (hex) of its file's bytes.
	Name   string
	Digest string
	// TZData is the version of the zone data that Zone and the calendars came from.
	TZData string
	Zone   *time.Location

	Timelines Timelines
	Calendars Calendars
	KEV       KEV
	BOD       BOD
	Priority  Priority
	Severity  SeverityRules
	Golden    Gate
	// TargetPercent of N days is the softer target of crown jewels, rounded down.
	TargetPercent int
	Switches      Switches
}

// Column is a column of the timelines.
type Column string

// Columns.
const (
	ColumnInternet      Column = "internet"
	ColumnProduction    Column = "production"
	ColumnNonProduction Column = "nonproduction"
	ColumnEndUser       Column = "enduser"
)

// CellKind says what a cell of the timelines holds.
type CellKind int

// Cell kinds. The zero value is a cell that is not there.
const (
	NoCell      CellKind = iota
	Days                 // "14 days"
	CycleOrDays          // "next cycle or 30 days"
	NextCycle            // "next cycle": the next available one
)

// Cell is one cell of the timelines.
type Cell struct {
	Kind CellKind
	Days int
}

// Row is a table of one column: a cell for each severity.
type Row map[finding.Severity]Cell

// Table has a row for each severity and in it a cell for each column.
type Table map[finding.Severity]map[Column]Cell

// Timelines are §7 of the standard.
type Timelines struct {
	Compute   Table // §7.1
	Appliance Table // §7.2
	Image     Row   // §7.3, production
	Workload  Row   // §7.3, production
	Code      Row   // §7.4, production
}

// Calendars names the calendar of each kind of asset, asked in this order: cold
// wallet, end user, then the column.
type Calendars struct {
	ColdWallet    *Calendar
	EndUser       *Calendar
	Internet      *Calendar
	Production    *Calendar
	NonProduction *Calendar
}

// KEV are the numbers of the Zero-Day rules.
type KEV struct {
	// Mitigate is the time to the first mitigation.
	Mitigate time.Duration
	// ExposedDays and NotExposedDays bind while an SSVC decision point is missing.
	ExposedDays    int
	NotExposedDays int
	// Validated is the time left after a recorded validation of the patch.
	Validated time.Duration
}

// BODKey chooses a row and cell of CISA's decision table.
type BODKey struct {
	KEV         bool
	Exposed     bool
	Automatable bool
	Total       bool
}

// BODCell is one outcome of CISA's decision table.
type BODCell struct {
	// AtUpgrade means no date: with the next upgrade.
	AtUpgrade bool
	Days      int
	Forensics bool
}

// Strength says what the decision table's rows without KEV do.
type Strength string

// Strengths.
const (
	Advisory Strength = "advisory"
	Binding  Strength = "binding"
	Off      Strength = "off"
)

// BOD is CISA's Binding Operational Directive 26-04: its decision table, and what
// the rows without KEV do.
type BOD struct {
	Table      map[BODKey]BODCell
	WithoutKEV Strength
}

// Priority holds the points and thresholds of P0 to P4.
type Priority struct {
	Severity                                                   map[finding.Severity]int
	Exploited, Likely, Exposed, CrownJewel, HotWalletComponent int
	EPSS                                                       float64
	P0, P1, P2, P3                                             int
	KEVExposedIsP0                                             bool
}

// SeverityRules choose a severity from scores and a rating.
type SeverityRules struct {
	// Sources in order of trust. A source that is not named is not read.
	Sources []string
	// Bands hold for CVSS 3.0 and later; Bands2 for CVSS 2, which knows no Critical.
	Bands  Bands
	Bands2 Bands
	// Ratings maps a publisher's word in lower case to a severity.
	Ratings map[string]finding.Severity
}

// Bands are the lowest scores of the severities; 0 for a band that does not exist.
type Bands struct{ Critical, High, Medium float64 }

// Gate holds the numbers of the release gate of golden images.
type Gate struct {
	Blocks       []finding.Severity
	FeedMaxAge   time.Duration
	DecisionLife time.Duration
}

// CycleOrDaysMode says how "next cycle or N days" is read.
type CycleOrDaysMode string

// Readings of "next cycle or N days".
const (
	Earliest CycleOrDaysMode = "earliest"
	Target   CycleOrDaysMode = "target"
	Latest   CycleOrDaysMode = "latest"
)

// Switches are the readings of the standard that an operator may change. The
// zero value of each but CycleOrDays and ReopenDays is the default.
type Switches struct {
	// StrictHours makes "N days" N times 24 hours from the clock start's instant.
	StrictHours bool
	// CycleOrDays is earliest by default.
	CycleOrDays CycleOrDaysMode
	// MonotoneSeverity lets the date of a lower severity's row bind the higher ones.
	MonotoneSeverity bool
	// ApplianceBothTables applies §7.1 to appliances beside §7.2.
	ApplianceBothTables bool
	// CodeNonProductionAsCode keeps non-production code in §7.4.
	CodeNonProductionAsCode bool
	// CodeClockLiteral starts the clock of code at merge or release alone.
	CodeClockLiteral bool
	// FloorAtAssetInService never starts a clock before the asset was in service.
	FloorAtAssetInService bool
	// ReopenDays is how long after its end a finding that comes back is the same
	// episode, and its outcome provisional.
	ReopenDays int
	// AwaitingFixBackstopDays gives "next cycle" rows without a fix a date; 0 is off.
	AwaitingFixBackstopDays int
}
