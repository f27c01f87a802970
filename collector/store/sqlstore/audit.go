package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
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

// Outcomes returns what assessments recorded under a leaf, by asset.
func (s *Store) Outcomes(ctx context.Context, leaf int64) ([]store.Outcome, error) {
	var rows []assessmentRow
	if err := s.reader.NewSelect().Model(&rows).Where("leaf = ?", leaf).Order("asset").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read outcomes recorded under leaf %d: %w", leaf, err)
	}
	list := make([]store.Outcome, len(rows))
	for i, r := range rows {
		if err := fromJSONExact(r.Body, &list[i]); err != nil {
			return nil, fmt.Errorf("outcome of %s as recorded under leaf %d: %w", r.Asset, leaf, err)
		}
		if list[i].Asset != r.Asset {
			return nil, fmt.Errorf("outcome of %s as recorded under leaf %d: it is of %s by its body", r.Asset, leaf, list[i].Asset)
		}
	}
	return list, nil
}

// FeedRecords lists what is held of feeds, by name, without counts.
func (s *Store) FeedRecords(ctx context.Context) ([]store.FeedState, error) {
	var rows []feedRow
	if err := s.reader.NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read feeds: %w", err)
	}
	states := make([]store.FeedState, len(rows))
	for i, r := range rows {
		states[i] = r.state()
		var err error
		if states[i].Releases, err = releases(ctx, s.reader, "WHERE feed = ?", r.Name); err != nil {
			return nil, fmt.Errorf("read releases of feed %s: %w", r.Name, err)
		}
	}
	return states, nil
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
// hold, have reads what it holds. Each row is one text, a JSON array of columns.
// have may be empty: then every row of want is a fault.
type derivation struct {
	table, want, have string
}

// derivations are the tables and columns that follow from others. What they
// follow from is under leaves.
var derivations = []derivation{
	{
		"asset_dimension",
		"SELECT json_array(asset, dimension, value) FROM asset_grouping",
		"SELECT json_array(asset, dimension, value) FROM asset_dimension",
	},
	{
		"finding_count",
		`SELECT json_array(g.dimension, g.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target, COUNT(*))
			FROM finding_counted AS f JOIN asset_grouping AS g ON g.asset = f.asset
			GROUP BY g.dimension, g.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target`,
		"SELECT json_array(dimension, value, severity, state, outcome, flags, due, target, findings) FROM finding_count",
	},
	{
		"finding_name",
		`SELECT json_array(n.finding, n.name) FROM finding_name AS n LEFT JOIN finding AS f ON f.id = n.finding
			WHERE f.id IS NULL OR instr(f.names, char(10) || n.name || char(10)) = 0`, "",
	},
	{
		"finding_name",
		`SELECT json_array(f.id, 'has names', MAX(length(f.names) - length(replace(f.names, char(10), '')) - 1, 0))
			FROM finding AS f LEFT JOIN (SELECT finding, COUNT(*) AS n FROM finding_name GROUP BY finding) AS c ON c.finding = f.id
			WHERE MAX(length(f.names) - length(replace(f.names, char(10), '')) - 1, 0) <> COALESCE(c.n, 0)`, "",
	},
	{
		"report_part",
		`SELECT json_array(r.id, json_extract(p.value, '$.name'), json_extract(p.value, '$.digest'))
			FROM report AS r, json_each(r.statement, '$.parts') AS p WHERE p.type = 'object'`,
		"SELECT json_array(report, name, digest) FROM report_part",
	},
	{
		"part",
		"SELECT json_array(digest, 'is of no report') FROM part AS p WHERE NOT EXISTS (SELECT 1 FROM report_part AS rp WHERE rp.digest = p.digest)", "",
	},
	{
		"quarantine_use",
		`SELECT json_array(key, COUNT(*), SUM(size)) FROM quarantine GROUP BY key
			UNION ALL SELECT json_array('*', COUNT(*), SUM(size)) FROM quarantine HAVING COUNT(*) > 0`,
		"SELECT json_array(key, envelopes, bytes) FROM quarantine_use",
	},
	{
		"log_state",
		"SELECT json_array(id, origin, epoch) FROM log_state WHERE id <> 1", "",
	},
	{
		"feed_release",
		"SELECT json_array(feed, distro, version) FROM feed_release AS r WHERE NOT EXISTS (SELECT 1 FROM feed AS f WHERE f.name = r.feed)", "",
	},
	{
		"undetermined",
		"SELECT json_array(asset, place) FROM undetermined AS u WHERE NOT EXISTS (SELECT 1 FROM asset AS a WHERE a.id = u.asset)", "",
	},
	{
		"quarantine",
		"SELECT json_array(digest, 'has another size than', size) FROM quarantine WHERE size <> length(raw)", "",
	},
	{
		"asset",
		`SELECT json_array(id, 'has a head of sequence', head_sequence, 'and release', head_release) FROM asset WHERE head_sequence <>
			COALESCE(json_extract(head, '$.Sequence'), 0) OR head_release <> CASE
			WHEN head IS NULL THEN '' WHEN COALESCE(json_extract(head, '$.Release.distro'), '') = '' THEN 'unknown'
			ELSE json_extract(head, '$.Release.distro') || ':' || json_extract(head, '$.Release.version') END`, "",
	},
	{
		"asset",
		`SELECT json_array(id, 'waits for no assessment and was assessed up to report', assessed_sequence, 'of', head_sequence)
			FROM asset AS a WHERE (assessed_sequence <> head_sequence OR refold <> 0)
			AND NOT EXISTS (SELECT 1 FROM dirty AS d WHERE d.asset = a.id)
			UNION ALL SELECT json_array(id, 'was assessed up to a report that is not there', assessed_sequence) FROM asset AS a
			WHERE assessed_sequence <> 0 AND NOT EXISTS (SELECT 1 FROM report AS r WHERE r.asset = a.id AND r.sequence = a.assessed_sequence)`, "",
	},
	{
		"undetermined",
		`SELECT json_array(asset, ROW_NUMBER() OVER (PARTITION BY asset ORDER BY place) - 1, json_extract(body, '$.vulnerability'), json_extract(body, '$.component'))
			FROM undetermined`,
		"SELECT json_array(asset, place, vulnerability, component) FROM undetermined",
	},
	{ // the leaf of the first of the assessments that found what the newest found
		"undetermined",
		`SELECT json_array(u.asset, u.place, 'of leaf', u.leaf) FROM undetermined AS u WHERE u.leaf <> (
			SELECT MIN(a.leaf) FROM assessment AS a WHERE a.asset = u.asset AND json_extract(a.body, '$.only') IS NULL AND a.leaf > COALESCE((
				SELECT MAX(b.leaf) FROM assessment AS b WHERE b.asset = u.asset AND json_extract(b.body, '$.only') IS NULL
				AND json_extract(b.body, '$.undetermined_sha256') <> (
					SELECT json_extract(n.body, '$.undetermined_sha256') FROM assessment AS n
					WHERE n.asset = u.asset AND json_extract(n.body, '$.only') IS NULL ORDER BY n.leaf DESC LIMIT 1)), -1))`, "",
	},
	{
		"feed",
		"SELECT json_array(name, 'holds nothing, since', held_at) FROM feed WHERE held_digest = '' AND held_reason = '' AND held_at <> -62135596800000000", "",
	},
	{
		"advisory",
		`SELECT json_array(s.feed, s.id, s.digest, s.missing, json_extract(v.body, '$.withdrawn') IS NOT NULL)
			FROM advisory_state AS s JOIN advisory_version AS v ON v.feed = s.feed AND v.id = s.id AND v.digest = s.digest
			WHERE s.leaf = (SELECT MAX(n.leaf) FROM advisory_state AS n WHERE n.feed = s.feed AND n.id = s.id)`,
		"SELECT json_array(feed, id, digest, missing, withdrawn) FROM advisory",
	},
	{ // versions from before leaves were named are told apart by a leaf below zero
		"advisory_version",
		`SELECT json_array(s.feed, s.id, s.digest, l.at) FROM (SELECT feed, id, digest, MIN(leaf) AS leaf FROM advisory_state GROUP BY feed, id, digest) AS s
			LEFT JOIN leaf AS l ON l.idx = s.leaf WHERE s.leaf >= 0`,
		`SELECT json_array(v.feed, v.id, v.digest, v.first_at) FROM advisory_version AS v WHERE NOT EXISTS
			(SELECT 1 FROM advisory_state AS s WHERE s.feed = v.feed AND s.id = v.id AND s.digest = v.digest AND s.leaf < 0)`,
	},
	{
		"advisory_release",
		`SELECT DISTINCT json_array(CASE COALESCE(json_extract(p.value, '$.release.distro'), '') WHEN '' THEN 'unknown'
			ELSE json_extract(p.value, '$.release.distro') || ':' || json_extract(p.value, '$.release.version') END, a.feed, a.id)
			FROM advisory AS a JOIN advisory_version AS v ON v.feed = a.feed AND v.id = a.id AND v.digest = a.digest, json_each(v.body, '$.affected') AS p WHERE p.type = 'object'`,
		"SELECT json_array(release, feed, id) FROM advisory_release",
	},
	{
		"advisory_vulnerability",
		`SELECT DISTINCT json_array(p.value, a.feed, a.id)
			FROM advisory AS a JOIN advisory_version AS v ON v.feed = a.feed AND v.id = a.id AND v.digest = a.digest, json_each(v.body, '$.vulnerabilities') AS p WHERE p.type = 'text'`,
		"SELECT json_array(vulnerability, feed, id) FROM advisory_vulnerability",
	},
}

// underLeaves names the tables whose rows are held against the leaf they name, and
// of what kind it is: a row under any other would be held against nothing.
var underLeaves = []struct{ table, row, kind string }{
	{"advisory_state", "feed, id", "feed"},
	{"advisory_fix", "release, feed, id, fix", "feed"},
	{"assessment", "asset", "assessment"},
	{"fact_seen", "vulnerability", "assessment"},
	{"finding_version", "id", "assessment"},
	{"classification", "asset", "classification"},
}

// strays select the rows under leaves of another kind, and those of before leaves
// were named (below zero) that are of no feed with such a leaf.
func strays() []derivation {
	var out []derivation
	for _, u := range underLeaves {
		query := "SELECT json_array(" + u.row + ", 'under leaf', leaf) FROM " + u.table + ` AS u
			WHERE NOT EXISTS (SELECT 1 FROM leaf AS l WHERE l.idx = u.leaf AND l.kind = '` + u.kind + "')"
		if u.kind == "feed" {
			query += ` AND NOT (u.leaf < 0 AND EXISTS (SELECT 1 FROM leaf AS l WHERE l.kind = 'feed'
				AND json_extract(CAST(l.body AS TEXT), '$.body.feed') = u.feed AND json_extract(CAST(l.body AS TEXT), '$.body.contents') IS NULL))`
		}
		out = append(out, derivation{u.table, query, ""})
	}
	return out
}

// CheckDerived recomputes everything that is kept for speed alone, and calls
// fault for each row that is not what it has to be.
func (s *Store) CheckDerived(ctx context.Context, fault func(where, what string)) error {
	for _, d := range slices.Concat(derivations, strays()) {
		if err := s.checkDerived(ctx, d, fault); err != nil {
			return fmt.Errorf("recompute %s: %w", d.table, err)
		}
	}
	for _, sp := range spellings {
		if err := s.checkSpelling(ctx, sp, fault); err != nil {
			return fmt.Errorf("read %s.%s: %w", sp.table, sp.column, err)
		}
	}
	return nil
}

// spelling is a column of JSON that is held against leaves by what it says: it has
// to be spelt as it is written, for SQL reads names to the letter.
type spelling struct {
	table, key, column string
	make               func() any
}

var spellings = []spelling{
	{"asset", "id", "attributes", func() any { return new(store.Attributes) }},
	{"asset", "id", "declared", func() any { return new(classify.Declared) }},
	{"asset", "id", "classified", func() any { return new(store.Classification) }},
	{"asset", "id", "in_force", func() any { return new(store.Attributes) }},
	{"asset", "id", "head", func() any { return new(store.Head) }},
	{"asset", "id", "gaps", func() any { return new([]schema.Gap) }},
	{"undetermined", "asset", "body", func() any { return new(finding.Undetermined) }},
	{"listed", "key", "body", func() any { return new(classify.Entry) }},
	{"policy", "digest", "looser", func() any { return new([]store.LooserCell) }},
	{"report", "id", "kernel", func() any { return new(inventory.Kernel) }},
	{"report", "id", "statement", func() any { return new(schema.Report) }},
}

func (s *Store) checkSpelling(ctx context.Context, sp spelling, fault func(where, what string)) error {
	rows, err := s.reader.QueryContext(ctx, "SELECT "+sp.key+", "+sp.column+" FROM "+sp.table+" WHERE "+sp.column+" <> ''")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key, text string
		if err := rows.Scan(&key, &text); err != nil {
			return err
		}
		if err := fromJSONExact(text, sp.make()); err != nil {
			fault(sp.table, fmt.Sprintf("%s of %s: %v", sp.column, key, err))
		}
	}
	return rows.Err()
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
		return ask(d.want, "%s")
	}
	// A table that holds a row twice has other keys than it has to, so sets will do.
	if err := ask("SELECT * FROM ("+d.want+") EXCEPT SELECT * FROM ("+d.have+")", "a row %s has to be there and is not"); err != nil {
		return err
	}
	return ask("SELECT * FROM ("+d.have+") EXCEPT SELECT * FROM ("+d.want+")", "a row %s is there and must not be")
}
