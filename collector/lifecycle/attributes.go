package lifecycle

import (
	"cmp"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

// inputs restates what a decision is made from.
func inputs(p *sla.Policy, in sla.Input) finding.Inputs {
	a, v := in.Asset, in.Vulnerability
	out := finding.Inputs{
		Policy: p.Digest, Severity: v.Severity,
		Class: string(a.Class), Exposure: string(a.Exposure), Environment: string(a.Environment),
		Core: a.Core, CrownJewel: a.CrownJewel, ColdWallet: a.ColdWallet, HotWallet: a.HotWallet,
		KEVAdded: v.KEVAdded, KEVDue: v.KEVDue, Exploitation: v.Exploitation, Automatable: v.Automatable, Impact: v.Impact,
		Detected: in.Clock.Detected, Restarted: in.Clock.Restarted,
	}
	if !in.Clock.NoFix {
		out.Available = in.Clock.Available.UTC().Truncate(time.Microsecond)
	}
	return out
}

// asset is the classification a decision was made with.
func asset(in finding.Inputs) sla.Asset {
	return sla.Asset{
		Class: sla.Class(in.Class), Exposure: sla.Exposure(in.Exposure), Environment: sla.Environment(in.Environment),
		Core: in.Core, CrownJewel: in.CrownJewel, ColdWallet: in.ColdWallet, HotWallet: in.HotWallet,
	}
}

// Tighten takes over of a new classification what is not looser than the one in
// force, and says in words what is left. Exposure, core, crown jewel and hot
// wallet have an order, and so have production and non-production; whether
// another class, calendar or an end-user environment is looser than what one
// has is for the caller to say.
func Tighten(force, want sla.Asset, looser func(have, try sla.Asset) (bool, error)) (got sla.Asset, left []string, err error) {
	got = force
	if exposed(want.Exposure) || !exposed(force.Exposure) {
		got.Exposure = want.Exposure
	}
	got.Core, got.CrownJewel, got.HotWallet = force.Core || want.Core, force.CrownJewel || want.CrownJewel, force.HotWallet || want.HotWallet
	got.HighDataSensitivity = force.HighDataSensitivity || want.HighDataSensitivity
	comparable := ordered(force.Environment) && ordered(want.Environment)
	if comparable && (want.Environment != sla.NonProduction || force.Environment == sla.NonProduction) {
		got.Environment = want.Environment
	}
	for _, take := range []func(*sla.Asset){
		func(a *sla.Asset) {
			if !comparable {
				a.Environment = want.Environment
			}
		},
		func(a *sla.Asset) { a.Class = want.Class },
		func(a *sla.Asset) { a.ColdWallet = want.ColdWallet },
	} {
		try := got
		if take(&try); same(try, got) {
			continue
		}
		worse, err := looser(got, try)
		if err != nil {
			return force, nil, err
		}
		if !worse {
			got = try
		}
	}
	return got, differences(got, want), nil
}

func exposed(e sla.Exposure) bool { return e != sla.Internal }

func ordered(e sla.Environment) bool { return e != sla.EndUser }

// differences says in words in what want differs from got.
func differences(got, want sla.Asset) []string {
	var out []string
	say := func(name, from, to string) {
		if from != to {
			out = append(out, name+" "+cmp.Or(from, "unknown")+" to "+cmp.Or(to, "unknown"))
		}
	}
	say("class", string(got.Class), string(want.Class))
	say("exposure", string(got.Exposure), string(want.Exposure))
	say("environment", string(got.Environment), string(want.Environment))
	say("core", yes(got.Core), yes(want.Core))
	say("crown jewel", yes(got.CrownJewel), yes(want.CrownJewel))
	say("cold wallet", yes(got.ColdWallet), yes(want.ColdWallet))
	say("hot wallet", yes(got.HotWallet), yes(want.HotWallet))
	return out
}

func same(a, b sla.Asset) bool { return len(differences(a, b)) == 0 }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// stickyKEV keeps what a listing once said: it may come, and its dates may move
// earlier, but it does not go away.
func stickyKEV(was finding.Inputs, v sla.Vulnerability) sla.Vulnerability {
	v.KEVAdded, v.KEVDue = earlier(was.KEVAdded, v.KEVAdded), earlier(was.KEVDue, v.KEVDue)
	if was.Exploitation == "active" {
		v.Exploitation = was.Exploitation
	}
	return v
}

func earlier(a, b finding.Date) finding.Date {
	if a == "" || b != "" && strings.Compare(string(b), string(a)) < 0 {
		return b
	}
	return a
}
