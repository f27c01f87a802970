package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type retirementRow struct {
	bun.BaseModel `bun:"table:retirement"`

	Asset string `bun:"asset,pk"`
	Leaf  int64  `bun:"leaf,pk"`
	Body  string `bun:"body"`
}

// Retire records a retirement, or that one is taken back, with its leaf, and marks
// the asset. [store.ErrConflict] when it says nothing new, or a report came after
// the instant it speaks of.
func (s *Store) Retire(ctx context.Context, asset string, r store.Retirement, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "record retirement", func(tx bun.Tx) error {
		var row assetRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", asset).Scan(ctx); err != nil {
			return notFound(err, "asset %s", asset)
		}
		a, err := row.asset()
		if err != nil {
			return err
		}
		if err := retirable(&a, r); err != nil {
			return err
		}
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		r.Leaf, r.At, r.Recorded, r.Reason, r.By = n, exact(r.At), exact(leaf.At), words(r.Reason), words(r.By)
		body, err := toJSON(r)
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&retirementRow{Asset: asset, Leaf: n, Body: body}).Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewRaw("UPDATE asset SET retirement = ? WHERE id = ?", body, asset).Exec(ctx); err != nil {
			return err
		}
		return markAssets(ctx, tx, []string{asset})
	})
	if err != nil {
		n = -1
	}
	return n, err
}

// retirable refuses an act that contradicts what is on record.
func retirable(a *store.Asset, r store.Retirement) error {
	gone := a.Gone()
	switch {
	case !r.Retired && gone == nil:
		return fmt.Errorf("asset %s is not retired: %w", a.ID, store.ErrConflict)
	case r.Retired && a.Head != nil && a.Head.ReceivedAt.After(r.At):
		return fmt.Errorf("asset %s reported at %s, after %s: %w", a.ID,
			a.Head.ReceivedAt.Format(time.RFC3339), r.At.Format(time.RFC3339), store.ErrConflict)
	case r.Retired && gone != nil && gone.Retired && a.Away() != nil:
		return fmt.Errorf("asset %s is retired since %s: %w", a.ID, gone.Since.Format(time.RFC3339), store.ErrConflict)
	}
	return nil
}

// Retirements returns what was ever said of an asset, oldest first.
func (s *Store) Retirements(ctx context.Context, asset string) ([]store.Retirement, error) {
	var rows []retirementRow
	if err := s.reader.NewSelect().Model(&rows).Where("? IN ('', asset)", asset).Order("leaf").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read retirements of %s: %w", asset, err)
	}
	out := make([]store.Retirement, len(rows))
	for i, row := range rows {
		if err := fromJSONStrict(row.Body, &out[i]); err != nil {
			return nil, fmt.Errorf("retirement of %s at leaf %d: %w", asset, row.Leaf, err)
		}
		if again, err := toJSON(out[i]); err != nil || again != row.Body {
			return nil, fmt.Errorf("retirement of %s at leaf %d: its body is not as it was written", asset, row.Leaf)
		}
		if out[i].Leaf != row.Leaf {
			return nil, fmt.Errorf("retirement of %s at leaf %d: it is of leaf %d by its body", asset, row.Leaf, out[i].Leaf)
		}
	}
	return out, nil
}
