package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

// A past moment is asked by the same statements as the present: within one
// transaction, temporary tables and views stand before those of the database and
// show what was recorded by then. A table that is in none of the lists below, and
// so has no past, cannot be read there at all: a question that would mix the
// present into the past fails.

// asItWas says how tables are shown as of a position. {leaf} is its newest leaf,
// {checkpoint} the size of its newest checkpoint.
var asItWas = map[string]string{
	"leaf":                 "SELECT * FROM main.leaf WHERE idx <= {leaf}",
	"checkpoint":           "SELECT * FROM main.checkpoint WHERE size <= {checkpoint}",
	"report":               "SELECT * FROM main.report WHERE leaf <= {leaf}",
	"clone_decision":       "SELECT * FROM main.clone_decision WHERE leaf <= {leaf}",
	"asset_key":            "SELECT * FROM main.asset_key WHERE leaf <= {leaf}",
	"asset_past":           "SELECT * FROM main.asset_past WHERE leaf <= {leaf}",
	"policy":               "SELECT * FROM main.policy WHERE leaf <= {leaf}",
	"retirement":           "SELECT * FROM main.retirement WHERE leaf <= {leaf}",
	"classification":       "SELECT * FROM main.classification WHERE leaf <= {leaf}",
	"classification_rules": "SELECT * FROM main.classification_rules WHERE leaf <= {leaf}",
	"asset_import":         "SELECT * FROM main.asset_import WHERE leaf <= {leaf}",
	"finding_version":      "SELECT * FROM main.finding_version WHERE leaf <= {leaf}",
	"feed_version":         "SELECT * FROM main.feed_version WHERE leaf <= {leaf}",
	"advisory": `SELECT s.feed, s.id, s.digest, json_extract(v.body, '$.withdrawn') IS NOT NULL AS withdrawn, s.missing
		FROM main.advisory_state AS s JOIN main.advisory_version AS v ON v.feed = s.feed AND v.id = s.id AND v.digest = s.digest
		WHERE s.leaf = (SELECT MAX(n.leaf) FROM main.advisory_state AS n WHERE n.feed = s.feed AND n.id = s.id AND n.leaf <= {leaf})`,
	"advisory_version": `SELECT v.feed, v.id, v.digest, v.first_at, v.body FROM main.advisory_version AS v WHERE EXISTS
		(SELECT 1 FROM main.advisory_state AS s WHERE s.feed = v.feed AND s.id = v.id AND s.digest = v.digest AND s.leaf <= {leaf})`,
	"advisory_fix": "SELECT * FROM main.advisory_fix WHERE leaf <= {leaf}",
	// Whether an advisory named it then, its version of then says.
	"advisory_vulnerability": `SELECT vulnerability, feed, id FROM main.advisory_vulnerability
		UNION SELECT vulnerability, feed, id FROM main.advisory_vulnerability_past`,
	"feed": `SELECT v.feed AS name, v.kind, v.digest, v.published, v.imported_at, v.snapshot_at, v.held_digest, v.held_at, v.held_reason
		FROM main.feed_version AS v WHERE v.leaf = (SELECT MAX(n.leaf) FROM main.feed_version AS n WHERE n.feed = v.feed AND n.leaf <= {leaf})`,
	// Scores of vulnerabilities that nothing had by then may not have been kept, so
	// none of these is told.
	"fact": `SELECT f.kind, f.vulnerability, f.missing, f.body, f.leaf FROM main.fact AS f WHERE f.leaf <= {leaf} AND (f.kind <> 'epss'
			OR EXISTS (SELECT 1 FROM temp.finding AS x WHERE x.vulnerability = f.vulnerability))
		UNION ALL SELECT f.kind, f.vulnerability, p.missing, p.body, p.leaf FROM main.fact AS f CROSS JOIN main.fact_past AS p
			ON p.kind = f.kind AND p.vulnerability = f.vulnerability
			AND p.leaf = (SELECT MAX(n.leaf) FROM main.fact_past AS n WHERE n.kind = f.kind AND n.vulnerability = f.vulnerability AND n.leaf <= {leaf})
			WHERE f.leaf > {leaf} AND (f.kind <> 'epss' OR EXISTS (SELECT 1 FROM temp.finding AS x WHERE x.vulnerability = f.vulnerability))`,
	"undetermined": `SELECT asset, place, leaf, vulnerability, component, body FROM main.undetermined WHERE leaf <= {leaf}
		UNION ALL SELECT asset, place, leaf, vulnerability, component, body FROM main.undetermined_past WHERE leaf <= {leaf} AND until > {leaf}`,
	"listed": `SELECT source, key, leaf, seen, body FROM main.listed WHERE seen <= {leaf}
		UNION ALL SELECT p.source, p.key, p.leaf, p.seen, p.body FROM main.listed AS l CROSS JOIN main.listed_past AS p
			ON p.source = l.source AND p.key = l.key
			AND p.seen = (SELECT MAX(n.seen) FROM main.listed_past AS n WHERE n.source = l.source AND n.key = l.key AND n.seen <= {leaf})
			WHERE l.seen > {leaf}`,
}

// everTrue are tables whose rows are found by what they hold, and never change.
var everTrue = []string{"part", "report_part"}

// notKept are columns of the present alone, with what they are in the past.
var notKept = map[string]string{
	"asset.assessed_sequence": "0",
	"asset.refold":            "0",
	"asset.forked":            "0",
	"asset.moved":             "0",
	"asset.assessed_at":       strconv.FormatInt(zeroTime, 10),
	"finding.alarm":           strconv.FormatInt(never, 10),
}

// hindsight is the script that turns a transaction back, read once.
type hindsight struct {
	once sync.Once
	// script shows every table, findings alone the findings.
	script, findings string
	err              error
}

// Past calls f with the store as it stood at the end of an instant, which must be
// over. [store.ErrNoHistory] when the record begins later.
func (s *Store) Past(ctx context.Context, at time.Time, f func(store.Store, store.Position) error) error {
	p, err := s.positionAt(ctx, at)
	if err != nil {
		return fmt.Errorf("ask the past: %w", err)
	}
	return s.turnedBack(ctx, p, nil, f)
}

// Between is Past at the later of two instants, with the findings of the earlier
// one beside: [Store.Period] counts what became of them.
func (s *Store) Between(ctx context.Context, from, to time.Time, f func(store.Store, store.Position) error) error {
	start, err := s.positionAt(ctx, from)
	if err != nil {
		return fmt.Errorf("ask the past: %w", err)
	}
	end, err := s.positionAt(ctx, to)
	if err != nil {
		return fmt.Errorf("ask the past: %w", err)
	}
	return s.turnedBack(ctx, end, &start, f)
}

func (s *Store) turnedBack(ctx context.Context, p store.Position, start *store.Position, f func(store.Store, store.Position) error) error {
	tx, err := s.past.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("ask the past: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it takes the temporary tables along
	if err := s.turnBack(ctx, tx, p, start); err != nil {
		return fmt.Errorf("ask the past: %w", err)
	}
	view := *s
	view.reader, view.position, view.start = tx, &p, start
	err = f(&view, p)
	if err != nil && strings.Contains(err.Error(), blocked) {
		return fmt.Errorf("%w: %w", store.ErrNotKept, err)
	}
	return err
}

// HistoryBegins is the first instant that can be asked about.
func (s *Store) HistoryBegins(ctx context.Context) (time.Time, error) {
	first, err := s.firstPosition(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("read where history begins: %w", err)
	}
	var at sql.NullInt64
	if err := s.reader.NewRaw("SELECT MAX(at) FROM leaf WHERE idx <= ?", first).Scan(ctx, &at); err != nil {
		return time.Time{}, fmt.Errorf("read where history begins: %w", err)
	}
	if !at.Valid {
		return time.Time{}, fmt.Errorf("where history begins: %w", store.ErrNotFound)
	}
	return instant(at.Int64), nil
}

func (s *Store) firstPosition(ctx context.Context) (int64, error) {
	var first int64
	err := s.reader.NewRaw("SELECT MAX(leaf, 0) FROM history_start").Scan(ctx, &first)
	return first, err
}

// positionAt says which leaf is the newest by an instant: the last one before any
// that bears a later time. A leaf that bears an earlier time than one before it
// came after that one all the same. While the log has not passed the instant its
// place is sealed, so that nothing recorded later can come before it.
func (s *Store) positionAt(ctx context.Context, at time.Time) (store.Position, error) {
	first, err := s.firstPosition(ctx)
	if err != nil {
		return store.Position{}, err
	}
	p, fixed, err := position(ctx, s.reader, at)
	if err == nil && !fixed && !s.readOnly {
		err = s.write(ctx, "seal the log", func(tx bun.Tx) error {
			p, err = seal(ctx, tx, at)
			return err
		})
	}
	if err == nil && p.Leaf < first {
		err = fmt.Errorf("%s: %w", at.UTC().Format(time.RFC3339Nano), store.ErrNoHistory)
	}
	return p, err
}

// position reports, too, whether nothing recorded from now on can move it.
func position(ctx context.Context, db bun.IDB, at time.Time) (p store.Position, fixed bool, err error) {
	p.At = exact(at)
	var leaf, checkpoint, sealedLeaf, sealedCheckpoint sql.NullInt64
	err = db.NewRaw(`SELECT (SELECT MIN(idx) FROM leaf WHERE at > ?), (SELECT MIN(size) FROM checkpoint WHERE at > ?),
		(SELECT leaf FROM log_seal WHERE at >= ? ORDER BY at LIMIT 1), (SELECT checkpoint FROM log_seal WHERE at >= ? ORDER BY at LIMIT 1)`,
		micros(at), micros(at), micros(at), micros(at)).Scan(ctx, &leaf, &checkpoint, &sealedLeaf, &sealedCheckpoint)
	if err != nil {
		return p, false, err
	}
	// The first that came later bounds what was there; without one all was.
	const end = int64(never)
	leafEnd, checkpointEnd := end, end
	if leaf.Valid {
		leafEnd = leaf.Int64
	}
	if checkpoint.Valid {
		checkpointEnd = checkpoint.Int64
	}
	if sealedLeaf.Valid {
		leafEnd, checkpointEnd = min(leafEnd, sealedLeaf.Int64+1), min(checkpointEnd, sealedCheckpoint.Int64+1)
	}
	err = db.NewRaw(`SELECT (SELECT COALESCE(MAX(idx), -1) FROM leaf WHERE idx < ?), (SELECT COALESCE(MAX(size), 0) FROM checkpoint WHERE size < ?)`,
		leafEnd, checkpointEnd).Scan(ctx, &p.Leaf, &p.Checkpoint)
	return p, leafEnd != end && checkpointEnd != end, err
}

// seal fixes a position for good, and forgets seals that the log itself has
// made good since: what follows them bears a later time.
func seal(ctx context.Context, tx bun.Tx, at time.Time) (store.Position, error) {
	p, fixed, err := position(ctx, tx, at)
	if err != nil || fixed {
		return p, err
	}
	_, err = tx.NewRaw(`DELETE FROM log_seal WHERE EXISTS (SELECT 1 FROM leaf AS l WHERE l.idx = log_seal.leaf + 1 AND l.at > log_seal.at)
		AND EXISTS (SELECT 1 FROM checkpoint AS c WHERE c.at > log_seal.at
			AND c.size = (SELECT MIN(n.size) FROM checkpoint AS n WHERE n.size > log_seal.checkpoint))`).Exec(ctx)
	if err != nil {
		return p, err
	}
	_, err = tx.NewRaw("INSERT INTO log_seal (at, leaf, checkpoint) VALUES (?, ?, ?)", micros(at), p.Leaf, p.Checkpoint).Exec(ctx)
	return p, err
}

// blocked is what tables without a past are made of: nothing.
const blocked = "not_kept_for_the_past"

func (s *Store) turnBack(ctx context.Context, tx bun.Tx, p store.Position, start *store.Position) error {
	h := s.hindsight
	h.once.Do(func() { h.script, h.findings, h.err = script(ctx, s.pool) })
	if h.err != nil {
		return h.err
	}
	text := strings.NewReplacer("{leaf}", strconv.FormatInt(p.Leaf, 10), "{checkpoint}", strconv.FormatInt(p.Checkpoint, 10)).Replace(h.script)
	if start != nil {
		text += "CREATE TEMP VIEW finding_before AS " + strings.ReplaceAll(h.findings, "{leaf}", strconv.FormatInt(start.Leaf, 10)) + ";\n"
	}
	for _, step := range []string{"PRAGMA query_only = 0", text, "PRAGMA query_only = 1"} {
		if _, err := tx.Tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("show the record as of leaf %d: %w", p.Leaf, err)
		}
	}
	return nil
}

func script(ctx context.Context, db bun.IDB) (all, findings string, err error) {
	var names []string
	err = db.NewRaw(`SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%' ORDER BY name`).Scan(ctx, &names)
	if err != nil {
		return "", "", fmt.Errorf("list tables: %w", err)
	}
	var b strings.Builder
	for _, name := range names {
		text, known := asItWas[name]
		switch {
		case name == "asset":
			if text, err = assetsAsTheyWere(ctx, db); err != nil {
				return "", "", err
			}
			b.WriteString(text)
			continue
		case name == "finding":
			if findings, err = findingsAsTheyWere(ctx, db); err != nil {
				return "", "", err
			}
			text = findings
		case slices.Contains(everTrue, name):
			continue
		case !known:
			text = "SELECT * FROM temp." + blocked
		}
		fmt.Fprintf(&b, "CREATE TEMP VIEW %s AS %s;\n", name, text)
	}
	return b.String(), findings, nil
}

// assetsAsTheyWere fills a table like the present one, generated columns and all:
// of each asset the newest state, and the newest report, by then.
func assetsAsTheyWere(ctx context.Context, db bun.IDB) (string, error) {
	var ddl string
	if err := db.NewRaw("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'asset'").Scan(ctx, &ddl); err != nil {
		return "", fmt.Errorf("read how assets are kept: %w", err)
	}
	_, body, ok := strings.Cut(ddl, "(")
	if !ok {
		return "", errors.New("table asset is declared in no way that is known")
	}
	columns, err := columnsOf(ctx, db, "asset", false)
	if err != nil {
		return "", err
	}
	state, err := columnsOf(ctx, db, "asset_past", false)
	if err != nil {
		return "", err
	}
	head, err := columnsOf(ctx, db, "asset_head_past", false)
	if err != nil {
		return "", err
	}
	said := make([]string, len(columns))
	for i, c := range columns {
		switch {
		case c == "head_leaf":
			said[i] = "CASE WHEN a.head_leaf <= {leaf} THEN a.head_leaf ELSE h.leaf END"
		case slices.Contains(state, c):
			said[i] = fmt.Sprintf("CASE WHEN a.leaf <= {leaf} THEN a.%s ELSE p.%s END", c, c)
		case slices.Contains(head, c):
			said[i] = fmt.Sprintf("CASE WHEN a.head_leaf <= {leaf} THEN a.%s ELSE h.%s END", c, c)
		case notKept["asset."+c] != "":
			said[i] = notKept["asset."+c]
		default:
			return "", fmt.Errorf("column %s of asset has no past", c)
		}
	}
	return fmt.Sprintf(`CREATE TEMP TABLE asset (%s;
		INSERT INTO temp.asset (%s) SELECT %s FROM main.asset AS a
		LEFT JOIN main.asset_past AS p ON p.id = a.id AND a.leaf > {leaf}
			AND p.leaf = (SELECT MAX(n.leaf) FROM main.asset_past AS n WHERE n.id = a.id AND n.leaf <= {leaf})
		LEFT JOIN main.asset_head_past AS h ON h.id = a.id AND a.head_leaf > {leaf}
			AND h.leaf = (SELECT MAX(n.leaf) FROM main.asset_head_past AS n WHERE n.id = a.id AND n.leaf <= {leaf})
		WHERE a.leaf <= {leaf} OR p.id IS NOT NULL;
`, body, strings.Join(columns, ", "), strings.Join(said, ", ")), nil
}

// findingsAsTheyWere are the findings that nothing has changed since, and of the
// others the state that was recorded last by then.
func findingsAsTheyWere(ctx context.Context, db bun.IDB) (string, error) {
	columns, err := columnsOf(ctx, db, "finding", true)
	if err != nil {
		return "", err
	}
	state, err := columnsOf(ctx, db, "finding_state", true)
	if err != nil {
		return "", err
	}
	then := make([]string, len(columns))
	for i, c := range columns {
		switch {
		case slices.Contains(state, c):
			then[i] = "s." + c
		case notKept["finding."+c] != "":
			then[i] = notKept["finding."+c] + " AS " + c
		default:
			return "", fmt.Errorf("column %s of finding has no past", c)
		}
	}
	return fmt.Sprintf(`SELECT %s FROM main.finding WHERE leaf <= {leaf}
		UNION ALL SELECT %s FROM main.finding AS f CROSS JOIN main.finding_state AS s ON s.id = f.id
			AND s.leaf = (SELECT MAX(n.leaf) FROM main.finding_version AS n WHERE n.id = f.id AND n.leaf <= {leaf})
			WHERE f.leaf > {leaf}`, strings.Join(columns, ", "), strings.Join(then, ", ")), nil
}

// columnsOf names the columns of a table, with those that are computed or without.
func columnsOf(ctx context.Context, db bun.IDB, table string, computed bool) ([]string, error) {
	var names []string
	err := db.NewRaw("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 OR ? AND hidden IN (2, 3) ORDER BY cid", table, computed).Scan(ctx, &names)
	if err != nil {
		return nil, fmt.Errorf("list columns of %s: %w", table, err)
	}
	return names, nil
}

// FactsNotKept names the kinds of facts on a vulnerability that are not told of
// the moment in view, though they may have been known.
func (s *Store) FactsNotKept(ctx context.Context, vulnerability string) ([]string, error) {
	if s.position == nil {
		return nil, nil
	}
	var kinds []string
	err := s.reader.NewRaw(`SELECT DISTINCT kind FROM feed WHERE kind = 'epss'
		AND NOT EXISTS (SELECT 1 FROM finding WHERE vulnerability = ?)`, vulnerability).Scan(ctx, &kinds)
	if err != nil {
		return nil, fmt.Errorf("read what was kept of %s: %w", vulnerability, err)
	}
	return kinds, nil
}
