package lifecycle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

var detected = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func day(n int) time.Time { return detected.AddDate(0, 0, n) }

// policies are the shipped one, a stricter, a looser and a mixed one.
var policies = func() []*sla.Policy {
	shipped, src := policy.Default()
	out := []*sla.Policy{shipped}
	for _, edit := range [][2]string{
		{"critical: # \"14 days | 30 days | 30 days | 30 days\"\n      internet: 14 days\n      production: 30 days", "critical:\n      internet: 5 days\n      production: 7 days"},
		{"high: # \"30 days | Next patch", "high: # changed\n      #"},
		{"      internet: 30 days\n      production: next cycle or 30 days", "      internet: 90 days\n      production: 90 days"},
		{"      internet: 14 days\n      production: 30 days", "      internet: 3 days\n      production: 60 days"},
	} {
		p, _, err := policy.Parse(bytes.Replace(src, []byte(edit[0]), []byte(edit[1]), 1))
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}()

// event is what is known from an instant on.
type event struct {
	at       time.Time
	severity finding.Severity
	asset    sla.Asset
	kev      bool
	impact   string
	policy   int
	approved bool
	noFix    bool
}

func drawEvents(t *rapid.T) []event {
	n := rapid.IntRange(1, 12).Draw(t, "events")
	out := make([]event, n)
	at := detected
	for i := range out {
		at = at.Add(time.Duration(rapid.IntRange(0, 20*24).Draw(t, "hours later")) * time.Hour)
		out[i] = event{
			at:       at,
			severity: rapid.SampledFrom([]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}).Draw(t, "severity"),
			asset: sla.Asset{
				Class:       rapid.SampledFrom([]sla.Class{sla.Compute, sla.Compute, sla.Appliance}).Draw(t, "class"),
				Exposure:    rapid.SampledFrom([]sla.Exposure{sla.Internet, sla.Internal, sla.UnknownExposure}).Draw(t, "exposure"),
				Environment: rapid.SampledFrom([]sla.Environment{sla.Production, sla.NonProduction, sla.UnknownEnvironment}).Draw(t, "environment"),
				Core:        rapid.Bool().Draw(t, "core"), ColdWallet: rapid.Bool().Draw(t, "cold"), CrownJewel: rapid.Bool().Draw(t, "jewel"),
			},
			kev:      rapid.IntRange(0, 4).Draw(t, "kev") == 0,
			impact:   rapid.SampledFrom([]string{"", "partial", "total"}).Draw(t, "impact"),
			policy:   rapid.IntRange(0, len(policies)-1).Draw(t, "policy"),
			approved: rapid.IntRange(0, 3).Draw(t, "approved") == 0,
			noFix:    rapid.IntRange(0, 3).Draw(t, "no fix") == 0,
		}
	}
	return out
}

// record is an episode's record so far.
type record struct {
	v finding.Verdict
	c finding.Clock
}

func (r record) kept() *sla.Policy {
	for _, p := range policies {
		if p.Digest == r.c.Inputs.Policy {
			return p
		}
	}
	return policies[0]
}

func (r record) after(t *rapid.T, e event) record {
	k := lifecycle.Case{
		Policy: policies[e.policy], Effective: e.at, Kept: r.kept(), KeptSeverity: e.severity,
		Input: sla.Input{
			Asset:         e.asset,
			Vulnerability: sla.Vulnerability{Severity: e.severity, Impact: e.impact, Automatable: "yes"},
			Clock:         sla.Clock{Detected: detected, Available: day(-3), NoFix: e.noFix},
		},
		Spans:          []lifecycle.Span{{From: detected}},
		Classification: lifecycle.Request{ID: "A-1"}, PolicyChange: lifecycle.Request{ID: "A-2"},
	}
	if e.noFix {
		k.Input.Clock.Available = time.Time{}
	}
	if e.kev {
		k.Input.Vulnerability.KEVAdded = policies[0].LocalDate(e.at)
	}
	if e.approved {
		g := &lifecycle.Grant{ID: "A-1", By: "approver", At: e.at}
		k.Classification.Grant, k.PolicyChange.Grant = g, g
	}
	v, c, err := lifecycle.Decide(r.v, r.c, k, e.at)
	if err != nil {
		t.Fatalf("decide at %s: %v", e.at, err)
	}
	return record{v, c}
}

// before orders deadlines, none last.
func before(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || a.Before(b)) }

func TestADeadlineMovesLaterOnlyByTheFeedBeforeTheBreachOrByApproval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r record
		for _, e := range drawEvents(t) {
			was := r
			r = r.after(t, e)
			if !was.c.Started() {
				continue
			}
			if before(was.v.MitigateBy, r.v.MitigateBy) {
				t.Fatalf("mitigation moved from %s to %s", was.v.MitigateBy, r.v.MitigateBy)
			}
			if !before(was.v.DueAt, r.v.DueAt) {
				continue
			}
			m := r.c.Moves[len(r.c.Moves)-1]
			byFeed := m.Cause == finding.CauseSeverityDown && e.severity.Rank() < was.c.Inputs.Severity.Rank()
			if !m.At.Equal(e.at) || !byFeed && m.ApprovedBy == "" || byFeed && m.ApprovedBy != "" && !e.approved {
				t.Fatalf("due moved from %s to %s by %+v", was.v.Due, r.v.Due, m)
			}
			if !e.at.Before(was.v.DueAt) {
				t.Fatalf("due moved from %s to %s after its breach, at %s", was.v.Due, r.v.Due, e.at)
			}
		}
	})
}

func TestABreachIsRecordedOnceAndStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r record
		for _, e := range drawEvents(t) {
			was := r
			r = r.after(t, e)
			if d := cmp.Diff(was.c.Breaches, r.c.Breaches[:min(len(was.c.Breaches), len(r.c.Breaches))], equalEmpty); d != "" {
				t.Fatalf("a breach on record changed:\n%s", d)
			}
			seen := map[finding.DeadlineKind]bool{}
			for _, b := range r.c.Breaches {
				if seen[b.Kind] || b.At.After(e.at) || b.At.Before(detected) || b.At.Before(b.Deadline) {
					t.Fatalf("breaches %+v as of %s: twice, in the future, before detection or before the deadline", r.c.Breaches, e.at)
				}
				seen[b.Kind] = true
			}
			for kind, at := range map[finding.DeadlineKind]time.Time{finding.Patch: r.v.DueAt, finding.Mitigate: r.v.MitigateBy} {
				if !at.IsZero() && !e.at.Before(at) && !seen[kind] {
					t.Fatalf("%s passed at %s and is not on record as of %s", kind, at, e.at)
				}
			}
			// A move into the past breaches at the move.
			if was.c.Started() && was.c.Breach(finding.Patch) == nil && !was.v.DueAt.Equal(r.v.DueAt) {
				if b := r.c.Breach(finding.Patch); b != nil && b.At.Before(e.at) && !b.Deadline.Equal(was.v.DueAt) {
					t.Fatalf("breach %+v is back-dated: the deadline moved at %s", b, e.at)
				}
			}
		}
	})
}

var equalEmpty = cmp.Transformer("list", func(b []finding.Breach) string { return fmt.Sprint(b) })

func TestDecidingAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r record
		for _, e := range drawEvents(t) {
			r = r.after(t, e)
			again := r.after(t, e)
			if d := cmp.Diff(r, again, cmp.AllowUnexported(record{})); d != "" {
				t.Fatalf("the same facts at the same instant (-once +again):\n%s", d)
			}
			e.at = e.at.Add(time.Minute)
			next := r.after(t, e)
			if !next.v.DueAt.Equal(r.v.DueAt) || len(next.c.Moves) != len(r.c.Moves) {
				t.Fatalf("due moved from %s to %s without a change", r.v.Due, next.v.Due)
			}
		}
	})
}

// A record that went through the store's JSON decides as one that did not.
func TestReplayGivesTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var live, stored record
		for _, e := range drawEvents(t) {
			live, stored = live.after(t, e), stored.after(t, e)
			text, err := json.Marshal(finding.Finding{Verdict: stored.v, Clock: stored.c})
			if err != nil {
				t.Fatal(err)
			}
			var f finding.Finding
			if err := json.Unmarshal(text, &f); err != nil {
				t.Fatal(err)
			}
			stored = record{f.Verdict, f.Clock}
			if d := cmp.Diff(live, stored, cmp.AllowUnexported(record{})); d != "" {
				t.Fatalf("after a round trip (-live +stored):\n%s", d)
			}
		}
	})
}

func TestFixTimeIsClampedToWhatReceiptsProve(t *testing.T) {
	from, to := day(10), day(12)
	for _, c := range []struct{ claim, want time.Time }{
		{day(2), from},
		{day(11), day(11)},
		{day(20), to},
	} {
		got := lifecycle.FixedAt(c.claim, finding.InstallTime, from, to)
		if !got.At.Equal(c.want) || got.NotBefore != from || got.NotAfter != to {
			t.Errorf("claim %s: got %+v, want %s", c.claim, got, c.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	due := day(10)
	fix := func(at, notAfter int) finding.End {
		return finding.End{Fix: finding.FixTime{At: day(at), Kind: finding.InstallTime, NotBefore: day(1), NotAfter: day(notAfter)}}
	}
	breached := finding.Clock{Breaches: []finding.Breach{{Kind: finding.Patch, At: day(11), Deadline: due}}}
	for _, c := range []struct {
		name            string
		f               finding.Finding
		want            finding.Outcome
		claimed, missed bool
	}{
		{"in time", finding.Finding{State: finding.Fixed, End: fix(6, 9)}, finding.FixedOnTime, false, false},
		{"after its target", finding.Finding{State: finding.Fixed, End: fix(7, 9)}, finding.FixedOnTime, false, true},
		{"by its own word", finding.Finding{State: finding.Fixed, End: fix(8, 12)}, finding.FixedOnTime, true, true},
		{"at the first instant out of time", finding.Finding{State: finding.Fixed, End: fix(10, 10)}, finding.FixedLate, false, true},
		{"after a breach of a deadline that moved", finding.Finding{State: finding.Fixed, End: fix(11, 12), Clock: breached}, finding.FixedLate, false, true},
		{"by the publisher's word", finding.Finding{State: finding.NotAffected}, finding.WasNotAffected, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.Verdict.DueAt, c.f.Verdict.TargetAt, c.f.Closed = due, day(7), day(12)
			for now, final := range map[int]bool{12: false, 25: false, 26: true} {
				got := lifecycle.End(&c.f, 14*24*time.Hour, day(now))
				if got.Outcome != c.want || got.OnTimeClaimed != c.claimed || got.TargetMissed != c.missed || got.Final != final {
					t.Errorf("day %d: got %+v, want %s, claimed %t, target missed %t, final %t", now, got, c.want, c.claimed, c.missed, final)
				}
			}
			c.f.End = lifecycle.End(&c.f, 14*24*time.Hour, day(30))
			frozen := c.f.End
			c.f.Verdict.DueAt = day(1)
			if got := lifecycle.End(&c.f, 14*24*time.Hour, day(40)); got != frozen {
				t.Errorf("a final outcome changed to %+v", got)
			}
		})
	}
}
