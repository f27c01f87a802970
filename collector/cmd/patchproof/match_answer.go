package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/sla"
)

// matchAnswer is the one-shot answer; its JSON is promised.
type matchAnswer struct {
	Findings     []exposed  `json:"findings"`
	Undetermined []unjudged `json:"undetermined"`
	// Uncovered is true when packages are of a release that no feed covers, or
	// when there was no package to judge.
	Uncovered bool `json:"uncovered"`
	// LivePatched are vulnerabilities of the running kernel that a live patch covers.
	LivePatched []livePatched `json:"live_patched,omitempty"`

	subject   *matchSubject
	uncovered []string
}

// exposed is one package that one vulnerability affects.
type exposed struct {
	Vulnerability string           `json:"vulnerability"`
	Advisory      string           `json:"advisory"`
	Package       string           `json:"package"`
	Installed     string           `json:"installed"`
	Fixed         *string          `json:"fixed"`
	Severity      finding.Severity `json:"severity"`
	KEV           bool             `json:"kev"`
	EPSS          *float64         `json:"epss"`

	note string
}

// livePatched is one vulnerability that a live patch fixes, with the proof.
type livePatched struct {
	Vulnerability string `json:"vulnerability"`
	Advisory      string `json:"advisory"`
	Package       string `json:"package"`
	Installed     string `json:"installed"`
	Reason        string `json:"reason"`
}

// unjudged is something that could not be judged. Vulnerability and advisory are
// empty where it is a package, or a part of the host, that could not be read.
type unjudged struct {
	Vulnerability string  `json:"vulnerability"`
	Advisory      string  `json:"advisory"`
	Package       string  `json:"package"`
	Installed     string  `json:"installed"`
	Fixed         *string `json:"fixed"`
	Reason        string  `json:"reason"`
}

// take adds the result of one state.
func (a *matchAnswer) take(res match.Result, r inventory.Release, facts map[string]advisory.Facts) {
	if !res.Covered {
		a.uncovered = append(a.uncovered, r.String())
	}
	for _, g := range res.Gaps {
		if !slices.ContainsFunc(a.subject.unread, func(u unjudged) bool { return u.Package == g.Extractor && strings.HasPrefix(u.Reason, "gap: "+g.Kind) }) {
			a.Undetermined = append(a.Undetermined, gapRow(g))
		}
	}
	for _, why := range res.Stale {
		a.Undetermined = append(a.Undetermined, unjudged{Reason: why})
	}
	for i := range res.Matches {
		m := &res.Matches[i]
		for _, v := range m.Advisory.Vulnerabilities {
			if proof, ok := m.LivePatched[v]; ok {
				a.LivePatched = append(a.LivePatched, livePatched{
					Vulnerability: v, Advisory: m.Advisory.ID, Package: m.Package.Name, Installed: m.Package.EVR(), Reason: proof,
				})
				continue
			}
			switch m.Verdict {
			case match.Affected, match.PendingReboot, match.PendingRestart:
				a.Findings = append(a.Findings, exposure(m, v, facts[v]))
			case match.Undetermined:
				a.Undetermined = append(a.Undetermined, unjudged{
					Vulnerability: v, Advisory: m.Advisory.ID, Package: m.Package.Name, Installed: m.Package.EVR(), Fixed: orNull(m.Fixed), Reason: m.Reason,
				})
			case match.NotAffected:
			}
		}
	}
}

func exposure(m *match.Match, vulnerability string, f advisory.Facts) exposed {
	scores := append(slices.Clip(m.Advisory.Scores), f.Scores...)
	e := exposed{
		Vulnerability: vulnerability, Advisory: m.Advisory.ID, Package: m.Package.Name, Installed: m.Package.EVR(),
		Fixed: orNull(m.Fixed), KEV: f.KEV != nil, note: m.Reason,
	}
	e.Severity, _ = sla.SeverityOf(scores, m.Advisory.Rating)
	if f.EPSS != nil {
		e.EPSS = &f.EPSS.Score
	}
	return e
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// finish sorts, and leaves one row for each vulnerability, advisory, package and
// version: architectures fold. Of two fixed versions "none yet" counts.
func (a *matchAnswer) finish() {
	a.Undetermined = append(a.Undetermined, a.subject.unread...)
	slices.SortFunc(a.Findings, func(x, y exposed) int {
		return cmp.Or(cmp.Compare(x.Vulnerability, y.Vulnerability), cmp.Compare(x.Advisory, y.Advisory), cmp.Compare(x.Package, y.Package),
			cmp.Compare(x.Installed, y.Installed), cmp.Compare(text(x.Fixed), text(y.Fixed)), cmp.Compare(x.note, y.note))
	})
	a.Findings = slices.CompactFunc(a.Findings, func(x, y exposed) bool {
		return x.Vulnerability == y.Vulnerability && x.Advisory == y.Advisory && x.Package == y.Package && x.Installed == y.Installed
	})
	slices.SortFunc(a.Undetermined, func(x, y unjudged) int {
		return cmp.Or(cmp.Compare(x.Vulnerability, y.Vulnerability), cmp.Compare(x.Advisory, y.Advisory), cmp.Compare(x.Package, y.Package),
			cmp.Compare(x.Installed, y.Installed), cmp.Compare(text(x.Fixed), text(y.Fixed)), cmp.Compare(x.Reason, y.Reason))
	})
	a.Undetermined = slices.CompactFunc(a.Undetermined, func(x, y unjudged) bool {
		return x.Vulnerability == y.Vulnerability && x.Advisory == y.Advisory && x.Package == y.Package && x.Installed == y.Installed && x.Reason == y.Reason
	})
	slices.SortFunc(a.LivePatched, func(x, y livePatched) int {
		return cmp.Or(cmp.Compare(x.Vulnerability, y.Vulnerability), cmp.Compare(x.Advisory, y.Advisory), cmp.Compare(x.Package, y.Package),
			cmp.Compare(x.Installed, y.Installed), cmp.Compare(x.Reason, y.Reason))
	})
	a.LivePatched = slices.Compact(a.LivePatched)
	if a.Findings == nil {
		a.Findings = []exposed{}
	}
	if a.Undetermined == nil {
		a.Undetermined = []unjudged{}
	}
	a.Uncovered = len(a.uncovered) > 0 || a.packages() == 0
}

func (a *matchAnswer) packages() int {
	n := 0
	for _, s := range a.subject.states {
		n += len(s.Set.Packages)
	}
	return n
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (a *matchAnswer) write(w io.Writer, format string) error {
	switch format {
	case "json":
		return printJSON(w, a)
	case "csv":
		return a.table(false).csv(w)
	default:
		a.table(true).print(w)
		return nil
	}
}

// table lists findings, then what is undetermined. People get the worst first,
// and a dash for what is empty.
func (a *matchAnswer) table(people bool) *table {
	t := &table{wrapLast: true, columns: []column{
		{head: "SEVERITY"},
		{head: "VULNERABILITY"},
		{head: "PACKAGE", min: 10},
		{head: "INSTALLED", min: 16, drop: 2},
		{head: "FIXED", min: 16},
		{head: "KEV"},
		{head: "EPSS", right: true, drop: 3},
		{head: "ADVISORY", min: 16, drop: 4},
		{head: "REASON", min: 14},
	}}
	show := func(s string) string { return s }
	rows := a.Findings
	if people {
		show = dash
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, func(x, y exposed) int {
			return cmp.Or(cmp.Compare(y.Severity.Rank(), x.Severity.Rank()), cmp.Compare(yesFirst(x.KEV), yesFirst(y.KEV)))
		})
	}
	for _, f := range rows {
		kev, epss := "no", ""
		if f.KEV {
			kev = "yes"
		}
		if f.EPSS != nil {
			epss = strconv.FormatFloat(*f.EPSS, 'f', 5, 64)
		}
		t.add(string(f.Severity), f.Vulnerability, f.Package, f.Installed, show(text(f.Fixed)), kev, show(epss), f.Advisory, f.note)
	}
	for _, u := range a.Undetermined {
		t.add("undetermined", show(u.Vulnerability), show(u.Package), show(u.Installed), show(text(u.Fixed)), show(""), show(""), show(u.Advisory), u.Reason)
	}
	return t
}

func yesFirst(b bool) int {
	if b {
		return 0
	}
	return 1
}

// warn says on standard error what was not judged.
func (a *matchAnswer) warn(w io.Writer) {
	slices.Sort(a.uncovered)
	for _, r := range slices.Compact(a.uncovered) {
		fmt.Fprintf(w, "patchproof: warning: no feed covers release %s; its packages were not judged\n", clean(r))
	}
	if a.packages() == 0 {
		fmt.Fprintln(w, "patchproof: warning: no package of a distribution was found; nothing was judged")
	}
	if len(a.LivePatched) > 0 {
		fmt.Fprintf(w, "patchproof: fixed by live patch, and not listed: %d vulnerabilities of the running kernel\n", len(a.LivePatched))
	}
	if n := len(a.Undetermined); n > 0 {
		fmt.Fprintf(w, "patchproof: warning: %d undetermined; they may be affected\n", n)
	}
	if len(a.subject.ignored) > 0 {
		var kinds []string
		total := 0
		for _, k := range slices.Sorted(maps.Keys(a.subject.ignored)) {
			total += a.subject.ignored[k]
			kinds = append(kinds, fmt.Sprintf("%s %d", clean(k), a.subject.ignored[k]))
		}
		fmt.Fprintf(w, "patchproof: warning: not judged: %s that no distribution packaged (%s)\n", plural(total, "component"), strings.Join(kinds, ", "))
	}
}
