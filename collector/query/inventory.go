package query

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Inventories show a finding in what its host reported, before and after
// (standard, VPM-05.1).
type Inventories struct {
	Vulnerable *Inventory `json:"vulnerable,omitempty" doc:"The last report that showed it vulnerable."`
	Fixed      *Inventory `json:"fixed,omitempty" doc:"The report that showed it closed, once there is one."`
}

// Inventory is what one report says of a finding's component.
type Inventory struct {
	ReportRef
	CollectedAt time.Time `json:"collected_at" doc:"By the host's clock."`
	Key         string    `json:"key" doc:"Evidence key that signed it, hex."`
	Road        string    `json:"road"`
	Envelope    string    `json:"envelope_sha256" doc:"Of the envelope as received."`
	LeafHash    string    `json:"leaf_hash" doc:"RFC 6962 hash of the leaf, hex."`
	Release     string    `json:"release"`
	Kernel      string    `json:"kernel,omitempty"`
	Complete    bool      `json:"complete"`
	Part        string    `json:"packages_sha256" doc:"Digest of the whole package list."`
	// Lines are the lines of the package list that are of the component, as they are
	// in the list that the digest is over.
	Lines []string `json:"lines" doc:"Lines of the package list that are of the component; none when it is not installed."`
	// Left counts lines beyond shownLines.
	Left int `json:"lines_left,omitempty"`
}

// shownLines bounds the lines of an inventory: one source package makes at most
// some dozens of binary ones.
const shownLines = 500

func (s *Service) inventories(ctx context.Context, f *finding.Finding, p Proof) (Inventories, error) {
	var out Inventories
	var err error
	seen := f.SeenReport
	if f.State.Running() && !f.Stale && p.LastSeen != nil {
		seen = p.LastSeen.ID // a finding is not recorded anew for each report that shows it
	}
	if seen != "" {
		if out.Vulnerable, err = s.inventory(ctx, f, seen); err != nil {
			return out, err
		}
	}
	if p.Closed != nil {
		out.Fixed, err = s.inventory(ctx, f, p.Closed.ID)
	}
	return out, err
}

func (s *Service) inventory(ctx context.Context, f *finding.Finding, report string) (*Inventory, error) {
	r, err := s.Store.Report(ctx, report)
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", report, err)
	}
	leaves, err := s.Store.Leaves(ctx, r.LeafIndex, 1)
	if err != nil {
		return nil, fmt.Errorf("leaf of report %s: %w", report, err)
	}
	if len(leaves) == 0 {
		return nil, fmt.Errorf("leaf %d of report %s: %w", r.LeafIndex, report, store.ErrNotFound)
	}
	hash, envelope := evidence.Hash(leaves[0]), sha256.Sum256(r.Raw)
	out := &Inventory{
		ReportRef:   ReportRef{ID: r.ID, Sequence: r.Sequence, ReceivedAt: r.ReceivedAt, Leaf: r.LeafIndex},
		CollectedAt: r.CollectedAt, Key: r.Key, Road: r.Road, Envelope: hex.EncodeToString(envelope[:]), LeafHash: hex.EncodeToString(hash[:]),
		Release: r.Release.String(), Kernel: r.Kernel.Release, Complete: r.Complete, Part: r.SetDigest, Lines: []string{},
	}
	if r.SetDigest == "" {
		return out, nil
	}
	text, err := s.Store.Part(ctx, r.SetDigest)
	if err != nil {
		return nil, fmt.Errorf("packages of report %s: %w", report, err)
	}
	all, err := schema.DecodePackages(text)
	if err != nil {
		return nil, fmt.Errorf("packages of report %s: %w", report, err)
	}
	ofIt := func(p *schema.Package) bool {
		return p.Source == f.Component || p.Name == f.Component ||
			slices.ContainsFunc(f.Packages, func(c finding.Comparison) bool { return c.Package == p.Name && (c.Arch == "" || c.Arch == p.Arch) })
	}
	// Decoding keeps order, so a package is the line of its place.
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range all {
		if !ofIt(&all[i]) {
			continue
		}
		if len(out.Lines) == shownLines {
			out.Left++
			continue
		}
		out.Lines = append(out.Lines, lines[i])
	}
	return out, nil
}
