package match

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// staleUse is one old version of an installed package that processes still run.
type staleUse struct {
	// old is the package as it was when they started.
	old schema.Package
	// who names the processes.
	who string
}

type packageName struct{ name, arch string }

// stale sorts a state's stale code by installed package: the old versions that
// are known, each once, and by component what is not.
func stale(s inventory.State) (known map[*schema.Package][]staleUse, unknown map[Component]string) {
	if len(s.Stale) == 0 {
		return nil, nil
	}
	uses := map[packageName]map[string][]schema.Stale{}
	for _, u := range s.Stale {
		if u.Package == "" {
			continue // no package brought it, or a container's did
		}
		n := packageName{u.Package, u.Arch}
		if uses[n] == nil {
			uses[n] = map[string][]schema.Stale{}
		}
		uses[n][u.Loaded] = append(uses[n][u.Loaded], u)
	}
	known, unknown = map[*schema.Package][]staleUse{}, map[Component]string{}
	for i := range s.Set.Packages {
		p := &s.Set.Packages[i]
		for loaded, list := range uses[packageName{p.Name, p.Arch}] {
			if loaded == p.EVR() {
				continue // installed again in the same version
			}
			who := processes(list)
			if old, ok := asLoaded(p, loaded); ok {
				known[p] = append(known[p], staleUse{old: old, who: who})
				continue
			}
			c := Component{p.Format, p.Source}
			why := fmt.Sprintf("%s %s is installed; an older version still runs in %s: restart", p.Name, p.EVR(), who)
			if before, ok := unknown[c]; !ok || why < before {
				unknown[c] = why
			}
		}
		slices.SortFunc(known[p], func(a, b staleUse) int { return strings.Compare(a.old.EVR(), b.old.EVR()) })
	}
	return known, unknown
}

var binaryRebuild = regexp.MustCompile(`\+b[0-9]+\z`)

// asLoaded returns a package as it was in another version, if that is known. The
// source's version is known where it follows the package's.
func asLoaded(p *schema.Package, loaded string) (schema.Package, bool) {
	if loaded == "" {
		return schema.Package{}, false
	}
	old := *p
	old.Epoch, old.Version, old.Release = 0, loaded, ""
	if epoch, rest, ok := strings.Cut(loaded, ":"); ok {
		n, err := strconv.Atoi(epoch)
		if err != nil || n < 0 {
			return schema.Package{}, false
		}
		old.Epoch, old.Version = n, rest
	}
	if i := strings.LastIndexByte(old.Version, '-'); i >= 0 {
		old.Version, old.Release = old.Version[:i], old.Version[i+1:]
	}
	old.InstalledAt = 0
	if p.SourceVersion != "" && p.SourceVersion != p.EVR() && p.SourceVersion != binaryRebuild.ReplaceAllString(p.EVR(), "") {
		return schema.Package{}, false
	}
	old.SourceVersion = binaryRebuild.ReplaceAllString(loaded, "")
	return old, true
}

// maxNamed is the most units or processes a reason names.
const maxNamed = 5

// processes names those that run stale code, by what an operator restarts.
func processes(list []schema.Stale) string {
	pids := map[string][]int{}
	for _, u := range list {
		name := u.Unit
		switch {
		case name == "" && u.Command != "":
			name = u.Command
		case name == "":
			name = "process"
		}
		if !slices.Contains(pids[name], u.PID) {
			pids[name] = append(pids[name], u.PID)
		}
	}
	names := make([]string, 0, len(pids))
	for name := range pids {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for i, name := range names {
		if i == maxNamed {
			fmt.Fprintf(&b, " and %d more", len(names)-maxNamed)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", name, numbers(pids[name]))
	}
	return b.String()
}

func numbers(pids []int) string {
	slices.Sort(pids)
	var b strings.Builder
	for i, pid := range pids {
		if i == maxNamed {
			fmt.Fprintf(&b, " and %d more", len(pids)-maxNamed)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(pid))
	}
	return b.String()
}

// addStale appends a match for each advisory that an installed package is past
// and a version of it that still runs is not.
func (m *matching) addStale(p *schema.Package) {
	uses := m.stale[p]
	if len(uses) == 0 {
		return
	}
	said := map[*advisory.Advisory]bool{}
	for i := range m.out {
		if m.out[i].Package == p {
			said[m.out[i].Advisory] = true
		}
	}
	found := map[string]*Match{}
	for i := range uses {
		old := matching{ix: m.ix, kernels: m.kernels}
		old.add(&uses[i].old)
		for _, was := range old.out {
			if was.Verdict != Affected || said[was.Advisory] {
				continue
			}
			reason := fmt.Sprintf("%s still runs in %s", uses[i].old.EVR(), uses[i].who)
			if at := found[was.Advisory.ID]; at != nil {
				at.Reason += "; " + reason
				continue
			}
			found[was.Advisory.ID] = &Match{
				Verdict: PendingRestart, Package: p, Advisory: was.Advisory, Fixed: was.Fixed,
				Reason: fmt.Sprintf("fixed %s %s is installed; %s", p.Name, p.EVR(), reason),
			}
		}
	}
	for _, match := range found {
		match.Reason += ": restart"
		m.out = append(m.out, *match)
		m.unordered = true
	}
}
