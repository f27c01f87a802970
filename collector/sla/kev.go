package sla

import (
	"github.com/patchproof/patchproof/collector/finding"
)

// zeroDay are the candidates from K: the row of CISA's table, CISA's own date,
// and a recorded validation.
func (e *evaluation) zeroDay() (candidates []dated, forensics bool) {
	c, forensics := e.bodCandidate()
	candidates = append(candidates, c)
	if e.in.Vulnerability.KEVDue != "" {
		switch {
		case !e.exposed:
			e.note("CISA's own due date " + e.kevDue.String() + " does not bind: the asset is not exposed")
		case e.kevDue < e.kDay:
			e.note("CISA's own due date " + e.kevDue.String() + " does not bind: it lies before " + e.kWhy)
		default:
			candidates = append(candidates, dated{due: e.kevDue, Candidate: finding.Candidate{
				Rule: "KEV/cisa-due", Start: e.kDate, Due: e.kevDue.date(),
				Why: "KEV: CISA's own due date, the asset is exposed",
			}})
		}
	}
	if !e.in.Clock.Validated.IsZero() {
		candidates = append(candidates, e.validatedCandidate())
	}
	return candidates, forensics
}

// bodCandidate is the KEV row of CISA BOD 26-04. It needs both decision points.
func (e *evaluation) bodCandidate() (dated, bool) {
	key, known := e.bodKey(true)
	exposed := exposedWord(e.exposed)
	if !known {
		n := e.p.KEV.NotExposedDays
		if e.exposed {
			n = e.p.KEV.ExposedDays
		}
		return e.afterK("KEV/bod-26-04/"+exposed+"/ssvc-unknown",
			"KEV, "+exposed+", an SSVC decision point is missing: "+daysWords(n)+" from "+e.kWhy, n), false
	}
	cell, ok := e.p.BOD.Table[key]
	if !ok || cell.AtUpgrade {
		// The policy reader refuses such a table; read it as strictly as can be.
		cell = BODCell{Days: min(e.p.KEV.ExposedDays, e.p.KEV.NotExposedDays)}
	}
	why := "CISA BOD 26-04, KEV, " + bodWords(key) + ": " + daysWords(cell.Days) + " from " + e.kWhy
	if cell.Forensics {
		why += ", with a forensic investigation"
	}
	return e.afterK("KEV/bod-26-04/"+bodPath(key), why, cell.Days), cell.Forensics
}

// withoutKEV is CISA's row where there is no listing: shown, and binding only by
// the switch without_kev.
func (e *evaluation) withoutKEV() []dated {
	key, known := e.bodKey(false)
	if !known || e.p.BOD.WithoutKEV == Off {
		return nil
	}
	cell, ok := e.p.BOD.Table[key]
	if !ok || cell.AtUpgrade {
		e.note("CISA BOD 26-04 without KEV, " + bodWords(key) + ": at upgrade")
		return nil
	}
	c := e.afterDays("BOD-26-04/no-kev/"+bodPath(key),
		"CISA BOD 26-04, no KEV, "+bodWords(key)+": "+daysWords(cell.Days)+" from "+e.startWhy, cell.Days)
	if e.p.BOD.WithoutKEV != Binding {
		c.Advisory = true
		c.Why += " (advisory)"
	}
	return []dated{c}
}

// validatedCandidate shortens a Zero-Day once the patch was validated. A
// validation before K counts from K: the Zero-Day cannot end before it began.
func (e *evaluation) validatedCandidate() dated {
	from := e.in.Clock.Validated
	if from.Before(e.k) {
		from = e.k
	}
	at := from.Add(e.p.KEV.Validated)
	c := dated{due: dayOf(at, e.p.Zone)}
	if e.p.Switches.StrictHours {
		c.at, c.due = at, lastDay(at, e.p.Zone)
	}
	start := dayOf(from, e.p.Zone).date()
	c.Candidate = finding.Candidate{
		Rule: "KEV/validated", Start: start, Due: c.due.date(),
		Why: "KEV: the patch was validated, " + e.p.KEV.Validated.String() + " from " + string(start),
	}
	return c
}

// afterK is a candidate n days after K.
func (e *evaluation) afterK(id, why string, n int) dated {
	c := dated{due: e.kDay + day(n)}
	if e.p.Switches.StrictHours {
		c.at = e.k.Add(days(n))
		c.due = lastDay(c.at, e.p.Zone)
	}
	c.Candidate = finding.Candidate{Rule: id, Start: e.kDate, Due: c.due.date(), Why: why}
	return c
}

// bodKey is the row of CISA's table; known is false while a decision point is missing.
func (e *evaluation) bodKey(kev bool) (key BODKey, known bool) {
	key = BODKey{KEV: kev, Exposed: e.exposed}
	v := e.in.Vulnerability
	key.Automatable = v.Automatable == "yes"
	key.Total = v.Impact == "total"
	known = (key.Automatable || v.Automatable == "no") && (key.Total || v.Impact == "partial")
	return key, known
}

func bodPath(k BODKey) string {
	return exposedWord(k.Exposed) + "/" + automatableWord(k.Automatable) + "/" + impactWord(k.Total)
}

func bodWords(k BODKey) string {
	automatable := "not automatable"
	if k.Automatable {
		automatable = "automatable"
	}
	return exposedWord(k.Exposed) + ", " + automatable + ", " + impactWord(k.Total) + " impact"
}

func exposedWord(yes bool) string {
	if yes {
		return "exposed"
	}
	return "not-exposed"
}

func automatableWord(yes bool) string {
	if yes {
		return "auto-yes"
	}
	return "auto-no"
}

func impactWord(total bool) string {
	if total {
		return "total"
	}
	return "partial"
}

// exploited says who says the vulnerability is exploited, empty for nobody.
func (e *evaluation) exploited() string {
	v := e.in.Vulnerability
	switch {
	case v.KEVAdded != "":
		return "KEV"
	case !v.ActiveExploitation.IsZero():
		return "an operator's mark of active exploitation"
	case v.Exploitation == "active":
		return "SSVC exploitation active"
	default:
		return ""
	}
}
