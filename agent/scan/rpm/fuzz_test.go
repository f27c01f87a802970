package rpm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchproof/patchproof/agent/scan/rpm"
	"github.com/patchproof/patchproof/schema"
)

// FuzzRead holds the boundary around go-rpmdb: whatever a Berkeley DB or ndb
// file holds, reading it ends, does not panic in a goroutine nobody can recover,
// and says a gap or gives packages that can be stated.
func FuzzRead(f *testing.F) {
	for i, name := range []string{"Packages.db", "Packages", "inline/Packages"} {
		f.Add(i%2 == 0, fixture(f, name))
		f.Add(i%2 == 1, fixture(f, name))
	}
	dir := f.TempDir()
	for _, name := range []string{"ndb", "bdb"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "var/lib/rpm"), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	cache := f.TempDir()
	limits := rpm.Limits{Database: 1 << 20, Header: 1 << 20, Packages: 1000, Gaps: 8}
	f.Fuzz(func(t *testing.T, isNDB bool, content []byte) {
		root, name := filepath.Join(dir, "bdb"), "Packages"
		if isNDB {
			root, name = filepath.Join(dir, "ndb"), "Packages.db"
		}
		if err := os.WriteFile(filepath.Join(root, "var/lib/rpm", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
		got := limits.Read(t.Context(), os.DirFS(root), cache)
		if !got.Found {
			t.Error("the database was not found")
		}
		if _, err := schema.EncodePackages(got.Packages); err != nil {
			t.Errorf("packages cannot be stated: %v", err)
		}
	})
}
