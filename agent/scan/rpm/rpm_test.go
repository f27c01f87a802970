package rpm_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rpmdb "github.com/knqyf263/go-rpmdb/pkg"

	"github.com/patchproof/patchproof/agent/scan/rpm"
	"github.com/patchproof/patchproof/schema"
)

// tool runs a tool that these tests cannot do without.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is needed to make real databases: install the package rpm (%v)", name, err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// queryFormat is what every comparison with rpm shows of a package.
const queryFormat = `%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH} %{SOURCERPM} %{VENDOR} %{MODULARITYLABEL} %{INSTALLTIME}\n`

// shown writes packages as queryFormat does. The source is put together again
// from its parts.
func shown(ps []schema.Package) []string {
	none := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = fmt.Sprintf("%s %d %s %s %s %s %s %s %d", p.Name, p.Epoch, p.Version, p.Release, none(p.Arch),
			p.Source+"-"+p.SourceVersion+".src.rpm", none(p.Vendor), none(p.Module), p.InstalledAt)
	}
	slices.Sort(lines)
	return lines
}

// expected sorts what rpm printed and leaves out the keys.
func expected(out string) []string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || strings.HasPrefix(l, "gpg-pubkey ") })
	slices.Sort(lines)
	return lines
}

const spec = `Name: %[1]s
Version: %[2]s
Release: %[3]s
Summary: made for tests
License: MIT
BuildArch: noarch
AutoReqProv: no
%[4]s
%%description
Made for tests.
%%files
`

// build makes one .rpm.
func build(t *testing.T, top, name, version, release, tags string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".spec")
	if err := os.WriteFile(file, fmt.Appendf(nil, spec, name, version, release, tags), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "rpmbuild", "--quiet", "--define", "_topdir "+top, "-bb", file)
	return filepath.Join(top, "RPMS", "noarch", fmt.Sprintf("%s-%s-%s.noarch.rpm", name, version, release))
}

// rpmRoot is a root that the host's rpm keeps.
type rpmRoot struct {
	t    *testing.T
	dir  string
	args []string
}

func newRoot(t *testing.T) *rpmRoot {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--root", dir, "--define", "_dbpath /var/lib/rpm"}
	if os.Getuid() != 0 { // only root may change its root
		args = []string{"--dbpath", filepath.Join(dir, "var/lib/rpm")}
	}
	return &rpmRoot{t: t, dir: dir, args: append(args, "--define", "_db_backend sqlite", "--noplugins")}
}

func (r *rpmRoot) rpm(args ...string) string {
	r.t.Helper()
	return tool(r.t, "rpm", append(slices.Clone(r.args), args...)...)
}

func (r *rpmRoot) database() string { return filepath.Join(r.dir, "var/lib/rpm/rpmdb.sqlite") }

func buildAll(t *testing.T) []string {
	t.Helper()
	top := t.TempDir()
	return []string{
		build(t, top, "plain", "1.0", "1.el9", ""),
		build(t, top, "epoch", "2.0~rc1", "3.el9", "Epoch: 5\nVendor: Example Packages"),
		build(t, top, "modular", "18.17.1", "1.module_el9", "ModularityLabel: nodejs:18:9020020230825080832:rhel9"),
		build(t, top, "caret", "1.0^git20240101", "1", ""),
	}
}

func TestReadWhatRpmMade(t *testing.T) {
	root := newRoot(t)
	root.rpm(append([]string{"-i", "--nodeps", "--justdb"}, buildAll(t)...)...)
	root.rpm("-e", "--justdb", "plain")

	got := rpm.Read(t.Context(), os.DirFS(root.dir), "")
	want := expected(root.rpm("-qa", "--qf", queryFormat))
	if len(want) != 3 {
		t.Fatalf("rpm shows %q, want three packages", want)
	}
	if d := cmp.Diff(want, shown(got.Packages)); d != "" || len(got.Gaps) > 0 {
		t.Errorf("gaps %v, packages (-rpm +got):\n%s", got.Gaps, d)
	}
}

// While a writer holds the database open, what it committed is in the log
// beside it. It must be read, and the log must still be there afterwards: rpm
// processes that have it open would lose it.
func TestReadWriteAheadLog(t *testing.T) {
	root := newRoot(t)
	root.rpm(append([]string{"-i", "--nodeps", "--justdb"}, buildAll(t)...)...)
	db, err := sql.Open("sqlite", root.database())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, q := range []string{
		"PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0",
		"DELETE FROM Packages WHERE hnum = (SELECT hnum FROM Name WHERE key = 'plain')",
	} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	before := listing(t, filepath.Dir(root.database()))
	if !strings.Contains(before, "rpmdb.sqlite-wal") {
		t.Fatalf("no log to read:\n%s", before)
	}
	got := rpm.Read(t.Context(), os.DirFS(root.dir), "")
	if len(got.Gaps) > 0 || len(got.Packages) != 3 {
		t.Errorf("%d packages, gaps %v, want the 3 that the log leaves", len(got.Packages), got.Gaps)
	}
	if after := listing(t, filepath.Dir(root.database())); after != before {
		t.Errorf("the database's directory changed:\n%s\nwas\n%s", after, before)
	}
}

// listing shows names, sizes and times of a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// place puts content in a root as a database.
func place(t testing.TB, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	p := filepath.Join(dir, "var/lib/rpm", name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadFixtures(t *testing.T) {
	want := expected(string(fixture(t, "rpm-qa.txt")))
	for _, name := range []string{"Packages.db", "Packages"} {
		t.Run(name, func(t *testing.T) {
			root := place(t, name, fixture(t, name))
			got := rpm.Read(t.Context(), os.DirFS(root), "")
			if d := cmp.Diff(want, shown(got.Packages)); d != "" || len(got.Gaps) > 0 {
				t.Errorf("gaps %v, packages (-rpm +got):\n%s", got.Gaps, d)
			}
		})
	}
}

// The host's rpm reads the Berkeley DB fixture as we do.
func TestReadFixtureAsRpmDoes(t *testing.T) {
	root := place(t, "Packages", fixture(t, "Packages"))
	out := tool(t, "rpm", "--dbpath", filepath.Join(root, "var/lib/rpm"), "--define", "_db_backend bdb_ro", "-qa", "--qf", queryFormat)
	if d := cmp.Diff(expected(out), expected(string(fixture(t, "rpm-qa.txt")))); d != "" {
		t.Errorf("packages (-rpm +fixture):\n%s", d)
	}
}

// go-rpmdb passes over headers that fit their hash page. They are counted.
func TestReadInlineHeaders(t *testing.T) {
	root := place(t, "Packages", fixture(t, "inline/Packages"))
	got := rpm.Read(t.Context(), os.DirFS(root), "")
	if len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapUnsupported || !strings.HasPrefix(got.Gaps[0].Detail, "5 headers") {
		t.Errorf("gaps %+v, want 5 headers that cannot be seen", got.Gaps)
	}
}

// damage lists ways to break a database, and what must be said of each.
func TestReadDamaged(t *testing.T) {
	ndb, bdb := fixture(t, "Packages.db"), fixture(t, "Packages")
	sqlite := sqliteFile(t, 4096)
	patch := func(b []byte, at int, v ...byte) []byte {
		b = slices.Clone(b)
		copy(b[at:], v)
		return b
	}
	le := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	over := slices.Index(pageTypes(bdb), 7)
	hash := slices.Index(pageTypes(bdb), 13)
	zeroed := func(b []byte, from, to int) []byte {
		b = slices.Clone(b)
		clear(b[from:to])
		return b
	}
	for _, tc := range []struct {
		name, file string
		content    []byte
		kind       string
	}{
		{"empty sqlite", "rpmdb.sqlite", nil, schema.GapTruncated},
		{"short sqlite", "rpmdb.sqlite", sqlite[:10], schema.GapTruncated},
		{"text for sqlite", "rpmdb.sqlite", []byte(strings.Repeat("no database ", 100)), schema.GapCorrupt},
		{"half of sqlite", "rpmdb.sqlite", sqlite[:len(sqlite)/2], schema.GapCorrupt},
		{"sqlite without its tail", "rpmdb.sqlite", zeroed(sqlite, 4096, len(sqlite)), schema.GapCorrupt},
		{"empty ndb", "Packages.db", nil, schema.GapTruncated},
		{"half of ndb", "Packages.db", ndb[:len(ndb)/2], schema.GapTruncated},
		{"other ndb version", "Packages.db", patch(ndb, 4, le(9)...), schema.GapUnsupported},
		{"ndb of a million pages", "Packages.db", patch(ndb, 12, le(1_000_000)...), schema.GapTruncated},
		{"ndb slot mark", "Packages.db", patch(ndb, 32, 'x'), schema.GapCorrupt},
		{"ndb slot into nowhere", "Packages.db", patch(ndb, 32+8, le(0xffffffff)...), schema.GapTruncated},
		{"ndb content", "Packages.db", patch(ndb, bytes.Index(ndb, []byte("modular")), 'M'), schema.GapCorrupt},
		{"empty bdb", "Packages", nil, schema.GapTruncated},
		{"half of bdb", "Packages", bdb[:len(bdb)/2], schema.GapTruncated},
		{"bdb magic", "Packages", patch(bdb, 12, 'x'), schema.GapCorrupt},
		{"bdb encrypted", "Packages", patch(bdb, 24, 1), schema.GapUnsupported},
		{"bdb page size", "Packages", patch(bdb, 20, le(100)...), schema.GapCorrupt},
		{"bdb chain in a circle", "Packages", patch(bdb, over*512+16, le(uint32(over))...), schema.GapCorrupt},
		{"bdb chain into nowhere", "Packages", patch(bdb, over*512+16, le(0xffffff)...), schema.GapCorrupt},
		{"bdb chain page of another type", "Packages", patch(bdb, over*512+25, 1), schema.GapCorrupt},
		{"bdb more entries than fit", "Packages", patch(bdb, hash*512+20, 0xfe, 0xff), schema.GapCorrupt},
		{"bdb odd entries", "Packages", patch(bdb, hash*512+20, 1, 0), schema.GapCorrupt},
		{"bdb entry outside its page", "Packages", patch(bdb, hash*512+28, 0xff, 0xff), schema.GapCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := rpm.Read(t.Context(), os.DirFS(place(t, tc.file, tc.content)), "")
			if len(got.Gaps) == 0 || !got.Found || got.Gaps[0].Kind != tc.kind || got.Gaps[0].Path != "/var/lib/rpm/"+tc.file {
				t.Errorf("found %v, gaps %+v, want a %s one of %s", got.Found, got.Gaps, tc.kind, tc.file)
			}
		})
	}
}

// pageTypes lists the type of each 512-byte page of a Berkeley DB file.
func pageTypes(b []byte) []byte {
	var types []byte
	for at := 0; at+26 <= len(b); at += 512 {
		types = append(types, b[at+25])
	}
	return types
}

// sqliteFile is a database by rpm in one file, in pages so small that every
// header fills a chain of them.
func sqliteFile(t *testing.T, pageSize int) []byte {
	t.Helper()
	root := newRoot(t)
	root.rpm(append([]string{"-i", "--nodeps", "--justdb"}, buildAll(t)...)...)
	db, err := sql.Open("sqlite", root.database())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"PRAGMA journal_mode = DELETE", fmt.Sprintf("PRAGMA page_size = %d", pageSize), "VACUUM"} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(root.database())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// When SQLite finds a chain of pages broken, go-rpmdb ends its list as if it were
// whole. Wherever the file is damaged: all packages, or a gap.
func TestReadBrokenChains(t *testing.T) {
	const pageSize = 512
	whole := sqliteFile(t, pageSize)
	want := shown(rpm.Read(t.Context(), os.DirFS(place(t, "rpmdb.sqlite", whole)), "").Packages)
	if len(want) != 4 {
		t.Fatalf("the whole file holds %q, want four packages", want)
	}
	silent := 0
	for at := pageSize; at < len(whole); at += pageSize {
		broken := slices.Clone(whole)
		copy(broken[at:], []byte{0xff, 0xff, 0xff, 0xff}) // the next page of a chain
		got := rpm.Read(t.Context(), os.DirFS(place(t, "rpmdb.sqlite", broken)), "")
		if len(got.Gaps) == 0 && !slices.Equal(shown(got.Packages), want) {
			t.Errorf("page at %d: %d packages and no gap", at, len(got.Packages))
		}
		if len(got.Gaps) == 1 && strings.HasPrefix(got.Gaps[0].Detail, "holds 4 headers") {
			silent++
		}
	}
	t.Logf("%d of %d damages end go-rpmdb's list in silence", silent, len(whole)/pageSize-1)
	if silent == 0 {
		t.Error("no damage ends go-rpmdb's list: this test tests nothing")
	}
}

// A Packages that yields what it likes instead of storing it.
func TestReadHostileSQLite(t *testing.T) {
	for name, statements := range map[string][]string{
		"an endless view": {
			"CREATE VIEW Packages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i AS hnum, zeroblob(1000000) AS blob FROM n",
		},
		"a computed column": {
			"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(1000000000)))", "INSERT INTO Packages(hnum) VALUES (1)",
		},
		"a virtual table": {"CREATE VIRTUAL TABLE Packages USING fts5(blob)"},
		"text":            {"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages VALUES (1, 'bash')"},
		"no table":        {"CREATE TABLE Other (x)"},
		"nothing stored":  {"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages VALUES (1, NULL)"},
		"a short header":  {"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages VALUES (1, x'0000')"},
	} {
		t.Run(name, func(t *testing.T) {
			root := place(t, "rpmdb.sqlite", nil)
			db, err := sql.Open("sqlite", filepath.Join(root, "var/lib/rpm/rpmdb.sqlite"))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range statements {
				if _, err := db.ExecContext(t.Context(), s); err != nil {
					t.Fatalf("%s: %v", s, err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			got := rpm.Read(t.Context(), os.DirFS(root), "")
			if len(got.Packages) != 0 || len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapCorrupt {
				t.Errorf("packages %v, gaps %+v, want one corrupt", got.Packages, got.Gaps)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	root := os.DirFS(place(t, "Packages.db", fixture(t, "Packages.db")))
	for name, l := range map[string]rpm.Limits{
		"database": {Database: 1000, Header: 1 << 20, Packages: 10, Gaps: 10},
		"header":   {Database: 1 << 20, Header: 100, Packages: 10, Gaps: 10},
		"packages": {Database: 1 << 20, Header: 1 << 20, Packages: 2, Gaps: 10},
	} {
		t.Run(name, func(t *testing.T) {
			got := l.Read(t.Context(), root, "")
			if len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapTruncated {
				t.Errorf("gaps %+v, want one truncated", got.Gaps)
			}
		})
	}
}

func TestReadKeepsUntilChanged(t *testing.T) {
	root, cache := newRoot(t), t.TempDir()
	if err := os.Chmod(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	rpms := buildAll(t)
	root.rpm(append([]string{"-i", "--nodeps", "--justdb"}, rpms[:2]...)...)
	read := func() rpm.Result { return rpm.Read(t.Context(), os.DirFS(root.dir), cache) }

	first := read()
	if second := read(); second.Reused != 0 {
		t.Error("used again within the time in which a change could look the same")
	}
	settle := func() {
		old := time.Now().Add(-time.Hour)
		for _, side := range []string{"", "-wal"} {
			if err := os.Chtimes(root.database()+side, old, old); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	settle()
	if r := read(); r.Reused != 0 { // other times: read, and kept
		t.Error("used again although its times changed")
	}
	again := read()
	if again.Reused != 1 {
		t.Errorf("reused %d, want 1", again.Reused)
	}
	if d := cmp.Diff(shown(first.Packages), shown(again.Packages)); d != "" {
		t.Errorf("packages (-first +again):\n%s", d)
	}
	root.rpm("-i", "--nodeps", "--justdb", rpms[2])
	if r := read(); r.Reused != 0 || len(r.Packages) != 3 {
		t.Errorf("reused %d, %d packages after a change, want 0 and 3", r.Reused, len(r.Packages))
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".json" {
		t.Errorf("cache holds %v (%v), want only what was kept", left, err)
	}
	settle()
	read()
	if r := read(); r.Reused != 1 {
		t.Errorf("reused %d, want 1", r.Reused)
	}
	if err := os.Chmod(cache, 0o777); err != nil {
		t.Fatal(err)
	}
	if r := read(); r.Reused != 0 || len(r.Packages) != 3 {
		t.Errorf("reused %d from a directory anyone can write in", r.Reused)
	}
}

func TestReadBrokenKept(t *testing.T) {
	root, cache := place(t, "Packages.db", fixture(t, "Packages.db")), t.TempDir()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(root, "var/lib/rpm/Packages.db"), old, old); err != nil {
		t.Fatal(err)
	}
	want := rpm.Read(t.Context(), os.DirFS(root), cache)
	files, err := filepath.Glob(filepath.Join(cache, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kept %v (%v), want one file", files, err)
	}
	for _, content := range []string{"", "{", "{}", `{"version":1,"path":"var/lib/rpm/Packages.db"}`} {
		if err := os.WriteFile(files[0], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := rpm.Read(t.Context(), os.DirFS(root), cache)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("kept %q (-want +got):\n%s", content, d)
		}
	}
}

func TestReadCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := newRoot(t)
	root.rpm("--initdb")
	if got := rpm.Read(ctx, os.DirFS(root.dir), ""); len(got.Gaps) == 0 {
		t.Errorf("a scan that was broken off has no gap")
	}
}

// Two databases: nothing of either may be missing, and it is said that there are
// two. Several names of one are one.
func TestReadSeveral(t *testing.T) {
	root := place(t, "Packages.db", fixture(t, "Packages.db"))
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/sysimage"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../var/lib/rpm", filepath.Join(root, "usr/lib/sysimage/rpm")); err != nil {
		t.Fatal(err)
	}
	if got := rpm.Read(t.Context(), os.DirFS(root), ""); len(got.Gaps) > 0 || len(got.Packages) != 4 {
		t.Errorf("one database by two names: %d packages, gaps %v", len(got.Packages), got.Gaps)
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/rpm/Packages"), fixture(t, "Packages"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := rpm.Read(t.Context(), os.DirFS(root), "")
	if len(got.Gaps) != 1 || got.Gaps[0].Kind != schema.GapUnsupported || len(got.Packages) != 8 {
		t.Errorf("two databases: %d packages, gaps %v", len(got.Packages), got.Gaps)
	}
}

func TestReadNothing(t *testing.T) {
	if got := rpm.Read(t.Context(), os.DirFS(t.TempDir()), ""); got.Found || len(got.Gaps) > 0 {
		t.Errorf("got %+v of an empty root", got)
	}
}

// sharedData returns a folder of the data beside the checkout.
func sharedData(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			data := filepath.Join(dir, "..", "shared", "data")
			if _, err := os.Stat(data); err != nil {
				t.Skipf("no real data beside the checkout: %v", err)
			}
			return filepath.Join(data, name)
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// Real databases, read as go-rpmdb's own parser reads them.
func TestReadRealDatabases(t *testing.T) {
	for _, name := range []string{
		"go-rpmdb/testdata/libuuid/Packages", "rpm/misc/rpmdb.sqlite",
		"grype/image-centos-match-coverage/var/lib/rpm/Packages", "grype/image-sles-match-coverage/var/lib/rpm/Packages",
	} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(sharedData(t, "rpmdb"), name))
			if err != nil {
				t.Fatal(err)
			}
			root := place(t, filepath.Base(name), content)
			got := rpm.Read(t.Context(), os.DirFS(root), "")
			want := library(t, filepath.Join(root, "var/lib/rpm", filepath.Base(name)))
			if d := cmp.Diff(want, shown(got.Packages)); d != "" || len(got.Gaps) > 0 {
				t.Errorf("gaps %v, packages (-go-rpmdb +got):\n%s", got.Gaps, d)
			}
			if len(want) == 0 {
				t.Error("go-rpmdb lists nothing")
			}
		})
	}
}

// library lists a database with go-rpmdb's own header parser.
func library(t *testing.T, path string) []string {
	t.Helper()
	db, err := rpmdb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := db.ListPackages()
	if err != nil {
		t.Fatal(err)
	}
	var ps []schema.Package
	for _, i := range list {
		if i.Name == "gpg-pubkey" {
			continue
		}
		source, version, _ := strings.Cut(strings.TrimSuffix(i.SourceRpm, ".src.rpm"), "-")
		ps = append(ps, schema.Package{
			Name: i.Name, Epoch: i.EpochNum(), Version: i.Version, Release: i.Release, Arch: i.Arch,
			Source: source, SourceVersion: version, Vendor: i.Vendor, Module: i.Modularitylabel, InstalledAt: int64(i.InstallTime),
		})
	}
	return shown(ps)
}

// rpm writes while the agent reads. Each reading is of one moment, or says that
// it could not be.
func TestReadWhileRpmWrites(t *testing.T) {
	root, rpms := newRoot(t), buildAll(t)
	root.rpm(append([]string{"-i", "--nodeps", "--justdb"}, rpms...)...)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, args := range [][]string{{"-e", "--justdb", "plain"}, {"-i", "--nodeps", "--justdb", rpms[0]}} {
				// Not through tool: a test must not be failed from here.
				if out, err := exec.Command("rpm", append(slices.Clone(root.args), args...)...).CombinedOutput(); err != nil {
					t.Errorf("rpm %v: %v\n%s", args, err, out)
					return
				}
			}
		}
	}()
	whole := 0
	for range 30 {
		got := rpm.Read(t.Context(), os.DirFS(root.dir), "")
		if n := len(got.Packages); len(got.Gaps) == 0 {
			whole++
			if n != 3 && n != 4 {
				t.Errorf("%d packages, want 3 or 4", n)
			}
		} else if !strings.Contains(got.Gaps[0].Detail, "kept changing") {
			t.Errorf("gaps %+v", got.Gaps)
		}
	}
	close(stop)
	<-done
	t.Logf("%d of 30 readings were whole", whole)
	if whole == 0 {
		t.Error("no reading was whole")
	}
}
