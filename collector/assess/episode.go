package assess

import (
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
)

// standing is the episode that a state shows: the running one, the last one come
// back within the window, or a new one. It is nil when the advisory came when
// the state was already history.
func (f *fold) standing(k key, e *evidenceFor, s step) *finding.Finding {
	held := heldSince(e.exposed)
	shown := e.shown(&s)
	detected := later(shown.ReceivedAt, held)
	cur := f.findings[k]
	if cur != nil && cur.State.Running() {
		return cur
	}
	if f.after(detected) {
		return nil
	}
	if s.again {
		detected = f.now
	}
	if cur != nil && f.after(detected) {
		return nil
	}
	if cur != nil && f.sameEpisode(cur, detected) {
		cur.Reopened = detected
		f.spans[cur.ID] = append(f.spans[cur.ID], lifecycle.Span{From: detected})
		return cur
	}
	if !s.until.IsZero() && held.After(s.until) {
		return nil
	}
	next := &finding.Finding{
		ID: finding.ID(f.asset, k.vulnerability, k.component), Asset: f.asset,
		Vulnerability: k.vulnerability, Component: k.component, Episode: 1,
		Detected: detected, DetectedReport: shown.ID,
	}
	if cur != nil {
		next.Episode, next.Previous, next.Regression = max(cur.Episode, 1)+1, cur.ID, true
		next.ID = finding.EpisodeID(f.asset, k.vulnerability, k.component, next.Episode)
		f.past[cur.ID] = cur
	} else if s.again {
		next.Detected = later(shown.ReceivedAt, held)
	}
	f.spans[next.ID] = []lifecycle.Span{{From: next.Detected}}
	f.findings[k] = next
	return next
}

// sameEpisode reports whether a finding comes back as the episode that ended.
// Folding again takes nothing back that is on record: an episode whose outcome
// was final stays ended, one that followed stays apart.
func (f *fold) sameEpisode(cur *finding.Finding, back time.Time) bool {
	if old, ok := f.stored[cur.ID]; ok && old.End.Final && back.After(old.Closed) {
		return false
	}
	next, ok := f.stored[finding.EpisodeID(cur.Asset, cur.Vulnerability, cur.Component, max(cur.Episode, 1)+1)]
	if ok && !back.Before(next.Detected) {
		return false
	}
	return lifecycle.SameEpisode(cur, back, f.window)
}

// ends closes the span of an episode.
func (f *fold) ends(cur *finding.Finding) {
	if s := f.spans[cur.ID]; len(s) > 0 {
		s[len(s)-1].To = lifecycle.Ended(cur)
	}
}

// settle ends a refold. A finding the store shows running that no state showed
// (its advisory came when those states were history) is held against the newest
// state; episodes that are on record and that these states would not tell apart
// stay as they are, and the last of them goes on.
func (f *fold) settle(newest step) {
	if !f.refold {
		return
	}
	said := newest.said
	for k, old := range f.latest {
		switch cur := f.findings[k]; {
		case cur == nil:
			f.take(k, old)
			if f.findings[k].State.Running() {
				f.clear(f.findings[k], said[k], newest)
			}
		case old.Episode > cur.Episode && cur.State.Running():
			f.take(k, old)
			now := f.findings[k]
			now.State, now.Reason, now.Packages = cur.State, cur.Reason, cur.Packages
			now.Available, now.AvailableKind, now.AvailableAdvisory = cur.Available, cur.AvailableKind, cur.AvailableAdvisory
			now.Closed, now.ClosedReport, now.End = time.Time{}, "", finding.End{}
			f.spans[now.ID] = []lifecycle.Span{{From: later(now.Detected, now.Reopened)}}
		case old.Episode > cur.Episode:
			f.take(k, old)
			if f.findings[k].State.Running() {
				f.clear(f.findings[k], said[k], newest)
			}
		}
	}
	for id, old := range f.stored {
		k := key{old.Vulnerability, old.Component}
		if _, ok := f.past[id]; !ok && f.findings[k].ID != id {
			f.past[id] = &old
		}
	}
}

// take makes a recorded episode the newest, and the recorded ones before it the past.
func (f *fold) take(k key, old finding.Finding) {
	f.findings[k] = &old
	f.spans[old.ID] = []lifecycle.Span{{From: later(old.Detected, old.Reopened), To: lifecycle.Ended(&old)}}
	f.revive(&old)
	for id := range f.past {
		if p := f.past[id]; p.Vulnerability == k.vulnerability && p.Component == k.component {
			if rec, ok := f.stored[id]; ok {
				f.past[id] = &rec
			}
		}
	}
}

// resume gives an episode the clock that is on record.
func (f *fold) resume(cur *finding.Finding) {
	old, ok := f.stored[cur.ID]
	if !ok {
		return
	}
	if old.End.Final {
		*cur = old
		return
	}
	cur.Episode = max(cur.Episode, 1)
	cur.Reopened = later(cur.Reopened, old.Reopened)
	if old.Detected.Before(cur.Detected) {
		cur.Detected, cur.DetectedReport = old.Detected, old.DetectedReport
		if cur.State.Running() && !cur.Stale {
			cur.SeenReport, cur.SeenAt = cur.DetectedReport, cur.Detected
		}
		if s := f.spans[cur.ID]; len(s) > 0 {
			s[0].From = old.Detected
		}
	}
	if cur.Verdict.Policy == "" {
		cur.Clock, cur.Verdict = old.Clock, old.Verdict
		cur.Severity, cur.SeveritySource, cur.KEV, cur.EPSS = old.Severity, old.SeveritySource, old.KEV, old.EPSS
	}
}

// claimedFix is when the host says it was fixed: when the last of the packages
// that cleared it was installed, where the package manager records that, else
// when the inventory was read. A fix that took a reboot is not an install.
func claimedFix(cur *finding.Finding, s step, rebooted bool) (time.Time, finding.FixKind) {
	collected := s.report.CollectedAt
	if rebooted {
		return collected, finding.CollectedAt
	}
	var last int64
	for _, c := range cur.Packages {
		replaced := false
		for i := range s.packages {
			p := &s.packages[i]
			if p.Name != c.Package || p.Arch != c.Arch || p.EVR() == c.Installed {
				continue
			}
			if p.InstalledAt == 0 {
				return collected, finding.CollectedAt
			}
			last, replaced = max(last, p.InstalledAt), true
		}
		if !replaced {
			return collected, finding.CollectedAt // removed, or cleared by what runs
		}
	}
	if last == 0 {
		return collected, finding.CollectedAt
	}
	return time.Unix(last, 0).UTC(), finding.InstallTime
}
