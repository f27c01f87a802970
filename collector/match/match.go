// Package match compares what is installed with what publishers say is
// affected. It is pure: values in, values out, in a fixed order.
package match

import (
	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// Verdict is the outcome of one comparison.
type Verdict string

// Verdicts. PendingReboot is affected by what runs while the fix is on disk.
const (
	Affected      Verdict = "affected"
	PendingReboot Verdict = "pending_reboot"
	NotAffected   Verdict = "not_affected"
	Undetermined  Verdict = "undetermined"
)

// Match is one package held against one advisory; the advisory may name many
// vulnerabilities.
type Match struct {
	Verdict  Verdict
	Package  *schema.Package
	Advisory *advisory.Advisory
	// Fixed is the version that clears the match, empty when there is none yet.
	Fixed string
	// Reason is set for every verdict but a plain affected one.
	Reason string
}

// Result is the outcome for one state.
type Result struct {
	// Matches holds affected, pending_reboot and undetermined matches, and those
	// not_affected ones that need words (a kernel's headers, a kernel that does not
	// run), ordered by package, arch, version, advisory. Plain "version is fixed"
	// outcomes are not listed.
	Matches []Match
	// Gaps found while matching: a running kernel that no installed package owns.
	Gaps []schema.Gap
	// Covered is false when the index has no advisory data for the release.
	Covered bool
}

// Release returns the release an index was built for.
func (ix *Index) Release() inventory.Release { return ix.release }
