package unpack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zip"
)

// Workers is how many records are read at once.
const Workers = 2

// Records are the files of an archive or of a directory, in order of name.
type Records struct {
	entries []entry
	digest  func() (string, error)
	fsys    fs.FS
	// packed is the size of the whole archive, 0 for a directory. Entries may
	// overlap, so theirs do not add up to it.
	packed int64
}

type entry struct {
	name string
	// packed is the size in the archive, 0 when the file is plain.
	packed int64
	open   func() (io.ReadCloser, error)
}

// Zip reads an archive's table of contents. Every file in it is a record.
func Zip(r io.ReaderAt, size int64) (*Records, error) {
	if size == 0 {
		return nil, ErrEmpty
	}
	gate := &gate{r: r, left: maxDirectory}
	zr, err := zip.NewReader(gate, size)
	if err != nil {
		return nil, fmt.Errorf("read the archive's table of contents: %w", err)
	}
	gate.open = true
	if len(zr.File) > MaxEntries {
		return nil, &LimitError{What: "the number of entries", Limit: MaxEntries}
	}
	rs := &Records{
		fsys:   zr,
		packed: size,
		digest: func() (string, error) { return Digest(io.NewSectionReader(r, 0, size)) },
	}
	for _, f := range zr.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		rs.entries = append(rs.entries, entry{name: f.Name, packed: int64(f.CompressedSize64), open: f.Open})
	}
	if len(rs.entries) == 0 {
		return nil, fmt.Errorf("the archive %w", ErrEmpty)
	}
	return rs, rs.sort()
}

// Dir lists the ".json" files of a directory and of those below it. Links are
// not followed.
func Dir(fsys fs.FS) (*Records, error) {
	rs := &Records{fsys: fsys}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() || path.Ext(name) != ".json" {
			return nil
		}
		if len(rs.entries) == MaxEntries {
			return &LimitError{What: "the number of files", Limit: MaxEntries}
		}
		rs.entries = append(rs.entries, entry{name: name, open: func() (io.ReadCloser, error) { return fsys.Open(name) }})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the directory: %w", err)
	}
	if len(rs.entries) == 0 {
		return nil, fmt.Errorf("the directory has no .json file: it %w", ErrEmpty)
	}
	rs.digest = rs.digestFiles
	return rs, rs.sort()
}

// sort orders the records by name and refuses a name that is there twice.
func (rs *Records) sort() error {
	slices.SortStableFunc(rs.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(rs.entries); i++ {
		if rs.entries[i].name == rs.entries[i-1].name {
			return fmt.Errorf("%q is there twice", rs.entries[i].name)
		}
	}
	return nil
}

// FS is the archive or the directory itself. What is read of it is bounded by
// whoever reads.
func (rs *Records) FS() fs.FS { return rs.fsys }

// Len is the number of records.
func (rs *Records) Len() int { return len(rs.entries) }

// Digest is the SHA-256 (hex) of the archive's bytes, or for a directory of the
// sorted list "digest  name\n" of its files.
func (rs *Records) Digest() (string, error) { return rs.digest() }

// First returns the first record, to see what kind they are.
func (rs *Records) First() (string, []byte, error) {
	var buf bytes.Buffer
	if err := rs.entries[0].read(&buf); err != nil {
		return "", nil, err
	}
	return rs.entries[0].name, buf.Bytes(), nil
}

// Each calls visit for every record, from Workers goroutines at once; worker
// says which, index the record's place in order. The body is only valid during
// the call and has no byte order mark. The error is that of the first faulty
// record in order, with its name, whatever the scheduling.
func (rs *Records) Each(visit func(worker, index int, body []byte) error) error {
	var (
		next, total atomic.Int64
		stop        atomic.Bool
		mu          sync.Mutex
		wg          sync.WaitGroup
		first       error
		firstIndex  int
	)
	work := func(worker int) {
		var buf bytes.Buffer
		for !stop.Load() {
			i := int(next.Add(1)) - 1
			if i >= len(rs.entries) {
				return
			}
			err := rs.entries[i].read(&buf)
			if err == nil {
				err = rs.inflated(total.Add(int64(buf.Len())))
			}
			body := bytes.TrimPrefix(buf.Bytes(), bom)
			switch {
			case err != nil:
			case len(body) == 0:
				err = ErrEmpty
			default:
				err = visit(worker, i, body)
			}
			if err == nil {
				continue
			}
			stop.Store(true)
			mu.Lock()
			if first == nil || i < firstIndex {
				first, firstIndex = fmt.Errorf("%q: %w", rs.entries[i].name, err), i
			}
			mu.Unlock()
			return
		}
	}
	for w := range Workers {
		wg.Go(func() { work(w) })
	}
	wg.Wait()
	return first
}

// Name of a record, for messages; quote it.
func (rs *Records) Name(index int) string { return rs.entries[index].name }

func (rs *Records) inflated(total int64) error {
	if total > MaxTotal {
		return &LimitError{What: "the inflated size of all records in bytes", Limit: MaxTotal}
	}
	if rs.packed > 0 {
		return ratio(total, rs.packed)
	}
	return nil
}

func (e entry) read(buf *bytes.Buffer) error {
	rc, err := e.open()
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }()
	buf.Reset()
	n, err := buf.ReadFrom(io.LimitReader(rc, e.limit()+1))
	switch {
	case n > MaxRecord:
		return &LimitError{What: "the record's size in bytes", Limit: MaxRecord}
	case n > e.limit():
		return &LimitError{What: "the ratio of inflated to packed bytes", Limit: MaxRatio}
	case err != nil:
		return fmt.Errorf("read after %d bytes: %w", n, err)
	case n == 0:
		return ErrEmpty
	}
	return nil
}

// limit is what the record may inflate to.
func (e entry) limit() int64 {
	if e.packed == 0 {
		return MaxRecord
	}
	return min(MaxRecord, max(ratioFloor, e.packed*MaxRatio))
}

func (rs *Records) digestFiles() (string, error) {
	list := sha256.New()
	for _, e := range rs.entries {
		rc, err := e.open()
		if err != nil {
			return "", err
		}
		sum, err := Digest(rc)
		_ = rc.Close()
		if err != nil {
			return "", fmt.Errorf("%q: %w", e.name, err)
		}
		fmt.Fprintf(list, "%s  %s\n", sum, e.name)
	}
	return hex.EncodeToString(list.Sum(nil)), nil
}

// Digest is the SHA-256 (hex) of everything r has.
func Digest(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// gate bounds how much of an archive may be read before its table of contents
// is known, so that a huge table costs an error and not memory.
type gate struct {
	r    io.ReaderAt
	left int64
	open bool
}

var errDirectory = errors.New("the archive's table of contents is too large")

func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	if !g.open {
		if g.left -= int64(len(p)); g.left < 0 {
			return 0, errDirectory
		}
	}
	return g.r.ReadAt(p, off)
}
