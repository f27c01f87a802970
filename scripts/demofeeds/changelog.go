package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/version"
)

// entry is one changelog entry of a source package of Debian 12 that names CVEs.
type entry struct {
	Source  string   `json:"source"`
	Version string   `json:"version"`
	Dist    string   `json:"dist"`
	CVEs    []string `json:"cves"`
	Date    string   `json:"date"`
}

// fix is what an entry says of Debian 12: the CVEs it is the first to fix there.
type fix struct {
	Source, Version string
	At              time.Time
	CVEs            []string
}

// released is the day Debian 12 came out. What was uploaded before is in it, so
// it says nothing of a Debian 12 host and is left out.
var released = time.Date(2023, time.June, 10, 0, 0, 0, 0, time.UTC)

func readChangelogs(name string) ([]entry, error) {
	doc, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var entries []entry
	if err := json.Unmarshal(doc, &entries); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return entries, nil
}

// restate turns entries into fixes.
//
// A package's changelog is its own ancestry, so a lower version lacks the entry.
// Three things need care:
//   - An upload to unstable after the release came to Debian 12 as a rebuild,
//     V~deb12u1 by Debian's convention, which sorts before V. That is the version
//     a Debian 12 host is fixed with.
//   - Where one CVE is named by an entry for Debian 12 and by others, the one for
//     Debian 12 holds: it is the branch these hosts are on.
//   - Of several for one CVE the first holds; later ones mend it.
func restate(entries []entry) ([]fix, error) {
	type key struct{ source, cve string }
	first := map[key]entry{}
	for _, e := range entries {
		for _, id := range e.CVEs {
			if !advisory.IsCVE(id) {
				return nil, fmt.Errorf("%s %s: %q is not a CVE id", e.Source, e.Version, id)
			}
			k := key{e.Source, id}
			held, ok := first[k]
			if !ok {
				first[k] = e
				continue
			}
			better, err := before(e, held)
			if err != nil {
				return nil, err
			}
			if better {
				first[k] = e
			}
		}
	}
	cves := map[[2]string][]string{}
	for k, e := range first {
		at := [2]string{e.Source, e.Version}
		cves[at] = append(cves[at], k.cve)
	}
	var fixes []fix
	for _, e := range entries {
		ids := cves[[2]string{e.Source, e.Version}]
		if len(ids) == 0 {
			continue
		}
		delete(cves, [2]string{e.Source, e.Version})
		at, err := mail.ParseDate(e.Date)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", e.Source, e.Version, err)
		}
		v := e.Version
		if !forBookworm(e) {
			if at.Before(released) {
				continue
			}
			v += "~deb12u1"
		}
		slices.SortFunc(ids, compareCVEs)
		fixes = append(fixes, fix{Source: e.Source, Version: v, At: at.UTC(), CVEs: ids})
	}
	if len(cves) > 0 {
		return nil, fmt.Errorf("entries were lost: %v", slices.Collect(maps.Keys(cves)))
	}
	slices.SortFunc(fixes, func(a, b fix) int { return cmp.Compare(a.id(), b.id()) })
	return fixes, nil
}

// before reports whether a is the better witness of a fix than b.
func before(a, b entry) (bool, error) {
	if forBookworm(a) != forBookworm(b) {
		return forBookworm(a), nil
	}
	c, err := version.CompareDeb(a.Version, b.Version)
	if err != nil {
		return false, fmt.Errorf("%s: %w", a.Source, err)
	}
	return c < 0, nil
}

func forBookworm(e entry) bool {
	return strings.HasPrefix(e.Dist, "bookworm") || strings.Contains(e.Version, "deb12u")
}

func (f fix) id() string { return "DEB12-CHANGELOG-" + f.Source + "-" + f.Version }

// compareCVEs orders by year, then number.
func compareCVEs(a, b string) int {
	return cmp.Or(cmp.Compare(a[:8], b[:8]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
