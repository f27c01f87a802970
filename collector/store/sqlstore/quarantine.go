package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

// everyone is the row of quarantine_use that sums all keys.
const everyone = "*"

// maxDropped bounds the counters of dropped envelopes: a sender makes keys for
// nothing. Beyond it, keys not seen before share the counter of the empty key.
const maxDropped = 10_000

type quarantinedRow struct {
	bun.BaseModel `bun:"table:quarantine"`

	Digest  string `bun:"digest,pk"`
	Key     string `bun:"key"`
	Reason  string `bun:"reason"`
	Detail  string `bun:"detail"`
	Road    string `bun:"road"`
	Count   int64  `bun:"count"`
	FirstAt int64  `bun:"first_at"`
	LastAt  int64  `bun:"last_at"`
}

type quarantinedRawRow struct {
	bun.BaseModel `bun:"table:quarantine"`

	quarantinedRow
	Size int64  `bun:"size"`
	Raw  []byte `bun:"raw"`
}

// Quarantine records q with its leaf, or counts it when its digest is there, with
// a leaf if the reason is another than before. Beyond the limits only the
// counter of dropped envelopes grows: then kept is false. A limit of zero keeps
// nothing.
func (s *Store) Quarantine(ctx context.Context, q store.Quarantined, lim store.QuarantineLimits, leaf store.Leaf) (kept bool, err error) {
	err = s.write(ctx, "quarantine envelope", func(tx bun.Tx) error {
		counted, err := countAgain(ctx, tx, q, leaf)
		if err != nil || counted {
			kept = counted
			return err
		}
		fits, err := quarantineFits(ctx, tx, q, lim)
		if err != nil {
			return err
		}
		if !fits {
			return countDropped(ctx, tx, q)
		}
		kept = true
		if err := insertQuarantined(ctx, tx, q); err != nil {
			return err
		}
		_, err = appendLeaf(ctx, tx, leaf)
		return err
	})
	return kept && err == nil, err
}

func countAgain(ctx context.Context, tx bun.Tx, q store.Quarantined, leaf store.Leaf) (bool, error) {
	at := micros(q.LastAt)
	res, err := tx.NewRaw("UPDATE quarantine SET count = count + 1, last_at = CASE WHEN last_at < ? THEN ? ELSE last_at END WHERE digest = ?",
		at, at, q.Digest).Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	res, err = tx.NewRaw("UPDATE quarantine SET reason = ?, detail = ? WHERE digest = ? AND reason <> ?",
		words(q.Reason), words(q.Detail), q.Digest, words(q.Reason)).Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return true, err
	}
	_, err = appendLeaf(ctx, tx, leaf)
	return true, err
}

func quarantineFits(ctx context.Context, tx bun.Tx, q store.Quarantined, lim store.QuarantineLimits) (bool, error) {
	size := int64(len(q.Raw))
	for _, c := range []struct {
		key              string
		envelopes, bytes int64
	}{{q.Key, lim.PerKey, lim.BytesPerKey}, {everyone, lim.Total, lim.BytesTotal}} {
		var envelopes, bytes int64
		err := tx.NewRaw("SELECT envelopes, bytes FROM quarantine_use WHERE key = ?", c.key).Scan(ctx, &envelopes, &bytes)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		if envelopes+1 > c.envelopes || bytes+size > c.bytes {
			return false, nil
		}
	}
	return true, nil
}

func countDropped(ctx context.Context, tx bun.Tx, q store.Quarantined) error {
	key := q.Key
	var known, all int64
	err := tx.NewRaw(`SELECT (SELECT COUNT(*) FROM quarantine_dropped WHERE key = ? AND reason = ?),
		(SELECT COUNT(*) FROM quarantine_dropped)`, key, q.Reason).Scan(ctx, &known, &all)
	if err != nil {
		return err
	}
	if known == 0 && all >= maxDropped {
		key = ""
	}
	at := micros(q.LastAt)
	_, err = tx.NewRaw(`INSERT INTO quarantine_dropped (key, reason, count, first_at, last_at) VALUES (?, ?, 1, ?, ?)
		ON CONFLICT (key, reason) DO UPDATE SET count = quarantine_dropped.count + 1, last_at = excluded.last_at`,
		key, words(q.Reason), at, at).Exec(ctx)
	return err
}

func insertQuarantined(ctx context.Context, tx bun.Tx, q store.Quarantined) error {
	raw := q.Raw
	if raw == nil {
		raw = []byte{}
	}
	row := quarantinedRawRow{
		quarantinedRow: quarantinedRow{
			Digest: q.Digest, Key: q.Key, Reason: words(q.Reason), Detail: words(q.Detail), Road: words(q.Road), Count: 1,
			FirstAt: micros(q.FirstAt), LastAt: micros(q.LastAt),
		},
		Size: int64(len(raw)), Raw: raw,
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return err
	}
	return addUse(ctx, tx, q.Key, 1, row.Size)
}

func addUse(ctx context.Context, tx bun.Tx, key string, envelopes, bytes int64) error {
	for _, k := range []string{key, everyone} {
		_, err := tx.NewRaw(`INSERT INTO quarantine_use (key, envelopes, bytes) VALUES (?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET envelopes = quarantine_use.envelopes + excluded.envelopes, bytes = quarantine_use.bytes + excluded.bytes`,
			k, envelopes, bytes).Exec(ctx)
		if err != nil {
			return err
		}
	}
	_, err := tx.NewRaw("DELETE FROM quarantine_use WHERE envelopes = 0").Exec(ctx)
	return err
}

// QuarantinedEnvelopes lists without the raw bytes, newest first; the empty key
// lists all.
func (s *Store) QuarantinedEnvelopes(ctx context.Context, key string, limit int) ([]store.Quarantined, error) {
	var rows []quarantinedRow
	q := s.reader.NewSelect().Model(&rows).Order("last_at DESC", "digest")
	if key != "" {
		q = q.Where("key = ?", key)
	}
	if limit > 0 {
		q = q.Limit(int64(limit))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	list := make([]store.Quarantined, len(rows))
	for i, r := range rows {
		list[i] = r.quarantined()
	}
	return list, nil
}

// QuarantinedEnvelope returns one with the raw bytes, by its digest.
func (s *Store) QuarantinedEnvelope(ctx context.Context, digest string) (store.Quarantined, error) {
	var row quarantinedRawRow
	if err := s.reader.NewSelect().Model(&row).Where("digest = ?", digest).Scan(ctx); err != nil {
		return store.Quarantined{}, notFound(err, "quarantined envelope %q", digest)
	}
	q := row.quarantined()
	q.Raw = row.Raw
	return q, nil
}

// QuarantinedRaw lists with the raw bytes, oldest first, for one key and reason.
func (s *Store) QuarantinedRaw(ctx context.Context, key, reason string) ([]store.Quarantined, error) {
	var rows []quarantinedRawRow
	err := s.reader.NewSelect().Model(&rows).Where("key = ?", key).Where("reason = ?", reason).Order("first_at", "digest").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	list := make([]store.Quarantined, len(rows))
	for i, r := range rows {
		list[i] = r.quarantined()
		list[i].Raw = r.Raw
	}
	return list, nil
}

// EachQuarantined calls f for every quarantined envelope, with its raw bytes, by
// digest.
func (s *Store) EachQuarantined(ctx context.Context, f func(store.Quarantined) error) error {
	const atOnce = 16 // an envelope may have megabytes
	for after := ""; ; {
		var rows []quarantinedRawRow
		if err := s.reader.NewSelect().Model(&rows).Where("digest > ?", after).Order("digest").Limit(atOnce).Scan(ctx); err != nil {
			return fmt.Errorf("read quarantine: %w", err)
		}
		for _, r := range rows {
			q := r.quarantined()
			q.Raw, after = r.Raw, r.Digest
			if err := f(q); err != nil {
				return err
			}
		}
		if len(rows) < atOnce {
			return nil
		}
	}
}

// ReleaseQuarantined removes an envelope that was replayed and accepted, with its
// leaf.
func (s *Store) ReleaseQuarantined(ctx context.Context, digest string, leaf store.Leaf) error {
	return s.write(ctx, "release quarantined envelope", func(tx bun.Tx) error {
		var key string
		var size int64
		err := tx.NewRaw("DELETE FROM quarantine WHERE digest = ? RETURNING key, size", digest).Scan(ctx, &key, &size)
		if err != nil {
			return notFound(err, "quarantined envelope %s", digest)
		}
		if err := addUse(ctx, tx, key, -1, -size); err != nil {
			return err
		}
		_, err = appendLeaf(ctx, tx, leaf)
		return err
	})
}

// QuarantineKeys lists the keys with envelopes held for a reason, with counts.
func (s *Store) QuarantineKeys(ctx context.Context, reason string) (map[string]int64, error) {
	if s.position != nil {
		return nil, fmt.Errorf("keys in quarantine: %w", store.ErrNotKept)
	}
	var rows []struct {
		Key string
		N   int64
	}
	err := s.reader.NewRaw("SELECT key, COUNT(*) AS n FROM quarantine WHERE reason = ? AND key <> '' GROUP BY key", reason).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	keys := make(map[string]int64, len(rows))
	for _, r := range rows {
		keys[r.Key] = r.N
	}
	return keys, nil
}

// QuarantineUse returns how many envelopes are held, and their bytes.
func (s *Store) QuarantineUse(ctx context.Context) (envelopes, bytes int64, err error) {
	err = s.reader.NewRaw("SELECT envelopes, bytes FROM quarantine_use WHERE key = ?", everyone).Scan(ctx, &envelopes, &bytes)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, 0, fmt.Errorf("read quarantine: %w", err)
	}
	return envelopes, bytes, nil
}

// DroppedEnvelopes lists the counters of envelopes that were over the limits,
// greatest first.
func (s *Store) DroppedEnvelopes(ctx context.Context) ([]store.Dropped, error) {
	var rows []struct {
		Key     string
		Reason  string
		Count   int64
		FirstAt int64
		LastAt  int64
	}
	err := s.reader.NewRaw("SELECT key, reason, count, first_at, last_at FROM quarantine_dropped ORDER BY count DESC, key, reason").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read dropped envelopes: %w", err)
	}
	list := make([]store.Dropped, len(rows))
	for i, r := range rows {
		list[i] = store.Dropped{Key: r.Key, Reason: r.Reason, Count: r.Count, FirstAt: instant(r.FirstAt), LastAt: instant(r.LastAt)}
	}
	return list, nil
}

func (r quarantinedRow) quarantined() store.Quarantined {
	return store.Quarantined{
		Digest: r.Digest, Key: r.Key, Reason: r.Reason, Detail: r.Detail, Road: r.Road, Count: r.Count,
		FirstAt: instant(r.FirstAt), LastAt: instant(r.LastAt),
	}
}
