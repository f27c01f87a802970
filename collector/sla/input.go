package sla

import (
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// Class of an asset. It chooses the table of the timelines; exposure and environment choose its column.
type Class string

// Exposure of an asset says whether the internet reaches an asset.
type Exposure string

// Environment is what an asset is used for.
type Environment string

// Asset classes.
const (
	Compute   Class = "compute"
	Appliance Class = "appliance"
	Image     Class = "image"
	Workload  Class = "workload"
	Golden    Class = "golden"
	Code      Class = "code"
)

// Exposures. Unknown (and the empty word) counts as internet.
const (
	Internet        Exposure = "internet"
	Internal        Exposure = "internal"
	UnknownExposure Exposure = "unknown"
)

// Environments. Unknown (and the empty word) counts as production.
const (
	Production         Environment = "production"
	NonProduction      Environment = "nonproduction"
	EndUser            Environment = "enduser"
	UnknownEnvironment Environment = "unknown"
)

// Input is everything a deadline depends on beside the policy and the time of asking.
type Input struct {
	Asset         Asset
	Vulnerability Vulnerability
	Clock         Clock
	Exceptions    []Exception
}

// Asset is what the rules need to know of an asset.
type Asset struct {
	Class               Class
	Exposure            Exposure
	Environment         Environment
	Core                bool
	CrownJewel          bool
	ColdWallet          bool
	HotWallet           bool
	HighDataSensitivity bool
	// SameDigest names the other classes under which the same image digest is
	// held (registry: image, running: workload). Their rows bind too.
	SameDigest []Class
}

// Vulnerability is what the rules need to know of the flaw.
type Vulnerability struct {
	Severity finding.Severity
	// KEVAdded and KEVDue are CISA's dates, zero when not listed; a date is the
	// start of the local day in the policy's zone.
	KEVAdded finding.Date
	KEVDue   finding.Date
	// KEVListed is the instant of the listing where more than its date is known;
	// without it the listing is the start of KEVAdded.
	KEVListed time.Time
	// ActiveExploitation is an operator's mark, counted as a listing from that instant.
	ActiveExploitation time.Time
	// Exploitation is SSVC's none, poc or active; Automatable yes or no; Impact
	// partial or total; empty when unknown.
	Exploitation string
	Automatable  string
	Impact       string
	EPSS         float64
	// PublicExploit is a known public exploit.
	PublicExploit bool
	// SensitiveComponent marks kernel, OpenSSL or a language runtime (VPM-07.2).
	SensitiveComponent bool
}

// Clock holds the instants a clock can start from. Zero means unknown.
type Clock struct {
	// Available is the vendor's fix; NoFix says there is none (then Available is ignored).
	Available time.Time
	NoFix     bool
	Detected  time.Time
	// Known, Merged and Released are for code.
	Known    time.Time
	Merged   time.Time
	Released time.Time
	// Validated is a recorded validation of the patch for a Zero-Day.
	Validated time.Time
	// InService is when the asset came into service, for the switch
	// floor_at_asset_in_service; without the switch it is not looked at.
	InService time.Time
	// Restarted is when a change made the timeline stricter: the rows count from
	// it, by the words RestartedBy, and not from the clock start. The clock of a
	// Zero-Day does not change.
	Restarted   time.Time
	RestartedBy string
}

// Exception is an approved act that replaces the result while it is in force.
type Exception struct {
	ID string
	// Until is the approved date; the exception is in force up to its end.
	Until finding.Date
	// From is when it was approved.
	From time.Time
	// Suspended exceptions are ignored.
	Suspended bool
}
