package match_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/osv-scalibr/semantic"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/match"
	"github.com/patchproof/patchproof/schema"
)

// TestDrawnHostsAgreeWithAPlainReading draws hosts of packages at versions that
// AlmaLinux once published, of streams it has, and holds every match against the
// plainest reading of every row there is, with osv-scalibr's order of versions.
func TestDrawnHostsAgreeWithAPlainReading(t *testing.T) {
	for _, release := range []string{"8", "9", "10"} {
		t.Run(release, func(t *testing.T) {
			r := inventory.Release{Distro: "almalinux", Version: release}
			advs := almaAdvisories(t, release)
			rng := rand.New(rand.NewPCG(1, 2))
			s := inventory.State{Release: r, Set: inventory.Set{Packages: drawHost(rng, advs, r, 150)}}
			got := map[string]string{}
			for _, m := range match.NewIndex(r, advs).Match(s).Matches {
				if m.Verdict == match.Affected {
					got[m.Advisory.ID+" "+m.Package.Name+" "+m.Package.EVR()+" "+m.Package.Module] = m.Fixed
				}
			}
			want := plainReading(t, advs, s)
			if len(want) < 100 {
				t.Fatalf("only %d matches drawn", len(want))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("matches (-plain +ours):\n%s", diff)
			}
		})
	}
}

// drawHost draws packages: of a random row a name, the stream, and a version
// that some row of that name and stream has as its fix.
func drawHost(rng *rand.Rand, advs []advisory.Advisory, r inventory.Release, n int) []schema.Package {
	fixes := map[string][]string{}
	var rows []advisory.Affected
	for _, a := range advs {
		for _, aff := range a.Affected {
			if aff.Release == r && aff.Module != "*" && !fromKernel(aff.Name) {
				rows = append(rows, aff)
				fixes[aff.Name+" "+aff.Module] = append(fixes[aff.Name+" "+aff.Module], aff.Ranges[0].Fixed)
			}
		}
	}
	var out []schema.Package
	seen := map[string]bool{}
	for range n {
		row := rows[rng.IntN(len(rows))]
		of := fixes[row.Name+" "+row.Module]
		stream, _, _ := strings.Cut(row.Module, " ")
		if key := row.Name + " " + stream; seen[key] {
			continue
		} else {
			seen[key] = true
		}
		p := rpm(row.Name, of[rng.IntN(len(of))], "x86_64")
		if stream != "" {
			p.Module = stream + ":8000020260101:abcdef01"
		}
		out = append(out, p)
	}
	return out
}

// fromKernel names what AlmaLinux builds from the kernel's source, which has rules of its own.
func fromKernel(n string) bool {
	switch n {
	case "perf", "python3-perf", "bpftool", "rtla", "rv", "libperf", "libperf-devel":
		return true
	}
	return strings.HasPrefix(n, "kernel")
}

// plainReading reads every row of every advisory for every package.
func plainReading(t *testing.T, advs []advisory.Advisory, s inventory.State) map[string]string {
	out := map[string]string{}
	for _, p := range s.Set.Packages {
		installed, err := semantic.Parse(p.EVR(), "AlmaLinux")
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitN(p.Module+"::", ":", 3)
		stream := strings.Trim(parts[0]+":"+parts[1], ":")
		for _, a := range advs {
			fixed, listed := "", false
			for _, aff := range a.Affected {
				if aff.Release != s.Release || aff.Name != p.Name {
					continue
				}
				applies := stream == "" && aff.Module == "" || stream != "" && (aff.Module == "*" || strings.Contains(" "+aff.Module+" ", " "+stream+" "))
				if !applies {
					continue
				}
				f := aff.Ranges[0].Fixed
				order, err := installed.CompareStr(f)
				if err != nil {
					t.Fatal(err)
				}
				listed = listed || order == 0
				if order < 0 {
					if fixed == "" {
						fixed = f
					} else if c, _ := semantic.MustParse(f, "AlmaLinux").CompareStr(fixed); c > 0 {
						fixed = f
					}
				}
			}
			if fixed != "" && !listed {
				out[a.ID+" "+p.Name+" "+p.EVR()+" "+p.Module] = fixed
			}
		}
	}
	return out
}
