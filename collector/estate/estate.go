// Package estate keeps what assets are, by whose word, and which are expected:
// it takes in rules and lists, and derives every asset's classification again.
//
// Invariants:
//   - An act, everything that follows from it and its evidence leaf are one
//     transaction.
//   - What a host newly says of itself is taken in before it is assessed.
//   - A file with a fault changes nothing.
package estate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

// Store is what the service needs of the collector's memory.
type Store interface {
	store.Classifications
	store.Assets
	store.Policies
	store.Retirements
}

// Service classifies, and keeps which assets are in use.
type Service struct {
	Store Store
	Now   func() time.Time
	Log   *slog.Logger

	// rules are those in force as they were last read: reading them takes longer
	// than applying them to one asset.
	rules atomic.Pointer[classify.RuleSet]
}

// Applied says what came of an act.
type Applied struct {
	Leaf int64 // -1 when the same was in force already
	// Digest is the SHA-256 (hex) of the file.
	Digest string
	// Assets counts all of them, Changed those classified otherwise than before.
	Assets, Changed int
	// Rules counts what a file of rules holds; the others speak of a list.
	Rules   int
	Entries int
	Format  string
	Ignored []string
	Skipped map[string]int
	// Matched counts the assets that some entry of the import was given to.
	Matched int
	// Absent counts entries that a whole list left out: they are terminated.
	Absent int
}

// List is a list of assets as somebody sends it.
type List struct {
	// Source names the list, File the file it came in, By who sends it.
	Source, File, By string
	Data             []byte
	// Whole: the file is all of the list, so what it leaves out is terminated.
	Whole bool
	// Confirm takes a whole list that leaves out more than MayLeaveOut.
	Confirm bool
}

// mayLeaveOut says how many of a list's machines a whole file may leave out
// without somebody confirming it: half an export would end a whole estate.
func mayLeaveOut(listed int) int { return max(10, listed/5) }

// ErrInvalid marks what is wrong with a request rather than with the collector.
var ErrInvalid = errors.New("not usable")

// ApplyRules puts a file of rules in force.
func (s *Service) ApplyRules(ctx context.Context, src []byte, by string) (Applied, error) {
	rules, err := classify.ParseRules(src)
	if err != nil {
		return Applied{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	out := Applied{Digest: rules.Digest, Rules: len(rules.Rules)}
	at := s.now()
	out.Leaf, err = s.Store.Reclassify(ctx, nil, func(e store.Estate) (store.Reclassification, error) {
		out.Assets = len(e.Standings)
		if e.Rules != nil && e.Rules.Digest == rules.Digest {
			return store.Reclassification{}, nil // in force already
		}
		rec := &store.RulesRecord{Digest: rules.Digest, Source: src, AppliedAt: at, AppliedBy: by}
		r := store.Reclassification{Rules: rec}
		set := classify.RuleSet{Rules: rules, By: by, At: at}
		r.Changed = derive(set, classify.NewRoster(e.Listed, e.Identities), e.Standings)
		out.Changed = len(r.Changed)
		return seal(r, evidence.ClassificationBody{
			Act: evidence.ActRules, By: by, Rules: &evidence.RulesBody{Digest: rules.Digest, Rules: len(rules.Rules)},
		}, at)
	})
	if err != nil {
		return out, fmt.Errorf("apply rules: %w", err)
	}
	s.Log.Info("classification rules applied", "digest", rules.Digest, "rules", out.Rules, "changed", out.Changed, "leaf", out.Leaf)
	return out, nil
}

var sourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Import takes in a list of assets under the name of its source. Entries the
// source listed before and this file does not hold stay as they are, unless the
// file is the whole list: then they are terminated.
func (s *Service) Import(ctx context.Context, l List) (Applied, error) {
	source := l.Source
	if !sourceName.MatchString(source) {
		return Applied{}, fmt.Errorf("%w: the source's name %q: want lower-case letters, digits, '.', '_' and '-', at most 64", ErrInvalid, source)
	}
	list, err := classify.ReadImport(l.Data)
	if err != nil {
		return Applied{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	out := Applied{Digest: list.Digest, Entries: len(list.Entries), Format: list.Format, Ignored: list.Ignored, Skipped: list.Skipped}
	at := s.now()
	im := store.AssetImport{
		Source: source, File: fileName(l.File), Format: list.Format, Digest: list.Digest, Entries: len(list.Entries),
		ImportedAt: at, ImportedBy: l.By, Text: l.Data,
	}
	out.Leaf, err = s.Store.Reclassify(ctx, nil, func(e store.Estate) (store.Reclassification, error) {
		set, err := e.RuleSet()
		if err != nil {
			return store.Reclassification{}, err
		}
		out.Assets = len(e.Standings)
		kept, fresh := merge(e, im, list.Entries)
		if l.Whole {
			var absent []classify.Listed
			kept, absent = leaveOut(kept, im, e.Next)
			if may := mayLeaveOut(len(absent) + len(list.Entries)); len(absent) > may && !l.Confirm {
				return store.Reclassification{}, fmt.Errorf("%w: as a whole list it leaves out %d machines that %s listed before, more than %d: "+
					"their findings would end; look at the file, and confirm it if it is whole", ErrInvalid, len(absent), source, may)
			}
			out.Absent = len(absent)
			fresh = append(fresh, absent...)
		}
		roster := classify.NewRoster(append(kept, fresh...), e.Identities)
		out.Matched = matched(roster, e.Identities, source, e.Next)
		r := store.Reclassification{Import: &im, Listed: fresh}
		r.Changed = derive(set, roster, e.Standings)
		out.Changed = len(r.Changed)
		return seal(r, evidence.ClassificationBody{Act: evidence.ActImport, By: l.By, Import: &evidence.ImportBody{
			Source: im.Source, File: im.File, Format: im.Format, Digest: im.Digest, Entries: im.Entries, Whole: l.Whole,
		}}, at)
	})
	if err != nil {
		return out, fmt.Errorf("import assets: %w", err)
	}
	s.Log.Info("assets imported", "source", source, "digest", list.Digest, "entries", out.Entries, "changed", out.Changed, "leaf", out.Leaf)
	return out, nil
}

// merge splits the estate's entries and those of a new import into those that
// stay as they are and those the import lists. One that says nothing new keeps the
// word it was first said with.
func merge(e store.Estate, im store.AssetImport, entries []classify.Entry) (kept, fresh []classify.Listed) {
	before := map[string]*classify.Listed{}
	for i := range e.Listed {
		if e.Listed[i].Source == im.Source {
			before[e.Listed[i].Key()] = &e.Listed[i]
		}
	}
	for i := range entries {
		l := classify.Listed{
			Source: im.Source, Digest: im.Digest, Leaf: e.Next, Seen: e.Next, By: im.ImportedBy, At: im.ImportedAt, Entry: entries[i],
		}
		key := l.Key()
		if was := before[key]; was != nil && was.Same(&entries[i]) {
			l = *was
			l.Seen = e.Next
		}
		delete(before, key)
		fresh = append(fresh, l)
	}
	for i := range e.Listed {
		l := &e.Listed[i]
		if l.Source != im.Source || before[l.Key()] != nil {
			kept = append(kept, *l)
		}
	}
	return kept, fresh
}

// leaveOut takes the machines that a whole list of a source does not name as
// terminated.
func leaveOut(listed []classify.Listed, im store.AssetImport, leaf int64) (kept, absent []classify.Listed) {
	for _, l := range listed {
		gone, ok := classify.Absent(l.Entry)
		if l.Source != im.Source || !ok {
			kept = append(kept, l)
			continue
		}
		absent = append(absent, classify.Listed{
			Source: l.Source, Digest: im.Digest, Leaf: leaf, Seen: leaf, By: im.ImportedBy, At: im.ImportedAt, Entry: gone,
		})
	}
	return kept, absent
}

func matched(roster *classify.Roster, ids []classify.Identity, source string, leaf int64) int {
	n := 0
	for _, id := range ids {
		if slices.ContainsFunc(roster.Of(id.Asset), func(l classify.Listed) bool { return l.Source == source && l.Seen == leaf }) {
			n++
		}
	}
	return n
}

// Refresh derives the classification of assets whose hosts say something else of
// themselves than when it was last derived. It is cheap when none does.
func (s *Service) Refresh(ctx context.Context, assets []string) error {
	standings, err := s.Store.Standings(ctx, assets)
	if err != nil {
		return fmt.Errorf("refresh classification: %w", err)
	}
	var stale []string
	for i := range standings {
		if c := standings[i].Classified; c == nil || !reflect.DeepEqual(c.Claims, standings[i].Claims) {
			stale = append(stale, standings[i].Asset)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	at := s.now()
	_, err = s.Store.Reclassify(ctx, stale, func(e store.Estate) (store.Reclassification, error) {
		set, err := s.ruleSet(&e)
		if err != nil {
			return store.Reclassification{}, err
		}
		r := store.Reclassification{Changed: derive(set, classify.NewRoster(e.Listed, e.Identities), e.Standings)}
		if len(r.Changed) == 0 {
			return r, nil
		}
		return seal(r, evidence.ClassificationBody{Act: evidence.ActClaims}, at)
	})
	if err != nil {
		return fmt.Errorf("refresh classification: %w", err)
	}
	return nil
}

// ruleSet reads the rules in force, once.
func (s *Service) ruleSet(e *store.Estate) (classify.RuleSet, error) {
	if r := s.rules.Load(); r != nil && e.Rules != nil && r.Rules.Digest == e.Rules.Digest && r.By == e.Rules.AppliedBy && r.At.Equal(e.Rules.AppliedAt) {
		return *r, nil
	}
	set, err := e.RuleSet()
	if err == nil && set.Rules != nil {
		s.rules.Store(&set)
	}
	return set, err
}

// seal gives a reclassification its leaf.
func seal(r store.Reclassification, b evidence.ClassificationBody, at time.Time) (store.Reclassification, error) {
	leaf, err := evidence.ClassificationLeaf(b, r.Changed, at)
	r.Leaf = &leaf
	return r, err
}

// derive returns the classifications that are others than before.
func derive(set classify.RuleSet, roster *classify.Roster, standings []store.Standing) []store.Classification {
	var out []store.Classification
	for i := range standings {
		st := &standings[i]
		res := classify.Derive(set, roster, st.Input())
		c := store.Classification{
			Asset: st.Asset, Attributes: res.Attributes, Provenance: res.Provenance, Notes: res.Notes, Gone: res.Gone, Claims: st.Claims,
		}
		if was := st.Classified; was == nil || !reflect.DeepEqual(*was, c) {
			out = append(out, c)
		}
	}
	return out
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// fileName keeps of a client's file name what can be printed.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '_'
	}, s)
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	if r := []rune(s); len(r) > 128 {
		s = string(r[:128])
	}
	return s
}
