// Package dpkg reads the packages a dpkg database says are on a root file
// system, as dpkg-query would list them.
//
// It reads var/lib/dpkg/status, the updates a broken-off dpkg run left beside
// it, and the one-package files under var/lib/dpkg/status.d that images without
// a package manager carry. Install times are those of the file lists under
// var/lib/dpkg/info, which dpkg writes when it unpacks.
//
// Invariants:
//   - A stanza that cannot be read is a gap, and the stanzas after it are still
//     listed. A package is never left out in silence.
//   - A database cut short is told from a whole one: dpkg ends each stanza with
//     an empty line, and keeps a file list for every package it knows.
//   - Every size is bounded, see Limits; what is beyond a limit is a gap.
//   - Rows whose files are gone (not-installed, config-files) are not packages.
//
// Format: deb-control(5), dpkg-query(1).
package dpkg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "dpkg"

// Places of the database below a root.
const (
	adminDir   = "var/lib/dpkg"
	statusFile = adminDir + "/status"
	updatesDir = adminDir + "/updates"
	statusDir  = adminDir + "/status.d"
	infoDir    = adminDir + "/info"
)

// Limits bound what is read.
type Limits struct {
	// File is the most bytes of one file, Line of one field's line.
	File, Line int
	// Packages is the most packages, Entries the most names in one directory.
	Packages, Entries int
	// Gaps is the most gaps told one by one.
	Gaps int
}

// DefaultLimits are far beyond the largest status files we know of, near 10 MB.
var DefaultLimits = Limits{
	File: 256 << 20, Line: 1 << 20,
	Packages: schema.MaxPackages, Entries: 4 * schema.MaxPackages, Gaps: 32,
}

// Result is what a root holds by dpkg's account.
type Result struct {
	Packages []schema.Package
	Gaps     []schema.Gap
	// Found says that there is a dpkg database at all, readable or not.
	Found bool
}

// Read reads the dpkg database below root.
func Read(root fs.FS) Result { return DefaultLimits.Read(root) }

// Read reads the dpkg database below root within these limits. dpkg replaces its
// status file and then drops the updates merged into it, so what was read while
// that happened is read again.
func (l Limits) Read(root fs.FS) Result {
	const tries = 3
	var result Result
	for range tries {
		before := moment(root)
		result = l.readOnce(root)
		if moment(root) == before {
			break
		}
	}
	return result
}

// moment tells one state of the status file from the next.
func moment(root fs.FS) string {
	info, err := fs.Stat(root, statusFile)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}

func (l Limits) readOnce(root fs.FS) Result {
	r := &reader{root: root, limits: l, index: make(map[key]int, 1024), known: make(map[string]struct{}, 1024)}
	whole := r.readStatus()
	r.readUpdates()
	r.readStatusDir()
	if r.found {
		r.readFileLists(whole)
	}
	return Result{Packages: r.packages(), Gaps: r.gapList(), Found: r.found}
}

// key names a package within one database: dpkg keeps one instance of a name
// for each architecture.
type key struct{ name, arch string }

// record is a stanza as read; the package is listed only when installed.
type record struct {
	pkg       schema.Package
	installed bool
	multiArch bool // Multi-Arch: same, whose files carry the architecture
}

// reader gathers records from the files of one database.
type reader struct {
	root   fs.FS
	limits Limits

	found   bool
	records []record
	index   map[key]int
	known   map[string]struct{} // every name the database mentions
	gaps    []schema.Gap
	folded  int // gaps beyond the limit
}

// readStatus reads the status file and says whether it was all readable.
func (r *reader) readStatus() bool {
	err := r.readFile(statusFile, database)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	r.found = true
	if err != nil {
		r.gap(kindOf(err), statusFile, err.Error())
	}
	return err == nil
}

// readUpdates reads what a dpkg run noted but did not merge into the status
// file yet; each is newer than the status file, and than the one before it.
func (r *reader) readUpdates() {
	for _, name := range r.names(updatesDir) {
		if strings.Trim(name, "0123456789") != "" {
			continue // dpkg reads numbered files only
		}
		r.found = true
		p := path.Join(updatesDir, name)
		if err := r.readFile(p, update); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.gap(kindOf(err), p, err.Error())
		}
	}
}

// readStatusDir reads the one-package files of images built without dpkg.
func (r *reader) readStatusDir() {
	for _, name := range r.names(statusDir) {
		if strings.HasSuffix(name, ".md5sums") {
			continue
		}
		r.found = true
		p := path.Join(statusDir, name)
		if err := r.readFile(p, image); err != nil {
			r.gap(kindOf(err), p, err.Error())
		}
	}
}

// names lists a directory in order. One that is not there has no names.
func (r *reader) names(dir string) []string {
	names, err := readNames(r.root, dir, r.limits.Entries)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.found = true
		r.gap(kindOf(err), dir, err.Error())
	}
	slices.Sort(names)
	return names
}

func (r *reader) readFile(name string, kind fileKind) error {
	file, err := r.root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open %s: not a regular file", name)
	}
	p := newParser(file, name, kind, r)
	return p.run()
}

// add keeps a stanza. A later one of the same name and architecture replaces
// the earlier, as updates do.
func (r *reader) add(rec record) error {
	k := key{rec.pkg.Name, rec.pkg.Arch}
	r.known[k.name] = struct{}{}
	if i, ok := r.index[k]; ok {
		r.records[i] = rec
		return nil
	}
	if len(r.records) >= r.limits.Packages {
		return errTooMany
	}
	r.index[k] = len(r.records)
	r.records = append(r.records, rec)
	return nil
}

func (r *reader) packages() []schema.Package {
	ps := make([]schema.Package, 0, len(r.records))
	for i := range r.records {
		if r.records[i].installed {
			ps = append(ps, r.records[i].pkg)
		}
	}
	return ps
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
			Extractor: Extractor, Kind: schema.GapCorrupt, Path: "/" + adminDir,
			Detail: fmt.Sprintf("%d more places could not be read", r.folded),
		})
	}
	return r.gaps
}

// Errors a file can end with.
var (
	errTooLarge = errors.New("larger than the agent reads")
	errTooMany  = errors.New("more packages than the agent reads")
	errCut      = errors.New("ends in the middle of a stanza")
)

func kindOf(err error) string {
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errTooMany), errors.Is(err, errCut):
		return schema.GapTruncated
	}
	return schema.GapUnreadable
}

// readNames returns at most limit names of a directory.
func readNames(root fs.FS, dir string, limit int) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := namesOf(f, limit+1)
	if err != nil && !errors.Is(err, io.EOF) {
		return names, fmt.Errorf("list %s: %w", dir, err)
	}
	if len(names) > limit {
		return names[:limit], fmt.Errorf("list %s: %w", dir, errTooLarge)
	}
	return names, nil
}

// namesOf prefers the call of *os.File that makes no fs.DirEntry for each name.
func namesOf(f fs.File, n int) ([]string, error) {
	if d, ok := f.(interface{ Readdirnames(n int) ([]string, error) }); ok {
		return d.Readdirnames(n)
	}
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, errors.New("not a directory")
	}
	entries, err := d.ReadDir(n)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}
