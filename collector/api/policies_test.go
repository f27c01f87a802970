package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/policy"
)

// days is the shipped policy with another number of days for critical, internet.
func days(n string) []byte {
	_, src := policy.Default()
	return []byte(strings.Replace(string(src), "internet: 14 days", "internet: "+n, 1))
}

// TestPolicyAsRecord is a policy from its first application to one that was planned.
func TestPolicyAsRecord(t *testing.T) {
	f := newFixture(t)
	_, err := f.c.Policy(t.Context(), "current")
	refused(t, err, http.StatusNotFound)

	first, err := f.c.ApplyPolicy(t.Context(), days("14 days"), "", false)
	if err != nil {
		t.Fatal(err)
	}
	if first.Unchanged || first.Against != "" || !first.EffectiveAt.Equal(now) || len(first.Warnings) == 0 {
		t.Errorf("got %+v", first)
	}
	again, err := f.c.ApplyPolicy(t.Context(), days("14 days"), "", false)
	if err != nil || !again.Unchanged || again.Leaf != first.Leaf {
		t.Errorf("again: got %+v, %v", again, err)
	}

	// Looser: refused with the cell, then owned.
	_, err = f.c.ApplyPolicy(t.Context(), days("21 days"), "2026-06-01", false)
	p := refused(t, err, http.StatusConflict)
	if len(p.Errors) != 1 || p.Errors[0].Location != "timelines.compute.critical.internet" || !strings.Contains(p.Errors[0].Message, "14 days -> 21 days") {
		t.Errorf("got %+v, want the cell", p)
	}
	planned, err := f.c.ApplyPolicy(t.Context(), days("21 days"), "2026-06-01", true)
	if err != nil || !planned.EffectiveAt.Equal(time.Date(2026, 5, 31, 23, 0, 0, 0, time.UTC)) || planned.Against != first.Digest {
		t.Errorf("got %+v, %v", planned, err)
	}

	list, err := f.c.Policies(t.Context())
	if err != nil || list.Count != 2 || list.InForce != first.Digest {
		t.Fatalf("got %+v, %v", list, err)
	}
	states := []string{list.Policies[0].State, list.Policies[1].State}
	if !slices.Equal(states, []string{"in_force", "scheduled"}) || list.Policies[1].By != "first" || len(list.Policies[1].Looser) != 1 {
		t.Errorf("got %+v", list.Policies)
	}
	f.clock = planned.EffectiveAt
	if list, err = f.c.Policies(t.Context()); err != nil || list.InForce != planned.Digest || list.Policies[0].State != "past" {
		t.Errorf("on its day: got %+v, %v", list, err)
	}

	for ref, want := range map[string][]byte{"current": days("21 days"), first.Digest[:8]: days("14 days"), "default": days("14 days")} {
		got, err := f.c.Policy(t.Context(), ref)
		if err != nil || got.Source != string(want) || got.Name != "vpm-standard" {
			t.Errorf("%s: got %s %s, %v", ref, got.Digest, got.State, err)
		}
	}
	_, err = f.c.Policy(t.Context(), "nonsense")
	refused(t, err, http.StatusUnprocessableEntity)
	_, err = f.c.Policy(t.Context(), strings.Repeat("0", 64))
	refused(t, err, http.StatusNotFound)

	diff, err := f.c.PolicyDiff(t.Context(), first.Digest, "current")
	if err != nil || diff.Count != 1 || diff.Changes[0].Effect != policy.Looser {
		t.Errorf("got %+v, %v", diff, err)
	}
	if same, err := f.c.PolicyDiff(t.Context(), "default", first.Digest); err != nil || same.Count != 0 || same.Changes == nil {
		t.Errorf("got %+v, %v", same, err)
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	f := newFixture(t)
	_, err := f.c.ApplyPolicy(t.Context(), []byte("version: 1\nzone: Mars\n"), "", false)
	p := refused(t, err, http.StatusUnprocessableEntity)
	if len(p.Errors) < 5 || !strings.Contains(p.Error(), "line 2: zone: no such time zone") {
		t.Errorf("got %v, want every problem with its line", p)
	}
	_, err = f.c.SimulatePolicy(t.Context(), []byte("version: 1\n"), 10)
	if p := refused(t, err, http.StatusUnprocessableEntity); len(p.Errors) < 5 {
		t.Errorf("got %v, want every problem", p)
	}
	for _, date := range []string{"2026-05-03", "tomorrow"} {
		status, body := f.send(t, http.MethodPost, "/v1/policies?effective="+date, f.token, string(days("14 days")))
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, "date") {
			t.Errorf("%s: got %d %s", date, status, body)
		}
	}
	huge := append(days("14 days"), strings.Repeat("# more\n", 200_000)...)
	if status, body := f.send(t, http.MethodPost, "/v1/policies", f.token, string(huge)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %.200s", status, body)
	}
	// An operator does the daily work, and makes no rules.
	_, err = f.as(t, "ops", 0, "read", "operate", "approve").ApplyPolicy(t.Context(), days("7 days"), "", false)
	refused(t, err, http.StatusForbidden)
	if list, err := f.c.Policies(t.Context()); err != nil || list.Count != 0 {
		t.Errorf("got %d policies, %v", list.Count, err)
	}
}

func TestSimulationOfAnEmptyEstate(t *testing.T) {
	f := newFixture(t)
	if _, err := f.c.ApplyPolicy(t.Context(), days("14 days"), "", false); err != nil {
		t.Fatal(err)
	}
	before, _ := f.st.LeafCount(t.Context())
	sim, err := f.c.SimulatePolicy(t.Context(), days("7 days"), 10)
	if err != nil || sim.Findings != 0 || len(sim.BySeverity) != 4 || sim.Moves == nil || sim.Failed == nil || sim.Policy != policy.Digest(days("7 days")) {
		t.Errorf("got %+v, %v", sim, err)
	}
	if after, _ := f.st.LeafCount(t.Context()); after != before {
		t.Error("a simulation left a leaf")
	}
	_, err = f.as(t, "other", 0, "operate").SimulatePolicy(t.Context(), days("7 days"), 10)
	refused(t, err, http.StatusForbidden)
}
