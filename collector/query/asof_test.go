package query_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// A date is the end of that day in the policy's zone, so the last instant of it.
func TestMomentsThatCanBeAskedOf(t *testing.T) {
	f := newFixture(t, t.TempDir())
	p, src := policy.Default() // Europe/Dublin
	if _, err := f.st.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: now}, leaf(t, evidence.KindPolicy)); err != nil {
		t.Fatal(err)
	}
	f.q.Now = func() time.Time { return time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC) }
	for moment, want := range map[string]string{
		"2026-06-10":                "2026-06-10T22:59:59.999999Z", // summer time
		"2026-10-25":                "2026-10-25T23:59:59.999999Z", // the day it ends
		"2026-11-02":                "2026-11-02T23:59:59.999999Z",
		"2026-06-10T12:00:00Z":      "2026-06-10T12:00:00Z",
		"2026-06-10T14:30:00+02:00": "2026-06-10T12:30:00Z",
		"2026-11-03T08:59:59.5Z":    "2026-11-03T08:59:59.5Z",
	} {
		var got query.FindingList
		err := f.q.AsOf(t.Context(), moment, func(q *query.Service) (err error) {
			got, err = q.Findings(t.Context(), query.Filter{})
			return err
		})
		if s := got.AsOf.Format(time.RFC3339Nano); err != nil || s != want {
			t.Errorf("as of %s: answers as of %s, %v, want %s", moment, s, err, want)
		}
		if got.Leaf == nil || *got.Leaf != 3 || got.Policy != p.Digest || got.Coverage.Waiting != nil || got.Coverage.PendingKeys != nil {
			t.Errorf("as of %s: it stands on leaf %v, policy %q, coverage %+v", moment, got.Leaf, got.Policy, got.Coverage)
		}
	}
}

func TestMomentsThatCannotBeAskedOf(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.q.Now = func() time.Time { return now.Add(time.Hour) }
	for moment, want := range map[string]string{
		"2026-06-10":           "it is not over", // today ends later
		"2026-06-10T13:00:00Z": "it is not over", // now
		"2031-01-01":           "it is not over",
		"2026-06-10T11:59:59Z": "begins at 2026-06-10T12:00:00Z",
		"2019-01-01":           "begins at 2026-06-10T12:00:00Z",
		"yesterday":            "want a date",
		"2026-13-01":           "want a date",
		"0000-00-00T00:00:00Z": "want a date",
	} {
		err := f.q.AsOf(t.Context(), moment, func(*query.Service) error { t.Errorf("as of %s: it was asked", moment); return nil })
		if !errors.Is(err, query.ErrFilter) || !strings.Contains(err.Error(), want) {
			t.Errorf("as of %s: got error %v, want one that says %q", moment, err, want)
		}
	}
}

// What follows from the time is as of the moment: it was not overdue then.
func TestOverdueFollowsFromTheMomentAskedOf(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.put(t, aFinding(1, finding.High, finding.Open, 2, false))
	f.q.Now = func() time.Time { return now.AddDate(0, 0, 30) }
	for moment, overdue := range map[string]int{"2026-06-12T11:59:59Z": 0, "2026-06-12T12:00:00Z": 1, "": 1} {
		err := f.q.AsOf(t.Context(), moment, func(q *query.Service) error {
			s, err := q.Summary(t.Context(), query.Filter{}, "severity")
			if err == nil && (s.Findings.Overdue != overdue || s.Rows[0].Overdue != overdue) {
				t.Errorf("as of %q: got %d overdue, want %d", moment, s.Findings.Overdue, overdue)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
