package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type leafRow struct {
	bun.BaseModel `bun:"table:leaf"`

	Index int64  `bun:"idx,pk"`
	Kind  string `bun:"kind"`
	At    int64  `bun:"at"`
	Body  []byte `bun:"body"`
}

type checkpointRow struct {
	bun.BaseModel `bun:"table:checkpoint"`

	Size int64  `bun:"size,pk"`
	At   int64  `bun:"at"`
	Note []byte `bun:"note"`
}

type hashRow struct {
	bun.BaseModel `bun:"table:tree_hash"`

	Index int64  `bun:"idx,pk"`
	Hash  []byte `bun:"hash"`
}

// appendLeaf puts a leaf at the end of the log, inside the transaction of the
// fact it bears witness to.
func appendLeaf(ctx context.Context, tx bun.Tx, l store.Leaf) (int64, error) {
	if l.Kind == "" || len(l.Body) == 0 {
		return 0, errors.New("append leaf: a leaf needs a kind and a body")
	}
	n, err := leafCount(ctx, tx)
	if err != nil {
		return 0, err
	}
	row := leafRow{Index: n, Kind: l.Kind, At: micros(l.At), Body: l.Body}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return 0, fmt.Errorf("append leaf: %w", err)
	}
	return n, nil
}

// appendSealed is appendLeaf for a leaf whose body names what is written under it.
func appendSealed(ctx context.Context, tx bun.Tx, l store.Leaf, contents func() (map[string]string, error)) (int64, error) {
	if l.Seal == nil {
		return appendLeaf(ctx, tx, l)
	}
	digests, err := contents()
	if err != nil {
		return 0, fmt.Errorf("digest what is written: %w", err)
	}
	if l.Body, err = l.Seal(digests); err != nil {
		return 0, err
	}
	return appendLeaf(ctx, tx, l)
}

func leafCount(ctx context.Context, db bun.IDB) (int64, error) {
	var n int64
	if err := db.NewRaw("SELECT COALESCE(MAX(idx) + 1, 0) FROM leaf").Scan(ctx, &n); err != nil {
		return 0, fmt.Errorf("count leaves: %w", err)
	}
	return n, nil
}

// AppendLeaf records an act that has no other fact.
func (s *Store) AppendLeaf(ctx context.Context, l store.Leaf) (n int64, err error) {
	err = s.write(ctx, "append leaf", func(tx bun.Tx) error {
		n, err = appendLeaf(ctx, tx, l)
		return err
	})
	return n, err
}

// Leaves returns up to limit leaves from an index on.
func (s *Store) Leaves(ctx context.Context, from int64, limit int) ([]store.Leaf, error) {
	var rows []leafRow
	if err := s.reader.NewSelect().Model(&rows).Where("idx >= ?", from).Order("idx").Limit(int64(max(limit, 0))).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	leaves := make([]store.Leaf, len(rows))
	for i, r := range rows {
		leaves[i] = store.Leaf{Index: r.Index, Kind: r.Kind, At: instant(r.At), Body: r.Body}
	}
	return leaves, nil
}

// LeafCount returns the number of leaves.
func (s *Store) LeafCount(ctx context.Context) (int64, error) { return leafCount(ctx, s.reader) }

// Hashes returns stored tree hashes; [store.ErrNotFound] when one is missing.
func (s *Store) Hashes(ctx context.Context, indexes []int64) (map[int64][]byte, error) {
	found := make(map[int64][]byte, len(indexes))
	err := batches(indexes, rowsAtOnce, func(some []int64) error {
		var rows []hashRow
		if err := s.reader.NewSelect().Model(&rows).Where("idx IN (?)", bun.List(some)).Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			found[r.Index] = r.Hash
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tree hashes: %w", err)
	}
	for _, i := range indexes {
		if _, ok := found[i]; !ok {
			return nil, fmt.Errorf("tree hash %d: %w", i, store.ErrNotFound)
		}
	}
	return found, nil
}

// Integrate records tree hashes and the checkpoint that covers them. It returns
// [store.ErrConflict] when another call got there first.
func (s *Store) Integrate(ctx context.Context, hashes map[int64][]byte, c store.Checkpoint) error {
	return s.write(ctx, "record checkpoint", func(tx bun.Tx) error {
		if err := checkGrowth(ctx, tx, c.Size); err != nil {
			return err
		}
		rows := make([]hashRow, 0, len(hashes))
		for _, i := range slices.Sorted(maps.Keys(hashes)) {
			rows = append(rows, hashRow{Index: i, Hash: hashes[i]})
		}
		err := batches(rows, rowsAtOnce, func(some []hashRow) error {
			_, err := tx.NewInsert().Model(&some).Exec(ctx)
			return err
		})
		if isConstraint(err) {
			return fmt.Errorf("tree hashes: %w", store.ErrConflict)
		}
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(&checkpointRow{Size: c.Size, At: micros(c.At), Note: c.Note}).Exec(ctx)
		return err
	})
}

// checkGrowth refuses a checkpoint that does not extend the last one, or that
// covers leaves which are not there.
func checkGrowth(ctx context.Context, tx bun.Tx, size int64) error {
	var last int64
	if err := tx.NewRaw("SELECT COALESCE(MAX(size), 0) FROM checkpoint").Scan(ctx, &last); err != nil {
		return err
	}
	leaves, err := leafCount(ctx, tx)
	if err != nil {
		return err
	}
	if size <= last || size > leaves {
		return fmt.Errorf("size %d, the last checkpoint covers %d of %d leaves: %w", size, last, leaves, store.ErrConflict)
	}
	return nil
}

// LastCheckpoint returns the newest; [store.ErrNotFound] before the first.
func (s *Store) LastCheckpoint(ctx context.Context) (store.Checkpoint, error) {
	var row checkpointRow
	if err := s.reader.NewSelect().Model(&row).Order("size DESC").Limit(1).Scan(ctx); err != nil {
		return store.Checkpoint{}, notFound(err, "checkpoint")
	}
	return row.checkpoint(), nil
}

// Checkpoints lists all, oldest first.
func (s *Store) Checkpoints(ctx context.Context) ([]store.Checkpoint, error) {
	var rows []checkpointRow
	if err := s.reader.NewSelect().Model(&rows).Order("size").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read checkpoints: %w", err)
	}
	cs := make([]store.Checkpoint, len(rows))
	for i, r := range rows {
		cs[i] = r.checkpoint()
	}
	return cs, nil
}

func (r checkpointRow) checkpoint() store.Checkpoint {
	return store.Checkpoint{Size: r.Size, At: instant(r.At), Note: r.Note}
}

// LogState returns the log's origin and epoch; [store.ErrNotFound] before
// SetLogState.
func (s *Store) LogState(ctx context.Context) (origin string, epoch int64, err error) {
	err = s.reader.NewRaw("SELECT origin, epoch FROM log_state WHERE id = 1").Scan(ctx, &origin, &epoch)
	return origin, epoch, notFound(err, "log state")
}

// SetLogState names the log. [store.ErrExists] when it has a name already.
func (s *Store) SetLogState(ctx context.Context, origin string, epoch int64) error {
	return s.write(ctx, "name log", func(tx bun.Tx) error {
		_, err := tx.NewRaw("INSERT INTO log_state (id, origin, epoch) VALUES (1, ?, ?)", origin, epoch).Exec(ctx)
		if isConstraint(err) {
			return fmt.Errorf("log state: %w", store.ErrExists)
		}
		return err
	})
}

// StartEpoch moves the log to a later epoch, with its leaf, in one transaction.
// [store.ErrConflict] when the log is there already.
func (s *Store) StartEpoch(ctx context.Context, epoch int64, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "start log epoch", func(tx bun.Tx) error {
		res, err := tx.NewRaw("UPDATE log_state SET epoch = ? WHERE id = 1 AND epoch < ?", epoch, epoch).Exec(ctx)
		if err != nil {
			return err
		}
		if changed, err := res.RowsAffected(); err != nil || changed == 0 {
			return errors.Join(err, fmt.Errorf("epoch %d: %w", epoch, store.ErrConflict))
		}
		n, err = appendLeaf(ctx, tx, leaf)
		return err
	})
	return n, err
}
