package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// Owner is the package that brought a file: its name, and its architecture where
// packages of several may be installed together.
type Owner struct{ Name, Arch string }

// maxFileList is the most bytes of one package's file list; the longest we know
// of is near 10 MB.
const maxFileList = 64 << 20

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
	o := owners{root: root, wanted: wanted, found: map[string]Owner{}}
	names, err := readNames(root, infoDir, DefaultLimits.Entries)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o.found, nil
	case err != nil:
		o.gap(infoDir, err)
	}
	for _, file := range names {
		if pkg, ok := strings.CutSuffix(file, ".list"); ok {
			o.read(pkg, infoDir+"/"+file)
		}
	}
	return o.found, o.gaps
}

type owners struct {
	root   fs.FS
	wanted map[string]string
	found  map[string]Owner
	gaps   []schema.Gap
}

func (o *owners) gap(name string, err error) {
	o.gaps = append(o.gaps, schema.Gap{
		Extractor: Extractor, Kind: kindOf(err), Path: "/" + name, Detail: fmt.Sprintf("look for the owners of files: %v", err),
	})
}

// read looks for the paths in one package's file list, one path a line.
func (o *owners) read(pkg, name string) {
	list, err := rootfs.ReadFile(o.root, name, maxFileList)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // removed since the directory was read
			o.gap(name, err)
		}
		return
	}
	for line := range bytes.Lines(list) {
		path, ok := o.wanted[string(bytes.TrimSuffix(line, []byte("\n")))]
		if !ok {
			continue
		}
		pkgName, arch, _ := strings.Cut(pkg, ":")
		o.found[path] = Owner{Name: pkgName, Arch: arch}
	}
}
