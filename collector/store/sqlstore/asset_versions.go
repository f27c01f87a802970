package sqlstore

import (
	"context"
	"fmt"

	"github.com/patchproof/patchproof/collector/store"
)

// versionColumns are the columns of assets that are kept by leaves.
const versionColumns = "id, leaf, name, key, transport_key, trusted_at, attributes, covered, gaps, declared, classified, in_force, attributes_by, attributes_at"

// AssetVersions returns every state of an asset but its reports, oldest first.
func (s *Store) AssetVersions(ctx context.Context, id string) ([]store.AssetVersion, error) {
	var rows []struct {
		assetRow
		Leaf int64 `bun:"leaf"`
		At   int64 `bun:"at"`
	}
	err := s.reader.NewRaw("SELECT v.*, COALESCE(l.at, ?) AS at FROM (SELECT "+versionColumns+" FROM asset_past WHERE id = ? "+
		"AND leaf < (SELECT leaf FROM asset WHERE id = ?) UNION ALL SELECT "+versionColumns+" FROM asset WHERE id = ?) AS v "+
		"LEFT JOIN leaf AS l ON l.idx = v.leaf ORDER BY v.leaf", zeroTime, id, id, id).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read states of asset %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("asset %s: %w", id, store.ErrNotFound)
	}
	out := make([]store.AssetVersion, len(rows))
	for i := range rows {
		out[i] = store.AssetVersion{Leaf: rows[i].Leaf, At: instant(rows[i].At)}
		if out[i].Asset, err = rows[i].asset(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AssetKeys returns the keys ever trusted for an asset, by leaf.
func (s *Store) AssetKeys(ctx context.Context, id string) ([]store.TrustedKey, error) {
	var rows []struct {
		Key       string
		TrustedAt int64
		Leaf      int64
	}
	if err := s.reader.NewRaw("SELECT key, trusted_at, leaf FROM asset_key WHERE asset = ? ORDER BY leaf, key", id).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("read keys of asset %s: %w", id, err)
	}
	keys := make([]store.TrustedKey, len(rows))
	for i, r := range rows {
		keys[i] = store.TrustedKey{Key: r.Key, Asset: id, TrustedAt: instant(r.TrustedAt), Leaf: r.Leaf}
	}
	return keys, nil
}
