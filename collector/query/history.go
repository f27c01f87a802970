package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// FindingHistory is every recorded state of a finding, oldest first. What is in it
// stays as it is; only later states are added.
type FindingHistory struct {
	Meta
	ID       string           `json:"id"`
	Versions []FindingVersion `json:"versions"`
}

// FindingVersion is a finding as it was recorded under a leaf of the evidence log.
type FindingVersion struct {
	Leaf       int64     `json:"leaf"`
	RecordedAt time.Time `json:"recorded_at"`
	Policy     string    `json:"policy" doc:"Digest of the policy its deadline was made with."`
	// Finding is as of its recording, with its asset as it was judged by.
	Finding Finding `json:"finding"`
}

// FindingHistory tells every recorded state of a finding.
func (s *Service) FindingHistory(ctx context.Context, id string) (FindingHistory, error) {
	out := FindingHistory{ID: id, Versions: []FindingVersion{}}
	versions, err := s.Store.FindingHistory(ctx, id)
	if err != nil {
		return out, err
	}
	if len(versions) == 0 {
		return out, fmt.Errorf("finding %q: %w", id, store.ErrNotFound)
	}
	for i := range versions {
		v := &versions[i]
		leaves, err := s.Store.Leaves(ctx, v.Leaf, 1)
		if err != nil {
			return out, fmt.Errorf("read leaf %d: %w", v.Leaf, err)
		}
		if len(leaves) == 0 {
			return out, fmt.Errorf("leaf %d of finding %s: %w", v.Leaf, id, store.ErrNotFound)
		}
		r := row(&v.Finding, "", leaves[0].At)
		r.judgedBy(v.Finding.Clock.Inputs)
		out.Versions = append(out.Versions, FindingVersion{
			Leaf: v.Leaf, RecordedAt: leaves[0].At, Policy: v.Finding.Verdict.Policy, Finding: r,
		})
	}
	if out.Meta, err = s.meta(ctx, s.now(), len(out.Versions)); err != nil {
		return out, err
	}
	out.Filters["finding"] = id
	return out, nil
}

// judgedBy says what a finding's asset was when its deadline was decided.
func (r *Finding) judgedBy(in finding.Inputs) {
	r.Class, r.Exposure, r.Environment, r.CrownJewel, r.ColdWallet = in.Class, in.Exposure, in.Environment, in.CrownJewel, in.ColdWallet
}

// GapList is what could not be read or told, on every asset.
type GapList struct {
	Meta
	Assets int        `json:"assets" doc:"Assets with at least one gap."`
	Gaps   []AssetGap `json:"gaps" doc:"By extractor, then asset."`
}

// AssetGap is one gap of one asset, as of its last assessment.
type AssetGap struct {
	Asset      string    `json:"asset"`
	Name       string    `json:"name"`
	Extractor  string    `json:"extractor"`
	Kind       string    `json:"kind"`
	Path       string    `json:"path,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	LastReport time.Time `json:"last_report,omitzero"`
}

// Gaps lists what could not be read or told.
func (s *Service) Gaps(ctx context.Context) (GapList, error) {
	out := GapList{Gaps: []AssetGap{}}
	as, err := s.Store.Assets(ctx)
	if err != nil {
		return out, fmt.Errorf("list gaps: %w", err)
	}
	for i := range as {
		a := &as[i]
		if len(a.Gaps) > 0 {
			out.Assets++
		}
		for _, g := range a.Gaps {
			row := AssetGap{Asset: a.ID, Name: a.Name, Extractor: g.Extractor, Kind: g.Kind, Path: g.Path, Detail: g.Detail}
			if a.Head != nil {
				row.LastReport = a.Head.ReceivedAt
			}
			out.Gaps = append(out.Gaps, row)
		}
	}
	slices.SortStableFunc(out.Gaps, func(a, b AssetGap) int { return cmp.Compare(a.Extractor, b.Extractor) })
	out.Meta, err = s.meta(ctx, s.now(), len(out.Gaps))
	return out, err
}
