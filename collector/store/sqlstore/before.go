package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// StatesBefore is States as it was when the log had some leaves.
func (s *Store) StatesBefore(ctx context.Context, asset string, after uint64, leaves int64) ([]store.Report, error) {
	var rows []stateRow
	err := s.reader.NewSelect().Model(&rows).Where("asset = ?", asset).Where("leaf < ?", leaves).
		Where("sequence > ?", int64(min(after, math.MaxInt64))).Order("sequence", "id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read states of %s: %w", asset, err)
	}
	stale, err := s.staleParts(ctx, asset, after)
	if err != nil {
		return nil, err
	}
	states := make([]store.Report, len(rows))
	for i, r := range rows {
		if states[i], err = r.state(); err != nil {
			return nil, err
		}
		states[i].StaleDigest = stale[r.ID]
	}
	return states, nil
}

// FindingsBefore is AssetFindings as it was when the log had some leaves.
func (s *Store) FindingsBefore(ctx context.Context, asset string, leaves int64) ([]finding.Finding, error) {
	var bodies []string
	err := s.reader.NewRaw(`SELECT v.body FROM finding AS f JOIN finding_version AS v ON v.id = f.id
		AND v.leaf = (SELECT MAX(n.leaf) FROM finding_version AS n WHERE n.id = f.id AND n.leaf < ?)
		WHERE f.asset = ? ORDER BY f.id`, leaves, asset).Scan(ctx, &bodies)
	if err != nil {
		return nil, fmt.Errorf("read findings of %s as of %d leaves: %w", asset, leaves, err)
	}
	list := make([]finding.Finding, len(bodies))
	for i, b := range bodies {
		if err := fromJSON(b, &list[i]); err != nil {
			return nil, fmt.Errorf("read findings of %s as of %d leaves: %w", asset, leaves, err)
		}
	}
	return list, nil
}

// FactsSeen returns the facts that assessments read of vulnerabilities, up to the
// leaf of one.
func (s *Store) FactsSeen(ctx context.Context, vulnerabilities []string, leaf int64) (map[string]advisory.Facts, error) {
	facts := make(map[string]advisory.Facts, len(vulnerabilities))
	err := batches(vulnerabilities, rowsAtOnce, func(some []string) error {
		var rows []factSeenRow
		err := s.reader.NewRaw(`SELECT f.vulnerability, f.body FROM fact_seen AS f WHERE f.vulnerability IN (?)
			AND f.leaf = (SELECT MAX(n.leaf) FROM fact_seen AS n WHERE n.vulnerability = f.vulnerability AND n.leaf <= ?)`, bun.List(some), leaf).Scan(ctx, &rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			var f advisory.Facts
			if err := fromJSON(r.Body, &f); err != nil {
				return fmt.Errorf("facts of %s: %w", r.Vulnerability, err)
			}
			facts[r.Vulnerability] = f
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read facts seen: %w", err)
	}
	return facts, nil
}

// advisoryHistory holds every version of the advisories of some releases.
type advisoryHistory struct {
	all      map[[2]string][]*versionsOf // by feed and id, one for each release
	releases map[inventory.Release][]*versionsOf
	fixes    map[string][]fixRow // by release, in order of leaves
	changes  map[inventory.Release][]int64
}

// versionsOf are the versions of one advisory that speak of a release, and
// when it did not: then the advisory is nil. They are in order of leaves.
type versionsOf struct {
	held     time.Time // since when the advisory is held in any version
	versions []versionFrom
}

type versionFrom struct {
	leaf     int64
	advisory *advisory.Advisory
}

// AdvisoryHistory reads every version of the advisories of some releases.
func (s *Store) AdvisoryHistory(ctx context.Context, releases []inventory.Release) (store.AdvisoryHistory, error) {
	h := &advisoryHistory{
		all:      map[[2]string][]*versionsOf{},
		releases: map[inventory.Release][]*versionsOf{}, fixes: map[string][]fixRow{}, changes: map[inventory.Release][]int64{},
	}
	wanted := make(map[inventory.Release]bool, len(releases))
	for _, r := range releases {
		wanted[r] = true
	}
	if err := s.readVersions(ctx, h, wanted); err != nil {
		return nil, fmt.Errorf("read history of advisories: %w", err)
	}
	for r := range wanted {
		var rows []fixRow
		if err := s.reader.NewSelect().Model(&rows).Where("release = ?", r.String()).Order("leaf").Scan(ctx); err != nil {
			return nil, fmt.Errorf("read history of fixes: %w", err)
		}
		h.fixes[r.String()] = rows
		for _, f := range rows {
			h.changes[r] = append(h.changes[r], f.Leaf)
		}
		slices.Sort(h.changes[r])
		h.changes[r] = slices.Compact(h.changes[r])
	}
	return h, nil
}

// readVersions walks the states of all advisories, in order of feed, id, leaf.
func (s *Store) readVersions(ctx context.Context, h *advisoryHistory, wanted map[inventory.Release]bool) error {
	rows, err := s.reader.QueryContext(ctx, `SELECT s.feed, s.id, s.leaf, v.first_at, v.body FROM advisory_state AS s
		JOIN advisory_version AS v ON v.feed = s.feed AND v.id = s.id AND v.digest = s.digest ORDER BY s.feed, s.id, s.leaf`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var feed, id string
	var held time.Time
	var of map[inventory.Release]*versionsOf
	for rows.Next() {
		var st stateOfRow
		var firstAt int64
		var body string
		if err := rows.Scan(&st.Feed, &st.ID, &st.Leaf, &firstAt, &body); err != nil {
			return err
		}
		if st.Feed != feed || st.ID != id {
			feed, id, held, of = st.Feed, st.ID, instant(firstAt), map[inventory.Release]*versionsOf{}
		}
		var a advisory.Advisory
		if err := fromJSON(body, &a); err != nil {
			return fmt.Errorf("advisory %s of feed %s: %w", id, feed, err)
		}
		h.add(of, wanted, &a, st.Leaf, held)
	}
	return rows.Err()
}

func (h *advisoryHistory) add(of map[inventory.Release]*versionsOf, wanted map[inventory.Release]bool, a *advisory.Advisory, leaf int64, held time.Time) {
	rows := map[inventory.Release][]advisory.Affected{}
	for _, row := range a.Affected {
		if wanted[row.Release] {
			rows[row.Release] = append(rows[row.Release], row)
		}
	}
	for r := range rows {
		if of[r] == nil {
			of[r] = &versionsOf{held: held}
			h.releases[r] = append(h.releases[r], of[r])
			h.all[[2]string{a.Feed, a.ID}] = append(h.all[[2]string{a.Feed, a.ID}], of[r])
		}
	}
	for r, v := range of {
		next := versionFrom{leaf: leaf}
		if some, ok := rows[r]; ok {
			one := *a
			one.Affected = some
			next.advisory = &one
		}
		v.versions = append(v.versions, next)
		h.changes[r] = append(h.changes[r], leaf)
	}
}

// Generation changes whenever the advisories of a release do.
func (h *advisoryHistory) Generation(r inventory.Release, leaves int64) int64 {
	n, _ := slices.BinarySearch(h.changes[r], leaves)
	return int64(n)
}

// For is AdvisoriesFor as it was when the log had some leaves.
func (h *advisoryHistory) For(r inventory.Release, leaves int64) []advisory.Advisory {
	seen := firstSeen{}
	for _, f := range h.fixes[r.String()] {
		if f.Leaf < leaves {
			seen.add([]fixRow{f})
		}
	}
	var list []advisory.Advisory
	for _, of := range h.releases[r] {
		then := of.at(leaves)
		if then == nil {
			continue
		}
		a := *then
		a.HeldSince = of.held
		seen.date(&a)
		list = append(list, a)
	}
	return list
}

// at is the version when the log had some leaves, nil when there was none.
func (of *versionsOf) at(leaves int64) *advisory.Advisory {
	n, _ := slices.BinarySearchFunc(of.versions, leaves, func(v versionFrom, leaves int64) int { return cmp.Compare(v.leaf, leaves) })
	if n == 0 {
		return nil
	}
	return of.versions[n-1].advisory
}

// Advisory is one as it was for any of the releases, nil when it was for none.
func (h *advisoryHistory) Advisory(feed, id string, leaves int64) *advisory.Advisory {
	for _, of := range h.all[[2]string{feed, id}] {
		if a := of.at(leaves); a != nil {
			return a
		}
	}
	return nil
}

// Releases lists the releases that reports are of.
func (s *Store) Releases(ctx context.Context) ([]inventory.Release, error) {
	var list []inventory.Release
	if err := s.reader.NewRaw("SELECT DISTINCT distro, distro_version AS version FROM report ORDER BY distro, distro_version").Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("read releases of reports: %w", err)
	}
	return list, nil
}
