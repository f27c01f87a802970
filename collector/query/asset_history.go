package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// AssetHistory is what became of an asset, oldest first. What is in it stays as it
// is; only later events are added.
type AssetHistory struct {
	Meta
	Asset  string       `json:"asset"`
	Name   string       `json:"name" doc:"Its name as of the answer."`
	Events []AssetEvent `json:"events"`
}

// AssetEventKind says what happened to an asset.
type AssetEventKind string

// Kinds of events.
const (
	EventTrusted    AssetEventKind = "trusted"    // a key speaks for it from now on
	EventReport     AssetEventKind = "report"     // it reported
	EventLateReport AssetEventKind = "late"       // an older report arrived after a newer one
	EventRenamed    AssetEventKind = "renamed"    // it bears another name
	EventAttribute  AssetEventKind = "attribute"  // it is something else, or by another word
	EventCovered    AssetEventKind = "covered"    // a feed speaks of its release
	EventUncovered  AssetEventKind = "uncovered"  // no feed speaks of its release
	EventGap        AssetEventKind = "gap"        // something cannot be read or told
	EventGapClosed  AssetEventKind = "gap_closed" // it can again
)

// AssetEvent is one thing that happened to an asset, with its leaf in the evidence log.
type AssetEvent struct {
	At   time.Time      `json:"at"`
	Leaf int64          `json:"leaf"`
	Kind AssetEventKind `json:"kind"`
	What string         `json:"what" doc:"In words."`
	// Attribute, From and To are of an attribute, or the name; By is who set it.
	Attribute classify.Attribute `json:"attribute,omitempty"`
	From      string             `json:"from,omitempty"`
	To        string             `json:"to,omitempty"`
	By        string             `json:"by,omitempty"`
	// Origin is by whose word the attribute stands from then on.
	Origin *classify.Origin `json:"origin,omitempty"`
	Gap    *schema.Gap      `json:"gap,omitempty"`
	Report *ReportRef       `json:"report,omitempty"`
}

// AssetHistory tells what became of an asset, by id or name.
func (s *Service) AssetHistory(ctx context.Context, idOrName string) (AssetHistory, error) {
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return AssetHistory{}, err
	}
	out := AssetHistory{Asset: a.ID, Name: a.Name, Events: []AssetEvent{}}
	keys, err := s.Store.AssetKeys(ctx, a.ID)
	if err != nil {
		return out, err
	}
	for _, k := range keys {
		pub, err := schema.ParseKeyID(k.Key)
		if err != nil {
			return out, fmt.Errorf("a key of %s: %w", a.ID, err)
		}
		out.Events = append(out.Events, AssetEvent{At: k.TrustedAt, Leaf: k.Leaf, Kind: EventTrusted, What: "key " + schema.Fingerprint(pub) + " is trusted"})
	}
	reports, err := s.Store.States(ctx, a.ID, 0)
	if err != nil {
		return out, err
	}
	out.Events = append(out.Events, reported(reports)...)
	versions, err := s.Store.AssetVersions(ctx, a.ID)
	if err != nil {
		return out, err
	}
	for i := 1; i < len(versions); i++ {
		out.Events = append(out.Events, became(&versions[i-1].Asset, &versions[i])...)
	}
	slices.SortStableFunc(out.Events, func(a, b AssetEvent) int { return cmp.Compare(a.Leaf, b.Leaf) })
	if out.Meta, err = s.meta(ctx, s.now(), len(out.Events)); err != nil {
		return out, err
	}
	out.Filters["asset"] = idOrName
	return out, nil
}

// reported are the events of an asset's reports; of one that arrived after a newer
// one it is said.
func reported(reports []store.Report) []AssetEvent {
	slices.SortFunc(reports, func(a, b store.Report) int { return cmp.Compare(a.LeafIndex, b.LeafIndex) })
	var newest uint64
	out := make([]AssetEvent, len(reports))
	for i := range reports {
		r := &reports[i]
		e := AssetEvent{
			At: r.ReceivedAt, Leaf: r.LeafIndex, Kind: EventReport, What: fmt.Sprintf("report %d by %s", r.Sequence, r.Road),
			Report: &ReportRef{ID: r.ID, Sequence: r.Sequence, ReceivedAt: r.ReceivedAt, Leaf: r.LeafIndex},
		}
		if !r.Complete {
			e.What += ", with an incomplete package list"
		}
		if r.Sequence < newest {
			e.Kind, e.What = EventLateReport, e.What+fmt.Sprintf(", after report %d", newest)
		}
		newest = max(newest, r.Sequence)
		out[i] = e
	}
	return out
}

// became says what changed with a version.
func became(was *store.Asset, v *store.AssetVersion) []AssetEvent {
	now := &v.Asset
	var out []AssetEvent
	add := func(e AssetEvent) {
		e.At, e.Leaf = v.At, v.Leaf
		out = append(out, e)
	}
	if was.Name != now.Name {
		add(AssetEvent{Kind: EventRenamed, What: "from " + was.Name + " to " + now.Name, From: was.Name, To: now.Name, By: now.Declared.By})
	}
	for _, n := range classify.All {
		from, to := was.Attributes.Get(n), now.Attributes.Get(n)
		before, origin := originOf(was, n), originOf(now, n)
		if from == to && (before == nil) == (origin == nil) && (origin == nil || *before == *origin) {
			continue
		}
		e := AssetEvent{Kind: EventAttribute, Attribute: n, From: from, To: to, By: now.AttributesBy, Origin: origin}
		switch {
		case from != to:
			e.What = fmt.Sprintf("%s from %s to %s", n, noneWord(from), noneWord(to))
		default:
			e.What = fmt.Sprintf("%s is %s by another word", n, noneWord(to))
		}
		if origin != nil {
			e.What += ", by " + strings.TrimSpace(string(origin.Source)+" "+origin.Name)
		}
		add(e)
	}
	switch {
	case now.Covered && !was.Covered:
		add(AssetEvent{Kind: EventCovered, What: "a feed covers its release"})
	case was.Covered && !now.Covered:
		add(AssetEvent{Kind: EventUncovered, What: "no feed covers its release"})
	}
	for _, g := range now.Gaps {
		if !slices.Contains(was.Gaps, g) {
			add(AssetEvent{Kind: EventGap, What: gapWords(g), Gap: &g})
		}
	}
	for _, g := range was.Gaps {
		if !slices.Contains(now.Gaps, g) {
			add(AssetEvent{Kind: EventGapClosed, What: gapWords(g), Gap: &g})
		}
	}
	return out
}

func gapWords(g schema.Gap) string {
	return strings.Join(strings.Fields(g.Extractor+": "+g.Kind+" "+g.Path+" "+g.Detail), " ")
}

func noneWord(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// originOf is by whose word an attribute stands, nil when nobody says it.
func originOf(a *store.Asset, n classify.Attribute) *classify.Origin {
	switch {
	case a.Classified != nil:
		if o, said := a.Classified.Provenance[n]; said {
			return &o
		}
	case a.Declared.Attributes.Get(n) != "":
		return &classify.Origin{Source: classify.ByOperator, By: a.Declared.By, At: a.Declared.At}
	}
	return nil
}
