package version_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/osv-scalibr/semantic"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// TestDpkgAgrees asks dpkg itself, on the vectors and on drawn pairs.
func TestDpkgAgrees(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Fatal("dpkg is not installed: run make setup")
	}
	for _, p := range oraclePairs(t, schema.FormatDeb, 300) {
		got, err := version.CompareDeb(p[0], p[1])
		if err != nil {
			t.Errorf("CompareDeb(%q, %q): %v", p[0], p[1], err)
			continue
		}
		op := [...]string{"lt", "eq", "gt"}[got+1]
		if out, err := exec.CommandContext(t.Context(), dpkg, "--compare-versions", p[0], op, p[1]).CombinedOutput(); err != nil {
			t.Errorf("CompareDeb(%q, %q): got %d; dpkg says not %s: %v %s", p[0], p[1], got, op, err, out)
		}
	}
}

// TestRPMAgrees asks rpm itself, in one run.
func TestRPMAgrees(t *testing.T) {
	rpm, err := exec.LookPath("rpm")
	if err != nil {
		t.Fatal("rpm is not installed: run make setup")
	}
	pairs := oraclePairs(t, schema.FormatRPM, 2000)
	var lua strings.Builder
	asked := pairs[:0]
	for _, p := range pairs {
		if !strings.Contains(p[0], "-") || !strings.Contains(p[1], "-") {
			continue // rpm.vercmp orders a missing release, we do not
		}
		asked = append(asked, p)
		fmt.Fprintf(&lua, "print(rpm.vercmp(%q, %q) .. '\\n')\n", p[0], p[1])
	}
	script := filepath.Join(t.TempDir(), "vercmp.lua")
	if err := os.WriteFile(script, []byte(lua.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), rpm, "--eval", "%{lua:dofile('"+script+"')}")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpm: %v %s", err, stderr.Bytes())
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(asked) {
		t.Fatalf("rpm gave %d answers for %d questions: %s", len(answers), len(asked), stderr.Bytes())
	}
	for i, p := range asked {
		want, err := strconv.Atoi(answers[i])
		if err != nil {
			t.Fatalf("rpm answered %q", answers[i])
		}
		got, err := version.CompareRPM(p[0], p[1])
		if err != nil || got != want {
			t.Errorf("CompareRPM(%q, %q): got %d, %v; rpm says %d", p[0], p[1], got, err, want)
		}
	}
}

// TestScalibrAgrees holds drawn pairs against osv-scalibr's reading. Not for
// apk: there it takes 0 and 0.0 for equal, which apk does not.
func TestScalibrAgrees(t *testing.T) {
	ecosystems := map[schema.PackageFormat]string{schema.FormatDeb: "Debian", schema.FormatRPM: "Red Hat"}
	for f := range ecosystems {
		t.Run(string(f), func(t *testing.T) {
			gen := anyVersion(f)
			rapid.Check(t, func(t *rapid.T) {
				a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
				parsed, err := semantic.Parse(a, ecosystems[f])
				if err != nil {
					t.Skip("scalibr does not parse it")
				}
				want, err := parsed.CompareStr(b)
				if err != nil {
					t.Skip("scalibr does not parse it")
				}
				if got := compare(t, f, a, b); got != want {
					t.Errorf("compare(%q, %q): got %d, scalibr says %d", a, b, got, want)
				}
			})
		})
	}
}

// refusal explains vectors of other projects that we refuse or read otherwise.
type refusal struct {
	format  schema.PackageFormat
	match   *regexp.Regexp
	because string
}

var refusals = []refusal{
	{schema.FormatRPM, regexp.MustCompile(`[α-ω]`), "rpm builds no package whose version has a character outside ASCII"},
	{schema.FormatRPM, regexp.MustCompile(`(^| )([^ ]*[a-z+~][^ ]*|[0-9+]+-?[^ ]*):`), "an epoch is a number"},
	{schema.FormatRPM, regexp.MustCompile(`- |-$|-:`), "a release is not empty"},
	{schema.FormatRPM, regexp.MustCompile(`^1 < 1-[01]$`), "a missing release equals any: rpm compares releases only when both are there"},
	{version.FormatAPK, regexp.MustCompile(`-r( |-|$)|-ruff|--ruff|-r0-`), "a revision is -r and a number, and ends the version"},
	{version.FormatAPK, regexp.MustCompile(`\.r|\.\.|(^| )\.|(^| )[a-z]`), "a version begins with a digit and a digit follows each dot"},
	{version.FormatAPK, regexp.MustCompile(`[0-9][A-Z]|[0-9][a-z][a-z0-9]`), "one lower-case letter may follow the numbers"},
	{version.FormatAPK, regexp.MustCompile(`_blah|_csv|_foo`), "not one of apk's suffixes"},
}

// TestSharedVectors runs the vectors of rpm and of osv-scalibr. Every one holds,
// or a line of refusals says why not; a line that explains nothing fails.
func TestSharedVectors(t *testing.T) {
	dir := sharedData(t, "versions")
	used := make(map[int]bool)
	for _, r := range readTSV(t, filepath.Join(dir, "rpm-vercmp.tsv")) {
		checkRelation(t, schema.FormatRPM, r)
	}
	files := map[schema.PackageFormat]string{
		schema.FormatDeb: "debian", schema.FormatRPM: "redhat", version.FormatAPK: "alpine",
	}
	for _, f := range formats {
		path := filepath.Join(dir, "osv-scalibr", "testdata", files[f]+"-versions.txt")
		for _, r := range readRelations(t, path) {
			got, err := version.Compare(f, r.a, r.b)
			if err == nil && got == r.want {
				continue
			}
			text := r.a + " " + string("<=>"[r.want+1]) + " " + r.b
			if !explained(f, text, used) {
				t.Errorf("%s: %s: got %d, %v", filepath.Base(path), text, got, err)
			}
		}
	}
	for i, x := range refusals {
		if !used[i] {
			t.Errorf("no vector needs the explanation %q (%s)", x.because, x.match)
		}
	}
}

// TestRealVersionsParse: no version that real hosts have, or that AlmaLinux,
// Amazon and Debian publish, is refused.
func TestRealVersionsParse(t *testing.T) {
	seen := map[schema.PackageFormat]int{}
	parse := func(f schema.PackageFormat, v string) {
		seen[f]++
		if _, err := version.AppendKey(nil, f, v); err != nil {
			t.Error(err)
		}
	}
	hosts, err := filepath.Glob(filepath.Join(sharedData(t, "hosts/vulsio-integration"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range hosts {
		var host struct {
			Family   string
			Packages map[string]struct{ Version, Release string }
		}
		unmarshal(t, path, &host)
		f := schema.FormatRPM
		switch host.Family {
		case "debian", "ubuntu":
			f = schema.FormatDeb
		case "alpine":
			f = version.FormatAPK
		case "windows":
			continue
		}
		for _, p := range host.Packages {
			v := p.Version
			if p.Release != "" {
				v += "-" + p.Release
			}
			parse(f, v)
		}
	}
	for _, line := range readLines(t, sharedData(t, "hosts/this-machine-debian12/status")) {
		if v, ok := strings.CutPrefix(line, "Version: "); ok {
			parse(schema.FormatDeb, v)
		}
	}
	var fixes []struct{ Version string }
	unmarshal(t, sharedData(t, "debian-fixes.json"), &fixes)
	for _, x := range fixes {
		parse(schema.FormatDeb, x.Version)
	}
	t.Logf("parsed %v", seen)
	if seen[schema.FormatRPM] < 1000 || seen[schema.FormatDeb] < 3000 || seen[version.FormatAPK] < 10 {
		t.Errorf("parsed only %v", seen)
	}
}

func unmarshal(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func explained(f schema.PackageFormat, relation string, used map[int]bool) bool {
	for i, x := range refusals {
		if x.format == f && x.match.MatchString(relation) {
			used[i] = true
			return true
		}
	}
	return false
}

// oraclePairs returns the pairs of the format's vectors and n drawn ones.
func oraclePairs(t *testing.T, f schema.PackageFormat, n int) [][2]string {
	t.Helper()
	var pairs [][2]string
	for _, r := range readRelations(t, filepath.Join("testdata", string(f)+".txt")) {
		pairs = append(pairs, [2]string{r.a, r.b})
	}
	gen := anyVersion(f)
	for i := range n {
		pairs = append(pairs, [2]string{gen.Example(2 * i), gen.Example(2*i + 1)})
	}
	return pairs
}

func readTSV(t *testing.T, path string) []relation {
	t.Helper()
	var out []relation
	for i, line := range readLines(t, path) {
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			t.Fatalf("%s: line %d: got %q, want three columns", path, i+1, line)
		}
		want, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, relation{i + 1, fields[0], fields[1], want})
	}
	return out
}

// sharedData finds ../shared/data beside the repository root and skips without it.
func sharedData(t testing.TB, path string) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	found := filepath.Join(dir, "..", "shared", "data", path)
	if _, err := os.Stat(found); err != nil {
		t.Skipf("real data is not there: %v", err)
	}
	return found
}
