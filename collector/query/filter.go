package query

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// ErrFilter says that a question makes no sense as it was put.
var ErrFilter = errors.New("filter")

// Filter narrows a list of findings. Zero fields do not filter; a list lets
// through what is one of its words, and all that is set must hold.
type Filter struct {
	Severity, State, Priority, Cycle     []string
	Class, Environment, Exposure, Column []string
	OU, Account, Region, Service, Owner  []string
	Package, Component, Advisory         []string
	Vulnerability, Asset                 []string
	// Outcome lists how findings are counted; Flag what must all hold.
	Outcome, Flag                 []string
	KEV, CrownJewel, ColdWallet   *bool
	HotWallet                     *bool
	Unowned, Overdue              bool
	OpenOnly, AwaitingFix         bool
	DueBefore, DueAfter           string
	DetectedBefore, DetectedAfter string
	ClosedBefore, ClosedAfter     string
	// View names one of Views, whose filters are set beside these.
	View string
	// Sort lists keys of store.SortKeys, "-" before one turns it around.
	Sort  []string
	Limit int
	After string
}

// Kinds of filters: how their words are written.
const (
	// KindWords is a list of words, separated by commas. A word that holds a comma
	// stands in double quotes, in which a double quote is written twice.
	KindWords = "words"
	// KindDate is a date, YYYY-MM-DD.
	KindDate = "date"
	// KindTime is a date or an instant (RFC 3339); a date is its first instant, UTC.
	KindTime = "time"
	// KindChoice is true or false, and neither when it is not said.
	KindChoice = "choice"
	// KindSwitch is on or off.
	KindSwitch = "switch"
)

// Field is one filter as the API and the command line spell it.
type Field struct {
	Name string
	Kind string
	Doc  string
	// Words are those it takes; none is any.
	Words []string
	// of returns the place in a filter: *[]string, *string, *bool or **bool.
	of func(*Filter) any
}

func words[T ~string](all ...T) []string {
	out := make([]string, len(all))
	for i, w := range all {
		out[i] = string(w)
	}
	return out
}

// Fields are all filters of findings, in the order people read them.
var Fields = []Field{
	{Name: "severity", Kind: KindWords, Doc: "only these severities", Words: words(finding.Critical, finding.High, finding.Medium, finding.Low), of: func(f *Filter) any { return &f.Severity }},
	{Name: "priority", Kind: KindWords, Doc: "only these priorities", Words: []string{"P0", "P1", "P2", "P3", "P4"}, of: func(f *Filter) any { return &f.Priority }},
	{Name: "state", Kind: KindWords, Doc: "only these states", Words: words(finding.Open, finding.PendingReboot, finding.PendingRestart, finding.Fixed, finding.NotAffected, finding.Retired), of: func(f *Filter) any { return &f.State }},
	{Name: "cycle", Kind: KindWords, Doc: "only these cycles", Words: []string{"zero_day", "out_of_cycle", "in_cycle"}, of: func(f *Filter) any { return &f.Cycle }},
	{Name: "outcome", Kind: KindWords, Doc: "only those counted as one of these", Words: words(finding.Outcomes...), of: func(f *Filter) any { return &f.Outcome }},
	{Name: "flag", Kind: KindWords, Doc: "only with all of these flags", Words: words(finding.Flags...), of: func(f *Filter) any { return &f.Flag }},
	{Name: "kev", Kind: KindChoice, Doc: "only known exploited ones, or only others", of: func(f *Filter) any { return &f.KEV }},
	{Name: "overdue", Kind: KindSwitch, Doc: "only overdue ones", of: func(f *Filter) any { return &f.Overdue }},
	{Name: "awaiting_fix", Kind: KindSwitch, Doc: "only those without a date, for want of a fix", of: func(f *Filter) any { return &f.AwaitingFix }},
	{Name: "open", Kind: KindSwitch, Doc: "only those whose clock runs", of: func(f *Filter) any { return &f.OpenOnly }},
	{Name: "vulnerability", Kind: KindWords, Doc: "only these vulnerabilities, e.g. CVE-2024-6387", of: func(f *Filter) any { return &f.Vulnerability }},
	{Name: "component", Kind: KindWords, Doc: "only these source packages", of: func(f *Filter) any { return &f.Component }},
	{Name: "package", Kind: KindWords, Doc: "only these binary packages", of: func(f *Filter) any { return &f.Package }},
	{Name: "advisory", Kind: KindWords, Doc: "only these advisories", of: func(f *Filter) any { return &f.Advisory }},
	{Name: "asset", Kind: KindWords, Doc: "only these assets, by id or name", of: func(f *Filter) any { return &f.Asset }},
	{Name: "class", Kind: KindWords, Doc: "only these asset classes", Words: words(sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Golden, sla.Code), of: func(f *Filter) any { return &f.Class }},
	{Name: "exposure", Kind: KindWords, Doc: "only these exposures", Words: words(sla.Internet, sla.Internal, sla.UnknownExposure), of: func(f *Filter) any { return &f.Exposure }},
	{Name: "environment", Kind: KindWords, Doc: "only these environments", Words: words(sla.Production, sla.NonProduction, sla.EndUser, sla.UnknownEnvironment), of: func(f *Filter) any { return &f.Environment }},
	{Name: "column", Kind: KindWords, Doc: "only these columns of the timelines", Words: words(sla.ColumnInternet, sla.ColumnProduction, sla.ColumnNonProduction, sla.ColumnEndUser), of: func(f *Filter) any { return &f.Column }},
	{Name: "ou", Kind: KindWords, Doc: "only these organizational units", of: func(f *Filter) any { return &f.OU }},
	{Name: "account", Kind: KindWords, Doc: "only these accounts", of: func(f *Filter) any { return &f.Account }},
	{Name: "region", Kind: KindWords, Doc: "only these regions", of: func(f *Filter) any { return &f.Region }},
	{Name: "service", Kind: KindWords, Doc: "only these services", of: func(f *Filter) any { return &f.Service }},
	{Name: "owner", Kind: KindWords, Doc: "only these owners", of: func(f *Filter) any { return &f.Owner }},
	{Name: "unowned", Kind: KindSwitch, Doc: "only on assets without an owner", of: func(f *Filter) any { return &f.Unowned }},
	{Name: "crown_jewel", Kind: KindChoice, Doc: "only on crown jewels, or only on others", of: func(f *Filter) any { return &f.CrownJewel }},
	{Name: "cold_wallet", Kind: KindChoice, Doc: "only on cold wallets, or only on others", of: func(f *Filter) any { return &f.ColdWallet }},
	{Name: "hot_wallet", Kind: KindChoice, Doc: "only on hot wallets, or only on others", of: func(f *Filter) any { return &f.HotWallet }},
	{Name: "due_before", Kind: KindDate, Doc: "only due before this date", of: func(f *Filter) any { return &f.DueBefore }},
	{Name: "due_after", Kind: KindDate, Doc: "only due after this date", of: func(f *Filter) any { return &f.DueAfter }},
	{Name: "detected_before", Kind: KindTime, Doc: "only first detected before this date or instant", of: func(f *Filter) any { return &f.DetectedBefore }},
	{Name: "detected_after", Kind: KindTime, Doc: "only first detected after this date or instant", of: func(f *Filter) any { return &f.DetectedAfter }},
	{Name: "closed_before", Kind: KindTime, Doc: "only closed before this date or instant", of: func(f *Filter) any { return &f.ClosedBefore }},
	{Name: "closed_after", Kind: KindTime, Doc: "only closed after this date or instant", of: func(f *Filter) any { return &f.ClosedAfter }},
}

// Set gives a filter a value as the API and the command line write it.
func (d *Field) Set(f *Filter, value string) error {
	switch at := d.of(f).(type) {
	case *[]string:
		list, err := d.list(value)
		if err != nil {
			return err
		}
		*at = list
	case *string:
		if _, err := when(value); err != nil || d.Kind == KindDate && len(value) != len(time.DateOnly) {
			return d.refuse(value, map[string]string{KindDate: "a date, YYYY-MM-DD", KindTime: "a date, YYYY-MM-DD, or an instant as in 2026-06-01T12:00:00Z"}[d.Kind])
		}
		*at = value
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return d.refuse(value, "true or false")
		}
		*at = b
	case **bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return d.refuse(value, "true or false")
		}
		*at = &b
	}
	return nil
}

func (d *Field) list(value string) ([]string, error) {
	list, err := splitWords(value)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", d.Name, value, err)
	}
	for _, w := range list {
		if w == "" || len(d.Words) > 0 && !slices.Contains(d.Words, w) {
			return nil, d.refuse(w, d.want())
		}
	}
	return list, nil
}

func (d *Field) want() string {
	if len(d.Words) == 0 {
		return "a name, or several separated by commas; one that holds a comma in double quotes"
	}
	last := len(d.Words) - 1
	return strings.Join(d.Words[:last], ", ") + " or " + d.Words[last]
}

func (d *Field) refuse(value, want string) error {
	return fmt.Errorf("%s %q: want %s", d.Name, value, want)
}

// value is the inverse of Set, empty when the filter is not set.
func (d *Field) value(f *Filter) string {
	switch at := d.of(f).(type) {
	case *[]string:
		return joinWords(*at)
	case *string:
		return *at
	case *bool:
		if *at {
			return "true"
		}
	case **bool:
		if *at != nil {
			return strconv.FormatBool(**at)
		}
	}
	return ""
}

// when reads a date, as its first instant, or an instant.
func when(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, s)
}

// Values spells a filter as the query of a URL.
func (f Filter) Values() url.Values {
	v := url.Values{}
	for name, value := range f.words() {
		v.Set(name, value)
	}
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	if f.After != "" {
		v.Set("after", f.After)
	}
	return v
}

// words are the filters that are set, by name.
func (f Filter) words() map[string]string {
	out := map[string]string{}
	for i := range Fields {
		if v := Fields[i].value(&f); v != "" {
			out[Fields[i].Name] = v
		}
	}
	if f.View != "" {
		out["view"] = f.View
	}
	if len(f.Sort) > 0 {
		out["sort"] = strings.Join(f.Sort, ",")
	}
	return out
}

// ParseFilter is the inverse of Values; names it does not know are not looked at.
func ParseFilter(v url.Values) (Filter, error) {
	var f Filter
	for i := range Fields {
		d := &Fields[i]
		// A filter that is said several times is a list.
		if said := strings.Join(v[d.Name], ","); said != "" {
			if err := d.Set(&f, said); err != nil {
				return f, fmt.Errorf("%w: %w", ErrFilter, err)
			}
		}
	}
	f.View, f.After = v.Get("view"), v.Get("after")
	if s := v.Get("sort"); s != "" {
		f.Sort = strings.Split(s, ",")
	}
	if l := v.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 0 {
			return f, fmt.Errorf("%w: limit %q: want a number of rows", ErrFilter, l)
		}
		f.Limit = n
	}
	return f, f.Check()
}

// Check reports what a filter says that nobody can answer.
func (f Filter) Check() error {
	if f.View != "" && !slices.ContainsFunc(Views, func(v View) bool { return v.Name == f.View }) {
		names := make([]string, len(Views))
		for i, v := range Views {
			names[i] = v.Name
		}
		return fmt.Errorf("%w: view %q: want %s", ErrFilter, f.View, strings.Join(names, ", "))
	}
	for _, k := range f.Sort {
		if !slices.Contains(store.SortKeys, strings.TrimPrefix(k, "-")) {
			return fmt.Errorf("%w: sort key %q: want %s, with - before one to turn it around", ErrFilter, k, strings.Join(store.SortKeys, ", "))
		}
	}
	if f.Unowned && len(f.Owner) > 0 {
		return fmt.Errorf("%w: owner and unowned exclude each other", ErrFilter)
	}
	return nil
}

// View is a ready-made question.
type View struct {
	Name    string            `json:"name"`
	Doc     string            `json:"doc"`
	Filters map[string]string `json:"filters"`
}

// Views are the ready-made questions. Each is a set of filters; what is asked
// beside them narrows further.
var Views = []View{
	{Name: "kev-internet", Doc: "known exploited, on what the internet reaches or may reach (VPM-03.1)", Filters: map[string]string{"kev": "true", "exposure": "internet,unknown", "open": "true"}},
	{Name: "overdue", Doc: "out of time", Filters: map[string]string{"overdue": "true"}},
	{Name: "zero-day", Doc: "in the Zero-Day cycle", Filters: map[string]string{"cycle": "zero_day", "open": "true"}},
	{Name: "crown-jewels", Doc: "running on the trading engine, wallets and signing", Filters: map[string]string{"crown_jewel": "true", "open": "true"}},
	{Name: "cold-wallets", Doc: "running on cold wallet hosts", Filters: map[string]string{"cold_wallet": "true", "open": "true"}},
	{Name: "pending-reboot", Doc: "fixed on disk, the old kernel runs", Filters: map[string]string{"state": "pending_reboot"}},
	{Name: "pending-restart", Doc: "fixed on disk, processes run the old code", Filters: map[string]string{"state": "pending_restart"}},
	{Name: "awaiting-fix", Doc: "no fix yet, so no date", Filters: map[string]string{"awaiting_fix": "true"}},
	{Name: "unowned", Doc: "running on assets nobody owns", Filters: map[string]string{"unowned": "true", "open": "true"}},
	{Name: "arrivals", Doc: "running, and out of time when first seen", Filters: map[string]string{"flag": "arrival", "open": "true"}},
}

// merged is a filter with its view's beside it. What both say must both hold; a
// list that both give keeps the words that are in both.
func (f Filter) merged() (Filter, bool, error) {
	for _, v := range Views {
		if v.Name != f.View {
			continue
		}
		for i := range Fields {
			d := &Fields[i]
			theirs := v.Filters[d.Name]
			if theirs == "" {
				continue
			}
			both, possible := theirs, true
			if mine := d.value(&f); mine != "" {
				both, possible = d.both(mine, theirs)
			}
			if !possible {
				return f, false, nil
			}
			if err := d.Set(&f, both); err != nil {
				return f, false, fmt.Errorf("view %s: %w", v.Name, err)
			}
		}
	}
	return f, true, nil
}

func (d *Field) both(mine, theirs string) (string, bool) {
	switch {
	case d.Name == "flag":
		return mine + "," + theirs, true
	case d.Kind != KindWords:
		return theirs, mine == theirs
	}
	allowed, _ := splitWords(theirs) // as value wrote them
	keep, _ := splitWords(mine)
	keep = slices.DeleteFunc(keep, func(w string) bool { return !slices.Contains(allowed, w) })
	return joinWords(keep), len(keep) > 0
}
