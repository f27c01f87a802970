package evidence

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

// Acts of a classification leaf.
const (
	ActRules  = "rules"  // rules were applied
	ActImport = "import" // a list of assets was imported
	ActClaims = "claims" // hosts say something else of themselves, or are new
	ActSet    = "set"    // an operator said by hand what an asset is
)

// ClassificationBody is the body of a classification leaf: what was done, and
// what followed for assets.
type ClassificationBody struct {
	Act    string      `json:"act"`
	By     string      `json:"by,omitempty"`
	Set    *SetBody    `json:"set,omitempty"`
	Rules  *RulesBody  `json:"rules,omitempty"`
	Import *ImportBody `json:"import,omitempty"`
	// Changed counts the classifications recorded under the leaf, Digest is over
	// their list, see ClassificationsDigest.
	Changed int    `json:"changed"`
	Digest  string `json:"classifications_sha256"`
}

// SetBody is what an operator says of an asset by hand: all of it, not what is new.
type SetBody struct {
	Asset    string           `json:"asset"`
	Name     string           `json:"name"`
	Declared store.Attributes `json:"declared"`
	Reason   string           `json:"reason"`
}

// RulesBody names rules that were applied.
type RulesBody struct {
	Digest string `json:"digest"`
	Rules  int    `json:"rules"`
}

// ImportBody names a list that was imported.
type ImportBody struct {
	Source  string `json:"source"`
	File    string `json:"file"`
	Format  string `json:"format"`
	Digest  string `json:"digest"`
	Entries int    `json:"entries"`
	// Whole: the file is all of the list; what it leaves out is terminated.
	Whole bool `json:"whole,omitempty"`
}

// ClassificationLeaf makes the leaf of an act and of what followed from it.
func ClassificationLeaf(b ClassificationBody, changed []store.Classification, at time.Time) (store.Leaf, error) {
	digest, err := ClassificationsDigest(changed)
	if err != nil {
		return store.Leaf{}, fmt.Errorf("make classification leaf: %w", err)
	}
	b.Changed, b.Digest = len(changed), digest
	return LeafFor(KindClassification, at, b)
}

// ClassificationsDigest is the SHA-256 (hex) over the lines "asset sha256(canonical
// JSON)\n" of classifications, sorted.
func ClassificationsDigest(list []store.Classification) (string, error) {
	return linesDigest(list, func(c store.Classification) (string, any) { return c.Asset, c })
}

// classification holds what was recorded under a leaf against its digest, and
// takes it as the last word on the assets.
func (r *run) classification(l store.Leaf) error {
	var b ClassificationBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	list, err := r.Store.RecordedClassifications(r.ctx, l.Index)
	if err != nil {
		return err
	}
	digest, err := ClassificationsDigest(list)
	if err != nil {
		return err
	}
	if len(list) != b.Changed || digest != b.Digest {
		return fmt.Errorf("the classifications recorded under it are not those it was made for (%d of %d there)", len(list), b.Changed)
	}
	r.said.given.Classify(&b, list, l.At)
	for i := range list {
		r.said.classified[list[i].Asset] = &list[i]
	}
	if b.Set != nil {
		r.said.declared[b.Set.Asset] = classify.Declared{Attributes: b.Set.Declared, By: b.By, At: l.At}
	}
	if b.Rules != nil {
		r.said.rules = append(r.said.rules, ruled{RulesBody: *b.Rules, leaf: l.Index, by: b.By, at: l.At})
	}
	if b.Import != nil {
		return r.readImport(l, b)
	}
	return nil
}

type ruled struct {
	RulesBody
	leaf int64
	by   string
	at   time.Time
}

// readImport holds an import's file against its digest, and reads again what it lists.
func (r *run) readImport(l store.Leaf, b ClassificationBody) error {
	im, err := r.Store.AssetImportAt(r.ctx, l.Index)
	if err != nil {
		return err
	}
	if classify.Digest(im.Text) != b.Import.Digest {
		return errors.New("the file of the import is not the one that was imported")
	}
	text := im.Text
	im.Text = nil
	r.said.imports++
	want := store.AssetImport{
		Leaf: l.Index, Source: b.Import.Source, File: b.Import.File, Format: b.Import.Format, Digest: b.Import.Digest,
		Entries: b.Import.Entries, ImportedAt: l.At, ImportedBy: b.By,
	}
	if !reflect.DeepEqual(im, want) {
		return errors.New("the row of the import is not what its leaf says")
	}
	list, err := classify.ReadImport(text)
	if err != nil {
		return fmt.Errorf("read the imported file again: %w", err)
	}
	for _, e := range list.Entries {
		k := [2]string{b.Import.Source, e.Key()}
		said, ok := r.said.listed[k]
		if !ok || !said.Same(&e) {
			said = classify.Listed{Source: b.Import.Source, Digest: b.Import.Digest, Leaf: l.Index, By: b.By, At: l.At, Entry: e}
		}
		said.Seen = l.Index
		r.said.listed[k] = said
	}
	if b.Import.Whole {
		r.said.leaveOut(l, b)
	}
	return nil
}

// leaveOut takes what a whole list does not name as terminated.
func (s *said) leaveOut(l store.Leaf, b ClassificationBody) {
	for k, e := range s.listed {
		if k[0] != b.Import.Source || e.Seen == l.Index {
			continue
		}
		if gone, ok := classify.Absent(e.Entry); ok {
			s.listed[k] = classify.Listed{
				Source: e.Source, Digest: b.Import.Digest, Leaf: l.Index, Seen: l.Index, By: b.By, At: l.At, Entry: gone,
			}
		}
	}
}

// checkClassifications holds rules, imports and entries against their leaves.
func (r *run) checkClassifications() error {
	e, err := r.Store.Estate(r.ctx, []string{})
	if err != nil {
		return r.fault("classification", err)
	}
	for i := range e.Listed {
		l := e.Listed[i]
		k := [2]string{l.Source, l.Key()}
		if want, ok := r.said.listed[k]; !ok || !reflect.DeepEqual(want, l) {
			r.problem("listed "+l.Key(), "what is held of it is not what %s says", l.Source)
		}
		delete(r.said.listed, k)
	}
	for k := range r.said.listed {
		r.problem("listed "+k[1], "%s lists it and it has no row: it was removed", k[0])
	}
	imports, err := r.Store.AssetImports(r.ctx)
	if err != nil {
		return r.fault("classification", err)
	}
	if len(imports) != r.said.imports {
		r.problem("asset imports", "%d are held, %d were made", len(imports), r.said.imports)
	}
	return r.checkRules()
}

func (r *run) checkRules() error {
	rules, err := r.Store.RulesHistory(r.ctx)
	if err != nil {
		return r.fault("classification rules", err)
	}
	if len(rules) != len(r.said.rules) {
		r.problem("classification rules", "%d are held, %d were applied", len(rules), len(r.said.rules))
		return nil
	}
	for i, rec := range rules { // newest first
		want := r.said.rules[len(rules)-1-i]
		if rec.Leaf != want.leaf || rec.Digest != want.Digest || classify.Digest(rec.Source) != want.Digest ||
			rec.AppliedBy != want.by || !rec.AppliedAt.Equal(want.at) {
			r.problem("classification rules", "those of leaf %d are not what was applied", rec.Leaf)
		}
	}
	return nil
}

// checkWord holds what is declared of an asset, and by whose word it stands,
// against the leaves.
func (r *run) checkWord(where string, a store.Asset) {
	want := r.said.declared[a.ID]
	if a.Declared.At.IsZero() {
		want.At = time.Time{} // trusted before the store kept when
	}
	if a.Declared != want {
		r.problem(where, "what is declared of it is not what an operator last declared")
	}
	said := r.said.classified[a.ID]
	if (said == nil) != (a.Classified == nil) || said != nil && !reflect.DeepEqual(*said, *a.Classified) {
		r.problem(where, "by whose word it is classified is not what was last recorded")
	}
}
