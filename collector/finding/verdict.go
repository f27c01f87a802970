package finding

import "time"

// Deadline states of a Verdict.
const (
	VerdictOpen        = "open"
	VerdictOverdue     = "overdue"
	VerdictAwaitingFix = "awaiting_fix"
	VerdictGate        = "gate"
)

// Date is a local calendar date YYYY-MM-DD in the policy's zone, empty for none.
type Date string

// Verdict is the deadline decision on one finding: which date, by which rule,
// and every candidate that was considered. It can be replayed from its inputs.
type Verdict struct {
	ClockStart Date `json:"clock_start"`
	// Due is the last day in time; DueAt the breach, the first instant of the next day (UTC).
	Due   Date      `json:"due,omitempty"`
	DueAt time.Time `json:"due_at,omitzero"`
	// Target is the softer date of crown jewels (standard, §7.1).
	Target Date `json:"target,omitempty"`
	// TargetAt is the first instant after Target (UTC).
	TargetAt time.Time `json:"target_at,omitzero"`
	// MitigateBy is the Zero-Day mitigation instant (UTC).
	MitigateBy time.Time `json:"mitigate_by,omitzero"`
	// Rule is the id of the winning candidate's rule, empty when none.
	Rule string `json:"rule,omitempty"`
	// State as of the evaluation: open, overdue, awaiting_fix, gate.
	State string `json:"state"`
	// Arrival: the window had already closed at first sight.
	Arrival   bool `json:"arrival"`
	Forensics bool `json:"forensics"`
	// Cycle is zero_day, out_of_cycle or in_cycle.
	Cycle string `json:"cycle"`
	// Priority is P0 to P4; PriorityWhy names each step.
	Priority    string      `json:"priority"`
	PriorityWhy []string    `json:"priority_why,omitempty"`
	Candidates  []Candidate `json:"candidates"`
	// Notes are words on readings of the standard that a person should see.
	Notes []string `json:"notes,omitempty"`
	// Policy is the digest of the policy, TZData the version of the zone data.
	Policy string `json:"policy"`
	TZData string `json:"tzdata"`
}

// Candidate is one deadline that applied.
type Candidate struct {
	Rule  string `json:"rule"`
	Start Date   `json:"start"`
	Due   Date   `json:"due"`
	Why   string `json:"why"`
	// Advisory candidates are shown and never win.
	Advisory bool `json:"advisory,omitempty"`
}
