package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/uptrace/bun"
)

// contents are the lists of rows that leaves name by digest: for each, what
// selects the rows of a leaf as one text each, a JSON array of the columns.
var contents = map[string]string{
	"advisories": "SELECT json_array(feed, id, digest, missing) FROM advisory_state WHERE leaf = ? ORDER BY feed, id",
	"fixes":      "SELECT json_array(release, feed, id, fix, first_at) FROM advisory_fix WHERE leaf = ? ORDER BY release, feed, id, fix",
	"facts_seen": "SELECT json_array(vulnerability, body) FROM fact_seen WHERE leaf = ? ORDER BY vulnerability",
}

// Contents returns the digests of the rows that were written under a leaf, by the
// names of their lists; of those without rows it is that of the empty text.
func (s *Store) Contents(ctx context.Context, leaf int64) (map[string]string, error) {
	digests, err := rowsUnder(ctx, s.reader, leaf, "advisories", "fixes", "facts_seen")
	if err != nil {
		return nil, fmt.Errorf("read what was written under leaf %d: %w", leaf, err)
	}
	return digests, nil
}

// FactsDigest returns the digest of the facts of one kind of feed as they stand.
func (s *Store) FactsDigest(ctx context.Context, kind string) (string, error) {
	digest, err := factsDigest(ctx, s.reader, kind)
	if err != nil {
		return "", fmt.Errorf("read facts of %s: %w", kind, err)
	}
	return digest, nil
}

// FactKinds lists the kinds of feed that facts are held of.
func (s *Store) FactKinds(ctx context.Context) ([]string, error) {
	var kinds []string
	if err := s.reader.NewRaw("SELECT DISTINCT kind FROM fact ORDER BY kind").Scan(ctx, &kinds); err != nil {
		return nil, fmt.Errorf("read kinds of facts: %w", err)
	}
	return kinds, nil
}

func rowsUnder(ctx context.Context, db bun.IDB, leaf int64, lists ...string) (map[string]string, error) {
	digests := map[string]string{}
	for _, name := range lists {
		var err error
		if digests[name], err = digestRows(ctx, db, contents[name], leaf); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return digests, nil
}

// factsDigest is over the lines of a kind's facts in order of vulnerability.
func factsDigest(ctx context.Context, db bun.IDB, kind string) (string, error) {
	return digestRows(ctx, db, "SELECT vulnerability || ' ' || missing || ' ' || leaf || ' ' || body FROM fact WHERE kind = ? ORDER BY vulnerability", kind)
}

// digestRows is the SHA-256 (hex) over the texts that a query selects, each with
// a newline after it. No text has a newline inside: they are JSON, or begin with
// what is.
func digestRows(ctx context.Context, db bun.IDB, query string, args ...any) (string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	h := sha256.New()
	var line []byte
	for rows.Next() {
		if err := rows.Scan(&line); err != nil {
			return "", err
		}
		write(h, line)
	}
	return hex.EncodeToString(h.Sum(nil)), rows.Err()
}

func write(h hash.Hash, line []byte) {
	_, _ = h.Write(line)
	_, _ = h.Write([]byte{'\n'})
}
