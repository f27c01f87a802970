package e2e_test

import (
	"archive/zip"
	"encoding/json"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func readZip(t *testing.T, path string) *zip.ReadCloser {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = z.Close() })
	return z
}

// dpkgFindings lists "vulnerability source" for every advisory of a Debian
// archive that an installed package of this host is older than, by dpkg's word.
func dpkgFindings(t *testing.T, archive fs.FS) []string {
	t.Helper()
	installed := installedSources(t)
	names, err := fs.Glob(archive, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range names {
		text, err := fs.ReadFile(archive, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fixesOf(t, text) {
			if strings.HasPrefix(f.source, "linux") || !slices.ContainsFunc(installed[f.source], func(v string) bool { return older(t, v, f.fixed) }) {
				continue
			}
			for _, v := range f.vulnerabilities {
				out = append(out, v+" "+f.source)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// installedSources maps source packages to the versions they are installed in.
func installedSources(t *testing.T) map[string][]string {
	t.Helper()
	text, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status} ${source:Package} ${source:Version}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if word := strings.Fields(line); len(word) == 3 && word[0] == "installed" && !slices.Contains(out[word[1]], word[2]) {
			out[word[1]] = append(out[word[1]], word[2])
		}
	}
	return out
}

type fix struct {
	source, fixed   string
	vulnerabilities []string
}

func fixesOf(t *testing.T, record []byte) []fix {
	t.Helper()
	var r struct {
		Upstream []string `json:"upstream"`
		Affected []struct {
			Package struct {
				Name string `json:"name"`
			} `json:"package"`
			Ranges []struct {
				Events []struct {
					Fixed string `json:"fixed"`
				} `json:"events"`
			} `json:"ranges"`
		} `json:"affected"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		t.Fatal(err)
	}
	var out []fix
	for _, a := range r.Affected {
		for _, rng := range a.Ranges {
			for _, e := range rng.Events {
				if e.Fixed != "" {
					out = append(out, fix{a.Package.Name, e.Fixed, r.Upstream})
				}
			}
		}
	}
	return out
}

func older(t *testing.T, a, b string) bool {
	t.Helper()
	return exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil
}
