package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

// lint holds a usable policy against the standard and against itself.
func lint(p, std *sla.Policy) []Problem {
	l := &linter{p: p, std: std}
	l.timelines()
	l.zeroDay()
	l.gate()
	l.readings()
	l.calendars()
	l.inversions()
	return l.problems
}

type linter struct {
	p, std   *sla.Policy
	problems []Problem
}

func (l *linter) warn(path, message, hint string) {
	l.problems = append(l.problems, Problem{Severity: Warning, Path: path, Message: message, Hint: hint})
}

func (l *linter) looser(path, message string) {
	l.warn(path, "looser than the standard: "+message, "the standard's timelines are maximums: record who approved it")
}

func (l *linter) timelines() {
	t, s := l.p.Timelines, l.std.Timelines
	l.table("timelines.compute", t.Compute, s.Compute)
	l.table("timelines.appliance", t.Appliance, s.Appliance)
	l.row("timelines.image", t.Image, s.Image)
	l.row("timelines.workload", t.Workload, s.Workload)
	l.row("timelines.code", t.Code, s.Code)
}

func (l *linter) table(path string, t, std sla.Table) {
	for _, sev := range severities {
		for _, col := range []sla.Column{sla.ColumnInternet, sla.ColumnProduction, sla.ColumnNonProduction, sla.ColumnEndUser} {
			if want, ok := std[sev][col]; ok {
				l.cell(path+"."+string(sev)+"."+string(col), t[sev][col], want)
			}
		}
	}
}

func (l *linter) row(path string, row, std sla.Row) {
	for _, sev := range severities {
		l.cell(path+"."+string(sev), row[sev], std[sev])
	}
}

func (l *linter) cell(path string, got, want sla.Cell) {
	if looserCell(got, want) {
		l.looser(path, fmt.Sprintf("%s, where it says %s", cellWords(got), cellWords(want)))
	}
}

// looserCell says whether a cell can give a later date than the standard's.
func looserCell(got, want sla.Cell) bool {
	bounded := got.Kind == sla.Days || got.Kind == sla.CycleOrDays
	switch want.Kind {
	case sla.Days:
		return !bounded || got.Days > want.Days
	case sla.CycleOrDays:
		return got.Kind != sla.CycleOrDays || got.Days > want.Days
	case sla.NextCycle:
		return got.Kind == sla.Days
	default:
		return false
	}
}

func cellWords(c sla.Cell) string {
	switch c.Kind {
	case sla.Days:
		return fmt.Sprintf("%d days", c.Days)
	case sla.CycleOrDays:
		return fmt.Sprintf("next cycle or %d days", c.Days)
	default:
		return "next cycle"
	}
}

func (l *linter) zeroDay() {
	k, s := l.p.KEV, l.std.KEV
	if k.Mitigate > s.Mitigate {
		l.looser("kev.mitigate_hours", fmt.Sprintf("%s, where it is %s", k.Mitigate, s.Mitigate))
	}
	if k.Validated > s.Validated {
		l.looser("kev.validated_hours", fmt.Sprintf("%s, where it is %s", k.Validated, s.Validated))
	}
	if k.ExposedDays > s.ExposedDays || k.NotExposedDays > s.NotExposedDays {
		l.looser("kev.without_ssvc", fmt.Sprintf("%d and %d days, where it is %d and %d", k.ExposedDays, k.NotExposedDays, s.ExposedDays, s.NotExposedDays))
	}
	for _, exposed := range []bool{false, true} {
		for _, auto := range []bool{false, true} {
			for _, total := range []bool{false, true} {
				l.bodCell(sla.BODKey{KEV: true, Exposed: exposed, Automatable: auto, Total: total})
			}
		}
	}
}

func (l *linter) bodCell(key sla.BODKey) {
	got, want := l.p.BOD.Table[key], l.std.BOD.Table[key]
	path := "bod_26_04.kev." + pick(key.Exposed, "exposed", "not_exposed") +
		pick(key.Automatable, ".automatable_yes", ".automatable_no") + pick(key.Total, ".total", ".partial")
	if got.Days > want.Days {
		l.looser(path, fmt.Sprintf("%d days, where CISA's table says %d", got.Days, want.Days))
	}
	if want.Forensics && !got.Forensics {
		l.looser(path, "without the forensic investigation of CISA's table")
	}
}

func (l *linter) gate() {
	g, s := l.p.Golden, l.std.Golden
	for _, want := range s.Blocks {
		if !slices.Contains(g.Blocks, want) {
			l.looser("golden.blocks", fmt.Sprintf("%s does not hold a release", want))
		}
	}
	if g.FeedMaxAge > s.FeedMaxAge {
		l.looser("golden.feed_max_age_hours", fmt.Sprintf("%s, where it is %s", g.FeedMaxAge, s.FeedMaxAge))
	}
	if g.DecisionLife > s.DecisionLife {
		l.looser("golden.decision_days", fmt.Sprintf("%s, where it is %s", g.DecisionLife, s.DecisionLife))
	}
}

// readings are the settings that can only make dates later.
func (l *linter) readings() {
	s := l.p.Switches
	if s.CycleOrDays != sla.Earliest {
		l.looser("switches.cycle_or_days", fmt.Sprintf("%s, where §7 says the earliest", s.CycleOrDays))
	}
	if s.FloorAtAssetInService {
		l.looser("switches.floor_at_asset_in_service", "a replaced machine restarts its clocks")
	}
	if s.CodeNonProductionAsCode {
		l.looser("switches.code_nonproduction", "high and medium lose the next cycle")
	}
	if s.ReopenDays < l.std.Switches.ReopenDays {
		l.looser("switches.reopen_days", fmt.Sprintf("a finding that comes back after %d days begins a new clock, where it is %d", s.ReopenDays, l.std.Switches.ReopenDays))
	}
	if l.p.TargetPercent > l.std.TargetPercent {
		l.looser("crown_jewels.target_percent", fmt.Sprintf("%d, where it is %d", l.p.TargetPercent, l.std.TargetPercent))
	}
	b, w := l.p.Severity.Bands, l.std.Severity.Bands
	b2, w2 := l.p.Severity.Bands2, l.std.Severity.Bands2
	if b.Critical > w.Critical || b.High > w.High || b.Medium > w.Medium || b2.High > w2.High || b2.Medium > w2.Medium {
		l.looser("severity", "a CVSS band starts above CVSS's own")
	}
	for word, want := range l.std.Severity.Ratings {
		if got, ok := l.p.Severity.Ratings[word]; ok && got.Rank() < want.Rank() {
			l.looser("severity.ratings."+string(got), fmt.Sprintf("the rating %q is %s", word, want))
		}
	}
}

// longestPeriod is the longest time between windows that is still quarterly (§5).
const longestPeriod = 100 * 24 * time.Hour

func (l *linter) calendars() {
	c := l.p.Calendars
	seen := map[string]bool{}
	for _, cal := range []*sla.Calendar{c.ColdWallet, c.EndUser, c.Internet, c.Production, c.NonProduction} {
		if seen[cal.Name()] {
			continue
		}
		seen[cal.Name()] = true
		ws := cal.Windows()
		for i := 1; i < len(ws); i++ {
			if ws[i].Start.Sub(ws[i-1].Start) > longestPeriod {
				l.looser("calendars."+cal.Name(), fmt.Sprintf("no window for more than a quarter after %s, where §5 says monthly or quarterly",
					ws[i-1].Start.Format(time.DateOnly)))
				break
			}
		}
	}
}

// exampleYear is the year that inversions are searched in.
const exampleYear = 2027

// inversions looks for days on which a lower severity would be due before a
// higher one, and names the first of each column.
func (l *linter) inversions() {
	if l.p.Switches.MonotoneSeverity {
		return
	}
	for _, at := range lintAssets {
		for d := time.Date(exampleYear, 1, 1, 0, 0, 0, 0, l.p.Zone); d.Year() == exampleYear; d = d.AddDate(0, 0, 1) {
			message := l.inversion(at.asset, d)
			if message == "" {
				continue
			}
			l.warn(at.path, message, "set switches.monotone_severity, or accept that \"next cycle\" is read strictly")
			break
		}
	}
}

var lintAssets = []struct {
	path  string
	asset sla.Asset
}{
	{"timelines.compute.*.internet", sla.Asset{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production}},
	{"timelines.compute.*.production", sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production}},
	{"timelines.compute.*.nonproduction", sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.NonProduction}},
	{"timelines.compute.*.enduser", sla.Asset{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.EndUser}},
	{"timelines.appliance.*.internet", sla.Asset{Class: sla.Appliance, Exposure: sla.Internet, Environment: sla.Production}},
	{"timelines.appliance.*.production", sla.Asset{Class: sla.Appliance, Exposure: sla.Internal, Environment: sla.Production}},
	{"timelines.appliance.*.nonproduction", sla.Asset{Class: sla.Appliance, Exposure: sla.Internal, Environment: sla.NonProduction}},
	{"timelines.image", sla.Asset{Class: sla.Image, Exposure: sla.Internal, Environment: sla.Production}},
	{"timelines.workload", sla.Asset{Class: sla.Workload, Exposure: sla.Internal, Environment: sla.Production}},
	{"timelines.code", sla.Asset{Class: sla.Code, Exposure: sla.Internal, Environment: sla.Production}},
}

// inversion says in words which higher severities would be due after a lower
// one for a clock that starts on a day.
func (l *linter) inversion(a sla.Asset, start time.Time) string {
	var due [4]finding.Date
	for i, sev := range severities {
		in := sla.Input{Asset: a, Vulnerability: sla.Vulnerability{Severity: sev}}
		in.Clock = sla.Clock{Available: start, Detected: start}
		if a.Class == sla.Code {
			in.Clock = sla.Clock{Known: start, Merged: start}
		}
		v, err := sla.Evaluate(l.p, in, start)
		if err != nil {
			return "cannot be evaluated: " + err.Error()
		}
		due[i] = v.Due
	}
	var late []string
	for i := range due {
		for j := i + 1; j < len(due); j++ {
			if due[j] < due[i] {
				late = append(late, fmt.Sprintf("%s (due %s) after %s (due %s)", severities[i], due[i], severities[j], due[j]))
				break
			}
		}
	}
	if len(late) == 0 {
		return ""
	}
	return "a lower severity can be due before a higher one: a clock that starts on " + start.Format(time.DateOnly) +
		" makes " + strings.Join(late, ", ")
}
