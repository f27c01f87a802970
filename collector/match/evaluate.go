package match

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// Match holds every installed package of a state against the advisories that
// name it. Packages in the result point into s.
func (ix *Index) Match(s inventory.State) Result {
	res := Result{Covered: len(ix.rows) > 0}
	k := newKernels(s.Kernel, s.Set.Packages)
	if gap, ok := k.gap(); ok {
		res.Gaps = []schema.Gap{gap}
		res.KernelUnowned = true
	}
	m := matching{ix: ix, kernels: k, cover: ix.cover(k, s)}
	m.stale, res.Stale = stale(s)
	touched := m.touched(s.Set.Packages)
	m.out = make([]Match, 0, 4*len(touched))
	for _, p := range touched {
		m.add(p)
		m.addStale(p)
	}
	if more := exposedByLivePatch(k, &m.cover, s.Kernel.Release); len(more) > 0 {
		m.out, m.unordered = append(m.out, more...), true
	}
	if m.unordered {
		inOrder(m.out)
	}
	res.Matches = m.out
	return res
}

// matching is one run of Match.
type matching struct {
	ix      *Index
	kernels *kernels
	cover   cover
	stale   map[*schema.Package][]staleUse
	out     []Match
	// unordered: out is not in the result's order yet.
	unordered bool
	// keys is room for the keys of the package at hand.
	keys []byte
}

// touched lists the packages that some advisory names, in the result's order.
func (m *matching) touched(pkgs []schema.Package) []*schema.Package {
	out := make([]*schema.Package, 0, len(pkgs))
	for i := range pkgs {
		p := &pkgs[i]
		if _, ok := m.ix.binary[p.Name]; ok {
			out = append(out, p)
			continue
		}
		if len(m.ix.source) == 0 {
			continue
		}
		source, _ := sourceOf(p)
		if _, ok := m.ix.source[source]; ok {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, comparePackages)
	return out
}

func comparePackages(a, b *schema.Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := strings.Compare(a.Arch, b.Arch); c != 0 {
		return c
	}
	va, vb := a.EVR(), b.EVR()
	order, err := version.Compare(a.Format, va, vb)
	if err != nil {
		order = 0
	}
	return cmp.Or(order, strings.Compare(va, vb), strings.Compare(string(a.Format), string(b.Format)), strings.Compare(a.Module, b.Module),
		strings.Compare(a.Source, b.Source), strings.Compare(a.SourceVersion, b.SourceVersion))
}

// add appends the matches of one package, in the order of the advisories.
func (m *matching) add(p *schema.Package) {
	source, _ := sourceOf(p)
	binRows, srcRows := m.ix.rowsAt(m.ix.binary[p.Name]), m.ix.rowsAt(m.ix.source[source])
	var bin, src subject
	keys := m.keys[:0]
	if len(binRows) > 0 {
		bin = newSubject(p, false, &keys)
	}
	if len(srcRows) > 0 {
		src = newSubject(p, true, &keys)
	}
	m.keys = keys
	role := m.kernels.roles[p]
	for {
		if role.kind == notOfKernel {
			binRows, srcRows = m.ix.skipFixed(binRows, &bin), m.ix.skipFixed(srcRows, &src)
		}
		if len(binRows) == 0 && len(srcRows) == 0 {
			return
		}
		var b, s []row
		b, binRows, s, srcRows = nextGroup(binRows, srcRows)
		var found Match
		if len(b) > 0 {
			found = m.one(b, &bin, role, false)
		}
		if len(s) > 0 {
			found = worse(found, m.one(s, &src, role, true))
		}
		if found.Verdict != "" {
			m.out = append(m.out, found)
		}
	}
}

func (ix *Index) rowsAt(at span) []row { return ix.rows[at.from:at.to] }

// skipFixed drops leading rows that the version is plainly past: the only row of
// its advisory, with one range that ends at or before the version. Most are.
func (ix *Index) skipFixed(rows []row, s *subject) []row {
	if s.key == nil {
		return rows
	}
	for len(rows) > 0 {
		r := &rows[0]
		if r.ranges.to-r.ranges.from != 1 || len(rows) > 1 && rows[1].group == r.group {
			break
		}
		fixed := ix.ranges[r.ranges.from].fixed
		if fixed.kind != readable || version.CompareKeys(s.key, ix.key(fixed)) < 0 {
			break
		}
		rows = rows[1:]
	}
	return rows
}

// one holds a package against the rows of one advisory. The zero Match means
// there is nothing to say.
func (m *matching) one(rows []row, s *subject, role role, fromSource bool) Match {
	found := m.ix.judge(rows, s)
	say := found.verdict != NotAffected
	switch {
	case role.kind == besideKernel && say && (!role.unsure || onKernel(found.adv)):
		found.verdict, found.reason = NotAffected, role.why
	case role.kind == kernelPart:
		found, say = m.ix.judgeKernel(m.kernels, rows, s, found, fromSource)
	}
	if !say {
		return Match{}
	}
	out := Match{Verdict: found.verdict, Package: s.pkg, Advisory: found.adv, Fixed: found.fixed, Reason: found.reason}
	if role.kind == kernelPart && out.Verdict != NotAffected && runs(s.pkg, m.kernels.running) {
		out.LivePatched = m.ix.livePatched(&m.cover, rows, s, found.adv)
	}
	return out
}

// worse returns the match that says more of an exposure.
func worse(a, b Match) Match {
	if severity(b.Verdict) > severity(a.Verdict) {
		return b
	}
	return a
}

func severity(v Verdict) int {
	return slices.Index([]Verdict{"", NotAffected, Undetermined, PendingRestart, PendingReboot, Affected}, v)
}

// nextGroup cuts the rows of the next advisory off two lists.
func nextGroup(bin, src []row) (b, binRest, s, srcRest []row) {
	switch {
	case len(src) == 0 || len(bin) > 0 && bin[0].group < src[0].group:
		n := groupSize(bin)
		return bin[:n], bin[n:], nil, src
	case len(bin) == 0 || src[0].group < bin[0].group:
		n := groupSize(src)
		return nil, bin, src[:n], src[n:]
	default:
		n, o := groupSize(bin), groupSize(src)
		return bin[:n], bin[n:], src[:o], src[o:]
	}
}

func groupSize(rows []row) int {
	n := 1
	for n < len(rows) && rows[n].group == rows[0].group {
		n++
	}
	return n
}

// sourceOf returns the source package that advisories name, and its version.
func sourceOf(p *schema.Package) (source, v string) {
	source, v = p.Source, p.SourceVersion
	if source == "" {
		source = p.Name
	}
	if v == "" && source == p.Name {
		v = p.EVR()
	}
	if p.Format == schema.FormatDeb {
		return unsigned(source, v)
	}
	return source, v
}

// newSubject prepares a package for comparing by its own version, or by its
// source's. The key is appended to keys.
func newSubject(p *schema.Package, fromSource bool, keys *[]byte) subject {
	s := subject{pkg: p, arch: archName(p.Arch)}
	s.module, s.modular = moduleOf(p)
	var v string
	if fromSource {
		_, v = sourceOf(p)
	} else {
		v = p.EVR()
	}
	if v == "" {
		s.why = "the version of its source is not recorded"
		return s
	}
	from := len(*keys)
	key, err := version.AppendKey(*keys, p.Format, v)
	if err != nil {
		s.why = strings.TrimPrefix(err.Error(), version.ErrUnparseable.Error()+": ")
		return s
	}
	*keys, s.key = key, key[from:]
	return s
}
