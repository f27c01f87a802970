package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
)

// DefaultCadence is how long a host may be silent: four of an agent's intervals.
const DefaultCadence = 24 * time.Hour

// Presence says whether an expected asset reports.
type Presence string

// Presences. Of a terminated asset a list says that it is gone, of a retired one
// an operator; one that is back reports all the same.
const (
	Reporting  Presence = "reporting"
	Silent     Presence = "silent"
	NeverSeen  Presence = "never_seen"
	Terminated Presence = "terminated"
	Retired    Presence = "retired"
	Back       Presence = "back"
)

// Presences are all of them, what is missing or wrong first.
var Presences = []Presence{Back, NeverSeen, Silent, Terminated, Retired, Reporting}

// presence says whether an asset is in use, and reports.
func presence(a *store.Asset, at time.Time, cadence time.Duration) Presence {
	switch gone := a.Gone(); {
	case gone != nil && a.Away() == nil:
		return Back
	case gone != nil && gone.Retired:
		return Retired
	case gone != nil:
		return Terminated
	case a.Head == nil:
		return NeverSeen
	case at.Sub(a.Head.ReceivedAt) > cadence:
		return Silent
	default:
		return Reporting
	}
}

// Coverage holds what is expected against what reports.
type Coverage struct {
	Meta
	Cadence string `json:"cadence" doc:"Silence beyond this is told."`
	// Expected counts what lists or operators name, what is gone apart; it is the
	// sum of Reporting, Silent and NeverSeen.
	Expected   int `json:"expected"`
	Reporting  int `json:"reporting"`
	Silent     int `json:"silent"`
	NeverSeen  int `json:"never_seen"`
	Terminated int `json:"terminated"`
	Retired    int `json:"retired"`
	Back       int `json:"back" doc:"Retired or terminated, and yet they report."`
	// Waiting counts keys that send reports and are not trusted; nil for a past
	// moment, of which it is not kept.
	Waiting *int `json:"waiting,omitempty"`
	// Unlisted counts assets that no list names, when there are lists.
	Unlisted int `json:"unlisted"`
	// Unfed counts reporting assets whose release no feed covers, Incomplete those
	// whose newest inventory has a gap, Unclassified those with a gap in exposure,
	// environment or owner.
	Unfed        int `json:"unfed"`
	Incomplete   int `json:"incomplete"`
	Unclassified int `json:"unclassified"`
	// CloneSuspect counts assets whose key two hosts may be speaking with.
	CloneSuspect int           `json:"clone_suspect"`
	Lists        []ListState   `json:"lists"`
	Rows         []CoverageRow `json:"rows"`
}

// ListState says how fresh a list is.
type ListState struct {
	Source     string    `json:"source"`
	ImportedAt time.Time `json:"imported_at"`
	Entries    int       `json:"entries"`
}

// CoverageRow is one asset that is expected, or gone.
type CoverageRow struct {
	Presence   Presence  `json:"presence"`
	Name       string    `json:"name"`
	Asset      string    `json:"asset,omitempty" doc:"Empty when no host was ever trusted for it."`
	InstanceID string    `json:"instance_id,omitempty"`
	Account    string    `json:"account,omitempty"`
	Region     string    `json:"region,omitempty"`
	LastReport time.Time `json:"last_report,omitzero"`
	Lists      []string  `json:"lists" doc:"Lists that name it."`
	ListedAt   time.Time `json:"listed_at,omitzero" doc:"When the newest list that names it was imported."`
	Detail     string    `json:"detail,omitempty"`
}

// Coverage answers what of that which is expected reports, as of now.
func (s *Service) Coverage(ctx context.Context, cadence time.Duration) (Coverage, error) {
	at := s.now()
	cadence = cmp.Or(cadence, DefaultCadence)
	out := Coverage{Cadence: cadence.String(), Lists: []ListState{}, Rows: []CoverageRow{}}
	e, err := s.Store.Estate(ctx, []string{})
	if err != nil {
		return out, fmt.Errorf("read coverage: %w", err)
	}
	as, err := s.Store.Assets(ctx)
	if err != nil {
		return out, fmt.Errorf("read coverage: %w", err)
	}
	imports, err := s.Store.AssetImports(ctx)
	if err != nil {
		return out, fmt.Errorf("read coverage: %w", err)
	}
	if s.position == nil {
		if out.Waiting, err = s.pendingKeys(ctx); err != nil {
			return out, fmt.Errorf("read coverage: %w", err)
		}
	}
	c := census{at: at, cadence: cadence, roster: classify.NewRoster(e.Listed, e.Identities), seen: map[int64]time.Time{}}
	for _, im := range imports { // newest first
		c.seen[im.Leaf] = im.ImportedAt
		if !slices.ContainsFunc(out.Lists, func(l ListState) bool { return l.Source == im.Source }) {
			out.Lists = append(out.Lists, ListState{Source: im.Source, ImportedAt: im.ImportedAt, Entries: im.Entries})
		}
	}
	for i := range as {
		row := c.tracked(&as[i])
		out.Rows = append(out.Rows, row)
		out.state(&as[i], row)
	}
	out.Rows = append(out.Rows, c.unseen(e.Listed)...)
	for i := range out.Rows {
		out.count(out.Rows[i].Presence)
	}
	out.Expected = out.Reporting + out.Silent + out.NeverSeen
	slices.SortStableFunc(out.Rows, func(a, b CoverageRow) int {
		return cmp.Or(cmp.Compare(urgency(a.Presence), urgency(b.Presence)), strings.Compare(a.Name, b.Name), strings.Compare(a.InstanceID, b.InstanceID))
	})
	out.Meta, err = s.meta(ctx, at, len(out.Rows))
	return out, err
}

// urgency puts what is missing first.
func urgency(p Presence) int {
	return slices.Index(Presences, p)
}

func (c *Coverage) count(p Presence) {
	switch p {
	case Reporting:
		c.Reporting++
	case Silent:
		c.Silent++
	case NeverSeen:
		c.NeverSeen++
	case Terminated:
		c.Terminated++
	case Retired:
		c.Retired++
	case Back:
		c.Back++
	}
}

// state counts what is wrong with an asset beside its silence.
func (c *Coverage) state(a *store.Asset, row CoverageRow) {
	if row.Presence == Terminated || row.Presence == Retired {
		return
	}
	if len(c.Lists) > 0 && len(row.Lists) == 0 {
		c.Unlisted++
	}
	if len(gapsOf(a)) > 0 {
		c.Unclassified++
	}
	if lineage.Suspected(a.Gaps) {
		c.CloneSuspect++
	}
	if a.Head == nil {
		return
	}
	if !a.Covered {
		c.Unfed++
	}
	if !a.Head.Complete {
		c.Incomplete++
	}
}

// census tells who is there.
type census struct {
	at      time.Time
	cadence time.Duration
	roster  *classify.Roster
	seen    map[int64]time.Time // import's leaf -> when
}

// tracked is the row of an asset whose key is trusted.
func (c *census) tracked(a *store.Asset) CoverageRow {
	entries := c.roster.Of(a.ID)
	row := CoverageRow{Name: a.Name, Asset: a.ID, Account: a.Attributes.Account, Region: a.Attributes.Region, Lists: sources(entries)}
	c.list(&row, entries)
	if a.Head != nil {
		row.LastReport, row.InstanceID = a.Head.ReceivedAt, cmp.Or(a.Head.InstanceID, row.InstanceID)
	}
	row.Presence = presence(a, c.at, c.cadence)
	gone := a.Gone()
	switch row.Presence {
	case Terminated:
		row.Detail = "so says " + gone.List
	case Retired:
		row.Detail = "by " + gone.By + ": " + gone.Reason
		if l := newest(entries); l != nil && l.State == classify.Running && l.At.After(gone.Since) {
			row.Detail += "; " + l.Source + " has listed it as running since"
		}
	case Back:
		row.Detail = wordOn(gone) + ", and yet it has reported since"
	case NeverSeen:
		row.Detail = "trusted, and no report ever came"
	case Silent, Reporting:
	}
	if lineage.Suspected(a.Gaps) {
		row.Detail = strings.TrimPrefix(row.Detail+"; "+lineage.CloneSuspect+": see host lines", "; ")
	}
	return row
}

// wordOn says by whose word an asset is gone, and since when.
func wordOn(g *store.Gone) string {
	if g.Retired {
		return "retired by " + g.By + " " + date(g.Since) + ": " + g.Reason
	}
	return "terminated " + date(g.Since) + ", so says " + g.List
}

// newest is the newest entry that says whether an asset runs.
func newest(entries []classify.Listed) *classify.Listed {
	for i := range entries {
		if entries[i].State != "" {
			return &entries[i]
		}
	}
	return nil
}

// list fills what lists say.
func (c *census) list(row *CoverageRow, entries []classify.Listed) {
	for i := range entries {
		l := &entries[i]
		row.InstanceID, row.Account, row.Region = cmp.Or(row.InstanceID, l.InstanceID), cmp.Or(row.Account, l.Account), cmp.Or(row.Region, l.Region)
		if at := c.seen[l.Seen]; at.After(row.ListedAt) {
			row.ListedAt = at
		}
	}
}

// unseen are the rows of entries that no asset answers to. Entries of several
// lists are one row when they bear one instance id.
func (c *census) unseen(listed []classify.Listed) []CoverageRow {
	groups := map[string][]classify.Listed{}
	for i := range listed {
		l := listed[i]
		if l.Kind == classify.KindInstance && c.roster.Owner(&l) == "" {
			groups[l.Key()] = append(groups[l.Key()], l)
		}
	}
	out := make([]CoverageRow, 0, len(groups))
	for _, entries := range groups {
		slices.SortFunc(entries, func(a, b classify.Listed) int {
			return cmp.Or(cmp.Compare(b.Leaf, a.Leaf), strings.Compare(a.Source, b.Source))
		})
		row := CoverageRow{Presence: NeverSeen, Lists: sources(entries), Detail: "expected, and no host was ever trusted for it"}
		for i := range entries {
			row.Name = cmp.Or(row.Name, entries[i].Name)
		}
		c.list(&row, entries)
		row.Name = cmp.Or(row.Name, row.InstanceID)
		if gone := classify.TerminatedBy(entries); gone != nil {
			row.Presence, row.Detail = Terminated, "so says "+gone.Source+"; it never reported"
		}
		out = append(out, row)
	}
	return out
}
