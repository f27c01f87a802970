package store

import (
	"context"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
)

// Classification is how an asset is classified, and by whose word.
type Classification struct {
	Asset      string              `json:"asset"`
	Attributes Attributes          `json:"attributes"`
	Provenance classify.Provenance `json:"provenance"`
	// Notes are what could not be told: entries of lists that fit several assets.
	Notes []string `json:"notes,omitempty"`
	// Gone is the list that says the asset is terminated, nil when none does.
	Gone *classify.Gone `json:"gone,omitempty"`
	// Claims are what the host said of itself when this was derived.
	Claims classify.Claims `json:"claims"`
}

// ClassificationVersion is a classification as it was recorded under a leaf.
type ClassificationVersion struct {
	Leaf           int64
	At             time.Time
	Classification Classification
}

// RulesRecord is a file of rules as applied.
type RulesRecord struct {
	Leaf      int64
	Digest    string
	Source    []byte
	AppliedAt time.Time
	AppliedBy string
}

// AssetImport is a list of assets as imported.
type AssetImport struct {
	Leaf int64
	// Source names the list, File the file it came in.
	Source, File, Format, Digest string
	Entries                      int
	ImportedAt                   time.Time
	ImportedBy                   string
	// Text is the file; only AssetImportAt returns it.
	Text []byte
}

// Standing is what is known of one asset beside rules and lists.
type Standing struct {
	Asset    string
	Name     string
	Declared classify.Declared
	// Claims are of the newest report; empty before the first.
	Claims classify.Claims
	// Attributes stand now; Classified is nil before the first classification.
	Attributes Attributes
	Classified *Classification
}

// Estate is what classifications follow from, as of one moment: all of it, or what
// bears on some assets.
type Estate struct {
	// Rules in force, nil before the first.
	Rules *RulesRecord
	// Listed are entries of lists, ordered by source and key.
	Listed []classify.Listed
	// Identities are of assets, ordered by id.
	Identities []classify.Identity
	// Standings are of the assets that were asked for and of their rivals - those
	// that say they are the same instance, bear the same name, or could be an entry
	// that one of them could be, now or when it was last classified - ordered by id.
	Standings []Standing
	// Next is the index the next leaf will have.
	Next int64
}

// Reclassification is what is recorded at once: an act, and what follows from it.
type Reclassification struct {
	// Declared, when set, is what an operator says of an asset by hand from now on.
	Declared *Declaration
	// Rules, when set, are in force from now on.
	Rules *RulesRecord
	// Import, when set, came with Listed, which replace the source's entries with
	// the same keys; their Leaf is of an import, or Next.
	Import *AssetImport
	Listed []classify.Listed
	// Changed are the assets whose classification is another than before.
	Changed []Classification
	// Leaf bears witness to it all. Nil records nothing.
	Leaf *Leaf
}

// Declaration is what an operator says of an asset by hand, and what it is called.
type Declaration struct {
	Asset, Name string
	Declared    classify.Declared
}

// Classifications keeps what assets are, by whose word, and what is expected.
type Classifications interface {
	// Estate returns what the classifications of some assets follow from, with their
	// standings and those of their rivals; of the whole estate when assets is nil,
	// and without any standing when it is empty.
	Estate(ctx context.Context, assets []string) (Estate, error)
	// Standings returns the standings of some assets, ordered by id; unknown ones
	// are left out.
	Standings(ctx context.Context, assets []string) ([]Standing, error)
	// Reclassify calls decide with the estate and records what it returns, with
	// nothing written in between. Assets whose attributes change are marked dirty. It
	// returns the leaf's index, -1 when nothing was recorded. An error of decide is
	// returned and nothing recorded; decide must not use the store.
	Reclassify(ctx context.Context, assets []string, decide func(Estate) (Reclassification, error)) (int64, error)
	// RulesHistory lists the rules ever applied, newest first.
	RulesHistory(ctx context.Context) ([]RulesRecord, error)
	// AssetImports lists the imports, newest first, without Text.
	AssetImports(ctx context.Context) ([]AssetImport, error)
	// AssetImportAt returns the import of a leaf, with Text.
	AssetImportAt(ctx context.Context, leaf int64) (AssetImport, error)
	// RecordedClassifications returns what was recorded under a leaf, by asset.
	RecordedClassifications(ctx context.Context, leaf int64) ([]Classification, error)
	// ClassificationHistory returns every classification of an asset, oldest first.
	ClassificationHistory(ctx context.Context, asset string) ([]ClassificationVersion, error)
}

// RuleSet reads the rules in force; an empty set before the first.
func (e *Estate) RuleSet() (classify.RuleSet, error) {
	if e.Rules == nil {
		return classify.RuleSet{}, nil
	}
	rules, err := classify.ParseRules(e.Rules.Source)
	if err != nil {
		return classify.RuleSet{}, fmt.Errorf("read the rules in force, %s: %w", e.Rules.Digest, err)
	}
	return classify.RuleSet{Rules: rules, By: e.Rules.AppliedBy, At: e.Rules.AppliedAt}, nil
}

// Input is a standing in the terms of classify.
func (s *Standing) Input() classify.Input {
	return classify.Input{Asset: s.Asset, Name: s.Name, Declared: s.Declared, Claims: s.Claims}
}
