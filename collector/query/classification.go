package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// Classification is what classifies assets: the rules in force and the lists.
type Classification struct {
	Meta
	// Rules in force, nil when none were ever applied.
	Rules   *RulesInForce `json:"rules"`
	Source  string        `json:"source,omitempty" doc:"The rules file in force, as applied."`
	History []RulesAct    `json:"history" doc:"Rules ever applied, newest first."`
	Imports []ImportAct   `json:"imports" doc:"Lists of assets ever imported, newest first."`
}

// RulesInForce names the rules in force.
type RulesInForce struct {
	RulesAct
	Rules int `json:"rules" doc:"How many rules the file has."`
}

// RulesAct is one application of rules.
type RulesAct struct {
	Digest    string    `json:"digest"`
	AppliedAt time.Time `json:"applied_at"`
	AppliedBy string    `json:"applied_by"`
	Leaf      int64     `json:"leaf"`
}

// ImportAct is one import of a list of assets.
type ImportAct struct {
	Source     string    `json:"source"`
	File       string    `json:"file"`
	Format     string    `json:"format"`
	Digest     string    `json:"digest"`
	Entries    int       `json:"entries"`
	ImportedAt time.Time `json:"imported_at"`
	ImportedBy string    `json:"imported_by"`
	Leaf       int64     `json:"leaf"`
}

// Classification shows the rules in force and the imports.
func (s *Service) Classification(ctx context.Context) (Classification, error) {
	out := Classification{History: []RulesAct{}, Imports: []ImportAct{}}
	history, err := s.Store.RulesHistory(ctx)
	if err != nil {
		return out, fmt.Errorf("show classification: %w", err)
	}
	for i, h := range history {
		act := RulesAct{Digest: h.Digest, AppliedAt: h.AppliedAt, AppliedBy: h.AppliedBy, Leaf: h.Leaf}
		out.History = append(out.History, act)
		if i > 0 {
			continue
		}
		rules, err := classify.ParseRules(h.Source)
		if err != nil {
			return out, fmt.Errorf("show classification: read the rules in force: %w", err)
		}
		out.Rules, out.Source = &RulesInForce{RulesAct: act, Rules: len(rules.Rules)}, string(h.Source)
	}
	imports, err := s.Store.AssetImports(ctx)
	if err != nil {
		return out, fmt.Errorf("show classification: %w", err)
	}
	for _, im := range imports {
		out.Imports = append(out.Imports, ImportAct{
			Source: im.Source, File: im.File, Format: im.Format, Digest: im.Digest, Entries: im.Entries,
			ImportedAt: im.ImportedAt, ImportedBy: im.ImportedBy, Leaf: im.Leaf,
		})
	}
	out.Meta, err = s.meta(ctx, s.now(), len(out.History)+len(out.Imports))
	return out, err
}

// Classified explains an asset, attribute by attribute.
type Classified struct {
	Meta
	Asset string `json:"asset"`
	Name  string `json:"name"`
	// Rules is the digest of the rules it is explained under, empty for none.
	Rules      string           `json:"rules,omitempty"`
	Column     sla.Column       `json:"column" doc:"Column of the timelines it is in."`
	Attributes store.Attributes `json:"attributes"`
	// Explained holds everything anybody says of each attribute, heaviest first.
	Explained []ExplainedAttribute `json:"explained"`
	Notes     []string             `json:"notes" doc:"What could not be told."`
}

// ExplainedAttribute is one attribute with every word on it.
type ExplainedAttribute struct {
	Attribute classify.Attribute `json:"attribute"`
	Value     string             `json:"value" doc:"Empty when unknown, or a flag that is not set."`
	Words     []classify.Word    `json:"words"`
}

// BadRules is a rules file with faults.
type BadRules struct{ Err error }

func (e *BadRules) Error() string { return e.Err.Error() }
func (e *BadRules) Unwrap() error { return e.Err }

// ruleSet is the candidate's rules, or those in force when there is none.
func (s *Service) ruleSet(e *store.Estate, candidate []byte) (classify.RuleSet, error) {
	if candidate == nil {
		return e.RuleSet()
	}
	rules, err := classify.ParseRules(candidate)
	if err != nil {
		return classify.RuleSet{}, &BadRules{err}
	}
	return classify.RuleSet{Rules: rules, By: "not applied", At: s.now()}, nil
}

// Classified explains one asset under the rules in force, or under a candidate file.
func (s *Service) Classified(ctx context.Context, idOrName string, candidate []byte) (Classified, error) {
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return Classified{}, err
	}
	e, err := s.Store.Estate(ctx, []string{a.ID})
	if err != nil {
		return Classified{}, fmt.Errorf("explain asset %q: %w", idOrName, err)
	}
	set, err := s.ruleSet(&e, candidate)
	if err != nil {
		return Classified{}, err
	}
	i := slices.IndexFunc(e.Standings, func(st store.Standing) bool { return st.Asset == a.ID })
	if i < 0 {
		return Classified{}, fmt.Errorf("asset %q: %w", idOrName, store.ErrNotFound)
	}
	res := classify.Derive(set, classify.NewRoster(e.Listed, e.Identities), e.Standings[i].Input())
	out := Classified{
		Asset: a.ID, Name: a.Name, Attributes: res.Attributes, Column: column(res.Attributes),
		Notes: append([]string{}, res.Notes...),
	}
	if set.Rules != nil {
		out.Rules = set.Rules.Digest
	}
	for _, n := range classify.All {
		out.Explained = append(out.Explained, ExplainedAttribute{
			Attribute: n, Value: res.Attributes.Get(n), Words: append([]classify.Word{}, res.Words[n]...),
		})
	}
	out.Meta, err = s.meta(ctx, s.now(), len(out.Explained))
	return out, err
}

func column(a store.Attributes) sla.Column {
	return sla.ColumnOf(sla.Asset{Class: a.Class, Exposure: a.Exposure, Environment: a.Environment, Core: a.Core})
}

// RulesTrial says what a rules file would change.
type RulesTrial struct {
	Meta
	Digest string `json:"digest"`
	Rules  int    `json:"rules"`
	Assets int    `json:"assets" doc:"Assets looked at."`
	// Unused are rules that fit no asset, or whose every value another word outweighs.
	Unused  []string     `json:"unused" doc:"Rules that decide no attribute of any asset."`
	Changes []RuleChange `json:"changes"`
}

// RuleChange is one attribute of one asset that would have another value.
type RuleChange struct {
	Asset     string             `json:"asset"`
	Name      string             `json:"name"`
	Attribute classify.Attribute `json:"attribute"`
	Before    string             `json:"before"`
	After     string             `json:"after"`
	Rule      string             `json:"rule,omitempty" doc:"The rule that would decide it."`
}

// TryRules says what a rules file would change, without applying it.
func (s *Service) TryRules(ctx context.Context, candidate []byte) (RulesTrial, error) {
	e, err := s.Store.Estate(ctx, nil)
	if err != nil {
		return RulesTrial{}, fmt.Errorf("try rules: %w", err)
	}
	set, err := s.ruleSet(&e, candidate)
	if err != nil {
		return RulesTrial{}, err
	}
	if set.Rules == nil {
		return RulesTrial{}, &BadRules{errors.New("no rules were given")}
	}
	out := RulesTrial{
		Digest: set.Rules.Digest, Rules: len(set.Rules.Rules), Assets: len(e.Standings),
		Unused: []string{}, Changes: []RuleChange{},
	}
	roster := classify.NewRoster(e.Listed, e.Identities)
	used := map[string]bool{}
	for i := range e.Standings {
		st := &e.Standings[i]
		res := classify.Derive(set, roster, st.Input())
		for _, n := range classify.All {
			o := res.Provenance[n]
			if o.Digest == set.Rules.Digest {
				used[o.Name] = true
			}
			before, after := st.Attributes.Get(n), res.Attributes.Get(n)
			if before == after {
				continue
			}
			c := RuleChange{Asset: st.Asset, Name: st.Name, Attribute: n, Before: before, After: after}
			if o.Digest == set.Rules.Digest {
				c.Rule = o.Name
			}
			out.Changes = append(out.Changes, c)
		}
	}
	for i := range set.Rules.Rules {
		if id := set.Rules.Rules[i].ID; !used[id] {
			out.Unused = append(out.Unused, id)
		}
	}
	out.Meta, err = s.meta(ctx, s.now(), len(out.Changes))
	return out, err
}

// GapKind says why an attribute is a gap.
type GapKind string

// Kinds of classification gaps.
const (
	GapUnknown   GapKind = "unknown"   // nobody says
	GapClaimed   GapKind = "claimed"   // only the host says
	GapAmbiguous GapKind = "ambiguous" // an entry of a list fits several assets
)

// ClassificationGap is something of an asset's classification that nobody vouches for.
type ClassificationGap struct {
	Asset     string             `json:"asset"`
	Name      string             `json:"name"`
	Attribute classify.Attribute `json:"attribute,omitempty"`
	Kind      GapKind            `json:"kind"`
	// CountsAs is how it is read meanwhile.
	CountsAs string `json:"counts_as,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// ClassificationGaps lists what nobody vouches for.
type ClassificationGaps struct {
	Meta
	Assets int                 `json:"assets" doc:"Assets with at least one gap."`
	Gaps   []ClassificationGap `json:"gaps"`
}

// ClassificationGaps lists assets whose exposure, environment or owner nobody
// states, only the host claims, or whose entry in a list is ambiguous.
func (s *Service) ClassificationGaps(ctx context.Context) (ClassificationGaps, error) {
	as, err := s.Store.Assets(ctx)
	if err != nil {
		return ClassificationGaps{}, fmt.Errorf("list classification gaps: %w", err)
	}
	out := ClassificationGaps{Gaps: []ClassificationGap{}}
	for i := range as {
		gaps := gapsOf(&as[i])
		if len(gaps) > 0 {
			out.Assets++
		}
		out.Gaps = append(out.Gaps, gaps...)
	}
	out.Meta, err = s.meta(ctx, s.now(), len(out.Gaps))
	return out, err
}

func gapsOf(a *store.Asset) []ClassificationGap {
	var out []ClassificationGap
	for _, g := range []struct {
		n        classify.Attribute
		countsAs string
	}{{classify.Exposure, string(sla.Internet)}, {classify.Environment, string(sla.Production)}, {classify.Owner, ""}} {
		gap := ClassificationGap{Asset: a.ID, Name: a.Name, Attribute: g.n, CountsAs: g.countsAs}
		var o classify.Origin
		if a.Classified != nil {
			o = a.Classified.Provenance[g.n]
		}
		switch {
		case a.Attributes.Get(g.n) == "":
			gap.Kind, gap.Detail = GapUnknown, "no operator, rule or list says"
		case o.Claimed && o.Instead == "":
			gap.Kind, gap.CountsAs, gap.Detail = GapClaimed, a.Attributes.Get(g.n), "only the host says, by "+o.Name
		default:
			continue
		}
		out = append(out, gap)
	}
	if a.Classified != nil {
		for _, n := range a.Classified.Notes {
			out = append(out, ClassificationGap{Asset: a.ID, Name: a.Name, Kind: GapAmbiguous, Detail: n})
		}
	}
	return out
}

// AttributeOrigin is one attribute with by whose word it stands.
type AttributeOrigin struct {
	Attribute classify.Attribute `json:"attribute"`
	Value     string             `json:"value"`
	classify.Origin
}

// origins lists by whose word each known attribute stands.
func origins(a *store.Asset) []AttributeOrigin {
	out := []AttributeOrigin{}
	for _, n := range classify.All {
		row := AttributeOrigin{Attribute: n, Value: a.Attributes.Get(n), Origin: classify.Origin{Source: classify.ByNobody}}
		if o := originOf(a, n); o != nil {
			row.Origin = *o
		}
		if row.Value != "" || slices.Contains([]classify.Attribute{classify.Exposure, classify.Environment, classify.Owner}, n) {
			out = append(out, row)
		}
	}
	return out
}

// sources names the lists of entries, each once.
func sources(list []classify.Listed) []string {
	out := []string{}
	for i := range list {
		if !slices.Contains(out, list[i].Source) {
			out = append(out, list[i].Source)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
