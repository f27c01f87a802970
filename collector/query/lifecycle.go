package query

import (
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// History is what became of a finding and of its deadline.
type History struct {
	Episode    int       `json:"episode" doc:"Counts from 1; what comes back after the window is a new one."`
	Previous   string    `json:"previous,omitempty" doc:"Id of the episode before."`
	Regression bool      `json:"regression" doc:"It had been gone for longer than the window."`
	Reopened   time.Time `json:"reopened,omitzero" doc:"When it last came back within the window."`
	Stale      bool      `json:"stale" doc:"No complete state has shown it since it was last seen; the clock runs."`

	Inputs          finding.Inputs            `json:"inputs" doc:"What the deadline in force was decided from."`
	Moves           []finding.Move            `json:"moves" doc:"How the deadline moved, oldest first."`
	MovesBefore     int                       `json:"moves_before,omitempty" doc:"Older moves, in older versions of the finding."`
	Breaches        []finding.Breach          `json:"breaches" doc:"At most one of each kind, and it stays."`
	PendingApproval []finding.PendingApproval `json:"pending_approval" doc:"Changes that would move it later and wait for approval."`

	End *finding.End `json:"end,omitempty" doc:"How it ended; provisional until final."`
}

func history(f *finding.Finding) History {
	h := History{
		Episode: max(f.Episode, 1), Previous: f.Previous, Regression: f.Regression, Reopened: f.Reopened, Stale: f.Stale,
		Inputs: f.Clock.Inputs, Moves: append([]finding.Move{}, f.Clock.Moves...), MovesBefore: f.Clock.MovesBefore,
		Breaches: append([]finding.Breach{}, f.Clock.Breaches...), PendingApproval: append([]finding.PendingApproval{}, f.Clock.Held...),
	}
	if !f.State.Running() && f.Episode > 0 {
		h.End = &f.End
	}
	return h
}

// lifeStory says in sentences what changed while the clock ran, and how it ended.
func lifeStory(f *finding.Finding) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if f.Regression {
		say("It is a regression: episode %d, the one before is %s.", f.Episode, f.Previous)
	}
	if !f.Reopened.IsZero() {
		say("It came back on %s, within the window: same episode, same clock.", date(f.Reopened))
	}
	if f.Stale {
		say("No complete state has shown it since %s; the clock runs.", date(f.SeenAt))
	}
	for _, m := range f.Clock.Moves {
		by := ""
		if m.ApprovedBy != "" {
			by = ", approved by " + m.ApprovedBy
		}
		say("On %s its deadline moved from %s to %s: %s%s.", date(m.At), none(m.From), none(m.To), m.Why, by)
	}
	for _, h := range f.Clock.Held {
		say("Waiting for approval %s since %s: %s, which would give %s.", h.Approval, date(h.Since), h.What, none(h.To))
	}
	for _, b := range f.Clock.Breaches {
		say("Its deadline to %s was breached at %s.", b.Kind, b.At.UTC().Format(time.RFC3339))
	}
	if f.State.Running() || f.Episode == 0 {
		return out
	}
	e := &f.End
	if fix := e.Fix; !fix.At.IsZero() {
		say("Fixed at %s (%s), between the receipts of %s and %s.", fix.At.UTC().Format(time.RFC3339), fix.Kind,
			fix.NotBefore.UTC().Format(time.RFC3339), fix.NotAfter.UTC().Format(time.RFC3339))
	}
	if e.OnTimeClaimed {
		say("In time by the host's word alone: what receipts prove is after the due date.")
	}
	final := "final since"
	if !e.Final {
		final = "provisional until"
	}
	say("Outcome %s, %s %s.", e.Outcome, final, date(e.FinalAt))
	return out
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func none(d finding.Date) string {
	if d == "" {
		return "no date"
	}
	return string(d)
}
