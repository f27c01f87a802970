package lifecycle

import (
	"cmp"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// deadline is a date with where it comes from.
type deadline struct {
	due  finding.Date
	at   time.Time
	rule string
	from *finding.Verdict
}

func of(v *finding.Verdict) deadline { return deadline{v.Due, v.DueAt, v.Rule, v} }

// settle moves the deadline by what was noted, and records the move.
func (d *decision) settle(was finding.Inputs) error {
	origin := d.in
	origin.Clock = restarted(origin.Clock, time.Time{})
	base, err := evaluate(d.policy, origin, d.now)
	if err != nil {
		return err
	}
	standing := of(&d.old)
	mitigate := d.old.MitigateBy
	if d.relaxed != "" && d.clock.Breach(finding.Patch) == nil {
		if b := of(&base); before(standing.at, b.at) {
			standing, d.in.Clock = b, origin.Clock // the row counts from the original start
		}
		if d.clock.Breach(finding.Mitigate) == nil && d.approved != "" && before(mitigate, base.MitigateBy) {
			mitigate = base.MitigateBy
		}
	}
	if d.stricter != "" {
		d.in.Clock = restarted(d.in.Clock, d.strictFrom)
	}
	current, err := evaluate(d.policy, d.in, d.now)
	if err != nil {
		return err
	}
	if d.beside != nil {
		standing, mitigate = sooner(standing, mitigate, d.beside)
	}
	if d.stricter != "" || d.corrected(was, &current) {
		standing, mitigate = sooner(standing, mitigate, &current)
	}
	d.clock.Inputs = inputs(d.policy, d.in)
	d.clock.Held = d.held
	d.compose(current, standing)
	d.next.ClockStart = base.ClockStart
	d.next.MitigateBy = mitigate
	d.move()
	return nil
}

// sooner takes of each deadline the earlier.
func sooner(standing deadline, mitigate time.Time, v *finding.Verdict) (deadline, time.Time) {
	if before(v.MitigateBy, mitigate) {
		mitigate = v.MitigateBy
	}
	if c := of(v); before(c.at, standing.at) {
		return c, mitigate
	}
	return standing, mitigate
}

// corrected reports whether the same timeline gives an earlier date than it did
// at the last decision: a fix became available or is older than was known, a
// fact is worse.
func (d *decision) corrected(was finding.Inputs, current *finding.Verdict) bool {
	in := d.in
	in.Clock.Detected, in.Clock.Available, in.Clock.NoFix = was.Detected, was.Available, was.Available.IsZero()
	v := &in.Vulnerability
	v.KEVAdded, v.KEVDue = was.KEVAdded, was.KEVDue
	v.Exploitation, v.Automatable, v.Impact = was.Exploitation, was.Automatable, was.Impact
	then, err := evaluate(d.policy, in, d.now)
	return err != nil || before(current.DueAt, then.DueAt) || before(current.MitigateBy, then.MitigateBy)
}

// compose is the verdict of the current timeline with the deadline that stands.
func (d *decision) compose(current finding.Verdict, stands deadline) {
	d.next = current
	d.next.Arrival = d.old.Arrival
	d.next.Due, d.next.DueAt, d.next.Rule = stands.due, stands.at, stands.rule
	if d.next.Target != "" && stands.due != "" && d.next.Target > stands.due {
		d.next.Target, d.next.TargetAt = stands.due, stands.at
	}
	switch {
	case stands.at.IsZero():
		d.next.State = current.State
	case d.now.Before(stands.at):
		d.next.State = finding.VerdictOpen
	default:
		d.next.State = finding.VerdictOverdue
	}
	won, ok := candidate(stands.from, stands.rule, stands.due)
	if _, shown := candidate(&d.next, stands.rule, stands.due); shown || !ok {
		return
	}
	if !strings.HasPrefix(won.Why, standsWords) {
		won.Why = standsWords + won.Why
	}
	d.next.Candidates = append([]finding.Candidate{won}, d.next.Candidates...)
}

// standsWords begin the reason of a deadline that stands though what is known
// now would give a later one.
const standsWords = "it stands, since nothing approved moves it later: "

func candidate(v *finding.Verdict, rule string, due finding.Date) (finding.Candidate, bool) {
	for _, c := range v.Candidates {
		if !c.Advisory && c.Rule == rule && c.Due == due {
			return c, true
		}
	}
	return finding.Candidate{}, false
}

// move records that a deadline moved, and its breach if it moved into the past.
func (d *decision) move() {
	for _, b := range deadlines(&d.next) {
		if moved := !b.Deadline.Equal(at(&d.old, b.Kind)); moved && !d.now.Before(b.Deadline) && d.stands() {
			b.At = d.now
			d.clock.Breaches = breach(d.clock.Breaches, b)
		}
	}
	if d.next.DueAt.Equal(d.old.DueAt) {
		return
	}
	m := finding.Move{
		At: d.now, From: d.old.Due, To: d.next.Due, Rule: d.next.Rule,
		Cause: cmp.Or(d.relaxed, d.stricter, finding.CauseFacts), Why: strings.Join(d.words, "; "),
	}
	if before(d.next.DueAt, d.old.DueAt) {
		m.Cause = cmp.Or(d.stricter, d.relaxed, finding.CauseFacts)
	} else {
		m.ApprovedBy = d.approved
	}
	if m.Why == "" {
		m.Why = "what is known of the fix or the vulnerability became stricter"
		if d.beside != nil {
			m.Cause, m.Why = finding.CausePolicy, "policy "+short(d.Policy.Digest)+" coming into force"
		}
	}
	d.clock.Moves = append(d.clock.Moves, m)
	if n := len(d.clock.Moves) - maxMoves; n > 0 {
		d.clock.Moves = append([]finding.Move(nil), d.clock.Moves[n:]...)
		d.clock.MovesBefore += n
	}
}

// stands reports whether the finding stands now.
func (d *decision) stands() bool {
	n := len(d.Spans)
	return n > 0 && d.Spans[n-1].To.IsZero()
}

func at(v *finding.Verdict, k finding.DeadlineKind) time.Time {
	if k == finding.Mitigate {
		return v.MitigateBy
	}
	return v.DueAt
}
