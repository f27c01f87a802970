// Package sqltest opens real stores for tests, quickly: each is a copy of one that
// is migrated once for all tests of a package.
package sqltest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

// Open returns a store of its own in a directory of the test, closed when it ends.
func Open(t testing.TB) *sqlstore.Store {
	t.Helper()
	return OpenAt(t, filepath.Join(t.TempDir(), "collector.db"))
}

// OpenAt is Open with the place of the file, which is opened as it is when it is
// there.
func OpenAt(t testing.TB, path string) *sqlstore.Store {
	t.Helper()
	if _, err := os.Stat(path); os.IsNotExist(err) {
		empty, err := migrated()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return st
}

// migrated is the file of a store that holds nothing.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sqltest")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "empty.db")
	st, err := sqlstore.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})
