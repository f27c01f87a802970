package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

// Effect says what a change of a policy does to deadlines.
type Effect string

// Effects of a change, all else being equal.
const (
	// Stricter: no date gets later, some may get earlier.
	Stricter Effect = "stricter"
	// Looser: some date can get later, or an obligation falls away.
	Looser Effect = "looser"
	// Same: no date and no obligation differs.
	Same Effect = "same"
)

// Change is one cell in which two policies differ.
type Change struct {
	// Path is where in the file: keys joined by dots.
	Path string `json:"path"`
	// From and To are the two cells in the standard's words.
	From   string `json:"from"`
	To     string `json:"to"`
	Effect Effect `json:"effect"`
}

// String is "timelines.code.low: 14 days -> 30 days (looser)".
func (c Change) String() string {
	return fmt.Sprintf("%s: %s -> %s (%s)", c.Path, c.From, c.To, c.Effect)
}

// Diff lists the cells in which a policy differs from the one it would replace,
// in the order of the file. Policies without a difference here give the same
// deadlines for the same severity, whatever their files' comments say.
//
// A change counts as looser when there is a case in which it moves a date later:
// "next cycle" for "14 days" is, though it will often be earlier. Where Diff
// finds nothing looser, no deadline of the new policy lies after that of the old
// for an asset and vulnerability of one severity.
func Diff(from, to *sla.Policy) []Change {
	d := &differ{from: from, to: to}
	d.zone()
	d.calendars()
	d.timelines()
	d.golden()
	d.number("crown_jewels.target_percent", from.TargetPercent, to.TargetPercent, " %", less)
	d.zeroDay()
	d.bod()
	d.severity()
	d.priority()
	d.switches()
	return d.changes
}

// Loosened are the changes that are looser.
func Loosened(changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Effect != Looser })
}

type differ struct {
	from, to *sla.Policy
	changes  []Change
}

func (d *differ) add(path, from, to string, e Effect) {
	if from != to {
		d.changes = append(d.changes, Change{Path: path, From: from, To: to, Effect: e})
	}
}

// effect is looser where some date can get later, else stricter.
func effect(later bool) Effect {
	if later {
		return Looser
	}
	return Stricter
}

// order says which of two numbers gives the later dates.
type order bool

const (
	less order = false // the less, the stricter
	more order = true  // the more, the stricter
)

func (d *differ) number(path string, from, to int, unit string, stricter order) {
	later := to > from
	if stricter == more {
		later = to < from
	}
	d.add(path, strconv.Itoa(from)+unit, strconv.Itoa(to)+unit, effect(later))
}

// yes is a switch with which dates can only get earlier, or only later.
func (d *differ) yes(path string, from, to, later bool) {
	d.add(path, strconv.FormatBool(from), strconv.FormatBool(to), effect(to == later))
}

// zone: with another zone each day begins and ends at another instant, and a clock
// can start on another day.
func (d *differ) zone() { d.add("zone", d.from.Zone.String(), d.to.Zone.String(), Looser) }

func (d *differ) calendars() {
	for _, c := range []struct {
		slot     string
		from, to *sla.Calendar
	}{
		{"cold_wallet", d.from.Calendars.ColdWallet, d.to.Calendars.ColdWallet},
		{"end_user", d.from.Calendars.EndUser, d.to.Calendars.EndUser},
		{"internet", d.from.Calendars.Internet, d.to.Calendars.Internet},
		{"production", d.from.Calendars.Production, d.to.Calendars.Production},
		{"nonproduction", d.from.Calendars.NonProduction, d.to.Calendars.NonProduction},
	} {
		e := Same
		switch {
		case c.to.EndsLaterThan(c.from):
			e = Looser
		case c.from.EndsLaterThan(c.to):
			e = Stricter
		}
		d.add("calendar_of."+c.slot, calendarWords(c.from), calendarWords(c.to), e)
	}
}

func calendarWords(c *sla.Calendar) string { return c.Name() + ": " + c.Rule() }

func (d *differ) timelines() {
	f, t := d.from.Timelines, d.to.Timelines
	d.table("timelines.compute", f.Compute, t.Compute)
	d.table("timelines.appliance", f.Appliance, t.Appliance)
	d.row("timelines.image", f.Image, t.Image)
	d.row("timelines.workload", f.Workload, t.Workload)
	d.row("timelines.code", f.Code, t.Code)
}

func (d *differ) table(path string, from, to sla.Table) {
	for _, sev := range severities {
		for _, col := range []sla.Column{sla.ColumnInternet, sla.ColumnProduction, sla.ColumnNonProduction, sla.ColumnEndUser} {
			f, inFrom := from[sev][col]
			t, inTo := to[sev][col]
			if inFrom || inTo {
				d.cell(path+"."+string(sev)+"."+string(col), f, t)
			}
		}
	}
}

func (d *differ) row(path string, from, to sla.Row) {
	for _, sev := range severities {
		d.cell(path+"."+string(sev), from[sev], to[sev])
	}
}

func (d *differ) cell(path string, from, to sla.Cell) {
	d.add(path, cellWords(from), cellWords(to), d.cellEffect(from, to))
}

// cellEffect says what it does to deadlines when a cell of one policy takes the
// place of a cell of the other, each read as its own policy reads it.
func (d *differ) cellEffect(from, to sla.Cell) Effect {
	f, t := readCell(from, d.from.Switches.CycleOrDays), readCell(to, d.to.Switches.CycleOrDays)
	switch n := d.from.Switches.AwaitingFixBackstopDays; {
	case f == t:
		return Same
	case !f.covers(t):
		return Looser
	case f.available && !t.available && n > 0 && !(bound{days: n, hasDays: true}).covers(t):
		return Looser // without a fix the backstop gave a date
	default:
		return Stricter
	}
}

// bound is a cell as its date is found: N days, or a cycle, or the earlier or the
// later of both. None has neither.
type bound struct {
	days      int
	hasDays   bool
	cycle     bool // the first window after the clock start
	available bool // the first window after there is a fix as well
	later     bool // of days and cycle the later
}

func readCell(c sla.Cell, mode sla.CycleOrDaysMode) bound {
	switch c.Kind {
	case sla.Days:
		return bound{days: c.Days, hasDays: true}
	case sla.CycleOrDays:
		switch mode {
		case sla.Target:
			return bound{days: c.Days, hasDays: true}
		case sla.Latest:
			return bound{days: c.Days, hasDays: true, cycle: true, later: true}
		default:
			return bound{days: c.Days, hasDays: true, cycle: true}
		}
	case sla.NextCycle:
		return bound{available: true}
	default:
		return bound{}
	}
}

// covers says that whatever the clock start, the fix and the calendar, a date of b
// is not before that of t.
func (b bound) covers(t bound) bool {
	tDays := func(n int) bool { return t.hasDays && t.days <= n }
	switch {
	case b == bound{}:
		return true
	case t == bound{}:
		return false
	case t.hasDays && !t.later && t.days == 0:
		return true // due on the day itself
	case b.available: // its date is that of a window, or none
		return t.available || (t.cycle && !t.later) || (t.later && t.days == 0)
	case b.later: // both its dates are covered
		return (t.later && tDays(b.days)) || (!t.later && t.cycle) || (!t.later && !t.available && tDays(b.days))
	case b.cycle: // the earlier of two: each has to be covered
		return t.cycle && !t.later && tDays(b.days)
	default:
		return !t.later && tDays(b.days)
	}
}

func (d *differ) golden() {
	f, t := d.from.Golden, d.to.Golden
	lost := slices.ContainsFunc(f.Blocks, func(s finding.Severity) bool { return !slices.Contains(t.Blocks, s) })
	d.add("golden.blocks", severityList(f.Blocks), severityList(t.Blocks), effect(lost))
	d.hours("golden.feed_max_age_hours", f.FeedMaxAge, t.FeedMaxAge)
	d.number("golden.decision_days", days(f.DecisionLife), days(t.DecisionLife), " days", less)
}

// severityList names severities, the worst first, each once.
func severityList(in []finding.Severity) string {
	var words []string
	for _, s := range severities {
		if slices.Contains(in, s) {
			words = append(words, string(s))
		}
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }

func (d *differ) hours(path string, from, to time.Duration) {
	d.number(path, int(from/time.Hour), int(to/time.Hour), " hours", less)
}

func (d *differ) zeroDay() {
	f, t := d.from.KEV, d.to.KEV
	d.hours("kev.mitigate_hours", f.Mitigate, t.Mitigate)
	d.number("kev.without_ssvc.exposed", f.ExposedDays, t.ExposedDays, " days", less)
	d.number("kev.without_ssvc.not_exposed", f.NotExposedDays, t.NotExposedDays, " days", less)
	d.hours("kev.validated_hours", f.Validated, t.Validated)
}

func (d *differ) bod() {
	f, t := d.from.BOD, d.to.BOD
	d.add("bod_26_04.without_kev", string(f.WithoutKEV), string(t.WithoutKEV), strengthEffect(f.WithoutKEV, t.WithoutKEV))
	for _, kev := range []bool{false, true} {
		for _, exposed := range []bool{false, true} {
			for _, auto := range []bool{false, true} {
				for _, total := range []bool{false, true} {
					key := sla.BODKey{KEV: kev, Exposed: exposed, Automatable: auto, Total: total}
					from, to := f.Table[key], t.Table[key]
					d.add(bodPath(key), bodWords(from), bodWords(to), bodEffect(from, to, kev || f.WithoutKEV == sla.Binding, kev || t.WithoutKEV == sla.Binding))
				}
			}
		}
	}
}

// strengthEffect: only binding rows move a date; advisory ones are shown.
func strengthEffect(from, to sla.Strength) Effect {
	switch {
	case (from == sla.Binding) == (to == sla.Binding):
		return Same
	case to == sla.Binding:
		return Stricter
	default:
		return Looser
	}
}

func bodPath(key sla.BODKey) string {
	return "bod_26_04." + pick(key.KEV, "kev", "no_kev") + pick(key.Exposed, ".exposed", ".not_exposed") +
		pick(key.Automatable, ".automatable_yes", ".automatable_no") + pick(key.Total, ".total", ".partial")
}

func bodWords(c sla.BODCell) string {
	if c.AtUpgrade {
		return "at upgrade"
	}
	return strconv.Itoa(c.Days) + " days" + pick(c.Forensics, " + forensics", "")
}

func bodEffect(from, to sla.BODCell, fromBinds, toBinds bool) Effect {
	switch {
	case !fromBinds && !toBinds:
		return Same
	case !fromBinds:
		return Stricter
	case !toBinds:
		return Looser
	case from.Forensics && !to.Forensics:
		return Looser
	case from.AtUpgrade:
		return Stricter
	default:
		return effect(to.AtUpgrade || to.Days > from.Days)
	}
}

func (d *differ) severity() {
	f, t := d.from.Severity, d.to.Severity
	// Another source first can give a lower severity.
	d.add("severity.sources", strings.Join(f.Sources, ", "), strings.Join(t.Sources, ", "), Looser)
	for _, b := range []struct {
		path     string
		from, to float64
	}{
		{"severity.cvss.critical", f.Bands.Critical, t.Bands.Critical},
		{"severity.cvss.high", f.Bands.High, t.Bands.High},
		{"severity.cvss.medium", f.Bands.Medium, t.Bands.Medium},
		{"severity.cvss2.high", f.Bands2.High, t.Bands2.High},
		{"severity.cvss2.medium", f.Bands2.Medium, t.Bands2.Medium},
	} {
		d.add(b.path, "from "+score(b.from), "from "+score(b.to), effect(b.to > b.from))
	}
	words := slices.Collect(maps.Keys(f.Ratings))
	for w := range t.Ratings {
		if _, both := f.Ratings[w]; !both {
			words = append(words, w)
		}
	}
	slices.Sort(words)
	for _, w := range words {
		d.rating(w, f.Ratings[w], t.Ratings[w])
	}
}

// rating: a word that is not read counts as no rating, which is High until scored.
func (d *differ) rating(word string, from, to finding.Severity) {
	rank := func(s finding.Severity) int { return cmp.Or(s, finding.High).Rank() }
	e := Same
	switch c := cmp.Compare(rank(to), rank(from)); {
	case c < 0:
		e = Looser
	case c > 0:
		e = Stricter
	}
	d.add("severity.ratings."+word, cmp.Or(string(from), "not read"), cmp.Or(string(to), "not read"), e)
}

func score(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// priority orders work and moves no date.
func (d *differ) priority() {
	f, t := d.from.Priority, d.to.Priority
	same := func(key string, from, to any) {
		d.add("priority."+key, fmt.Sprint(from), fmt.Sprint(to), Same)
	}
	for _, sev := range severities {
		same(string(sev), f.Severity[sev], t.Severity[sev])
	}
	same("exploited", f.Exploited, t.Exploited)
	same("likely", f.Likely, t.Likely)
	same("exposed", f.Exposed, t.Exposed)
	same("crown_jewel", f.CrownJewel, t.CrownJewel)
	same("hot_wallet_component", f.HotWalletComponent, t.HotWalletComponent)
	same("epss", f.EPSS, t.EPSS)
	same("p0", f.P0, t.P0)
	same("p1", f.P1, t.P1)
	same("p2", f.P2, t.P2)
	same("p3", f.P3, t.P3)
	same("kev_exposed_is_p0", f.KEVExposedIsP0, t.KEVExposedIsP0)
}

func (d *differ) switches() {
	f, t := d.from.Switches, d.to.Switches
	// N x 24 hours end before the day does, but for clocks that go forward meanwhile.
	d.add("switches.strict_hours", strconv.FormatBool(f.StrictHours), strconv.FormatBool(t.StrictHours), Looser)
	d.add("switches.cycle_or_days", string(f.CycleOrDays), string(t.CycleOrDays), effect(lateness(t.CycleOrDays) > lateness(f.CycleOrDays)))
	d.yes("switches.monotone_severity", f.MonotoneSeverity, t.MonotoneSeverity, false)
	d.yes("switches.appliance_both_tables", f.ApplianceBothTables, t.ApplianceBothTables, false)
	// §7.1 and §7.4: which is earlier depends on both tables and the calendar.
	d.add("switches.code_nonproduction", pick(f.CodeNonProductionAsCode, "code", "compute"), pick(t.CodeNonProductionAsCode, "code", "compute"), Looser)
	d.yes("switches.code_clock_literal", f.CodeClockLiteral, t.CodeClockLiteral, false)
	d.yes("switches.floor_at_asset_in_service", f.FloorAtAssetInService, t.FloorAtAssetInService, true)
	d.backstop(f.AwaitingFixBackstopDays, t.AwaitingFixBackstopDays)
	// One that comes back later begins a new clock.
	d.number("switches.reopen_days", f.ReopenDays, t.ReopenDays, " days", more)
}

func lateness(m sla.CycleOrDaysMode) int {
	return slices.Index([]sla.CycleOrDaysMode{sla.Earliest, sla.Target, sla.Latest}, m)
}

func (d *differ) backstop(from, to int) {
	words := func(n int) string {
		if n == 0 {
			return "no date"
		}
		return strconv.Itoa(n) + " days"
	}
	d.add("switches.awaiting_fix_backstop_days", words(from), words(to), effect(from != 0 && (to == 0 || to > from)))
}
