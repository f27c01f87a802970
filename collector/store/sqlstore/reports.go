package sqlstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// stateRow is a report without what makes it heavy.
type stateRow struct {
	bun.BaseModel `bun:"table:report"`

	ID            string `bun:"id,pk"`
	Asset         string `bun:"asset"`
	Key           string `bun:"key"`
	Sequence      int64  `bun:"sequence"`
	Previous      string `bun:"previous"`
	CollectedAt   int64  `bun:"collected_at"`
	ReceivedAt    int64  `bun:"received_at"`
	Distro        string `bun:"distro"`
	DistroVersion string `bun:"distro_version"`
	Kernel        string `bun:"kernel"`
	SetDigest     string `bun:"set_digest"`
	Complete      bool   `bun:"complete"`
	Road          string `bun:"road"`
	Leaf          int64  `bun:"leaf"`
}

// reportRow is a whole report.
type reportRow struct {
	bun.BaseModel `bun:"table:report"`

	stateRow
	Statement string `bun:"statement"`
	Raw       []byte `bun:"raw"`
}

type reportPartRow struct {
	bun.BaseModel `bun:"table:report_part"`

	Report string `bun:"report,pk"`
	Name   string `bun:"name,pk"`
	Digest string `bun:"digest"`
}

// AcceptReport records a report, its new parts, the asset's head if its
// sequence is the highest, a dirty mark, and the leaf, in one transaction.
// [store.ErrExists] when the report is already there; [store.ErrNotFound] when
// the asset or a part that the report names is not held.
func (s *Store) AcceptReport(ctx context.Context, r store.Report, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "accept report", func(tx bun.Tx) error {
		if err := checkNewReport(ctx, tx, r); err != nil {
			return err
		}
		if err := s.keepParts(ctx, tx, r.PartsTexts); err != nil {
			return err
		}
		if n, err = appendLeaf(ctx, tx, leaf); err != nil {
			return err
		}
		r.LeafIndex = n
		if err := insertReport(ctx, tx, r); err != nil {
			return err
		}
		if err := advanceHead(ctx, tx, r); err != nil {
			return err
		}
		return markAssets(ctx, tx, []string{r.Asset})
	})
	return n, err
}

// checkNewReport tells a repetition and an unknown asset apart before anything
// is written.
func checkNewReport(ctx context.Context, tx bun.Tx, r store.Report) error {
	var held int
	if err := tx.NewRaw("SELECT COUNT(*) FROM report WHERE id = ?", r.ID).Scan(ctx, &held); err != nil {
		return err
	}
	if held > 0 {
		return fmt.Errorf("report %s: %w", r.ID, store.ErrExists)
	}
	return assetThere(ctx, tx, r.Asset)
}

func assetThere(ctx context.Context, tx bun.Tx, id string) error {
	var n int
	if err := tx.NewRaw("SELECT COUNT(*) FROM asset WHERE id = ?", id).Scan(ctx, &n); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("asset %s: %w", id, store.ErrNotFound)
	}
	return nil
}

func insertReport(ctx context.Context, tx bun.Tx, r store.Report) error {
	row, err := newReportRow(r)
	if err != nil {
		return err
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return err
	}
	if len(r.Statement.Parts) == 0 {
		return nil
	}
	parts := make([]reportPartRow, len(r.Statement.Parts))
	digests := make([]string, len(parts))
	for i, p := range r.Statement.Parts {
		parts[i] = reportPartRow{Report: r.ID, Name: p.Name, Digest: p.Digest}
		digests[i] = p.Digest
	}
	missing, err := missingParts(ctx, tx, digests)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("report %s: part %s: %w", r.ID, missing[0], store.ErrNotFound)
	}
	_, err = tx.NewInsert().Model(&parts).Exec(ctx)
	return err
}

func newReportRow(r store.Report) (reportRow, error) {
	seq, err := sequence(r.Sequence)
	if err != nil {
		return reportRow{}, err
	}
	statement := r.Statement
	statement.Bodies = nil // Raw and the part table hold them
	text, err := toJSON(statement)
	if err != nil {
		return reportRow{}, fmt.Errorf("report %s: %w", r.ID, err)
	}
	kernel, err := toJSON(r.Kernel)
	if err != nil {
		return reportRow{}, fmt.Errorf("report %s: %w", r.ID, err)
	}
	raw := r.Raw
	if raw == nil {
		raw = []byte{}
	}
	return reportRow{
		stateRow: stateRow{
			ID: r.ID, Asset: r.Asset, Key: r.Key, Sequence: seq, Previous: r.Previous,
			CollectedAt: micros(r.CollectedAt), ReceivedAt: micros(r.ReceivedAt),
			Distro: r.Release.Distro, DistroVersion: r.Release.Version, Kernel: kernel,
			SetDigest: r.SetDigest, Complete: r.Complete, Road: r.Road, Leaf: r.LeafIndex,
		},
		Statement: text, Raw: raw,
	}, nil
}

// advanceHead moves the asset on to r, or asks for a fold from the first report
// when r belongs before what was already folded.
func advanceHead(ctx context.Context, tx bun.Tx, r store.Report) error {
	seq, err := sequence(r.Sequence)
	if err != nil {
		return err
	}
	_, err = tx.NewRaw("UPDATE asset SET refold = TRUE WHERE id = ? AND assessed_sequence >= ?", r.Asset, seq).Exec(ctx)
	if err != nil {
		return err
	}
	head, err := toJSON(r.Head())
	if err != nil {
		return err
	}
	_, err = tx.NewRaw(`UPDATE asset SET head = ?, head_sequence = ?, head_release = ?,
		transport_key = CASE WHEN transport_key = '' THEN ? ELSE transport_key END
		WHERE id = ? AND (head IS NULL OR head_sequence < ? OR head_sequence = ? AND json_extract(head, '$.ReportID') < ?)`,
		head, seq, r.Release.String(), r.Statement.TransportKey, r.Asset, seq, seq, r.ID).Exec(ctx)
	if err != nil {
		return err
	}
	return suspect(ctx, tx, r, seq)
}

// Report returns a report with its statement (without bodies) and raw envelope.
func (s *Store) Report(ctx context.Context, id string) (store.Report, error) {
	var row reportRow
	if err := s.reader.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
		return store.Report{}, notFound(err, "report %s", id)
	}
	return row.report()
}

// States lists an asset's reports in order of sequence, after a sequence,
// without raw envelope, statement and parts.
func (s *Store) States(ctx context.Context, asset string, after uint64) ([]store.Report, error) {
	return s.StatesBefore(ctx, asset, after, math.MaxInt64)
}

// staleParts returns the digest of the part of stale code of each of an asset's
// reports that has one.
func (s *Store) staleParts(ctx context.Context, asset string, after uint64) (map[string]string, error) {
	var rows []reportPartRow
	err := s.reader.NewRaw(`SELECT p.report, p.name, p.digest FROM report AS r JOIN report_part AS p ON p.report = r.id AND p.name = ?
		WHERE r.asset = ? AND r.sequence > ?`, schema.PartStale, asset, int64(min(after, math.MaxInt64))).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read stale parts of %s: %w", asset, err)
	}
	digests := make(map[string]string, len(rows))
	for _, r := range rows {
		digests[r.Report] = r.Digest
	}
	return digests, nil
}

// EachReport calls f for every report in leaf order, with its raw envelope.
func (s *Store) EachReport(ctx context.Context, f func(store.Report) error) error {
	const atOnce = 16 // an envelope may have megabytes
	for after := int64(-1); ; {
		var rows []reportRow
		err := s.reader.NewSelect().Model(&rows).Where("leaf > ?", after).Order("leaf").Limit(atOnce).Scan(ctx)
		if err != nil {
			return fmt.Errorf("read reports: %w", err)
		}
		for _, row := range rows {
			r, err := row.report()
			if err != nil {
				return err
			}
			if err := f(r); err != nil {
				return err
			}
			after = row.Leaf
		}
		if len(rows) < atOnce {
			return nil
		}
	}
}

func (row reportRow) report() (store.Report, error) {
	r, err := row.state()
	if err != nil {
		return r, err
	}
	r.Raw = row.Raw
	if err := fromJSONStrict(row.Statement, &r.Statement); err != nil {
		return r, fmt.Errorf("report %s: statement: %w", row.ID, err)
	}
	return r, nil
}

func (row stateRow) state() (store.Report, error) {
	r := store.Report{
		ID: row.ID, Asset: row.Asset, Key: row.Key, Sequence: uint64(row.Sequence), Previous: row.Previous,
		CollectedAt: instant(row.CollectedAt), ReceivedAt: instant(row.ReceivedAt),
		Release:   inventory.Release{Distro: row.Distro, Version: row.DistroVersion},
		SetDigest: row.SetDigest, Complete: row.Complete, Road: row.Road, LeafIndex: row.Leaf,
	}
	if err := fromJSONStrict(row.Kernel, &r.Kernel); err != nil {
		return r, fmt.Errorf("report %s: kernel: %w", row.ID, err)
	}
	return r, nil
}

// RecordDuplicate counts a delivery of a report that was already accepted.
func (s *Store) RecordDuplicate(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, "record duplicate", func(tx bun.Tx) error {
		us := micros(at)
		_, err := tx.NewRaw(`INSERT INTO duplicate (report, count, first_at, last_at) VALUES (?, 1, ?, ?)
			ON CONFLICT (report) DO UPDATE SET count = duplicate.count + 1, last_at = ?`, id, us, us, us).Exec(ctx)
		if isConstraint(err) {
			return fmt.Errorf("report %s: %w", id, store.ErrNotFound)
		}
		return err
	})
}

// Duplicates returns how many deliveries of a report came after it was accepted.
func (s *Store) Duplicates(ctx context.Context, id string) (int64, error) {
	var n int64
	err := s.reader.NewRaw("SELECT COALESCE((SELECT count FROM duplicate WHERE report = ?), 0)", id).Scan(ctx, &n)
	if err != nil {
		return 0, fmt.Errorf("count duplicates of report %s: %w", id, err)
	}
	return n, nil
}
