package sla

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// Cycle labels of a verdict (§5).
const (
	ZeroDay    = "zero_day"
	OutOfCycle = "out_of_cycle"
	InCycle    = "in_cycle"
)

// ErrNoRow is in the chain of the error for an asset that the policy's tables
// have no row for, such as an end-user appliance.
var ErrNoRow = errors.New("the policy has no row")

// Evaluate decides the deadline of one vulnerability on one asset as of now.
//
// It fails where the input or the policy is wrong: an unknown word, a missing
// first detection, a row or calendar that is not there, a clock start outside
// the years the calendars cover. A failed evaluation is never "no deadline";
// the caller shows it.
func Evaluate(p *Policy, in Input, now time.Time) (finding.Verdict, error) {
	if err := check(p, &in, now); err != nil {
		return finding.Verdict{}, fmt.Errorf("evaluate deadline: %w", err)
	}
	e := newEvaluation(p, &in)
	v, err := e.verdict(now)
	if err != nil {
		return finding.Verdict{}, fmt.Errorf("evaluate deadline: %w", err)
	}
	return v, nil
}

// evaluation is one run of the rules: the inputs and what was derived so far.
type evaluation struct {
	p  *Policy
	in *Input

	exposed  bool
	column   Column
	calendar *Calendar

	// start is the clock start, with its local date and why it is that.
	start     time.Time
	startDay  day
	startDate finding.Date
	startWhy  string
	// cycle is the index of the first window after the clock start, fixCycle of
	// the first after the later of clock start and fix.
	cycle, fixCycle int

	// listed is when the vulnerability became a Zero-Day, zero when it is none;
	// k is the later of listed and first detection. kevDue is CISA's own date.
	listed, k    time.Time
	kDay, kevDue day
	kDate        finding.Date
	kWhy         string

	notes []string
}

// dated is a candidate with what its order is decided by.
type dated struct {
	finding.Candidate
	due day
	// at is the breach where it is not the end of due: strict_hours.
	at time.Time
}

func newEvaluation(p *Policy, in *Input) *evaluation {
	e := &evaluation{p: p, in: in}
	e.exposed = in.Asset.Exposure != Internal
	e.column = ColumnOf(in.Asset)
	e.calendar = e.chooseCalendar()
	return e
}

func (e *evaluation) verdict(now time.Time) (finding.Verdict, error) {
	v := finding.Verdict{Policy: e.p.Digest, TZData: e.p.TZData}
	e.noteGaps()
	if e.in.Asset.Class == Golden {
		v.Candidates = []finding.Candidate{}
		return e.gate(v), nil
	}
	if err := e.startClocks(); err != nil {
		return finding.Verdict{}, err
	}
	v.ClockStart = e.startDate

	var buf [maxRows]row
	rows, err := e.rows(buf[:0], e.in.Vulnerability.Severity)
	if err != nil && e.listed.IsZero() {
		return finding.Verdict{}, err
	}
	if err != nil {
		e.note(err.Error() + ": only the Zero-Day rules bind")
	}
	candidates, awaiting := e.rowCandidates(rows)
	if awaiting {
		e.note("no fix yet: \"next available cycle\" gives no date")
	}
	candidates = append(candidates, e.lowerSeverities(rows)...)
	if e.listed.IsZero() || e.p.BOD.WithoutKEV == Binding {
		// A listing must not take away a row that bound before it.
		candidates = append(candidates, e.withoutKEV()...)
	}
	if !e.listed.IsZero() {
		zeroDay, forensics := e.zeroDay()
		candidates = append(candidates, zeroDay...)
		v.Forensics = forensics
		v.MitigateBy = e.k.Add(e.p.KEV.Mitigate).UTC()
	}
	e.settle(&v, rows, candidates, awaiting, now)
	e.rank(&v)
	v.Notes = e.notes
	return v, nil
}

// settle lets the earliest binding candidate win, then an exception in force
// replace it, and says where the finding stands.
func (e *evaluation) settle(v *finding.Verdict, rows []row, candidates []dated, awaiting bool, now time.Time) {
	slices.SortFunc(candidates, e.order)
	won := len(candidates) > 0 && !candidates[0].Advisory
	var due day
	if won {
		winner := candidates[0]
		due = winner.due
		v.Rule, v.DueAt = winner.Rule, e.breachOf(winner)
		v.Arrival = e.onArrival(v.DueAt)
	}
	if x, until, ok := e.exception(now); ok {
		won, due = true, until
		v.Rule, v.DueAt = x.Rule, until.breach(e.p.Zone)
		candidates = append(candidates, dated{Candidate: x, due: until})
	}
	v.Candidates = make([]finding.Candidate, 0, len(candidates))
	for _, c := range candidates {
		v.Candidates = append(v.Candidates, c.Candidate)
	}
	v.Cycle = e.cycleLabel(due, won)
	switch {
	case won && now.Before(v.DueAt):
		v.State = finding.VerdictOpen
	case won:
		v.State = finding.VerdictOverdue
	case awaiting:
		v.State = finding.VerdictAwaitingFix
	}
	if won {
		v.Due = due.date()
	}
	if target, ok := e.target(rows); ok {
		if won && target > due {
			target = due
		}
		v.Target, v.TargetAt = target.date(), target.breach(e.p.Zone)
	}
}

// order sorts binding candidates before advisory ones, then by date, then by rule id.
func (e *evaluation) order(a, b dated) int {
	if a.Advisory != b.Advisory {
		if b.Advisory {
			return -1
		}
		return 1
	}
	if e.p.Switches.StrictHours {
		return cmp.Or(e.breachOf(a).Compare(e.breachOf(b)), cmp.Compare(a.Rule, b.Rule))
	}
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.Rule, b.Rule))
}

func (e *evaluation) breachOf(c dated) time.Time {
	if c.at.IsZero() {
		return c.due.breach(e.p.Zone)
	}
	return c.at.UTC()
}

// onArrival says whether the window had already closed at first sight.
func (e *evaluation) onArrival(breach time.Time) bool {
	seen := e.in.Clock.Detected
	return !seen.IsZero() && !seen.Before(breach)
}

// cycleLabel is the patch cycle of §5.
func (e *evaluation) cycleLabel(due day, dated bool) string {
	urgent := e.in.Vulnerability.Severity.Rank() >= finding.High.Rank()
	switch {
	case e.exploited() != "":
		return ZeroDay
	case urgent && dated && due < e.calendar.lastDays[e.cycle]:
		return OutOfCycle
	default:
		return InCycle
	}
}

func (e *evaluation) note(text string) { e.notes = append(e.notes, text) }

// check reports every fault of the inputs at once.
func check(p *Policy, in *Input, now time.Time) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if p == nil || p.Zone == nil {
		return errors.New("no policy")
	}
	if now.IsZero() {
		fault("the time of asking is missing")
	}
	a := in.Asset
	if !knownClass(a.Class) {
		fault("class %q is not compute, appliance, image, workload, golden or code", a.Class)
	}
	switch a.Exposure {
	case Internet, Internal, UnknownExposure, "":
	default:
		fault("exposure %q is not internet, internal or unknown", a.Exposure)
	}
	switch a.Environment {
	case Production, NonProduction, EndUser, UnknownEnvironment, "":
	default:
		fault("environment %q is not production, nonproduction, enduser or unknown", a.Environment)
	}
	for _, c := range a.SameDigest {
		if c != Image && c != Workload {
			fault("class %q cannot share a digest: only image and workload can", c)
		}
	}
	if in.Vulnerability.Severity.Rank() == 0 {
		fault("severity %q is not critical, high, medium or low", in.Vulnerability.Severity)
	}
	checkClock(in, fault)
	return errors.Join(faults...)
}

func checkClock(in *Input, fault func(string, ...any)) {
	c := in.Clock
	switch in.Asset.Class {
	case Golden:
	case Code:
		if c.Merged.IsZero() && c.Released.IsZero() {
			fault("code needs the time of its merge or of its release")
		}
		if c.Known.IsZero() {
			fault("code needs the date the vulnerability became known")
		}
	default:
		if c.Detected.IsZero() {
			fault("the first detection is missing")
		}
	}
	for _, t := range [...]time.Time{
		c.Available, c.Detected, c.Known, c.Merged, c.Released, c.Validated, c.InService, c.Restarted,
		in.Vulnerability.ActiveExploitation, in.Vulnerability.KEVListed,
	} {
		if !covered(t) {
			fault("the date %s does not lie in the years 1970 to 2149", t.UTC().Format(time.DateOnly))
		}
	}
	if in.Vulnerability.KEVDue != "" && in.Vulnerability.KEVAdded == "" {
		fault("a KEV due date without the date of the KEV listing")
	}
}

func knownClass(c Class) bool {
	switch c {
	case Compute, Appliance, Image, Workload, Golden, Code:
		return true
	default:
		return false
	}
}
