package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Owner is the package that brought a file: its name, and its architecture where
// packages of several may be installed together.
type Owner struct{ Name, Arch string }

// Owners finds the packages that own these paths, by dpkg's file lists. A path
// nobody owns is not in the result. Where /lib leads to /usr/lib, a list may name
// a file by either; so it is looked for by both.
func Owners(root fs.FS, paths []string) (map[string]Owner, []schema.Gap) {
	wanted := map[string]string{}
	for _, p := range paths {
		wanted[p] = p
		if short, ok := strings.CutPrefix(p, "/usr"); ok && strings.HasPrefix(short, "/") {
			if _, taken := wanted[short]; !taken {
				wanted[short] = p
			}
		}
	}
	o := owners{wanted: wanted, left: len(paths), found: map[string]Owner{}, chunk: make([]byte, 64<<10)}
	for p := range wanted {
		o.lengths[len(p)%len(o.lengths)] = true
	}
	names, err := readNames(root, infoDir, DefaultLimits.Entries)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o.found, nil
	case err != nil:
		o.gap(infoDir, err)
	}
	dir, err := fs.Sub(root, infoDir)
	if err != nil {
		o.gap(infoDir, err)
		return o.found, o.gaps
	}
	if c, ok := dir.(io.Closer); ok {
		defer func() { _ = c.Close() }()
	}
	for _, file := range names {
		if pkg, ok := strings.CutSuffix(file, ".list"); ok && o.left > 0 {
			o.read(dir, pkg, file)
		}
	}
	return o.found, o.gaps
}

type owners struct {
	wanted map[string]string
	// lengths are those of the wanted paths: most lines are told apart by them.
	lengths [256]bool
	// left counts the paths without an owner yet.
	left  int
	found map[string]Owner
	gaps  []schema.Gap
	chunk []byte
}

func (o *owners) gap(name string, err error) {
	o.gaps = append(o.gaps, schema.Gap{
		Extractor: Extractor, Kind: kindOf(err), Path: "/" + name, Detail: fmt.Sprintf("look for the owners of files: %v", err),
	})
}

// read looks for the paths in one package's file list, one path a line.
func (o *owners) read(dir fs.FS, pkg, name string) {
	f, err := dir.Open(name)
	if err == nil {
		defer func() { _ = f.Close() }()
		err = o.lines(f, pkg)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be removed since the directory was read
		o.gap(infoDir+"/"+name, err)
	}
}

// lines reads a file list through a buffer that is used again.
func (o *owners) lines(f io.Reader, pkg string) error {
	kept := 0
	for {
		if kept == len(o.chunk) {
			return fmt.Errorf("a path of more than %d bytes", len(o.chunk))
		}
		n, err := f.Read(o.chunk[kept:])
		data := o.chunk[:kept+n]
		for {
			i := bytes.IndexByte(data, '\n')
			if i < 0 {
				break
			}
			o.line(data[:i], pkg)
			data = data[i+1:]
		}
		kept = copy(o.chunk, data)
		switch {
		case errors.Is(err, io.EOF):
			o.line(o.chunk[:kept], pkg)
			return nil
		case err != nil:
			return err
		}
	}
}

func (o *owners) line(b []byte, pkg string) {
	if !o.lengths[len(b)%len(o.lengths)] {
		return
	}
	path, ok := o.wanted[string(b)]
	if !ok {
		return
	}
	if _, known := o.found[path]; known {
		return
	}
	name, arch, _ := strings.Cut(pkg, ":")
	o.found[path] = Owner{Name: name, Arch: arch}
	o.left--
}
