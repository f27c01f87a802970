package evidence

import (
	"fmt"
	"strings"
	"time"
)

// Problem is something that does not fit: a row that was altered, a leaf that is
// gone, a signature that does not hold.
type Problem struct {
	// Where names the row: "leaf 12", "report 9f…", "checkpoint 40".
	Where string `json:"where"`
	What  string `json:"what"`
}

// Kinds of breaks in a host's chain of reports.
const (
	// BreakGap: the report before was never received.
	BreakGap = "gap"
	// BreakFork: the report names another one as the report before than those that
	// were received under that sequence, or shares its own with another.
	BreakFork = "fork"
	// BreakMachine: one key sealed reports on machines that are not one.
	BreakMachine = "machine"
)

// Break is a place where a host's reports do not follow each other. The host
// signed it so: its spool lost something, or its key or disk was copied. It says
// nothing against the collector's own record, so it does not make it not OK.
type Break struct {
	Asset    string `json:"asset"`
	Kind     string `json:"kind"`
	Sequence uint64 `json:"sequence"`
	Report   string `json:"report"`
	What     string `json:"what"`
}

// Report is the outcome of Verify.
type Report struct {
	// OK is true when there is no problem.
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	// More counts problems beyond the listed ones.
	More   int     `json:"more_problems,omitempty"`
	Breaks []Break `json:"breaks"`
	// Notes are facts a reader should know that are no problem, such as an epoch.
	Notes []string `json:"notes"`

	Origin      string    `json:"origin"`
	Epoch       int64     `json:"epoch"`
	Leaves      int64     `json:"leaves"`
	Covered     int64     `json:"covered"` // leaves under the last checkpoint
	Root        string    `json:"root"`    // of all leaves
	Checkpoints int       `json:"checkpoints"`
	CheckedAt   time.Time `json:"last_checkpoint_at,omitzero"`
	Reports     int       `json:"reports"`
	Parts       int       `json:"parts"`
	Assets      int       `json:"assets"`
	Findings    int       `json:"finding_versions"`
	// Replayed is empty when nothing was asked to be replayed.
	Replayed Replayed `json:"replayed,omitzero"`
}

// maxProblems bounds the list: a database that is another one altogether has a
// problem in every row.
const maxProblems = 1000

func (r *Report) problem(where, format string, args ...any) {
	if len(r.Problems) >= maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{Where: where, What: fmt.Sprintf(format, args...)})
}

// Summary says in a few lines what was checked and what does not fit.
func (r Report) Summary() string {
	var b strings.Builder
	verdict := "ok: every row that was checked is what was signed"
	if !r.OK {
		verdict = fmt.Sprintf("NOT OK: %s", count(len(r.Problems)+r.More, "problem"))
	}
	fmt.Fprintf(&b, "evidence    %s\n", verdict)
	fmt.Fprintf(&b, "log         %s, epoch %d\n", r.Origin, r.Epoch)
	fmt.Fprintf(&b, "leaves      %d, %d of them under %s\n", r.Leaves, r.Covered, count(r.Checkpoints, "checkpoint"))
	if r.Checkpoints > 0 {
		fmt.Fprintf(&b, "signed      %s\n", r.CheckedAt.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "root        %s\n", r.Root)
	fmt.Fprintf(&b, "checked     %s of %s, %s, %s\n", count(r.Reports, "report"), count(r.Assets, "host"),
		count(r.Parts, "part"), count(r.Findings, "finding version"))
	if r.Replayed != (Replayed{}) {
		fmt.Fprintf(&b, "replayed    %s, %s\n", count(r.Replayed.Assessments, "assessment"), count(r.Replayed.Decisions, "decision"))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note        %s\n", n)
	}
	for _, k := range r.Breaks {
		fmt.Fprintf(&b, "%-11s host %s, sequence %d: %s\n", k.Kind, k.Asset, k.Sequence, k.What)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem     %s: %s\n", p.Where, p.What)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "problem     and %d more\n", r.More)
	}
	return b.String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
