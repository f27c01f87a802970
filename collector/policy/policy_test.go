package policy_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

// edit replaces one text in the shipped policy.
func edit(t *testing.T, pairs ...string) []byte {
	t.Helper()
	_, src := policy.Default()
	text := string(src)
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q is not once in the shipped policy", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

func TestTheShippedPolicyIsTheStandard(t *testing.T) {
	p, src := policy.Default()
	parsed, problems, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Digest != p.Digest || parsed.Digest != policy.Digest(src) || parsed.TZData != policy.TZData {
		t.Errorf("digest %s, want %s", parsed.Digest, policy.Digest(src))
	}
	if parsed.Zone.String() != "Europe/Dublin" {
		t.Errorf("zone %s", parsed.Zone)
	}
	// The strict reading of "next cycle" is the only thing to say about it.
	for _, problem := range problems {
		if problem.Severity != policy.Warning || !strings.Contains(problem.Message, "a lower severity can be due before a higher one") {
			t.Errorf("%s: %s", problem.Severity, problem)
		}
	}
	if len(problems) != 10 {
		t.Errorf("%d warnings, want one for each of the 10 columns", len(problems))
	}
}

func TestTheStrictReadingIsWarnedOfWithADate(t *testing.T) {
	_, src := policy.Default()
	_, problems, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	// 2027: the third Saturday of January is the 16th; 30 days from Jan 1 are Jan 31.
	want := "a lower severity can be due before a higher one: a clock that starts on 2027-01-01 makes high (due 2027-01-31) after medium (due 2027-01-17)"
	for _, p := range problems {
		if p.Path == "timelines.compute.*.internet" {
			if p.Message != want {
				t.Errorf("got %q, want %q", p.Message, want)
			}
			return
		}
	}
	t.Error("no warning for the internet column")
}

func TestMonotoneSeveritySilencesTheWarning(t *testing.T) {
	_, problems, err := policy.Parse(edit(t, "monotone_severity: false", "monotone_severity: true"))
	if err != nil || len(problems) != 0 {
		t.Errorf("got %v, %v", problems, err)
	}
}

func TestTheDigestIsOfTheBytes(t *testing.T) {
	p, _, err := policy.Parse(append(edit(t), "# a comment\n"...))
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := policy.Default(); p.Digest == d.Digest {
		t.Error("another file, the same digest")
	}
	if got := policy.Digest(nil); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("not SHA-256: %s", got)
	}
}

func TestErrors(t *testing.T) {
	const production = `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`
	calendar := func(rest string) []string {
		return []string{production, "production:    {" + rest + "}"}
	}
	for _, c := range []struct {
		name  string
		edits []string
		path  string
		words string
	}{
		{"unknown key at the top", []string{"version: 1", "version: 1\ncolour: red"}, "colour", "unknown key"},
		{"unknown switch", []string{"  strict_hours: false", "  strict_hour: false"}, "switches.strict_hour", "unknown key"},
		{"key twice", []string{"  strict_hours: false", "  strict_hours: false\n  strict_hours: true"}, "switches.strict_hours", "stated twice"},
		{"another version", []string{"version: 1", "version: 2"}, "version", `"2" is not one of: 1`},
		{"no name", []string{"name: vpm-standard", "name: \"\""}, "name", "empty"},
		{"zone nobody knows", []string{"zone: Europe/Dublin", "zone: Europe/Atlantis"}, "zone", "no such time zone"},
		{"zone of the host", []string{"zone: Europe/Dublin", "zone: Local"}, "zone", "no such time zone"},
		{"zone that is a directory", []string{"zone: Europe/Dublin", "zone: Europe"}, "zone", "no such time zone"},
		{"zone that climbs", []string{"zone: Europe/Dublin", "zone: ../Europe/Dublin"}, "zone", "no such time zone"},
		{"no calendar of that name", []string{"  internet: production", "  internet: prod"}, "calendar_of.internet", `no calendar "prod"`},
		{"no calendar for a column", []string{"  internet: production\n", ""}, "calendar_of.internet", "missing"},
		{"missing cell", []string{"      internet: 14 days\n      production: 30 days\n      nonproduction: 30 days\n      enduser: 30 days", "      internet: 14 days\n      production: 30 days\n      enduser: 30 days"}, "timelines.compute.critical.nonproduction", "missing"},
		{"empty cell", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical:"}, "timelines.code.critical", "not a single value"},
		{"missing row", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days\n", "  code:\n"}, "timelines.code.critical", "missing"},
		{"end-user appliance", []string{"critical: # \"14 days | 30 days | 30 days\"", "critical:\n      enduser: 30 days"}, "timelines.appliance.critical.enduser", "an end-user appliance"},
		{"negative days", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical: -14 days"}, "timelines.code.critical", `"-14 days" is not a timeline`},
		{"too many days", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical: 4000 days"}, "timelines.code.critical", "is not a timeline"},
		{"weeks", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical: 2 weeks"}, "timelines.code.critical", "is not a timeline"},
		{"never", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical: never"}, "timelines.code.critical", "is not a timeline"},
		{"half a choice", []string{"  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days", "  code:\n    critical: next cycle or"}, "timelines.code.critical", "is not a timeline"},
		{"no rule", calendar(`start: "22:00", hours: 8`), "calendars.production.rrule", "missing"},
		{"rule of nothing", calendar(`rrule: "third saturday", start: "22:00", hours: 8`), "calendars.production.rrule", "not a recurrence rule"},
		{"rule without end is asked for", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA;COUNT=12", start: "22:00", hours: 8`), "calendars.production.rrule", "COUNT and UNTIL end the calendar"},
		{"rule with UNTIL", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA;UNTIL=20300101T000000Z", start: "22:00", hours: 8`), "calendars.production.rrule", "COUNT and UNTIL"},
		{"rule by the hour", calendar(`rrule: "FREQ=HOURLY", start: "22:00", hours: 8`), "calendars.production.rrule", "FREQ is HOURLY"},
		{"rule with a time", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA;BYHOUR=3", start: "22:00", hours: 8`), "calendars.production.rrule", "use start"},
		{"rule that names no day", calendar(`rrule: "FREQ=MONTHLY", start: "22:00", hours: 8`), "calendars.production.rrule", "names no day"},
		{"rule that never comes", calendar(`rrule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", start: "22:00", hours: 8`), "calendars.production.rrule", "never gives a day"},
		{"rule of leap days", calendar(`rrule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", start: "22:00", hours: 8`), "calendars.production.rrule", "no window for more than a year after"},
		{"interval without an anchor", calendar(`rrule: "FREQ=MONTHLY;INTERVAL=2;BYDAY=3SA", start: "22:00", hours: 8`), "calendars.production.rrule", "anchor"},
		{"interval beyond a year", calendar(`rrule: "FREQ=YEARLY;INTERVAL=2;BYMONTH=1;BYMONTHDAY=1", start: "22:00", hours: 8, anchor: 2026-01-01`), "calendars.production.rrule", "no window for more than a year"},
		{"interval beyond reason", calendar(`rrule: "FREQ=DAILY;INTERVAL=9000000000000000000", start: "22:00", hours: 8, anchor: 2026-01-01`), "calendars.production.rrule", "INTERVAL"},
		{"month thirteen", calendar(`rrule: "FREQ=YEARLY;BYMONTH=13;BYMONTHDAY=1", start: "22:00", hours: 8`), "calendars.production.rrule", "not a recurrence rule"},
		{"anchor not a date", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8, anchor: soon`), "calendars.production.anchor", "not a date"},
		{"window longer than its period", calendar(`rrule: "FREQ=DAILY", start: "22:00", hours: 25`), "calendars.production", "still open when"},
		{"time of day", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "25:00", hours: 8`), "calendars.production.start", "not a time of day"},
		{"no hours", calendar(`rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 0`), "calendars.production.hours", "not a whole number from 1"},
		{"KEV without a number", []string{"automatable_no:  {partial: 14 days, total: 14 days}", "automatable_no:  {partial: at upgrade, total: 14 days}"}, "bod_26_04.kev.not_exposed.automatable_no.partial", "a KEV row without a number of days"},
		{"forensics without KEV", []string{"automatable_yes: {partial: 60 days, total: 60 days}", "automatable_yes: {partial: 60 days, total: 60 days + forensics}"}, "bod_26_04.no_kev.not_exposed.automatable_yes.total", "not an outcome"},
		{"source nobody knows", []string{"sources: [vendor, cna, adp, nvd]", "sources: [vendor, blog]"}, "severity.sources[1]", `"blog" is not one of`},
		{"source twice", []string{"sources: [vendor, cna, adp, nvd]", "sources: [vendor, vendor]"}, "severity.sources[1]", "stated twice"},
		{"no source", []string{"sources: [vendor, cna, adp, nvd]", "sources: []"}, "severity.sources", "at least one"},
		{"bands out of order", []string{"cvss: {critical: 9.0, high: 7.0", "cvss: {critical: 6.0, high: 7.0"}, "severity.cvss", "not in order"},
		{"rating in two rows", []string{"low: [Low, Negligible, Unimportant, None]", "low: [Low, high]"}, "severity.ratings.low[1]", "stated twice"},
		{"thresholds out of order", []string{"  p1: 5", "  p1: 9"}, "priority", "not in order"},
		{"negative points", []string{"  exposed: 1\n", "  exposed: -1\n"}, "priority.exposed", "not a whole number from 0"},
		{"EPSS above one", []string{"epss: 0.5", "epss: 50"}, "priority.epss", "not a number from 0 to 1"},
		{"EPSS not a number", []string{"epss: 0.5", "epss: NaN"}, "priority.epss", "not a number"},
		{"neither yes nor no", []string{"strict_hours: false", "strict_hours: maybe"}, "switches.strict_hours", `"maybe" is not one of: true, false`},
		{"reading nobody knows", []string{"cycle_or_days: earliest", "cycle_or_days: whenever"}, "switches.cycle_or_days", "earliest, target, latest"},
		{"percent", []string{"target_percent: 50", "target_percent: 101"}, "crown_jewels.target_percent", "from 0 to 100"},
		{"gate without rows", []string{"blocks: [critical, high, medium]", "blocks: all"}, "golden.blocks", "not a list"},
		{"anchor of YAML", []string{"name: vpm-standard", "name: &n vpm-standard"}, "", "anchors and aliases"},
		{"section missing", []string{"\ncrown_jewels:\n  target_percent: 50\n", "\n"}, "crown_jewels", "missing"},
		{"section of the wrong kind", []string{"\ncrown_jewels:\n  target_percent: 50\n", "\ncrown_jewels: 50\n"}, "crown_jewels", "not a mapping"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			src := edit(t, c.edits...)
			p, problems, err := policy.Parse(src)
			if p != nil || !errors.Is(err, policy.ErrInvalid) {
				t.Fatalf("accepted: %v, %v", problems, err)
			}
			for _, problem := range problems {
				if problem.Severity == policy.Error && problem.Path == c.path && strings.Contains(problem.Message, c.words) {
					if problem.Line == 0 {
						t.Errorf("no line: %s", problem)
					}
					return
				}
			}
			t.Errorf("%s: %q is not among %v", c.path, c.words, problems)
		})
	}
}

func TestErrorsNameTheirLine(t *testing.T) {
	src := edit(t, "  strict_hours: false", "  strict_hour: false")
	before, _, _ := bytes.Cut(src, []byte("strict_hour:"))
	line := 1 + bytes.Count(before, []byte("\n"))
	_, problems, err := policy.Parse(src)
	want := policy.Problem{
		Severity: policy.Error, Path: "switches.strict_hour", Line: line, Message: "unknown key",
		Hint: "known here: strict_hours, cycle_or_days, monotone_severity, appliance_both_tables, code_nonproduction, " +
			"code_clock_literal, floor_at_asset_in_service, awaiting_fix_backstop_days, reopen_days",
	}
	if diff := cmp.Diff([]policy.Problem{want}, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("line %d: switches.strict_hour: unknown key", line)) {
		t.Errorf("got %v", err)
	}
}

func TestEveryErrorIsReportedAtOnce(t *testing.T) {
	_, problems, err := policy.Parse(edit(t,
		"zone: Europe/Dublin", "zone: Mars", "target_percent: 50", "target_percent: half", "epss: 0.5", "epss: two",
		"critical: # \"14 days | 30 days | 30 days\"", "critical:\n      enduser: 30 days"))
	if len(problems) != 4 || err == nil {
		t.Errorf("got %v", problems)
	}
}

func TestWhatIsNoPolicyAtAll(t *testing.T) {
	for name, src := range map[string]string{
		"nothing": "", "a comment": "# nothing\n", "a word": "policy", "a list": "- a\n- b\n", "broken": "a: [1\n", "tabs": "\ta: 1",
		"two documents": "version: 1\n---\nversion: 1\n", "too long": strings.Repeat("# ", 1<<20),
		"a bomb": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "null": "null",
	} {
		p, problems, err := policy.Parse([]byte(src))
		if p != nil || err == nil || len(problems) == 0 {
			t.Errorf("%s: %v, %v", name, problems, err)
		}
	}
}

func TestLooserThanTheStandardIsWarnedOf(t *testing.T) {
	const code = "  code: # \"14 days | 30 days | 90 days | Next cycle\"\n    critical: 14 days\n    high: 30 days\n    medium: 90 days\n    low: next cycle"
	row := func(critical, high, medium, low string) []string {
		return []string{code, "  code:\n    critical: " + critical + "\n    high: " + high + "\n    medium: " + medium + "\n    low: " + low}
	}
	for _, c := range []struct {
		name  string
		edits []string
		path  string // empty for no warning
	}{
		{"more days", row("15 days", "30 days", "90 days", "next cycle"), "timelines.code.critical"},
		{"days become a cycle", row("14 days", "next cycle", "90 days", "next cycle"), "timelines.code.high"},
		{"a cycle becomes days", row("14 days", "30 days", "90 days", "30 days"), "timelines.code.low"},
		{"fewer days", row("7 days", "14 days", "30 days", "next cycle or 30 days"), ""},
		{"days or the cycle before", row("next cycle or 14 days", "30 days", "90 days", "next cycle"), ""},
		{"a cycle taken away", []string{"medium: # \"Next patch cycle or 90 days\" in every column\n      internet: next cycle or 90 days", "medium:\n      internet: 90 days"}, "timelines.compute.medium.internet"},
		{"appliance", []string{"critical: # \"14 days | 30 days | 30 days\"\n      internet: 14 days", "critical:\n      internet: 21 days"}, "timelines.appliance.critical.internet"},
		{"mitigation", []string{"mitigate_hours: 24", "mitigate_hours: 25"}, "kev.mitigate_hours"},
		{"validation", []string{"validated_hours: 72", "validated_hours: 73"}, "kev.validated_hours"},
		{"without SSVC", []string{"{exposed: 3 days, not_exposed: 14 days}", "{exposed: 4 days, not_exposed: 14 days}"}, "kev.without_ssvc"},
		{"a KEV row", []string{"automatable_yes: {partial: 3 days, total: 3 days + forensics}", "automatable_yes: {partial: 5 days, total: 3 days + forensics}"}, "bod_26_04.kev.exposed.automatable_yes.partial"},
		{"no forensics", []string{"automatable_yes: {partial: 3 days, total: 3 days + forensics}", "automatable_yes: {partial: 3 days, total: 3 days}"}, "bod_26_04.kev.exposed.automatable_yes.total"},
		{"gate", []string{"blocks: [critical, high, medium]", "blocks: [critical, high]"}, "golden.blocks"},
		{"feed age", []string{"feed_max_age_hours: 24", "feed_max_age_hours: 48"}, "golden.feed_max_age_hours"},
		{"decision", []string{"decision_days: 7", "decision_days: 8"}, "golden.decision_days"},
		{"target", []string{"target_percent: 50", "target_percent: 75"}, "crown_jewels.target_percent"},
		{"latest", []string{"cycle_or_days: earliest", "cycle_or_days: latest"}, "switches.cycle_or_days"},
		{"floor", []string{"floor_at_asset_in_service: false", "floor_at_asset_in_service: true"}, "switches.floor_at_asset_in_service"},
		{"code", []string{"code_nonproduction: compute", "code_nonproduction: code"}, "switches.code_nonproduction"},
		{"reopen", []string{"reopen_days: 14", "reopen_days: 7"}, "switches.reopen_days"},
		{"band", []string{"high: 7.0, medium: 4.0}\n  # CVSS 2", "high: 7.5, medium: 4.0}\n  # CVSS 2"}, "severity"},
		{"rating", []string{"high: [Important, High]\n    medium: [Moderate, Medium]", "high: [High]\n    medium: [Important, Moderate, Medium]"}, "severity.ratings.medium"},
		{"yearly windows", []string{`BYMONTH=1,4,7,10;BYDAY=1SA`, `BYMONTH=1;BYDAY=1SA`}, "calendars.coldwallet"},
		{"monthly windows", []string{`BYMONTH=1,4,7,10;BYDAY=1SA`, `BYDAY=1SA`}, ""},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			_, problems, err := policy.Parse(edit(t, c.edits...))
			if err != nil {
				t.Fatal(err)
			}
			var looser []string
			for _, p := range problems {
				if strings.HasPrefix(p.Message, "looser than the standard: ") {
					looser = append(looser, p.Path)
				}
			}
			if got := strings.Join(looser, " "); got != c.path {
				t.Errorf("looser: %q, want %q", got, c.path)
			}
		})
	}
}

func TestAnUnusedCalendarIsWarnedOf(t *testing.T) {
	_, problems, err := policy.Parse(edit(t, "  end_user: enduser", "  end_user: production"))
	if err != nil || problems[len(problems)-1].Path != "calendars.enduser" {
		t.Errorf("got %v, %v", problems, err)
	}
}

func TestTheStandardsOwnWordsAreRead(t *testing.T) {
	p, _, err := policy.Parse(edit(t,
		"high: # \"30 days | Next cycle or 90 days | Next cycle or 90 days\"\n      internet: 30 days\n      production: next cycle or 90 days",
		"high:\n      internet: 1 day\n      production: Next  Patch cycle or 45 days",
		"low: # \"Next available cycle\" in every column\n      internet: next cycle\n      production: next cycle\n      nonproduction: next cycle\n\n",
		"low:\n      internet: Next available cycle\n      production: next cycle\n      nonproduction: next cycle\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := p.Timelines.Appliance
	got := []sla.Cell{a[finding.High][sla.ColumnInternet], a[finding.High][sla.ColumnProduction], a[finding.Low][sla.ColumnInternet]}
	want := []sla.Cell{{Kind: sla.Days, Days: 1}, {Kind: sla.CycleOrDays, Days: 45}, {Kind: sla.NextCycle}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSwitchesMayBeLeftOut(t *testing.T) {
	src, _, found := bytes.Cut(edit(t), []byte("\nswitches:"))
	if !found {
		t.Fatal("the shipped policy has no switches")
	}
	p, _, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sla.Switches{CycleOrDays: sla.Earliest, ReopenDays: 14}, p.Switches); diff != "" {
		t.Error(diff)
	}
	d, _ := policy.Default()
	if diff := cmp.Diff(d.Switches, p.Switches); diff != "" {
		t.Errorf("the shipped file states other defaults:\n%s", diff)
	}
}

// nth is the n-th weekday of a month, found by walking its days.
func nth(year int, month time.Month, weekday time.Weekday, n int) time.Time {
	for d := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC); ; d = d.AddDate(0, 0, 1) {
		if d.Weekday() == weekday {
			if n--; n == 0 {
				return d
			}
		}
	}
}

func TestShippedWindows(t *testing.T) {
	p, _ := policy.Default()
	for _, c := range []struct {
		calendar *sla.Calendar
		weekday  time.Weekday
		n, hour  int
		length   time.Duration
		quarter  bool
	}{
		{p.Calendars.Production, time.Saturday, 3, 22, 8 * time.Hour, false},
		{p.Calendars.NonProduction, time.Saturday, 2, 22, 8 * time.Hour, false},
		{p.Calendars.EndUser, time.Wednesday, 2, 20, 10 * time.Hour, false},
		{p.Calendars.ColdWallet, time.Saturday, 1, 10, 6 * time.Hour, true},
	} {
		t.Run(c.calendar.Name(), func(t *testing.T) {
			ws := c.calendar.Windows()
			for year := 1970; year <= 2149; year++ {
				for month := time.January; month <= time.December; month++ {
					if c.quarter && month%3 != 1 {
						continue
					}
					day := nth(year, month, c.weekday, c.n)
					local := ws[0].Start.In(p.Zone)
					if local.Format("2006-01-02 15:04") != fmt.Sprintf("%s %02d:00", day.Format(time.DateOnly), c.hour) {
						t.Fatalf("got %s, want %s at %d", local, day.Format(time.DateOnly), c.hour)
					}
					if got := ws[0].End.Sub(ws[0].Start); got != c.length {
						t.Fatalf("%s lasts %s", local, got)
					}
					ws = ws[1:]
				}
			}
		})
	}
}

func TestAnchoredCalendar(t *testing.T) {
	p, _, err := policy.Parse(edit(t, `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`,
		`production:    {rrule: "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA", start: "22:00", hours: 8, anchor: 2026-01-03}`))
	if err != nil {
		t.Fatal(err)
	}
	// Jan 3, 17, 31, Feb 14, 28, Mar 14; and back: Dec 20, 6
	for after, want := range map[string]string{"2026-03-01": "2026-03-14", "2026-01-01": "2026-01-03", "2025-12-01": "2025-12-06", "2025-12-07": "2025-12-20"} {
		at, err := time.Parse(time.DateOnly, after)
		if err != nil {
			t.Fatal(err)
		}
		w, ok := p.Calendars.Production.Next(at)
		if !ok || w.Start.Format(time.DateOnly) != want {
			t.Errorf("after %s: got %s, %t, want %s", after, w.Start, ok, want)
		}
	}
}

func TestAnAnchorSaysWhatARuleCountsFrom(t *testing.T) {
	for _, c := range []struct{ rule, anchor, after, want string }{
		{"FREQ=MONTHLY", "2026-01-20", "2026-03-01", "2026-03-20"},
		{"FREQ=MONTHLY", "2100-01-20", "2026-03-01", "2026-03-20"},
		{"FREQ=MONTHLY;INTERVAL=3;BYDAY=1SA", "2026-02-01", "2026-03-01", "2026-05-02"},
		{"FREQ=MONTHLY;INTERVAL=3;BYDAY=1SA", "2026-02-01", "2025-09-01", "2025-11-01"},
		{"FREQ=YEARLY", "2026-05-06", "2026-05-07", "2027-05-06"},
		{"FREQ=WEEKLY", "2026-03-04", "2026-03-05", "2026-03-11"},
		{"FREQ=DAILY;INTERVAL=10", "2026-03-04", "2026-03-05", "2026-03-14"},
		{"FREQ=DAILY;INTERVAL=10", "2026-03-04", "2026-02-15", "2026-02-22"},
	} {
		t.Run(c.rule+"/"+c.after, func(t *testing.T) {
			p, _, err := policy.Parse(edit(t, `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`,
				`production:    {rrule: "`+c.rule+`", start: "22:00", hours: 8, anchor: `+c.anchor+`}`))
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.DateOnly, c.after)
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := p.Calendars.Production.Next(at); !ok || w.Start.Format(time.DateOnly) != c.want {
				t.Errorf("got %s, %t, want %s", w.Start, ok, c.want)
			}
		})
	}
}

func TestTheHostsZonesAreNeverRead(t *testing.T) {
	// A host that lies about Dublin: its zone directory says Tokyo.
	dir := t.TempDir()
	tokyo := zoneFile(t, "Asia/Tokyo")
	if err := os.MkdirAll(filepath.Join(dir, "Europe"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Europe", "Dublin"), tokyo, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZONEINFO", dir)
	if z, err := time.LoadLocation("Europe/Dublin"); err == nil {
		if _, offset := time.Date(2026, 1, 1, 0, 0, 0, 0, z).Zone(); offset != 9*3600 {
			t.Skipf("this host's zones cannot be replaced (offset %d)", offset)
		}
	}
	p, _, err := policy.Parse(edit(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at     string
		offset int
	}{{"2026-01-01T00:00:00Z", 0}, {"2026-07-01T00:00:00Z", 3600}, {"1970-07-01T00:00:00Z", 3600}, {"1970-01-01T00:00:00Z", 3600}} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if _, offset := at.In(p.Zone).Zone(); offset != c.offset {
			t.Errorf("%s in Dublin: offset %d, want %d", c.at, offset, c.offset)
		}
	}
}

func zoneFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", name))
	if err != nil {
		t.Skipf("this host has no zones to lie with: %v", err)
	}
	return data
}

// The archive is the compiler's, and TZData its version: where the same compiler
// release stands beside it, they are compared byte by byte.
func TestTheZoneDataIsTheCompilers(t *testing.T) {
	root := filepath.Join(runtime.GOROOT(), "lib", "time") //nolint:staticcheck // the test looks at the toolchain that runs it
	script, err := os.ReadFile(filepath.Join(root, "update.bash"))
	if err != nil {
		t.Skipf("the toolchain carries no zone data: %v", err)
	}
	if !bytes.Contains(script, []byte("\nDATA="+policy.TZData+"\n")) {
		t.Skip("the toolchain carries another version of the zone data")
	}
	want, err := os.ReadFile(filepath.Join(root, "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("zoneinfo.zip")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zoneinfo.zip is not the archive of version " + policy.TZData)
	}
}

// A policy without errors leaves no asset without an answer.
func FuzzParse(f *testing.F) {
	_, src := policy.Default()
	f.Add(src)
	f.Add([]byte("version: 1\ncalendars: {a: {rrule: \"FREQ=DAILY\"}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, problems, err := policy.Parse(src)
		if (p == nil) != errors.Is(err, policy.ErrInvalid) || (p == nil) == (err == nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if p == nil {
			if len(problems) == 0 {
				t.Fatal("refused without a problem")
			}
			return
		}
		at := time.Date(2040, 5, 17, 12, 0, 0, 0, time.UTC)
		for _, class := range []sla.Class{sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Code, sla.Golden} {
			for _, sev := range []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low} {
				v, err := sla.Evaluate(p, sla.Input{
					Asset:         sla.Asset{Class: class, Exposure: sla.Internal, Environment: sla.NonProduction},
					Vulnerability: sla.Vulnerability{Severity: sev},
					Clock:         sla.Clock{Detected: at, Known: at, Merged: at},
				}, at)
				if err != nil || (v.Due == "" && class != sla.Golden) {
					t.Fatalf("%s %s: no date (%v)", class, sev, err)
				}
			}
		}
	})
}

// A calendar without errors has a window within a year of any day.
func FuzzCalendar(f *testing.F) {
	_, src := policy.Default()
	const shipped = `production:    {rrule: "FREQ=MONTHLY;BYDAY=3SA", start: "22:00", hours: 8}`
	for _, rule := range []string{
		"FREQ=MONTHLY;BYDAY=3SA", "FREQ=MONTHLY;BYMONTH=1,4,7,10;BYDAY=1SA", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;WKST=SU",
		"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "FREQ=YEARLY;BYYEARDAY=-1", "FREQ=WEEKLY;INTERVAL=3", "RRULE:FREQ=DAILY",
		"FREQ=MONTHLY;BYMONTHDAY=31", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
	} {
		f.Add(rule, 8, "2026-01-31")
	}
	f.Fuzz(func(t *testing.T, rule string, hours int, anchor string) {
		line := fmt.Sprintf("production:    {rrule: %q, start: \"22:00\", hours: %d, anchor: %q}", rule, hours, anchor)
		p, _, err := policy.Parse(bytes.Replace(src, []byte(shipped), []byte(line), 1))
		if err != nil {
			return
		}
		for at := time.Date(1970, 1, 1, 0, 0, 0, 0, p.Zone); at.Year() < 2150; at = at.AddDate(0, 1, 0) {
			w, ok := p.Calendars.Production.Next(at)
			if !ok || w.Start.Sub(at) > 374*24*time.Hour {
				t.Fatalf("%s: no window within a year of %s (%s, %t)", rule, at, w.Start, ok)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	_, src := policy.Default()
	for b.Loop() {
		if _, _, err := policy.Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}
