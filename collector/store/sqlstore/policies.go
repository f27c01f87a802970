package sqlstore

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type policyRow struct {
	bun.BaseModel `bun:"table:policy"`

	Leaf      int64  `bun:"leaf,pk"`
	Digest    string `bun:"digest"`
	Source    []byte `bun:"source"`
	AppliedAt int64  `bun:"applied_at"`
}

// ApplyPolicy records a policy and its leaf, and marks every asset: each
// deadline may differ.
func (s *Store) ApplyPolicy(ctx context.Context, p store.PolicyRecord, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "apply policy", func(tx bun.Tx) error {
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		source := p.Source
		if source == nil {
			source = []byte{}
		}
		row := policyRow{Leaf: n, Digest: p.Digest, Source: source, AppliedAt: micros(p.AppliedAt)}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		return markEvery(ctx, tx)
	})
	return n, err
}

// CurrentPolicy returns the newest; [store.ErrNotFound] before the first.
func (s *Store) CurrentPolicy(ctx context.Context) (store.PolicyRecord, error) {
	var row policyRow
	if err := s.reader.NewSelect().Model(&row).Order("leaf DESC").Limit(1).Scan(ctx); err != nil {
		return store.PolicyRecord{}, notFound(err, "policy")
	}
	return store.PolicyRecord{Digest: row.Digest, Source: row.Source, AppliedAt: instant(row.AppliedAt)}, nil
}
