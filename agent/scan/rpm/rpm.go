// Package rpm reads the packages an rpm database says are on a root file
// system, as `rpm -qa` would list them.
//
// The database may be SQLite (rpmdb.sqlite), ndb (Packages.db) or Berkeley DB
// (Packages). Its container is read by go-rpmdb, always from a copy; each header
// is parsed here, for the few tags an inventory needs.
//
// Invariants:
//   - The live database is only ever read as a plain file. go-rpmdb and SQLite
//     open databases for writing, and as root could delete rpm's write-ahead
//     log; they see copies, see copyDatabase.
//   - go-rpmdb reads in goroutines of its own, where a panic cannot be
//     recovered, follows page chains without end and takes sizes on trust. So
//     the container is counted first, see census: bounds hold, chains end, and
//     it is known how many headers must come.
//   - A database that yields fewer headers than it holds is a gap. So is one
//     that cannot be read, and a header that cannot be parsed; the others are
//     still listed.
//   - Imported keys (gpg-pubkey) are not packages.
//
// Formats: rpm's docs/manual/format_header.md, lib/backend/ndb/rpmpkg.c;
// Berkeley DB's dbinc/db_page.h; https://www.sqlite.org/fileformat.html.
package rpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "rpm"

// Where distributions keep the database, the newest place first.
var dirs = []string{"usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"}

// Limits bound what is read.
type Limits struct {
	// Database is the most bytes of a database with its log, which is also what
	// a copy takes on disk while it is read.
	Database int64
	// Header is the most bytes of one package's header. rpm's own limit is
	// 256 MiB; the largest we know of, a kernel's, is near 2 MiB.
	Header int
	// Packages is the most packages.
	Packages int
	// Gaps is the most gaps told one by one.
	Gaps int
}

// DefaultLimits fit hosts with more than ten times the packages of a full
// desktop installation.
var DefaultLimits = Limits{Database: 2 << 30, Header: 32 << 20, Packages: schema.MaxPackages, Gaps: 32}

// Result is what a root holds by rpm's account.
type Result struct {
	Packages []schema.Package
	Gaps     []schema.Gap
	// Found says that there is an rpm database at all, readable or not.
	Found bool
	// Reused is how many databases had not changed since an earlier scan.
	Reused int
}

// Read reads the rpm database below root. Copies are made in cache, a directory
// only the agent can write in, and removed; what was read is kept there and used
// again until the database changes. When cache is empty, or others can write in
// it, copies are made in a temporary directory and nothing is kept.
func Read(ctx context.Context, root fs.FS, cache string) Result {
	return DefaultLimits.Read(ctx, root, cache)
}

// Read reads the rpm database below root within these limits, see Read.
func (l Limits) Read(ctx context.Context, root fs.FS, cache string) Result {
	r := &reader{root: root, limits: l}
	found := r.find()
	if len(found) == 0 {
		return Result{Gaps: r.gaps, Found: len(r.gaps) > 0}
	}
	reuse := cache != "" && private(cache)
	if !reuse {
		dir, err := os.MkdirTemp("", "patchproof-rpm-")
		if err != nil {
			r.gap(schema.GapUnreadable, found[0].path, fmt.Sprintf("make a directory for a copy: %v", err))
			return Result{Gaps: r.gaps, Found: true}
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cache = dir
	}
	for _, db := range found {
		r.add(ctx, db, cache, reuse)
	}
	return Result{Packages: r.packages, Gaps: r.gapList(), Found: true, Reused: r.reused}
}

// backend is a kind of database, by its file name.
type backend struct {
	file   string
	census func(ctx context.Context, path string, l Limits) (count, error)
	open   func(path string) (source, error)
	// sides are files that belong to the database, by suffix.
	sides []string
}

// The backends, the newest first.
var backends = []backend{
	{file: "rpmdb.sqlite", census: censusSQLite, open: openSQLite, sides: []string{"-wal", "-journal"}},
	{file: "Packages.db", census: censusNDB, open: openNDB},
	{file: "Packages", census: censusBDB, open: openBDB},
}

// database is one found below the root.
type database struct {
	backend

	path string
	info fs.FileInfo
}

// reader gathers packages and gaps.
type reader struct {
	root     fs.FS
	limits   Limits
	packages []schema.Package
	gaps     []schema.Gap
	folded   int
	reused   int
}

// find returns the databases of the root, those that several names lead to once.
// There should be one. Which of several rpm uses is its configuration's secret,
// so packages of all are listed, and a gap says so.
func (r *reader) find() []database {
	var found []database
	var paths []string
	for _, dir := range dirs {
		for _, b := range backends {
			db, ok := r.look(path.Join(dir, b.file), b)
			if ok && !known(found, db) {
				found, paths = append(found, db), append(paths, "/"+db.path)
			}
		}
	}
	if len(found) > 1 {
		r.gap(schema.GapUnsupported, found[0].path,
			"more than one database, packages of all are listed: "+strings.Join(paths, ", "))
	}
	return found
}

func (r *reader) look(name string, b backend) (database, bool) {
	info, err := fs.Stat(r.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return database{}, false
	case err != nil:
		r.gap(schema.GapUnreadable, name, err.Error())
		return database{}, false
	case !info.Mode().IsRegular():
		r.gap(schema.GapUnreadable, name, "not a regular file")
		return database{}, false
	}
	return database{backend: b, path: name, info: info}, true
}

func known(found []database, db database) bool {
	for _, f := range found {
		if os.SameFile(f.info, db.info) {
			return true
		}
	}
	return false
}

// add adds one database's packages: those read earlier when it has not changed,
// otherwise those of a copy, which is removed again.
func (r *reader) add(ctx context.Context, db database, cache string, reuse bool) {
	if reuse {
		if packages, ok := r.recall(db, cache); ok {
			r.packages = append(r.packages, packages...)
			r.reused++
			return
		}
	}
	file, state, err := r.copyDatabase(ctx, db, cache)
	if err != nil {
		r.gap(kindOf(err), db.path, fmt.Sprintf("copy the database: %v", err))
		return
	}
	defer func() { _ = removeCopy(db, file) }()
	before, gaps := len(r.packages), len(r.gaps)+r.folded
	r.read(ctx, db, file)
	if reuse && len(r.gaps)+r.folded == gaps {
		_ = keep(db, cache, state, r.packages[before:]) // the next scan reads it again
	}
}

// read adds the packages of the copy file. This is the boundary to go-rpmdb and
// the SQLite driver: a panic in their code on this goroutine is damage they did
// not expect, and must not keep the host from stating everything else. The census
// is what keeps go-rpmdb's own goroutine from panicking.
func (r *reader) read(ctx context.Context, db database, file string) {
	defer func() {
		if p := recover(); p != nil {
			r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("reading the database panicked: %v", p))
		}
	}()
	want, err := db.census(ctx, file, r.limits)
	if err != nil {
		r.gap(kindOf(err), db.path, err.Error())
		return
	}
	if want.unseen > 0 {
		r.gap(schema.GapUnsupported, db.path, fmt.Sprintf("%d headers stored in a way the reader cannot see", want.unseen))
	}
	if want.damaged > 0 {
		r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("%d headers do not match their checksum", want.damaged))
	}
	got, err := r.headers(db, file)
	if err != nil {
		r.gap(schema.GapCorrupt, db.path, err.Error())
	}
	if got != want.headers {
		r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("holds %d headers, %d could be read", want.headers, got))
	}
}

// headers reads every header of the copy and returns how many came.
func (r *reader) headers(db database, file string) (int, error) {
	src, err := db.open(file)
	if err != nil {
		return 0, fmt.Errorf("open the copy: %w", err)
	}
	defer func() { _ = src.Close() }()
	n := 0
	// The channel is always read to its end: the goroutine behind it would
	// otherwise wait for ever.
	for entry := range src.Read() {
		if entry.Err != nil {
			err = errors.Join(err, entry.Err)
			continue
		}
		n++
		r.header(db, n, entry.Value)
	}
	return n, err
}

// header adds the package of one header.
func (r *reader) header(db database, n int, blob []byte) {
	if len(blob) > r.limits.Header {
		r.gap(schema.GapTruncated, db.path, fmt.Sprintf("header %d: %d bytes, at most %d are read", n, len(blob), r.limits.Header))
		return
	}
	p, err := parseHeader(blob)
	switch {
	case errors.Is(err, errNotPackage):
	case err != nil:
		r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("header %d (package %.60q): %v", n, p.Name, err))
	case len(r.packages) >= r.limits.Packages:
		r.gap(schema.GapTruncated, db.path, fmt.Sprintf("package %.60q: more packages than the agent reads", p.Name))
	default:
		r.packages = append(r.packages, p)
	}
}

func (r *reader) gap(kind, name, detail string) {
	if len(r.gaps) >= r.limits.Gaps {
		r.folded++
		return
	}
	r.gaps = append(r.gaps, schema.Gap{Extractor: Extractor, Kind: kind, Path: "/" + name, Detail: detail})
}

func (r *reader) gapList() []schema.Gap {
	if r.folded > 0 {
		r.gaps = append(r.gaps, schema.Gap{
			Extractor: Extractor, Kind: schema.GapCorrupt,
			Detail: fmt.Sprintf("%d more places could not be read", r.folded),
		})
	}
	return r.gaps
}

// Errors a database is refused with.
var (
	errTruncated   = errors.New("the database ends early")
	errTooLarge    = errors.New("larger than the agent reads")
	errUnsupported = errors.New("not supported")
	errCorrupt     = errors.New("the database is damaged")
)

func kindOf(err error) string {
	switch {
	case errors.Is(err, errTruncated), errors.Is(err, errTooLarge):
		return schema.GapTruncated
	case errors.Is(err, errUnsupported):
		return schema.GapUnsupported
	case errors.Is(err, errCorrupt):
		return schema.GapCorrupt
	case errors.Is(err, context.DeadlineExceeded):
		return schema.GapTimeout
	}
	return schema.GapUnreadable
}

// sourceOf splits SOURCERPM, NAME-VERSION-RELEASE.src.rpm.
func sourceOf(file string) (name, version string, ok bool) {
	s, ok := strings.CutSuffix(file, ".rpm")
	if !ok {
		return "", "", false
	}
	i := strings.LastIndexByte(s, '.') // .src, .nosrc
	if i < 0 {
		return "", "", false
	}
	s = s[:i]
	release := strings.LastIndexByte(s, '-')
	if release <= 0 {
		return "", "", false
	}
	v := strings.LastIndexByte(s[:release], '-')
	if v <= 0 || v+1 == release || release+1 == len(s) {
		return "", "", false
	}
	return s[:v], s[v+1:], true
}
