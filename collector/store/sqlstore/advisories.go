package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// fixRow says when a feed first carried a fix: one package's fixed version in
// one release, of one advisory. It is kept for advisories whose publisher does
// not date them; another row is added when it was seen earlier.
type fixRow struct {
	bun.BaseModel `bun:"table:advisory_fix,alias:advisory_fix"`

	Release string `bun:"release,pk"`
	Feed    string `bun:"feed,pk"`
	ID      string `bun:"id,pk"`
	Fix     string `bun:"fix,pk"`
	Leaf    int64  `bun:"leaf,pk"`
	FirstAt int64  `bun:"first_at"`
}

// undated reports whether the first sight of an advisory's fix stands in for
// its date.
func undated(a advisory.Advisory) bool {
	return a.Issued.IsZero() || a.IssuedKind == advisory.DateFirstSeen
}

func (ap *application) fixes(a advisory.Advisory) []fixRow {
	if !undated(a) {
		return nil
	}
	var rows []fixRow
	seen := map[[2]string]struct{}{}
	for _, row := range a.Affected {
		release := row.Release.String()
		for _, fix := range fixKeys(row) {
			if _, ok := seen[[2]string{release, fix}]; ok {
				continue
			}
			seen[[2]string{release, fix}] = struct{}{}
			rows = append(rows, fixRow{Release: release, Feed: a.Feed, ID: a.ID, Fix: fix, Leaf: ap.leaf, FirstAt: micros(ap.asOf)})
		}
	}
	return rows
}

// fixKeys names the fixed versions of one affected row.
func fixKeys(row advisory.Affected) []string {
	var keys []string
	for _, r := range row.Ranges {
		if r.Fixed == "" {
			continue
		}
		sum := sha256.Sum256([]byte(strings.Join([]string{string(row.Format), string(row.Kind), row.Name, row.Module, r.Fixed}, "\x00")))
		keys = append(keys, hex.EncodeToString(sum[:12]))
	}
	return keys
}

// firstSeen holds instants by feed, id, release and fix.
type firstSeen map[[4]string]time.Time

func (fs firstSeen) add(rows []fixRow) {
	for _, r := range rows {
		k := [4]string{r.Feed, r.ID, r.Release, r.Fix}
		if at, ok := fs[k]; !ok || instant(r.FirstAt).Before(at) {
			fs[k] = instant(r.FirstAt)
		}
	}
}

// date fills the issue date of an undated advisory: the earliest instant at
// which the feed carried one of the fixes it carries now. Without a fix there is
// no date.
func (fs firstSeen) date(a *advisory.Advisory) {
	if !undated(*a) {
		return
	}
	a.Issued, a.IssuedKind = time.Time{}, ""
	for _, row := range a.Affected {
		for _, fix := range fixKeys(row) {
			at, ok := fs[[4]string{a.Feed, a.ID, row.Release.String(), fix}]
			if ok && (a.Issued.IsZero() || at.Before(a.Issued)) {
				a.Issued, a.IssuedKind = at, advisory.DateFirstSeen
			}
		}
	}
}

// heldSince is when the first version of an advisory was recorded.
const heldSince = `SELECT MIN(h.first_at) FROM advisory_version AS h WHERE h.feed = a.feed AND h.id = a.id`

// heldRow is the version of an advisory that counts now, with heldSince.
type heldRow struct {
	Body   string `bun:"body"`
	HeldAt int64  `bun:"held_at"`
}

func (r heldRow) into(a *advisory.Advisory) error {
	if err := fromJSON(r.Body, a); err != nil {
		return err
	}
	a.HeldSince = instant(r.HeldAt)
	return nil
}

// AdvisoriesFor returns every advisory, withdrawn ones included, with its rows
// for one release, ordered by feed, id. An advisory that bears no date of its own
// is dated by when the feed first carried its fix, with kind
// [advisory.DateFirstSeen].
func (s *Store) AdvisoriesFor(ctx context.Context, r inventory.Release) ([]advisory.Advisory, error) {
	list, err := s.advisoriesFor(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("read advisories for %s: %w", r, err)
	}
	return list, nil
}

func (s *Store) advisoriesFor(ctx context.Context, r inventory.Release) ([]advisory.Advisory, error) {
	var rows []heldRow
	err := s.reader.NewRaw(`SELECT v.body, (`+heldSince+`) AS held_at FROM advisory_release AS ar
		JOIN advisory AS a ON a.feed = ar.feed AND a.id = ar.id
		JOIN advisory_version AS v ON v.feed = a.feed AND v.id = a.id AND v.digest = a.digest
		WHERE ar.release = ? ORDER BY ar.feed, ar.id`, r.String()).Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	var fixes []fixRow
	if err := s.reader.NewSelect().Model(&fixes).Where("release = ?", r.String()).Scan(ctx); err != nil {
		return nil, err
	}
	seen := firstSeen{}
	seen.add(fixes)
	list := make([]advisory.Advisory, len(rows))
	for i, row := range rows {
		a := &list[i]
		if err := row.into(a); err != nil {
			return nil, err
		}
		a.Affected = slices.DeleteFunc(a.Affected, func(row advisory.Affected) bool { return row.Release != r })
		seen.date(a)
	}
	return list, nil
}

// Advisory returns one advisory with all its rows.
func (s *Store) Advisory(ctx context.Context, feed, id string) (advisory.Advisory, error) {
	list, err := s.wholeAdvisories(ctx, "a.feed = ? AND a.id = ?", feed, id)
	if err != nil {
		return advisory.Advisory{}, fmt.Errorf("read advisory: %w", err)
	}
	if len(list) == 0 {
		return advisory.Advisory{}, fmt.Errorf("advisory %s of feed %s: %w", id, feed, store.ErrNotFound)
	}
	return list[0], nil
}

// AdvisoriesNaming returns the advisories that name a vulnerability, ordered by
// feed, id.
func (s *Store) AdvisoriesNaming(ctx context.Context, vulnerability string) ([]advisory.Advisory, error) {
	list, err := s.wholeAdvisories(ctx, `EXISTS (SELECT 1 FROM advisory_vulnerability AS n
		WHERE n.vulnerability = ? AND n.feed = a.feed AND n.id = a.id)`, vulnerability)
	if err != nil {
		return nil, fmt.Errorf("read advisories naming %s: %w", vulnerability, err)
	}
	// A view of the past also leads to those that named it before, or came to later.
	return slices.DeleteFunc(list, func(a advisory.Advisory) bool { return !slices.Contains(a.Vulnerabilities, vulnerability) }), nil
}

func (s *Store) wholeAdvisories(ctx context.Context, where string, args ...any) ([]advisory.Advisory, error) {
	var rows []heldRow
	err := s.reader.NewRaw(`SELECT v.body, (`+heldSince+`) AS held_at FROM advisory AS a
		JOIN advisory_version AS v ON v.feed = a.feed AND v.id = a.id AND v.digest = a.digest
		WHERE `+where+` ORDER BY a.feed, a.id`, args...).Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	list := make([]advisory.Advisory, len(rows))
	for i, row := range rows {
		if err := row.into(&list[i]); err != nil {
			return nil, err
		}
		if err := s.dateWhole(ctx, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (s *Store) dateWhole(ctx context.Context, a *advisory.Advisory) error {
	if !undated(*a) {
		return nil
	}
	var fixes []fixRow
	if err := s.reader.NewSelect().Model(&fixes).Where("feed = ?", a.Feed).Where("id = ?", a.ID).Scan(ctx); err != nil {
		return err
	}
	seen := firstSeen{}
	seen.add(fixes)
	seen.date(a)
	return nil
}

// Generation changes whenever advisories of a release or its coverage change.
func (s *Store) Generation(ctx context.Context, r inventory.Release) (int64, error) {
	var n int64
	err := s.reader.NewRaw("SELECT COALESCE(SUM(value), 0) FROM counter WHERE name = ?", "release:"+r.String()).Scan(ctx, &n)
	if err != nil {
		return 0, fmt.Errorf("read generation of %s: %w", r, err)
	}
	return n, nil
}
