package match

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// kernels is what is known of a state's kernels.
type kernels struct {
	// running is uname -r, empty when not known; owned is true when an installed
	// package is that kernel.
	running string
	owned   bool
	// build is the full version of what runs, as far as uname tells it, by the
	// format's own rules: of a deb the source version, of an rpm version-release.
	build    string
	buildKey []byte
	// parts are the installed parts of kernels; roles holds every package that has
	// to do with one.
	parts []*schema.Package
	roles map[*schema.Package]role
	// elsewhere is the reason of a kernel that does not run.
	elsewhere string
	// newer and reboot hold what has been worked out: a running package's newer
	// kernels, and the reason of a pending reboot into one.
	newer  map[subjectKey][]*subject
	reboot map[*schema.Package]string
}

// subjectKey names a package compared by its own version or by its source's.
type subjectKey struct {
	pkg        *schema.Package
	fromSource bool
}

// newKernels looks for the running kernel among installed packages.
func newKernels(k inventory.Kernel, pkgs []schema.Package) *kernels {
	out := &kernels{
		running: k.Release, elsewhere: "installed, not running: " + k.Release + " runs",
		roles: map[*schema.Package]role{}, newer: map[subjectKey][]*subject{}, reboot: map[*schema.Package]string{},
	}
	for i := range pkgs {
		p := &pkgs[i]
		r := roleOf(p)
		if r.kind == notOfKernel {
			continue
		}
		out.roles[p] = r
		if r.kind == kernelPart && k.Release != "" {
			out.parts = append(out.parts, p)
			out.owned = out.owned || runs(p, k.Release)
		}
	}
	out.readBuild(k)
	return out
}

// readBuild reads the version of the running kernel from uname. A deb's image
// may be upgraded under the same name, and then only uname -v says what runs.
func (k *kernels) readBuild(u inventory.Kernel) {
	if len(k.parts) == 0 {
		return
	}
	f := k.parts[0].Format
	if f == schema.FormatDeb {
		k.build = debBuild(u.Release, u.Version)
	} else {
		k.build = rpmBuild(u, k.parts)
	}
	key, err := version.AppendKey(nil, f, k.build)
	if k.build == "" || err != nil {
		k.build = ""
		return
	}
	k.buildKey = key
}

// gap says that the running kernel belongs to no package.
func (k *kernels) gap() (schema.Gap, bool) {
	if k.running == "" || k.owned {
		return schema.Gap{}, false
	}
	return schema.Gap{Extractor: "kernel", Kind: schema.GapUnowned, Detail: "running kernel " + k.running + " belongs to no installed package; what it is exposed to is not known"}, true
}

// runs reports whether a kernel's part is of the kernel release that runs.
func runs(p *schema.Package, release string) bool {
	if p.Format == schema.FormatDeb {
		return kernelRelease(p) == release
	}
	base, variant, _ := strings.Cut(release, "+")
	if debug, ok := strings.CutSuffix(base, ".debug"); ok { // as release 7 spelt it
		base, variant = debug, "debug"
	}
	vra := p.Version + "-" + p.Release + "." + p.Arch
	if base == vra || base == p.Version+"-"+p.Release && variant == "" {
		return variantOf(p) == variant
	}
	// SUSE: 5.3.18-59.37-default is kernel-default 5.3.18-59.37.2, the last number counts rebuilds.
	for _, flavour := range []string{"default", "azure", "preempt", "kvmsmall", "rt", "64kb", "debug"} {
		b, ok := strings.CutSuffix(base, "-"+flavour)
		if !ok || p.Name != "kernel-"+flavour && !strings.HasPrefix(p.Name, "kernel-"+flavour+"-") {
			continue
		}
		rest, same := strings.CutPrefix(p.Version+"-"+p.Release, b)
		return same && (rest == "" || rest[0] == '.')
	}
	return false
}

// variantOf returns the variant of an rpm kernel that uname -r shows after a
// plus: debug, rt, 64k, rt-64k, 64k-debug; empty for the plain one. A kernel-rt
// of its own source has rt in its release instead.
func variantOf(p *schema.Package) string {
	var words []string
	for w := range strings.SplitSeq(p.Name, "-") {
		switch w {
		case "rt":
			if !strings.Contains(p.Release, ".rt") {
				words = append(words, w)
			}
		case "debug", "64k", "zfcpdump":
			words = append(words, w)
		}
	}
	return strings.Join(words, "-")
}

// debBuild reads the source version of the running kernel: Debian prints it in
// uname -v ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.123-1 (2025-01-02)"), Ubuntu
// prints the upload number there ("#156-Ubuntu SMP …", "#76~20.04.1-Ubuntu …"),
// which continues the release.
func debBuild(release, uname string) string {
	fields := strings.Fields(uname)
	for i, f := range fields {
		if f == "Debian" && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	if len(fields) == 0 || fields[0][0] != '#' {
		return ""
	}
	upload, ok := strings.CutSuffix(fields[0][1:], "-Ubuntu")
	if !ok {
		return ""
	}
	numbers := strings.TrimSuffix(strings.TrimSuffix(release, debFlavour(release)), "-")
	return numbers + "." + upload
}

// rpmBuild reads version-release from uname -r, if it is of the distribution:
// its release carries the mark (el9, amzn2023) of an installed kernel.
func rpmBuild(u inventory.Kernel, parts []*schema.Package) string {
	base, _, _ := strings.Cut(u.Release, "+")
	for _, p := range parts {
		b, ok := strings.CutSuffix(base, "."+p.Arch)
		if mark := distMark(p.Release); ok && mark != "" && mark == distMark(b) {
			return b
		}
	}
	return ""
}

// distMark returns the word of a release that names the distribution.
func distMark(release string) string {
	words := strings.Split(release, ".")
	for _, w := range slices.Backward(words) {
		w, _, _ = strings.Cut(w, "_")
		for _, mark := range []string{"el", "amzn", "fc", "oe", "ul"} {
			if rest, ok := strings.CutPrefix(w, mark); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
				return w
			}
		}
	}
	return ""
}

// judgeKernel turns what an advisory says of a kernel's part into what it means
// for the host: only the kernel that runs exposes it.
func (ix *Index) judgeKernel(k *kernels, rows []row, s *subject, found judgement, fromSource bool) (judgement, bool) {
	p := s.pkg
	switch {
	case k.running == "":
		return found, found.verdict != NotAffected
	case !k.owned:
		return ix.judgeUnowned(k, rows, s, found)
	case !runs(p, k.running):
		if found.verdict == NotAffected {
			return found, false
		}
		found.verdict, found.reason = NotAffected, k.elsewhere
		return found, true
	}
	if stale, ok := ix.judgeStale(k, rows, s, found, fromSource); ok {
		return stale, true
	}
	if found.verdict != Affected {
		return found, found.verdict != NotAffected
	}
	for _, fix := range k.newerThan(s, fromSource) {
		if ix.judge(rows, fix).verdict == NotAffected {
			found.verdict, found.reason = PendingReboot, k.rebootInto(fix.pkg)
			break
		}
	}
	return found, true
}

// judgeUnowned: a kernel runs that no package owns, so no installed one can be
// said not to run, and none reads as clean when uname tells of a version that is not.
func (ix *Index) judgeUnowned(k *kernels, rows []row, s *subject, found judgement) (judgement, bool) {
	reason := "running kernel " + k.running + " belongs to no installed package"
	if k.buildKey != nil && found.verdict == NotAffected {
		asRunning := *s
		asRunning.key = k.buildKey
		if found = ix.judge(rows, &asRunning); found.verdict == Affected {
			reason += "; by its version, " + k.build + ", it is affected"
		}
	}
	if found.verdict == NotAffected {
		return found, false
	}
	found.verdict, found.reason = Undetermined, reason
	return found, true
}

// judgeStale: the deb that the running kernel came from was upgraded in place,
// and uname -v names the older build that still runs.
func (ix *Index) judgeStale(k *kernels, rows []row, s *subject, found judgement, fromSource bool) (judgement, bool) {
	if s.pkg.Format != schema.FormatDeb || !fromSource || k.buildKey == nil || s.key == nil || version.CompareKeys(k.buildKey, s.key) >= 0 {
		return found, false
	}
	asRunning := *s
	asRunning.key = k.buildKey
	running := ix.judge(rows, &asRunning)
	if running.verdict != Affected || found.verdict != NotAffected {
		return found, false
	}
	running.verdict = PendingReboot
	running.reason = fmt.Sprintf("fixed %s %s is installed, build %s of it still runs: reboot", s.pkg.Name, s.pkg.EVR(), k.build)
	return running, true
}

// newerThan lists the installed kernels of the same kind as the running one that
// are newer, the newest first.
func (k *kernels) newerThan(s *subject, fromSource bool) []*subject {
	at := subjectKey{s.pkg, fromSource}
	if got, ok := k.newer[at]; ok || s.key == nil {
		return got
	}
	var out []*subject
	for _, q := range k.parts {
		if q == s.pkg || !sameKind(s.pkg, q, fromSource) {
			continue
		}
		var keys []byte
		c := newSubject(q, fromSource, &keys)
		if c.key != nil && version.CompareKeys(c.key, s.key) > 0 {
			out = append(out, &c)
		}
	}
	slices.SortFunc(out, func(a, b *subject) int {
		return cmp.Or(version.CompareKeys(b.key, a.key), comparePackages(a.pkg, b.pkg))
	})
	k.newer[at] = out
	return out
}

func (k *kernels) rebootInto(fix *schema.Package) string {
	reason, ok := k.reboot[fix]
	if !ok {
		reason = fmt.Sprintf("fixed %s %s is installed, %s still runs: reboot", fix.Name, fix.EVR(), k.running)
		k.reboot[fix] = reason
	}
	return reason
}

// sameKind reports whether a boot would bring q in p's place: the same rpm, or a
// deb of the same source, kind and flavour under another release's name.
func sameKind(p, q *schema.Package, fromSource bool) bool {
	if p.Format != schema.FormatDeb {
		return p.Name == q.Name && p.Arch == q.Arch
	}
	if !fromSource {
		return false
	}
	a, _ := unsigned(p.Source, "")
	b, _ := unsigned(q.Source, "")
	pr, qr := kernelRelease(p), kernelRelease(q)
	return a == b && p.Arch == q.Arch && debFlavour(pr) == debFlavour(qr) &&
		strings.TrimSuffix(p.Name, pr) == strings.TrimSuffix(q.Name, qr)
}
