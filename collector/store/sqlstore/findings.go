package sqlstore

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// urgency is the order of lists: each column ascends from the most urgent.
const urgency = "f.order_running, f.order_due, f.order_priority, f.order_severity, f.order_kev, f.id"

func (s *Store) findings() *bun.SelectQuery {
	return s.reader.NewSelect().TableExpr("finding AS f").
		Join("JOIN finding_version AS v ON v.id = f.id AND v.leaf = f.leaf").ColumnExpr("v.body")
}

func (s *Store) selectFindings(ctx context.Context, what string, q *bun.SelectQuery) ([]finding.Finding, error) {
	var bodies []string
	if err := q.Scan(ctx, &bodies); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	list := make([]finding.Finding, len(bodies))
	for i, body := range bodies {
		if err := fromJSON(body, &list[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return list, nil
}

// ListFindings orders by urgency: running first, then due instant (none last),
// priority, severity rank, KEV, id. [store.ErrNotFound] when q.After names no
// finding.
func (s *Store) ListFindings(ctx context.Context, q store.FindingQuery) ([]finding.Finding, error) {
	sel := s.findings().OrderExpr(urgency)
	if q.After != "" {
		var last findingRow
		if err := s.reader.NewSelect().Model(&last).Where("id = ?", q.After).Scan(ctx); err != nil {
			return nil, notFound(err, "list findings after %s", q.After)
		}
		sel = sel.Where("("+urgency+") > (?, ?, ?, ?, ?, ?)",
			last.OrderRunning, last.OrderDue, last.OrderPriority, last.OrderSeverity, last.OrderKEV, last.ID)
	}
	if q.Limit > 0 {
		sel = sel.Limit(int64(q.Limit))
	}
	return s.selectFindings(ctx, "list findings", filter(sel, q))
}

func filter(sel *bun.SelectQuery, q store.FindingQuery) *bun.SelectQuery {
	if q.OpenOnly || !q.OverdueAt.IsZero() {
		sel = sel.Where("f.order_running = 0")
	}
	if !q.OverdueAt.IsZero() {
		sel = sel.Where("f.order_due <= ?", micros(q.OverdueAt))
	}
	if q.Severity != "" {
		sel = sel.Where("f.severity = ?", string(q.Severity))
	}
	if q.KEV != nil {
		sel = sel.Where("f.kev = ?", *q.KEV)
	}
	if q.Asset != "" {
		sel = sel.Where("f.asset = ?", q.Asset)
	}
	if q.Vulnerability != "" {
		sel = sel.Where("f.vulnerability = ?", q.Vulnerability)
	}
	if q.State != "" {
		sel = sel.Where("f.state = ?", string(q.State))
	}
	return sel
}

// Finding returns one finding.
func (s *Store) Finding(ctx context.Context, id string) (finding.Finding, error) {
	list, err := s.selectFindings(ctx, "read finding", s.findings().Where("f.id = ?", id))
	if err != nil {
		return finding.Finding{}, err
	}
	if len(list) == 0 {
		return finding.Finding{}, fmt.Errorf("finding %s: %w", id, store.ErrNotFound)
	}
	return list[0], nil
}

// UndeterminedOf returns an asset's comparisons that could not be made.
func (s *Store) UndeterminedOf(ctx context.Context, asset string) ([]finding.Undetermined, error) {
	var rows []undeterminedRow
	if err := s.reader.NewSelect().Model(&rows).Where("asset = ?", asset).Order("place").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read undetermined of %s: %w", asset, err)
	}
	list := make([]finding.Undetermined, len(rows))
	for i, r := range rows {
		if err := fromJSON(r.Body, &list[i]); err != nil {
			return nil, fmt.Errorf("read undetermined of %s: %w", asset, err)
		}
	}
	return list, nil
}

// CountUndetermined counts them for all assets.
func (s *Store) CountUndetermined(ctx context.Context) (int, error) {
	var n int
	if err := s.reader.NewRaw("SELECT COUNT(*) FROM undetermined").Scan(ctx, &n); err != nil {
		return 0, fmt.Errorf("count undetermined: %w", err)
	}
	return n, nil
}

// VulnerabilitiesWithFindings lists the vulnerabilities some running finding has.
func (s *Store) VulnerabilitiesWithFindings(ctx context.Context) (map[string]struct{}, error) {
	return runningVulnerabilities(ctx, s.reader)
}

func runningVulnerabilities(ctx context.Context, db bun.IDB) (map[string]struct{}, error) {
	var names []string
	if err := db.NewRaw("SELECT DISTINCT vulnerability FROM finding WHERE order_running = 0").Scan(ctx, &names); err != nil {
		return nil, fmt.Errorf("read vulnerabilities with findings: %w", err)
	}
	return set(names), nil
}
