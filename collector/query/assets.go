package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Asset is one host as people see it.
type Asset struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Fingerprint string           `json:"fingerprint" doc:"Of the evidence key."`
	TrustedAt   time.Time        `json:"trusted_at"`
	Attributes  store.Attributes `json:"attributes"`
	// Provenance says by whose word each attribute stands.
	Provenance []AttributeOrigin `json:"provenance"`
	Hostname   string            `json:"hostname,omitempty"`
	OS         string            `json:"os,omitempty"`
	Release    string            `json:"release,omitempty"`
	Kernel     string            `json:"kernel,omitempty"`
	Arch       string            `json:"arch,omitempty"`
	InstanceID string            `json:"instance_id,omitempty"`
	Agent      string            `json:"agent,omitempty"`
	Packages   int               `json:"packages"`
	// Presence is whether it is in use, and reports; GoneSince and GoneWhy are of one
	// that somebody says is gone.
	Presence  Presence  `json:"presence" doc:"reporting, silent, never_seen, terminated, retired or back (gone by somebody's word, and it reports)."`
	GoneSince time.Time `json:"gone_since,omitzero"`
	GoneWhy   string    `json:"gone_why,omitempty"`
	// LastReport is when the newest report was received, zero when none ever was.
	LastReport time.Time `json:"last_report,omitzero"`
	Sequence   uint64    `json:"sequence"`
	// Complete is false when the newest package inventory has a gap.
	Complete bool `json:"complete"`
	Covered  bool `json:"covered" doc:"Whether a feed covers its distribution release."`
	// CloneSuspect: two hosts may be speaking with its key. What either shows counts.
	CloneSuspect bool `json:"clone_suspect" doc:"Whether two hosts may be speaking with its key; the gaps say why."`
	// Gaps are what could not be read or told, as of the last assessment.
	Gaps         []schema.Gap `json:"gaps"`
	Undetermined int          `json:"undetermined" doc:"Comparisons that could not be made."`
	Open         Counts       `json:"open"`
}

// Counts are running findings by severity.
type Counts struct {
	Critical int `json:"critical"`
	High     int `json:"high"`
	Medium   int `json:"medium"`
	Low      int `json:"low"`
	Total    int `json:"total"`
	Overdue  int `json:"overdue"`
	KEV      int `json:"kev"`
}

func (c *Counts) add(r *Finding) {
	switch r.Severity {
	case finding.Critical:
		c.Critical++
	case finding.High:
		c.High++
	case finding.Medium:
		c.Medium++
	case finding.Low:
		c.Low++
	}
	c.Total++
	if r.Overdue {
		c.Overdue++
	}
	if r.KEV {
		c.KEV++
	}
}

// AssetList lists the hosts we track.
type AssetList struct {
	Meta
	Assets []Asset `json:"assets"`
}

// AssetDetail is one host with its most urgent findings and what could not be compared.
type AssetDetail struct {
	Meta
	Asset        Asset                  `json:"asset"`
	Running      *Running               `json:"running,omitempty" doc:"What really runs; absent before the first report."`
	Findings     []Finding              `json:"findings" doc:"Running findings, most urgent first."`
	Undetermined []finding.Undetermined `json:"undetermined"`
}

// Assets lists every host we track.
func (s *Service) Assets(ctx context.Context) (AssetList, error) {
	at := s.now()
	as, err := s.Store.Assets(ctx)
	if err != nil {
		return AssetList{}, fmt.Errorf("list assets: %w", err)
	}
	counts, err := s.Store.CountByAsset(ctx, at)
	if err != nil {
		return AssetList{}, fmt.Errorf("count findings of assets: %w", err)
	}
	out := AssetList{Assets: make([]Asset, 0, len(as))}
	for _, a := range as {
		row, err := assetRow(a, counts[a.ID], at)
		if err != nil {
			return out, err
		}
		out.Assets = append(out.Assets, row)
	}
	out.Meta, err = s.meta(ctx, at, len(out.Assets))
	return out, err
}

// Asset shows one host, by id or name.
func (s *Service) Asset(ctx context.Context, idOrName string) (AssetDetail, error) {
	at := s.now()
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return AssetDetail{}, err
	}
	list, err := s.Findings(ctx, Filter{Asset: []string{a.ID}, OpenOnly: true})
	if err != nil {
		return AssetDetail{}, err
	}
	var open Counts
	for i := range list.Findings {
		open.add(&list.Findings[i])
	}
	out := AssetDetail{Findings: list.Findings}
	if out.Undetermined, err = s.Store.UndeterminedOf(ctx, a.ID); err != nil {
		return out, fmt.Errorf("list undetermined of %s: %w", a.ID, err)
	}
	if out.Undetermined == nil {
		out.Undetermined = []finding.Undetermined{}
	}
	if out.Asset, err = assetRow(a, store.AssetCount{Undetermined: len(out.Undetermined)}, at); err != nil {
		return out, err
	}
	out.Asset.Open = open
	if out.Running, err = s.running(ctx, &a); err != nil {
		return out, err
	}
	out.Meta, err = s.meta(ctx, at, len(out.Findings))
	return out, err
}

func assetRow(a store.Asset, n store.AssetCount, at time.Time) (Asset, error) {
	out := Asset{
		Presence: presence(&a, at, DefaultCadence), CloneSuspect: lineage.Suspected(a.Gaps),
		ID: a.ID, Name: a.Name, TrustedAt: a.TrustedAt, Attributes: a.Attributes, Covered: a.Covered, Provenance: origins(&a),
		Gaps: append([]schema.Gap{}, a.Gaps...), Undetermined: n.Undetermined,
		Open: Counts{Critical: n.Critical, High: n.High, Medium: n.Medium, Low: n.Low, Total: n.Total, Overdue: n.Overdue, KEV: n.KEV},
	}
	if gone := a.Gone(); gone != nil {
		out.GoneSince, out.GoneWhy = gone.Since, wordOn(gone)
	}
	pub, err := schema.ParseKeyID(a.Key)
	if err != nil {
		return out, fmt.Errorf("evidence key of %s: %w", a.ID, err)
	}
	out.Fingerprint = schema.Fingerprint(pub)
	if h := a.Head; h != nil {
		out.Hostname, out.OS, out.Release, out.Kernel = h.Hostname, h.OSName, h.Release.String(), h.Kernel.Release
		out.Arch, out.InstanceID, out.Agent, out.Packages = h.Arch, h.InstanceID, h.Agent, h.Packages
		out.LastReport, out.Sequence, out.Complete = h.ReceivedAt, h.Sequence, h.Complete
	}
	return out, nil
}

// Vulnerability says who has a flaw, where it is fixed, and when it is due.
type Vulnerability struct {
	Meta
	ID       string         `json:"id"`
	Facts    advisory.Facts `json:"facts"`
	Fixes    []Fix          `json:"fixes" doc:"What each publisher says, by release and package."`
	Findings []Finding      `json:"findings" doc:"The most urgent 500."`
	// NotKept names facts that may have been known at the past moment asked of.
	NotKept []string `json:"not_kept,omitempty" doc:"Kinds of facts that were not kept for the moment asked of; only in answers on the past."`
	// Next is the cursor for the rest of them, in /v1/findings with this vulnerability.
	Next string `json:"next,omitempty" doc:"Cursor in /v1/findings?vulnerability= for the rest."`
}

// shownOfVulnerability bounds the findings that come along with a vulnerability.
const shownOfVulnerability = 500

// Fix is one publisher's row.
type Fix struct {
	Advisory  string    `json:"advisory"`
	Feed      string    `json:"feed"`
	Release   string    `json:"release"`
	Package   string    `json:"package"`
	Fixed     string    `json:"fixed,omitempty" doc:"Empty when the publisher names no fix."`
	Module    string    `json:"module,omitempty"`
	Rating    string    `json:"rating,omitempty"`
	Issued    time.Time `json:"issued,omitzero"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
}

// Vulnerability answers about one CVE.
func (s *Service) Vulnerability(ctx context.Context, id string) (Vulnerability, error) {
	advs, err := s.Store.AdvisoriesNaming(ctx, id)
	if err != nil {
		return Vulnerability{}, fmt.Errorf("list advisories naming %s: %w", id, err)
	}
	facts, err := s.Store.Facts(ctx, []string{id})
	if err != nil {
		return Vulnerability{}, fmt.Errorf("load facts of %s: %w", id, err)
	}
	list, err := s.Findings(ctx, Filter{Vulnerability: []string{id}, Limit: shownOfVulnerability})
	if err != nil {
		return Vulnerability{}, err
	}
	notKept, err := s.Store.FactsNotKept(ctx, id)
	if err != nil {
		return Vulnerability{}, err
	}
	known, ok := facts[id]
	if len(advs) == 0 && len(list.Findings) == 0 && !ok {
		return Vulnerability{}, fmt.Errorf("vulnerability %q: no feed names it: %w", id, store.ErrNotFound)
	}
	known.Vulnerability = id
	out := Vulnerability{Meta: list.Meta, ID: id, Facts: known, Findings: list.Findings, Next: list.Next, NotKept: notKept, Fixes: []Fix{}}
	for i := range advs {
		out.Fixes = append(out.Fixes, fixes(&advs[i])...)
	}
	slices.SortStableFunc(out.Fixes, func(a, b Fix) int {
		return strings.Compare(a.Release+"\x00"+a.Package+"\x00"+a.Advisory, b.Release+"\x00"+b.Package+"\x00"+b.Advisory)
	})
	return out, nil
}

func fixes(a *advisory.Advisory) []Fix {
	var out []Fix
	for _, af := range a.Affected {
		f := Fix{
			Advisory: a.ID, Feed: a.Feed, Release: af.Release.String(), Package: af.Name, Module: af.Module,
			Rating: a.Rating, Issued: a.Issued, Withdrawn: a.Withdrawn != nil,
		}
		for _, r := range af.Ranges {
			if r.Fixed != "" {
				f.Fixed = r.Fixed
			}
		}
		out = append(out, f)
	}
	return out
}
