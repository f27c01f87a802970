// Package process finds the code that processes still run though it was deleted
// or replaced on disk: after an upgrade a process keeps the old library until
// it is restarted.
//
// It reads proc/PID/maps. The kernel marks a mapped file whose name is gone,
// which is what a package manager does to a file it replaces.
//
// Invariants:
//   - Only executable mappings of files count. Anonymous memory, memfd, shared
//     memory, devices and what just-in-time compilers write are not code that a
//     package brought.
//   - A process that may not be looked at is a gap, never clean; so are the
//     processes left when the time is over.
//   - A process that ends while it is looked at is nobody's problem any more.
//
// Format: proc_pid_maps(5), cgroups(7).
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "process"

// Limits bound what is read.
type Limits struct {
	// Processes is the most processes looked at.
	Processes int
	// Maps is the most bytes of one process's maps.
	Maps int64
	// Stale is the most stale files reported.
	Stale int
}

// DefaultLimits fit hosts with ten thousand processes. A process may have 65 530
// mappings (vm.max_map_count).
var DefaultLimits = Limits{Processes: 1 << 16, Maps: 32 << 20, Stale: schema.MaxStale}

// Host is the system looked at.
type Host struct {
	// Proc is the running system's proc, see Live, and Root its root.
	Proc, Root fs.FS
	// Boot is when it started, in Unix seconds, 0 when not known.
	Boot int64
	// ForeignRoot opens the root of a process that has another one than Root;
	// nil where there are no such processes. The result is nil for one that has
	// the same.
	ForeignRoot func(pid int) (fs.FS, error)
}

// Read finds the stale code of the running system within DefaultLimits. Package
// and Loaded are not filled in. ok is false when nothing could be looked at.
func Read(ctx context.Context, h Host) (stale []schema.Stale, gaps []schema.Gap, ok bool) {
	return DefaultLimits.Read(ctx, h)
}

// Read finds the stale code of the running system within these limits, see Read.
// When ctx ends the processes left are a gap.
func (l Limits) Read(ctx context.Context, h Host) (stale []schema.Stale, gaps []schema.Gap, ok bool) {
	r := &reader{host: h, limits: l, chunk: make([]byte, 64<<10)}
	pids, err := r.pids()
	if err != nil {
		r.gap(schema.GapUnreadable, "proc", err.Error())
		return nil, r.gaps, false
	}
	for i, pid := range pids {
		if ctx.Err() != nil {
			r.gap(schema.GapTimeout, "proc", fmt.Sprintf("%d of %d processes were not looked at in time", len(pids)-i, len(pids)))
			break
		}
		r.look(pid)
	}
	r.sayDenied(len(pids))
	if r.left > 0 {
		r.gap(schema.GapTruncated, "proc", fmt.Sprintf("%d stale files, %d are reported", len(r.stale)+r.left, len(r.stale)))
	}
	return r.stale, r.gaps, r.looked > 0
}

type reader struct {
	host   Host
	limits Limits
	chunk  []byte
	stale  []schema.Stale
	gaps   []schema.Gap
	// looked counts processes whose maps were read, denied those not allowed to
	// be, left the stale files over the limit.
	looked, denied, left int
	deniedBy             error
}

func (r *reader) gap(kind, name, detail string) {
	r.gaps = append(r.gaps, schema.Gap{Extractor: Extractor, Kind: kind, Path: "/" + name, Detail: detail})
}

func (r *reader) sayDenied(all int) {
	if r.denied == 0 {
		return
	}
	r.gap(schema.GapUnreadable, "proc", fmt.Sprintf(
		"%d of %d processes may not be looked at (%v): run with CAP_SYS_PTRACE to tell whether they run old code", r.denied, all, r.deniedBy))
}

func (r *reader) pids() ([]int, error) {
	entries, err := rootfs.Entries(r.host.Proc, ".", r.limits.Processes)
	if errors.Is(err, rootfs.ErrManyEntries) {
		r.gap(schema.GapTruncated, "proc", err.Error())
		err = nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// look notes the stale code of one process.
func (r *reader) look(pid int) {
	dir := strconv.Itoa(pid)
	gone, err := r.deletedFiles(dir + "/maps")
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.denied, r.deniedBy = r.denied+1, fs.ErrPermission
		return
	case ended(err):
		return
	case err != nil:
		r.gap(schema.GapUnreadable, "proc/"+dir+"/maps", err.Error())
		return
	}
	r.looked++
	if len(gone) > 0 {
		r.note(pid, dir, gone)
	}
}

// ended reports that a process ended while it was read.
func ended(err error) bool { return errors.Is(err, fs.ErrNotExist) || rootfs.IsNoProcess(err) }

// note describes a process and the files of it that are gone.
func (r *reader) note(pid int, dir string, gone []string) {
	of, err := r.describe(pid, dir)
	if ended(err) {
		return
	}
	root := r.host.Root
	if err == nil && r.host.ForeignRoot != nil {
		var foreign fs.FS
		if foreign, err = r.host.ForeignRoot(pid); foreign != nil {
			root = foreign
			if of.Container == "" {
				of.Container = "unnamed"
			}
		}
	}
	if err != nil {
		r.gap(schema.GapUnreadable, "proc/"+dir, err.Error())
	}
	for _, name := range gone {
		s := of
		s.Path, s.Kind = name, schema.StaleDeleted
		if exists(root, name) {
			s.Kind = schema.StaleReplaced
		}
		r.add(s)
	}
	if c, ok := root.(io.Closer); ok && root != r.host.Root {
		_ = c.Close()
	}
}

func (r *reader) add(s schema.Stale) {
	if len(r.stale) >= r.limits.Stale {
		r.left++
		return
	}
	r.stale = append(r.stale, s)
}

func exists(root fs.FS, name string) bool {
	_, err := fs.Stat(root, strings.TrimPrefix(name, "/"))
	return err == nil
}

// deletedFiles lists the files a process runs code of whose name is gone, each
// once, in the order of the maps.
func (r *reader) deletedFiles(maps string) ([]string, error) {
	f, err := r.host.Proc.Open(maps)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var files []string
	err = r.eachLine(f, func(line []byte) {
		if name, ok := deletedCode(line); ok && !slices.Contains(files, string(name)) {
			files = append(files, string(name))
		}
	})
	return files, err
}

// eachLine yields the lines of a file in a buffer that is used again.
func (r *reader) eachLine(f io.Reader, yield func(line []byte)) error {
	kept, total := 0, int64(0)
	for {
		if kept == len(r.chunk) {
			return fmt.Errorf("a line of more than %d bytes", len(r.chunk))
		}
		n, err := f.Read(r.chunk[kept:])
		if total += int64(n); total > r.limits.Maps {
			return fmt.Errorf("more than %d bytes", r.limits.Maps)
		}
		data := r.chunk[:kept+n]
		for {
			i := bytes.IndexByte(data, '\n')
			if i < 0 {
				break
			}
			yield(data[:i])
			data = data[i+1:]
		}
		kept = copy(r.chunk, data)
		if errors.Is(err, io.EOF) {
			if kept > 0 {
				yield(r.chunk[:kept])
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var deletedMark = []byte(" (deleted)")

// deletedCode returns the file of a line of maps when it is code whose name is gone:
//
//	7f2c4a000000-7f2c4a028000 r-xp 00026000 fe:01 131205   /usr/lib/libc.so.6 (deleted)
func deletedCode(line []byte) ([]byte, bool) {
	if !bytes.HasSuffix(line, deletedMark) {
		return nil, false
	}
	slash := bytes.IndexByte(line, '/')
	space := bytes.IndexByte(line, ' ')
	if slash < 0 || space < 0 || space+4 >= slash || line[space+3] != 'x' {
		return nil, false
	}
	name := line[slash : len(line)-len(deletedMark)]
	if madeAtRunTime(name) {
		return nil, false
	}
	return name, true
}

// runTime are where processes put code they made themselves, and names that are
// no files: memfd_create(2), System V shared memory, asynchronous I/O rings.
var runTime = [][]byte{
	[]byte("/memfd:"), []byte("/SYSV"), []byte("/dev/"), []byte("/[aio]"), []byte("/anon_hugepage"),
	[]byte("/tmp/"), []byte("/var/tmp/"), []byte("/run/"), []byte("/drm "), []byte("/i915"),
}

func madeAtRunTime(name []byte) bool {
	for _, prefix := range runTime {
		if bytes.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
