package sqlstore

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

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
// priority, severity rank, KEV, id; or as q.Sort says. [store.ErrNotFound] when
// q.After names no finding.
func (s *Store) ListFindings(ctx context.Context, q store.FindingQuery) ([]finding.Finding, error) {
	order, err := orderOf(q)
	if err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	sel, err := s.asked(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	if q.After != "" {
		if sel, err = s.after(ctx, sel, q, order); err != nil {
			return nil, err
		}
	}
	for _, k := range order {
		sel = sel.OrderExpr(k.expr + k.direction())
	}
	if q.Limit > 0 {
		sel = sel.Limit(int64(q.Limit))
	}
	var versions []findingVersionRow
	if err := sel.Scan(ctx, &versions); err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	list, err := s.bodies(ctx, versions)
	if err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	return list, nil
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
