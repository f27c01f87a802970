package sqlstore

import (
	"context"
	"fmt"

	"github.com/patchproof/patchproof/collector/store"
)

// TrustedKeys lists every key ever trusted, by leaf.
func (s *Store) TrustedKeys(ctx context.Context) ([]store.TrustedKey, error) {
	var rows []struct {
		Key       string
		Asset     string
		TrustedAt int64
		Leaf      int64
	}
	if err := s.reader.NewRaw("SELECT key, asset, trusted_at, leaf FROM asset_key ORDER BY leaf, key").Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("read trusted keys: %w", err)
	}
	keys := make([]store.TrustedKey, len(rows))
	for i, r := range rows {
		keys[i] = store.TrustedKey{Key: r.Key, Asset: r.Asset, TrustedAt: instant(r.TrustedAt), Leaf: r.Leaf}
	}
	return keys, nil
}

// HashCount returns how many tree hashes are stored.
func (s *Store) HashCount(ctx context.Context) (int64, error) {
	var n int64
	if err := s.reader.NewRaw("SELECT COUNT(*) FROM tree_hash").Scan(ctx, &n); err != nil {
		return 0, fmt.Errorf("count tree hashes: %w", err)
	}
	return n, nil
}

// derivation is something that is kept twice: want computes what a table has to
// hold, have reads what it holds. Each row is one text, its first word the row's
// name. have may be empty: then every row of want is a fault.
type derivation struct {
	table, want, have string
}

// derivations are the tables and columns that follow from others. What they
// follow from is under leaves.
var derivations = []derivation{
	{
		"asset_dimension",
		"SELECT asset || ' ' || dimension || ' ' || value FROM asset_grouping",
		"SELECT asset || ' ' || dimension || ' ' || value FROM asset_dimension",
	},
	{
		"finding_count",
		`SELECT g.dimension || ' ' || g.value || ' ' || f.severity || ' ' || f.state || ' ' || f.outcome || ' ' || f.flags || ' ' ||
			f.due || ' ' || f.target || ' ' || COUNT(*)
			FROM finding_counted AS f JOIN asset_grouping AS g ON g.asset = f.asset
			GROUP BY g.dimension, g.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target`,
		`SELECT dimension || ' ' || value || ' ' || severity || ' ' || state || ' ' || outcome || ' ' || flags || ' ' || due || ' ' || target || ' ' || findings
			FROM finding_count`,
	},
	{
		"finding_name",
		`SELECT n.finding || ' ' || n.name FROM finding_name AS n LEFT JOIN finding AS f ON f.id = n.finding
			WHERE f.id IS NULL OR instr(f.names, char(10) || n.name || char(10)) = 0`, "",
	},
	{
		"finding_name",
		`SELECT f.id || ' has ' || (length(f.names) - length(replace(f.names, char(10), '')) - 1) || ' names'
			FROM finding AS f LEFT JOIN (SELECT finding, COUNT(*) AS n FROM finding_name GROUP BY finding) AS c ON c.finding = f.id
			WHERE MAX(length(f.names) - length(replace(f.names, char(10), '')) - 1, 0) <> COALESCE(c.n, 0)`, "",
	},
	{
		"report_part",
		`SELECT r.id || ' ' || json_extract(p.value, '$.name') || ' ' || json_extract(p.value, '$.digest')
			FROM report AS r, json_each(r.statement, '$.parts') AS p`,
		"SELECT report || ' ' || name || ' ' || digest FROM report_part",
	},
	{
		"part",
		"SELECT digest || ' is of no report' FROM part AS p WHERE NOT EXISTS (SELECT 1 FROM report_part AS rp WHERE rp.digest = p.digest)", "",
	},
	{
		"quarantine_use",
		`SELECT key || ' ' || COUNT(*) || ' ' || SUM(size) FROM quarantine GROUP BY key
			UNION ALL SELECT '* ' || COUNT(*) || ' ' || SUM(size) FROM quarantine HAVING COUNT(*) > 0`,
		"SELECT key || ' ' || envelopes || ' ' || bytes FROM quarantine_use",
	},
	{
		"asset",
		`SELECT id || ' has a head of sequence ' || head_sequence || ' and release ' || head_release FROM asset WHERE head_sequence <>
			COALESCE(json_extract(head, '$.Sequence'), 0) OR head_release <> CASE
			WHEN head IS NULL THEN '' WHEN COALESCE(json_extract(head, '$.Release.distro'), '') = '' THEN 'unknown'
			ELSE json_extract(head, '$.Release.distro') || ':' || json_extract(head, '$.Release.version') END`, "",
	},
	{
		"asset",
		`SELECT id || ' waits for no assessment and was assessed up to report ' || assessed_sequence || ' of ' || head_sequence
			FROM asset AS a WHERE (assessed_sequence <> head_sequence OR refold <> 0)
			AND NOT EXISTS (SELECT 1 FROM dirty AS d WHERE d.asset = a.id)
			UNION ALL SELECT id || ' was assessed up to report ' || assessed_sequence || ', which is not there' FROM asset AS a
			WHERE assessed_sequence <> 0 AND NOT EXISTS (SELECT 1 FROM report AS r WHERE r.asset = a.id AND r.sequence = a.assessed_sequence)`, "",
	},
}

// CheckDerived recomputes everything that is kept for speed alone, and calls
// fault for each row that is not what it has to be.
func (s *Store) CheckDerived(ctx context.Context, fault func(where, what string)) error {
	for _, d := range derivations {
		if err := s.checkDerived(ctx, d, fault); err != nil {
			return fmt.Errorf("recompute %s: %w", d.table, err)
		}
	}
	return nil
}

func (s *Store) checkDerived(ctx context.Context, d derivation, fault func(where, what string)) error {
	ask := func(query, what string) error {
		rows, err := s.reader.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				return err
			}
			fault(d.table, fmt.Sprintf(what, row))
		}
		return rows.Err()
	}
	if d.have == "" {
		return ask(d.want, "%q")
	}
	// A table that holds a row twice has other keys than it has to, so sets will do.
	if err := ask("SELECT * FROM ("+d.want+") EXCEPT SELECT * FROM ("+d.have+")", "a row %q has to be there and is not"); err != nil {
		return err
	}
	return ask("SELECT * FROM ("+d.have+") EXCEPT SELECT * FROM ("+d.want+")", "a row %q is there and must not be")
}
