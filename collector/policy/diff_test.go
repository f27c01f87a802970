package policy_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

// edited is the shipped policy with pairs of texts replaced.
func edited(t testing.TB, pairs ...string) *sla.Policy {
	t.Helper()
	_, src := policy.Default()
	text := string(src)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the shipped policy lacks %q", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	p, _, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDiffSaysWhatChangedAndHow(t *testing.T) {
	for _, c := range []struct {
		name  string
		edits []string
		want  []string
	}{
		{"comment", []string{"version: 1\n", "version: 1 # ours\n"}, nil},
		{"fewer_days", []string{"internet: 14 days", "internet: 7 days"}, []string{"timelines.compute.critical.internet: 14 days -> 7 days (stricter)"}},
		{"more_days", []string{"internet: 14 days", "internet: 15 days"}, []string{"timelines.compute.critical.internet: 14 days -> 15 days (looser)"}},
		{"cycle_for_days", []string{"internet: 14 days", "internet: next cycle"}, []string{"timelines.compute.critical.internet: 14 days -> next cycle (looser)"}},
		{"either_for_days", []string{"internet: 14 days", "internet: next cycle or 14 days"}, []string{"timelines.compute.critical.internet: 14 days -> next cycle or 14 days (stricter)"}},
		{"days_for_either", []string{"production: next cycle or 30 days", "production: 30 days"}, []string{"timelines.compute.high.production: next cycle or 30 days -> 30 days (looser)"}},
		{"either_for_cycle", []string{"internet: next cycle\n", "internet: next cycle or 400 days\n"}, []string{"timelines.compute.low.internet: next cycle -> next cycle or 400 days (stricter)"}},
		{"zone", []string{"zone: Europe/Dublin", "zone: Europe/Berlin"}, []string{"zone: Europe/Dublin -> Europe/Berlin (looser)"}},
		{
			"later_window",
			[]string{"BYDAY=3SA", "BYDAY=4SA"},
			[]string{
				"calendar_of.internet: production: FREQ=MONTHLY;BYDAY=3SA, 22:00, 8 hours -> production: FREQ=MONTHLY;BYDAY=4SA, 22:00, 8 hours (looser)",
				"calendar_of.production: production: FREQ=MONTHLY;BYDAY=3SA, 22:00, 8 hours -> production: FREQ=MONTHLY;BYDAY=4SA, 22:00, 8 hours (looser)",
			},
		},
		{
			"more_windows",
			[]string{"FREQ=MONTHLY;BYMONTH=1,4,7,10;BYDAY=1SA", "FREQ=MONTHLY;BYDAY=1SA"},
			[]string{"calendar_of.cold_wallet: coldwallet: FREQ=MONTHLY;BYMONTH=1,4,7,10;BYDAY=1SA, 10:00, 6 hours -> coldwallet: FREQ=MONTHLY;BYDAY=1SA, 10:00, 6 hours (stricter)"},
		},
		{"another_window_on_the_day", []string{`"FREQ=MONTHLY;BYDAY=2WE", start: "20:00", hours: 10`, `"FREQ=MONTHLY;BYDAY=2WE", start: "20:00", hours: 11`}, []string{
			"calendar_of.end_user: enduser: FREQ=MONTHLY;BYDAY=2WE, 20:00, 10 hours -> enduser: FREQ=MONTHLY;BYDAY=2WE, 20:00, 11 hours (same)",
		}},
		{"gate", []string{"blocks: [critical, high, medium]", "blocks: [critical, high]", "decision_days: 7", "decision_days: 3"}, []string{
			"golden.blocks: critical, high, medium -> critical, high (looser)", "golden.decision_days: 7 days -> 3 days (stricter)",
		}},
		{"kev", []string{"mitigate_hours: 24", "mitigate_hours: 48", "{exposed: 3 days,", "{exposed: 2 days,"}, []string{
			"kev.mitigate_hours: 24 hours -> 48 hours (looser)", "kev.without_ssvc.exposed: 3 days -> 2 days (stricter)",
		}},
		{"advisory_rows", []string{"{partial: 60 days, total: 14 days}", "{partial: 90 days, total: 14 days}"}, []string{
			"bod_26_04.no_kev.exposed.automatable_no.partial: 60 days -> 90 days (same)",
		}},
		{"advisory_rows_bind", []string{"without_kev: advisory", "without_kev: binding"}, []string{"bod_26_04.without_kev: advisory -> binding (stricter)"}},
		{"forensics", []string{"{partial: 3 days, total: 3 days + forensics}", "{partial: 3 days, total: 3 days}"}, []string{
			"bod_26_04.kev.exposed.automatable_yes.total: 3 days + forensics -> 3 days (looser)",
		}},
		{"bands", []string{"critical: 9.0", "critical: 9.5", "medium: 4.0}\n  # CVSS 2", "medium: 3.5}\n  # CVSS 2"}, []string{
			"severity.cvss.critical: from 9 -> from 9.5 (looser)", "severity.cvss.medium: from 4 -> from 3.5 (stricter)",
		}},
		{"ratings", []string{"[Important, High]", "[High]", "[Moderate, Medium]", "[Moderate, Medium, Important]"}, []string{"severity.ratings.important: high -> medium (looser)"}},
		{"rating_not_read", []string{"low: [Low, Negligible, ", "low: [Low, "}, []string{"severity.ratings.negligible: low -> not read (stricter)"}},
		{"priority", []string{"exploited: 2 ", "exploited: 3 "}, []string{"priority.exploited: 2 -> 3 (same)"}},
		{"switches", []string{
			"cycle_or_days: earliest", "cycle_or_days: latest", "monotone_severity: false", "monotone_severity: true",
			"awaiting_fix_backstop_days: 0", "awaiting_fix_backstop_days: 90",
		}, []string{
			"switches.cycle_or_days: earliest -> latest (looser)", "switches.monotone_severity: false -> true (stricter)",
			"switches.awaiting_fix_backstop_days: no date -> 90 days (stricter)",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			std, _ := policy.Default()
			var got []string
			for _, ch := range policy.Diff(std, edited(t, c.edits...)) {
				got = append(got, ch.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDiffKnowsEveryField changes each number, word and switch of the shipped file
// on its own, and wants a change for each: what Diff does not look at could be
// loosened without anybody being told.
func TestDiffKnowsEveryField(t *testing.T) {
	// monotone_severity spares the search for inversions, which takes long.
	_, src := policy.Default()
	text := strings.Replace(string(src), "monotone_severity: false", "monotone_severity: true", 1)
	std := edited(t, "monotone_severity: false", "monotone_severity: true")
	lines := strings.Split(text, "\n")
	changed := 0
	for i, line := range lines {
		code, comment, _ := strings.Cut(line, "#")
		for _, swap := range [][2]string{
			{"14 days", "13 days"},
			{"30 days", "29 days"},
			{"90 days", "89 days"},
			{": next cycle", ": 5 days"},
			{"false", "true"},
			{"true", "false"},
			{"earliest", "target"},
			{"compute\n", "code\n"},
			{"_hours: ", "_hours: 1"},
			{"_days: ", "_days: 1"},
			{"percent: ", "percent: 1"},
			{"60 days", "61 days"},
			{"3 days", "4 days"},
			{"[vendor, cna", "[cna, vendor"},
			{": 9.0", ": 9.1"},
			{": 7.0", ": 6.9"},
			{": 4.0", ": 4.1"},
			{"advisory", "off"},
			{"Negligible, ", ""},
			{"[critical, high", "[high"},
			{"0.5", "0.6"},
			{"BYDAY=1SA", "BYDAY=2SA"},
			{"BYDAY=3SA", "BYDAY=1SU"},
			{"hours: 6", "hours: 7"},
			{"22:00", "21:00"},
			{"Europe/Dublin", "Europe/Paris"},
		} {
			if !strings.Contains(code+"\n", swap[0]) {
				continue
			}
			other := lines[i]
			lines[i] = strings.TrimSuffix(strings.Replace(code+"\n", swap[0], swap[1], 1), "\n") + " #" + comment
			p, _, err := policy.Parse([]byte(strings.Join(lines, "\n")))
			lines[i] = other
			if err != nil {
				continue // not a policy any more
			}
			changed++
			if len(policy.Diff(std, p)) == 0 {
				t.Errorf("line %d, %q: %s for %s: no change told", i+1, line, swap[1], swap[0])
			}
		}
	}
	if changed < 80 {
		t.Errorf("only %d changes were tried", changed)
	}
}

var (
	diffSeverities = []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}
	diffColumns    = []sla.Column{sla.ColumnInternet, sla.ColumnProduction, sla.ColumnNonProduction, sla.ColumnEndUser}
)

// drawPolicy changes a policy in a few places.
func drawPolicy(t *rapid.T, base *sla.Policy, calendars []sla.Calendars, label string) *sla.Policy {
	p := *base
	p.Timelines.Compute = drawTable(t, base.Timelines.Compute, label+" compute")
	p.Timelines.Appliance = drawTable(t, base.Timelines.Appliance, label+" appliance")
	p.Timelines.Image = drawRow(t, base.Timelines.Image, label+" image")
	p.Timelines.Code = drawRow(t, base.Timelines.Code, label+" code")
	some := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, label+" "+what+"?") == 0 }
	if some("calendars") {
		p.Calendars = rapid.SampledFrom(calendars).Draw(t, label+" calendars")
	}
	if some("mode") {
		p.Switches.CycleOrDays = rapid.SampledFrom([]sla.CycleOrDaysMode{sla.Earliest, sla.Target, sla.Latest}).Draw(t, label+" mode")
	}
	for what, b := range map[string]*bool{
		"monotone": &p.Switches.MonotoneSeverity, "both": &p.Switches.ApplianceBothTables, "code": &p.Switches.CodeNonProductionAsCode,
		"literal": &p.Switches.CodeClockLiteral, "floor": &p.Switches.FloorAtAssetInService, "strict": &p.Switches.StrictHours,
	} {
		if some(what) {
			*b = !*b
		}
	}
	if some("backstop") {
		p.Switches.AwaitingFixBackstopDays = rapid.SampledFrom([]int{0, 5, 60, 400}).Draw(t, label+" backstop")
	}
	if some("bod") {
		p.BOD.WithoutKEV = rapid.SampledFrom([]sla.Strength{sla.Advisory, sla.Binding, sla.Off}).Draw(t, label+" without kev")
		p.BOD.Table = maps.Clone(p.BOD.Table)
		key := sla.BODKey{KEV: rapid.Bool().Draw(t, label+" kev"), Exposed: rapid.Bool().Draw(t, label+" exposed"), Automatable: rapid.Bool().Draw(t, label+" auto"), Total: rapid.Bool().Draw(t, label+" total")}
		p.BOD.Table[key] = sla.BODCell{Days: rapid.IntRange(1, 60).Draw(t, label+" bod days"), Forensics: key.KEV}
	}
	if some("kev") {
		p.KEV.ExposedDays = rapid.IntRange(1, 5).Draw(t, label+" exposed days")
		p.KEV.NotExposedDays = rapid.IntRange(10, 16).Draw(t, label+" not exposed days")
	}
	return &p
}

func drawTable(t *rapid.T, base sla.Table, label string) sla.Table {
	out := sla.Table{}
	for sev, cells := range base {
		out[sev] = maps.Clone(cells)
	}
	sev := rapid.SampledFrom(diffSeverities).Draw(t, label+" severity")
	col := rapid.SampledFrom(diffColumns).Draw(t, label+" column")
	if _, ok := out[sev][col]; ok && rapid.Bool().Draw(t, label+"?") {
		out[sev][col] = drawCell(t, label)
	}
	return out
}

func drawRow(t *rapid.T, base sla.Row, label string) sla.Row {
	out := maps.Clone(base)
	if rapid.Bool().Draw(t, label+"?") {
		out[rapid.SampledFrom(diffSeverities).Draw(t, label+" severity")] = drawCell(t, label)
	}
	return out
}

func drawCell(t *rapid.T, label string) sla.Cell {
	c := sla.Cell{Kind: rapid.SampledFrom([]sla.CellKind{sla.Days, sla.CycleOrDays, sla.NextCycle}).Draw(t, label+" kind")}
	if c.Kind != sla.NextCycle {
		c.Days = rapid.IntRange(0, 100).Draw(t, label+" days")
	}
	return c
}

func drawDiffInput(t *rapid.T) sla.Input {
	instant := func(label string) time.Time {
		base := time.Date(2026, 3, 21, 22, 0, 0, 0, time.UTC)
		return base.Add(time.Duration(rapid.IntRange(-200*24*60, 200*24*60).Draw(t, label)) * time.Minute)
	}
	in := sla.Input{
		Asset: sla.Asset{
			Class:       rapid.SampledFrom([]sla.Class{sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Code}).Draw(t, "class"),
			Exposure:    rapid.SampledFrom([]sla.Exposure{sla.Internet, sla.Internal}).Draw(t, "exposure"),
			Environment: rapid.SampledFrom([]sla.Environment{sla.Production, sla.NonProduction}).Draw(t, "environment"),
			ColdWallet:  rapid.Bool().Draw(t, "cold wallet"),
		},
		Vulnerability: sla.Vulnerability{
			Severity:    rapid.SampledFrom(diffSeverities).Draw(t, "severity"),
			Automatable: rapid.SampledFrom([]string{"", "yes", "no"}).Draw(t, "automatable"),
			Impact:      rapid.SampledFrom([]string{"", "partial", "total"}).Draw(t, "impact"),
		},
		Clock: sla.Clock{Detected: instant("detected"), Known: instant("known"), Merged: instant("merged"), InService: instant("in service"), NoFix: rapid.Bool().Draw(t, "no fix")},
	}
	if !in.Clock.NoFix {
		in.Clock.Available = instant("available")
	}
	if rapid.Bool().Draw(t, "listed") {
		in.Vulnerability.KEVAdded = finding.Date(instant("kev added").Format(time.DateOnly))
	}
	return in
}

// TestNothingLooserMeansNothingLater is what "looser" promises: where Diff finds
// nothing looser, no deadline of any asset and vulnerability gets later, and none
// goes away.
func TestNothingLooserMeansNothingLater(t *testing.T) {
	std, _ := policy.Default()
	calendars := []sla.Calendars{
		std.Calendars,
		edited(t, "BYMONTH=1,4,7,10;", "").Calendars,
		edited(t, "BYDAY=3SA", "BYDAY=2TU").Calendars,
		edited(t, `rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8`, `rrule: "FREQ=WEEKLY;BYDAY=SA", start: "22:00", hours: 8`).Calendars,
		edited(t, `start: "10:00", hours: 6`, `start: "10:00", hours: 6, cutoff_hours: 72`).Calendars,
	}
	held := 0
	rapid.Check(t, func(t *rapid.T) {
		from := drawPolicy(t, std, calendars, "from")
		to := drawPolicy(t, from, calendars, "to")
		changes := policy.Diff(from, to)
		if len(policy.Loosened(changes)) > 0 {
			return
		}
		if len(changes) > 0 {
			held++
		}
		for range 8 {
			in := drawDiffInput(t)
			now := in.Clock.Detected
			a, errA := sla.Evaluate(from, in, now)
			b, errB := sla.Evaluate(to, in, now)
			if errA != nil || errB != nil {
				t.Fatalf("%v, %v", errA, errB)
			}
			if !a.DueAt.IsZero() && (b.DueAt.IsZero() || b.DueAt.After(a.DueAt)) {
				t.Fatalf("due %s by %s, then %s by %s, and nothing is looser in %v", a.Due, a.Rule, b.Due, b.Rule, changes)
			}
		}
	})
	if held == 0 {
		t.Error("no draw was stricter: the property was not tried")
	}
}

// TestEveryStricterCellIsNeverLater walks all pairs of cells and all readings of
// them, which draws could miss.
func TestEveryStricterCellIsNeverLater(t *testing.T) {
	cells := []sla.Cell{{Kind: sla.NextCycle}}
	for _, n := range []int{0, 1, 10, 30, 45} {
		cells = append(cells, sla.Cell{Kind: sla.Days, Days: n}, sla.Cell{Kind: sla.CycleOrDays, Days: n})
	}
	modes := []sla.CycleOrDaysMode{sla.Earliest, sla.Target, sla.Latest}
	with := func(c sla.Cell, m sla.CycleOrDaysMode, backstop int) *sla.Policy {
		p, _ := policy.Default()
		p.Timelines.Code = maps.Clone(p.Timelines.Code)
		p.Timelines.Code[finding.High] = c
		p.Switches.CycleOrDays, p.Switches.AwaitingFixBackstopDays = m, backstop
		return p
	}
	code := sla.Asset{Class: sla.Code, Exposure: sla.Internal, Environment: sla.Production}
	tried := 0
	for _, a := range cells {
		for _, b := range cells {
			for i := range 18 {
				from, to := with(a, modes[i%3], i/9*5), with(b, modes[i/3%3], i/9*5)
				if len(policy.Loosened(policy.Diff(from, to))) > 0 {
					continue
				}
				tried++
				for day := range 60 {
					start := time.Date(2026, 3, 1+day, 12, 0, 0, 0, time.UTC)
					for _, fix := range []time.Time{{}, start, start.AddDate(0, 0, 40)} {
						in := sla.Input{Asset: code, Vulnerability: sla.Vulnerability{Severity: finding.High}, Clock: sla.Clock{Known: start, Merged: start, Available: fix, NoFix: fix.IsZero()}}
						va, errA := sla.Evaluate(from, in, start)
						vb, errB := sla.Evaluate(to, in, start)
						if errA != nil || errB != nil {
							t.Fatal(errA, errB)
						}
						if !va.DueAt.IsZero() && (vb.DueAt.IsZero() || vb.DueAt.After(va.DueAt)) {
							t.Fatalf("%v by %s, then %v by %s, start %s, fix %s: due %s, then %s", a, modes[i%3], b, modes[i/3%3], start, fix, va.Due, vb.Due)
						}
					}
				}
			}
		}
	}
	if tried < 300 {
		t.Errorf("only %d pairs were stricter", tried)
	}
}
