package livepatch

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// maxModule is the most bytes of a module that are read; cumulative patches
// reach a few megabytes.
const maxModule = 64 << 20

// gone reports that something ended while it was read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || rootfs.IsNoProcess(err) }

// readFiles reads the live patches on disk for the running kernel.
func (r *reader) readFiles() {
	release := r.host.Release
	if release == "" || strings.ContainsAny(release, "/\x00") || release == ".." {
		return
	}
	for _, dir := range []string{
		"usr/lib/kpatch/" + release, "var/lib/kpatch/" + release,
		"lib/modules/" + release + "/livepatch", "usr/lib/modules/" + release + "/livepatch",
		"lib/modules/" + release + "/extra/kpatch",
	} {
		for _, e := range r.entries(dir) {
			if module, ok := moduleOf(e.Name()); ok {
				r.readFile(module, path.Join(dir, e.Name()))
			}
		}
	}
}

// moduleOf returns the module a file holds, as the kernel spells it.
func moduleOf(file string) (string, bool) {
	for _, packed := range []string{"", ".gz", ".xz", ".zst"} {
		if base, ok := strings.CutSuffix(file, ".ko"+packed); ok && base != "" {
			return strings.ReplaceAll(base, "-", "_"), true
		}
	}
	return "", false
}

// readFile names the file and the package of a patch, when the file is what the
// kernel holds or the kernel holds nothing of it.
func (r *reader) readFile(module, name string) {
	p := r.patch(module)
	if p.File != "" {
		return
	}
	if p.Loaded {
		id, err := r.fileBuildID(name)
		if err != nil {
			r.gap(gapKind(err), name, fmt.Errorf("compare with the loaded module: %w", err))
			return
		}
		if id == "" || id != p.BuildID {
			r.gap(schema.GapUnowned, name, fmt.Errorf("the kernel holds another build of %s (%.80q, on disk %.80q): reload it", module, p.BuildID, id))
			return
		}
	}
	p.File = "/" + name
	p.Package = packageFor(p.Provider, r.host.Release, r.host.Packages)
}

func gapKind(err error) string {
	if errors.Is(err, errors.ErrUnsupported) {
		return schema.GapUnsupported
	}
	return schema.GapUnreadable
}

// loadedBuildID reads the build id of a loaded module from the note the kernel
// keeps of it.
func (r *reader) loadedBuildID(dir string) string {
	name := path.Join(dir, "notes", ".note.gnu.build-id")
	b, err := rootfs.ReadFile(r.root, name, 4096)
	if err != nil {
		if !gone(err) {
			r.gap(schema.GapUnreadable, name, err)
		}
		return ""
	}
	id, err := buildID(b)
	if err != nil {
		r.gap(schema.GapCorrupt, name, err)
	}
	return id
}

// buildID reads an ELF note of the type NT_GNU_BUILD_ID. Modules of all
// architectures we know are little-endian.
func buildID(note []byte) (string, error) {
	const header, typeBuildID = 12, 3
	u32 := func(at int) int {
		return int(note[at]) | int(note[at+1])<<8 | int(note[at+2])<<16 | int(note[at+3])<<24
	}
	if len(note) < header+4 || u32(8) != typeBuildID || u32(0) != 4 || string(note[header:header+4]) != "GNU\x00" {
		return "", errors.New("not a build id note")
	}
	id := note[header+4:]
	if size := u32(4); size < 1 || size > 64 || size > len(id) {
		return "", fmt.Errorf("a build id of %d bytes in a note of %d", size, len(note))
	}
	return hex.EncodeToString(id[:u32(4)]), nil
}

// fileBuildID reads the build id of a module on disk.
func (r *reader) fileBuildID(name string) (string, error) {
	b, err := rootfs.ReadFile(r.root, name, maxModule)
	if err != nil {
		return "", err
	}
	if b, err = unpack(b, name); err != nil {
		return "", err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	s := f.Section(".note.gnu.build-id")
	if s == nil || s.Size > 4096 {
		return "", nil
	}
	note, err := s.Data()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return buildID(note)
}

// unpack inflates a module as distributions pack them. Nothing small reads xz
// here, and providers of live patches do not pack theirs.
func unpack(b []byte, name string) ([]byte, error) {
	var packed io.Reader
	switch {
	case strings.HasSuffix(name, ".ko"):
		return b, nil
	case strings.HasSuffix(name, ".gz"):
		zr, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", name, err)
		}
		packed = zr
	case strings.HasSuffix(name, ".zst"):
		zr, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderMaxMemory(maxModule), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", name, err)
		}
		defer zr.Close()
		packed = zr
	default:
		return nil, fmt.Errorf("unpack %s: %w", name, errors.ErrUnsupported)
	}
	out, err := io.ReadAll(io.LimitReader(packed, maxModule+1))
	if err == nil && len(out) > maxModule {
		err = fmt.Errorf("more than %d bytes", maxModule)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	return out, nil
}
