// Package livepatch reads the live patches of the running kernel: those in the
// kernel, and those on disk for it that are not.
//
// What is in the kernel is what the kernel says under sys/kernel/livepatch and
// sys/module; what is on disk are the modules where providers put them.
// Ksplice and KernelCare patch by their own means and are told by their modules
// and KernelCare's proc file.
//
// Invariants:
//   - A patch counts as enabled only by the kernel's own word. One that vanishes
//     while it is read was being disabled, and is not enabled.
//   - A package is named only for a module that is, by its build id, the one that
//     is loaded, or that is not loaded at all. An updated package whose module
//     was not loaded yet does not lend its version to the old one.
//   - What cannot be read is a gap, and the patch is stated without it.
//
// Format: https://docs.kernel.org/livepatch/livepatch.html and
// Documentation/ABI/testing/sysfs-kernel-livepatch.
package livepatch

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "livepatch"

// Places below a root.
const (
	patchesDir  = "sys/kernel/livepatch"
	modulesDir  = "sys/module"
	taintedFile = "proc/sys/kernel/tainted"
	kcareFile   = "proc/kcare/effective_version"
)

// taintLivePatch is TAINT_LIVEPATCH: a live patch was loaded since boot.
const taintLivePatch = 1 << 15

// maxEntries is the most names read of one directory. A kernel has a few
// hundred modules, a cumulative patch a few thousand functions.
const maxEntries = 16384

// Host is what the patches are of.
type Host struct {
	// Release is uname -r of the running kernel.
	Release string
	OS      schema.OSRelease
	// Packages are those installed.
	Packages []schema.Package
}

// Read reads the live patches of the running system, whose root this must be,
// sorted by provider and name.
func Read(root fs.FS, h Host) ([]schema.LivePatch, []schema.Gap) {
	r := &reader{root: root, host: h, patches: map[string]*schema.LivePatch{}}
	r.readKernel()
	r.readDisabled()
	r.readFiles()
	r.countStuck()
	r.readKernelCare()
	list := make([]schema.LivePatch, 0, len(r.patches))
	for _, p := range r.patches {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b schema.LivePatch) int {
		return strings.Compare(a.Provider+"\x00"+a.Name, b.Provider+"\x00"+b.Name)
	})
	return list, r.gaps
}

type reader struct {
	root    fs.FS
	host    Host
	patches map[string]*schema.LivePatch
	gaps    []schema.Gap
}

func (r *reader) gap(kind, name string, err error) {
	r.gaps = append(r.gaps, schema.Gap{Extractor: Extractor, Kind: kind, Path: "/" + name, Detail: err.Error()})
}

// patch returns the patch of a module, a new one the first time.
func (r *reader) patch(module string) *schema.LivePatch {
	p := r.patches[module]
	if p == nil {
		p = &schema.LivePatch{Name: module, Provider: providerOf(module, r.host.OS)}
		r.patches[module] = p
	}
	return p
}

// readKernel reads the patches the kernel applies or is about to.
func (r *reader) readKernel() {
	for _, e := range r.entries(patchesDir) {
		if e.IsDir() {
			r.readPatch(e.Name())
		}
	}
}

func (r *reader) readPatch(name string) {
	dir := path.Join(patchesDir, name)
	p := r.patch(name)
	r.readModule(p)
	enabled, err := r.flag(path.Join(dir, "enabled"))
	transition, err2 := r.flag(path.Join(dir, "transition"))
	if err = errors.Join(err, err2); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.gap(schema.GapUnreadable, dir, err)
		}
		return
	}
	p.Loaded, p.Enabled, p.Transition = true, enabled, transition
	for _, e := range r.entries(dir) {
		if !e.IsDir() {
			continue
		}
		object := path.Join(dir, e.Name())
		patched, err := r.flag(path.Join(object, "patched"))
		switch {
		// Kernels before 6.1 have no such file; the directory is then all there is.
		case errors.Is(err, fs.ErrNotExist):
			patched = true
		case err != nil:
			r.gap(schema.GapUnreadable, object, err)
		}
		if patched {
			p.Objects = append(p.Objects, e.Name())
			p.Functions += r.directories(object)
		}
	}
}

func (r *reader) directories(dir string) int {
	n := 0
	for _, e := range r.entries(dir) {
		if e.IsDir() {
			n++
		}
	}
	return n
}

// readModule reads what identifies a loaded module.
func (r *reader) readModule(p *schema.LivePatch) {
	dir := path.Join(modulesDir, p.Name)
	if _, err := fs.Stat(r.root, dir); err != nil {
		return
	}
	p.Loaded = true
	p.Version = r.optional(path.Join(dir, "version"))
	p.SrcVersion = r.optional(path.Join(dir, "srcversion"))
	p.BuildID = r.loadedBuildID(dir)
}

// readDisabled finds patches whose module is still in the kernel though it no
// longer applies them: their directory under sys/kernel/livepatch is gone. It
// finds Ksplice's updates too, which never have one.
func (r *reader) readDisabled() {
	tainted := r.optional(taintedFile)
	mask, err := strconv.ParseUint(tainted, 10, 64)
	patched := err != nil || mask&taintLivePatch != 0
	for _, e := range r.entries(modulesDir) {
		name := e.Name()
		switch {
		case r.patches[name] != nil:
		case strings.HasPrefix(name, "ksplice_"):
			r.readKsplice(name)
		case patched && strings.Contains(r.optional(path.Join(modulesDir, name, "taint")), "K"):
			r.readModule(r.patch(name))
		}
	}
}

// readKsplice notes that Ksplice works here. Which vulnerabilities its updates
// cover is known to its own service only.
func (r *reader) readKsplice(module string) {
	p := r.patches["ksplice"]
	if p == nil {
		p = r.patch("ksplice")
		p.Provider, p.Loaded, p.Enabled = schema.ProviderKsplice, true, true
		r.gap(schema.GapUnsupported, path.Join(modulesDir, module),
			errors.New("updates of Ksplice are loaded; no file says which kernel version they amount to, so they cover nothing here"))
	}
	p.Functions++
}

// readKernelCare reads the kernel version that KernelCare says it amounts to.
func (r *reader) readKernelCare() {
	b, err := rootfs.ReadLine(r.root, kcareFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	p := r.patch("kcare")
	p.Provider, p.Loaded = schema.ProviderKernelCare, true
	if err != nil {
		r.gap(schema.GapUnreadable, kcareFile, err)
		return
	}
	p.Effective, p.Enabled = b, b != ""
}

// countStuck counts the tasks that each transition waits for.
func (r *reader) countStuck() {
	for _, p := range r.patches {
		if !p.Transition {
			continue
		}
		// A task is at 1 once it runs the patched code, whichever way it goes.
		arrived := 0
		if p.Enabled {
			arrived = 1
		}
		p.Stuck = r.tasksNotAt(arrived)
	}
}

func (r *reader) tasksNotAt(arrived int) int {
	n := 0
	for _, proc := range r.entries("proc") {
		if _, err := strconv.Atoi(proc.Name()); err != nil {
			continue
		}
		tasks := path.Join("proc", proc.Name(), "task")
		for _, task := range r.entries(tasks) {
			state, err := strconv.Atoi(r.optional(path.Join(tasks, task.Name(), "patch_state")))
			if err == nil && state >= 0 && state != arrived {
				n++
			}
		}
	}
	return n
}

// flag reads a file of 0 or 1.
func (r *reader) flag(name string) (bool, error) {
	line, err := rootfs.ReadLine(r.root, name)
	if err != nil {
		return false, err
	}
	switch line {
	case "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, fmt.Errorf("%s holds %.40q, want 0 or 1", name, line)
}

// optional reads a line of a file that need not be there.
func (r *reader) optional(name string) string {
	line, err := rootfs.ReadLine(r.root, name)
	if err != nil && !gone(err) {
		r.gap(schema.GapUnreadable, name, err)
	}
	return line
}

// entries lists a directory that need not be there.
func (r *reader) entries(dir string) []fs.DirEntry {
	list, err := rootfs.Entries(r.root, dir, maxEntries)
	switch {
	case errors.Is(err, rootfs.ErrManyEntries):
		r.gap(schema.GapTruncated, dir, err)
	case err != nil && !gone(err):
		r.gap(schema.GapUnreadable, dir, err)
	}
	return list
}
