package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// contradictions finds a report of the same key that makes the chain something
// else than one line; the arguments are key, id, sequence, previous.
const contradictions = `SELECT EXISTS (
	SELECT 1 FROM report WHERE key = ?0 AND sequence = ?2 AND id <> ?1
	UNION ALL SELECT 1 FROM report WHERE key = ?0 AND previous = ?3 AND previous <> '' AND id <> ?1
	UNION ALL SELECT 1 FROM report WHERE key = ?0 AND sequence = ?2 - 1 AND id <> ?3
	UNION ALL SELECT 1 FROM report WHERE key = ?0 AND sequence = ?2 + 1 AND previous <> ?1
	UNION ALL SELECT 1 FROM report WHERE id = ?3 AND (key <> ?0 OR sequence >= ?2)
	UNION ALL SELECT 1 FROM report WHERE key = ?0 AND previous = ?1 AND sequence <= ?2)`

// suspect notes when an asset's reports are no longer one line, or come from more
// than one machine. Its findings are then made of all reports again.
func suspect(ctx context.Context, tx bun.Tx, r store.Report, seq int64) error {
	var forked bool
	if err := tx.NewRaw(contradictions, r.Key, r.ID, seq, r.Previous).Scan(ctx, &forked); err != nil {
		return err
	}
	var before struct{ Forked, Moved bool }
	if err := tx.NewRaw("SELECT forked, moved FROM asset WHERE id = ?", r.Asset).Scan(ctx, &before.Forked, &before.Moved); err != nil {
		return err
	}
	forked = forked || before.Forked
	moved, err := movedBy(ctx, tx, r, before.Moved)
	if err != nil || !forked && !moved && !before.Moved {
		return err
	}
	_, err = tx.NewRaw("UPDATE asset SET forked = ?, moved = ?, refold = CASE WHEN assessed_sequence > 0 THEN 1 ELSE refold END WHERE id = ?",
		flag(forked), flag(moved), r.Asset).Exec(ctx)
	if err != nil {
		return err
	}
	return headOfLines(ctx, tx, r.Asset)
}

// headOfLines makes the newest report of those that count an asset's head.
func headOfLines(ctx context.Context, tx bun.Tx, asset string) error {
	l, err := readLineage(ctx, tx, asset)
	if err != nil {
		return err
	}
	heads := lineage.Trace(l.Nodes, l.Decisions).Heads
	var row reportRow
	if err := tx.NewSelect().Model(&row).Where("id = ?", heads[0]).Scan(ctx); err != nil {
		return notFound(err, "report %s", heads[0])
	}
	r, err := row.report()
	if err != nil {
		return err
	}
	head, err := toJSON(r.Head())
	if err != nil {
		return err
	}
	_, err = tx.NewRaw("UPDATE asset SET head = ?, head_sequence = ?, head_release = ? WHERE id = ?", head, row.Sequence, r.Release.String(), asset).Exec(ctx)
	return err
}

// movedBy reports whether a report's key was seen on machines that are not one.
// Most reports speak of a machine that is known, which changes nothing.
func movedBy(ctx context.Context, tx bun.Tx, r store.Report, before bool) (bool, error) {
	var same int
	err := tx.NewRaw(`SELECT COUNT(*) FROM (SELECT 1 FROM report WHERE key = ? AND machine = (SELECT machine FROM report WHERE id = ?) LIMIT 2) AS same`,
		r.Key, r.ID).Scan(ctx, &same)
	if err != nil || same > 1 {
		return before, err
	}
	seen, err := machinesOf(ctx, tx, r.Key)
	return lineage.Moved(seen), err
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// machinesOf lists the distinct machines that the reports of a key speak of.
func machinesOf(ctx context.Context, db bun.IDB, key string) ([]schema.Machine, error) {
	var texts []string
	if err := db.NewRaw("SELECT DISTINCT machine FROM report WHERE key = ?", key).Scan(ctx, &texts); err != nil {
		return nil, err
	}
	seen := make([]schema.Machine, len(texts))
	for i, text := range texts {
		m, err := readMachine(text)
		if err != nil {
			return nil, err
		}
		seen[i] = m
	}
	return seen, nil
}

// readMachine reads the column machine of a report.
func readMachine(text string) (schema.Machine, error) {
	var facts [5]string
	if err := json.Unmarshal([]byte(text), &facts); err != nil {
		return schema.Machine{}, fmt.Errorf("read machine: %w", err)
	}
	r := schema.Report{Host: schema.Host{InstanceID: facts[2], ProductUUID: facts[3], MachineID: facts[4]}}
	if facts[1] != "" {
		r.Cloud = &schema.Cloud{Provider: facts[0], InstanceID: facts[1]}
	}
	return r.Machine(), nil
}

// Lineage returns what places each report of an asset among the others, and what
// operators decided, in order of leaf.
func (s *Store) Lineage(ctx context.Context, asset string) (store.Lineage, error) {
	return readLineage(ctx, s.reader, asset)
}

func readLineage(ctx context.Context, db bun.IDB, asset string) (store.Lineage, error) {
	var l store.Lineage
	var rows []struct {
		ID, Key, Previous, Machine string
		Sequence, Leaf             int64
	}
	err := db.NewRaw("SELECT id, key, sequence, previous, machine, leaf FROM report WHERE asset = ? ORDER BY leaf", asset).Scan(ctx, &rows)
	if err != nil {
		return l, fmt.Errorf("read lineage of %s: %w", asset, err)
	}
	for _, r := range rows {
		m, err := readMachine(r.Machine)
		if err != nil {
			return l, fmt.Errorf("report %s: %w", r.ID, err)
		}
		l.Nodes = append(l.Nodes, lineage.Node{
			ID: r.ID, Key: r.Key, Sequence: uint64(r.Sequence), Previous: r.Previous, Leaf: r.Leaf, Machine: m,
		})
	}
	decisions, err := readDecisions(ctx, db, asset)
	for _, d := range decisions {
		l.Decisions = append(l.Decisions, lineage.Decision{Keep: d.Keep, Leaf: d.Leaf})
	}
	return l, err
}

// CloneDecisions lists what operators decided on the suspicions of an asset, all
// of them when it is empty, in order of leaf.
func (s *Store) CloneDecisions(ctx context.Context, asset string) ([]store.CloneDecision, error) {
	return readDecisions(ctx, s.reader, asset)
}

type decisionRow struct {
	bun.BaseModel `bun:"table:clone_decision"`

	Leaf   int64  `bun:"leaf,pk"`
	Asset  string `bun:"asset"`
	Keep   string `bun:"keep"`
	By     string `bun:"by"`
	At     int64  `bun:"at"`
	Reason string `bun:"reason"`
}

func readDecisions(ctx context.Context, db bun.IDB, asset string) ([]store.CloneDecision, error) {
	var rows []decisionRow
	if err := db.NewSelect().Model(&rows).Where("? IN ('', asset)", asset).Order("leaf").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read decisions on clones of %s: %w", asset, err)
	}
	list := make([]store.CloneDecision, len(rows))
	for i, r := range rows {
		list[i] = store.CloneDecision{Leaf: r.Leaf, Asset: r.Asset, Keep: r.Keep, By: r.By, At: instant(r.At), Reason: r.Reason}
	}
	return list, nil
}

// DecideClone records an operator's decision with its leaf, and marks the asset.
// [store.ErrConflict] when a report came meanwhile that the operator has not
// seen; [store.ErrNotFound] when the asset or the report is not there.
func (s *Store) DecideClone(ctx context.Context, d store.CloneDecision, seen int, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "decide on clone", func(tx bun.Tx) error {
		if strings.TrimSpace(d.Reason) == "" || d.By == "" {
			return errors.New("a decision needs a reason and who made it")
		}
		if err := assetThere(ctx, tx, d.Asset); err != nil {
			return err
		}
		var reports, held int
		err := tx.NewRaw("SELECT COUNT(*), COALESCE(SUM(id = ?), 0) FROM report WHERE asset = ?", d.Keep, d.Asset).Scan(ctx, &reports, &held)
		switch {
		case err != nil:
			return err
		case held == 0:
			return fmt.Errorf("report %s of asset %s: %w", d.Keep, d.Asset, store.ErrNotFound)
		case reports != seen:
			return fmt.Errorf("%d reports are there, %d were looked at: %w", reports, seen, store.ErrConflict)
		}
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		row := decisionRow{Leaf: n, Asset: d.Asset, Keep: d.Keep, By: d.By, At: micros(d.At), Reason: d.Reason}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		if err := headOfLines(ctx, tx, d.Asset); err != nil {
			return err
		}
		if _, err := tx.NewRaw("UPDATE asset SET refold = TRUE WHERE id = ? AND assessed_sequence > 0", d.Asset).Exec(ctx); err != nil {
			return err
		}
		return markAssets(ctx, tx, []string{d.Asset})
	})
	return n, err
}
