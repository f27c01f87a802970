// Package match compares what is installed with what publishers say is
// affected. It is pure: values in, values out, in a fixed order.
//
// An [Index] holds the advisories of one distribution release by package name,
// with every version bound already a sort key; [Index.Match] looks each
// installed package up once and compares bytes.
//
// Invariants:
//   - nothing is skipped for being unreadable: a version that cannot be compared
//     is [Undetermined] with the reason, unless another range of the same
//     advisory settles the matter;
//   - the outcome does not depend on the order of packages or advisories;
//   - one package has at most one match for one advisory;
//   - a live patch covers a vulnerability only while it is enabled, not in
//     transition, and of the package or module its publisher names for that very
//     kernel; a baseline package covers nothing;
//   - what a process maps in an old version is judged by that version, and where
//     nobody knows it the component is told apart, see [Result.Stale];
//   - of kernels only the running one exposes. Where it is not known which one
//     runs, every installed one counts as running (an image, an SBOM); where the
//     running one belongs to no package, no kernel reads as clean.
//
// Ranges follow the evaluation of the OSV schema
// (https://ossf.github.io/osv-schema/#evaluation), with one refinement for rpm:
// a build that an advisory itself lists as a fixed one is fixed, also where the
// same advisory lists a later build of the same package for a later minor release.
package match

import (
	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/schema"
)

// Verdict is the outcome of one comparison.
type Verdict string

// Verdicts. PendingReboot and PendingRestart are affected by what runs while the
// fix is on disk: by the kernel, or by processes that map the old file.
const (
	Affected       Verdict = "affected"
	PendingReboot  Verdict = "pending_reboot"
	PendingRestart Verdict = "pending_restart"
	NotAffected    Verdict = "not_affected"
	Undetermined   Verdict = "undetermined"
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
	// LivePatched gives, of an affected kernel that runs, the vulnerabilities of the
	// advisory that a live patch in force covers, each with the proof. Those are
	// fixed by live patch, whatever the verdict says of the others.
	LivePatched map[string]string
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
	// KernelUnowned is true when the running kernel belongs to no installed package.
	KernelUnowned bool
	// Stale gives, by component, what processes still run of it in a version nobody
	// knows: it may be any that is no longer on disk.
	Stale map[Component]string
}

// Component is a source package of a format.
type Component struct {
	Format schema.PackageFormat
	Name   string
}

// Unjudged reports whether the absence of a match for a component (source
// package) says nothing about it, so that no finding may be closed by it: there
// is no advisory data, or the component is a kernel and what runs is not known.
func (r Result) Unjudged(f schema.PackageFormat, component string) bool {
	return !r.Covered || r.KernelUnowned && isKernelSource(f, component)
}
