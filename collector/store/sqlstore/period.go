package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

type periodRow struct {
	Value       string          `bun:"value"`
	Outcome     finding.Outcome `bun:"outcome"`
	OpenAtStart int             `bun:"open_at_start"`
	Recorded    int             `bun:"recorded"`
	Reopened    int             `bun:"reopened"`
	Closed      int             `bun:"closed"`
	OpenAtEnd   int             `bun:"open_at_end"`
	Dated       int             `bun:"dated"`
	Breached    int             `bun:"breached"`
	Unmitigated int             `bun:"unmitigated"`
	Due         int             `bun:"due"`
}

// Period counts what became of the findings that a query lets through at the end
// of a period; only within [Store.Between].
func (s *Store) Period(ctx context.Context, q store.FindingQuery, by string) ([]store.PeriodCount, error) {
	if s.start == nil {
		return nil, errors.New("count a period: no period is in view")
	}
	value, ok := groupings[by]
	if !ok {
		return nil, fmt.Errorf("count a period: findings cannot be grouped by %q", by)
	}
	const ended = "f.order_running = 1 AND (b.id IS NULL OR b.order_running = 0)"
	from, to := micros(s.start.At), micros(s.position.At)
	sel := s.reader.NewSelect().TableExpr("finding AS f").Join("LEFT JOIN finding_before AS b ON b.id = f.id").
		ColumnExpr(value+" AS value").
		ColumnExpr("CASE WHEN "+ended+" THEN f.outcome ELSE '' END AS outcome").
		ColumnExpr("SUM(CASE WHEN b.order_running = 0 THEN 1 ELSE 0 END) AS open_at_start").
		ColumnExpr("SUM(CASE WHEN b.id IS NULL THEN 1 ELSE 0 END) AS recorded").
		ColumnExpr("SUM(CASE WHEN b.order_running = 1 AND f.order_running = 0 THEN 1 ELSE 0 END) AS reopened").
		ColumnExpr("SUM(CASE WHEN "+ended+" THEN 1 ELSE 0 END) AS closed").
		ColumnExpr("SUM(CASE WHEN f.order_running = 0 THEN 1 ELSE 0 END) AS open_at_end").
		ColumnExpr("SUM(CASE WHEN "+ended+" AND f.due <> '' THEN 1 ELSE 0 END) AS dated").
		ColumnExpr("SUM(CASE WHEN f.breached > ? AND f.breached <= ? THEN 1 ELSE 0 END) AS breached", from, to).
		ColumnExpr("SUM(CASE WHEN f.unmitigated > ? AND f.unmitigated <= ? THEN 1 ELSE 0 END) AS unmitigated", from, to).
		ColumnExpr("SUM(CASE WHEN f.order_due > ? AND f.order_due <= ? THEN 1 ELSE 0 END) AS due", from, to).
		GroupExpr("1, 2").OrderExpr("1, 2")
	if by != "" && by != "severity" {
		sel = sel.Join("JOIN asset AS a ON a.id = f.asset")
	}
	sel, err := s.filter(ctx, sel, q)
	if err != nil {
		return nil, fmt.Errorf("count a period: %w", err)
	}
	var rows []periodRow
	if err := sel.Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("count a period: %w", err)
	}
	out := make([]store.PeriodCount, len(rows))
	for i, r := range rows {
		out[i] = store.PeriodCount(r)
	}
	return out, nil
}
