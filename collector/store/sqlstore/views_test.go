package sqlstore_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// promised are the views other programs read, with their columns.
var promised = map[string]string{
	"v_assets": "id name account ou region service owner class exposure environment timeline core crown_jewel cold_wallet hot_wallet " +
		"release last_report_at covered gaps undetermined running overdue standing gone_at",
	"v_findings": "id asset asset_name account ou region service owner class exposure environment timeline crown_jewel cold_wallet " +
		"vulnerability component severity priority cycle kev arrival state running overdue due target detected_at closed_at leaf " +
		"outcome final regression on_time_claimed target_missed",
	"v_summary_daily": "day severity findings running overdue awaiting_fix kev " +
		"within accepted fixed_on_time fixed_late not_affected not_running retired_in_time retired_overdue",
}

func TestViewsAreWhatIsPromised(t *testing.T) {
	_, db := openAt(t)
	doc, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for view, want := range promised {
		got := columnsOf(t, db, view)
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-promised +there):\n%s", view, diff)
		}
		for _, name := range append(got, view) {
			if !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("README.md does not speak of `%s` of %s", name, view)
			}
		}
		if _, err := db.ExecContext(t.Context(), "DELETE FROM "+view); err == nil {
			t.Errorf("%s can be written", view)
		}
	}
}

func columnsOf(t *testing.T, db *sql.DB, view string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+view)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil || rows.Err() != nil {
		t.Fatal(err, rows.Err())
	}
	return names
}

// text returns one row of a query, its columns separated by bars.
func text(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s.String
}

func TestViewsSayWhatIsThere(t *testing.T) {
	s, db := openAt(t)
	trustHost(t, s, "A1")
	attributes := store.Attributes{Owner: "o'brien", Exposure: sla.Internal, Environment: sla.NonProduction, Class: sla.Compute, CrownJewel: true}
	if _, err := s.SetAttributes(t.Context(), "A1", "web", attributes, aLeaf); err != nil {
		t.Fatal(err)
	}
	late, waits, closed := aFinding("A1", "CVE-1", 0), aFinding("A1", "CVE-2", 1), aFinding("A1", "CVE-3", 4)
	late.Verdict.Target, late.Verdict.TargetAt, late.KEV = "2026-03-20", at.AddDate(0, 0, 19), true
	waits.Verdict.Due, waits.Verdict.DueAt = "", time.Time{}
	closed.State, closed.Closed, closed.Regression = finding.Fixed, at.Add(time.Hour), true
	closed.End = finding.End{Outcome: finding.FixedLate, FinalAt: at, Final: true, OnTimeClaimed: true}
	assess(t, s, "A1", late, waits, closed)
	for query, want := range map[string]string{
		"SELECT name || '|' || owner || '|' || timeline || '|' || crown_jewel || '|' || cold_wallet || '|' || running || '|' || overdue || '|' || covered FROM v_assets": "web|o'brien|nonproduction|1|0|2|1|0",
		"SELECT last_report_at FROM v_assets": "",
		"SELECT asset_name || '|' || priority || '|' || kev || '|' || running || '|' || overdue || '|' || due || '|' || target || '|' || detected_at FROM v_findings WHERE vulnerability = 'CVE-1'": "web|P0|1|1|1|2026-04-01|2026-03-20|2026-03-02T09:30:00Z",
		"SELECT state || '|' || running || '|' || overdue || '|' || closed_at FROM v_findings WHERE vulnerability = 'CVE-3'":                                                                        "fixed|0|0|2026-03-02T10:30:00Z",
		"SELECT group_concat(outcome, ' ') FROM (SELECT outcome FROM v_findings ORDER BY vulnerability)":                                                                                            "overdue awaiting_fix fixed_late",
		"SELECT group_concat(target_missed || final || regression || on_time_claimed, ' ') FROM (SELECT * FROM v_findings ORDER BY vulnerability)":                                                  "1000 0000 0111",
		"SELECT due FROM v_findings WHERE vulnerability = 'CVE-2'":                                                                                                                                  "",
		"SELECT closed_at FROM v_findings WHERE vulnerability = 'CVE-2'":                                                                                                                            "",
	} {
		if got := text(t, db, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestDaysThatAreOverStay(t *testing.T) {
	s, db := openAt(t)
	trustHost(t, s, "A1")
	today := time.Now().UTC().Truncate(24 * time.Hour).Add(time.Minute)
	record := func(daysAgo int, f finding.Finding) {
		l := aLeaf
		l.At = today.AddDate(0, 0, -daysAgo)
		if err := s.MarkAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		marks, err := s.DirtyAssets(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ApplyAssessments(t.Context(), []store.Assessment{{Mark: marks[0], At: l.At, Changed: []finding.Finding{f}}}, &l); err != nil {
			t.Fatal(err)
		}
	}
	f := aFinding("A1", "CVE-1", 0)
	f.Severity, f.Verdict.DueAt = finding.Critical, today.AddDate(0, 0, -2).Truncate(24*time.Hour)
	record(4, f)
	days := func() string {
		return text(t, db, "SELECT group_concat(running || '/' || overdue, ' ') FROM (SELECT * FROM v_summary_daily WHERE severity = 'critical' ORDER BY day)")
	}
	before := days()
	// It is due at the beginning of the day before yesterday: late at the end of the day before that.
	if want := "1/0 1/1 1/1 1/1 1/1"; before != want {
		t.Fatalf("got %q, want %q", before, want)
	}
	f.State, f.Closed = finding.Fixed, today
	record(0, f)
	if got, want := days(), "1/0 1/1 1/1 1/1 0/0"; got != want {
		t.Errorf("got %q after a fix today, want %q", got, want)
	}
	const unequal = `SELECT COUNT(*) FROM v_summary_daily WHERE findings <> within + overdue + awaiting_fix + accepted
		+ fixed_on_time + fixed_late + not_affected + not_running + retired_in_time + retired_overdue`
	if n := count(t, db, unequal); n != 0 {
		t.Errorf("on %d days the outcomes do not sum to the findings", n)
	}
	if got := text(t, db, "SELECT fixed_late FROM v_summary_daily ORDER BY day DESC LIMIT 1"); got != "1" {
		t.Errorf("got %s fixed late today, want 1", got)
	}
}
