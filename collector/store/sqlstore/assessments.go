package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// DirtyAssets lists marks, oldest first; limit 0 is no limit.
func (s *Store) DirtyAssets(ctx context.Context, limit int) ([]store.Mark, error) {
	marks, err := s.dirtyAssets(ctx, limit)
	if err != nil {
		return nil, fmt.Errorf("read dirty assets: %w", err)
	}
	return marks, nil
}

func (s *Store) dirtyAssets(ctx context.Context, limit int) ([]store.Mark, error) {
	query, args := "SELECT asset, version, scoped FROM dirty ORDER BY version, asset", []any{}
	if limit > 0 {
		query, args = query+" LIMIT ?", append(args, limit)
	}
	var rows []struct {
		Asset   string `bun:"asset"`
		Version int64  `bun:"version"`
		Scoped  bool   `bun:"scoped"`
	}
	if err := s.reader.NewRaw(query, args...).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	marks := make([]store.Mark, len(rows))
	at := map[string]*store.Mark{}
	var scoped []string
	for i, r := range rows {
		marks[i] = store.Mark{Asset: r.Asset, Version: r.Version}
		if r.Scoped {
			at[r.Asset] = &marks[i]
			scoped = append(scoped, r.Asset)
		}
	}
	return marks, batches(scoped, rowsAtOnce, func(some []string) error {
		var pairs []struct{ Asset, Vulnerability string }
		err := s.reader.NewRaw("SELECT asset, vulnerability FROM dirty_vulnerability WHERE asset IN (?) ORDER BY asset, vulnerability", bun.List(some)).Scan(ctx, &pairs)
		for _, p := range pairs {
			at[p.Asset].Vulnerabilities = append(at[p.Asset].Vulnerabilities, p.Vulnerability)
		}
		return err
	})
}

type findingRow struct {
	bun.BaseModel `bun:"table:finding"`

	ID            string `bun:"id,pk"`
	Leaf          int64  `bun:"leaf"`
	Asset         string `bun:"asset"`
	Vulnerability string `bun:"vulnerability"`
	Component     string `bun:"component"`
	State         string `bun:"state"`
	Severity      string `bun:"severity"`
	KEV           bool   `bun:"kev"`
	OrderRunning  int    `bun:"order_running"`
	OrderDue      int64  `bun:"order_due"`
	OrderPriority int    `bun:"order_priority"`
	OrderSeverity int    `bun:"order_severity"`
	OrderKEV      int    `bun:"order_kev"`
	// Alarm is when time alone changes the record, the greatest integer for never.
	Alarm    int64  `bun:"alarm"`
	Cycle    string `bun:"cycle"`
	Arrival  bool   `bun:"arrival"`
	Due      string `bun:"due"`
	Target   string `bun:"target"`
	Detected int64  `bun:"detected"`
	Closed   int64  `bun:"closed"`
	Names    string `bun:"names"`
	// Outcome is of closed ones. TargetAt is the first instant after the target, the
	// greatest integer for none; TargetMissed is of closed ones, too.
	Outcome       string `bun:"outcome"`
	Final         bool   `bun:"final"`
	Regression    bool   `bun:"regression"`
	OnTimeClaimed bool   `bun:"on_time_claimed"`
	TargetMissed  bool   `bun:"target_missed"`
	Accepted      bool   `bun:"accepted"`
	TargetAt      int64  `bun:"target_at"`
	// Breached and Unmitigated are the instants of the breaches, the greatest integer for never.
	Breached    int64 `bun:"breached"`
	Unmitigated int64 `bun:"unmitigated"`
}

// findingColumns are the columns of a findingRow, in its order.
const findingColumns = `f.id, f.leaf, f.asset, f.vulnerability, f.component, f.state, f.severity, f.kev,
	f.order_running, f.order_due, f.order_priority, f.order_severity, f.order_kev, f.alarm,
	f.cycle, f.arrival, f.due, f.target, f.detected, f.closed, f.names,
	f.outcome, f.final, f.regression, f.on_time_claimed, f.target_missed, f.accepted, f.target_at, f.breached, f.unmitigated`

type findingVersionRow struct {
	bun.BaseModel `bun:"table:finding_version"`

	ID   string `bun:"id,pk"`
	Leaf int64  `bun:"leaf,pk"`
	Body string `bun:"body"`
}

type undeterminedRow struct {
	bun.BaseModel `bun:"table:undetermined"`

	Asset         string `bun:"asset,pk"`
	Place         int    `bun:"place,pk"`
	Vulnerability string `bun:"vulnerability"`
	Component     string `bun:"component"`
	Body          string `bun:"body"`
}

// outcome is one assessment ready to be written.
type outcome struct {
	store.Assessment
	gaps         string
	undetermined []undeterminedRow
	// fresh is true when no newer mark came: the mark is cleared.
	fresh bool
	// sameUndetermined spares writing a list that did not change.
	sameUndetermined bool
	changes          bool
}

// ApplyAssessments records a batch of outcomes with one leaf, in one
// transaction. A batch that changes no finding, undetermined comparison, gap,
// coverage, attribute in force or request appends no leaf and returns -1. A mark
// is cleared unless a newer one came meanwhile. Of an asset whose mark names
// vulnerabilities only the findings are recorded. [store.ErrConflict], and nothing recorded, when a mark is gone:
// someone else assessed the asset from it.
func (s *Store) ApplyAssessments(ctx context.Context, as []store.Assessment, leaf *store.Leaf) (n int64, err error) {
	n = -1
	as = slices.Clone(as)
	slices.SortFunc(as, func(a, b store.Assessment) int { return strings.Compare(a.Mark.Asset, b.Mark.Asset) })
	err = s.write(ctx, "apply assessments", func(tx bun.Tx) error {
		outcomes := make([]outcome, len(as))
		changes := false
		for i, a := range as {
			if outcomes[i], err = prepare(ctx, tx, a); err != nil {
				return fmt.Errorf("asset %s: %w", a.Mark.Asset, err)
			}
			changes = changes || outcomes[i].changes
		}
		if changes {
			if leaf == nil {
				return errors.New("outcomes that change something need a leaf")
			}
			if n, err = appendSeen(ctx, tx, outcomes, *leaf); err != nil {
				return err
			}
		}
		return record(ctx, tx, outcomes, n)
	})
	if err != nil {
		return -1, err
	}
	return n, nil
}

// prepare holds an assessment against what is recorded.
func prepare(ctx context.Context, tx bun.Tx, a store.Assessment) (outcome, error) {
	o := outcome{Assessment: a}
	var version int64
	err := tx.NewRaw("SELECT version FROM dirty WHERE asset = ?", a.Mark.Asset).Scan(ctx, &version)
	if errors.Is(err, sql.ErrNoRows) || err == nil && version < a.Mark.Version {
		return o, fmt.Errorf("its mark %d is gone: %w", a.Mark.Version, store.ErrConflict)
	}
	if err != nil {
		return o, err
	}
	o.fresh = version == a.Mark.Version
	if len(a.Mark.Vulnerabilities) > 0 {
		o.changes = len(a.Changed) > 0
		return o, nil
	}
	if o.gaps, err = toJSON(append([]schema.Gap{}, a.Gaps...)); err != nil {
		return o, err
	}
	var row assetRow
	if err := tx.NewSelect().Model(&row).Where("id = ?", a.Mark.Asset).Scan(ctx); err != nil {
		return o, notFound(err, "asset")
	}
	if o.undetermined, err = undeterminedRows(a); err != nil {
		return o, err
	}
	var held []undeterminedRow
	if err := tx.NewSelect().Model(&held).Where("asset = ?", a.Mark.Asset).Order("place").Scan(ctx); err != nil {
		return o, err
	}
	o.sameUndetermined = slices.Equal(held, o.undetermined)
	o.changes = len(a.Changed) > 0 || !o.sameUndetermined || row.Covered != a.Covered || row.Gaps != o.gaps
	if !o.changes {
		o.changes, err = changesClassification(ctx, tx, a, row.InForce)
	}
	return o, err
}

// changesClassification reports whether an assessment changes what of the asset's
// attributes binds, or what is asked for.
func changesClassification(ctx context.Context, tx bun.Tx, a store.Assessment, held string) (bool, error) {
	if a.InForce != nil {
		if text, err := toJSON(a.InForce); err != nil || text != held {
			return true, err
		}
	}
	wanted := make([]string, len(a.Requests))
	for i, r := range a.Requests {
		wanted[i] = r.ID
	}
	var superseded, there int
	err := tx.NewRaw(`SELECT (SELECT COUNT(*) FROM approval WHERE cause = ? AND subject = ? AND id <> ? AND state <> ?),
		(SELECT COUNT(*) FROM approval WHERE id IN (?) AND state <> ?)`,
		string(finding.CauseClassification), a.Mark.Asset, a.Classification, string(store.ApprovalSuperseded),
		bun.List(append(wanted, "")), string(store.ApprovalSuperseded)).Scan(ctx, &superseded, &there)
	return a.Classification != "" && superseded > 0 || there < len(wanted), err
}

func undeterminedRows(a store.Assessment) ([]undeterminedRow, error) {
	rows := make([]undeterminedRow, len(a.Undetermined))
	for i, u := range a.Undetermined {
		if u.Asset != a.Mark.Asset {
			return nil, fmt.Errorf("undetermined comparison %d is of asset %q", i, u.Asset)
		}
		body, err := toJSON(u)
		if err != nil {
			return nil, err
		}
		rows[i] = undeterminedRow{Asset: u.Asset, Place: i, Vulnerability: u.Vulnerability, Component: u.Component, Body: body}
	}
	return rows, nil
}

func record(ctx context.Context, tx bun.Tx, outcomes []outcome, leaf int64) error {
	var versions []findingVersionRow
	var findings []findingRow
	if err := recordOutcomes(ctx, tx, outcomes, leaf); err != nil {
		return err
	}
	for _, o := range outcomes {
		if err := o.recordAsset(ctx, tx); err != nil {
			return fmt.Errorf("asset %s: %w", o.Mark.Asset, err)
		}
		for _, f := range o.Changed {
			if f.Asset != o.Mark.Asset {
				return fmt.Errorf("finding %s is of asset %q, its mark of %q", f.ID, f.Asset, o.Mark.Asset)
			}
			f = exactFinding(f)
			body, err := toJSON(f)
			if err != nil {
				return fmt.Errorf("finding %s: %w", f.ID, err)
			}
			versions = append(versions, findingVersionRow{ID: f.ID, Leaf: leaf, Body: body})
			findings = append(findings, newFindingRow(f, leaf))
		}
	}
	if err := insert(ctx, tx, versions, ""); err != nil {
		return err
	}
	if err := recordNames(ctx, tx, findings); err != nil {
		return err
	}
	return insert(ctx, tx, findings, `CONFLICT (id) DO UPDATE SET leaf = EXCLUDED.leaf, state = EXCLUDED.state, severity = EXCLUDED.severity,
		kev = EXCLUDED.kev, order_running = EXCLUDED.order_running, order_due = EXCLUDED.order_due,
		order_priority = EXCLUDED.order_priority, order_severity = EXCLUDED.order_severity, order_kev = EXCLUDED.order_kev,
		alarm = EXCLUDED.alarm,
		cycle = EXCLUDED.cycle, arrival = EXCLUDED.arrival, due = EXCLUDED.due, target = EXCLUDED.target,
		detected = EXCLUDED.detected, closed = EXCLUDED.closed, names = EXCLUDED.names,
		outcome = EXCLUDED.outcome, final = EXCLUDED.final, regression = EXCLUDED.regression, on_time_claimed = EXCLUDED.on_time_claimed,
		target_missed = EXCLUDED.target_missed, accepted = EXCLUDED.accepted, target_at = EXCLUDED.target_at,
		breached = EXCLUDED.breached, unmitigated = EXCLUDED.unmitigated`)
}

type assessmentRow struct {
	bun.BaseModel `bun:"table:assessment"`

	Asset string `bun:"asset,pk"`
	Leaf  int64  `bun:"leaf,pk"`
	Body  string `bun:"body"`
}

// recordOutcomes keeps what was found of each asset, where there is a leaf for it.
func recordOutcomes(ctx context.Context, tx bun.Tx, outcomes []outcome, leaf int64) error {
	if leaf < 0 {
		return nil
	}
	rows := make([]assessmentRow, len(outcomes))
	for i := range outcomes {
		o, err := outcomes[i].Outcome()
		if err != nil {
			return err
		}
		rows[i] = assessmentRow{Asset: o.Asset, Leaf: leaf}
		if rows[i].Body, err = toJSON(o); err != nil {
			return fmt.Errorf("asset %s: %w", o.Asset, err)
		}
	}
	return insert(ctx, tx, rows, "")
}

type factSeenRow struct {
	bun.BaseModel `bun:"table:fact_seen"`

	Vulnerability string `bun:"vulnerability,pk"`
	Leaf          int64  `bun:"leaf,pk"`
	Body          string `bun:"body"`
}

// appendSeen appends the leaf, and keeps the facts that the assessments read where
// they are others than those that were read last.
func appendSeen(ctx context.Context, tx bun.Tx, outcomes []outcome, leaf store.Leaf) (int64, error) {
	n, err := leafCount(ctx, tx)
	if err != nil {
		return 0, err
	}
	rows, err := factsSeen(ctx, tx, outcomes, n)
	if err != nil {
		return 0, err
	}
	if err := insert(ctx, tx, rows, ""); err != nil {
		return 0, err
	}
	return appendSealed(ctx, tx, leaf, func() (map[string]string, error) { return rowsUnder(ctx, tx, n, "facts_seen") })
}

// factsSeen are the rows to add, by vulnerability.
func factsSeen(ctx context.Context, tx bun.Tx, outcomes []outcome, leaf int64) ([]factSeenRow, error) {
	read := map[string]string{}
	for _, o := range outcomes {
		for v, f := range o.Facts {
			if _, ok := read[v]; ok {
				continue
			}
			var err error
			if read[v], err = toJSON(f); err != nil {
				return nil, fmt.Errorf("facts of %s: %w", v, err)
			}
		}
	}
	names := slices.Sorted(maps.Keys(read))
	err := batches(names, rowsAtOnce, func(some []string) error {
		var last []factSeenRow
		err := tx.NewRaw(`SELECT f.vulnerability, f.body FROM fact_seen AS f WHERE f.vulnerability IN (?)
			AND f.leaf = (SELECT MAX(n.leaf) FROM fact_seen AS n WHERE n.vulnerability = f.vulnerability)`, bun.List(some)).Scan(ctx, &last)
		for _, r := range last {
			if read[r.Vulnerability] == r.Body {
				delete(read, r.Vulnerability)
			}
		}
		return err
	})
	var rows []factSeenRow
	for _, v := range slices.Sorted(maps.Keys(read)) {
		rows = append(rows, factSeenRow{Vulnerability: v, Leaf: leaf, Body: read[v]})
	}
	return rows, err
}

type findingNameRow struct {
	bun.BaseModel `bun:"table:finding_name"`

	Name    string `bun:"name,pk"`
	Finding string `bun:"finding,pk"`
}

// recordNames keeps by which packages and advisories findings are found, before
// the findings themselves are written.
func recordNames(ctx context.Context, tx bun.Tx, findings []findingRow) error {
	ids := make([]string, len(findings))
	for i, f := range findings {
		ids[i] = f.ID
	}
	before := map[string]string{}
	err := batches(ids, rowsAtOnce, func(some []string) error {
		var rows []findingRow
		err := tx.NewSelect().Model(&rows).Column("id", "names").Where("id IN (?)", bun.List(some)).Scan(ctx)
		for _, r := range rows {
			before[r.ID] = r.Names
		}
		return err
	})
	if err != nil {
		return err
	}
	var added []findingNameRow
	for _, f := range findings {
		old, now := lines(before[f.ID]), lines(f.Names)
		for _, n := range old {
			if slices.Contains(now, n) {
				continue
			}
			if _, err := tx.NewRaw("DELETE FROM finding_name WHERE name = ? AND finding = ?", n, f.ID).Exec(ctx); err != nil {
				return err
			}
		}
		for _, n := range now {
			if !slices.Contains(old, n) {
				added = append(added, findingNameRow{Name: n, Finding: f.ID})
			}
		}
	}
	return insert(ctx, tx, added, "")
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// namesOf are the lines by which a finding is found: its packages and advisories.
func namesOf(f finding.Finding) string {
	var all []string
	for _, c := range f.Packages {
		all = append(all, nameLine("package", c.Package), nameLine("advisory", c.Advisory))
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return "\n" + strings.Join(slices.Compact(all), "\n") + "\n"
}

func nameLine(kind, name string) string { return kind + " " + strings.ReplaceAll(name, "\n", " ") }

func (o outcome) recordAsset(ctx context.Context, tx bun.Tx) error {
	if o.fresh {
		if err := clearMark(ctx, tx, o.Mark); err != nil {
			return err
		}
	}
	if len(o.Mark.Vulnerabilities) > 0 {
		return nil
	}
	seq, err := sequence(o.AssessedSequence)
	if err != nil {
		return err
	}
	_, err = tx.NewRaw(`UPDATE asset SET assessed_sequence = ?, assessed_at = ?, covered = ?, gaps = ?,
		refold = CASE WHEN ? THEN FALSE ELSE refold END WHERE id = ?`,
		seq, micros(o.At), o.Covered, o.gaps, o.fresh, o.Mark.Asset).Exec(ctx)
	if err != nil {
		return err
	}
	if err := o.recordClassification(ctx, tx); err != nil {
		return err
	}
	if o.sameUndetermined {
		return nil
	}
	if _, err := tx.NewRaw("DELETE FROM undetermined WHERE asset = ?", o.Mark.Asset).Exec(ctx); err != nil {
		return err
	}
	return insert(ctx, tx, o.undetermined, "")
}

func clearMark(ctx context.Context, tx bun.Tx, m store.Mark) error {
	if _, err := tx.NewRaw("DELETE FROM dirty_vulnerability WHERE asset = ?", m.Asset).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewRaw("DELETE FROM dirty WHERE asset = ? AND version = ?", m.Asset, m.Version).Exec(ctx)
	return err
}

func (o outcome) recordClassification(ctx context.Context, tx bun.Tx) error {
	if o.InForce != nil {
		text, err := toJSON(o.InForce)
		if err != nil {
			return err
		}
		if _, err := tx.NewRaw("UPDATE asset SET in_force = ? WHERE id = ?", text, o.Mark.Asset).Exec(ctx); err != nil {
			return err
		}
	}
	return recordRequests(ctx, tx, o.Assessment)
}

// exactFinding is f as it will come back.
func exactFinding(f finding.Finding) finding.Finding {
	f.Detected, f.Available, f.SeenAt, f.Closed = exact(f.Detected), exact(f.Available), exact(f.SeenAt), exact(f.Closed)
	f.Verdict.DueAt, f.Verdict.MitigateBy, f.Verdict.TargetAt = exact(f.Verdict.DueAt), exact(f.Verdict.MitigateBy), exact(f.Verdict.TargetAt)
	return f
}

func newFindingRow(f finding.Finding, leaf int64) findingRow {
	row := findingRow{
		ID: f.ID, Leaf: leaf, Asset: f.Asset, Vulnerability: f.Vulnerability, Component: f.Component,
		State: string(f.State), Severity: string(f.Severity), KEV: f.KEV,
		OrderRunning: 1, OrderDue: math.MaxInt64, OrderPriority: priorityOrder(f.Verdict.Priority),
		OrderSeverity: finding.Critical.Rank() - f.Severity.Rank(), OrderKEV: 1, Alarm: math.MaxInt64,
		Cycle: f.Verdict.Cycle, Arrival: f.Verdict.Arrival, Due: string(f.Verdict.Due), Target: string(f.Verdict.Target),
		Detected: micros(f.Detected), Closed: micros(f.Closed), Names: namesOf(f),
		Final: f.End.Final, Regression: f.Regression, OnTimeClaimed: f.End.OnTimeClaimed, TargetMissed: f.End.TargetMissed,
		Accepted: f.Accepted(), TargetAt: math.MaxInt64, Breached: math.MaxInt64, Unmitigated: math.MaxInt64,
	}
	if at, ok := f.Alarm(); ok {
		row.Alarm = micros(at)
	}
	if b := f.Clock.Breach(finding.Patch); b != nil {
		row.Breached = micros(b.At)
	}
	if b := f.Clock.Breach(finding.Mitigate); b != nil {
		row.Unmitigated = micros(b.At)
	}
	if f.State.Running() {
		row.OrderRunning = 0
	} else {
		row.Outcome = string(f.Outcome(f.Closed))
	}
	if !f.Verdict.TargetAt.IsZero() {
		row.TargetAt = micros(f.Verdict.TargetAt)
	}
	if !f.Verdict.DueAt.IsZero() {
		row.OrderDue = micros(f.Verdict.DueAt)
	}
	if f.KEV {
		row.OrderKEV = 0
	}
	return row
}

// priorityOrder puts P0 first and a finding without a priority last.
func priorityOrder(p string) int {
	if len(p) == 2 && p[0] == 'P' && p[1] >= '0' && p[1] <= '9' {
		return int(p[1] - '0')
	}
	return 99
}

// AssetFindings returns all findings of an asset, closed ones included, by id.
func (s *Store) AssetFindings(ctx context.Context, asset string) ([]finding.Finding, error) {
	return s.selectFindings(ctx, "read findings of "+asset, s.findings().Where("f.asset = ?", asset).OrderExpr("f.id"))
}

// Running returns the running findings of some assets on some vulnerabilities,
// by asset and id.
func (s *Store) Running(ctx context.Context, assets, vulnerabilities []string) ([]finding.Finding, error) {
	q := s.findings().Where("f.vulnerability IN (?)", bun.List(vulnerabilities)).Where("f.order_running = 0").
		Where("f.asset IN (?)", bun.List(assets)).OrderExpr("f.asset, f.id")
	return s.selectFindings(ctx, "read running findings", q)
}
