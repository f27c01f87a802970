package assess_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// on sets the clock to 09:00 UTC of a day.
func (w *world) on(day string) { w.clock = instant(w.t, day+"T09:00:00Z") }

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

// rated is an advisory for openssl that publishers rate differently over time.
func rated(rating, issued string) advisory.Advisory {
	at, err := time.Parse(time.DateOnly, issued)
	if err != nil {
		panic(err)
	}
	a := fixedIn("DSA-1", "CVE-2026-0001", "openssl", "3.0.14-1~deb12u2", at)
	a.Rating = rating
	return a
}

func (w *world) vulnerable(sequence uint64) {
	w.t.Helper()
	w.report(statement{sequence: sequence, packages: []schema.Package{opensslOld}})
	w.assess()
}

func (w *world) fixed(sequence uint64) {
	w.t.Helper()
	w.report(statement{sequence: sequence, packages: []schema.Package{opensslNew}})
	w.assess()
}

// apply a policy edited from the shipped one.
func (w *world) applyPolicy(from, to string) {
	w.t.Helper()
	_, src := policy.Default()
	if !bytes.Contains(src, []byte(from)) {
		w.t.Fatalf("the shipped policy does not say %q", from)
	}
	src = bytes.Replace(src, []byte(from), []byte(to), 1)
	p, _, err := policy.Parse(src)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.st.ApplyPolicy(w.t.Context(), store.PolicyRecord{Digest: p.Digest, Source: src, AppliedAt: w.clock, By: "operator"}, w.leaf("policy")); err != nil {
		w.t.Fatal(err)
	}
	w.assess()
}

// stand is what a person would read off a finding.
type stand struct {
	State    finding.State
	Due      finding.Date
	Breached string // instants of the patch and of the mitigation breach
	Outcome  finding.Outcome
	Final    bool
}

func (w *world) wants(id string, want stand) finding.Finding {
	w.t.Helper()
	for _, f := range w.all() {
		if f.ID != id {
			continue
		}
		got := stand{State: f.State, Due: f.Verdict.Due, Outcome: f.End.Outcome, Final: f.End.Final}
		for _, b := range f.Clock.Breaches {
			got.Breached = strings.TrimSpace(got.Breached + " " + string(b.Kind) + " " + b.At.Format(time.RFC3339))
		}
		if d := cmp.Diff(want, got); d != "" {
			w.t.Errorf("%s: finding %s (-want +got):\n%s", w.clock.Format(time.DateOnly), id, d)
		}
		return f
	}
	w.t.Fatalf("%s: no finding %s", w.clock.Format(time.DateOnly), id)
	return finding.Finding{}
}

func (w *world) all() []finding.Finding {
	w.t.Helper()
	fs, err := w.st.AssetFindings(w.t.Context(), assetID)
	if err != nil {
		w.t.Fatal(err)
	}
	return fs
}

func (w *world) wantsMoves(f finding.Finding, want ...string) {
	w.t.Helper()
	var got []string
	for _, m := range f.Clock.Moves {
		got = append(got, strings.TrimSpace(strings.Join([]string{m.At.Format(time.DateOnly), string(m.Cause), string(m.From), "to", string(m.To), m.ApprovedBy}, " ")))
	}
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("moves of %s (-want +got):\n%s", f.ID, d)
	}
}

var (
	opensslID  = finding.EpisodeID(assetID, "CVE-2026-0001", "openssl", 1)
	opensslID2 = finding.EpisodeID(assetID, "CVE-2026-0001", "openssl", 2)
)

// A cold-wallet host over a year. Its windows are the first Saturdays of January,
// April, July and October: 2026-04-04, 07-04, 10-03.
func TestStoryOfAWalletHostOverAYear(t *testing.T) {
	w := newWorldOf(t, store.Attributes{
		Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production, ColdWallet: true, CrownJewel: true,
	})
	w.on("2026-01-10")
	w.feed(rated("Medium", "2026-01-10"))
	w.vulnerable(1)
	// Medium: the next cycle, 4 April, or 90 days, 10 April.
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-04-04"})

	w.on("2026-02-01")
	w.feed(rated("High", "2026-01-10"))
	w.assess()
	// High: 30 days from the change, 3 March.
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-03"})

	w.on("2026-02-10")
	w.feed(rated("Medium", "2026-01-10"))
	w.assess()
	// The feed takes it back before the breach: the row from the original start.
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-04-04"})
	w.wantsMoves(f, "2026-02-01 severity_up 2026-04-04 to 2026-03-03", "2026-02-10 severity_down 2026-03-03 to 2026-04-04")

	w.on("2026-04-04")
	w.fixed(2)
	w.wants(opensslID, stand{State: finding.Fixed, Due: "2026-04-04", Outcome: finding.FixedOnTime})

	w.on("2026-04-12") // eight days later, the old image is back: same episode, same clock
	w.vulnerable(3)
	f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-04-04", Breached: "patch 2026-04-12T09:00:00Z"})
	if !f.Reopened.Equal(w.clock) || f.Regression {
		t.Errorf("got reopened %s, regression %t, want the same episode", f.Reopened, f.Regression)
	}
	w.on("2026-04-20")
	w.fixed(4)
	late := stand{State: finding.Fixed, Due: "2026-04-04", Breached: "patch 2026-04-12T09:00:00Z", Outcome: finding.FixedLate}
	w.wants(opensslID, late)
	w.on("2026-05-04") // 14 days: the outcome is final, without any report
	w.assess()
	late.Final = true
	w.wants(opensslID, late)

	w.on("2026-07-01") // comes back: a new episode; the vendor's date is what it was
	w.vulnerable(5)
	w.wants(opensslID, late)
	f = w.wants(opensslID2, stand{State: finding.Open, Due: "2026-04-04", Breached: "patch 2026-07-01T09:00:00Z"})
	if !f.Regression || f.Previous != opensslID || f.Episode != 2 || !f.Verdict.Arrival || f.Verdict.ClockStart != "2026-01-10" || !f.Detected.Equal(w.clock) {
		t.Errorf("got %+v, want a regression linked to the first, detected now, its clock from the vendor's date", f)
	}
	w.on("2026-07-04")
	w.fixed(6)
	w.on("2026-12-31")
	w.assess()
	w.wants(opensslID2, stand{State: finding.Fixed, Due: "2026-04-04", Breached: "patch 2026-07-01T09:00:00Z", Outcome: finding.FixedLate, Final: true})
	if n := len(w.all()); n != 2 {
		t.Errorf("got %d findings, want the two episodes", n)
	}
}

// An internet host through a KEV listing.
func TestStoryOfAnInternetHostThroughKEV(t *testing.T) {
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-29"}) // 30 days from 27 February
	w.on("2026-03-10")
	w.apply(advisory.Batch{
		Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "kev1",
		Facts: []advisory.Facts{{Vulnerability: "CVE-2026-0001", KEV: &advisory.KEV{Added: "2026-03-09", Due: "2026-03-30"}}},
	})
	w.assess()
	// Listed on the 9th, K + 24 h had passed when we learnt it: a breach now, not
	// then. Patch by K + 3 days.
	mitigated := "mitigate 2026-03-10T09:00:00Z"
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-12", Breached: mitigated})
	w.wantsMoves(f, "2026-03-10 kev_added 2026-03-29 to 2026-03-12")

	w.on("2026-03-11") // CISA takes it back: that relaxes nothing
	w.apply(advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "kev2", Facts: []advisory.Facts{}})
	w.assess()
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-12", Breached: mitigated})

	w.on("2026-03-13") // nobody reports: the deadline passes by itself
	w.assess()
	breached := mitigated + " patch 2026-03-13T00:00:00Z"
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-12", Breached: breached})

	w.on("2026-03-14") // the host says that it was installed on the evening of the 12th
	installed := opensslNew
	installed.InstalledAt = instant(t, "2026-03-12T20:00:00Z").Unix()
	w.report(statement{sequence: 2, packages: []schema.Package{installed}})
	w.assess()
	f = w.wants(opensslID, stand{State: finding.Fixed, Due: "2026-03-12", Breached: breached, Outcome: finding.FixedOnTime})
	want := finding.FixTime{At: instant(t, "2026-03-12T20:00:00Z"), Kind: finding.InstallTime, NotBefore: start, NotAfter: w.clock}
	if d := cmp.Diff(want, f.End.Fix); d != "" || !f.End.OnTimeClaimed {
		t.Errorf("claimed %t, fix (-want +got):\n%s", f.End.OnTimeClaimed, d)
	}
}

func TestStoryOfADowngrade(t *testing.T) {
	for _, c := range []struct {
		name, day, due, breached string
		moves                    []string
	}{
		// Critical, internet: 14 days from 27 February, the breach is at 14 March.
		{"before the breach", "2026-03-06", "2026-03-29", "", []string{"2026-03-06 severity_down 2026-03-13 to 2026-03-29"}},
		{"after the breach", "2026-03-20", "2026-03-13", "patch 2026-03-14T00:00:00Z", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.feed(rated("Critical", "2026-02-27"))
			w.vulnerable(1)
			w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-13"})
			w.on(c.day)
			w.feed(rated("High", "2026-02-27"))
			w.assess()
			f := w.wants(opensslID, stand{State: finding.Open, Due: finding.Date(c.due), Breached: c.breached})
			w.wantsMoves(f, c.moves...)
			if f.Severity != finding.High {
				t.Errorf("got severity %s, want the feed's", f.Severity)
			}
		})
	}
}

func TestStoryOfAPolicyChange(t *testing.T) {
	const high = "internet: 30 days\n      production: next cycle or 30 days"
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	w.on("2026-03-10")
	w.applyPolicy(high, strings.Replace(high, "30 days", "7 days", 1))
	// Stricter: 7 days from when it came into force.
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-17"})
	w.wantsMoves(f, "2026-03-10 policy 2026-03-29 to 2026-03-17")

	w.on("2026-03-12")
	w.applyPolicy(high, strings.Replace(high, "30 days", "60 days", 1))
	f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-17"})
	if len(f.Clock.Held) != 1 || f.Clock.Held[0].Cause != finding.CausePolicy || f.Clock.Held[0].To != "2026-04-28" {
		t.Errorf("got held %+v, want the policy held, which would give 28 April (60 days)", f.Clock.Held)
	}
	w.feed(rated("High", "2026-02-27"), fixedIn("DSA-7", "CVE-2026-0007", "bash", "5.2-2", w.clock))
	w.report(statement{sequence: 2, packages: []schema.Package{opensslOld, deb("bash", "bash", "5.2-1")}})
	w.assess()
	w.wants(finding.ID(assetID, "CVE-2026-0007", "bash"), stand{State: finding.Open, Due: "2026-05-11"}) // new: 60 days
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-17"})

	w.on("2026-03-13")
	w.decide(store.ApprovalGranted, "policy 60")
	// Approved before the breach: 60 days from the original start.
	f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-04-28"})
	w.wantsMoves(f, "2026-03-10 policy 2026-03-29 to 2026-03-17", "2026-03-13 policy 2026-03-17 to 2026-04-28 approver")
	if len(f.Clock.Held) != 0 {
		t.Errorf("got %+v, want nothing held any more", f.Clock.Held)
	}
}

// An approval after the breach takes nothing back.
func TestAnApprovalAfterTheBreachMovesNothing(t *testing.T) {
	const high = "internet: 30 days\n      production: next cycle or 30 days"
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	w.on("2026-03-12")
	w.applyPolicy(high, strings.Replace(high, "30 days", "60 days", 1))
	w.on("2026-04-02")
	w.decide(store.ApprovalGranted, "too late")
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-29", Breached: "patch 2026-03-29T23:00:00Z"})
}

// decide decides on the one pending request, as somebody other than who asked.
func (w *world) decide(state store.ApprovalState, why string) {
	w.t.Helper()
	list, err := w.st.Approvals(w.t.Context())
	if err != nil || len(list) == 0 || list[0].State != store.ApprovalPending || list[0].RequestedBy != "operator" {
		w.t.Fatalf("got approvals %+v, %v, want one pending, asked for by operator", list, err)
	}
	a := list[0]
	a.State, a.DecidedBy, a.DecidedAt, a.Reason = state, "operator", w.clock, why
	if _, err := w.st.DecideApproval(w.t.Context(), a, w.leaf("approval")); !errors.Is(err, store.ErrOwnRequest) {
		w.t.Fatalf("who asked decides: got %v", err)
	}
	a.DecidedBy = "approver"
	if _, err := w.st.DecideApproval(w.t.Context(), a, w.leaf("approval")); err != nil {
		w.t.Fatal(err)
	}
	w.assess()
}

func TestStoryOfARegression(t *testing.T) {
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	w.on("2026-03-05")
	w.fixed(2)
	w.on("2026-03-18") // the last day but one of the window
	w.vulnerable(3)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-29"})
	w.on("2026-03-19")
	w.fixed(4)
	w.on("2026-04-02") // 14 days after its end it is another episode
	w.vulnerable(5)
	w.wants(opensslID, stand{State: finding.Fixed, Due: "2026-03-29", Outcome: finding.FixedOnTime, Final: true})
	f := w.wants(opensslID2, stand{State: finding.Open, Due: "2026-03-29", Breached: "patch 2026-04-02T09:00:00Z"})
	if !f.Regression || f.Previous != opensslID || !f.Verdict.Arrival {
		t.Errorf("got regression %t of %q, arrival %t, want a regression overdue on arrival", f.Regression, f.Previous, f.Verdict.Arrival)
	}
}

func TestStoryOfAClassification(t *testing.T) {
	w := newWorldOf(t, store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production})
	w.feed(rated("Critical", "2026-02-27"))
	w.vulnerable(1)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-29"}) // internal production: 30 days
	set := func(e sla.Exposure) {
		t.Helper()
		at := store.Attributes{Class: sla.Compute, Exposure: e, Environment: sla.Production}
		if _, err := w.st.SetAttributes(t.Context(), assetID, "web-1", at, w.leaf("attributes")); err != nil {
			t.Fatal(err)
		}
		w.assess()
	}
	w.on("2026-03-04")
	set(sla.Internet)
	f := w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-18"}) // 14 days from the change
	w.wantsMoves(f, "2026-03-04 classification 2026-03-29 to 2026-03-18")
	w.on("2026-03-05")
	set(sla.Internal)
	f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-18"})
	if len(f.Clock.Held) != 1 || f.Clock.Held[0].What != "exposure internet to internal" || f.Clock.Inputs.Exposure != string(sla.Internet) {
		t.Errorf("got %+v, want the way back held for approval", f.Clock)
	}
	w.on("2026-03-06")
	set(sla.Internet)
	if f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-18"}); len(f.Clock.Held) != 0 {
		t.Errorf("got %+v, want nothing held any more", f.Clock.Held)
	}
	w.on("2026-03-07") // asked for again, it waits again; what is found meanwhile is under the old word
	set(sla.Internal)
	bash := rated("Critical", "2026-03-07")
	bash.ID, bash.Vulnerabilities, bash.Affected[0].Name = "DSA-7", []string{"CVE-2026-0007"}, "bash"
	w.feed(rated("Critical", "2026-02-27"), bash)
	w.report(statement{sequence: 2, packages: []schema.Package{opensslOld, deb("bash", "bash", "1-1")}})
	w.assess()
	w.wants(finding.ID(assetID, "CVE-2026-0007", "bash"), stand{State: finding.Open, Due: "2026-03-21"}) // internet: 14 days
	w.on("2026-03-08")
	w.decide(store.ApprovalGranted, "behind the VPN now")
	f = w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-29"}) // internal production: 30 days from 27 February
	w.wantsMoves(f, "2026-03-04 classification 2026-03-29 to 2026-03-18", "2026-03-08 classification 2026-03-18 to 2026-03-29 approver")
	w.wants(finding.ID(assetID, "CVE-2026-0007", "bash"), stand{State: finding.Open, Due: "2026-04-06"})

	set(sla.Internet) // taken back, the grant is spent
	w.on("2026-03-09")
	set(sla.Internal)
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-22"})
	w.decide(store.ApprovalDenied, "it is on the internet")
	w.wants(opensslID, stand{State: finding.Open, Due: "2026-03-22"})
}

func TestAGapKeepsWhatWasSeen(t *testing.T) {
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	seen := w.clock
	w.on("2026-03-06")
	w.report(statement{sequence: 2, incomplete: true})
	w.assess()
	if f := w.only(opensslKey); !f.Stale || !f.SeenAt.Equal(seen) {
		t.Errorf("got stale %t, seen %s, want stale since %s", f.Stale, f.SeenAt, seen)
	}
	w.on("2026-03-08")
	w.fixed(3)
	if f := w.only(opensslKey); f.Stale || !f.End.Fix.NotBefore.Equal(seen) || !f.End.Fix.NotAfter.Equal(w.clock) {
		t.Errorf("got stale %t, fix %+v, want it between %s and now", f.Stale, f.End.Fix, seen)
	}
}

// Nothing is written when only time passes, and no deadline with it.
func TestTimeAloneWritesOnlyWhatItChanges(t *testing.T) {
	w := newWorld(t)
	w.feed(rated("High", "2026-02-27"))
	w.vulnerable(1)
	versions := func() int {
		t.Helper()
		h, err := w.st.FindingHistory(t.Context(), opensslID)
		if err != nil {
			t.Fatal(err)
		}
		return len(h)
	}
	for _, c := range []struct {
		day  string
		want int
	}{{"2026-03-05", 1}, {"2026-03-29", 1}, {"2026-03-30", 2}, {"2026-03-31", 2}, {"2026-06-01", 2}} {
		w.on(c.day)
		w.assess()
		if got := versions(); got != c.want {
			t.Errorf("%s: got %d versions, want %d", c.day, got, c.want)
		}
	}
}

// TestArrivalInAnyOrderTellsTheSameStory: reports that the collector received at
// given instants leave the same findings, in whatever order they were folded.
func TestArrivalInAnyOrderTellsTheSameStory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(rt, "reports")
		states := make([]statement, n)
		received := make([]time.Time, n)
		at := start
		for i := range states {
			at = at.AddDate(0, 0, rapid.SampledFrom([]int{1, 5, 13, 14, 40}).Draw(rt, "days later"))
			received[i] = at
			states[i] = statement{sequence: uint64(i + 1), packages: []schema.Package{opensslNew}}
			switch rapid.IntRange(0, 3).Draw(rt, "state") {
			case 0, 1:
				states[i].packages[0] = opensslOld
			case 2:
				states[i].incomplete = true
			}
		}
		end := at.AddDate(0, 0, rapid.IntRange(0, 60).Draw(rt, "asked later"))
		tell := func(order []int) []finding.Finding {
			w := newWorld(t)
			w.feed(opensslAdv)
			for _, i := range order {
				w.clock = received[i]
				w.report(states[i])
			}
			w.clock = end
			w.assess()
			w.assess()
			return w.all()
		}
		inOrder := make([]int, n)
		for i := range inOrder {
			inOrder[i] = i
		}
		want := tell(inOrder)
		order := rapid.Permutation(inOrder).Draw(rt, "order")
		if d := cmp.Diff(want, tell(order)); d != "" {
			rt.Fatalf("order %v leaves other findings (-in order +this):\n%s", order, d)
		}
	})
}

// TestNothingOnRecordIsTakenBack: a report that comes late is folded in, and
// breaches, episodes and final outcomes that are on record stay.
func TestNothingOnRecordIsTakenBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.feed(opensslAdv)
		n := rapid.IntRange(2, 6).Draw(rt, "reports")
		order := make([]int, n)
		for i := range order {
			order[i] = i + 1
		}
		for _, seq := range rapid.Permutation(order).Draw(rt, "order") {
			w.clock = w.clock.AddDate(0, 0, rapid.SampledFrom([]int{1, 9, 20, 40}).Draw(rt, "days later"))
			before := w.all()
			s := statement{sequence: uint64(seq), packages: []schema.Package{opensslNew}}
			if rapid.Bool().Draw(rt, "vulnerable") {
				s.packages[0] = opensslOld
			}
			w.report(s)
			w.assess()
			after := map[string]finding.Finding{}
			running := 0
			for _, f := range w.all() {
				after[f.ID] = f
				if f.State.Running() {
					running++
				}
			}
			if running > 1 {
				rt.Fatalf("%d episodes run at once", running)
			}
			for _, was := range before {
				is := after[was.ID]
				if was.End.Final && !cmp.Equal(was, is) {
					rt.Fatalf("a final finding changed:\n%s", cmp.Diff(was, is))
				}
				if is.Detected.After(was.Detected) || is.Episode != was.Episode {
					rt.Fatalf("episode %d detected %s became episode %d detected %s", was.Episode, was.Detected, is.Episode, is.Detected)
				}
				for _, b := range was.Clock.Breaches {
					if got := is.Clock.Breach(b.Kind); got == nil || *got != b {
						rt.Fatalf("breach %+v became %+v", b, got)
					}
				}
			}
		}
	})
}
