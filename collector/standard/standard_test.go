package standard_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

// monday is 10:00 in Dublin on 2 March 2026.
var monday = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// office is where policies are applied, with a clock.
type office struct {
	t     *testing.T
	st    *sqlstore.Store
	k     *standard.Keeper
	clock time.Time
	woken int
}

func newOffice(t *testing.T) *office {
	t.Helper()
	st := sqltest.Open(t)
	o := &office{t: t, st: st, clock: monday}
	o.k = &standard.Keeper{Store: st, Now: func() time.Time { return o.clock }, Wake: func() { o.woken++ }}
	return o
}

// with is the shipped policy with another number of days for critical, internet.
func with(days string) []byte {
	_, src := policy.Default()
	return []byte(strings.Replace(string(src), "internet: 14 days", "internet: "+days, 1))
}

func (o *office) apply(src []byte, effective string, looser bool) standard.Applied {
	o.t.Helper()
	done, err := o.k.Apply(o.t.Context(), standard.Request{Source: src, Effective: finding.Date(effective), AcceptLooser: looser}, "boss")
	if err != nil {
		o.t.Fatal(err)
	}
	return done
}

func (o *office) inForce(at time.Time) string {
	o.t.Helper()
	rec, err := o.st.PolicyInForce(o.t.Context(), at)
	if err != nil {
		o.t.Fatal(err)
	}
	return rec.Digest
}

// TestAYearOfPolicies is what a company does with its standard over a year.
func TestAYearOfPolicies(t *testing.T) {
	o := newOffice(t)
	shipped, weekly, relaxed := policy.Digest(with("14 days")), policy.Digest(with("7 days")), policy.Digest(with("21 days"))

	// In March the standard comes into force.
	if first := o.apply(with("14 days"), "", false); first.Against != "" || len(first.Changes) != 0 || !first.Record.EffectiveAt.Equal(monday) {
		t.Errorf("the first: %+v", first)
	}

	// Applying it once more changes nothing, and records nothing.
	leaves, _ := o.st.LeafCount(t.Context())
	if again := o.apply(with("14 days"), "", false); !again.Unchanged {
		t.Errorf("again: %+v", again)
	}
	if n, _ := o.st.LeafCount(t.Context()); n != leaves || o.woken != 1 {
		t.Errorf("got %d leaves and woken %d times, want %d and once", n, o.woken, leaves)
	}

	// The board decides on a week, from the first of April in Dublin, which is on
	// summer time by then.
	april := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	stricter := o.apply(with("7 days"), "2026-04-01", false)
	if !stricter.Record.EffectiveAt.Equal(april) || stricter.Against != shipped {
		t.Errorf("got %+v, want it against %s from %s", stricter.Record, shipped, april)
	}
	want := []policy.Change{{Path: "timelines.compute.critical.internet", From: "14 days", To: "7 days", Effect: policy.Stricter}}
	if diff := cmp.Diff(want, stricter.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	for at, digest := range map[time.Time]string{monday: shipped, april.Add(-time.Microsecond): shipped, april: weekly} {
		if got := o.inForce(at); got != digest {
			t.Errorf("in force at %s: got %s, want %s", at, got, digest)
		}
	}

	// In May somebody wants three weeks. It is looser than what is in force, is not
	// applied, and every cell is named.
	o.clock = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	_, err := o.k.Apply(t.Context(), standard.Request{Source: with("21 days")}, "boss")
	looser, ok := errors.AsType[*standard.Looser](err)
	if !ok || looser.Against != weekly || len(looser.Changes) != 1 || looser.Changes[0].From != "7 days" {
		t.Fatalf("got %v, want the cell that is looser", err)
	}
	// Owned, it is applied, and the record says so for good.
	o.apply(with("21 days"), "", true)
	history, err := o.k.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := history[len(history)-1]
	if diff := cmp.Diff([]store.LooserCell{{Path: "timelines.compute.critical.internet", From: "7 days", To: "21 days"}}, last.Looser); diff != "" || last.By != "boss" {
		t.Errorf("by %s, looser (-want +got):\n%s", last.By, diff)
	}

	// A date in the past is refused; today means now.
	o.clock = time.Date(2026, 6, 1, 22, 30, 0, 0, time.UTC) // 23:30 in Dublin
	if _, err := o.k.Apply(t.Context(), standard.Request{Source: with("6 days"), Effective: "2026-05-31"}, "boss"); !errors.Is(err, standard.ErrPast) {
		t.Errorf("yesterday: got %v", err)
	}
	if today := o.apply(with("6 days"), "2026-06-01", false); !today.Record.EffectiveAt.Equal(o.clock) {
		t.Errorf("today: got %s, want %s", today.Record.EffectiveAt, o.clock)
	}
	// A planned policy that another takes the place of never comes into force.
	o.apply(with("5 days"), "2026-12-01", false)
	o.apply(with("4 days"), "2026-12-01", false)
	history, _ = o.k.History(t.Context())
	var states []string
	for _, e := range history {
		state := "past"
		switch {
		case e.Never():
			state = "replaced"
		case e.In(o.clock):
			state = "in force"
		case o.clock.Before(e.EffectiveAt):
			state = "planned"
		}
		states = append(states, e.Digest[:4]+" "+state)
	}
	short := func(src []byte) string { return policy.Digest(src)[:4] }
	wantStates := []string{
		shipped[:4] + " past", weekly[:4] + " past", relaxed[:4] + " past", short(with("6 days")) + " in force",
		short(with("5 days")) + " replaced", short(with("4 days")) + " planned",
	}
	if diff := cmp.Diff(wantStates, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestPoliciesThatAreNotApplied(t *testing.T) {
	o := newOffice(t)
	_, err := o.k.Apply(t.Context(), standard.Request{Source: []byte("version: 1\nzone: Mars\n")}, "boss")
	bad, ok := errors.AsType[*standard.Invalid](err)
	if !ok || len(bad.Problems) < 5 || !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("got %v, want every problem", err)
	}
	for _, date := range []finding.Date{"soon", "2026-02-30", "2400-01-01", "2026-3-9"} {
		if _, err := o.k.Apply(t.Context(), standard.Request{Source: with("14 days"), Effective: date}, "boss"); !errors.Is(err, standard.ErrDate) {
			t.Errorf("%s: got %v", date, err)
		}
	}
	if history, err := o.k.History(t.Context()); err != nil || len(history) != 0 || o.woken != 0 {
		t.Errorf("got %d policies, %v", len(history), err)
	}
}

func TestAClockThatWasSetBack(t *testing.T) {
	o := newOffice(t)
	o.apply(with("14 days"), "", false)
	o.clock = monday.Add(-24 * time.Hour)
	o.apply(with("7 days"), "", false)
	for _, at := range []time.Time{monday, monday.Add(time.Hour)} {
		if got := o.inForce(at); got != policy.Digest(with("7 days")) {
			t.Errorf("at %s: got %s, want the one applied last", at, got)
		}
	}
}

func TestFind(t *testing.T) {
	o := newOffice(t)
	ours := o.apply(with("7 days"), "", false).Record
	for _, ref := range []string{standard.Current, ours.Digest, ours.Digest[:8]} {
		if got, err := o.k.Find(t.Context(), ref); err != nil || got.Digest != ours.Digest || string(got.Source) != string(with("7 days")) {
			t.Errorf("%s: got %s, %v", ref, got.Digest, err)
		}
	}
	if got, err := o.k.Find(t.Context(), standard.Shipped); err != nil || got.Leaf != -1 || got.Digest != policy.Digest(with("14 days")) {
		t.Errorf("the shipped one: got %+v, %v", got.Digest, err)
	}
	for _, ref := range []string{"", ours.Digest[:7], "ABCDEF12", "../../etc", ours.Digest + "0"} {
		if _, err := o.k.Find(t.Context(), ref); !errors.Is(err, standard.ErrReference) {
			t.Errorf("%q: got %v", ref, err)
		}
	}
	if _, err := o.k.Find(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown digest: got %v", err)
	}
}

// TestThePastNeverChanges: whatever is applied later, what was in force at an
// instant is what was in force then; and the store says the same as the function.
func TestThePastNeverChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var history []store.PolicyRecord
		now := monday
		seen := map[time.Time]int64{}
		for i := range rapid.IntRange(1, 12).Draw(t, "policies") {
			r := store.PolicyRecord{Leaf: int64(i), AppliedAt: now}
			// Often the same day as another's.
			r.EffectiveAt = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "days ahead")) * 24 * time.Hour)
			history = append(history, r)
			if got, ok := standard.InForce(history, now); ok {
				seen[now] = got.Leaf
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "days between")) * 24 * time.Hour)
			if now.Equal(r.AppliedAt) {
				delete(seen, now) // the instant is not over yet
			}
		}
		for at, leaf := range seen {
			if got, _ := standard.InForce(history, at); got.Leaf != leaf {
				t.Fatalf("at %s leaf %d was in force, now it is %d", at, leaf, got.Leaf)
			}
		}
		var last *standard.Entry
		for _, e := range standard.Timeline(history) {
			if e.Never() {
				continue
			}
			if got, ok := standard.InForce(history, e.EffectiveAt); !ok || got.Leaf != e.Leaf || !e.In(e.EffectiveAt) {
				t.Fatalf("entry %d is not in force at its own start: %d", e.Leaf, got.Leaf)
			}
			if last != nil && !last.Until.Equal(e.EffectiveAt) && !last.Until.Before(e.EffectiveAt) {
				t.Fatalf("entry %d lasts into %d", last.Leaf, e.Leaf)
			}
			last = &e
		}
	})
}
