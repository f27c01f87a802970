package match

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// liveIndex holds what publishers say of live patches.
type liveIndex struct {
	// packages are rows by the kernel release that the name of the package with the
	// patches holds, see kernelOf.
	packages map[string][]row
	// modules are rows told by the name of the module.
	modules []moduleRow
}

// moduleRow is a row of a live patch told by its module: Canonical's notices.
type moduleRow struct {
	row

	name  *regexp.Regexp
	least int
}

func newLiveIndex(rows []row) liveIndex {
	ix := liveIndex{packages: map[string][]row{}}
	names := map[string]*regexp.Regexp{}
	for _, r := range rows {
		pattern := r.aff.ModuleName
		if pattern == "" {
			if of := kernelOf(r.aff.Name); of != "" && !baselineFix(r.aff) {
				ix.packages[of] = append(ix.packages[of], r)
			}
			continue
		}
		name, known := names[pattern]
		if !known {
			// A pattern nobody can read covers nothing.
			name, _ = regexp.Compile(`\A(?:` + pattern + `)\z`)
			names[pattern] = name
		}
		if name != nil && name.NumSubexp() >= 1 && r.aff.ModuleVersion > 0 {
			ix.modules = append(ix.modules, moduleRow{row: r, name: name, least: r.aff.ModuleVersion})
		}
	}
	return ix
}

// baseline reports the version of a package that is installed with a kernel and
// patches nothing: kernel-livepatch 1.0-0, kpatch-patch 0-0.
func baseline(evr string) bool {
	_, release, ok := strings.Cut(evr, "-")
	first, _, _ := strings.Cut(release, ".")
	return ok && first == "0"
}

// baselineFix reports a row that names nothing but a baseline: an ordinary
// kernel advisory that lists the package its kernel comes with.
func baselineFix(aff *advisory.Affected) bool {
	return len(aff.Ranges) > 0 && !slices.ContainsFunc(aff.Ranges, func(r advisory.Range) bool { return !baseline(r.Fixed) })
}

// cover is what the live patches of a state do for the running kernel.
type cover struct {
	// proofs gives the vulnerabilities covered, each with the proof.
	proofs map[string]string
	// asGood are versions the running kernel is as good as, by the provider's word.
	asGood []asGood
	// open are rows that speak of the running kernel and that no patch covers.
	open []row
}

type asGood struct {
	key   []byte
	proof string
}

// cover reads the live patches of a state against the index.
func (ix *Index) cover(k *kernels, s inventory.State) cover {
	c := cover{proofs: map[string]string{}}
	if s.Kernel.Release == "" {
		return c
	}
	rows := ix.live.of(s.Kernel.Release)
	covered := coverByPackage(&c, rows, s)
	for i := range s.Kernel.LivePatches {
		p := &s.Kernel.LivePatches[i]
		if !p.InForce() {
			continue
		}
		ix.coverByModule(&c, p)
		c.addAsGood(p, k)
	}
	for _, r := range rows {
		if !covered[r.adv] && archApplies(r.aff.Arch, archName(s.Kernel.Machine)) {
			c.open = append(c.open, r)
		}
	}
	return c
}

// coverByPackage adds what packages whose module is in force cover, and returns
// the advisories they do.
func coverByPackage(c *cover, rows []row, s inventory.State) map[*advisory.Advisory]bool {
	done := map[*advisory.Advisory]bool{}
	if len(rows) == 0 || len(s.Kernel.LivePatches) == 0 {
		return done
	}
	for i := range s.Set.Packages {
		p := &s.Set.Packages[i]
		if kernelOf(p.Name) == "" || baseline(p.EVR()) {
			continue
		}
		patch := inForceOf(p, s.Kernel.LivePatches)
		if patch == nil {
			continue
		}
		for _, r := range rows {
			if r.aff.Name == p.Name && archApplies(r.aff.Arch, archName(p.Arch)) && fixes(r.aff, p) {
				done[r.adv] = true
				c.prove(r.adv, fmt.Sprintf("live patch %s of %s %s is enabled, %s", patch.Name, p.Name, p.EVR(), r.adv.ID))
			}
		}
	}
	return done
}

// inForceOf returns the live patch in force that a package installed.
func inForceOf(p *schema.Package, patches []schema.LivePatch) *schema.LivePatch {
	full := p.Name + "-" + p.EVR() + "." + p.Arch
	for i := range patches {
		if patches[i].Package == full && patches[i].InForce() {
			return &patches[i]
		}
	}
	return nil
}

// fixes reports whether a package is at or past the version that fixes every
// range of a row. Live patches cumulate, so a later one fixes too.
func fixes(aff *advisory.Affected, p *schema.Package) bool {
	for _, r := range aff.Ranges {
		if r.Fixed == "" {
			return false
		}
		if order, err := version.Compare(p.Format, p.EVR(), r.Fixed); err != nil || order < 0 {
			return false
		}
	}
	return len(aff.Ranges) > 0
}

// coverByModule adds what a module covers by its name.
func (ix *Index) coverByModule(c *cover, p *schema.LivePatch) {
	for _, r := range ix.live.modules {
		groups := r.name.FindStringSubmatch(p.Name)
		if groups == nil {
			continue
		}
		if at, err := strconv.Atoi(groups[1]); err == nil && at >= r.least {
			c.prove(r.adv, fmt.Sprintf("live patch %s is enabled, %s", p.Name, r.adv.ID))
		}
	}
}

func (c *cover) prove(a *advisory.Advisory, proof string) {
	for _, v := range a.Vulnerabilities {
		if old, ok := c.proofs[v]; !ok || proof < old {
			c.proofs[v] = proof
		}
	}
}

// addAsGood reads the kernel version a provider says the running one amounts to.
func (c *cover) addAsGood(p *schema.LivePatch, k *kernels) {
	if p.Effective == "" || len(k.parts) == 0 {
		return
	}
	v := p.Effective
	for _, part := range k.parts {
		v = strings.TrimSuffix(v, "."+part.Arch)
	}
	key, err := version.AppendKey(nil, k.parts[0].Format, v)
	if err != nil {
		return // what cannot be compared covers nothing
	}
	c.asGood = append(c.asGood, asGood{key: key, proof: fmt.Sprintf("%s makes the running kernel as good as %s", p.Provider, p.Effective)})
}

// livePatched lists the vulnerabilities of a match that are covered, with proof.
func (ix *Index) livePatched(c *cover, rows []row, s *subject, a *advisory.Advisory) map[string]string {
	var out map[string]string
	note := func(v, proof string) {
		if out == nil {
			out = map[string]string{}
		}
		out[v] = proof
	}
	for _, v := range a.Vulnerabilities {
		if proof, ok := c.proofs[v]; ok {
			note(v, proof)
		}
	}
	for _, g := range c.asGood {
		asGood := *s
		asGood.key = g.key
		if ix.judge(rows, &asGood).verdict != NotAffected {
			continue
		}
		for _, v := range a.Vulnerabilities {
			if _, ok := out[v]; !ok {
				note(v, g.proof)
			}
		}
	}
	return out
}

// exposedByLivePatch makes matches of what live patches would fix and do not:
// their publisher says that the running kernel is affected.
func exposedByLivePatch(k *kernels, c *cover, release string) []Match {
	var part *schema.Package
	for _, p := range k.parts {
		if runs(p, release) && (part == nil || comparePackages(p, part) < 0) {
			part = p
		}
	}
	if part == nil {
		return nil
	}
	var out []Match
	for _, r := range c.open {
		m := Match{Verdict: Affected, Package: part, Advisory: r.adv, Fixed: fixedText(&r, 0)}
		m.Reason = fmt.Sprintf("live patch %s %s is not in force", r.aff.Name, m.Fixed)
		for _, v := range r.adv.Vulnerabilities {
			if proof, ok := c.proofs[v]; ok {
				if m.LivePatched == nil {
					m.LivePatched = map[string]string{}
				}
				m.LivePatched[v] = proof
			}
		}
		out = append(out, m)
	}
	return out
}

// inOrder sorts matches in the order of a result.
func inOrder(ms []Match) {
	slices.SortStableFunc(ms, func(a, b Match) int {
		return cmp.Or(comparePackages(a.Package, b.Package), compareAdvisories(a.Advisory, b.Advisory))
	})
}

// livePrefixes are how packages with live patches are named.
var livePrefixes = []string{"kernel-livepatch-", "kpatch-patch-"}

// kernelOf returns the kernel release, with dots for underscores, that the name
// of a package with live patches holds; empty for any other package:
//
//	kernel-livepatch-6.1.57-29.131                 6.1.57-29.131
//	kpatch-patch-5_14_0-70_13_1                    5.14.0-70.13.1
//	kernel-livepatch-5_14_21-150400_24_100-default 5.14.21-150400.24.100-default
func kernelOf(name string) string {
	for _, prefix := range livePrefixes {
		if of, ok := strings.CutPrefix(name, prefix); ok {
			return strings.ReplaceAll(of, "_", ".")
		}
	}
	return ""
}

// of returns the rows that speak of the kernel with this release (uname -r). A
// package names it without the distribution's mark and the architecture, words
// that begin with a letter.
func (ix liveIndex) of(release string) []row {
	if len(ix.packages) == 0 {
		return nil
	}
	release = strings.ReplaceAll(release, "_", ".")
	out := slices.Clone(ix.packages[release])
	for i := range len(release) - 1 {
		if release[i] == '.' && release[i+1] >= 'a' {
			out = append(out, ix.packages[release[:i]]...)
		}
	}
	return out
}
