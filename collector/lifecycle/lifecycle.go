// Package lifecycle carries a finding's deadline through what changes while its
// clock runs, and says how the finding ended.
//
// It is pure: the record so far, what is known now and the time of asking go in,
// the record goes out. Asked again with the same, it answers the same and
// changes nothing.
//
// Invariants:
//   - A deadline moves earlier by itself, and later only by the feed's own
//     downgrade before the breach or by a granted approval.
//   - A stricter timeline starts at the change, never before it. A deadline that
//     moves into the past is breached at the moment of the move.
//   - A breach is recorded once for each episode and kind of deadline, and stays.
//   - What a feed takes back (a KEV listing, a date of it) relaxes nothing.
//   - An outcome is provisional for the policy's window, and then never changes.
package lifecycle

import (
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

// Span is a time in which the finding stood; a zero To is until now.
type Span struct{ From, To time.Time }

// Grant is an approval: the id of the request, who granted it and when.
type Grant struct {
	ID, By string
	At     time.Time
}

// Request is a change that may have to be approved, and its grant where there
// is one.
type Request struct {
	ID    string
	Grant *Grant
}

// Case is an episode as it is known now.
type Case struct {
	// Policy is the one in force, since Effective.
	Policy    *sla.Policy
	Effective time.Time
	// Kept is the policy the episode's last decision was made under. It is not
	// looked at before the first.
	Kept *sla.Policy
	// Input is what the engine needs; its severity is the one under Policy.
	Input sla.Input
	// KeptSeverity is the severity under Kept.
	KeptSeverity finding.Severity
	// Spans are the times in which it stood, since the last decision and before, in
	// order of time.
	Spans []Span
	// Classification and PolicyChange are the requests to take over the asset's
	// attributes and Policy where they are looser.
	Classification, PolicyChange Request
}

// Decide dates an episode as of now: it makes the first decision, or moves the
// recorded deadline by what changed since.
func Decide(v finding.Verdict, c finding.Clock, k Case, now time.Time) (finding.Verdict, finding.Clock, error) {
	if !c.Started() {
		return first(k, now)
	}
	c = copied(c)
	c.Breaches = passed(c.Breaches, &v, k.Spans, now)
	// What is taken over of a classification may decide what is of a policy, and
	// the other way round: again, until nothing is.
	for range maxRounds {
		d := &decision{Case: k, now: now, old: v, clock: c}
		if err := d.run(); err != nil {
			return finding.Verdict{}, finding.Clock{}, err
		}
		settled := same(asset(c.Inputs), asset(d.clock.Inputs)) && c.Inputs.Policy == d.clock.Inputs.Policy
		v, c = d.next, d.clock
		if settled {
			break
		}
		if c.Inputs.Policy == k.Policy.Digest {
			k.Kept, k.KeptSeverity = k.Policy, k.Input.Vulnerability.Severity
		}
	}
	return v, c, nil
}

// maxRounds is more than there are things to take over.
const maxRounds = 8

// Pass records the breaches of a deadline that does not move any more.
func Pass(v finding.Verdict, c finding.Clock, spans []Span, now time.Time) finding.Clock {
	c = copied(c)
	c.Breaches = passed(c.Breaches, &v, spans, now)
	return c
}

func first(k Case, now time.Time) (finding.Verdict, finding.Clock, error) {
	v, err := evaluate(k.Policy, k.Input, now)
	if err != nil {
		return v, finding.Clock{}, err
	}
	c := finding.Clock{Inputs: inputs(k.Policy, k.Input)}
	c.Breaches = passed(nil, &v, k.Spans, now)
	return v, c, nil
}

// evaluate is sla.Evaluate with instants as the store keeps them.
func evaluate(p *sla.Policy, in sla.Input, now time.Time) (finding.Verdict, error) {
	v, err := sla.Evaluate(p, in, now)
	if err != nil {
		return v, fmt.Errorf("policy %.12s: %w", p.Digest, err)
	}
	v.DueAt, v.MitigateBy, v.TargetAt = v.DueAt.Truncate(time.Microsecond), v.MitigateBy.Truncate(time.Microsecond), v.TargetAt.Truncate(time.Microsecond)
	return v, nil
}

// passed adds the breach of each deadline that the finding outlived by now.
func passed(have []finding.Breach, v *finding.Verdict, spans []Span, now time.Time) []finding.Breach {
	for _, d := range deadlines(v) {
		if at, ok := outlived(d.Deadline, spans, now); ok {
			have = breach(have, finding.Breach{Kind: d.Kind, At: at, Deadline: d.Deadline})
		}
	}
	return have
}

// breach adds b unless there is one of its kind.
func breach(have []finding.Breach, b finding.Breach) []finding.Breach {
	for _, h := range have {
		if h.Kind == b.Kind {
			return have
		}
	}
	return append(have, b)
}

func deadlines(v *finding.Verdict) []finding.Breach {
	var out []finding.Breach
	if !v.DueAt.IsZero() {
		out = append(out, finding.Breach{Kind: finding.Patch, Deadline: v.DueAt})
	}
	if !v.MitigateBy.IsZero() {
		out = append(out, finding.Breach{Kind: finding.Mitigate, Deadline: v.MitigateBy})
	}
	return out
}

// outlived is the first instant, from the deadline on and up to now, at which
// the finding stood.
func outlived(deadline time.Time, spans []Span, now time.Time) (time.Time, bool) {
	if now.Before(deadline) {
		return time.Time{}, false
	}
	for _, s := range spans {
		if s.To.IsZero() || s.To.After(deadline) {
			return later(s.From, deadline), true
		}
	}
	return time.Time{}, false
}

// copied is c with lists of its own.
func copied(c finding.Clock) finding.Clock {
	c.Moves = append([]finding.Move(nil), c.Moves...)
	c.Breaches = append([]finding.Breach(nil), c.Breaches...)
	return c
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
