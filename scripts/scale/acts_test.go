package scale

import (
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/query"
)

// act is what the collector does, and how long it may take.
type act struct {
	name   string
	limit  time.Duration
	rounds int
	// prepare makes the next round ready, and returns it with what it has to do.
	prepare func(w *world) func() func()
}

func acts() []act {
	return []act{
		{"assess one changed host", 20 * time.Millisecond, 100, func(w *world) func() func() {
			n := 0
			return func() func() {
				n++
				i := n * 31 % w.size.assets
				versions := w.second(i)
				versions[0] = fixes/2 + n%9
				w.now = w.now.Add(time.Second)
				w.report(i, versions)
				return func() {
					if got := w.drain(); got != 1 {
						w.t.Fatalf("assessed %d, want the one that changed", got)
					}
				}
			}
		}},
		{"take in one host that says something new", 20 * time.Millisecond, 100, func(w *world) func() func() {
			n := 0
			return func() func() {
				n++
				i := n * 37 % w.size.assets
				w.now = w.now.Add(time.Second)
				w.accept(i, w.second(i), map[string]string{"core": "true", "seen": fmt.Sprint(n)})
				return func() {
					if err := w.estate.Refresh(w.t.Context(), []string{asset(i)}); err != nil {
						w.t.Fatal(err)
					}
				}
			}
		}},
		{"known exploited, on every host", 5 * time.Second, 5, func(w *world) func() func() {
			n := 0
			listed := slices.Clone(exploited)
			return func() func() {
				w.drain()
				n++
				v := vulnerability(0, 15+n)
				listed = append(listed, v)
				return func() {
					w.now = w.now.Add(time.Second)
					w.apply(kev(fmt.Sprint("kev", w.now.Unix()), listed...))
					w.drain()
					w.shows(v)
				}
			}
		}},
		{"coverage", time.Second, 10, func(w *world) func() func() {
			return func() func() {
				return func() {
					if c, err := w.query.Coverage(w.t.Context(), 0); err != nil || len(c.Rows) != w.size.assets {
						w.t.Fatalf("got %d rows (%v), want %d", len(c.Rows), err, w.size.assets)
					}
				}
			}
		}},
		{"simulate a policy", 50 * time.Second, 1, func(w *world) func() func() {
			return func() func() {
				return func() {
					_, src := policy.Default()
					sim, err := assess.Simulate(w.t.Context(), w.store, append([]byte("# again\n"), src...), w.now)
					if err != nil || len(sim.BySeverity) == 0 {
						w.t.Fatalf("got %+v (%v)", sim, err)
					}
				}
			}
		}},
	}
}

// shows holds every answer against a vulnerability that has just been listed as
// known exploited: its findings, the counts, the view of the standard.
func (w *world) shows(vulnerability string) {
	w.t.Helper()
	v, err := w.query.Vulnerability(w.t.Context(), vulnerability)
	if err != nil || len(v.Findings) == 0 {
		w.t.Fatalf("got %d findings of %s (%v)", len(v.Findings), vulnerability, err)
	}
	for _, f := range v.Findings {
		if f.State.Running() && (!f.KEV || f.Cycle == "in_cycle") {
			w.t.Fatalf("%s is %s, listed %t", f.ID, f.Cycle, f.KEV)
		}
	}
	yes := true
	want, err := w.query.Summary(w.t.Context(), query.Filter{Vulnerability: []string{vulnerability}}, "")
	if err != nil || want.Findings.Running == 0 || want.Findings.KEV != want.Findings.Running {
		w.t.Fatalf("got %+v (%v), want every running one listed", want.Findings, err)
	}
	all, err := w.query.Summary(w.t.Context(), query.Filter{}, "owner")
	if err != nil {
		w.t.Fatal(err)
	}
	listed, err := w.query.Summary(w.t.Context(), query.Filter{KEV: &yes}, "")
	if err != nil || all.Findings.KEV != listed.Findings.Running {
		w.t.Fatalf("%d listed of all, %d by themselves (%v)", all.Findings.KEV, listed.Findings.Running, err)
	}
	rows := 0
	for _, r := range all.Rows {
		rows += r.KEV
	}
	if rows != all.Findings.KEV || all.Findings.KEV < want.Findings.Running {
		w.t.Fatalf("%d listed in all, %d by owner, %d of %s", all.Findings.KEV, rows, want.Findings.Running, vulnerability)
	}
	view, err := w.query.Findings(w.t.Context(), query.Filter{View: "kev-internet", Limit: 100})
	if err != nil || len(view.Findings) == 0 {
		w.t.Fatalf("got %d rows in the view (%v)", len(view.Findings), err)
	}
	history, err := w.query.FindingHistory(w.t.Context(), v.Findings[0].ID)
	if err != nil || len(history.Versions) < 2 {
		w.t.Fatalf("got %d versions (%v) of %s, want the one before the listing too", len(history.Versions), err, v.Findings[0].ID)
	}
}
