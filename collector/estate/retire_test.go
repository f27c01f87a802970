package estate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// presence is what coverage and the list of assets say of an asset.
func (s *scene) presence(id string, want query.Presence, detail string) {
	s.Helper()
	c, err := s.q.Coverage(s.Context(), 0)
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range c.Rows {
		if r.Asset == id && (r.Presence != want || !strings.Contains(r.Detail, detail)) {
			s.Errorf("%s: coverage says %s (%s), want %s (%s)", id, r.Presence, r.Detail, want, detail)
		}
	}
	l, err := s.q.Assets(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for _, a := range l.Assets {
		if a.ID == id && a.Presence != want {
			s.Errorf("%s: the list says %s, want %s", id, a.Presence, want)
		}
	}
}

func (s *scene) whole(source, text string, confirm bool) (estate.Applied, error) {
	s.Helper()
	s.now = s.now.Add(time.Hour)
	return s.s.Import(s.Context(), estate.List{Source: source, File: "x.csv", Data: []byte(text), By: "bob", Whole: true, Confirm: confirm})
}

func TestTheCloudSaysThatAHostIsTerminated(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.list("ec2", "instance_id,state\ni-1,running\n")
	s.presence("A1", query.Reporting, "")
	s.now = s.now.Add(time.Hour)
	s.list("ec2", "instance_id,state\ni-1,terminated\n")
	s.presence("A1", query.Terminated, "so says ec2")
	a := s.asset("A1")
	if g := a.Gone(); g == nil || !g.Since.Equal(s.now) || g.List != "ec2" {
		t.Errorf("got %+v", g)
	}
	s.now = s.now.Add(time.Hour)
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.presence("A1", query.Back, "terminated 2026-03-02, so says ec2, and yet it has reported since")
	if _, err := s.s.Reinstate(t.Context(), "A1", "another account's export", "ada"); err != nil {
		t.Fatal(err)
	}
	s.presence("A1", query.Reporting, "")
	s.list("ec2", "instance_id,state\ni-1,terminated\n") // says nothing new: the operator's word is the later
	s.presence("A1", query.Reporting, "")
	s.now = s.now.Add(time.Hour)
	s.list("ec2", "instance_id,state\ni-1,stopped\n")
	s.list("ec2", "instance_id,state\ni-1,terminated\n")
	s.presence("A1", query.Terminated, "so says ec2")
}

func TestAWholeListTerminatesWhatItLeavesOut(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	s.trust("A2", "web-2", store.Attributes{})
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.report("A2", classify.Claims{InstanceID: "i-2"})
	s.list("ec2", "instance_id,name\ni-1,web-1\ni-2,web-2\n")
	s.list("cmdb", "instance_id,name\ni-1,web-1\n")
	s.list("ec2", "instance_id,name\ni-2,web-2\n") // a part of it
	s.presence("A1", query.Reporting, "")
	a, err := s.whole("ec2", "instance_id,name\ni-2,web-2\n", false)
	if err != nil || a.Absent != 1 {
		t.Fatalf("got %+v, %v, want one left out", a, err)
	}
	s.presence("A1", query.Terminated, "so says ec2")
	s.presence("A2", query.Reporting, "")
	if again, err := s.whole("ec2", "instance_id,name\ni-2,web-2\n", false); err != nil || again.Absent != 0 {
		t.Errorf("got %+v, %v, want nothing new", again, err)
	}
	if _, err := s.whole("ec2", "instance_id,name\ni-1,web-1\ni-2,web-2\n", false); err != nil {
		t.Fatal(err)
	}
	s.presence("A1", query.Reporting, "")
}

// Half an export, taken for a whole one, would end a whole estate.
func TestAWholeListThatLeavesOutManyNeedsSomebody(t *testing.T) {
	s := newScene(t)
	var all strings.Builder
	all.WriteString("instance_id\n")
	for i := range 60 {
		fmt.Fprintf(&all, "i-%d\n", i)
	}
	s.list("ec2", all.String())
	_, err := s.whole("ec2", "instance_id\ni-1\n", false)
	if !errors.Is(err, estate.ErrInvalid) || !strings.Contains(err.Error(), "leaves out 59 machines that ec2 listed before, more than 12") {
		t.Errorf("got %v, want a refusal that counts", err)
	}
	if a, err := s.whole("ec2", "instance_id\ni-1\n", true); err != nil || a.Absent != 59 {
		t.Errorf("got %+v, %v, want 59 left out", a, err)
	}
}

func TestOperatorsRetireAndReinstate(t *testing.T) {
	s := newScene(t)
	p, src := policy.Default()
	if _, err := s.st.ApplyPolicy(t.Context(), store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: start.AddDate(0, -1, 0)}, store.Leaf{Kind: "policy", At: start, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	s.trust("A1", "web-1", store.Attributes{})
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.now = time.Date(2026, 4, 2, 12, 0, 0, 0, time.UTC)
	for since, want := range map[string]string{
		"2026-03-01": "after 2026-03-01T00:00:00Z", // it reported on 2 March
		"2026-04-03": "is in the future",
		"yesterday":  "want a date",
	} {
		if _, err := s.s.Retire(t.Context(), "A1", since, "sold", "ada"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("since %s: got %v, want %q", since, err, want)
		}
	}
	for reason, want := range map[string]string{"": "missing", " ": "missing", "a\x1bb": "cannot be printed", strings.Repeat("x", 1001): "at most 1000"} {
		if _, err := s.s.Retire(t.Context(), "A1", "", reason, "ada"); !errors.Is(err, estate.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.10q: got %v, want %q", reason, err, want)
		}
	}
	// The start of the day in the policy's zone: summer time began on 29 March.
	got, err := s.s.Retire(t.Context(), "web-1", "2026-04-01", "sold", "ada")
	if err != nil || got.Since.Format(time.RFC3339) != "2026-03-31T23:00:00Z" {
		t.Fatalf("got %+v, %v", got, err)
	}
	s.presence("A1", query.Retired, "by ada: sold")
	s.now = s.now.Add(time.Hour)
	s.list("ec2", "instance_id,state\ni-1,running\n")
	s.presence("A1", query.Retired, "ec2 has listed it as running since")
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.presence("A1", query.Back, "retired by ada 2026-03-31: sold, and yet it has reported since")
	sum, err := s.q.Summary(t.Context(), query.Filter{}, "")
	if err != nil || sum.Assets.Back != 1 || sum.Assets.Gone != 0 || sum.Assets.Reporting != 1 {
		t.Errorf("got %+v, %v", sum.Assets, err)
	}
	if _, err := s.s.Reinstate(t.Context(), "A1", "not sold", "bob"); err != nil {
		t.Fatal(err)
	}
	s.presence("A1", query.Reporting, "")
	if _, err := s.s.Reinstate(t.Context(), "A1", "again", "bob"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want %v", err, store.ErrConflict)
	}
}
