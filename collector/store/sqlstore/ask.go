package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// sortColumn is one column of an order.
type sortColumn struct {
	expr       string
	text       bool
	descending bool
}

func (c sortColumn) direction() string {
	if c.descending {
		return " DESC"
	}
	return ""
}

// urgency is the order of lists: each column ascends from the most urgent.
var urgency = []sortColumn{
	{expr: "f.order_running"},
	{expr: "f.order_due"},
	{expr: "f.order_priority"},
	{expr: "f.order_severity"},
	{expr: "f.order_kev"},
	{expr: "f.id", text: true},
}

// sortable says how each of store.SortKeys ascends.
var sortable = map[string]sortColumn{
	"due":           {expr: "f.order_due"},
	"priority":      {expr: "f.order_priority"},
	"severity":      {expr: "f.order_severity", descending: true},
	"kev":           {expr: "f.order_kev", descending: true},
	"detected":      {expr: "f.detected"},
	"closed":        {expr: "f.closed"},
	"vulnerability": {expr: "f.vulnerability", text: true},
	"component":     {expr: "f.component", text: true},
	"asset":         {expr: "(SELECT n.name FROM asset AS n WHERE n.id = f.asset)", text: true},
	"state":         {expr: "f.state", text: true},
}

// breaches says in which column the breach of each kind of deadline is.
var breaches = map[finding.DeadlineKind]string{finding.Patch: "f.breached", finding.Mitigate: "f.unmitigated"}

func orderOf(q store.FindingQuery) ([]sortColumn, error) {
	if q.Breach != "" {
		return []sortColumn{{expr: breaches[q.Breach]}, {expr: "f.id", text: true}}, nil
	}
	keys := q.Sort
	if len(keys) == 0 {
		return urgency, nil
	}
	var order []sortColumn
	for _, k := range keys {
		c, ok := sortable[k.Key]
		if !ok {
			return nil, fmt.Errorf("findings cannot be sorted by %q: want %s", k.Key, strings.Join(store.SortKeys, ", "))
		}
		c.descending = c.descending != k.Descending
		order = append(order, c)
	}
	return append(order, sortColumn{expr: "f.id", text: true}), nil
}

// after lets through only what follows a finding in an order.
func (s *Store) after(ctx context.Context, sel *bun.SelectQuery, q store.FindingQuery, order []sortColumn) (*bun.SelectQuery, error) {
	last := s.reader.NewSelect().TableExpr("finding AS f").Where("f.id = ?", q.After)
	dest := make([]any, len(order))
	for i, c := range order {
		last = last.ColumnExpr(c.expr)
		if dest[i] = new(int64); c.text {
			dest[i] = new(string)
		}
	}
	if err := last.Scan(ctx, dest...); err != nil {
		return nil, notFound(err, "list findings after %s", q.After)
	}
	args := make([]any, len(order))
	mixed := false
	for i, c := range order {
		mixed = mixed || c.descending
		switch v := dest[i].(type) {
		case *int64:
			args[i] = *v
		case *string:
			args[i] = *v
		}
	}
	if !mixed { // an index can begin at a row
		exprs := make([]string, len(order))
		for i, c := range order {
			exprs[i] = c.expr
		}
		return sel.Where("("+strings.Join(exprs, ", ")+") > (?"+strings.Repeat(", ?", len(order)-1)+")", args...), nil
	}
	return sel.WhereGroup(" AND ", func(g *bun.SelectQuery) *bun.SelectQuery {
		for i, c := range order {
			g = g.WhereGroup(" OR ", func(one *bun.SelectQuery) *bun.SelectQuery {
				for j, same := range order[:i] {
					one = one.Where(same.expr+" = ?", args[j])
				}
				op := " > ?"
				if c.descending {
					op = " < ?"
				}
				return one.Where(c.expr+op, args[i])
			})
		}
		return g
	}), nil
}

// asked selects the versions of findings that a query lets through.
func (s *Store) asked(ctx context.Context, q store.FindingQuery) (*bun.SelectQuery, error) {
	return s.filter(ctx, s.reader.NewSelect().TableExpr("finding AS f").ColumnExpr("f.id, f.leaf"), q)
}

// bodies reads versions of findings, in the order they are named: sorting names
// costs little, sorting bodies does not.
func (s *Store) bodies(ctx context.Context, versions []findingVersionRow) ([]finding.Finding, error) {
	list := make([]finding.Finding, 0, len(versions))
	err := batches(versions, rowsAtOnce, func(some []findingVersionRow) error {
		ids, leaves := make([]string, len(some)), map[int64]struct{}{}
		for i, v := range some {
			ids[i] = v.ID
			leaves[v.Leaf] = struct{}{}
		}
		var rows []findingVersionRow
		err := s.reader.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Where("leaf IN (?)", bun.List(slices.Collect(maps.Keys(leaves)))).Scan(ctx)
		if err != nil {
			return err
		}
		body := make(map[findingVersionRow]string, len(rows))
		for _, r := range rows {
			body[findingVersionRow{ID: r.ID, Leaf: r.Leaf}] = r.Body
		}
		for _, v := range some {
			text, there := body[findingVersionRow{ID: v.ID, Leaf: v.Leaf}]
			if !there {
				return fmt.Errorf("finding %s as recorded under leaf %d: %w", v.ID, v.Leaf, store.ErrNotFound)
			}
			var f finding.Finding
			if err := fromJSON(text, &f); err != nil {
				return fmt.Errorf("finding %s: %w", v.ID, err)
			}
			list = append(list, f)
		}
		return nil
	})
	return list, err
}

func (s *Store) filter(ctx context.Context, sel *bun.SelectQuery, q store.FindingQuery) (*bun.SelectQuery, error) {
	if q.OpenOnly || !q.OverdueAt.IsZero() || q.AwaitingFix {
		sel = sel.Where("f.order_running = 0")
	}
	// None of these runs: they are at the end of the order, not all over it.
	if len(q.State) > 0 && !slices.ContainsFunc(q.State, finding.State.Running) ||
		len(q.Outcome) > 0 && !slices.ContainsFunc(q.Outcome, finding.Outcome.Running) {
		sel = sel.Where("f.order_running = 1")
	}
	// In words of its own, so that the index on what is pending is found.
	if len(q.State) > 0 && !slices.ContainsFunc(q.State, func(st finding.State) bool { return st == finding.Open || !st.Running() }) {
		sel = sel.Where("f.order_running = 0").Where("f.state <> 'open'")
	}
	if !q.OverdueAt.IsZero() {
		sel = sel.Where("f.order_due <= ?", micros(q.OverdueAt))
	}
	if q.AwaitingFix {
		sel = sel.Where("f.order_due = ?", int64(never))
	}
	if len(q.Outcome) > 0 {
		sel = ofOutcomes(sel, q, outcomeColumns{closed: "f.order_running = 1", due: "f.order_due", accepted: "f.accepted = 1"})
	}
	if err := knownFlags(q.Flags); err != nil {
		return nil, err
	}
	for _, w := range q.Flags {
		sel = asOf(sel, flagConditions[w].findings, q.OutcomeAt)
	}
	if q.DueBefore != "" {
		sel = sel.Where("f.due <> '' AND f.due < ?", string(q.DueBefore))
	}
	if q.DueAfter != "" {
		sel = sel.Where("f.due > ?", string(q.DueAfter))
	}
	sel = between(sel, "f.detected", q.DetectedAfter, q.DetectedBefore)
	sel = between(sel, "f.closed", q.ClosedAfter, q.ClosedBefore)
	if q.Breach != "" {
		column, known := breaches[q.Breach]
		if !known {
			return nil, fmt.Errorf("%q is no kind of deadline", q.Breach)
		}
		sel = between(sel.Where(column+" < ?", int64(never)), column, q.BreachedAfter, q.BreachedBefore)
	}
	sel = oneOf(sel, "f.severity", q.Severity)
	sel = oneOf(sel, "f.state", q.State)
	sel = oneOf(sel, "f.cycle", q.Cycle)
	sel = oneOf(sel, "f.vulnerability", q.Vulnerability)
	sel = oneOf(sel, "f.component", q.Component)
	if len(q.Priority) > 0 {
		orders := make([]int, len(q.Priority))
		for i, p := range q.Priority {
			orders[i] = priorityOrder(p)
		}
		sel = oneOf(sel, "f.order_priority", orders)
	}
	if q.KEV != nil {
		// A word of its own, so that the index on listed ones is found.
		if *q.KEV {
			sel = sel.Where("f.kev = 1")
		} else {
			sel = sel.Where("f.kev = 0")
		}
	}
	var err error
	for _, n := range []struct {
		kind  string
		names []string
	}{{"package", q.Package}, {"advisory", q.Advisory}} {
		if sel, err = s.named(ctx, sel, n.kind, n.names); err != nil {
			return nil, err
		}
	}
	return s.ofAssets(ctx, sel, q)
}

// outcomeColumns say how a table tells what outcomes follow from; outcome is a
// column of each.
type outcomeColumns struct{ closed, due, accepted string }

// ofOutcomes lets through findings that are counted as one of some outcomes.
func ofOutcomes(sel *bun.SelectQuery, q store.FindingQuery, c outcomeColumns) *bun.SelectQuery {
	at, running := micros(q.OutcomeAt), "NOT ("+c.closed+") AND "
	return sel.WhereGroup(" AND ", func(g *bun.SelectQuery) *bun.SelectQuery {
		var closed []string
		for _, o := range q.Outcome {
			switch o {
			case finding.AwaitingFix:
				g = g.WhereOr(running+c.due+" = ?", int64(never))
			case finding.Overdue:
				g = g.WhereOr(running+c.due+" <= ?", at)
			case finding.Accepted:
				g = g.WhereOr(running+c.due+" > ? AND "+c.due+" < ? AND "+c.accepted, at, int64(never))
			case finding.Within:
				g = g.WhereOr(running+c.due+" > ? AND "+c.due+" < ? AND NOT "+c.accepted, at, int64(never))
			default:
				closed = append(closed, string(o))
			}
		}
		if len(closed) > 0 {
			g = g.WhereOr(c.closed+" AND f.outcome IN (?)", bun.List(closed))
		}
		return g
	})
}

// flagConditions say each flag in the columns of findings, so that the index on
// those that have it is found, and in those of counts; ? is the instant.
var flagConditions = map[finding.Flag]struct{ findings, counts string }{
	finding.FlagArrival:       {"f.arrival = 1", fmt.Sprintf("(f.flags & %d) <> 0", bitArrival)},
	finding.FlagRegression:    {"f.regression = 1", fmt.Sprintf("(f.flags & %d) <> 0", bitRegression)},
	finding.FlagOnTimeClaimed: {"f.on_time_claimed = 1", fmt.Sprintf("(f.flags & %d) <> 0", bitOnTimeClaimed)},
	finding.FlagTargetMissed: {
		"f.target_at < 9223372036854775807 AND (f.target_missed = 1 OR f.order_running = 0 AND f.target_at <= ?)",
		fmt.Sprintf("((f.flags & %d) <> 0 OR f.due <> 0 AND f.target <= ?)", bitTargetMissed),
	},
}

// asOf adds a condition that may speak of an instant.
func asOf(sel *bun.SelectQuery, condition string, at time.Time) *bun.SelectQuery {
	if strings.Contains(condition, "?") {
		return sel.Where(condition, micros(at))
	}
	return sel.Where(condition)
}

func knownFlags(flags []finding.Flag) error {
	for _, w := range flags {
		if _, ok := flagConditions[w]; !ok {
			return fmt.Errorf("flag %q is not known", w)
		}
	}
	return nil
}

func oneOf[T any](sel *bun.SelectQuery, column string, words []T) *bun.SelectQuery {
	switch len(words) {
	case 0:
		return sel
	case 1:
		return sel.Where(column+" = ?", words[0])
	default:
		return sel.Where(column+" IN (?)", bun.List(words))
	}
}

// between lets through instants after one and before another; one that never was
// passes neither.
func between(sel *bun.SelectQuery, column string, after, before time.Time) *bun.SelectQuery {
	if !after.IsZero() {
		sel = sel.Where(column+" > ?", micros(after))
	}
	if !before.IsZero() {
		sel = sel.Where(column+" < ? AND "+column+" > ?", micros(before), zeroTime)
	}
	return sel
}

// few is how many rows a list of names or assets may have to be gone through one
// by one; with more of them the order of urgency is gone through instead.
const few = 200

// named lets through findings of packages or advisories.
func (s *Store) named(ctx context.Context, sel *bun.SelectQuery, kind string, names []string) (*bun.SelectQuery, error) {
	if len(names) == 0 {
		return sel, nil
	}
	lines := make([]string, len(names))
	for i, n := range names {
		lines[i] = nameLine(kind, n)
	}
	if s.position != nil { // names are looked up for the present alone
		return sel.WhereGroup(" AND ", func(g *bun.SelectQuery) *bun.SelectQuery {
			for _, l := range lines {
				g = g.WhereOr("instr(f.names, ?) > 0", "\n"+l+"\n")
			}
			return g
		}), nil
	}
	var ids []string
	err := s.reader.NewRaw("SELECT finding FROM finding_name WHERE name IN (?) LIMIT ?", bun.List(lines), 10*few).Scan(ctx, &ids)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", kind, err)
	}
	if len(ids) < 10*few {
		return within(sel, "f.id", ids), nil
	}
	return sel.Where("EXISTS (SELECT 1 FROM finding_name AS n WHERE n.finding = f.id AND n.name IN (?))", bun.List(lines)), nil
}

// within lets through what is in a list, which may be empty.
func within(sel *bun.SelectQuery, column string, ids []string) *bun.SelectQuery {
	if len(ids) == 0 {
		return sel.Where("FALSE")
	}
	return sel.Where(column+" IN (?)", bun.List(ids))
}

// ofAssets lets through findings of assets.
func (s *Store) ofAssets(ctx context.Context, sel *bun.SelectQuery, q store.FindingQuery) (*bun.SelectQuery, error) {
	if len(q.Asset) > 0 {
		sel = within(sel, "f.asset", q.Asset)
	}
	conditions, args := assetConditions(q.AssetQuery)
	if len(conditions) == 0 {
		return sel, nil
	}
	where := strings.Join(conditions, " AND ")
	var ids []string
	err := s.reader.NewRaw("SELECT a.id FROM asset AS a WHERE "+where+" LIMIT ?", append(args, few+1)...).Scan(ctx, &ids)
	if err != nil {
		return nil, fmt.Errorf("find assets: %w", err)
	}
	if len(ids) <= few {
		return within(sel, "f.asset", ids), nil
	}
	// Not the bare column: the order of urgency is gone through, not the assets.
	return sel.Where("(f.asset || '') IN (SELECT a.id FROM asset AS a WHERE "+where+")", args...), nil
}

// assetConditions says a query in the columns of table asset, named a.
func assetConditions(q store.AssetQuery) (conditions []string, args []any) {
	add := func(condition string, more ...any) {
		conditions, args = append(conditions, condition), append(args, more...)
	}
	for _, c := range []struct {
		column string
		words  []string
	}{
		{"a.ou", q.OU},
		{"a.account", q.Account},
		{"a.region", q.Region},
		{"a.service", q.Service},
		{"a.owner", q.Owner},
		{"a.class", q.Class},
		{"a.exposure", q.Exposure},
		{"a.environment", q.Environment},
		{"a.timeline", q.Column},
	} {
		if len(c.words) > 0 {
			add(c.column+" IN (?)", bun.List(c.words))
		}
	}
	if q.Unowned {
		add("a.owner = ''")
	}
	for _, c := range []struct {
		column string
		want   *bool
	}{{"a.crown_jewel", q.CrownJewel}, {"a.cold_wallet", q.ColdWallet}, {"a.hot_wallet", q.HotWallet}} {
		if c.want != nil {
			add(c.column+" = ?", *c.want)
		}
	}
	return conditions, args
}
