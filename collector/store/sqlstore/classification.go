package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

type rulesRow struct {
	bun.BaseModel `bun:"table:classification_rules"`

	Leaf      int64  `bun:"leaf,pk"`
	Digest    string `bun:"digest"`
	Source    []byte `bun:"source"`
	AppliedAt int64  `bun:"applied_at"`
	AppliedBy string `bun:"applied_by"`
}

// importHead is an import without its file.
type importHead struct {
	bun.BaseModel `bun:"table:asset_import"`

	Leaf       int64  `bun:"leaf,pk"`
	Source     string `bun:"source"`
	File       string `bun:"file"`
	Format     string `bun:"format"`
	Digest     string `bun:"digest"`
	Entries    int    `bun:"entries"`
	ImportedAt int64  `bun:"imported_at"`
	ImportedBy string `bun:"imported_by"`
}

type importRow struct {
	bun.BaseModel `bun:"table:asset_import"`

	importHead
	Text []byte `bun:"text"`
}

type listedRow struct {
	bun.BaseModel `bun:"table:listed"`

	Source string `bun:"source,pk"`
	Key    string `bun:"key,pk"`
	Leaf   int64  `bun:"leaf"`
	Seen   int64  `bun:"seen"`
	Body   string `bun:"body"`
}

type classificationRow struct {
	bun.BaseModel `bun:"table:classification"`

	Asset string `bun:"asset,pk"`
	Leaf  int64  `bun:"leaf,pk"`
	Body  string `bun:"body"`
}

// Estate returns what the classifications of some assets follow from, with their
// standings and those of all that they bear on; of the whole estate when assets is
// nil, without any standing when it is empty.
func (s *Store) Estate(ctx context.Context, assets []string) (store.Estate, error) {
	e, err := s.estate(ctx, s.reader, assets)
	return e, translate("read estate", err)
}

func (s *Store) estate(ctx context.Context, db bun.IDB, assets []string) (store.Estate, error) {
	var e store.Estate
	var err error
	if e.Next, err = leafCount(ctx, db); err != nil {
		return e, err
	}
	rules, err := rulesHistory(ctx, db, 1)
	if err != nil {
		return e, err
	}
	if len(rules) > 0 {
		e.Rules = &rules[0]
	}
	if len(assets) > 0 && s.position == nil { // of the past the whole estate is read
		return e, s.bearing(ctx, db, &e, assets)
	}
	if e.Listed, err = s.listed(ctx, db, ""); err != nil {
		return e, err
	}
	if e.Identities, err = identities(ctx, db, ""); err != nil {
		return e, err
	}
	if assets != nil && len(assets) == 0 {
		return e, nil
	}
	var rows []assetRow
	if err := db.NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return e, err
	}
	e.Standings, err = standings(ctx, db, rows)
	return e, err
}

// assetRows reads some assets, ordered by id.
func assetRows(ctx context.Context, db bun.IDB, assets []string) ([]assetRow, error) {
	var rows []assetRow
	err := batches(assets, rowsAtOnce, func(some []string) error {
		var more []assetRow
		err := db.NewSelect().Model(&more).Where("id IN (?)", bun.List(some)).Scan(ctx)
		rows = append(rows, more...)
		return err
	})
	slices.SortFunc(rows, func(a, b assetRow) int { return cmp.Compare(a.ID, b.ID) })
	return rows, err
}

// Standings returns the standings of some assets, ordered by id; unknown ones are
// left out.
func (s *Store) Standings(ctx context.Context, assets []string) ([]store.Standing, error) {
	rows, err := assetRows(ctx, s.reader, assets)
	if err != nil {
		return nil, fmt.Errorf("read standings: %w", err)
	}
	out, err := standings(ctx, s.reader, rows)
	return out, translate("read standings", err)
}

func standings(ctx context.Context, db bun.IDB, rows []assetRow) ([]store.Standing, error) {
	out := make([]store.Standing, len(rows))
	at := map[string]int{} // report -> place
	var heads []string
	for i, r := range rows {
		a, err := r.asset()
		if err != nil {
			return nil, err
		}
		out[i] = store.Standing{Asset: a.ID, Name: a.Name, Declared: a.Declared, Attributes: a.Attributes, Classified: a.Classified}
		if a.Head != nil {
			at[a.Head.ReportID] = i
			heads = append(heads, a.Head.ReportID)
		}
	}
	err := batches(heads, rowsAtOnce, func(some []string) error {
		var reports []struct {
			ID        string `bun:"id"`
			Statement string `bun:"statement"`
		}
		err := db.NewRaw("SELECT id, statement FROM report WHERE id IN (?)", bun.List(some)).Scan(ctx, &reports)
		if err != nil {
			return err
		}
		for _, r := range reports {
			var st struct {
				Cloud  *schema.Cloud     `json:"cloud"`
				Labels map[string]string `json:"labels"`
			}
			if err := fromJSON(r.Statement, &st); err != nil {
				return fmt.Errorf("report %s: statement: %w", r.ID, err)
			}
			out[at[r.ID]].Claims = claims(st.Cloud, st.Labels)
		}
		return nil
	})
	return out, err
}

func claims(c *schema.Cloud, labels map[string]string) classify.Claims {
	out := classify.Claims{Labels: labels}
	if c != nil {
		out.InstanceID, out.Account, out.Region, out.InstanceType, out.Tags = c.InstanceID, c.AccountID, c.Region, c.InstanceType, c.Tags
	}
	if len(out.Labels) == 0 {
		out.Labels = nil
	}
	if len(out.Tags) == 0 {
		out.Tags = nil
	}
	return out
}

// listed reads entries of lists, by source and key.
func (s *Store) listed(ctx context.Context, db bun.IDB, where string, args ...any) ([]classify.Listed, error) {
	var rows []listedRow
	err := db.NewRaw("SELECT source, key, leaf, seen, body FROM listed "+where+" ORDER BY source, key", args...).Scan(ctx, &rows)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var heads []importHead
	if err := db.NewSelect().Model(&heads).Scan(ctx); err != nil {
		return nil, err
	}
	of := make(map[int64]*importHead, len(heads))
	for i := range heads {
		of[heads[i].Leaf] = &heads[i]
	}
	out := make([]classify.Listed, len(rows))
	for i, r := range rows {
		h := of[r.Leaf]
		if h == nil {
			return nil, fmt.Errorf("entry %s of %s: no import has leaf %d: %w", r.Key, r.Source, r.Leaf, store.ErrNotFound)
		}
		out[i] = classify.Listed{Source: r.Source, Digest: h.Digest, Leaf: r.Leaf, Seen: r.Seen, By: h.ImportedBy, At: instant(h.ImportedAt)}
		if err := fromJSONStrict(r.Body, &out[i].Entry); err != nil {
			return nil, fmt.Errorf("entry %s of %s: %w", r.Key, r.Source, err)
		}
		if got := out[i].Key(); got != r.Key {
			return nil, fmt.Errorf("entry %s of %s: it is %s by its body", r.Key, r.Source, got)
		}
	}
	return out, nil
}

// Reclassify calls decide with the estate and records what it returns, with
// nothing written in between. Assets whose attributes change are marked dirty. It
// returns the leaf's index, -1 when nothing was recorded.
func (s *Store) Reclassify(ctx context.Context, assets []string, decide func(store.Estate) (store.Reclassification, error)) (n int64, err error) {
	n = -1
	err = s.write(ctx, "reclassify", func(tx bun.Tx) error {
		e, err := s.estate(ctx, tx, assets)
		if err != nil {
			return err
		}
		r, err := decide(e)
		if err != nil || r.Leaf == nil {
			return err
		}
		if n, err = appendLeaf(ctx, tx, *r.Leaf); err != nil {
			return err
		}
		if err := s.recordActs(ctx, tx, n, r); err != nil {
			return err
		}
		return recordClassifications(ctx, tx, n, *r.Leaf, e, r.Changed)
	})
	if err != nil {
		n = -1
	}
	return n, err
}

func (s *Store) recordActs(ctx context.Context, tx bun.Tx, leaf int64, r store.Reclassification) error {
	if d := r.Declared; d != nil {
		declared, err := toJSON(exactDeclared(d.Declared))
		if err != nil {
			return err
		}
		if _, err := tx.NewRaw("UPDATE asset SET name = ?, declared = ? WHERE id = ?", words(d.Name), declared, d.Asset).Exec(ctx); err != nil {
			return err
		}
	}
	if r.Rules != nil {
		row := rulesRow{
			Leaf: leaf, Digest: r.Rules.Digest, Source: nonNil(r.Rules.Source),
			AppliedAt: micros(r.Rules.AppliedAt), AppliedBy: words(r.Rules.AppliedBy),
		}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
	}
	if r.Import == nil {
		if len(r.Listed) > 0 {
			return errors.New("entries without an import")
		}
		return nil
	}
	row := importRow{
		importHead: importHead{
			Leaf: leaf, Source: r.Import.Source, File: words(r.Import.File), Format: r.Import.Format, Digest: r.Import.Digest,
			Entries: r.Import.Entries, ImportedAt: micros(r.Import.ImportedAt), ImportedBy: words(r.Import.ImportedBy),
		},
		Text: s.pack.EncodeAll(r.Import.Text, nil),
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return err
	}
	rows := make([]listedRow, len(r.Listed))
	for i := range r.Listed {
		l := &r.Listed[i]
		body, err := toJSON(l.Entry)
		if err != nil {
			return err
		}
		rows[i] = listedRow{Source: r.Import.Source, Key: l.Key(), Leaf: l.Leaf, Seen: leaf, Body: body}
	}
	return batches(rows, rowsAtOnce, func(some []listedRow) error {
		_, err := tx.NewInsert().Model(&some).On("CONFLICT (source, key) DO UPDATE").Set("leaf = EXCLUDED.leaf").Set("seen = EXCLUDED.seen").Set("body = EXCLUDED.body").Exec(ctx)
		return err
	})
}

func recordClassifications(ctx context.Context, tx bun.Tx, leaf int64, act store.Leaf, e store.Estate, changed []store.Classification) error {
	before := make(map[string]store.Standing, len(e.Standings))
	for _, s := range e.Standings {
		before[s.Asset] = s
	}
	var dirty []string
	rows := make([]classificationRow, 0, len(changed))
	for _, c := range changed {
		was, there := before[c.Asset]
		if !there {
			return fmt.Errorf("asset %s: %w", c.Asset, store.ErrNotFound)
		}
		body, err := toJSON(c)
		if err != nil {
			return err
		}
		attributes, err := toJSON(c.Attributes)
		if err != nil {
			return err
		}
		rows = append(rows, classificationRow{Asset: c.Asset, Leaf: leaf, Body: body})
		if _, err := tx.NewRaw("UPDATE asset SET attributes = ?, classified = ? WHERE id = ?", attributes, body, c.Asset).Exec(ctx); err != nil {
			return err
		}
		if was.Classified != nil && !reflect.DeepEqual(was.Classified.Gone, c.Gone) || was.Classified == nil && c.Gone != nil {
			dirty = append(dirty, c.Asset)
		}
		if was.Attributes != c.Attributes {
			_, err := tx.NewRaw("UPDATE asset SET attributes_by = ?, attributes_at = ? WHERE id = ?", classifiedBy(act, e), micros(act.At), c.Asset).Exec(ctx)
			if err != nil {
				return err
			}
			dirty = append(dirty, c.Asset)
		}
	}
	err := batches(rows, rowsAtOnce, func(some []classificationRow) error {
		_, err := tx.NewInsert().Model(&some).Exec(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return markAssets(ctx, tx, dirty)
}

// classifiedBy is whose act changed an asset's attributes. What follows from a
// report or a refresh is the doing of who put the rules in force.
func classifiedBy(act store.Leaf, e store.Estate) string {
	if by := leafBy(act); by != "" {
		return by
	}
	if e.Rules != nil && e.Rules.AppliedBy != "" {
		return e.Rules.AppliedBy
	}
	return "collector"
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// RulesHistory lists the rules ever applied, newest first.
func (s *Store) RulesHistory(ctx context.Context) ([]store.RulesRecord, error) {
	out, err := rulesHistory(ctx, s.reader, 0)
	return out, translate("read rules", err)
}

func rulesHistory(ctx context.Context, db bun.IDB, limit int64) ([]store.RulesRecord, error) {
	var rows []rulesRow
	q := db.NewSelect().Model(&rows).Order("leaf DESC")
	if limit > 0 {
		q = q.Limit(limit)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	out := make([]store.RulesRecord, len(rows))
	for i, r := range rows {
		out[i] = store.RulesRecord{Leaf: r.Leaf, Digest: r.Digest, Source: r.Source, AppliedAt: instant(r.AppliedAt), AppliedBy: r.AppliedBy}
	}
	return out, nil
}

// AssetImports lists the imports, newest first, without their files.
func (s *Store) AssetImports(ctx context.Context) ([]store.AssetImport, error) {
	var rows []importHead
	if err := s.reader.NewSelect().Model(&rows).Order("leaf DESC").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read asset imports: %w", err)
	}
	out := make([]store.AssetImport, len(rows))
	for i, r := range rows {
		out[i] = r.head()
	}
	return out, nil
}

func (r importHead) head() store.AssetImport {
	return store.AssetImport{
		Leaf: r.Leaf, Source: r.Source, File: r.File, Format: r.Format, Digest: r.Digest, Entries: r.Entries,
		ImportedAt: instant(r.ImportedAt), ImportedBy: r.ImportedBy,
	}
}

// AssetImportAt returns the import of a leaf, with its file.
func (s *Store) AssetImportAt(ctx context.Context, leaf int64) (store.AssetImport, error) {
	var row importRow
	if err := s.reader.NewSelect().Model(&row).Where("leaf = ?", leaf).Scan(ctx); err != nil {
		return store.AssetImport{}, notFound(err, "asset import at leaf %d", leaf)
	}
	out := row.head()
	text, err := s.unpack.DecodeAll(row.Text, nil)
	if err != nil {
		return out, fmt.Errorf("asset import at leaf %d: %w", leaf, err)
	}
	out.Text = bytes.Clone(text)
	return out, nil
}

// RecordedClassifications returns what was recorded under a leaf, by asset.
func (s *Store) RecordedClassifications(ctx context.Context, leaf int64) ([]store.Classification, error) {
	var rows []classificationRow
	if err := s.reader.NewSelect().Model(&rows).Where("leaf = ?", leaf).Order("asset").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read classifications: %w", err)
	}
	out := make([]store.Classification, len(rows))
	for i, r := range rows {
		if err := fromJSONExact(r.Body, &out[i]); err != nil {
			return nil, fmt.Errorf("classification of %s at leaf %d: %w", r.Asset, r.Leaf, err)
		}
		if out[i].Asset != r.Asset {
			return nil, fmt.Errorf("classification of %s at leaf %d: it is of %s by its body", r.Asset, r.Leaf, out[i].Asset)
		}
	}
	return out, nil
}

// ClassificationHistory returns every classification of an asset, oldest first.
func (s *Store) ClassificationHistory(ctx context.Context, asset string) ([]store.ClassificationVersion, error) {
	var rows []struct {
		Leaf int64  `bun:"leaf"`
		At   int64  `bun:"at"`
		Body string `bun:"body"`
	}
	err := s.reader.NewRaw(`SELECT c.leaf AS leaf, l.at AS at, c.body AS body FROM classification AS c JOIN leaf AS l ON l.idx = c.leaf
		WHERE c.asset = ? ORDER BY c.leaf`, asset).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read classifications of %s: %w", asset, err)
	}
	out := make([]store.ClassificationVersion, len(rows))
	for i, r := range rows {
		out[i] = store.ClassificationVersion{Leaf: r.Leaf, At: instant(r.At)}
		if err := fromJSONStrict(r.Body, &out[i].Classification); err != nil {
			return nil, fmt.Errorf("classification of %s at leaf %d: %w", asset, r.Leaf, err)
		}
	}
	return out, nil
}
