package sla

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// gate is the verdict on a golden image: no clock, no date. [Release] decides.
func (e *evaluation) gate(v finding.Verdict) finding.Verdict {
	v.State, v.Cycle = finding.VerdictGate, InCycle
	if e.exploited() != "" {
		v.Cycle = ZeroDay
	}
	if e.blocks(e.in.Vulnerability) {
		e.note("golden image: not releasable while this remains (§7.3, VPM-04.4)")
	} else {
		e.note("golden image: this severity does not hold a release (§7.3, VPM-04.4)")
	}
	e.rank(&v)
	v.Notes = e.notes
	return v
}

func (e *evaluation) blocks(v Vulnerability) bool {
	return slices.Contains(e.p.Golden.Blocks, v.Severity) || v.KEVAdded != "" || !v.ActiveExploitation.IsZero()
}

// GateInput is what the release of a golden image depends on.
type GateInput struct {
	// Image is the digest the decision is bound to, Feed the snapshot digest.
	Image string
	Feed  string
	// FeedAsOf is when the feed was last read, zero when never.
	FeedAsOf time.Time
	// ScanError says what the scan could not read, empty when it was complete.
	ScanError string
	// KnownDistribution is false when no feed covers the image's distribution.
	KnownDistribution bool
	Remaining         []GateFinding
}

// GateFinding is one vulnerability that remains in the image.
type GateFinding struct {
	Vulnerability string
	Severity      finding.Severity
	// Exploited is a KEV listing or an operator's mark of active exploitation.
	Exploited bool
	// NotAffected is a VEX statement not_affected.
	NotAffected bool
	Exceptions  []Exception
}

// GateDecision says whether a golden image may be released. It is signed by the caller.
type GateDecision struct {
	Releasable bool      `json:"releasable"`
	Reasons    []string  `json:"reasons,omitempty"`
	Image      string    `json:"image"`
	Feed       string    `json:"feed"`
	Policy     string    `json:"policy"`
	TZData     string    `json:"tzdata"`
	Decided    time.Time `json:"decided"`
	// Expires is when a positive decision ends; a new KEV entry that applies ends
	// it before, since the decision made again then refuses.
	Expires time.Time `json:"expires,omitzero"`
}

// Release decides on a golden image as of now. Whatever could not be read,
// compared or dated refuses, with the reason named.
func Release(p *Policy, in GateInput, now time.Time) (GateDecision, error) {
	if p == nil || p.Zone == nil || now.IsZero() || in.Image == "" {
		return GateDecision{}, errors.New("decide release: a policy, an image digest and a time are needed")
	}
	d := GateDecision{Image: in.Image, Feed: in.Feed, Policy: p.Digest, TZData: p.TZData, Decided: now.UTC()}
	refuse := func(reason string) { d.Reasons = append(d.Reasons, reason) }
	if in.ScanError != "" {
		refuse("scan error: " + in.ScanError)
	}
	if !in.KnownDistribution {
		refuse("unknown distribution")
	}
	switch {
	case in.FeedAsOf.IsZero() || in.Feed == "":
		refuse("no feed was read")
	case in.FeedAsOf.After(now):
		refuse("the feed's date lies in the future")
	case now.Sub(in.FeedAsOf) > p.Golden.FeedMaxAge:
		refuse(fmt.Sprintf("the feed is older than %s", p.Golden.FeedMaxAge))
	}
	for _, f := range in.Remaining {
		if reason := p.holds(f, now); reason != "" {
			refuse(reason)
		}
	}
	slices.Sort(d.Reasons)
	d.Releasable = len(d.Reasons) == 0
	if d.Releasable {
		d.Expires = now.Add(p.Golden.DecisionLife).UTC()
	}
	return d, nil
}

// holds says why a remaining vulnerability holds the release, empty when it does not.
func (p *Policy) holds(f GateFinding, now time.Time) string {
	blocking := f.Exploited || f.Severity.Rank() == 0 || slices.Contains(p.Golden.Blocks, f.Severity)
	if !blocking || f.NotAffected {
		return ""
	}
	e := evaluation{p: p, in: &Input{Exceptions: f.Exceptions}}
	if _, _, ok := e.exception(now); ok {
		return ""
	}
	words := string(f.Severity)
	if f.Exploited {
		words += ", exploited"
	}
	return f.Vulnerability + " remains (" + words + ")"
}
