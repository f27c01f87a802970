// Package licensetest holds the licence rule: nothing GPL or AGPL is linked
// into a binary, and the agent stays a small house.
package licensetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// maxAgentModules is the budget of design.md, "Budgets".
const maxAgentModules = 40

var binaries = map[string]string{
	"patchproof-agent": "github.com/patchproof/patchproof/agent/cmd/patchproof-agent",
	"patchproof":       "github.com/patchproof/patchproof/collector/cmd/patchproof",
}

// copyleft matches the licences that must not be linked. The LGPL's and MPL's
// titles do not match: GNU GENERAL and GNU AFFERO only.
var copyleft = regexp.MustCompile(`(?i)GNU\s+(AFFERO\s+)?GENERAL\s+PUBLIC\s+LICENSE`)

type module struct{ Path, Version, Dir string }

func TestNothingCopyleftIsLinked(t *testing.T) {
	for name, pkg := range binaries {
		for _, m := range linked(t, pkg) {
			text := licenceOf(t, m)
			if text == "" {
				t.Errorf("%s: %s %s carries no licence file", name, m.Path, m.Version)
				continue
			}
			// A dual licence that offers a permissive one says so in its first lines.
			if copyleft.MatchString(firstLines(text, 10)) {
				t.Errorf("%s: %s %s is under a copyleft licence", name, m.Path, m.Version)
			}
		}
	}
}

func TestAgentIsSmall(t *testing.T) {
	mods := linked(t, binaries["patchproof-agent"])
	if len(mods) > maxAgentModules {
		var names []string
		for _, m := range mods {
			names = append(names, m.Path)
		}
		sort.Strings(names)
		t.Errorf("the agent links %d modules, want at most %d:\n%s", len(mods), maxAgentModules, strings.Join(names, "\n"))
	}
}

// linked lists the modules whose packages a command is built from.
func linked(t *testing.T, pkg string) []module {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=Module", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what %s links: %v", pkg, err)
	}
	seen := map[string]module{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *module }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module != nil && p.Module.Version != "" {
			seen[p.Module.Path] = *p.Module
		}
	}
	var mods []module
	for _, m := range seen {
		mods = append(mods, m)
	}
	return mods
}

func licenceOf(t *testing.T, m module) string {
	t.Helper()
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		t.Fatalf("read module %s: %v", m.Path, err)
	}
	for _, e := range entries {
		n := strings.ToUpper(e.Name())
		if strings.HasPrefix(n, "LICEN") || strings.HasPrefix(n, "COPYING") {
			b, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
			if err == nil {
				return string(b)
			}
		}
	}
	return ""
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	if len(lines) > n {
		lines = lines[:n]
	}
	return strings.Join(lines, "\n")
}
