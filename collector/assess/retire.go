package assess

import (
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// gapExtractor names the collector's own gaps of an asset.
const gapExtractor = "estate"

// backAt is since when an asset that somebody said was gone is in use again: its
// report says so, or the operator who takes the word back. It is zero while it is
// gone, and where nobody ever said it was.
func backAt(as store.Asset, steps []step, now time.Time) time.Time {
	switch gone, r := as.Gone(), as.Retirement; {
	case as.Away() != nil:
		return time.Time{}
	case gone != nil:
		for i := range steps {
			if at := steps[i].report.ReceivedAt; at.After(gone.Since) {
				return at
			}
		}
		return as.Head.ReceivedAt
	case r != nil && !r.Retired:
		return r.At
	default:
		return now // a list that said so has it otherwise, or nothing was ever retired
	}
}

// after reports whether an instant lies after the asset went: what is learnt then
// was never true of it.
func (f *fold) after(at time.Time) bool { return f.gone != nil && at.After(f.gone.Since) }

// revive opens a finding again that ended because its asset was gone, when it is
// not: the same episode within the window, whatever states can show. Later than
// that only a state that shows it opens another.
func (f *fold) revive(cur *finding.Finding) {
	if cur.State != finding.Retired || f.gone != nil || !lifecycle.SameEpisode(cur, f.back, f.window) {
		return
	}
	cur.State, cur.Reason = finding.Open, "its asset is in use again"
	cur.Closed, cur.ClosedReport, cur.End = time.Time{}, "", finding.End{}
	cur.Reopened = later(f.back, cur.Detected)
	f.spans[cur.ID] = append(f.spans[cur.ID], lifecycle.Span{From: cur.Reopened})
}

// retire ends what runs on an asset that is gone. It is not fixed: nothing was
// remedied.
func (f *fold) retire() {
	if f.gone == nil {
		return
	}
	why := "terminated, so says " + f.gone.List
	if f.gone.Retired {
		why = "retired by " + f.gone.By + ": " + f.gone.Reason
	}
	for _, cur := range f.findings {
		if !cur.State.Running() {
			continue
		}
		if !cur.Stale && f.before != nil {
			cur.SeenReport, cur.SeenAt = f.before.ID, f.before.ReceivedAt
		}
		cur.State, cur.Reason, cur.Stale = finding.Retired, why, false
		stood := later(cur.Detected, cur.Reopened)
		cur.Closed, cur.ClosedReport, cur.End = later(f.gone.Recorded, stood), "", finding.End{Gone: later(f.gone.Since, stood)}
		f.ends(cur)
	}
}

// contradiction is the gap of an asset that is gone by somebody's word and reports.
func contradiction(as store.Asset) []schema.Gap {
	gone := as.Gone()
	if gone == nil || as.Away() != nil {
		return nil
	}
	word := "terminated by " + gone.List
	if gone.Retired {
		word = "retired by " + gone.By
	}
	return []schema.Gap{{
		Extractor: gapExtractor, Kind: schema.GapBack,
		Detail: fmt.Sprintf("%s since %s, and it reports again", word, gone.Since.UTC().Format(time.RFC3339)),
	}}
}
