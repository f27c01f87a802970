package sla

import (
	"errors"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// startClocks finds the clock start, the windows after it, and the instant K of
// a Zero-Day.
func (e *evaluation) startClocks() error {
	if e.in.Asset.Class == Code {
		e.startCode()
	} else {
		e.startInfrastructure()
	}
	if c := e.in.Clock; !c.Restarted.IsZero() {
		e.start, e.startWhy = c.Restarted, c.RestartedBy
	}
	e.startDay = dayOf(e.start, e.p.Zone)
	e.startDate = e.startDay.date()
	e.startWhy += " on " + string(e.startDate)
	if err := e.findCycles(); err != nil {
		return err
	}
	return e.startZeroDay()
}

// startInfrastructure is the earlier of vendor availability and first detection.
func (e *evaluation) startInfrastructure() {
	c := e.in.Clock
	e.start, e.startWhy = c.Detected, "first detection"
	if !c.NoFix && !c.Available.IsZero() && c.Available.Before(c.Detected) {
		e.start, e.startWhy = c.Available, "vendor availability"
	}
	if !c.NoFix && c.Available.IsZero() {
		e.note("the date of the fix is not known: the clock starts at first detection")
	}
	if e.p.Switches.FloorAtAssetInService && c.InService.After(e.start) {
		e.start, e.startWhy = c.InService, "the asset coming into service (floor_at_asset_in_service)"
	}
}

// startCode is the later of (the earlier of merge and release) and the date the
// vulnerability became known.
func (e *evaluation) startCode() {
	c := e.in.Clock
	e.start, e.startWhy = c.Merged, "merge to the default branch"
	if c.Merged.IsZero() || (!c.Released.IsZero() && c.Released.Before(c.Merged)) {
		e.start, e.startWhy = c.Released, "release"
	}
	if !e.p.Switches.CodeClockLiteral && c.Known.After(e.start) {
		e.start, e.startWhy = c.Known, "the vulnerability becoming known"
	}
}

// findCycles finds the first window after the clock start, and the first after
// the later of clock start and fix.
func (e *evaluation) findCycles() error {
	if e.calendar == nil {
		return errors.New("the policy has no calendar for this asset")
	}
	var err error
	if e.cycle, err = e.calendar.next(e.start); err != nil {
		return fmt.Errorf("clock start: %w", err)
	}
	e.fixCycle = e.cycle
	if e.fixAfterStart() {
		if e.fixCycle, err = e.calendar.next(e.in.Clock.Available); err != nil {
			return fmt.Errorf("fix availability: %w", err)
		}
	}
	return nil
}

// fixAfterStart says whether the fix came after the clock had started.
func (e *evaluation) fixAfterStart() bool {
	return !e.in.Clock.NoFix && e.in.Clock.Available.After(e.start)
}

// startZeroDay finds K, the later of the listing and first detection. A date of
// CISA's is the start of that local day.
func (e *evaluation) startZeroDay() error {
	v := e.in.Vulnerability
	what := "the operator's mark of active exploitation"
	e.listed = v.ActiveExploitation
	if v.KEVAdded != "" {
		added, err := parseDay(v.KEVAdded)
		if err != nil {
			return fmt.Errorf("KEV listing: %w", err)
		}
		at := added.begin(e.p.Zone)
		if !v.KEVListed.IsZero() && dayOf(v.KEVListed, e.p.Zone) == added {
			at = v.KEVListed
		}
		if e.listed.IsZero() || !e.listed.Before(at) {
			e.listed, what = at, "the KEV listing"
		}
	}
	if e.listed.IsZero() {
		return nil
	}
	if v.KEVDue != "" {
		due, err := parseDay(v.KEVDue)
		if err != nil {
			return fmt.Errorf("KEV due date: %w", err)
		}
		e.kevDue = due
	}
	e.k = e.listed
	if seen, words := e.firstSight(); seen.After(e.listed) {
		e.k, what = seen, words
	}
	e.kDay = dayOf(e.k, e.p.Zone)
	e.kDate = e.kDay.date()
	e.kWhy = what + " on " + string(e.kDate)
	return nil
}

// firstSight is the first detection. Code may have none: it is seen when its
// clock starts, since it is neither there nor known to be vulnerable before.
func (e *evaluation) firstSight() (time.Time, string) {
	if d := e.in.Clock.Detected; !d.IsZero() {
		return d, "first detection"
	}
	return e.start, "the clock start"
}

// exception finds the exception in force: of several the one approved last.
func (e *evaluation) exception(now time.Time) (finding.Candidate, day, bool) {
	var best *Exception
	var until day
	for i := range e.in.Exceptions {
		x := &e.in.Exceptions[i]
		last, err := parseDay(x.Until)
		switch {
		case x.Suspended:
			e.note("exception " + x.ID + " is suspended and not looked at")
			continue
		case err != nil || x.From.IsZero():
			e.note("exception " + x.ID + " lacks a readable approval or end and is not looked at")
			continue
		case now.Before(x.From) || !now.Before(last.breach(e.p.Zone)):
			continue
		}
		if best == nil || x.From.After(best.From) || (x.From.Equal(best.From) && x.ID < best.ID) {
			best, until = x, last
		}
	}
	if best == nil {
		return finding.Candidate{}, 0, false
	}
	return finding.Candidate{
		Rule: "exception/" + best.ID, Start: dayOf(best.From, e.p.Zone).date(), Due: until.date(),
		Why: "exception " + best.ID + " in force: its approved date replaces the result until it ends",
	}, until, true
}
