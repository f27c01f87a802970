package sla

import (
	"slices"
	"strconv"

	"github.com/patchproof/patchproof/collector/finding"
)

// rank sets the priority P0 to P4 and names each step. It orders work and never
// moves a deadline.
func (e *evaluation) rank(v *finding.Verdict) {
	p, a, f := &e.p.Priority, e.in.Asset, e.in.Vulnerability
	points := 0
	why := make([]string, 0, 7)
	step := func(n int, words string) {
		points += n
		why = append(why, words+" +"+strconv.Itoa(n))
	}
	step(p.Severity[f.Severity], "severity "+string(f.Severity))
	exploited := e.exploited()
	if exploited != "" {
		step(p.Exploited, exploited)
	}
	if words := e.likely(); words != "" {
		step(p.Likely, words)
	}
	if e.exposed {
		step(p.Exposed, "exposed")
	}
	switch {
	case a.CrownJewel:
		step(p.CrownJewel, "crown jewel")
	case a.HighDataSensitivity:
		step(p.CrownJewel, "high data sensitivity")
	}
	if a.HotWallet && f.SensitiveComponent {
		step(p.HotWalletComponent, "kernel, OpenSSL or language runtime on a hot wallet (VPM-07.2)")
	}
	level := p.level(points)
	why = append(why, pointsWords(points)+": "+level)
	if p.KEVExposedIsP0 && e.exposed && (f.KEVAdded != "" || !f.ActiveExploitation.IsZero()) {
		level = "P0"
		why = append(why, "KEV on an exposed asset is always P0")
	}
	v.Priority, v.PriorityWhy = level, why
	e.noteZeroDay(exploited)
}

func pointsWords(n int) string {
	if n == 1 {
		return "1 point"
	}
	return strconv.Itoa(n) + " points"
}

func (p *Priority) level(points int) string {
	switch {
	case points >= p.P0:
		return "P0"
	case points >= p.P1:
		return "P1"
	case points >= p.P2:
		return "P2"
	case points >= p.P3:
		return "P3"
	default:
		return "P4"
	}
}

// likely says why exploitation is likely: one point, whatever the number of reasons.
func (e *evaluation) likely() string {
	v := e.in.Vulnerability
	switch {
	case v.EPSS >= e.p.Priority.EPSS:
		return "EPSS " + strconv.FormatFloat(v.EPSS, 'f', -1, 64) + " at or above " + strconv.FormatFloat(e.p.Priority.EPSS, 'f', -1, 64)
	case v.PublicExploit:
		return "a public exploit"
	case v.Exploitation == "poc":
		return "SSVC exploitation poc"
	default:
		return ""
	}
}

// noteZeroDay asks an operator to declare a Zero-Day where the facts suggest one
// and nobody declared it.
func (e *evaluation) noteZeroDay(exploited string) {
	v := e.in.Vulnerability
	if v.KEVAdded != "" || !v.ActiveExploitation.IsZero() {
		return
	}
	if exploited != "" {
		e.note("SSVC says active exploitation and there is no KEV listing: mark it actively exploited to start the Zero-Day clock")
		return
	}
	public := v.PublicExploit || v.Exploitation == "poc"
	if public && (e.exposed || e.in.Asset.CrownJewel) {
		e.note("a public exploit on an exposed or crown-jewel asset: decide whether to declare Zero-Day (§5)")
	}
}

// noteGaps lists what is not known of the asset and was read strictly.
func (e *evaluation) noteGaps() {
	a, v := e.in.Asset, e.in.Vulnerability
	if a.Exposure == UnknownExposure || a.Exposure == "" {
		e.note("classification gap: exposure unknown, counted as internet")
	}
	if a.Environment == UnknownEnvironment || a.Environment == "" {
		e.note("classification gap: environment unknown, counted as production")
	}
	if !known(v.Automatable, "yes", "no") || !known(v.Impact, "partial", "total") || !known(v.Exploitation, "none", "poc", "active") {
		e.note("an SSVC decision point is not a word SSVC knows and counts as missing")
	}
}

func known(word string, words ...string) bool {
	return word == "" || slices.Contains(words, word)
}
