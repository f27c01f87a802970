package lifecycle

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

// maxMoves bounds the moves kept in a finding; older versions have the others.
const maxMoves = 32

// decision is one step of an episode's deadline.
type decision struct {
	Case
	now   time.Time
	old   finding.Verdict
	clock finding.Clock
	next  finding.Verdict

	// in is what is taken over of Input under policy, the one that binds.
	in     sla.Input
	policy *sla.Policy
	// stricter and relaxed name what changed; approved who granted it.
	stricter, relaxed finding.Cause
	strictFrom        time.Time
	approved          string
	words             []string
	held              []finding.PendingApproval
	// beside is a stricter verdict of a policy that is otherwise held.
	beside *finding.Verdict
}

func (d *decision) run() error {
	was := d.clock.Inputs
	d.in, d.policy = d.Input, d.Kept
	d.in.Vulnerability.Severity = d.KeptSeverity
	d.in.Asset = d.standing(was)
	d.in.Vulnerability = stickyKEV(was, d.in.Vulnerability)
	d.in.Clock = keepStart(was, d.in.Clock)
	for _, step := range []func(finding.Inputs) error{d.byPolicy, d.bySeverity, d.byKEV, d.byClassification, d.settle} {
		if err := step(was); err != nil {
			return err
		}
	}
	return nil
}

// keepStart keeps the earlier of two dates of a fix, and a timeline that was
// started again.
func keepStart(was finding.Inputs, c sla.Clock) sla.Clock {
	if !c.NoFix && !was.Available.IsZero() && was.Available.Before(c.Available) {
		c.Available = was.Available
	}
	return restarted(c, was.Restarted)
}

func restarted(c sla.Clock, at time.Time) sla.Clock {
	c.Restarted, c.RestartedBy = at, "the change to a stricter timeline"
	return c
}

// tighten notes a change to a stricter timeline.
func (d *decision) tighten(cause finding.Cause, from time.Time, words string) {
	d.words = append(d.words, words)
	if d.stricter == "" {
		d.stricter = cause
	}
	d.strictFrom = later(d.strictFrom, from)
}

// relax notes a change to a looser one.
func (d *decision) relax(cause finding.Cause, words, by string) {
	d.words = append(d.words, words)
	d.approved = cmp.Or(by, d.approved)
	if d.relaxed == "" {
		d.relaxed = cause
	}
}

// hold keeps a looser change waiting; the date it would give is filled in by settle.
func (d *decision) hold(cause finding.Cause, id, what string, to finding.Date) {
	h := finding.PendingApproval{Approval: id, Cause: cause, Since: d.now, To: to, What: what}
	for _, before := range d.clock.Held {
		if before.Approval == id {
			h.Since = before.Since
		}
	}
	d.held = append(d.held, h)
}

// byPolicy takes over the policy in force, unless it is looser for this finding.
func (d *decision) byPolicy(finding.Inputs) error {
	if d.Kept.Digest == d.Policy.Digest {
		return nil
	}
	kept, want := d.in, d.in
	want.Vulnerability.Severity = d.Input.Vulnerability.Severity
	kept.Clock, want.Clock = restarted(kept.Clock, time.Time{}), restarted(want.Clock, time.Time{})
	e, err := compare(d.Kept, d.Policy, kept, want, d.now)
	if err != nil {
		return err
	}
	name := "policy " + short(d.Policy.Digest)
	switch g := d.PolicyChange.Grant; {
	case e.looser && g == nil:
		d.hold(finding.CausePolicy, d.PolicyChange.ID, name, e.due)
		if e.stricterNow {
			want.Clock = restarted(want.Clock, d.Effective)
			v, err := evaluate(d.Policy, want, d.now)
			if err != nil {
				return err
			}
			d.beside = &v
		}
		return nil
	case e.looser:
		d.relax(finding.CausePolicy, name+" approved by "+g.By, g.By)
	case e.stricterNow:
		d.tighten(finding.CausePolicy, d.Effective, name+" coming into force")
	}
	d.policy, d.in.Vulnerability.Severity = d.Policy, want.Vulnerability.Severity
	return nil
}

func (d *decision) bySeverity(was finding.Inputs) error {
	now := d.KeptSeverity // the same policy's reading: what differs is the feed's doing
	words := "severity " + string(was.Severity) + " to " + string(now)
	switch order := cmp.Compare(now.Rank(), was.Severity.Rank()); {
	case order > 0:
		d.tighten(finding.CauseSeverityUp, d.now, words)
	case order < 0:
		d.relax(finding.CauseSeverityDown, words, "")
	}
	return nil
}

func (d *decision) byKEV(was finding.Inputs) error {
	if was.KEVAdded == "" && d.in.Vulnerability.KEVAdded != "" {
		d.tighten(finding.CauseKEV, d.now, "listed as known exploited")
	}
	return nil
}

func (d *decision) byClassification(was finding.Inputs) error {
	force, want := d.standing(was), d.Input.Asset
	if same(force, want) {
		return nil
	}
	if g := d.Classification.Grant; g != nil {
		e, err := d.effect(force, want)
		if err != nil {
			return err
		}
		d.in.Asset = want
		words := strings.Join(differences(force, want), ", ")
		if e.looser {
			d.relax(finding.CauseClassification, words+", approved by "+g.By, g.By)
		} else if e.stricterNow {
			d.tighten(finding.CauseClassification, d.now, words)
		}
		return nil
	}
	got, left, err := Tighten(force, want, func(have, try sla.Asset) (bool, error) {
		e, err := d.effect(have, try)
		return e.looser, err
	})
	if err != nil {
		return err
	}
	d.in.Asset = got
	if words := differences(force, got); len(words) > 0 {
		e, err := d.effect(force, got)
		if err != nil {
			return err
		}
		if e.stricterNow {
			d.tighten(finding.CauseClassification, d.now, strings.Join(words, ", "))
		}
	}
	if len(left) > 0 {
		e, err := d.effect(got, want)
		if err != nil {
			return err
		}
		d.hold(finding.CauseClassification, d.Classification.ID, strings.Join(left, ", "), e.due)
	}
	return nil
}

// standing is the classification that binds; what an input does not restate
// counts as it is now.
func (d *decision) standing(was finding.Inputs) sla.Asset {
	a := asset(was)
	a.HighDataSensitivity, a.SameDigest = d.Input.Asset.HighDataSensitivity, d.Input.Asset.SameDigest
	return a
}

// effect compares two classifications under the policy that binds.
func (d *decision) effect(force, want sla.Asset) (effect, error) {
	a, b := d.in, d.in
	a.Asset, b.Asset = force, want
	a.Clock, b.Clock = restarted(a.Clock, time.Time{}), restarted(b.Clock, time.Time{})
	return compare(d.policy, d.policy, a, b, d.now)
}

// effect is what a change does to a finding's dates.
type effect struct {
	// looser: at some severity a date would be later, or there would be none.
	looser bool
	// stricterNow: at the finding's own severity a date would be earlier.
	stricterNow bool
	// due is the date it would give.
	due finding.Date
}

// compare holds two ways to date a finding against each other, at its own
// severity and at every other it may come to have.
func compare(p, q *sla.Policy, a, b sla.Input, now time.Time) (effect, error) {
	var e effect
	va, errA := evaluate(p, a, now)
	vb, errB := evaluate(q, b, now)
	switch {
	case errA != nil && errB != nil:
		return e, errors.Join(errA, errB)
	case errB != nil:
		return effect{looser: true}, nil // what gives no date is never stricter
	case errA != nil:
		return effect{stricterNow: true, due: vb.Due}, nil
	}
	e.due = vb.Due
	e.stricterNow = before(vb.DueAt, va.DueAt) || before(vb.MitigateBy, va.MitigateBy)
	e.looser = before(va.DueAt, vb.DueAt) || before(va.MitigateBy, vb.MitigateBy)
	for _, sev := range [...]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low} {
		a.Vulnerability.Severity, b.Vulnerability.Severity = sev, sev
		va, errA := evaluate(p, a, now)
		vb, errB := evaluate(q, b, now)
		if errA != nil {
			continue
		}
		e.looser = e.looser || errB != nil || before(va.DueAt, vb.DueAt) || before(va.MitigateBy, vb.MitigateBy)
	}
	return e, nil
}

// Looser reports whether a classification can give a later date than another for
// what is found now.
func Looser(p *sla.Policy, have, want sla.Asset, now time.Time) (bool, error) {
	in := sla.Input{
		Asset: have, Vulnerability: sla.Vulnerability{Severity: finding.High},
		Clock: sla.Clock{Available: now, Detected: now},
	}
	other := in
	other.Asset = want
	e, err := compare(p, p, in, other, now)
	return e.looser, err
}

// before orders deadlines: none is later than any.
func before(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

func short(digest string) string { return digest[:min(12, len(digest))] }
