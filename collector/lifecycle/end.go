package lifecycle

import (
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// FixedAt clamps a host's own time of a fix to what receipts prove: it lies
// after the receipt of the last inventory that showed it vulnerable, and not
// after that of the first that showed it fixed.
func FixedAt(claim time.Time, kind finding.FixKind, notBefore, notAfter time.Time) finding.FixTime {
	at := claim
	if at.Before(notBefore) {
		at = notBefore
	}
	if at.After(notAfter) {
		at = notAfter
	}
	return finding.FixTime{At: at.UTC(), Kind: kind, NotBefore: notBefore.UTC(), NotAfter: notAfter.UTC()}
}

// End says how a closed episode ended. window is how long the outcome is
// provisional; a final one does not change.
func End(f *finding.Finding, window time.Duration, now time.Time) finding.End {
	if f.End.Final {
		return f.End
	}
	e := f.End
	e.FinalAt = f.Closed.Add(window)
	e.Final = !now.Before(e.FinalAt) && !e.LivePatch
	e.OnTimeClaimed = false
	target := f.Verdict.TargetAt
	e.TargetMissed = !target.IsZero() && !Ended(f).Before(target)
	limit := f.Verdict.DueAt
	if b := f.Clock.Breach(finding.Patch); b != nil {
		limit = b.At
	}
	inTime := func(at time.Time) bool { return limit.IsZero() || at.Before(limit) }
	switch f.State {
	case finding.Fixed:
		e.Outcome = finding.FixedLate
		if inTime(e.Fix.At) {
			e.Outcome = finding.FixedOnTime
			e.OnTimeClaimed = !inTime(e.Fix.NotAfter)
		}
	case finding.Retired:
		// Whoever says when the asset went cannot undo a breach that is on record.
		e.Outcome = finding.RetiredInTime
		if f.Clock.Breach(finding.Patch) != nil || !inTime(Ended(f)) {
			e.Outcome = finding.RetiredOverdue
		}
	default:
		e.Outcome = finding.WasNotAffected
	}
	return e
}

// Ended is until when a finding stood, zero while it does.
func Ended(f *finding.Finding) time.Time {
	switch {
	case !f.End.Fix.At.IsZero():
		return f.End.Fix.At
	case !f.End.Gone.IsZero():
		return f.End.Gone
	default:
		return f.Closed
	}
}

// SameEpisode reports whether a finding that ended comes back as the same
// episode: within the window, while its outcome is provisional, or at any time
// when nothing but a live patch had fixed it.
func SameEpisode(f *finding.Finding, back time.Time, window time.Duration) bool {
	return !f.End.Final && (f.End.LivePatch || back.Before(f.Closed.Add(window)))
}
