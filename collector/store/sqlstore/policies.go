package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type policyRow struct {
	bun.BaseModel `bun:"table:policy"`

	Leaf        int64  `bun:"leaf,pk"`
	Digest      string `bun:"digest"`
	Source      []byte `bun:"source"`
	AppliedAt   int64  `bun:"applied_at"`
	EffectiveAt int64  `bun:"effective_at"`
	AppliedBy   string `bun:"applied_by"`
	Looser      string `bun:"looser"`
	Marked      bool   `bun:"marked"`
}

// ApplyPolicy records a policy and its leaf. One that is in force at once marks
// every asset: each deadline may differ.
func (s *Store) ApplyPolicy(ctx context.Context, p store.PolicyRecord, leaf store.Leaf) (n int64, err error) {
	if p.EffectiveAt.IsZero() {
		p.EffectiveAt = p.AppliedAt
	}
	now := !p.EffectiveAt.After(p.AppliedAt)
	err = s.write(ctx, "apply policy", func(tx bun.Tx) error {
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		row, err := policyRowOf(p, n, now)
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		if !now {
			return nil
		}
		return markEvery(ctx, tx)
	})
	return n, err
}

func policyRowOf(p store.PolicyRecord, leaf int64, marked bool) (policyRow, error) {
	row := policyRow{
		Leaf: leaf, Digest: p.Digest, Source: p.Source, AppliedAt: micros(p.AppliedAt), EffectiveAt: micros(p.EffectiveAt),
		AppliedBy: p.By, Looser: "[]", Marked: marked,
	}
	if row.Source == nil {
		row.Source = []byte{}
	}
	if len(p.Looser) == 0 {
		return row, nil
	}
	var err error
	row.Looser, err = toJSON(p.Looser)
	return row, err
}

func (r *policyRow) record() (store.PolicyRecord, error) {
	p := store.PolicyRecord{
		Leaf: r.Leaf, Digest: r.Digest, Source: r.Source, AppliedAt: instant(r.AppliedAt), EffectiveAt: instant(r.EffectiveAt),
		By: r.AppliedBy,
	}
	if r.Looser == "[]" {
		return p, nil
	}
	if err := fromJSONStrict(r.Looser, &p.Looser); err != nil {
		return p, fmt.Errorf("what policy %s loosened: %w", r.Digest, err)
	}
	return p, nil
}

// PolicyHistory returns every policy that was applied, in order of leaves.
func (s *Store) PolicyHistory(ctx context.Context) ([]store.PolicyRecord, error) {
	var rows []policyRow
	if err := s.reader.NewSelect().Model(&rows).Order("leaf").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	list := make([]store.PolicyRecord, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].record(); err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
	}
	return list, nil
}

// Policy returns the policy with a digest, as it was applied first.
func (s *Store) Policy(ctx context.Context, digest string) (store.PolicyRecord, error) {
	var row policyRow
	if err := s.reader.NewSelect().Model(&row).Where("digest = ?", digest).Order("leaf").Limit(1).Scan(ctx); err != nil {
		return store.PolicyRecord{}, notFound(err, "policy %s", digest)
	}
	return row.record()
}

// PolicyInForce returns the policy in force at an instant; [store.ErrNotFound]
// before the first.
func (s *Store) PolicyInForce(ctx context.Context, at time.Time) (store.PolicyRecord, error) {
	var row policyRow
	err := s.reader.NewSelect().Model(&row).Where("effective_at <= ?", micros(at)).Order("effective_at DESC", "leaf DESC").Limit(1).Scan(ctx)
	if err != nil {
		return store.PolicyRecord{}, notFound(err, "policy")
	}
	return row.record()
}

// EnforcePolicy marks every asset for the policy of a leaf, once.
// [store.ErrNotFound] when the leaf is no policy's.
func (s *Store) EnforcePolicy(ctx context.Context, leaf int64) (first bool, err error) {
	var row policyRow
	if err := s.reader.NewSelect().Model(&row).Where("leaf = ?", leaf).Scan(ctx); err != nil {
		return false, notFound(err, "policy of leaf %d", leaf)
	}
	if row.Marked {
		return false, nil
	}
	err = s.write(ctx, "enforce policy", func(tx bun.Tx) error {
		res, err := tx.NewRaw("UPDATE policy SET marked = 1 WHERE leaf = ? AND marked = 0", leaf).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil || n == 0 {
			return err // somebody else was first
		}
		first = true
		return markEvery(ctx, tx)
	})
	return first, err
}
