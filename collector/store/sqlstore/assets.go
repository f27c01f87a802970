package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

type assetRow struct {
	bun.BaseModel `bun:"table:asset"`

	ID               string  `bun:"id,pk"`
	Name             string  `bun:"name"`
	Key              string  `bun:"key"`
	TransportKey     string  `bun:"transport_key"`
	TrustedAt        int64   `bun:"trusted_at"`
	Attributes       string  `bun:"attributes"`
	Head             *string `bun:"head"`
	HeadSequence     int64   `bun:"head_sequence"`
	HeadRelease      string  `bun:"head_release"`
	AssessedSequence int64   `bun:"assessed_sequence"`
	Refold           bool    `bun:"refold"`
	AssessedAt       int64   `bun:"assessed_at"`
	Covered          bool    `bun:"covered"`
	Gaps             string  `bun:"gaps"`
	Declared         string  `bun:"declared"`
	Classified       string  `bun:"classified"`
	InForce          string  `bun:"in_force"`
	AttributesBy     string  `bun:"attributes_by"`
	AttributesAt     int64   `bun:"attributes_at"`
	Forked           bool    `bun:"forked"`
	Moved            bool    `bun:"moved"`
	Retirement       string  `bun:"retirement"`
}

// TrustKey records a new asset for a key, with its leaf. [store.ErrExists] when
// the key is already trusted or the id is taken.
func (s *Store) TrustKey(ctx context.Context, a store.Asset, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "trust key", func(tx bun.Tx) error {
		if a.ID == "" || a.Key == "" {
			return errors.New("an asset needs an id and a key")
		}
		var taken int
		err := tx.NewRaw("SELECT (SELECT COUNT(*) FROM asset_key WHERE key = ?) + (SELECT COUNT(*) FROM asset WHERE id = ?)", a.Key, a.ID).Scan(ctx, &taken)
		if err != nil {
			return err
		}
		if taken > 0 {
			return fmt.Errorf("key %s: %w", a.Key, store.ErrExists)
		}
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		return insertAsset(ctx, tx, a, n, leaf)
	})
	return n, err
}

// insertAsset writes a new asset; what only reports and assessments can say
// begins empty, whatever a holds.
func insertAsset(ctx context.Context, tx bun.Tx, a store.Asset, leaf int64, act store.Leaf) error {
	attributes, err := toJSON(a.Attributes)
	if err != nil {
		return err
	}
	if a.Declared == (classify.Declared{}) {
		a.Declared = classify.Declared{Attributes: a.Attributes}
	}
	if a.Declared.At.IsZero() {
		a.Declared.At = a.TrustedAt
	}
	declared, err := toJSON(exactDeclared(a.Declared))
	if err != nil {
		return err
	}
	row := assetRow{
		ID: a.ID, Name: words(a.Name), Key: a.Key, TransportKey: a.TransportKey, TrustedAt: micros(a.TrustedAt), Attributes: attributes,
		AssessedAt: zeroTime, Gaps: "[]", Declared: declared, AttributesBy: leafBy(act), AttributesAt: micros(act.At),
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return err
	}
	_, err = tx.NewRaw("INSERT INTO asset_key (key, asset, trusted_at, leaf) VALUES (?, ?, ?, ?)", a.Key, a.ID, row.TrustedAt, leaf).Exec(ctx)
	return err
}

// exactDeclared is d as it will come back.
func exactDeclared(d classify.Declared) classify.Declared {
	d.At = exact(d.At)
	return d
}

// SetAttributes replaces an asset's name and what is declared of it, which holds
// alone until the next classification, marks it dirty, and appends the leaf.
func (s *Store) SetAttributes(ctx context.Context, id, name string, at store.Attributes, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "set attributes", func(tx bun.Tx) error {
		if err := assetThere(ctx, tx, id); err != nil {
			return err
		}
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		text, err := toJSON(at)
		if err != nil {
			return err
		}
		declared, err := toJSON(exactDeclared(classify.Declared{Attributes: at, At: leaf.At}))
		if err != nil {
			return err
		}
		_, err = tx.NewRaw("UPDATE asset SET name = ?, attributes = ?, attributes_by = ?, attributes_at = ?, declared = ?, classified = '' WHERE id = ?",
			words(name), text, leafBy(leaf), micros(leaf.At), declared, id).Exec(ctx)
		if err != nil {
			return err
		}
		return markAssets(ctx, tx, []string{id})
	})
	return n, err
}

// AssetByKey finds the asset a key is trusted for.
func (s *Store) AssetByKey(ctx context.Context, key string) (store.Asset, error) {
	var row assetRow
	err := s.reader.NewSelect().Model(&row).Where("id = (SELECT asset FROM asset_key WHERE key = ?)", key).Scan(ctx)
	if err != nil {
		return store.Asset{}, notFound(err, "asset with key %s", key)
	}
	return row.asset()
}

// maxNamed is how many ids an error on an ambiguous name lists.
const maxNamed = 8

// Asset finds by id or by exact name; an id wins over a name.
// [store.ErrConflict] when several assets bear the name.
func (s *Store) Asset(ctx context.Context, idOrName string) (store.Asset, error) {
	var rows []assetRow
	err := s.reader.NewSelect().Model(&rows).Where("id = ? OR name = ?", idOrName, idOrName).Order("id").Scan(ctx)
	if err != nil {
		return store.Asset{}, fmt.Errorf("read asset: %w", err)
	}
	for _, r := range rows {
		if r.ID == idOrName {
			return r.asset()
		}
	}
	switch len(rows) {
	case 0:
		return store.Asset{}, fmt.Errorf("asset %q: %w", idOrName, store.ErrNotFound)
	case 1:
		return rows[0].asset()
	default:
		ids := make([]string, 0, maxNamed)
		for _, r := range rows[:min(len(rows), maxNamed)] {
			ids = append(ids, r.ID)
		}
		if len(rows) > maxNamed {
			ids = append(ids, "...")
		}
		return store.Asset{}, fmt.Errorf("%d assets are named %q, say which by its id (%s): %w", len(rows), idOrName, strings.Join(ids, ", "), store.ErrConflict)
	}
}

// AssetsByID returns those of some ids that there are, in no order.
func (s *Store) AssetsByID(ctx context.Context, ids []string) ([]store.Asset, error) {
	var rows []assetRow
	err := batches(ids, rowsAtOnce, func(some []string) error {
		var more []assetRow
		err := s.reader.NewSelect().Model(&more).Where("id IN (?)", bun.List(some)).Scan(ctx)
		rows = append(rows, more...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	return assetsOf(rows)
}

// Assets lists all, ordered by name, id.
func (s *Store) Assets(ctx context.Context) ([]store.Asset, error) {
	var rows []assetRow
	if err := s.reader.NewSelect().Model(&rows).Order("name", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	return assetsOf(rows)
}

func assetsOf(rows []assetRow) ([]store.Asset, error) {
	assets := make([]store.Asset, len(rows))
	for i, r := range rows {
		a, err := r.asset()
		if err != nil {
			return nil, err
		}
		assets[i] = a
	}
	return assets, nil
}

func (r assetRow) asset() (store.Asset, error) {
	a := store.Asset{
		ID: r.ID, Name: r.Name, Key: r.Key, TransportKey: r.TransportKey, TrustedAt: instant(r.TrustedAt),
		Forked: r.Forked, Moved: r.Moved,
		AssessedSequence: uint64(r.AssessedSequence), Refold: r.Refold, AssessedAt: instant(r.AssessedAt), Covered: r.Covered,
	}
	err := errors.Join(fromJSONStrict(r.Attributes, &a.Attributes), fromJSON(r.Gaps, &a.Gaps))
	if r.Declared != "" {
		err = errors.Join(err, fromJSONStrict(r.Declared, &a.Declared))
	}
	if r.Classified != "" {
		a.Classified = new(store.Classification)
		err = errors.Join(err, fromJSONStrict(r.Classified, a.Classified))
	}
	if r.Retirement != "" {
		a.Retirement = new(store.Retirement)
		err = errors.Join(err, fromJSONStrict(r.Retirement, a.Retirement))
	}
	a.AttributesBy, a.AttributesAt = r.AttributesBy, instant(r.AttributesAt)
	if r.InForce != "" {
		a.InForce = new(store.Attributes)
		err = errors.Join(err, fromJSON(r.InForce, a.InForce))
	}
	if r.Head != nil {
		a.Head = new(store.Head)
		err = errors.Join(err, fromJSONStrict(*r.Head, a.Head))
	}
	if err != nil {
		return a, fmt.Errorf("asset %s: %w", r.ID, err)
	}
	if len(a.Gaps) == 0 {
		a.Gaps = nil
	}
	return a, nil
}

// AttributesOf returns the attributes of some assets; unknown ones are absent.
func (s *Store) AttributesOf(ctx context.Context, assets []string) (map[string]store.Attributes, error) {
	out := make(map[string]store.Attributes, len(assets))
	err := batches(assets, rowsAtOnce, func(some []string) error {
		var rows []struct{ ID, Attributes string }
		if err := s.reader.NewRaw("SELECT id, attributes FROM asset WHERE id IN (?)", bun.List(some)).Scan(ctx, &rows); err != nil {
			return err
		}
		for _, r := range rows {
			var at store.Attributes
			if err := fromJSON(r.Attributes, &at); err != nil {
				return fmt.Errorf("asset %s: %w", r.ID, err)
			}
			out[r.ID] = at
		}
		return nil
	})
	return out, translate("read attributes", err)
}
