package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// RecordedFindings returns the findings recorded under an assessment's leaf, as
// they then stood, by id.
func (s *Store) RecordedFindings(ctx context.Context, leaf int64) ([]finding.Finding, error) {
	var rows []findingVersionRow
	if err := s.reader.NewSelect().Model(&rows).Where("leaf = ?", leaf).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read findings recorded under leaf %d: %w", leaf, err)
	}
	list := make([]finding.Finding, len(rows))
	for i, r := range rows {
		if err := fromJSONExact(r.Body, &list[i]); err != nil {
			return nil, fmt.Errorf("finding %s as recorded under leaf %d: %w", r.ID, leaf, err)
		}
		if list[i].ID != r.ID {
			return nil, fmt.Errorf("finding %s as recorded under leaf %d: it is %s by its body", r.ID, leaf, list[i].ID)
		}
	}
	return list, nil
}

// FindingHistory returns every recorded state of a finding, oldest first.
func (s *Store) FindingHistory(ctx context.Context, id string) ([]store.FindingVersion, error) {
	var rows []findingVersionRow
	if err := s.reader.NewSelect().Model(&rows).Where("id = ?", id).Order("leaf").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read history of finding %s: %w", id, err)
	}
	history := make([]store.FindingVersion, len(rows))
	for i, r := range rows {
		history[i].Leaf = r.Leaf
		if err := fromJSONStrict(r.Body, &history[i].Finding); err != nil {
			return nil, fmt.Errorf("read history of finding %s: %w", id, err)
		}
	}
	return history, nil
}

// CheckAdvisories calls fault for each recorded advisory version that is not what
// its digest says, and each advisory whose present version is not recorded.
func (s *Store) CheckAdvisories(ctx context.Context, fault func(feed, id, what string)) error {
	if err := s.checkVersions(ctx, fault); err != nil {
		return fmt.Errorf("check advisories: %w", err)
	}
	var lost []advisoryRow
	err := s.reader.NewRaw(`SELECT a.feed, a.id, a.digest, a.withdrawn, a.missing FROM advisory AS a WHERE NOT EXISTS
		(SELECT 1 FROM advisory_version AS v WHERE v.feed = a.feed AND v.id = a.id AND v.digest = a.digest)
		ORDER BY a.feed, a.id`).Scan(ctx, &lost)
	if err != nil {
		return fmt.Errorf("check advisories: %w", err)
	}
	for _, a := range lost {
		fault(a.Feed, a.ID, "its present version "+a.Digest+" is not recorded")
	}
	return nil
}

func (s *Store) checkVersions(ctx context.Context, fault func(feed, id, what string)) error {
	const atOnce = 1000
	var last versionRow
	for {
		var rows []versionRow
		err := s.reader.NewSelect().Model(&rows).Where("(feed, id, digest) > (?, ?, ?)", last.Feed, last.ID, last.Digest).
			Order("feed", "id", "digest").Limit(atOnce).Scan(ctx)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if sum := sha256.Sum256([]byte(r.Body)); hex.EncodeToString(sum[:]) != r.Digest {
				fault(r.Feed, r.ID, fmt.Sprintf("the version recorded as %s has digest %x", r.Digest, sum))
			}
			last = r
		}
		if len(rows) < atOnce {
			return nil
		}
	}
}

// latestRow is a finding as it stands, and the newest state recorded of it.
type latestRow struct {
	findingRow
	Newest int64  `bun:"newest"`
	Body   string `bun:"body"`
}

// CheckFindings calls fault for each finding that does not stand where the
// newest recorded state of it says, and for each that was recorded and is gone.
func (s *Store) CheckFindings(ctx context.Context, fault func(id, what string)) error {
	if err := s.checkStanding(ctx, fault); err != nil {
		return fmt.Errorf("check findings: %w", err)
	}
	var gone []string
	err := s.reader.NewRaw(`SELECT DISTINCT v.id FROM finding_version AS v
		WHERE NOT EXISTS (SELECT 1 FROM finding AS f WHERE f.id = v.id) ORDER BY v.id`).Scan(ctx, &gone)
	if err != nil {
		return fmt.Errorf("check findings: %w", err)
	}
	for _, id := range gone {
		fault(id, "it was recorded and has no row: it was removed")
	}
	return nil
}

func (s *Store) checkStanding(ctx context.Context, fault func(id, what string)) error {
	const atOnce = 1000
	for after := ""; ; {
		var rows []latestRow
		err := s.reader.NewRaw("SELECT "+findingColumns+`, v.leaf AS newest, v.body FROM finding AS f JOIN finding_version AS v ON v.id = f.id
			AND v.leaf = (SELECT MAX(n.leaf) FROM finding_version AS n WHERE n.id = f.id)
			WHERE f.id > ? ORDER BY f.id LIMIT ?`, after, atOnce).Scan(ctx, &rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.ID
			r.check(fault)
		}
		if len(rows) < atOnce {
			return nil
		}
	}
}

func (r latestRow) check(fault func(id, what string)) {
	var f finding.Finding
	if err := fromJSONStrict(r.Body, &f); err != nil {
		fault(r.ID, "its newest state cannot be read: "+err.Error())
		return
	}
	want := newFindingRow(f, r.Newest)
	r.BaseModel = bun.BaseModel{}
	if r.findingRow != want {
		fault(r.ID, fmt.Sprintf("its row does not say what was recorded under leaf %d", r.Newest))
	}
}
