package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

type feedRow struct {
	bun.BaseModel `bun:"table:feed"`

	Name       string `bun:"name,pk"`
	Kind       string `bun:"kind"`
	Digest     string `bun:"digest"`
	Published  int64  `bun:"published"`
	ImportedAt int64  `bun:"imported_at"`
	SnapshotAt int64  `bun:"snapshot_at"`
	HeldDigest string `bun:"held_digest"`
	HeldAt     int64  `bun:"held_at"`
	HeldReason string `bun:"held_reason"`
}

// application is one batch on its way into the database.
type application struct {
	tx    bun.Tx
	batch advisory.Batch
	at    time.Time
	// asOf is when the feed carried what the batch says: the publisher's own date
	// of the data when it is earlier than the import.
	asOf time.Time
	// older is set when the feed held data of a later date before.
	older bool

	applied store.Applied
	// releases whose advisories or coverage changed, and vulnerabilities whose
	// facts changed enough to matter to a verdict.
	releases map[string]struct{}
	facts    []string
	// leaf is the index the batch's leaf will have.
	leaf int64
}

// ApplyBatch records a batch and marks the assets it touches, in one
// transaction. An advisory that a snapshot no longer lists is kept and counted
// missing. Facts are merged by vulnerability and feed kind.
//
// An asset is touched when an advisory for its head's release changed, when the
// coverage of that release changed, or when a vulnerability it has a running
// finding for got other facts. An EPSS score counts as changed for that purpose
// when it crosses a multiple of 0.01: nearly every score moves a little every
// day, and a verdict asks only on which side of a threshold it lies.
func (s *Store) ApplyBatch(ctx context.Context, b advisory.Batch, at time.Time, leaf store.Leaf) (store.Applied, error) {
	var applied store.Applied
	err := s.write(ctx, "apply batch of feed "+b.Feed.Name, func(tx bun.Tx) error {
		ap := &application{tx: tx, batch: b, at: at, asOf: at, releases: map[string]struct{}{}}
		if !b.Published.IsZero() && b.Published.Before(at) {
			ap.asOf = b.Published
		}
		if err := ap.run(ctx, leaf); err != nil {
			return err
		}
		applied = ap.applied
		return nil
	})
	return applied, err
}

func (ap *application) run(ctx context.Context, leaf store.Leaf) (err error) {
	if ap.leaf, err = leafCount(ctx, ap.tx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{ap.feed, ap.coverage, ap.advisories, ap.mergeFacts, ap.generations, ap.mark} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	ap.applied.Leaf, err = appendSealed(ctx, ap.tx, leaf, func() (map[string]string, error) { return ap.contents(ctx) })
	if err != nil {
		return err
	}
	return keepFeeds(ctx, ap.tx, ap.batch.Feed.Kind, ap.leaf)
}

// contents are the digests of what the batch wrote, and of the facts of its kind
// as they now stand: there are too many to keep each of their states.
func (ap *application) contents(ctx context.Context) (map[string]string, error) {
	contents, err := rowsUnder(ctx, ap.tx, ap.leaf, "advisories", "fixes")
	if err != nil || len(ap.batch.Facts) == 0 && !ap.batch.Snapshot {
		return contents, err
	}
	contents["facts"], err = factsDigest(ctx, ap.tx, ap.batch.Feed.Kind)
	return contents, err
}

// feed writes the feed's own row. A snapshot that was applied is no longer held.
func (ap *application) feed(ctx context.Context) error {
	b := ap.batch
	if b.Feed.Name == "" || b.Feed.Kind == "" {
		return errors.New("a batch needs its feed's name and kind")
	}
	row := feedRow{
		Name: b.Feed.Name, Kind: b.Feed.Kind, Digest: b.Digest, Published: micros(b.Published), ImportedAt: micros(ap.at),
		SnapshotAt: zeroTime, HeldAt: zeroTime,
	}
	old, err := readFeed(ctx, ap.tx, b.Feed)
	if err != nil {
		return err
	}
	if old != nil {
		ap.older = old.ImportedAt != zeroTime && micros(ap.asOf) < old.asOf()
		row.SnapshotAt, row.HeldDigest, row.HeldAt, row.HeldReason = old.SnapshotAt, old.HeldDigest, old.HeldAt, old.HeldReason
	}
	if b.Snapshot {
		row.SnapshotAt, row.HeldDigest, row.HeldAt, row.HeldReason = micros(ap.at), "", zeroTime, ""
	}
	return putFeed(ctx, ap.tx, row)
}

func (r feedRow) asOf() int64 {
	if r.Published != zeroTime && r.Published < r.ImportedAt {
		return r.Published
	}
	return r.ImportedAt
}

// readFeed returns nil when the feed is new.
func readFeed(ctx context.Context, tx bun.Tx, f advisory.Feed) (*feedRow, error) {
	var rows []feedRow
	if err := tx.NewSelect().Model(&rows).Where("name = ?", f.Name).Scan(ctx); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, nil //nolint:nilnil // absence is the answer
	}
	if rows[0].Kind != f.Kind {
		return nil, fmt.Errorf("feed %s is of kind %s, the batch says %s", f.Name, rows[0].Kind, f.Kind)
	}
	return &rows[0], nil
}

func putFeed(ctx context.Context, tx bun.Tx, row feedRow) error {
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (name) DO UPDATE").
		Set("digest = EXCLUDED.digest, published = EXCLUDED.published, imported_at = EXCLUDED.imported_at").
		Set("snapshot_at = EXCLUDED.snapshot_at, held_digest = EXCLUDED.held_digest").
		Set("held_at = EXCLUDED.held_at, held_reason = EXCLUDED.held_reason").Exec(ctx)
	return err
}

type feedReleaseRow struct {
	bun.BaseModel `bun:"table:feed_release"`

	Feed    string `bun:"feed,pk"`
	Distro  string `bun:"distro,pk"`
	Version string `bun:"version,pk"`
}

// coverage replaces the releases a feed covers by those of a snapshot, and adds
// those of an upsert.
func (ap *application) coverage(ctx context.Context) error {
	var rows []feedReleaseRow
	if err := ap.tx.NewSelect().Model(&rows).Where("feed = ?", ap.batch.Feed.Name).Scan(ctx); err != nil {
		return err
	}
	held := map[inventory.Release]struct{}{}
	for _, r := range rows {
		held[inventory.Release{Distro: r.Distro, Version: r.Version}] = struct{}{}
	}
	for _, r := range ap.batch.Releases {
		if _, ok := held[r]; ok {
			delete(held, r)
			continue
		}
		ap.releases[r.String()] = struct{}{}
		row := feedReleaseRow{Feed: ap.batch.Feed.Name, Distro: r.Distro, Version: r.Version}
		if _, err := ap.tx.NewInsert().Model(&row).Ignore().Exec(ctx); err != nil {
			return err
		}
	}
	if !ap.batch.Snapshot {
		return nil
	}
	for r := range held {
		ap.releases[r.String()] = struct{}{}
		_, err := ap.tx.NewRaw("DELETE FROM feed_release WHERE feed = ? AND distro = ? AND version = ?", ap.batch.Feed.Name, r.Distro, r.Version).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

type advisoryRow struct {
	bun.BaseModel `bun:"table:advisory"`

	Feed      string `bun:"feed,pk"`
	ID        string `bun:"id,pk"`
	Digest    string `bun:"digest"`
	Withdrawn bool   `bun:"withdrawn"`
	Missing   bool   `bun:"missing"`
}

type versionRow struct {
	bun.BaseModel `bun:"table:advisory_version"`

	Feed    string `bun:"feed,pk"`
	ID      string `bun:"id,pk"`
	Digest  string `bun:"digest,pk"`
	FirstAt int64  `bun:"first_at"`
	Body    string `bun:"body"`
}

// stateOfRow is a state of an advisory, from a leaf on.
type stateOfRow struct {
	bun.BaseModel `bun:"table:advisory_state"`

	Feed    string `bun:"feed,pk"`
	ID      string `bun:"id,pk"`
	Leaf    int64  `bun:"leaf,pk"`
	Digest  string `bun:"digest"`
	Missing bool   `bun:"missing"`
}

type advisoryReleaseRow struct {
	bun.BaseModel `bun:"table:advisory_release"`

	Release string `bun:"release,pk"`
	Feed    string `bun:"feed,pk"`
	ID      string `bun:"id,pk"`
}

type advisoryVulnerabilityRow struct {
	bun.BaseModel `bun:"table:advisory_vulnerability"`

	Vulnerability string `bun:"vulnerability,pk"`
	Feed          string `bun:"feed,pk"`
	ID            string `bun:"id,pk"`
}

// changes are the rows a batch's advisories come to.
type changes struct {
	ids             []string
	advisories      []advisoryRow
	states          []stateOfRow
	versions        []versionRow
	releases        []advisoryReleaseRow
	vulnerabilities []advisoryVulnerabilityRow
	fixes           []fixRow
	// back are ids that were missing and are listed again, unchanged; gone are
	// those a snapshot no longer lists.
	back, gone []string
}

// advisories compares digests and writes only what differs.
func (ap *application) advisories(ctx context.Context) error {
	held, err := ap.heldAdvisories(ctx)
	if err != nil {
		return err
	}
	ch, err := ap.diff(held)
	if err != nil {
		return err
	}
	ap.states(&ch, held)
	if err := ap.oldReleases(ctx, ch.ids); err != nil {
		return err
	}
	for _, r := range ch.releases {
		ap.releases[r.Release] = struct{}{}
	}
	return ap.writeAdvisories(ctx, ch)
}

func (ap *application) heldAdvisories(ctx context.Context) (map[string]advisoryRow, error) {
	held := make(map[string]advisoryRow, len(ap.batch.Advisories))
	if len(ap.batch.Advisories) == 0 && !ap.batch.Snapshot {
		return held, nil
	}
	var rows []advisoryRow
	q := ap.tx.NewSelect().Model(&rows).Where("feed = ?", ap.batch.Feed.Name)
	if !ap.batch.Snapshot && len(ap.batch.Advisories) <= rowsAtOnce {
		ids := make([]string, len(ap.batch.Advisories))
		for i, a := range ap.batch.Advisories {
			ids[i] = a.ID
		}
		q = q.Where("id IN (?)", bun.List(ids))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	for _, r := range rows {
		held[r.ID] = r
	}
	return held, nil
}

func (ap *application) diff(held map[string]advisoryRow) (changes, error) {
	var ch changes
	listed := make(map[string]string, len(ap.batch.Advisories)) // id -> digest
	for _, a := range ap.batch.Advisories {
		v, err := ap.version(&a)
		if err != nil {
			return ch, err
		}
		if d, twice := listed[a.ID]; twice {
			if d != v.Digest {
				return ch, fmt.Errorf("advisory %s is listed twice, with different content", a.ID)
			}
			continue
		}
		listed[a.ID] = v.Digest
		old, there := held[a.ID]
		if there && old.Digest == v.Digest {
			ap.applied.Unchanged++
			if old.Missing {
				ch.back = append(ch.back, a.ID)
			}
			if ap.older {
				ch.fixes = append(ch.fixes, ap.fixes(a)...)
			}
			continue
		}
		if there {
			ap.applied.Changed++
		} else {
			ap.applied.Added++
		}
		ch.add(a, v)
		ch.fixes = append(ch.fixes, ap.fixes(a)...)
	}
	if ap.batch.Snapshot {
		for id, r := range held {
			if _, ok := listed[id]; !ok && !r.Missing {
				ch.gone = append(ch.gone, id)
			}
		}
		slices.Sort(ch.gone)
		ap.applied.Missing += len(ch.gone)
	}
	return ch, nil
}

// version normalises an advisory and makes its row.
func (ap *application) version(a *advisory.Advisory) (versionRow, error) {
	if a.Feed == "" {
		a.Feed = ap.batch.Feed.Name
	}
	if a.ID == "" || a.Feed != ap.batch.Feed.Name {
		return versionRow{}, fmt.Errorf("advisory %q of feed %q does not belong to feed %q", a.ID, a.Feed, ap.batch.Feed.Name)
	}
	a.Issued, a.Modified = exact(a.Issued), exact(a.Modified)
	a.HeldSince = time.Time{} // the store's own to say
	if a.Withdrawn != nil {
		w := exact(*a.Withdrawn)
		a.Withdrawn = &w
	}
	body, err := toJSON(a)
	if err != nil {
		return versionRow{}, fmt.Errorf("advisory %s: %w", a.ID, err)
	}
	sum := sha256.Sum256([]byte(body))
	return versionRow{Feed: a.Feed, ID: a.ID, Digest: hex.EncodeToString(sum[:]), FirstAt: micros(ap.at), Body: body}, nil
}

func (ch *changes) add(a advisory.Advisory, v versionRow) {
	ch.ids = append(ch.ids, a.ID)
	ch.versions = append(ch.versions, v)
	ch.advisories = append(ch.advisories, advisoryRow{Feed: a.Feed, ID: a.ID, Digest: v.Digest, Withdrawn: a.Withdrawn != nil})
	for _, r := range releasesOf(a) {
		ch.releases = append(ch.releases, advisoryReleaseRow{Release: r, Feed: a.Feed, ID: a.ID})
	}
	names := slices.Clone(a.Vulnerabilities)
	slices.Sort(names)
	for _, v := range slices.Compact(names) {
		ch.vulnerabilities = append(ch.vulnerabilities, advisoryVulnerabilityRow{Vulnerability: v, Feed: a.Feed, ID: a.ID})
	}
}

func releasesOf(a advisory.Advisory) []string {
	names := map[string]struct{}{}
	for _, r := range a.Affected {
		names[r.Release.String()] = struct{}{}
	}
	return slices.Sorted(maps.Keys(names))
}

// oldReleases notes the releases that changed advisories spoke of until now.
func (ap *application) oldReleases(ctx context.Context, ids []string) error {
	return batches(ids, rowsAtOnce, func(some []string) error {
		var names []string
		err := ap.tx.NewRaw("SELECT DISTINCT release FROM advisory_release WHERE feed = ? AND id IN (?)", ap.batch.Feed.Name, bun.List(some)).Scan(ctx, &names)
		for _, n := range names {
			ap.releases[n] = struct{}{}
		}
		return err
	})
}

func (ap *application) writeAdvisories(ctx context.Context, ch changes) error {
	for _, write := range []func() error{
		func() error { return ap.each(ctx, "DELETE FROM advisory_release WHERE feed = ? AND id IN (?)", ch.ids) },
		func() error {
			return ap.each(ctx, "DELETE FROM advisory_vulnerability WHERE feed = ? AND id IN (?)", ch.ids)
		},
		func() error { return insert(ctx, ap.tx, ch.versions, "CONFLICT (feed, id, digest) DO NOTHING") },
		func() error {
			return insert(ctx, ap.tx, ch.advisories, "CONFLICT (feed, id) DO UPDATE SET digest = EXCLUDED.digest, withdrawn = EXCLUDED.withdrawn, missing = EXCLUDED.missing")
		},
		func() error { return insert(ctx, ap.tx, ch.releases, "") },
		func() error { return insert(ctx, ap.tx, ch.vulnerabilities, "") },
		func() error { return insert(ctx, ap.tx, ch.states, "") },
		func() error { return ap.keepFixes(ctx, ch.fixes) },
		func() error {
			return ap.each(ctx, "UPDATE advisory SET missing = FALSE WHERE feed = ? AND id IN (?)", ch.back)
		},
		func() error {
			return ap.each(ctx, "UPDATE advisory SET missing = TRUE WHERE feed = ? AND id IN (?)", ch.gone)
		},
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// states notes the states that advisories take on with this batch.
func (ap *application) states(ch *changes, held map[string]advisoryRow) {
	add := func(id, digest string, missing bool) {
		ch.states = append(ch.states, stateOfRow{Feed: ap.batch.Feed.Name, ID: id, Leaf: ap.leaf, Digest: digest, Missing: missing})
	}
	for _, a := range ch.advisories {
		add(a.ID, a.Digest, false)
	}
	for _, id := range ch.back {
		add(id, held[id].Digest, false)
	}
	for _, id := range ch.gone {
		add(id, held[id].Digest, true)
	}
}

// keepFixes records the fixes that were not seen before, or not so early.
func (ap *application) keepFixes(ctx context.Context, fixes []fixRow) error {
	ids := make([]string, 0, len(fixes))
	for _, f := range fixes {
		if n := len(ids); n == 0 || ids[n-1] != f.ID {
			ids = append(ids, f.ID)
		}
	}
	type key struct{ release, id, fix string }
	seen := map[key]int64{}
	err := batches(ids, rowsAtOnce, func(some []string) error {
		var rows []fixRow
		err := ap.tx.NewRaw("SELECT release, id, fix, MIN(first_at) AS first_at FROM advisory_fix WHERE feed = ? AND id IN (?) GROUP BY release, id, fix",
			ap.batch.Feed.Name, bun.List(some)).Scan(ctx, &rows)
		for _, r := range rows {
			seen[key{r.Release, r.ID, r.Fix}] = r.FirstAt
		}
		return err
	})
	if err != nil {
		return err
	}
	fixes = slices.DeleteFunc(fixes, func(f fixRow) bool {
		at, ok := seen[key{f.Release, f.ID, f.Fix}]
		return ok && at <= f.FirstAt
	})
	return insert(ctx, ap.tx, fixes, "")
}

// each runs a statement for the feed's advisories, many ids at a time.
func (ap *application) each(ctx context.Context, query string, ids []string) error {
	return batches(ids, rowsAtOnce, func(some []string) error {
		_, err := ap.tx.NewRaw(query, ap.batch.Feed.Name, bun.List(some)).Exec(ctx)
		return err
	})
}

// insert writes rows, many a statement.
func insert[T any](ctx context.Context, tx bun.Tx, rows []T, onConflict string) error {
	return batches(rows, rowsAtOnce, func(some []T) error {
		q := tx.NewInsert().Model(&some)
		if onConflict != "" {
			q = q.On(onConflict)
		}
		_, err := q.Exec(ctx)
		return err
	})
}

// generations moves the counters that tell caches they are stale.
func (ap *application) generations(ctx context.Context) error {
	for _, r := range slices.Sorted(maps.Keys(ap.releases)) {
		if _, err := next(ctx, ap.tx, "release:"+r); err != nil {
			return err
		}
	}
	return nil
}

// mark marks the assets a batch touches.
func (ap *application) mark(ctx context.Context) error {
	touched := map[string]struct{}{}
	collect := func(query string, args ...any) error {
		var ids []string
		err := ap.tx.NewRaw(query, args...).Scan(ctx, &ids)
		for _, id := range ids {
			touched[id] = struct{}{}
		}
		return err
	}
	err := batches(slices.Sorted(maps.Keys(ap.releases)), rowsAtOnce, func(some []string) error {
		return collect("SELECT id FROM asset WHERE head_release IN (?)", bun.List(some))
	})
	if err != nil {
		return err
	}
	if len(ap.facts) > 0 {
		// An assessment that is under way has read the facts before these, and its
		// findings are not here yet to be marked by. Its mark is.
		if err := collect("SELECT asset FROM dirty WHERE scoped = 0"); err != nil {
			return err
		}
	}
	if err := markAssets(ctx, ap.tx, slices.Sorted(maps.Keys(touched))); err != nil {
		return err
	}
	vulnerabilities, err := ap.runningAmong(ctx, ap.facts)
	if err != nil {
		return err
	}
	assets, err := markFacts(ctx, ap.tx, vulnerabilities)
	for _, id := range assets {
		touched[id] = struct{}{}
	}
	ap.applied.MarkedAssets = len(touched)
	return err
}

// runningAmong keeps the vulnerabilities that some running finding has.
func (ap *application) runningAmong(ctx context.Context, changed []string) ([]string, error) {
	if len(changed) <= rowsAtOnce {
		return changed, nil
	}
	running, err := runningVulnerabilities(ctx, ap.tx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(changed, func(v string) bool { _, ok := running[v]; return !ok }), nil
}
