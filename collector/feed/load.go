// Package feed brings publishers' documents in: it tells what a file or a
// directory is, has the right parser read it, and applies the batches, or holds
// those that would take something away.
//
// Invariants:
//   - What a file is follows from its bytes, never from its name.
//   - A document is read whole and without fault, or nothing of it is used.
//   - A snapshot that is empty, has shrunk, or no longer names a vulnerability
//     that somebody has is held until a person confirms it (see Importer).
//   - A record that is gone from a snapshot closes nothing. Only one that its
//     publisher has withdrawn does.
package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/cve"
	"github.com/patchproof/patchproof/collector/feed/epss"
	"github.com/patchproof/patchproof/collector/feed/kev"
	"github.com/patchproof/patchproof/collector/feed/osv"
	"github.com/patchproof/patchproof/collector/feed/unpack"
	"github.com/patchproof/patchproof/collector/feed/updateinfo"
	"github.com/patchproof/patchproof/collector/inventory"
)

// Options choose what is kept.
type Options struct {
	// Keep says which releases to keep; nil keeps all.
	Keep func(inventory.Release) bool
}

// Expected says what Load reads, for messages.
const Expected = "an OSV record, archive (all.zip) or directory; Amazon Linux updateinfo.xml[.gz] or a directory with repomd.xml; " +
	"CISA's KEV catalogue in JSON; EPSS scores in CSV[.gz]; CVE records in JSON or JSON Lines, an archive or a directory of them"

// ErrUnknown says that the bytes are of no format we read.
var ErrUnknown = errors.New("not a feed we read")

// Load reads a file or a directory and returns its batches. A directory may be
// one feed (a directory of OSV records, a repository with repomd.xml) or hold
// several files and directories that are.
func Load(name string, o Options) ([]advisory.Batch, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("load feed: %w", err)
	}
	var batches []advisory.Batch
	if st.IsDir() {
		batches, err = loadDir(name, o)
	} else {
		batches, err = loadFile(name, st, o)
	}
	if err != nil {
		return nil, fmt.Errorf("load feed: %s: %w", name, withHint(err))
	}
	return batches, nil
}

func withHint(err error) error {
	if errors.Is(err, ErrUnknown) || errors.Is(err, unpack.ErrEmpty) {
		return fmt.Errorf("%w; want %s", err, Expected)
	}
	return err
}

// loadFile reads one file.
func loadFile(name string, st fs.FileInfo, o Options) ([]advisory.Batch, error) {
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	k, err := sniff(f, st.Size())
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return parse(k, f, st.Size(), filepath.Base(name), o)
}

// kind is what a file's bytes say it is.
type kind int

const (
	kindUnknown kind = iota
	kindOSV
	kindOSVZip
	kindCVE
	kindCVEZip
	kindKEV
	kindEPSS
	kindUpdateinfo
	kindRepoZip
)

func parse(k kind, f *os.File, size int64, name string, o Options) ([]advisory.Batch, error) {
	var b advisory.Batch
	var err error
	switch k {
	case kindOSVZip:
		b, err = osv.ParseZip(f, size, osv.Options(o))
	case kindCVEZip:
		b, err = cve.ParseZip(f, size)
	case kindKEV:
		b, err = kev.Parse(f)
	case kindEPSS:
		b, err = epss.Parse(f)
	case kindUpdateinfo:
		b, err = updateinfo.Parse(f, name, updateinfo.Options(o))
	case kindRepoZip:
		b, err = parseRepoZip(f, size, o)
	case kindCVE:
		b, err = cve.Parse(f)
	case kindOSV:
		return parseRecord(f, o)
	default:
		err = ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	return []advisory.Batch{b}, nil
}

// parseRecord reads one OSV record: an upsert.
func parseRecord(r io.Reader, o Options) ([]advisory.Batch, error) {
	text, err := unpack.Stream(r)
	if err != nil {
		return nil, err
	}
	doc, err := io.ReadAll(io.LimitReader(text, unpack.MaxRecord+1))
	if err != nil {
		return nil, err
	}
	b, err := osv.ParseOne(doc)
	if err != nil {
		return nil, err
	}
	batches := osv.Split(b)
	if o.Keep != nil {
		batches = slices.DeleteFunc(batches, func(b advisory.Batch) bool {
			return !slices.ContainsFunc(b.Releases, o.Keep)
		})
	}
	return batches, nil
}

// sniff tells what a file is.
func sniff(f *os.File, size int64) (kind, error) {
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return kindUnknown, err
	}
	if bytes.HasPrefix(head[:n], []byte("PK")) {
		return sniffZip(f, size)
	}
	text, err := unpack.Stream(f)
	if err != nil {
		return kindUnknown, err
	}
	return sniffText(bufio.NewReaderSize(text, 64<<10))
}

func sniffZip(f *os.File, size int64) (kind, error) {
	rs, err := unpack.Zip(f, size)
	if err != nil {
		return kindUnknown, err
	}
	if isPackedRepository(rs) {
		return kindRepoZip, nil
	}
	name, doc, err := rs.First()
	if err != nil {
		return kindUnknown, err
	}
	if bytes.HasPrefix(doc, []byte("PK")) {
		return kindUnknown, fmt.Errorf("%q is an archive inside the archive; unpack the outer one first", name)
	}
	switch k, err := sniffText(bufio.NewReader(bytes.NewReader(doc))); {
	case err != nil:
		return kindUnknown, fmt.Errorf("%q: %w", name, err)
	case k == kindOSV:
		return kindOSVZip, nil
	case k == kindCVE:
		return kindCVEZip, nil
	default:
		return kindUnknown, fmt.Errorf("%q in the archive is neither an OSV nor a CVE record: %w", name, ErrUnknown)
	}
}

// maxRepository is how many files a packed repository's metadata may have.
const maxRepository = 64

// isPackedRepository tells an archive of a repository's metadata, as Documents
// packs it, by the name of its index.
func isPackedRepository(rs *unpack.Records) bool {
	if rs.Len() > maxRepository {
		return false
	}
	for i := range rs.Len() {
		if path.Base(rs.Name(i)) == "repomd.xml" {
			return true
		}
	}
	return false
}

func parseRepoZip(f *os.File, size int64, o Options) (advisory.Batch, error) {
	rs, err := unpack.Zip(f, size)
	if err != nil {
		return advisory.Batch{}, err
	}
	return updateinfo.ParseRepo(rs.FS(), updateinfo.Options(o))
}

// loadDir reads a directory.
func loadDir(name string, o Options) ([]advisory.Batch, error) {
	for _, md := range []string{"repomd.xml", "repodata/repomd.xml"} {
		if _, err := os.Stat(filepath.Join(name, md)); err == nil {
			b, err := updateinfo.ParseRepo(os.DirFS(name), updateinfo.Options(o))
			if err != nil {
				return nil, err
			}
			return []advisory.Batch{b}, nil
		}
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	k, err := recordsOf(name, entries)
	if err != nil {
		return nil, err
	}
	switch k {
	case kindOSV:
		b, err := osv.ParseDir(os.DirFS(name), osv.Options(o))
		if err != nil {
			return nil, err
		}
		return []advisory.Batch{b}, nil
	case kindCVE:
		b, err := cve.ParseDir(os.DirFS(name))
		if err != nil {
			return nil, err
		}
		return []advisory.Batch{b}, nil
	default:
		return loadEach(name, entries, o)
	}
}

// loadEach reads a directory of several feeds.
func loadEach(dir string, entries []fs.DirEntry, o Options) ([]advisory.Batch, error) {
	var batches []advisory.Batch
	for _, e := range entries {
		if aside(e) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		st, err := e.Info()
		if err != nil {
			return nil, err
		}
		var more []advisory.Batch
		if e.IsDir() {
			more, err = loadDir(name, o)
		} else {
			more, err = loadFile(name, st, o)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", e.Name(), err)
		}
		batches = append(batches, more...)
	}
	if len(batches) == 0 {
		return nil, fmt.Errorf("the directory %w", unpack.ErrEmpty)
	}
	return batches, nil
}

// aside reports what people lay beside feeds: notes, licences, checksums, and
// hidden files. Anything else that is no feed is an error.
func aside(e fs.DirEntry) bool {
	name := e.Name()
	if strings.HasPrefix(name, ".") {
		return true
	}
	if e.IsDir() {
		return false
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".md", ".txt", ".asc", ".sig", ".sha256":
		return true
	}
	return name == "LICENSE" || name == "README" || name == "SHA256SUMS"
}

// recordsOf tells whether a directory is one of records: the first .json file,
// here or in the first directory that has one, is an OSV or a CVE record, and
// nothing else lies beside it that is a feed of its own.
func recordsOf(dir string, entries []fs.DirEntry) (kind, error) {
	first := kindUnknown
	for _, e := range entries {
		switch {
		case aside(e):
			continue
		case e.IsDir() && first == kindUnknown:
			below, err := os.ReadDir(filepath.Join(dir, e.Name()))
			if err != nil {
				return kindUnknown, err
			}
			if first, err = recordsOf(filepath.Join(dir, e.Name()), below); err != nil || first == kindUnknown {
				return kindUnknown, err
			}
		case e.IsDir():
		case path.Ext(e.Name()) != ".json":
			return kindUnknown, nil
		case first == kindUnknown:
			k, err := sniffFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return kindUnknown, fmt.Errorf("%q: %w", e.Name(), err)
			}
			if k != kindOSV && k != kindCVE {
				return kindUnknown, nil
			}
			first = k
		}
	}
	return first, nil
}

func sniffFile(name string) (kind, error) {
	f, err := os.Open(name)
	if err != nil {
		return kindUnknown, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return kindUnknown, err
	}
	return sniff(f, st.Size())
}
