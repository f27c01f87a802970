package sqlstore_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

// drawn draws a finding that differs from others in everything that is asked for.
func drawn(t *rapid.T, asset string, n int) finding.Finding {
	f := aFinding(asset, fmt.Sprintf("CVE-2026-%d", n), n)
	f.Severity = rapid.SampledFrom([]finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low, ""}).Draw(t, "severity")
	f.State = rapid.SampledFrom([]finding.State{finding.Open, finding.PendingReboot, finding.Fixed, finding.NotAffected}).Draw(t, "state")
	f.KEV = rapid.Bool().Draw(t, "kev")
	f.Detected = at.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "detected")))
	if !f.State.Running() {
		f.Closed = at.Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "closed")))
	}
	v := &f.Verdict
	v.Priority = rapid.SampledFrom([]string{"P0", "P1", "P4", "", "later"}).Draw(t, "priority")
	v.Cycle = rapid.SampledFrom([]string{"zero_day", "in_cycle", ""}).Draw(t, "cycle")
	v.Arrival = rapid.Bool().Draw(t, "arrival")
	f.Regression = rapid.Bool().Draw(t, "regression")
	v.Rule = rapid.SampledFrom([]string{"", "7.1/high/internet", "exception/X-1"}).Draw(t, "rule")
	if !f.State.Running() && rapid.Bool().Draw(t, "ended") {
		f.End = finding.End{
			Outcome: rapid.SampledFrom([]finding.Outcome{"", finding.FixedLate, finding.RetiredInTime, finding.RetiredOverdue}).Draw(t, "outcome"),
			FinalAt: at, Final: rapid.Bool().Draw(t, "final"), OnTimeClaimed: rapid.Bool().Draw(t, "claimed"), TargetMissed: rapid.Bool().Draw(t, "missed"),
		}
	}
	v.Due, v.DueAt, v.Target, v.TargetAt = "", time.Time{}, "", time.Time{}
	if rapid.Bool().Draw(t, "dated") {
		v.DueAt = at.AddDate(0, 0, rapid.IntRange(-9, 9).Draw(t, "due")).Truncate(24 * time.Hour)
		v.Due = finding.Date(v.DueAt.AddDate(0, 0, -1).Format(time.DateOnly))
		v.Target, v.TargetAt = v.Due, v.DueAt.Add(-time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "sooner")))
	}
	f.Packages = nil
	for _, p := range rapid.SliceOfN(rapid.SampledFrom([]string{"libb", "liba", "a'b", "ü", "with space"}), 0, 4).Draw(t, "packages") {
		f.Packages = append(f.Packages, finding.Comparison{Package: p, Advisory: "DSA " + p})
	}
	return f
}

func openAt(t testing.TB) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, raw(t, path)
}

func assess(t testing.TB, s store.Store, asset string, fs ...finding.Finding) {
	t.Helper()
	if err := s.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks, err := s.DirtyAssets(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if m.Asset == asset {
			if _, err := s.ApplyAssessments(t.Context(), []store.Assessment{{Mark: m, At: at, Changed: fs}}, &aLeaf); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func count(t testing.TB, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const stateColumns = `id, leaf, asset, vulnerability, component, state, severity, kev, order_running, order_due, order_priority,
	order_severity, order_kev, cycle, arrival, due, target, detected, closed, names,
	outcome, final, regression, on_time_claimed, target_missed, accepted, target_at, flags`

// What is told by SQL from the record must be what the program wrote beside it,
// and the counts must be those of what is there, whatever happened in between.
func TestColumnsAndCountsFollowFromTheRecord(t *testing.T) {
	s, db := openAt(t)
	attributes := rapid.Custom(func(t *rapid.T) store.Attributes {
		word := rapid.SampledFrom([]string{"", "a", "b"})
		return store.Attributes{
			Owner: word.Draw(t, "owner"), OU: word.Draw(t, "ou"), Service: word.Draw(t, "service"), Class: sla.Compute,
			Exposure:    rapid.SampledFrom([]sla.Exposure{"", sla.Internet, sla.Internal, sla.UnknownExposure}).Draw(t, "exposure"),
			Environment: rapid.SampledFrom([]sla.Environment{"", sla.Production, sla.NonProduction, sla.EndUser}).Draw(t, "environment"),
			Core:        rapid.Bool().Draw(t, "core"),
		}
	})
	n := 0
	for range 3 {
		n++
		trustHost(t, s, fmt.Sprint("A", n))
	}
	rapid.Check(t, func(rt *rapid.T) {
		asset := fmt.Sprint("A", rapid.IntRange(1, n).Draw(rt, "asset"))
		if rapid.Bool().Draw(rt, "classify") {
			at := attributes.Draw(rt, "attributes")
			if _, err := s.SetAttributes(t.Context(), asset, asset, at, aLeaf); err != nil {
				rt.Fatal(err)
			}
			var got string
			if err := db.QueryRowContext(t.Context(), "SELECT timeline FROM asset WHERE id = ?", asset).Scan(&got); err != nil {
				rt.Fatal(err)
			}
			if want := sla.ColumnOf(sla.Asset{Exposure: at.Exposure, Environment: at.Environment, Core: at.Core}); got != string(want) {
				rt.Fatalf("%+v: got column %s, want %s", at, got, want)
			}
		} else {
			assess(t, s, asset, drawn(rt, asset, rapid.IntRange(1, 6).Draw(rt, "n")))
		}
		differ := fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT %[1]s FROM finding EXCEPT
			SELECT %[1]s FROM finding_state WHERE leaf = (SELECT MAX(n.leaf) FROM finding_version AS n WHERE n.id = finding_state.id))`, stateColumns)
		if n := count(t, db, differ); n != 0 {
			rt.Fatalf("%d findings are not what their record says", n)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM (SELECT dimension, value, severity, state, outcome, flags, due, target, findings FROM finding_count EXCEPT
			SELECT dimension, value, severity, state, outcome, flags, due, target, COUNT(*)
			FROM finding_counted AS f JOIN asset_grouping AS g ON g.asset = f.asset GROUP BY 1, 2, 3, 4, 5, 6, 7, 8)`); n != 0 {
			rt.Fatalf("%d counts are not those of the findings", n)
		}
		if a, b := count(t, db, "SELECT COALESCE(SUM(findings), 0) FROM finding_count"), 9*count(t, db, "SELECT COUNT(*) FROM finding"); a != b {
			rt.Fatalf("got %d counted in nine groupings, want %d", a, b)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM (SELECT finding, name FROM finding_name EXCEPT SELECT f.id, n.name FROM finding AS f JOIN finding_name AS n ON n.finding = f.id AND instr(f.names, char(10) || n.name || char(10)) > 0)"); n != 0 {
			rt.Fatalf("%d names lead to findings that do not have them", n)
		}
	})
}
