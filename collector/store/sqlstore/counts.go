package sqlstore

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// never is the breach of a finding without a date.
const never = math.MaxInt64

// groupings says in which column each of store.Groupings is.
var groupings = map[string]string{
	"":            "''",
	"severity":    "f.severity",
	"ou":          "a.ou",
	"account":     "a.account",
	"region":      "a.region",
	"service":     "a.service",
	"owner":       "a.owner",
	"class":       "a.class",
	"exposure":    "a.exposure",
	"environment": "a.environment",
}

// Bits of finding.flags, as the migrations say them.
const (
	bitKEV = 1 << iota
	bitArrival
	bitRegression
	bitOnTimeClaimed
	bitTargetMissed
	bitAccepted
	bitFinal
	bitDated
)

type findingCountRow struct {
	Value         string          `bun:"value"`
	State         string          `bun:"state"`
	Outcome       finding.Outcome `bun:"outcome"`
	Total         int             `bun:"total"`
	KEV           int             `bun:"kev"`
	Dated         int             `bun:"dated"`
	Final         int             `bun:"final"`
	Arrival       int             `bun:"arrival"`
	Regression    int             `bun:"regression"`
	OnTimeClaimed int             `bun:"on_time_claimed"`
	TargetMissed  int             `bun:"target_missed"`
}

// CountFindings counts the findings a query lets through by one of
// store.Groupings, or all together, by state and by outcome, as of an instant.
// What orders and pages a query is not looked at.
func (s *Store) CountFindings(ctx context.Context, q store.FindingQuery, by string, at time.Time) ([]store.FindingCount, error) {
	rows, err := s.counted(ctx, q, by)
	if err != nil {
		return nil, fmt.Errorf("count findings: %w", err)
	}
	var list []findingCountRow
	err = s.reader.NewSelect().TableExpr("(?) AS c", rows).
		ColumnExpr("c.value, c.state").
		ColumnExpr("CASE WHEN c.due = 0 THEN c.outcome WHEN c.due = ? THEN ? WHEN c.due <= ? THEN ? WHEN (c.flags & ?) <> 0 THEN ? ELSE ? END AS outcome",
			int64(never), finding.AwaitingFix, micros(at), finding.Overdue, bitAccepted, finding.Accepted, finding.Within).
		ColumnExpr("SUM(c.n) AS total").
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS kev", bitKEV).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS dated", bitDated).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS final", bitFinal).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS arrival", bitArrival).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS regression", bitRegression).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 THEN c.n ELSE 0 END) AS on_time_claimed", bitOnTimeClaimed).
		ColumnExpr("SUM(CASE WHEN (c.flags & ?) <> 0 OR c.due <> 0 AND c.target <= ? THEN c.n ELSE 0 END) AS target_missed", bitTargetMissed, micros(at)).
		GroupExpr("1, 2, 3").OrderExpr("1, 2, 3").Scan(ctx, &list)
	if err != nil {
		return nil, fmt.Errorf("count findings: %w", err)
	}
	counts := make([]store.FindingCount, len(list))
	for i, r := range list {
		counts[i] = store.FindingCount(r)
	}
	return counts, nil
}

// CountDue counts, of the findings a query lets through, the running ones whose
// breach lies in each span: at or after one end, before the next.
func (s *Store) CountDue(ctx context.Context, q store.FindingQuery, ends []time.Time) ([]int, error) {
	if len(ends) < 2 {
		return nil, nil
	}
	rows, err := s.counted(ctx, q, "")
	if err != nil {
		return nil, fmt.Errorf("count what falls due: %w", err)
	}
	sel := s.reader.NewSelect().TableExpr("(?) AS c", rows)
	counts := make([]int, len(ends)-1)
	dest := make([]any, len(counts))
	for i := range counts {
		sel = sel.ColumnExpr("COALESCE(SUM(CASE WHEN c.due <> 0 AND c.due >= ? AND c.due < ? THEN c.n ELSE 0 END), 0)", micros(ends[i]), micros(ends[i+1]))
		dest[i] = &counts[i]
	}
	if err := sel.Scan(ctx, dest...); err != nil {
		return nil, fmt.Errorf("count what falls due: %w", err)
	}
	return counts, nil
}

// counted selects value, state, outcome (of closed ones), flags, due and target
// (0 of closed ones) and how many findings are so: from the counts that are kept,
// when they know all that is asked, else from the findings.
func (s *Store) counted(ctx context.Context, q store.FindingQuery, by string) (*bun.SelectQuery, error) {
	value, ok := groupings[by]
	if !ok {
		return nil, fmt.Errorf("findings cannot be grouped by %q", by)
	}
	if err := knownFlags(q.Flags); err != nil {
		return nil, err
	}
	if dimension, values, ok := kept(q, by); ok && s.position == nil {
		return s.fromKept(q, by, dimension, values), nil
	}
	sel := s.reader.NewSelect().TableExpr("finding AS f").ColumnExpr(value + " AS value, f.state, f.outcome, f.flags, 1 AS n").
		ColumnExpr("CASE f.order_running WHEN 0 THEN f.order_due ELSE 0 END AS due").
		ColumnExpr("CASE f.order_running WHEN 0 THEN f.target_at ELSE 0 END AS target")
	if by != "" && by != "severity" {
		sel = sel.Join("JOIN asset AS a ON a.id = f.asset")
	}
	return s.filter(ctx, sel, q)
}

// kept says by which dimension, and which values of it, a query can be answered
// from the counts that are kept.
func kept(q store.FindingQuery, by string) (dimension string, values []string, ok bool) {
	q.Severity, q.State, q.KEV, q.OpenOnly, q.AwaitingFix, q.OverdueAt = nil, nil, nil, false, false, time.Time{}
	q.Outcome, q.Flags, q.OutcomeAt = nil, nil, time.Time{}
	q.Sort, q.Limit, q.After = nil, 0, ""
	dimension = "all"
	if by != "" && by != "severity" {
		dimension = by
	}
	for _, d := range []struct {
		name  string
		words *[]string
	}{
		{"ou", &q.OU},
		{"account", &q.Account},
		{"region", &q.Region},
		{"service", &q.Service},
		{"owner", &q.Owner},
		{"class", &q.Class},
		{"exposure", &q.Exposure},
		{"environment", &q.Environment},
	} {
		if len(*d.words) > 0 && (dimension == "all" || dimension == d.name) {
			dimension, values, *d.words = d.name, *d.words, nil
		}
	}
	return dimension, values, reflect.DeepEqual(q, store.FindingQuery{})
}

func (s *Store) fromKept(q store.FindingQuery, by, dimension string, values []string) *bun.SelectQuery {
	value := "f.value"
	switch by {
	case "":
		value = "''"
	case "severity":
		value = "f.severity"
	}
	sel := s.reader.NewSelect().TableExpr("finding_count AS f").
		ColumnExpr(value+" AS value, f.state, f.outcome, f.flags, f.due, f.target, f.findings AS n").
		Where("f.dimension = ?", dimension)
	sel = oneOf(sel, "f.value", values)
	sel = oneOf(sel, "f.severity", q.Severity)
	sel = oneOf(sel, "f.state", q.State)
	if q.KEV != nil {
		sel = sel.Where("((f.flags & ?) <> 0) = ?", bitKEV, *q.KEV)
	}
	if len(q.Outcome) > 0 {
		sel = ofOutcomes(sel, q, outcomeColumns{closed: "f.due = 0", due: "f.due", accepted: fmt.Sprintf("(f.flags & %d) <> 0", bitAccepted)})
	}
	for _, w := range q.Flags {
		sel = asOf(sel, flagConditions[w].counts, q.OutcomeAt)
	}
	if q.OpenOnly || q.AwaitingFix || !q.OverdueAt.IsZero() {
		sel = sel.Where("f.due <> 0")
	}
	if q.AwaitingFix {
		sel = sel.Where("f.due = ?", int64(never))
	}
	if !q.OverdueAt.IsZero() {
		sel = sel.Where("f.due <= ?", micros(q.OverdueAt))
	}
	return sel
}

// AssetPicture counts assets by how well they are known; one that reported before
// an instant and not since is silent.
func (s *Store) AssetPicture(ctx context.Context, silentBefore time.Time) (store.AssetPicture, error) {
	var p store.AssetPicture
	const used = "standing IN ('', 'back')"
	err := s.reader.NewRaw(`SELECT (SELECT COUNT(*) FROM asset),
		(SELECT COUNT(*) FROM asset WHERE last_report IS NULL AND `+used+`),
		(SELECT COUNT(*) FROM asset WHERE last_report < ? AND `+used+`),
		(SELECT COUNT(*) FROM asset WHERE covered = 0 AND last_report IS NOT NULL AND `+used+`),
		(SELECT COUNT(*) FROM asset WHERE gapped <> 0 AND last_report IS NOT NULL AND `+used+`),
		(SELECT COUNT(*) FROM asset WHERE NOT (`+used+`)),
		(SELECT COUNT(*) FROM asset WHERE standing = 'back')`, silentBefore.Unix()).
		Scan(ctx, &p.Total, &p.NeverReported, &p.Silent, &p.Uncovered, &p.WithGaps, &p.Gone, &p.Back)
	if err != nil {
		return p, fmt.Errorf("count assets: %w", err)
	}
	if s.position != nil {
		p.Waiting = -1
		return p, nil
	}
	if err := s.reader.NewRaw("SELECT COUNT(*) FROM dirty").Scan(ctx, &p.Waiting); err != nil {
		return p, fmt.Errorf("count marks: %w", err)
	}
	return p, nil
}

type assetCountRow struct {
	Asset        string `bun:"asset"`
	Critical     int    `bun:"critical"`
	High         int    `bun:"high"`
	Medium       int    `bun:"medium"`
	Low          int    `bun:"low"`
	Total        int    `bun:"total"`
	Overdue      int    `bun:"overdue"`
	KEV          int    `bun:"kev"`
	Undetermined int    `bun:"undetermined"`
}

// CountByAsset counts running findings, and comparisons that could not be made,
// of every asset that has any, as of an instant.
func (s *Store) CountByAsset(ctx context.Context, at time.Time) (map[string]store.AssetCount, error) {
	var rows []assetCountRow
	err := s.reader.NewRaw(`SELECT asset, SUM(CASE WHEN order_severity = 0 THEN 1 ELSE 0 END) AS critical,
		SUM(CASE WHEN order_severity = 1 THEN 1 ELSE 0 END) AS high, SUM(CASE WHEN order_severity = 2 THEN 1 ELSE 0 END) AS medium,
		SUM(CASE WHEN order_severity = 3 THEN 1 ELSE 0 END) AS low, COUNT(*) AS total,
		SUM(CASE WHEN order_due <= ? THEN 1 ELSE 0 END) AS overdue, SUM(CASE WHEN order_kev = 0 THEN 1 ELSE 0 END) AS kev, 0 AS undetermined
		FROM finding WHERE order_running = 0 GROUP BY asset
		UNION ALL SELECT asset, 0, 0, 0, 0, 0, 0, 0, COUNT(*) FROM undetermined GROUP BY asset`, micros(at)).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count by asset: %w", err)
	}
	counts := make(map[string]store.AssetCount, len(rows))
	for _, r := range rows {
		c := counts[r.Asset]
		c.Critical, c.High, c.Medium, c.Low = c.Critical+r.Critical, c.High+r.High, c.Medium+r.Medium, c.Low+r.Low
		c.Total, c.Overdue, c.KEV, c.Undetermined = c.Total+r.Total, c.Overdue+r.Overdue, c.KEV+r.KEV, c.Undetermined+r.Undetermined
		counts[r.Asset] = c
	}
	return counts, nil
}
