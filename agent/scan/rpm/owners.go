package rpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/patchproof/patchproof/schema"
)

// Tags that list a package's files: names without directory, and for each the
// number of its directory.
const (
	tagDirIndexes = 1116
	tagBaseNames  = 1117
	tagDirNames   = 1118
)

const typeStringArray = 8

// Owner is the package that brought a file.
type Owner struct{ Name, Arch string }

// Owners finds the packages that own these paths, by the file lists in the rpm
// databases below root; cache is as for Read. A path nobody owns is not in the
// result.
func Owners(ctx context.Context, root fs.FS, cache string, paths []string) (map[string]Owner, []schema.Gap) {
	r := &reader{root: root, limits: DefaultLimits}
	o := &owners{wanted: map[string]bool{}, bases: map[string]bool{}, found: map[string]Owner{}}
	for _, p := range paths {
		o.wanted[p], o.bases[path.Base(p)] = true, true
	}
	found := r.find()
	if len(found) == 0 {
		return o.found, r.gapList()
	}
	if cache == "" || !private(cache) {
		dir, err := os.MkdirTemp("", "patchproof-rpm-")
		if err != nil {
			r.gap(schema.GapUnreadable, found[0].path, fmt.Sprintf("make a directory for a copy: %v", err))
			return o.found, r.gapList()
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cache = dir
	}
	for _, db := range found {
		r.owners(ctx, db, cache, o)
	}
	return o.found, r.gapList()
}

// owners looks through one database. The census comes first, as for packages.
func (r *reader) owners(ctx context.Context, db database, cache string, o *owners) {
	defer func() {
		if p := recover(); p != nil {
			r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("looking for the owners of files panicked: %v", p))
		}
	}()
	file, _, err := r.copyDatabase(ctx, db, cache)
	if err != nil {
		r.gap(kindOf(err), db.path, fmt.Sprintf("copy the database: %v", err))
		return
	}
	defer func() { _ = removeCopy(db, file) }()
	want, err := db.census(ctx, file, r.limits)
	if err != nil {
		r.gap(kindOf(err), db.path, err.Error())
		return
	}
	src, err := db.open(file)
	if err != nil {
		r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("open the copy: %v", err))
		return
	}
	defer func() { _ = src.Close() }()
	got := 0
	for entry := range src.Read() { // to its end, see headers
		if err = entry.Err; err == nil && len(entry.Value) <= r.limits.Header {
			got++
			err = o.header(entry.Value)
		}
		if err != nil {
			r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("look for the owners of files: %v", err))
		}
	}
	if got != want.headers {
		r.gap(schema.GapCorrupt, db.path, fmt.Sprintf("look for the owners of files: %d headers, %d could be read", want.headers, got))
	}
}

type owners struct {
	// wanted are the paths, bases their last elements.
	wanted, bases map[string]bool
	found         map[string]Owner
}

// header looks for the paths in the file list of one package.
func (o *owners) header(blob []byte) error {
	h, err := newHeader(blob)
	if err != nil {
		return err
	}
	bases, err := h.list(tagBaseNames)
	if err != nil || bases == nil {
		return err
	}
	var dirs [][]byte
	for i, n := 0, 0; n < len(bases); i++ {
		base, rest, _ := bytes.Cut(bases[n:], []byte{0})
		n = len(bases) - len(rest)
		if !o.bases[string(base)] {
			continue
		}
		if dirs == nil {
			packed, err := h.list(tagDirNames)
			if err != nil {
				return err
			}
			dirs = bytes.Split(packed, []byte{0})
		}
		dir, err := h.dirIndex(i)
		if err != nil || dir >= len(dirs) {
			return errors.Join(err, fmt.Errorf("file %d lies in directory %d of %d", i, dir, len(dirs)))
		}
		if err := o.note(h, string(dirs[dir])+string(base)); err != nil {
			return err
		}
	}
	return nil
}

func (o *owners) note(h *header, file string) error {
	if !o.wanted[file] {
		return nil
	}
	name, err := h.text(tagName)
	if err != nil {
		return err
	}
	arch, err := h.text(tagArch)
	o.found[file] = Owner{Name: name, Arch: arch}
	return err
}

// list returns the bytes of a list of strings, each ended by a zero, nil when the
// tag is not there.
func (h *header) list(tag int32) ([]byte, error) {
	e, ok := h.index[tag]
	if !ok {
		return nil, nil
	}
	if e.kind != typeStringArray {
		return nil, fmt.Errorf("tag %d of type %d, want a list of strings", tag, e.kind)
	}
	data := h.data[e.offset:]
	end := 0
	for range e.count {
		i := bytes.IndexByte(data[end:], 0)
		if i < 0 {
			return nil, fmt.Errorf("tag %d has fewer than its %d strings", tag, e.count)
		}
		end += i + 1
	}
	return data[:end], nil
}

// dirIndex returns the number of the directory of file i.
func (h *header) dirIndex(i int) (int, error) {
	e, ok := h.index[tagDirIndexes]
	if !ok || e.kind != typeInt32 || i >= int(e.count) || len(h.data)-int(e.offset) < 4*(i+1) {
		return 0, fmt.Errorf("file %d has no directory", i)
	}
	return int(binary.BigEndian.Uint32(h.data[int(e.offset)+4*i:])), nil
}
