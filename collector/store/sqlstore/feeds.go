package sqlstore

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// HoldBatch records that a snapshot was held, with its leaf.
func (s *Store) HoldBatch(ctx context.Context, f advisory.Feed, h store.Held, leaf store.Leaf) error {
	return s.write(ctx, "hold batch of feed "+f.Name, func(tx bun.Tx) error {
		row := feedRow{Name: f.Name, Kind: f.Kind, Published: zeroTime, ImportedAt: zeroTime, SnapshotAt: zeroTime}
		old, err := readFeed(ctx, tx, f)
		if err != nil {
			return err
		}
		if old != nil {
			row = *old
		}
		row.HeldDigest, row.HeldAt, row.HeldReason = h.Digest, micros(h.At), words(h.Reason)
		if err := putFeed(ctx, tx, row); err != nil {
			return err
		}
		n, err := appendLeaf(ctx, tx, leaf)
		if err != nil {
			return err
		}
		return keepFeeds(ctx, tx, f.Kind, n)
	})
}

// Feeds lists all by name.
func (s *Store) Feeds(ctx context.Context) ([]store.FeedState, error) {
	read := s.feeds
	if s.position != nil {
		read = s.feedsOfThePast
	}
	feeds, err := read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read feeds: %w", err)
	}
	return feeds, nil
}

// feedCounts remembers what feeds hold: counting half a million facts for each
// answer would cost more than the answer.
type feedCounts struct {
	mu     sync.Mutex
	key    feedKey
	states []store.FeedState
}

// feedKey tells whether anything was applied since: every act on a feed changes
// its row, and every change of what is held moves a counter.
type feedKey struct {
	rows  []feedRow
	moved int64
}

func (s *Store) feeds(ctx context.Context) ([]store.FeedState, error) {
	var key feedKey
	if err := s.reader.NewSelect().Model(&key.rows).Order("name").Scan(ctx); err != nil {
		return nil, err
	}
	err := s.reader.NewRaw("SELECT COALESCE(SUM(value), 0) FROM counter WHERE name = 'facts' OR name LIKE 'release:%'").Scan(ctx, &key.moved)
	if err != nil {
		return nil, err
	}
	c := s.feedCounts
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.states == nil || !reflect.DeepEqual(c.key, key) {
		states, err := s.countFeeds(ctx, key.rows)
		if err != nil {
			return nil, err
		}
		c.key, c.states = key, states
	}
	states := slices.Clone(c.states)
	for i := range states {
		states[i].Releases = slices.Clone(states[i].Releases)
		if h := states[i].Held; h != nil {
			held := *h
			states[i].Held = &held
		}
	}
	return states, nil
}

func (s *Store) countFeeds(ctx context.Context, rows []feedRow) ([]store.FeedState, error) {
	states := make([]store.FeedState, len(rows))
	for i := range rows {
		states[i] = rows[i].state()
		if err := countFeed(ctx, s.reader, &states[i]); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// state is what a feed's own row says.
func (r feedRow) state() store.FeedState {
	st := store.FeedState{
		Feed: advisory.Feed{Name: r.Name, Kind: r.Kind}, Digest: r.Digest, Published: instant(r.Published),
		ImportedAt: instant(r.ImportedAt), SnapshotAt: instant(r.SnapshotAt),
	}
	if r.HeldDigest != "" || r.HeldReason != "" {
		st.Held = &store.Held{Digest: r.HeldDigest, At: instant(r.HeldAt), Reason: r.HeldReason}
	}
	return st
}

func countFeed(ctx context.Context, db bun.IDB, st *store.FeedState) error {
	var goneAdvisories, goneFacts int
	err := db.NewRaw(`SELECT COUNT(*), COALESCE(SUM(CASE WHEN withdrawn THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN missing THEN 1 ELSE 0 END), 0) FROM advisory WHERE feed = ?`, st.Feed.Name).
		Scan(ctx, &st.Advisories, &st.Withdrawn, &goneAdvisories)
	if err != nil {
		return err
	}
	err = db.NewRaw("SELECT COUNT(*), COALESCE(SUM(CASE WHEN missing THEN 1 ELSE 0 END), 0) FROM fact WHERE kind = ?", st.Feed.Kind).
		Scan(ctx, &st.Facts, &goneFacts)
	if err != nil {
		return err
	}
	st.Missing = goneAdvisories + goneFacts
	st.Releases, err = releases(ctx, db, "WHERE feed = ?", st.Feed.Name)
	return err
}

// CoveredReleases lists the releases that some feed covers, in order.
func (s *Store) CoveredReleases(ctx context.Context) ([]inventory.Release, error) {
	list, err := releases(ctx, s.reader, "")
	if err != nil {
		return nil, fmt.Errorf("read covered releases: %w", err)
	}
	return list, nil
}

func releases(ctx context.Context, db bun.IDB, where string, args ...any) ([]inventory.Release, error) {
	var list []inventory.Release
	err := db.NewRaw("SELECT DISTINCT distro, version FROM feed_release "+where+" ORDER BY distro, version", args...).Scan(ctx, &list)
	return list, err
}

// FeedVulnerabilities lists the vulnerabilities a feed names now, in advisories
// or facts that are neither missing nor withdrawn.
func (s *Store) FeedVulnerabilities(ctx context.Context, feed string) (map[string]struct{}, error) {
	var names []string
	err := s.reader.NewRaw(`SELECT n.vulnerability FROM advisory_vulnerability AS n
		JOIN advisory AS a ON a.feed = n.feed AND a.id = n.id
		WHERE a.feed = ? AND NOT a.missing AND NOT a.withdrawn
		UNION SELECT vulnerability FROM fact WHERE NOT missing AND kind = (SELECT kind FROM feed WHERE name = ?)`, feed, feed).Scan(ctx, &names)
	if err != nil {
		return nil, fmt.Errorf("read vulnerabilities of feed %s: %w", feed, err)
	}
	return set(names), nil
}

func set(names []string) map[string]struct{} {
	m := make(map[string]struct{}, len(names))
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}
