package sqlstore_test

import (
	"database/sql"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

var update = flag.Bool("update", false, "write golden files")

// raw opens a database file beside the store.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func reopen(t testing.TB, path string) error {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestSchemaIsTheGolden makes every change of the schema reviewable.
func TestSchemaIsTheGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := reopen(t, path); err != nil {
		t.Fatal(err)
	}
	rows, err := raw(t, path).QueryContext(t.Context(), `SELECT sql FROM sqlite_master
		WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND tbl_name <> 'goose_db_version' ORDER BY tbl_name, type DESC, name`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var b strings.Builder
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		b.WriteString(text + ";\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.sql", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), b.String()); diff != "" {
		t.Errorf("the schema is not schema.sql; look at the difference and run the test with -update (-want +got):\n%s", diff)
	}
}

func TestOpenAgainChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?&#%20'.db")
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendLeaf(t.Context(), store.Leaf{Kind: "k", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database is not in the file that was named, or others can read it: %v %v", info, err)
	}
	s, err = sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if n, err := s.LeafCount(t.Context()); err != nil || n != 1 {
		t.Errorf("%d leaves (%v), want 1", n, err)
	}
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := reopen(t, path); err != nil {
		t.Fatal(err)
	}
	exec(t, raw(t, path), "INSERT INTO migration_checksum VALUES (9999, '9999_future.sql', 'x')")
	if err := reopen(t, path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("got error %v, want %v", err, store.ErrNewerSchema)
	}
}

func TestOpenRefusesAnotherChecksum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := reopen(t, path); err != nil {
		t.Fatal(err)
	}
	exec(t, raw(t, path), "UPDATE migration_checksum SET sha256 = 'other' WHERE version = 1")
	if err := reopen(t, path); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got error %v, want one on the checksum", err)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopen(t, path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got error %v, want one that names %s", err, path)
	}
	if err := reopen(t, filepath.Join(path, "below", "x.db")); err == nil {
		t.Error("a path below a file was opened")
	}
}

// TestWritesAreFullySynced holds the setting that "done means receipted" rests on.
func TestWritesAreFullySynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
		if got, err := s.Setting(t.Context(), pragma); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

// TestFailingMigrationLeavesTheStepsBefore runs two more steps, the second of
// which breaks half-way.
func TestFailingMigrationLeavesTheStepsBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	good, bad := "CREATE TABLE later_a (x INTEGER)", "CREATE TABLE later_b (x INTEGER); INSERT INTO nowhere VALUES (1)"
	if err := sqlstore.ApplyMigrations(t.Context(), path, good, bad); err == nil {
		t.Fatal("a broken migration was applied")
	}
	names := func() (names []string) {
		var list sql.NullString
		row := raw(t, path).QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(name) FROM sqlite_master WHERE name LIKE 'later%'")
		if err := row.Scan(&list); err != nil {
			t.Fatal(err)
		}
		return strings.Split(list.String, ",")
	}
	if diff := cmp.Diff([]string{"later_a"}, names()); diff != "" {
		t.Errorf("tables after the failure (-want +got):\n%s", diff)
	}
	if err := reopen(t, path); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("an older program opens it: %v", err)
	}
	if err := sqlstore.ApplyMigrations(t.Context(), path, good, "CREATE TABLE later_b (x INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"later_a", "later_b"}, names()); diff != "" {
		t.Errorf("tables after the repair (-want +got):\n%s", diff)
	}
}

// TestDroppedCountersAreBounded: a sender makes keys for nothing, so beyond a
// number of counters new keys share one.
func TestDroppedCountersAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	exec(t, raw(t, path), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
		INSERT INTO quarantine_dropped SELECT 'key ' || i, 'r', 1, 0, 0 FROM n`)
	for _, key := range []string{"new 1", "new 2", "key 7"} {
		if kept, err := s.Quarantine(t.Context(), store.Quarantined{Digest: key, Key: key, Reason: "r"}, store.QuarantineLimits{}, store.Leaf{}); err != nil || kept {
			t.Fatalf("kept %v, error %v", kept, err)
		}
	}
	list, err := s.DroppedEnvelopes(t.Context())
	if err != nil || len(list) != 10001 {
		t.Fatalf("%d counters (%v), want 10001", len(list), err)
	}
	got := map[string]int64{list[0].Key: list[0].Count, list[1].Key: list[1].Count}
	if diff := cmp.Diff(map[string]int64{"": 2, "key 7": 2}, got); diff != "" {
		t.Errorf("greatest counters (-want +got):\n%s", diff)
	}
}

func TestReadOnlyLooksAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	if _, err := sqlstore.OpenReadOnly(t.Context(), path); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no file: got error %v, want %v", err, store.ErrNotFound)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("looking made %v (%v)", entries, err)
	}
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	leaf := store.Leaf{Kind: "k", Body: []byte("{}")}
	if _, err := s.AppendLeaf(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	for _, running := range []bool{true, false} {
		if !running {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		ro, err := sqlstore.OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := ro.LeafCount(t.Context()); err != nil || n != 1 {
			t.Errorf("%d leaves (%v), want 1", n, err)
		}
		if _, err := ro.AppendLeaf(t.Context(), leaf); err == nil {
			t.Error("a store opened to look at was written to")
		}
		if err := ro.Close(); err != nil {
			t.Error(err)
		}
	}
	exec(t, raw(t, path), "DELETE FROM migration_checksum")
	if _, err := sqlstore.OpenReadOnly(t.Context(), path); err == nil || !strings.Contains(err.Error(), "old") {
		t.Errorf("an older schema: got error %v", err)
	}
}
