package sla

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// ColumnOf is the column of an asset: end user, else internet-facing or core,
// else the environment, with the unknown read strictly.
func ColumnOf(a Asset) Column {
	switch {
	case a.Environment == EndUser:
		return ColumnEndUser
	case a.Exposure != Internal || a.Core:
		return ColumnInternet
	case a.Environment == NonProduction:
		return ColumnNonProduction
	default:
		return ColumnProduction
	}
}

// byEnvironment says whether a class has a production column only, so that a
// non-production one is told by its environment and not by its exposure.
func byEnvironment(c Class) bool { return c == Image || c == Workload || c == Code }

// chooseCalendar asks in the order cold wallet, end user, column.
func (e *evaluation) chooseCalendar() *Calendar {
	a, c := e.in.Asset, e.p.Calendars
	switch {
	case a.ColdWallet:
		return c.ColdWallet
	case a.Environment == EndUser:
		return c.EndUser
	case byEnvironment(a.Class) && a.Environment == NonProduction:
		return c.NonProduction
	}
	switch e.column {
	case ColumnInternet:
		return c.Internet
	case ColumnNonProduction:
		return c.NonProduction
	default:
		return c.Production
	}
}

// row is a cell of the timelines that applies.
type row struct {
	section string // "7.1"
	sev     finding.Severity
	// scope is the column or class in the rule id, words the same for people;
	// both are empty where a table has one column. A class stands before the
	// severity, a column after it.
	scope, words string
	classFirst   bool
	cell         Cell
}

// id is the rule id: "7.1/high/production", "7.3/image/high", "7.4/high".
func (r row) id() string {
	switch {
	case r.scope == "":
		return r.section + "/" + string(r.sev)
	case r.classFirst:
		return r.section + "/" + r.scope + "/" + string(r.sev)
	default:
		return r.section + "/" + string(r.sev) + "/" + r.scope
	}
}

// text is the row in words: "§7.1 high, internal production: ".
func (r row) text() string {
	if r.words == "" {
		return "§" + r.section + " " + string(r.sev) + ": "
	}
	return "§" + r.section + " " + string(r.sev) + ", " + r.words + ": "
}

// maxRows is how many rows can bind one asset: two tables, or two image rows.
const maxRows = 2

// rows appends the rows of a severity that bind the asset.
func (e *evaluation) rows(rows []row, sev finding.Severity) ([]row, error) {
	switch a := e.in.Asset; a.Class {
	case Compute:
		rows = e.tableRow(rows, "7.1", e.p.Timelines.Compute, sev, e.column)
	case Appliance:
		rows = e.tableRow(rows, "7.2", e.p.Timelines.Appliance, sev, e.column)
		if e.p.Switches.ApplianceBothTables {
			rows = e.tableRow(rows, "7.1", e.p.Timelines.Compute, sev, e.column)
		}
	case Image, Workload:
		rows = e.imageRows(rows, sev)
	case Code:
		if a.Environment == NonProduction && !e.p.Switches.CodeNonProductionAsCode {
			rows = e.tableRow(rows, "7.1", e.p.Timelines.Compute, sev, ColumnNonProduction)
		} else if cell := e.p.Timelines.Code[sev]; cell.Kind != NoCell {
			rows = append(rows, row{section: "7.4", sev: sev, cell: cell})
		}
	case Golden:
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w for class %s, severity %s, column %s", ErrNoRow, e.in.Asset.Class, sev, e.column)
	}
	return rows, nil
}

func (e *evaluation) tableRow(rows []row, section string, t Table, sev finding.Severity, col Column) []row {
	cell := t[sev][col]
	if cell.Kind == NoCell {
		return rows
	}
	return append(rows, row{section: section, sev: sev, scope: string(col), words: columnWords(col), cell: cell})
}

// imageRows are the rows of a digest wherever it is held: registry and running.
func (e *evaluation) imageRows(rows []row, sev finding.Severity) []row {
	a := e.in.Asset
	if a.Environment == NonProduction {
		return e.tableRow(rows, "7.1", e.p.Timelines.Compute, sev, ColumnNonProduction)
	}
	for _, c := range [...]Class{Image, Workload} {
		if c != a.Class && !slices.Contains(a.SameDigest, c) {
			continue
		}
		line, words := e.p.Timelines.Image, "registry image"
		if c == Workload {
			line, words = e.p.Timelines.Workload, "running workload"
		}
		if cell := line[sev]; cell.Kind != NoCell {
			rows = append(rows, row{section: "7.3", sev: sev, scope: string(c), words: words, classFirst: true, cell: cell})
		}
	}
	return rows
}

func columnWords(c Column) string {
	switch c {
	case ColumnInternet:
		return "internet-facing or core"
	case ColumnProduction:
		return "internal production"
	case ColumnNonProduction:
		return "internal non-production"
	case ColumnEndUser:
		return "end user"
	default:
		return string(c)
	}
}

// rowCandidates are the dates of the asset's own rows. awaiting is true when a
// row gives no date because there is no fix yet.
func (e *evaluation) rowCandidates(rows []row) (candidates []dated, awaiting bool) {
	candidates = make([]dated, 0, 5)
	for _, r := range rows {
		switch r.cell.Kind {
		case Days:
			candidates = append(candidates, e.daysCandidate(r, r.id()))
		case CycleOrDays:
			cycle, days := e.eitherCandidates(r)
			candidates = append(candidates, cycle, days)
		case NextCycle:
			c, ok := e.nextAvailable(r)
			if !ok {
				awaiting = true
				continue
			}
			candidates = append(candidates, c)
		case NoCell:
		}
	}
	return candidates, awaiting
}

func (e *evaluation) daysCandidate(r row, id string) dated {
	why := r.text() + daysWords(r.cell.Days) + " from " + e.startWhy
	return e.afterDays(id, why, r.cell.Days)
}

// afterDays is a candidate n days after the clock start.
func (e *evaluation) afterDays(id, why string, n int) dated {
	c := dated{due: e.startDay + day(n)}
	if e.p.Switches.StrictHours {
		c.at = e.start.Add(days(n))
		c.due = lastDay(c.at, e.p.Zone)
	}
	c.Candidate = finding.Candidate{Rule: id, Start: e.startDate, Due: c.due.date(), Why: why}
	return c
}

func (e *evaluation) cycleCandidate(r row, id string, window int, from string) dated {
	due := e.calendar.lastDays[window]
	why := r.text() + "the next window of calendar " + e.calendar.name + " after " + from + " ends on this day"
	return dated{due: due, Candidate: finding.Candidate{Rule: id, Start: e.startDate, Due: due.date(), Why: why}}
}

// eitherCandidates reads "next cycle or N days" by the switch cycle_or_days.
func (e *evaluation) eitherCandidates(r row) (cycle, days dated) {
	cycle = e.cycleCandidate(r, r.id()+"/cycle", e.cycle, e.startWhy)
	days = e.daysCandidate(r, r.id()+"/days")
	switch e.p.Switches.CycleOrDays {
	case Target:
		cycle.Advisory = true
		cycle.Why += " (cycle_or_days: target, the days are the maximum)"
	case Latest:
		if e.laterThan(cycle, days) {
			days.Advisory = true
			days.Why += " (cycle_or_days: latest)"
		} else {
			cycle.Advisory = true
			cycle.Why += " (cycle_or_days: latest)"
		}
	default: // earliest: both bind
	}
	return cycle, days
}

func (e *evaluation) laterThan(a, b dated) bool {
	if e.p.Switches.StrictHours {
		return e.breachOf(a).After(e.breachOf(b))
	}
	return a.due > b.due
}

// nextAvailable is "next available cycle": there must be a fix to apply.
func (e *evaluation) nextAvailable(r row) (dated, bool) {
	if !e.in.Clock.NoFix {
		from := e.startWhy
		if e.fixAfterStart() {
			from = "the fix became available on " + dayOf(e.in.Clock.Available, e.p.Zone).String()
		}
		return e.cycleCandidate(r, r.id(), e.fixCycle, from), true
	}
	n := e.p.Switches.AwaitingFixBackstopDays
	if n == 0 {
		return dated{}, false
	}
	why := r.text() + "no fix yet, backstop of " + daysWords(n) + " from " + e.startWhy
	return e.afterDays(r.id()+"/backstop", why, n), true
}

// lowerSeverities looks at the rows of lower severities. With the switch
// monotone_severity their dates bind too; without it a date that would be
// earlier is said in a note.
func (e *evaluation) lowerSeverities(own []row) []dated {
	var binding []dated
	said := !e.p.Switches.MonotoneSeverity && len(own) == 0
	for _, sev := range [...]finding.Severity{finding.High, finding.Medium, finding.Low} {
		if said || sev.Rank() >= e.in.Vulnerability.Severity.Rank() {
			continue
		}
		var buf [maxRows]row
		rows, err := e.rows(buf[:0], sev)
		if err != nil {
			continue // only the severity's own row must exist
		}
		if !e.p.Switches.MonotoneSeverity {
			said = e.noteEarlier(sev, rows, own)
			continue
		}
		lower, _ := e.rowCandidates(rows)
		for i := range lower {
			lower[i].Why += " (monotone_severity: it binds the higher severities)"
		}
		binding = append(binding, lower...)
	}
	return binding
}

// noteEarlier says that a lower severity would be due before this one.
func (e *evaluation) noteEarlier(sev finding.Severity, rows, own []row) bool {
	lower, ok1 := e.earliestOf(rows)
	higher, ok2 := e.earliestOf(own)
	if !ok1 || !ok2 || lower >= higher {
		return false
	}
	e.note("a " + string(sev) + " here would be due " + lower.String() + ", before this " + string(e.in.Vulnerability.Severity) +
		"'s row (" + higher.String() + "): \"next cycle\" read strictly; the switch monotone_severity makes it bind")
	return true
}

// earliestOf is the earliest binding date of rows, as rowCandidates gives it.
func (e *evaluation) earliestOf(rows []row) (day, bool) {
	var best day
	found := false
	for _, r := range rows {
		due, ok := e.dueOf(r)
		if ok && (!found || due < best) {
			best, found = due, true
		}
	}
	return best, found
}

func (e *evaluation) dueOf(r row) (day, bool) {
	cycle := e.calendar.lastDays[e.cycle]
	switch r.cell.Kind {
	case Days:
		return e.daysLater(r.cell.Days), true
	case CycleOrDays:
		days := e.daysLater(r.cell.Days)
		switch e.p.Switches.CycleOrDays {
		case Target:
			return days, true
		case Latest:
			return max(cycle, days), true
		default:
			return min(cycle, days), true
		}
	case NextCycle:
		if !e.in.Clock.NoFix {
			return e.calendar.lastDays[e.fixCycle], true
		}
		n := e.p.Switches.AwaitingFixBackstopDays
		return e.daysLater(n), n > 0
	default:
		return 0, false
	}
}

// daysLater is the last day of n days after the clock start.
func (e *evaluation) daysLater(n int) day {
	if e.p.Switches.StrictHours {
		return lastDay(e.start.Add(days(n)), e.p.Zone)
	}
	return e.startDay + day(n)
}

// target is the softer date of crown jewels: the earlier of the row's own cycle
// and a share of its days. The switch cycle_or_days: target gives every asset one.
func (e *evaluation) target(rows []row) (day, bool) {
	var best day
	found := false
	take := func(d day) {
		if !found || d < best {
			best, found = d, true
		}
	}
	jewel := e.in.Asset.CrownJewel
	for _, r := range rows {
		switch r.cell.Kind {
		case Days, CycleOrDays:
			if jewel {
				take(e.daysLater(r.cell.Days * e.p.TargetPercent / 100))
			}
			if r.cell.Kind == CycleOrDays && (jewel || e.p.Switches.CycleOrDays == Target) {
				take(e.calendar.lastDays[e.cycle])
			}
		case NextCycle:
			if jewel && !e.in.Clock.NoFix {
				take(e.calendar.lastDays[e.fixCycle])
			}
		case NoCell:
		}
	}
	return best, found
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func daysWords(n int) string {
	if n == 1 {
		return "1 day"
	}
	return strconv.Itoa(n) + " days"
}
