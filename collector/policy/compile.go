package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

var severities = []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}

var severityWords = []string{"critical", "high", "medium", "low"}

// compile turns a policy file into values. The policy is nil when there is an error.
func compile(src []byte) (*sla.Policy, []Problem) {
	r := &reader{}
	doc := r.document(src)
	if doc.node == nil {
		return nil, r.problems
	}
	got := r.fields(doc, []string{
		"version", "name", "zone", "calendars", "calendar_of", "timelines", "golden",
		"crown_jewels", "kev", "bod_26_04", "severity", "priority",
	}, []string{"switches"})
	p := &sla.Policy{Digest: Digest(src), TZData: TZData}
	r.oneOf(got["version"], "1")
	p.Name = r.name(got["name"])
	p.Zone = r.zone(got["zone"])
	p.Calendars = r.calendarOf(got["calendar_of"], got["calendars"], p.Zone)
	p.Timelines = r.timelines(got["timelines"])
	p.Golden = r.golden(got["golden"])
	p.TargetPercent = r.whole(r.fields(got["crown_jewels"], []string{"target_percent"}, nil)["target_percent"], 0, 100)
	p.KEV = r.kev(got["kev"])
	p.BOD = r.bod(got["bod_26_04"])
	p.Severity = r.severity(got["severity"])
	p.Priority = r.priority(got["priority"])
	p.Switches = r.switches(got["switches"])
	if r.failed {
		return nil, r.problems
	}
	return p, r.problems
}

func (r *reader) name(f field) string {
	w, ok := r.word(f)
	if ok && (w == "" || len(w) > 100) {
		r.fail(f, "the name is empty or longer than 100 characters", "")
	}
	return w
}

func (r *reader) zone(f field) *time.Location {
	w, ok := r.word(f)
	if !ok {
		return nil
	}
	zone, err := loadZone(w)
	if err != nil {
		r.fail(f, err.Error(), "use an IANA name such as Europe/Dublin")
		return nil
	}
	return zone
}

func (r *reader) calendarOf(f, calendars field, zone *time.Location) sla.Calendars {
	made := r.readCalendars(calendars, zone)
	named := r.anyFields(calendars)
	var c sla.Calendars
	slots := []struct {
		key  string
		into **sla.Calendar
	}{
		{"cold_wallet", &c.ColdWallet},
		{"end_user", &c.EndUser},
		{"internet", &c.Internet},
		{"production", &c.Production},
		{"nonproduction", &c.NonProduction},
	}
	keys := make([]string, 0, len(slots))
	for _, s := range slots {
		keys = append(keys, s.key)
	}
	got := r.fields(f, keys, nil)
	used := map[string]bool{}
	for _, s := range slots {
		w, ok := r.word(got[s.key])
		if !ok {
			continue
		}
		used[w] = true
		*s.into = made[w]
		if _, exists := named[w]; !exists {
			r.fail(got[s.key], fmt.Sprintf("there is no calendar %q", w), "add it under calendars")
		}
	}
	for _, name := range sortedKeys(named) {
		if !used[name] {
			r.warn(named[name], "no asset uses this calendar", "name it under calendar_of, or remove it")
		}
	}
	return c
}

func (r *reader) timelines(f field) sla.Timelines {
	got := r.fields(f, []string{"compute", "appliance", "image", "workload", "code"}, nil)
	four := []sla.Column{sla.ColumnInternet, sla.ColumnProduction, sla.ColumnNonProduction, sla.ColumnEndUser}
	return sla.Timelines{
		Compute:   r.table(got["compute"], four),
		Appliance: r.table(got["appliance"], four[:3]),
		Image:     r.row(got["image"]),
		Workload:  r.row(got["workload"]),
		Code:      r.row(got["code"]),
	}
}

func (r *reader) table(f field, columns []sla.Column) sla.Table {
	names := make([]string, 0, len(columns))
	for _, c := range columns {
		names = append(names, string(c))
	}
	t := sla.Table{}
	got := r.fields(f, severityWords, nil)
	for _, sev := range severities {
		line := got[string(sev)]
		r.refuseEndUserAppliance(&line, columns)
		cells := r.fields(line, names, nil)
		t[sev] = map[sla.Column]sla.Cell{}
		for _, c := range columns {
			t[sev][c] = r.cell(cells[string(c)])
		}
	}
	return t
}

// refuseEndUserAppliance says more than "unknown key" about the one column that
// people add to §7.2, and takes it out.
func (r *reader) refuseEndUserAppliance(line *field, columns []sla.Column) {
	if line.node == nil || slices.Contains(columns, sla.ColumnEndUser) {
		return
	}
	for i := 0; i+1 < len(line.node.Content); i += 2 {
		key := line.node.Content[i]
		if key.Value != string(sla.ColumnEndUser) {
			continue
		}
		r.fail(field{key, join(line.path, key.Value)}, "an end-user appliance: §7.2 has no end-user column",
			"remove it, and classify the asset as compute or by where it stands")
		without := *line.node
		without.Content = slices.Delete(slices.Clone(line.node.Content), i, i+2)
		line.node = &without
		return
	}
}

func (r *reader) row(f field) sla.Row {
	row := sla.Row{}
	got := r.fields(f, severityWords, nil)
	for _, sev := range severities {
		row[sev] = r.cell(got[string(sev)])
	}
	return row
}

// cell reads "14 days", "next cycle or 30 days" or "next cycle", and the
// standard's own words for the last two.
func (r *reader) cell(f field) sla.Cell {
	w, ok := r.word(f)
	if !ok {
		return sla.Cell{}
	}
	text := strings.ToLower(strings.Join(strings.Fields(w), " "))
	for _, words := range []string{"next cycle", "next patch cycle", "next available cycle"} {
		rest, found := strings.CutPrefix(text, words)
		if found && rest == "" {
			return sla.Cell{Kind: sla.NextCycle}
		}
		if n, ok := parseDays(strings.TrimPrefix(rest, " or ")); found && ok && strings.HasPrefix(rest, " or ") {
			return sla.Cell{Kind: sla.CycleOrDays, Days: n}
		}
	}
	if n, ok := parseDays(text); ok {
		return sla.Cell{Kind: sla.Days, Days: n}
	}
	r.fail(f, fmt.Sprintf("%q is not a timeline", w),
		fmt.Sprintf("write \"14 days\" (0 to %d), \"next cycle or 30 days\" or \"next cycle\"", maxDays))
	return sla.Cell{}
}

func (r *reader) golden(f field) sla.Gate {
	got := r.fields(f, []string{"blocks", "feed_max_age_hours", "decision_days"}, nil)
	g := sla.Gate{
		FeedMaxAge:   time.Duration(r.whole(got["feed_max_age_hours"], 1, maxDays*24)) * time.Hour,
		DecisionLife: time.Duration(r.whole(got["decision_days"], 1, maxDays)) * 24 * time.Hour,
	}
	for _, b := range r.words(got["blocks"]) {
		g.Blocks = append(g.Blocks, finding.Severity(r.oneOf(b, severityWords...)))
	}
	return g
}

func (r *reader) kev(f field) sla.KEV {
	got := r.fields(f, []string{"mitigate_hours", "without_ssvc", "validated_hours"}, nil)
	without := r.fields(got["without_ssvc"], []string{"exposed", "not_exposed"}, nil)
	return sla.KEV{
		Mitigate:       time.Duration(r.whole(got["mitigate_hours"], 0, maxDays*24)) * time.Hour,
		Validated:      time.Duration(r.whole(got["validated_hours"], 0, maxDays*24)) * time.Hour,
		ExposedDays:    r.days(without["exposed"]),
		NotExposedDays: r.days(without["not_exposed"]),
	}
}

func (r *reader) bod(f field) sla.BOD {
	got := r.fields(f, []string{"without_kev", "no_kev", "kev"}, nil)
	b := sla.BOD{Table: map[sla.BODKey]sla.BODCell{}}
	b.WithoutKEV = sla.Strength(r.oneOf(got["without_kev"], string(sla.Advisory), string(sla.Binding), string(sla.Off)))
	for _, kev := range []bool{false, true} {
		half := r.fields(got[pick(kev, "kev", "no_kev")], []string{"not_exposed", "exposed"}, nil)
		for _, exposed := range []bool{false, true} {
			rows := r.fields(half[pick(exposed, "exposed", "not_exposed")], []string{"automatable_no", "automatable_yes"}, nil)
			for _, auto := range []bool{false, true} {
				cells := r.fields(rows[pick(auto, "automatable_yes", "automatable_no")], []string{"partial", "total"}, nil)
				for _, total := range []bool{false, true} {
					key := sla.BODKey{KEV: kev, Exposed: exposed, Automatable: auto, Total: total}
					b.Table[key] = r.bodCell(cells[pick(total, "total", "partial")], kev)
				}
			}
		}
	}
	return b
}

func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// bodCell reads "at upgrade", "14 days" or "3 days + forensics".
func (r *reader) bodCell(f field, kev bool) sla.BODCell {
	w, ok := r.word(f)
	if !ok {
		return sla.BODCell{}
	}
	if w == "at upgrade" {
		if kev {
			r.fail(f, "a KEV row without a number of days", "a KEV listing always has a deadline")
		}
		return sla.BODCell{AtUpgrade: true}
	}
	number, forensics := strings.CutSuffix(w, " + forensics")
	n, ok := parseDays(number)
	if !ok || (forensics && !kev) {
		r.fail(f, fmt.Sprintf("%q is not an outcome of the table", w),
			"write \"14 days\", \"3 days + forensics\" (KEV only) or \"at upgrade\" (without KEV only)")
	}
	return sla.BODCell{Days: n, Forensics: forensics}
}

func (r *reader) severity(f field) sla.SeverityRules {
	got := r.fields(f, []string{"sources", "cvss", "cvss2", "ratings"}, nil)
	var s sla.SeverityRules
	for _, source := range r.words(got["sources"]) {
		w := r.oneOf(source, "vendor", "cna", "adp", "nvd")
		if slices.Contains(s.Sources, w) {
			r.fail(source, "stated twice", "keep one")
		}
		s.Sources = append(s.Sources, w)
	}
	three := r.fields(got["cvss"], []string{"critical", "high", "medium"}, nil)
	two := r.fields(got["cvss2"], []string{"high", "medium"}, nil)
	s.Bands = sla.Bands{
		Critical: r.number(three["critical"], 0.1, 10), High: r.number(three["high"], 0.1, 10), Medium: r.number(three["medium"], 0.1, 10),
	}
	s.Bands2 = sla.Bands{High: r.number(two["high"], 0.1, 10), Medium: r.number(two["medium"], 0.1, 10)}
	if s.Bands.Critical < s.Bands.High || s.Bands.High < s.Bands.Medium || s.Bands2.High < s.Bands2.Medium {
		r.fail(got["cvss"], "the bands are not in order", "critical at or above high, high at or above medium")
	}
	s.Ratings = r.ratings(got["ratings"])
	return s
}

func (r *reader) ratings(f field) map[string]finding.Severity {
	ratings := map[string]finding.Severity{}
	got := r.fields(f, severityWords, nil)
	for _, sev := range severities {
		for _, entry := range r.words(got[string(sev)]) {
			w, ok := r.word(entry)
			w = strings.ToLower(strings.TrimSpace(w))
			if _, twice := ratings[w]; ok && (twice || w == "") {
				r.fail(entry, fmt.Sprintf("the rating %q is empty or stated twice", w), "keep one")
			}
			ratings[w] = sev
		}
	}
	return ratings
}

func (r *reader) priority(f field) sla.Priority {
	got := r.fields(f, []string{
		"critical", "high", "medium", "low", "exploited", "likely", "exposed", "crown_jewel", "hot_wallet_component",
		"epss", "p0", "p1", "p2", "p3", "kev_exposed_is_p0",
	}, nil)
	points := func(key string) int { return r.whole(got[key], 0, 1000) }
	p := sla.Priority{
		Severity:  map[finding.Severity]int{},
		Exploited: points("exploited"), Likely: points("likely"), Exposed: points("exposed"),
		CrownJewel: points("crown_jewel"), HotWalletComponent: points("hot_wallet_component"),
		EPSS: r.number(got["epss"], 0, 1),
		P0:   points("p0"), P1: points("p1"), P2: points("p2"), P3: points("p3"),
		KEVExposedIsP0: r.yes(got["kev_exposed_is_p0"]),
	}
	for _, sev := range severities {
		p.Severity[sev] = points(string(sev))
	}
	if f.node != nil && !r.failed && (p.P0 < p.P1 || p.P1 < p.P2 || p.P2 < p.P3) {
		r.fail(f, "the thresholds are not in order", "p0 at or above p1, p1 at or above p2, p2 at or above p3")
	}
	return p
}

// reopenDays is how long a finding can come back as the same episode.
const reopenDays = 14

func (r *reader) switches(f field) sla.Switches {
	s := sla.Switches{CycleOrDays: sla.Earliest, ReopenDays: reopenDays}
	if f.node == nil {
		return s
	}
	got := r.fields(f, nil, []string{
		"strict_hours", "cycle_or_days", "monotone_severity", "appliance_both_tables", "code_nonproduction",
		"code_clock_literal", "floor_at_asset_in_service", "awaiting_fix_backstop_days",
		"reopen_days",
	})
	yes := func(key string) bool {
		f, ok := got[key]
		return ok && r.yes(f)
	}
	s.StrictHours = yes("strict_hours")
	s.MonotoneSeverity = yes("monotone_severity")
	s.ApplianceBothTables = yes("appliance_both_tables")
	s.CodeClockLiteral = yes("code_clock_literal")
	s.FloorAtAssetInService = yes("floor_at_asset_in_service")
	if f, ok := got["cycle_or_days"]; ok {
		s.CycleOrDays = sla.CycleOrDaysMode(r.oneOf(f, string(sla.Earliest), string(sla.Target), string(sla.Latest)))
	}
	if f, ok := got["code_nonproduction"]; ok {
		s.CodeNonProductionAsCode = r.oneOf(f, "compute", "code") == "code"
	}
	if f, ok := got["awaiting_fix_backstop_days"]; ok {
		s.AwaitingFixBackstopDays = r.whole(f, 0, maxDays)
	}
	if f, ok := got["reopen_days"]; ok {
		s.ReopenDays = r.whole(f, 0, maxDays)
	}
	return s
}
