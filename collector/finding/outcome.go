package finding

import (
	"strings"
	"time"
)

// Outcome says how a finding is counted at an instant. Outcomes are disjoint:
// every finding has one.
type Outcome string

// Outcomes: of those whose clock runs, then of closed ones.
const (
	Within      Outcome = "within"
	Overdue     Outcome = "overdue"
	AwaitingFix Outcome = "awaiting_fix"
	Accepted    Outcome = "accepted" // an exception in force gives the date

	FixedOnTime    Outcome = "fixed_on_time"
	FixedLate      Outcome = "fixed_late"
	WasNotAffected Outcome = "not_affected"
	NotRunning     Outcome = "not_running"
	RetiredInTime  Outcome = "retired_in_time"
	RetiredOverdue Outcome = "retired_overdue"
)

// Outcomes are all of them.
var Outcomes = []Outcome{
	Within, Overdue, AwaitingFix, Accepted, FixedOnTime, FixedLate, WasNotAffected, NotRunning, RetiredInTime, RetiredOverdue,
}

// Running reports whether the clock of a finding that is counted so runs.
func (o Outcome) Running() bool {
	return o == Within || o == Overdue || o == AwaitingFix || o == Accepted
}

// Flag is what is told of a finding on top of its outcome.
type Flag string

// Flags.
const (
	FlagArrival       Flag = "arrival"         // its window had closed at first sight
	FlagRegression    Flag = "regression"      // it had been gone for longer than the window
	FlagOnTimeClaimed Flag = "on_time_claimed" // in time by the host's word alone
	FlagTargetMissed  Flag = "target_missed"   // it stood, or stands, after its target
)

// Flags are all of them.
var Flags = []Flag{FlagArrival, FlagRegression, FlagOnTimeClaimed, FlagTargetMissed}

// Outcome is how the finding is counted at an instant. One that closed before
// outcomes were recorded is told by its dates.
func (f *Finding) Outcome(at time.Time) Outcome {
	due := f.Verdict.DueAt
	switch {
	case f.State.Running() && due.IsZero():
		return AwaitingFix
	case f.State.Running() && !at.Before(due):
		return Overdue
	case f.State.Running() && f.Accepted():
		return Accepted
	case f.State.Running():
		return Within
	case f.End.Outcome != "":
		return f.End.Outcome
	case f.State == NotAffected:
		return WasNotAffected
	case due.IsZero() || f.Closed.Before(due):
		return FixedOnTime
	default:
		return FixedLate
	}
}

// exceptionRule begins the rule of a deadline that an exception gives.
const exceptionRule = "exception/"

// Accepted reports whether the deadline is an exception's.
func (f *Finding) Accepted() bool { return strings.HasPrefix(f.Verdict.Rule, exceptionRule) }

// TargetMissed reports whether the finding stood after its target, as of an instant.
func (f *Finding) TargetMissed(at time.Time) bool {
	if !f.State.Running() {
		return f.End.TargetMissed
	}
	return !f.Verdict.TargetAt.IsZero() && !at.Before(f.Verdict.TargetAt)
}
