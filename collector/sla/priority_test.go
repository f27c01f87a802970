package sla_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
)

func TestPriority(t *testing.T) {
	type facts struct {
		sev                         finding.Severity
		kev, mark, active, exposed  bool
		epss                        float64
		public, poc                 bool
		jewel, data, hot, sensitive bool
	}
	for _, c := range []struct {
		name  string
		facts facts
		want  string
		steps string // points of the last step
	}{
		{"critical_alone", facts{sev: finding.Critical}, "P2", "4 points: P2"},
		{"high_alone", facts{sev: finding.High}, "P3", "3 points: P3"},
		{"medium_alone", facts{sev: finding.Medium}, "P4", "2 points: P4"},
		{"low_alone", facts{sev: finding.Low}, "P4", "1 point: P4"},
		{"kev_adds_two", facts{sev: finding.High, kev: true}, "P1", "5 points: P1"},
		{"a_mark_adds_two", facts{sev: finding.High, mark: true}, "P1", "5 points: P1"},
		{"ssvc_active_adds_two", facts{sev: finding.High, active: true}, "P1", "5 points: P1"},
		{"kev_and_mark_add_two_once", facts{sev: finding.High, kev: true, mark: true, active: true}, "P1", "5 points: P1"},
		{"epss_at_the_threshold", facts{sev: finding.High, epss: 0.5}, "P2", "4 points: P2"},
		{"epss_below", facts{sev: finding.High, epss: 0.4999}, "P3", "3 points: P3"},
		{"public_exploit", facts{sev: finding.High, public: true}, "P2", "4 points: P2"},
		{"ssvc_poc", facts{sev: finding.High, poc: true}, "P2", "4 points: P2"},
		{"likely_counts_once", facts{sev: finding.High, epss: 0.9, public: true, poc: true}, "P2", "4 points: P2"},
		{"exposed", facts{sev: finding.High, exposed: true}, "P2", "4 points: P2"},
		{"crown_jewel", facts{sev: finding.High, jewel: true}, "P2", "4 points: P2"},
		{"data_sensitivity", facts{sev: finding.High, data: true}, "P2", "4 points: P2"},
		{"jewel_or_data_counts_once", facts{sev: finding.High, jewel: true, data: true}, "P2", "4 points: P2"},
		{"hot_wallet_component", facts{sev: finding.High, hot: true, sensitive: true}, "P2", "4 points: P2"},
		{"hot_wallet_other_component", facts{sev: finding.High, hot: true}, "P3", "3 points: P3"},
		{"component_elsewhere", facts{sev: finding.High, sensitive: true}, "P3", "3 points: P3"},
		{"five_points", facts{sev: finding.Critical, exposed: true}, "P1", "5 points: P1"},
		{"six_points", facts{sev: finding.Critical, exposed: true, jewel: true}, "P1", "6 points: P1"},
		{"seven_points", facts{sev: finding.Critical, exposed: true, jewel: true, epss: 1}, "P0", "7 points: P0"},
		{"all_of_it", facts{sev: finding.Critical, kev: true, exposed: true, jewel: true, epss: 1, hot: true, sensitive: true}, "P0", "KEV on an exposed asset is always P0"},
		{"kev_on_an_exposed_low", facts{sev: finding.Low, kev: true, exposed: true}, "P0", "KEV on an exposed asset is always P0"},
		{"kev_on_a_hidden_low", facts{sev: finding.Low, kev: true}, "P3", "3 points: P3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := host(c.facts.sev)
			f := c.facts
			if f.kev {
				in.Vulnerability.KEVAdded = "2026-03-10"
			}
			if f.mark {
				in.Vulnerability.ActiveExploitation = monday
			}
			if f.exposed {
				in.Asset.Exposure = sla.Internet
			}
			if f.active {
				in.Vulnerability.Exploitation = "active"
			}
			if f.poc {
				in.Vulnerability.Exploitation = "poc"
			}
			in.Vulnerability.EPSS, in.Vulnerability.PublicExploit, in.Vulnerability.SensitiveComponent = f.epss, f.public, f.sensitive
			in.Asset.CrownJewel, in.Asset.HighDataSensitivity, in.Asset.HotWallet = f.jewel, f.data, f.hot
			v := evaluate(t, shipped(), in, asked)
			if v.Priority != c.want || v.PriorityWhy[len(v.PriorityWhy)-1] != c.steps {
				t.Errorf("got %s by %q, want %s by %q", v.Priority, v.PriorityWhy, c.want, c.steps)
			}
		})
	}
}

func TestAPublicExploitAsksForAZeroDay(t *testing.T) {
	const ask = "decide whether to declare Zero-Day"
	in := host(finding.Medium)
	in.Vulnerability.PublicExploit = true
	if hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("asked on an internal asset that is no crown jewel")
	}
	in.Asset.CrownJewel = true
	if !hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("not asked on a crown jewel")
	}
	in.Asset.CrownJewel, in.Asset.Exposure = false, sla.Internet
	if !hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("not asked on an exposed asset")
	}
	in.Vulnerability.ActiveExploitation = monday
	if hasNote(evaluate(t, shipped(), in, asked), ask) {
		t.Error("asked where it was declared")
	}
}
