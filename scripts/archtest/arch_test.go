// Package archtest holds the house plan: which room stands on which floor, and
// that imports only go down. A package on no floor fails the test.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/patchproof/patchproof"

// floors of the collector's house, by path prefix; the longest prefix wins.
// Rooms on one floor do not know each other.
var floors = map[string]int{
	"schema":                    0,
	"schema/envelope":           1,
	"schema/bundle":             1,
	"collector/inventory":       2,
	"collector/advisory":        2,
	"collector/finding":         3,
	"collector/version":         3,
	"collector/feed/cvss":       3,
	"collector/feed/unpack":     3,
	"collector/match":           4,
	"collector/sla":             4,
	"collector/lifecycle":       4,
	"collector/lineage":         4,
	"collector/policy":          4,
	"collector/classify":        4,
	"collector/sbom":            4,
	"collector/feed/osv":        4,
	"collector/feed/updateinfo": 4,
	"collector/feed/kev":        4,
	"collector/feed/epss":       4,
	"collector/feed/cve":        4,
	"collector/store":           5,
	"collector/store/sqlstore":  6,
	"collector/store/storetest": 6,
	"collector/trust":           6,
	"collector/broker":          6,
	"collector/evidence":        6,
	"collector/ingest":          7,
	"collector/assess":          7,
	"collector/estate":          7,
	"collector/feed":            7,
	"collector/query":           7,
	"collector/access":          7,
	"collector/standard":        7,
	"collector/ingest/natsin":   8,
	"collector/api":             8,
	"collector/client":          8,
	"collector/server":          9,
	"collector/config":          9,
	"collector/cmd/patchproof":  10,
}

// agentFloors of the agent's house, on the same ground.
var agentFloors = map[string]int{
	"schema":                     0,
	"schema/envelope":            1,
	"schema/bundle":              1,
	"agent/scan":                 3,
	"agent/scan/rootfs":          1, // what the extractors read through
	"agent/scan/":                2, // the extractors below it
	"agent/pin":                  3,
	"agent/identity":             4,
	"agent/spool":                4,
	"agent/publish":              4,
	"agent/export":               4,
	"agent/seal":                 5,
	"agent":                      5,
	"agent/config":               6,
	"agent/cmd/patchproof-agent": 7,
}

// sameFloor names the edges allowed on one floor, with why.
var sameFloor = map[[2]string]string{
	{"schema/bundle", "schema/envelope"}:          "a bundle is lines of envelopes",
	{"collector/advisory", "collector/inventory"}: "an affected range speaks of a distribution release",
	{"collector/policy", "collector/sla"}:         "reading the policy file fills sla.Policy",
	{"collector/lifecycle", "collector/sla"}:      "moving a deadline means to evaluate it before and after",
	{"collector/classify", "collector/sla"}:       "a classification is in the words of the timelines",
	{"collector/broker", "collector/trust"}:       "the broker's keys are kept as the collector's others are",
	{"collector/client", "collector/api"}:         "the client speaks the types the API serves",
}

// testOnly names the packages product code must not import.
var testOnly = []string{
	"testing", "github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak",
	"github.com/rogpeppe/go-internal", "github.com/google/osv-scalibr",
}

// drivers may be named by the store that speaks them and by the wiring.
var drivers = map[string][]string{
	"modernc.org/sqlite":             {"collector/store/sqlstore", "collector/server", "agent/scan/rpm"},
	"github.com/uptrace/bun":         {"collector/store/sqlstore"},
	"github.com/pressly/goose/v3":    {"collector/store/sqlstore"},
	"database/sql":                   {"collector/store/sqlstore", "agent/scan/rpm"},
	"github.com/nats-io/nats-server": {"collector/ingest/natsin", "collector/server"},
}

// pure are the engines: no input or output, no clock, no logging, no context.
var pure = []string{
	"collector/match", "collector/sla", "collector/lifecycle", "collector/lineage", "collector/policy", "collector/classify", "collector/sbom",
	"collector/feed/cvss", "collector/feed/unpack", "collector/feed/osv", "collector/feed/updateinfo", "collector/feed/kev", "collector/feed/epss", "collector/feed/cve",
	"collector/version", "collector/finding", "collector/inventory", "collector/advisory",
}

var impure = []string{"log", "log/slog", "context", "net", "net/http", "os", "os/exec", "os/signal"}

type source struct {
	dir     string // package path below the module
	file    string
	imports []string
	test    bool
}

func TestImportsGoDown(t *testing.T) {
	for _, s := range sources(t) {
		if skipped(s.dir) {
			continue
		}
		if s.test {
			continue
		}
		from, house := floorOf(s.dir)
		if house == "" {
			t.Errorf("%s: package %s stands on no floor; add it to the house plan", s.file, s.dir)
			continue
		}
		for _, imp := range s.imports {
			to, ok := strings.CutPrefix(imp, module+"/")
			if !ok || skipped(to) || to == s.dir {
				continue
			}
			if other := houseOf(to); other != "ground" && house != "ground" && other != house {
				t.Errorf("%s: %s imports %s: agent and collector do not know each other", s.file, s.dir, to)
				continue
			}
			level, _ := floorOf(to)
			if house == "agent" {
				level = agentLevel(to)
			}
			if why := sameFloor[[2]string{s.dir, to}]; level == from && why != "" {
				continue
			}
			if level >= from {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d): imports go down only", s.file, s.dir, from, to, level)
			}
		}
	}
}

func TestAgentNeverExecutes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !strings.HasPrefix(s.dir, "agent") && !strings.HasPrefix(s.dir, "schema") {
			continue
		}
		if slices.Contains(s.imports, "os/exec") {
			t.Errorf("%s imports os/exec: the agent never runs a program", s.file)
		}
	}
}

func TestEnginesArePure(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.dir) {
			continue
		}
		for _, imp := range s.imports {
			if slices.Contains(impure, imp) {
				t.Errorf("%s: pure package %s imports %s", s.file, s.dir, imp)
			}
		}
	}
}

func TestDriversStayInTheirRoom(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || skipped(s.dir) {
			continue
		}
		for _, imp := range s.imports {
			for driver, rooms := range drivers {
				if (imp == driver || strings.HasPrefix(imp, driver+"/")) && !slices.Contains(rooms, s.dir) {
					t.Errorf("%s: %s imports the driver %s", s.file, s.dir, imp)
				}
			}
		}
	}
}

func TestNoTestPackagesInProductCode(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || skipped(s.dir) || strings.HasSuffix(s.dir, "test") {
			continue
		}
		for _, imp := range s.imports {
			for _, bad := range testOnly {
				if imp == bad || strings.HasPrefix(imp, bad+"/") {
					t.Errorf("%s: product code imports %s", s.file, imp)
				}
			}
		}
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	allowed := []string{"agent", "collector", "schema", "packaging", "scripts", "go.mod", "go.sum", "Makefile", "README.md", "bin", "dist"}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong to the top level", e.Name())
		}
	}
}

// TestEveryRoomExists keeps the table honest: a floor without a package is a
// plan for later, and those are named here.
func TestEveryRoomExists(t *testing.T) {
	later := []string{"collector/classify"}
	dirs := map[string]bool{}
	for _, s := range sources(t) {
		dirs[s.dir] = true
	}
	for _, room := range slices.Sorted(maps.Keys(floors)) {
		if !dirs[room] && !slices.Contains(later, room) {
			t.Errorf("room %s is on the plan and has no package", room)
		}
	}
}

func skipped(dir string) bool {
	return strings.HasPrefix(dir, "scripts") || strings.Contains(dir, "/internal/")
}

func houseOf(dir string) string {
	switch {
	case dir == "schema" || strings.HasPrefix(dir, "schema/"):
		return "ground"
	case dir == "agent" || strings.HasPrefix(dir, "agent/"):
		return "agent"
	case strings.HasPrefix(dir, "collector/"):
		return "collector"
	default:
		return ""
	}
}

// floorOf returns the floor and the house a package stands in; no house means no floor.
func floorOf(dir string) (int, string) {
	house := houseOf(dir)
	if house == "agent" {
		if l := agentLevel(dir); l >= 0 {
			return l, house
		}
		return 0, ""
	}
	if l, ok := floors[dir]; ok {
		return l, house
	}
	return 0, ""
}

func agentLevel(dir string) int {
	if l, ok := agentFloors[dir]; ok {
		return l
	}
	if strings.HasPrefix(dir, "agent/scan/") {
		return agentFloors["agent/scan/"]
	}
	return -1
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

func sources(t *testing.T) []source {
	t.Helper()
	top := root(t)
	var out []source
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "tools") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		s := source{dir: filepath.ToSlash(filepath.Dir(rel)), file: rel, test: strings.HasSuffix(path, "_test.go")}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
