package match

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// Index holds the advisories of one distribution release, by package name. It
// is read-only once made, and safe for concurrent use.
type Index struct {
	release inventory.Release
	// binary and source give the rows that speak of a name; rows of one name are
	// adjacent and in the order of their advisories.
	binary map[string]span
	source map[string]span
	rows   []row
	ranges []bounds
	keys   []byte
	// live is what is said of live patches.
	live liveIndex
}

type name struct {
	kind advisory.NameKind
	text string
}

type span struct{ from, to int32 }

// row is one affected package of one advisory.
type row struct {
	adv *advisory.Advisory
	aff *advisory.Affected
	// group counts advisories: rows of one id, from whatever feed, are one group.
	group int32
	// ranges are those of aff.Ranges, or, where it has none, its exact versions.
	ranges span
}

// bounds are a range as sort keys.
type bounds struct{ introduced, fixed, last bound }

// bound is one end of a range: a key in the index's arena.
type bound struct {
	from uint32
	size uint16
	kind boundKind
}

type boundKind uint8

const (
	unbounded boundKind = iota
	readable
	unreadable
)

// Release returns the release an index was built for.
func (ix *Index) Release() inventory.Release { return ix.release }

// NewIndex indexes what advisories say of a release. Withdrawn advisories are
// left out. Live patches stand apart: their versions say nothing of a kernel's.
// The advisories must not be changed while the index is in use.
func NewIndex(r inventory.Release, advs []advisory.Advisory) *Index {
	ix := &Index{release: r}
	b := builder{ix: ix, memo: make(map[memoKey]bound)}
	rows, live, ids := collect(r, advs)
	ix.live = newLiveIndex(live)
	for i := range rows {
		rows[i].ranges = b.bounds(rows[i].aff)
	}
	ix.binary, ix.source = make(map[string]span, len(ids)), map[string]span{}
	// Counting sort by name: stable, so that rows keep the order of advisories.
	counts := make([]int32, len(ids)+1)
	for i := range rows {
		counts[ids[nameOf(&rows[i])]+1]++
	}
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
	for n, id := range ids {
		if n.kind == advisory.NameSource {
			ix.source[n.text] = span{counts[id], counts[id+1]}
		} else {
			ix.binary[n.text] = span{counts[id], counts[id+1]}
		}
	}
	ix.rows = make([]row, len(rows))
	for i := range rows {
		id := ids[nameOf(&rows[i])]
		ix.rows[counts[id]] = rows[i]
		counts[id]++
	}
	return ix
}

func nameOf(r *row) name { return name{r.aff.Kind, r.aff.Name} }

// collect lists the rows that speak of a release in the order of their
// advisories, those of live patches apart, and numbers the names they speak of.
func collect(r inventory.Release, advs []advisory.Advisory) (rows, live []row, ids map[name]int32) {
	order := make([]*advisory.Advisory, 0, len(advs))
	total := 0
	for i := range advs {
		if n := countRows(r, &advs[i]); n > 0 || advs[i].Withdrawn != nil {
			order = append(order, &advs[i])
			total += n
		}
	}
	slices.SortStableFunc(order, compareAdvisories)
	rows, ids = make([]row, 0, total), make(map[name]int32, total/8)
	group := int32(-1)
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && order[to].ID == order[from].ID {
			to++
		}
		group++
		for _, a := range current(order[from:to]) {
			for i := range a.Affected {
				aff := &a.Affected[i]
				if aff.Release != r {
					continue
				}
				if aff.LivePatch {
					live = append(live, row{adv: a, aff: aff, group: group})
					continue
				}
				rows = append(rows, row{adv: a, aff: aff, group: group})
				n := name{aff.Kind, aff.Name}
				if _, ok := ids[n]; !ok {
					ids[n] = int32(len(ids))
				}
			}
		}
		from = to
	}
	return rows, live, ids
}

func countRows(r inventory.Release, a *advisory.Advisory) int {
	n := 0
	for i := range a.Affected {
		if a.Affected[i].Release == r {
			n++
		}
	}
	return n
}

// current leaves out withdrawn copies of one advisory, and all of them when the
// newest copy is withdrawn.
func current(copies []*advisory.Advisory) []*advisory.Advisory {
	newest := slices.MaxFunc(copies, func(a, b *advisory.Advisory) int {
		return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(rank(b), rank(a)))
	})
	if newest.Withdrawn != nil {
		return nil
	}
	return slices.DeleteFunc(copies, func(a *advisory.Advisory) bool { return a.Withdrawn != nil })
}

// rank is 1 for a withdrawn advisory.
func rank(a *advisory.Advisory) int {
	if a.Withdrawn != nil {
		return 1
	}
	return 0
}

// compareAdvisories is the order of advisories in a result. The same advisory
// in several feeds comes newest first.
func compareAdvisories(a, b *advisory.Advisory) int {
	if c := strings.Compare(a.ID, b.ID); c != 0 {
		return c
	}
	return cmp.Or(
		b.Modified.Compare(a.Modified),
		strings.Compare(a.Feed, b.Feed),
		b.Issued.Compare(a.Issued),
		strings.Compare(a.Rating, b.Rating),
		strings.Compare(a.Summary, b.Summary),
	)
}

// builder turns versions into keys. Publishers repeat versions, so each
// distinct one has its key in the arena once.
type builder struct {
	ix   *Index
	memo map[memoKey]bound
}

type memoKey struct {
	format schema.PackageFormat
	text   string
}

func (b *builder) bounds(aff *advisory.Affected) span {
	from := int32(len(b.ix.ranges))
	for _, r := range aff.Ranges {
		rg := bounds{introduced: b.bound(aff.Format, r.Introduced), fixed: b.bound(aff.Format, r.Fixed), last: b.bound(aff.Format, r.LastAffected)}
		if r.Introduced == "0" {
			rg.introduced = bound{}
		}
		b.ix.ranges = append(b.ix.ranges, rg)
	}
	if len(aff.Ranges) == 0 {
		for _, v := range aff.Versions {
			exact := b.bound(aff.Format, v)
			if v == "" {
				exact.kind = unreadable
			}
			b.ix.ranges = append(b.ix.ranges, bounds{introduced: exact, last: exact})
		}
	}
	return span{from, int32(len(b.ix.ranges))}
}

func (b *builder) bound(f schema.PackageFormat, v string) bound {
	if v == "" {
		return bound{}
	}
	k := memoKey{f, v}
	if got, ok := b.memo[k]; ok {
		return got
	}
	from := len(b.ix.keys)
	keys, err := version.AppendKey(b.ix.keys, f, v)
	got := bound{kind: unreadable}
	if err == nil {
		got = bound{from: uint32(from), size: uint16(len(keys) - from), kind: readable}
		b.ix.keys = keys
	}
	b.memo[k] = got
	return got
}

// key returns the sort key of a readable bound.
func (ix *Index) key(b bound) []byte { return ix.keys[b.from : b.from+uint32(b.size)] }
