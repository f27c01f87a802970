package sqlstore

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// feedVersionRow is what was held of a feed from a leaf on.
type feedVersionRow struct {
	bun.BaseModel `bun:"table:feed_version"`

	Feed       string `bun:"feed,pk"`
	Leaf       int64  `bun:"leaf,pk"`
	Kind       string `bun:"kind"`
	Digest     string `bun:"digest"`
	Published  int64  `bun:"published"`
	ImportedAt int64  `bun:"imported_at"`
	SnapshotAt int64  `bun:"snapshot_at"`
	HeldDigest string `bun:"held_digest"`
	HeldAt     int64  `bun:"held_at"`
	HeldReason string `bun:"held_reason"`
	Advisories int    `bun:"advisories"`
	Withdrawn  int    `bun:"withdrawn"`
	Facts      int    `bun:"facts"`
	Missing    int    `bun:"missing"`
	Releases   string `bun:"releases"`
}

// keepFeeds records what is held of the feeds of a kind, under the leaf of the act
// that changed one: feeds of a kind share their facts.
func keepFeeds(ctx context.Context, tx bun.Tx, kind string, leaf int64) error {
	var rows []feedRow
	if err := tx.NewSelect().Model(&rows).Where("kind = ?", kind).Order("name").Scan(ctx); err != nil {
		return err
	}
	versions := make([]feedVersionRow, len(rows))
	for i := range rows {
		st := rows[i].state()
		if err := countFeed(ctx, tx, &st); err != nil {
			return err
		}
		releases, err := toJSON(append([]inventory.Release{}, st.Releases...))
		if err != nil {
			return err
		}
		r := &rows[i]
		versions[i] = feedVersionRow{
			Feed: r.Name, Leaf: leaf, Kind: r.Kind, Digest: r.Digest, Published: r.Published, ImportedAt: r.ImportedAt,
			SnapshotAt: r.SnapshotAt, HeldDigest: r.HeldDigest, HeldAt: r.HeldAt, HeldReason: r.HeldReason,
			Advisories: st.Advisories, Withdrawn: st.Withdrawn, Facts: st.Facts, Missing: st.Missing, Releases: releases,
		}
	}
	return insert(ctx, tx, versions, "")
}

// feedsOfThePast are the feeds as their newest versions in view have them.
func (s *Store) feedsOfThePast(ctx context.Context) ([]store.FeedState, error) {
	var rows []feedVersionRow
	err := s.reader.NewSelect().Model(&rows).
		Where("leaf = (SELECT MAX(n.leaf) FROM feed_version AS n WHERE n.feed = feed_version_row.feed)").Order("feed").Scan(ctx)
	if err != nil {
		return nil, err
	}
	states := make([]store.FeedState, len(rows))
	for i, r := range rows {
		row := feedRow{
			Name: r.Feed, Kind: r.Kind, Digest: r.Digest, Published: r.Published, ImportedAt: r.ImportedAt, SnapshotAt: r.SnapshotAt,
			HeldDigest: r.HeldDigest, HeldAt: r.HeldAt, HeldReason: r.HeldReason,
		}
		states[i] = row.state()
		st := &states[i]
		st.Advisories, st.Withdrawn, st.Facts, st.Missing = r.Advisories, r.Withdrawn, r.Facts, r.Missing
		if err := fromJSONStrict(r.Releases, &st.Releases); err != nil {
			return nil, err
		}
		if len(st.Releases) == 0 {
			st.Releases = nil
		}
	}
	return states, nil
}
