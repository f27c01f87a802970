package assess

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// key is the grain of a finding within one asset.
type key struct{ vulnerability, component string }

// step is one state of an asset, matched.
type step struct {
	report   store.Report
	packages []schema.Package
	result   match.Result
	// said is what result says of each finding.
	said map[key]*evidenceFor
	// installed gives the version by packageKey; made when first asked for.
	installed func() map[packageKey]string
	// until is the receipt of the next state, zero for the newest: what was learnt
	// later was never true of this one.
	until time.Time
	// again is true of a state that was assessed before: what it shows anew was
	// learnt now.
	again bool
	// unlooked is why nobody knows what processes of the host run, empty when its
	// report says, or comes from an agent that never looks.
	unlooked   string
	advisories map[advisoryKey]*advisory.Advisory
}

type packageKey struct{ name, arch string }

// versionsOf maps packages to their versions, once, when first asked.
func versionsOf(packages []schema.Package) func() map[packageKey]string {
	return sync.OnceValue(func() map[packageKey]string {
		installed := make(map[packageKey]string, len(packages))
		for i := range packages {
			p := &packages[i]
			installed[packageKey{p.Name, p.Arch}] = p.EVR()
		}
		return installed
	})
}

// evidenceFor is what one state says of one key.
type evidenceFor struct {
	exposed      []*match.Match // affected, pending_reboot or pending_restart
	patched      []patched      // fixed by live patch alone
	undetermined []*match.Match
	cleared      []*match.Match // not affected, with words
	// shownBy is the report that shows it, nil for the state's own.
	shownBy *store.Report
}

// shown returns the report of a state that shows what e says.
func (e *evidenceFor) shown(s *step) *store.Report {
	if e.shownBy != nil {
		return e.shownBy
	}
	return &s.report
}

// patched is a match that a live patch covers, with the proof.
type patched struct {
	match *match.Match
	proof string
}

// fold carries an asset's findings from state to state.
type fold struct {
	asset string
	// now is the time of asking, window how long a finding that ended comes back as
	// the same episode.
	now    time.Time
	window time.Duration
	refold bool
	// gone says since when the asset is in use no more, nil while it is; back is
	// since when one that had been is in use again, zero while it is not.
	gone *store.Gone
	back time.Time

	stored map[string]finding.Finding  // as the store has them, by id
	latest map[key]finding.Finding     // of these the newest episodes
	past   map[string]*finding.Finding // earlier episodes, by id
	// findings are the newest episodes, spans the times in which an episode stood.
	findings map[key]*finding.Finding
	spans    map[string][]lifecycle.Span
	before   *store.Report // the state folded last
	// matched holds the matches of the newest state, lastMatched those that last
	// exposed each finding.
	matched, lastMatched map[key][]*match.Match
}

func newFold(as store.Asset, prev []finding.Finding, before *store.Report, window time.Duration, back, now time.Time) *fold {
	f := &fold{
		asset: as.ID, before: before, refold: as.Refold, now: now, window: window, gone: as.Away(), back: back,
		stored:   make(map[string]finding.Finding, len(prev)),
		latest:   make(map[key]finding.Finding, len(prev)),
		past:     map[string]*finding.Finding{},
		findings: make(map[key]*finding.Finding, len(prev)),
		spans:    map[string][]lifecycle.Span{},

		lastMatched: map[key][]*match.Match{},
	}
	for _, p := range prev {
		k := key{p.Vulnerability, p.Component}
		f.stored[p.ID] = p
		if last, ok := f.latest[k]; !ok || last.Episode < p.Episode {
			f.latest[k] = p
		}
	}
	if f.refold {
		f.before = nil
		return f
	}
	for id, p := range f.stored {
		f.spans[id] = []lifecycle.Span{{From: later(p.Detected, p.Reopened), To: lifecycle.Ended(&p)}}
		if k := (key{p.Vulnerability, p.Component}); f.latest[k].ID == id {
			f.findings[k] = &p
			f.revive(&p)
		} else {
			f.past[id] = &p
		}
	}
	return f
}

// step folds one state in.
func (f *fold) step(s step) {
	said := s.said
	f.matched = make(map[key][]*match.Match, len(said))
	for k, e := range said {
		if len(e.exposed) > 0 {
			f.matched[k], f.lastMatched[k] = e.exposed, e.exposed
			f.expose(k, e, s)
		}
	}
	for k, cur := range f.findings {
		switch {
		case f.matched[k] != nil:
		case cur.State.Running():
			f.clear(cur, said[k], s)
		case cur.End.LivePatch:
			f.outlive(cur, said[k], s)
		}
	}
	f.before = &s.report
}

// gather sorts matches by the finding they speak of.
func gather(ms []match.Match) map[key]*evidenceFor {
	out := map[key]*evidenceFor{}
	for i := range ms {
		m := &ms[i]
		for _, v := range m.Advisory.Vulnerabilities {
			k := key{v, m.Package.Source}
			e := out[k]
			if e == nil {
				e = &evidenceFor{}
				out[k] = e
			}
			if proof, ok := m.LivePatched[v]; ok {
				e.patched = append(e.patched, patched{m, proof})
				continue
			}
			switch m.Verdict {
			case match.Affected, match.PendingReboot, match.PendingRestart:
				e.exposed = append(e.exposed, m)
			case match.Undetermined:
				e.undetermined = append(e.undetermined, m)
			case match.NotAffected:
				e.cleared = append(e.cleared, m)
			}
		}
	}
	return out
}

// expose opens, reopens or refreshes a finding that a state shows.
func (f *fold) expose(k key, e *evidenceFor, s step) {
	cur := f.standing(k, e, s)
	if cur == nil {
		return
	}
	cur.Closed, cur.ClosedReport, cur.End = time.Time{}, "", finding.End{}
	cur.SeenReport, cur.SeenAt, cur.Stale = cur.DetectedReport, cur.Detected, false
	cur.State, cur.Reason = stateOf(e.exposed)
	cur.Packages = comparisons(e.exposed)
	cur.Available, cur.AvailableKind, cur.AvailableAdvisory = availability(e.exposed)
}

// stateOf is the state that matches put a finding in, the worst of them, with its
// reason.
func stateOf(exposed []*match.Match) (finding.State, string) {
	for _, s := range []struct {
		verdict match.Verdict
		state   finding.State
	}{
		{match.Affected, finding.Open}, {match.PendingReboot, finding.PendingReboot}, {match.PendingRestart, finding.PendingRestart},
	} {
		for _, m := range exposed {
			if m.Verdict == s.verdict {
				return s.state, m.Reason
			}
		}
	}
	return finding.Open, ""
}

// outlive ends the hold of a live patch on an episode that it had fixed: what
// runs now is not affected without it.
func (f *fold) outlive(cur *finding.Finding, e *evidenceFor, s step) {
	if e != nil && (len(e.patched) > 0 || len(e.undetermined) > 0) || !s.report.Complete || !s.result.Covered || unjudged(cur, s) {
		return
	}
	cur.End.LivePatch = false
}

// clear closes a running finding that a state no longer shows, if the state can
// say so at all.
func (f *fold) clear(cur *finding.Finding, e *evidenceFor, s step) {
	if !cur.Stale && f.before != nil {
		cur.SeenReport, cur.SeenAt = f.before.ID, f.before.ReceivedAt
	}
	switch {
	case !s.report.Complete: // the package inventory has a gap
		cur.Stale = true
		return
	case !s.result.Covered: // no advisory data for this release; absence says nothing
		cur.Stale = true
		return
	case unjudged(cur, s): // which code runs is not known; what is installed says nothing
		cur.Stale = true
		return
	case e != nil && len(e.undetermined) > 0:
		cur.Stale, cur.Reason = true, "undetermined: "+e.undetermined[0].Reason
		return
	}
	// What a boot or a restart fixed was not fixed by the install.
	later := cur.State == finding.PendingReboot || cur.State == finding.PendingRestart
	state, reason, closed := closing(cur, e, s, f.before)
	patched := e != nil && len(e.patched) > 0
	if state == finding.Fixed && !patched && f.stillRuns(cur, s) {
		return
	}
	cur.State, cur.Reason, cur.Closed = state, reason, closed
	cur.Stale, cur.ClosedReport = false, s.report.ID
	if cur.State == finding.Fixed {
		cur.End.LivePatch = patched
		claim, kind := claimedFix(cur, s, later || cur.End.LivePatch)
		cur.End.Fix = lifecycle.FixedAt(claim, kind, cur.SeenAt, s.report.ReceivedAt)
	}
	f.ends(cur)
}

func unjudged(f *finding.Finding, s step) bool {
	return len(f.Packages) > 0 && s.result.Unjudged(f.Packages[0].Format, f.Component)
}

// stillRuns holds open a finding that is fixed on disk while processes run older
// code of it, in a version nobody knows, or while nobody could look.
func (f *fold) stillRuns(cur *finding.Finding, s step) bool {
	if s.unlooked != "" {
		cur.Stale, cur.Reason = true, s.unlooked
		return true
	}
	if len(cur.Packages) == 0 {
		return false
	}
	why, ok := s.result.Stale[match.Component{Format: cur.Packages[0].Format, Name: cur.Component}]
	if ok {
		cur.State, cur.Reason, cur.Stale = finding.PendingRestart, why, false
		cur.SeenReport, cur.SeenAt = s.report.ID, s.report.ReceivedAt
	}
	return ok
}

// closing says how and when a finding ended: by a live patch or a change on the
// host it is fixed, by the publisher's word it is not affected.
func closing(cur *finding.Finding, e *evidenceFor, s step, before *store.Report) (finding.State, string, time.Time) {
	received := s.report.ReceivedAt
	if e != nil && len(e.patched) > 0 {
		return finding.Fixed, "fixed by live patch: " + e.patched[0].proof, received
	}
	if changes := changesOn(cur, s, before); len(changes) > 0 {
		return finding.Fixed, strings.Join(changes, "; "), received
	}
	revised := received
	for _, c := range cur.Packages {
		adv := s.advisories[advisoryKey{c.Feed, c.Advisory}]
		if adv == nil {
			continue
		}
		if adv.Withdrawn != nil {
			return finding.NotAffected,
				fmt.Sprintf("advisory %s withdrawn by its publisher on %s", adv.ID, adv.Withdrawn.UTC().Format(time.DateOnly)),
				later(received, *adv.Withdrawn)
		}
		revised = later(revised, adv.Modified)
	}
	if cur.State == finding.PendingRestart {
		return finding.Fixed, "no process runs the old code any more", received
	}
	if e != nil && len(e.cleared) > 0 {
		return finding.NotAffected, e.cleared[0].Reason, revised
	}
	return finding.NotAffected, "the publisher's current advisory no longer covers the installed version", revised
}

// changesOn lists what changed on the host since the finding was last shown.
func changesOn(cur *finding.Finding, s step, before *store.Report) []string {
	installed := s.installed()
	var changes []string
	for _, c := range cur.Packages {
		now, ok := installed[packageKey{c.Package, c.Arch}]
		switch {
		case !ok:
			changes = append(changes, c.Package+" removed")
		case now != c.Installed:
			changes = append(changes, fmt.Sprintf("%s %s replaced by %s", c.Package, c.Installed, now))
		}
	}
	slices.Sort(changes)
	changes = slices.Compact(changes)
	if before != nil && before.Kernel.Release != s.report.Kernel.Release {
		changes = append(changes, "running kernel is now "+s.report.Kernel.Release)
	}
	return changes
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// heldSince is when the collector first held an advisory that names it: nothing
// can be detected earlier.
func heldSince(ms []*match.Match) time.Time {
	held := ms[0].Advisory.HeldSince
	for _, m := range ms[1:] {
		if m.Advisory.HeldSince.Before(held) {
			held = m.Advisory.HeldSince
		}
	}
	return held
}

var kindRank = map[advisory.DateKind]int{
	advisory.DateAdvisory: 0, advisory.DateRepository: 1, advisory.DateChangelog: 2, advisory.DateFirstSeen: 3,
}

// availability is the earliest issue of a fix, of the best provenance there is
// (collector/policy/README.md, "Clock start").
func availability(ms []*match.Match) (time.Time, advisory.DateKind, string) {
	var best *advisory.Advisory
	for _, m := range ms {
		a := m.Advisory
		if m.Fixed == "" || a.Issued.IsZero() {
			continue
		}
		if best == nil || cmp.Or(
			cmp.Compare(kindRank[a.IssuedKind], kindRank[best.IssuedKind]),
			a.Issued.Compare(best.Issued),
			cmp.Compare(a.ID, best.ID),
		) < 0 {
			best = a
		}
	}
	if best == nil {
		return time.Time{}, "", ""
	}
	return best.Issued, best.IssuedKind, best.ID
}

func comparisons(ms []*match.Match) []finding.Comparison {
	out := make([]finding.Comparison, 0, len(ms))
	for _, m := range ms {
		out = append(out, comparison(m))
	}
	slices.SortFunc(out, func(a, b finding.Comparison) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Arch, b.Arch),
			cmp.Compare(a.Installed, b.Installed), cmp.Compare(a.Advisory, b.Advisory), cmp.Compare(a.Feed, b.Feed))
	})
	return slices.Compact(out)
}

func comparison(m *match.Match) finding.Comparison {
	return finding.Comparison{
		Package: m.Package.Name, Format: m.Package.Format, Arch: m.Package.Arch, Installed: m.Package.EVR(),
		Advisory: m.Advisory.ID, Feed: m.Advisory.Feed, Fixed: m.Fixed, Reason: m.Reason,
	}
}

// undetermined lists what the newest state could not compare.
func (f *fold) undetermined(s step) []finding.Undetermined {
	var out []finding.Undetermined
	for k, e := range s.said {
		for _, m := range e.undetermined {
			out = append(out, finding.Undetermined{
				Asset: f.asset, Vulnerability: k.vulnerability, Component: k.component, Comparison: comparison(m),
			})
		}
	}
	slices.SortFunc(out, func(a, b finding.Undetermined) int {
		return cmp.Or(cmp.Compare(a.Vulnerability, b.Vulnerability), cmp.Compare(a.Component, b.Component),
			cmp.Compare(a.Package, b.Package), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Advisory, b.Advisory))
	})
	return out
}

// merged returns the findings of every episode in order of id, never later
// detected than the store already said, and each with the clock it had.
func (f *fold) merged() []*finding.Finding {
	out := make([]*finding.Finding, 0, len(f.findings)+len(f.past))
	for _, cur := range f.past {
		f.resume(cur)
		out = append(out, cur)
	}
	for _, cur := range f.findings {
		f.resume(cur)
		out = append(out, cur)
	}
	slices.SortFunc(out, func(a, b *finding.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// undated reports whether a finding needs a verdict: its clock runs, or it came
// and went between two assessments.
func undated(f *finding.Finding) bool { return f.State.Running() || f.Verdict.Policy == "" }

// toDate lists the vulnerabilities of findings that need a verdict, sorted.
func toDate(merged []*finding.Finding) []string {
	set := map[string]struct{}{}
	for _, cur := range merged {
		if undated(cur) {
			set[cur.Vulnerability] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
