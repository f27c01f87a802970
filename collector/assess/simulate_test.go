package assess_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// policyWith is the shipped policy with pairs of texts replaced.
func policyWith(t testing.TB, pairs ...string) []byte {
	t.Helper()
	_, src := policy.Default()
	text := string(src)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the shipped policy lacks %q", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

func (w *world) simulate(src []byte) assess.Simulation {
	w.t.Helper()
	var sim assess.Simulation
	err := w.st.View(w.t.Context(), func(st store.Store) (err error) {
		sim, err = assess.Simulate(w.t.Context(), st, src, w.clock)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return sim
}

// enforce applies a policy, in force at once or from an instant on.
func (w *world) enforce(src []byte, from time.Time) {
	w.t.Helper()
	rec := store.PolicyRecord{Digest: policy.Digest(src), Source: src, AppliedAt: w.clock, EffectiveAt: from}
	l, err := evidence.PolicyLeaf(rec, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.st.ApplyPolicy(w.t.Context(), rec, l); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhatIfThreeDays: an internet host with a critical and a high flaw of ten days
// ago; somebody proposes three days for critical. A stricter timeline begins when
// its policy comes into force, so what was due in four days is due in three.
func TestWhatIfThreeDays(t *testing.T) {
	w := newWorld(t)
	high := fixedIn("DSA-2", "CVE-2026-2", "bash", "5.3", start)
	critical := fixedIn("DSA-1", "CVE-2026-1", "openssl", "3.1", start)
	critical.Rating = "Critical"
	w.feed(critical, high)
	w.report(statement{sequence: 1, packages: []schema.Package{deb("openssl", "openssl", "3.0-1"), deb("bash", "bash", "5.2-1")}})
	w.assess()
	w.days(10)
	leaves, _ := w.st.LeafCount(t.Context())

	sim := w.simulate(policyWith(t, "internet: 14 days", "internet: 3 days"))
	if len(sim.Moves) != 1 || len(sim.Failed) != 0 {
		t.Fatalf("got %+v", sim)
	}
	m := sim.Moves[0]
	if m.After.Vulnerability != "CVE-2026-1" || m.Before.Verdict.Due != "2026-03-16" || m.After.Verdict.Due != "2026-03-15" || m.NewlyOverdue(sim.At) || m.AssetName != "web-1" {
		t.Errorf("got %s due %s, then %s, newly overdue %t", m.After.Vulnerability, m.Before.Verdict.Due, m.After.Verdict.Due, m.NewlyOverdue(sim.At))
	}
	one := assess.Standing{Running: 1, Within: 1, Due: [4]int{1, 0, 0, 0}}
	want := []assess.SeverityShift{
		{Severity: finding.Critical, Before: one, After: one},
		{Severity: finding.High, Before: assess.Standing{Running: 1, Within: 1, Due: [4]int{0, 0, 1, 0}}, After: assess.Standing{Running: 1, Within: 1, Due: [4]int{0, 0, 1, 0}}},
		{Severity: finding.Medium},
		{Severity: finding.Low},
	}
	if diff := cmp.Diff(want, sim.BySeverity); diff != "" {
		t.Errorf("by severity (-want +got):\n%s", diff)
	}
	// Nothing was written, nothing is marked, and the policy in force is the same.
	after, _ := w.st.LeafCount(t.Context())
	if marks, err := w.st.DirtyAssets(t.Context(), 0); err != nil || len(marks) != 0 || after != leaves {
		t.Errorf("got %d marks, %d leaves, %v; want none and %d", len(marks), after, err, leaves)
	}
	if sim.InForce != w.findings()["CVE-2026-1 openssl"].Verdict.Policy || sim.Policy == sim.InForce {
		t.Errorf("got %s in force, %s tried", sim.InForce, sim.Policy)
	}
}

// TestAPolicyComesIntoForceOnItsDay: until then every date is the old one; from
// then on every finding is judged anew, though nobody touched a host.
func TestAPolicyComesIntoForceOnItsDay(t *testing.T) {
	w := newWorld(t)
	critical := fixedIn("DSA-1", "CVE-2026-1", "openssl", "3.1", start)
	critical.Rating = "Critical"
	w.feed(critical)
	w.report(statement{sequence: 1, packages: []schema.Package{deb("openssl", "openssl", "3.0-1")}})
	w.assess()
	src := policyWith(t, "internet: 14 days", "internet: 7 days")
	w.enforce(src, start.AddDate(0, 0, 3))
	w.assess()
	w.clock = start.AddDate(0, 0, 3).Add(-time.Microsecond)
	w.assess()
	if due := w.only("CVE-2026-1 openssl").Verdict.Due; due != "2026-03-16" {
		t.Errorf("the moment before: due %s", due)
	}
	w.clock = start.AddDate(0, 0, 3)
	w.assess()
	if v := w.only("CVE-2026-1 openssl").Verdict; v.Policy != policy.Digest(src) {
		t.Errorf("on its day it is judged by %s, want %s", v.Policy, policy.Digest(src))
	}
	leaves, _ := w.st.LeafCount(t.Context())
	w.assess()
	if after, _ := w.st.LeafCount(t.Context()); after != leaves {
		t.Error("it comes into force again and again")
	}
}

// edits are changes of the shipped policy that move dates, either way, or severities.
var edits = [][2]string{
	{"internet: 14 days", "internet: 7 days"},
	{"internet: 14 days", "internet: 21 days"},
	{"internet: 30 days", "internet: next cycle or 20 days"},
	{"internet: next cycle or 90 days", "internet: 5 days"},
	{"internet: next cycle\n", "internet: 3 days\n"},
	{"cycle_or_days: earliest", "cycle_or_days: latest"},
	{"monotone_severity: false", "monotone_severity: true"},
	{"exposed: 3 days", "exposed: 1 days"},
	{"[Important, High]", "[Important]"},
	{"[Moderate, Medium]", "[Moderate]"},
	{"low: [Low, ", "low: ["},
	{"awaiting_fix_backstop_days: 0", "awaiting_fix_backstop_days: 2"},
	{"zone: Europe/Dublin", "zone: Asia/Tokyo"},
	{"BYDAY=3SA", "BYDAY=4SU"},
}

// TestSimulationIsWhatHappens: whatever the policy and the estate, applying it
// gives the very findings that the simulation showed.
func TestSimulationIsWhatHappens(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		var pkgs []schema.Package
		var advs []advisory.Advisory
		var facts []advisory.Facts
		for i := range rapid.IntRange(1, 12).Draw(r, "packages") {
			name, cve := fmt.Sprintf("pkg%d", i), fmt.Sprintf("CVE-2026-%d", i+1)
			pkgs = append(pkgs, deb(name, name, "1.0-1"))
			fixed := "2.0"
			if rapid.IntRange(0, 3).Draw(r, "no fix") == 0 {
				fixed = ""
			}
			a := fixedIn(fmt.Sprintf("DSA-%d", i), cve, name, fixed, start.AddDate(0, 0, -rapid.IntRange(0, 60).Draw(r, "age")))
			a.Rating = rapid.SampledFrom([]string{"Critical", "High", "Medium", "Low", ""}).Draw(r, "rating")
			advs = append(advs, a)
			if rapid.IntRange(0, 4).Draw(r, "kev") == 0 {
				facts = append(facts, advisory.Facts{Vulnerability: cve, KEV: &advisory.KEV{Added: start.Format(time.DateOnly), Due: start.AddDate(0, 0, 21).Format(time.DateOnly)}})
			}
		}
		w.feed(advs...)
		if len(facts) > 0 {
			w.apply(advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "kev", Facts: facts})
		}
		w.report(statement{sequence: 1, packages: pkgs})
		assessed := rapid.Bool().Draw(r, "assessed")
		if assessed {
			w.assess()
		}
		w.days(rapid.IntRange(0, 40).Draw(r, "days on"))
		var pairs []string
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(edits)-1), 1, 4, rapid.ID[int]).Draw(r, "edits") {
			if _, src := policy.Default(); strings.Contains(string(policyWithout(src, pairs)), edits[i][0]) {
				pairs = append(pairs, edits[i][0], edits[i][1])
			}
		}
		src := policyWith(t, pairs...)

		sim := w.simulate(src)
		before := w.findings()
		w.enforce(src, w.clock)
		w.assess()
		after := w.findings()

		got := map[string][2]string{}
		for _, m := range sim.Moves {
			got[m.After.Vulnerability+" "+m.After.Component] = [2]string{sum(m.Before), sum(m.After)}
		}
		want := map[string][2]string{}
		running := map[finding.Severity]int{}
		for k, f := range after {
			if f.State.Running() {
				running[f.Severity]++
			}
			if !assessed { // what it was before nobody recorded: the simulation says both
				if m, moved := got[k]; moved {
					want[k] = [2]string{m[0], sum(f)}
				}
			} else if old := before[k]; f.State.Running() && sum(old) != sum(f) {
				want[k] = [2]string{sum(old), sum(f)}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatalf("simulated moves are not what happened under %q (-happened +simulated):\n%s", pairs, diff)
		}
		for _, s := range sim.BySeverity {
			if s.After.Running != running[s.Severity] || s.After.Overdue+s.After.Within+s.After.AwaitingFix != s.After.Running {
				r.Fatalf("%s: simulated %+v, %d run", s.Severity, s.After, running[s.Severity])
			}
		}
	})
}

// policyWithout is a source after some edits.
func policyWithout(src []byte, pairs []string) []byte {
	text := string(src)
	for i := 0; i < len(pairs); i += 2 {
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

// sum is what a move is about.
func sum(f finding.Finding) string {
	return fmt.Sprintf("%s due %s breach %s", f.Severity, f.Verdict.Due, f.Verdict.DueAt)
}

// BenchmarkSimulate tries a policy on 100 hosts with 1 000 findings each.
func BenchmarkSimulate(b *testing.B) {
	const hosts, flaws = 100, 1000
	w := newWorld(b)
	pkgs := make([]schema.Package, 0, flaws)
	advs := make([]advisory.Advisory, 0, flaws)
	for i := range flaws {
		name := fmt.Sprintf("pkg%04d", i)
		pkgs = append(pkgs, deb(name, name, "1.0-1"))
		advs = append(advs, fixedIn(fmt.Sprintf("DSA-%d", i), fmt.Sprintf("CVE-2026-%d", i+1), name, "2.0", start))
	}
	w.feed(advs...)
	for h := range hosts {
		w.join(fmt.Sprintf("a-%03d", h), pkgs)
	}
	w.assess()
	w.days(3)
	src := policyWith(b, "internet: 30 days", "internet: 2 days")
	for b.Loop() {
		if sim := w.simulate(src); len(sim.Moves) != hosts*flaws {
			b.Fatalf("%d moves, want %d", len(sim.Moves), hosts*flaws)
		}
	}
}

// join is another host that reports once.
func (w *world) join(id string, packages []schema.Package) {
	w.t.Helper()
	as := store.Asset{ID: id, Name: id, Key: id, TrustedAt: start, Attributes: store.Attributes{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production}}
	if _, err := w.st.TrustKey(w.t.Context(), as, w.leaf("trust")); err != nil {
		w.t.Fatal(err)
	}
	text, err := schema.EncodePackages(packages)
	if err != nil {
		w.t.Fatal(err)
	}
	part := schema.NewPart(schema.PartPackages, text)
	r := store.Report{
		ID: "report " + id, Asset: id, Key: id, Sequence: 1, CollectedAt: w.clock, ReceivedAt: w.clock, Release: debian12,
		SetDigest: part.Digest, Complete: true, Raw: []byte(id), Road: "test",
		Statement:  schema.Report{Sequence: 1, CollectedAt: w.clock, Parts: []schema.Part{part}},
		PartsTexts: map[string]string{part.Digest: text},
	}
	if _, err := w.st.AcceptReport(w.t.Context(), r, w.leaf("report")); err != nil {
		w.t.Fatal(err)
	}
}
