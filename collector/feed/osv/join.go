package osv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
)

// common tracks which releases and distributions every record so far names.
// OSV puts a record into the archive of every release it speaks of, with all
// its rows: what all records have in common is what the archive is of, and
// only of that is it a whole snapshot.
type common struct {
	records  int
	releases map[inventory.Release]int
	distros  map[string]int
	// of the record at hand
	seenReleases []inventory.Release
	seenDistros  []string
}

func (m *common) begin() { m.seenReleases, m.seenDistros = m.seenReleases[:0], m.seenDistros[:0] }

func (m *common) release(r inventory.Release) {
	if !slices.Contains(m.seenReleases, r) {
		m.seenReleases = append(m.seenReleases, r)
	}
}

func (m *common) distro(id string) {
	if !slices.Contains(m.seenDistros, id) {
		m.seenDistros = append(m.seenDistros, id)
	}
}

// end counts the record, unless it has no rows at all (a withdrawn one).
func (m *common) end(empty bool) {
	if empty {
		return
	}
	m.records++
	if m.releases == nil {
		m.releases, m.distros = map[inventory.Release]int{}, map[string]int{}
	}
	for _, r := range m.seenReleases {
		m.releases[r]++
	}
	for _, d := range m.seenDistros {
		m.distros[d]++
	}
}

func (m *common) merge(o common) {
	m.records += o.records
	if m.releases == nil {
		m.releases, m.distros = map[inventory.Release]int{}, map[string]int{}
	}
	for r, n := range o.releases {
		m.releases[r] += n
	}
	for d, n := range o.distros {
		m.distros[d] += n
	}
}

// scope names the feed and the releases it covers.
func (m *common) scope() (string, []inventory.Release, error) {
	if len(m.releases) == 0 {
		return "", nil, ErrNotDistribution
	}
	var every, all []inventory.Release
	for r, n := range m.releases {
		all = append(all, r)
		if n == m.records {
			every = append(every, r)
		}
	}
	if len(every) == 1 {
		return feedName(every[0]), every, nil
	}
	var distros []string
	for d, n := range m.distros {
		if n == m.records {
			distros = append(distros, d)
		}
	}
	if len(distros) != 1 {
		return "", nil, ErrMixed
	}
	all = slices.DeleteFunc(all, func(r inventory.Release) bool { return r.Distro != distros[0] })
	slices.SortFunc(all, compareReleases)
	return ecosystemFeed(distros[0]), all, nil
}

func compareReleases(a, b inventory.Release) int {
	return cmp.Or(strings.Compare(a.Distro, b.Distro), cmp.Compare(len(a.Version), len(b.Version)), strings.Compare(a.Version, b.Version))
}

// join makes one batch of what the converters hold.
func join(cs []*converter, name func(int) string) (advisory.Batch, error) {
	b := advisory.Batch{Feed: advisory.Feed{Kind: Kind}, Skipped: map[string]int{}}
	var m common
	var all []converted
	for _, c := range cs {
		m.merge(c.common)
		all = append(all, c.out...)
		for why, n := range c.skipped {
			b.Skipped[why] += n
		}
		c.out = nil
	}
	feed, releases, err := m.scope()
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("%w: of %d records: %s", err, m.records, reasons(b.Skipped))
	}
	b.Feed.Name = feed
	for _, r := range releases {
		if keep := cs[0].keep; keep == nil || keep(r) {
			b.Releases = append(b.Releases, r)
		}
	}
	if all, err = unique(all, name, b.Skipped); err != nil {
		return advisory.Batch{}, err
	}
	b.Advisories = make([]advisory.Advisory, 0, len(all))
	for i := range all {
		a := all[i].Advisory
		a.Feed = feed
		rows := len(a.Affected)
		if a.Affected = within(a.Affected, releases); len(a.Affected) < rows {
			b.Skipped["row of a release this archive is not a snapshot of"] += rows - len(a.Affected)
		}
		if len(a.Affected) == 0 && rows > 0 {
			continue
		}
		if a.Modified.After(b.Published) {
			b.Published = a.Modified
		}
		b.Advisories = append(b.Advisories, a)
	}
	if len(b.Skipped) == 0 {
		b.Skipped = nil
	}
	return b, nil
}

// reasons lists why rows were left out, most frequent first, a few of them.
func reasons(skipped map[string]int) string {
	words := slices.SortedFunc(maps.Keys(skipped), func(a, b string) int {
		return cmp.Or(cmp.Compare(skipped[b], skipped[a]), strings.Compare(a, b))
	})
	more := ""
	if len(words) > 4 {
		words, more = words[:4], ", …"
	}
	for i, w := range words {
		words[i] = fmt.Sprintf("%s (%d rows)", w, skipped[w])
	}
	return cmp.Or(strings.Join(words, ", ")+more, "they name no ecosystem")
}

func within(rows []advisory.Affected, releases []inventory.Release) []advisory.Affected {
	outside := func(a advisory.Affected) bool { return !slices.Contains(releases, a.Release) }
	if !slices.ContainsFunc(rows, outside) {
		return rows
	}
	return slices.Clip(slices.DeleteFunc(rows, outside))
}

// unique orders by id. Of two records with one id the newer holds; two that
// claim the same date cannot both be right.
func unique(all []converted, name func(int) string, skipped map[string]int) ([]converted, error) {
	slices.SortFunc(all, func(a, b converted) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), b.Modified.Compare(a.Modified), cmp.Compare(a.index, b.index))
	})
	out := all[:0]
	for _, a := range all {
		if n := len(out); n > 0 && out[n-1].ID == a.ID {
			if out[n-1].Modified.Equal(a.Modified) {
				return nil, fmt.Errorf("%q and %q both hold %s as of the same date; remove one", name(out[n-1].index), name(a.index), a.ID)
			}
			skipped["older record of an id that is there twice"]++
			continue
		}
		out = append(out, a)
	}
	return out, nil
}
