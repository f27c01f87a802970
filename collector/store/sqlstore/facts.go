package sqlstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/advisory"
)

// epssStep is the grain at which a moving EPSS score asks for a new verdict. A
// policy whose threshold is finer than a hundredth sees a score cross it with the
// next assessment.
const epssStep = 0.01

type factRow struct {
	bun.BaseModel `bun:"table:fact"`

	Kind          string `bun:"kind,pk"`
	Vulnerability string `bun:"vulnerability,pk"`
	Missing       bool   `bun:"missing"`
	Body          string `bun:"body"`
}

// mergeFacts walks the batch's facts and the held ones of the same kind side by
// side, both in order of vulnerability, and writes what differs. A fact that a
// snapshot no longer lists is kept and counted missing.
func (ap *application) mergeFacts(ctx context.Context) error {
	if len(ap.batch.Facts) == 0 && !ap.batch.Snapshot {
		return nil
	}
	incoming, err := ap.sortedFacts()
	if err != nil {
		return err
	}
	write, gone, err := ap.diffFacts(ctx, incoming)
	if err != nil {
		return err
	}
	ap.applied.Missing += len(gone)
	if err := putFacts(ctx, ap.tx, write, ap.leaf); err != nil {
		return err
	}
	return batches(gone, rowsAtOnce, func(some []string) error {
		_, err := ap.tx.NewRaw("UPDATE fact SET missing = TRUE, leaf = ? WHERE kind = ? AND vulnerability IN (?)", ap.leaf, ap.batch.Feed.Kind, bun.List(some)).Exec(ctx)
		return err
	})
}

func (ap *application) sortedFacts() ([]factRow, error) {
	rows := make([]factRow, 0, len(ap.batch.Facts))
	for _, f := range ap.batch.Facts {
		v := f.Vulnerability
		if v == "" {
			return nil, fmt.Errorf("a fact of feed %s names no vulnerability", ap.batch.Feed.Name)
		}
		f.Vulnerability = "" // the key says it
		body, err := toJSON(f)
		if err != nil {
			return nil, fmt.Errorf("facts of %s: %w", v, err)
		}
		rows = append(rows, factRow{Kind: ap.batch.Feed.Kind, Vulnerability: v, Body: body})
	}
	slices.SortStableFunc(rows, func(a, b factRow) int { return strings.Compare(a.Vulnerability, b.Vulnerability) })
	for i := 1; i < len(rows); i++ {
		if rows[i].Vulnerability == rows[i-1].Vulnerability && rows[i].Body != rows[i-1].Body {
			return nil, fmt.Errorf("facts of %s are listed twice, with different content", rows[i].Vulnerability)
		}
	}
	return slices.CompactFunc(rows, func(a, b factRow) bool { return a.Vulnerability == b.Vulnerability }), nil
}

// diffFacts returns the rows to write and the vulnerabilities a snapshot no
// longer lists.
func (ap *application) diffFacts(ctx context.Context, incoming []factRow) (write []factRow, gone []string, err error) {
	rows, err := ap.tx.QueryContext(ctx, "SELECT vulnerability, missing, body FROM fact WHERE kind = ? ORDER BY vulnerability", ap.batch.Feed.Kind)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var held factRow
		if err := rows.Scan(&held.Vulnerability, &held.Missing, &held.Body); err != nil {
			return nil, nil, err
		}
		for len(incoming) > 0 && incoming[0].Vulnerability < held.Vulnerability {
			write = append(write, ap.added(incoming[0]))
			incoming = incoming[1:]
		}
		if len(incoming) > 0 && incoming[0].Vulnerability == held.Vulnerability {
			if err := ap.compare(held, incoming[0], &write); err != nil {
				return nil, nil, err
			}
			incoming = incoming[1:]
			continue
		}
		if ap.batch.Snapshot && !held.Missing {
			gone = append(gone, held.Vulnerability)
		}
	}
	for _, f := range incoming {
		write = append(write, ap.added(f))
	}
	return write, gone, rows.Err()
}

func (ap *application) added(f factRow) factRow {
	ap.applied.Added++
	ap.facts = append(ap.facts, f.Vulnerability)
	return f
}

func (ap *application) compare(held, f factRow, write *[]factRow) error {
	if held.Body == f.Body {
		ap.applied.Unchanged++
		if held.Missing {
			*write = append(*write, f)
		}
		return nil
	}
	ap.applied.Changed++
	*write = append(*write, f)
	matters, err := changesVerdict(held.Body, f.Body)
	if matters {
		ap.facts = append(ap.facts, f.Vulnerability)
	}
	return err
}

// changesVerdict reports whether a verdict may differ between two bodies of facts.
func changesVerdict(old, new string) (bool, error) {
	var a, b advisory.Facts
	if err := fromJSON(old, &a); err != nil {
		return false, err
	}
	if err := fromJSON(new, &b); err != nil {
		return false, err
	}
	if epssBand(a.EPSS) != epssBand(b.EPSS) {
		return true, nil
	}
	a.EPSS, b.EPSS = nil, nil
	x, err := toJSON(a)
	if err != nil {
		return false, err
	}
	y, err := toJSON(b)
	return x != y, err
}

// epssBand numbers the steps; no score is its own band.
func epssBand(e *advisory.EPSS) int {
	if e == nil {
		return -1
	}
	return int(math.Floor(e.Score/epssStep + 1e-9))
}

// putFacts writes hundreds of thousands of rows by one prepared statement.
func putFacts(ctx context.Context, tx bun.Tx, rows []factRow, leaf int64) error {
	if len(rows) == 0 {
		return nil
	}
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO fact (kind, vulnerability, missing, body, leaf) VALUES (?, ?, 0, ?, ?)
		ON CONFLICT (kind, vulnerability) DO UPDATE SET missing = 0, body = excluded.body, leaf = excluded.leaf`)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for _, r := range rows {
		if _, err := stmt.ExecContext(ctx, r.Kind, r.Vulnerability, r.Body, leaf); err != nil {
			return fmt.Errorf("facts of %s: %w", r.Vulnerability, err)
		}
	}
	return nil
}

// Facts returns what is known of vulnerabilities; those unknown are absent.
func (s *Store) Facts(ctx context.Context, vulnerabilities []string) (map[string]advisory.Facts, error) {
	facts := make(map[string]advisory.Facts, len(vulnerabilities))
	err := batches(vulnerabilities, rowsAtOnce, func(some []string) error {
		var rows []factRow
		err := s.reader.NewSelect().Model(&rows).Where("kind IN (SELECT kind FROM feed)").
			Where("vulnerability IN (?)", bun.List(some)).Order("vulnerability", "kind").Scan(ctx)
		if err != nil {
			return err
		}
		for _, r := range rows {
			var f advisory.Facts
			if err := fromJSON(r.Body, &f); err != nil {
				return fmt.Errorf("facts of %s from %s: %w", r.Vulnerability, r.Kind, err)
			}
			facts[r.Vulnerability] = mergeFacts(facts[r.Vulnerability], f, r.Vulnerability)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	return facts, nil
}

// mergeFacts joins what two kinds of feed say; of what both say the first holds,
// but every score is kept.
func mergeFacts(a, b advisory.Facts, vulnerability string) advisory.Facts {
	a.Vulnerability = vulnerability
	for _, s := range b.Scores {
		if !slices.Contains(a.Scores, s) {
			a.Scores = append(a.Scores, s)
		}
	}
	if a.KEV == nil {
		a.KEV = b.KEV
	}
	if a.EPSS == nil {
		a.EPSS = b.EPSS
	}
	if a.SSVC == nil {
		a.SSVC = b.SSVC
	}
	return a
}
