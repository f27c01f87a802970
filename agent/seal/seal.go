// Package seal makes a root file system fit to become an image: it finds and
// removes what belongs to one host, so that no copy starts as that host.
//
// Invariants:
//   - It refuses while an agent uses the state directory: both roles' locks and
//     the locks of keys and spool are held until all is gone.
//   - It removes what is in a state directory, since that directory is the
//     agent's own, and files in the configuration's directory that hold a private
//     key or a credential. The configuration itself it never changes.
//   - A directory without a trace of an agent is not taken for a state directory.
//   - Nothing outside the root is read or changed: links resolve as after a chroot.
//   - Small files are overwritten before they are removed. A snapshot of a disk
//     holds the blocks of removed files too; file systems that copy on write keep
//     them even so.
package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
)

// Kind says what was found.
type Kind string

// Kinds.
const (
	Key        Kind = "key"        // a host's private key
	Binding    Kind = "binding"    // the machine its keys are for
	Spool      Kind = "spool"      // its reports and their ledger
	Archive    Kind = "archive"    // identities of other machines
	Cache      Kind = "cache"      // what was read of its databases
	Credential Kind = "credential" // what lets it in somewhere
	State      Kind = "state"      // anything else in a state directory
)

// Found is one file that belongs to one host.
type Found struct {
	// Path is as inside the root, with a slash in front.
	Path  string `json:"path"`
	Kind  Kind   `json:"kind"`
	Bytes int64  `json:"bytes"`
}

// ErrInUse says that an agent runs on the state directory.
var ErrInUse = errors.New("an agent is running on the state directory")

// ErrNotOurs says that a directory that was named shows no trace of an agent.
var ErrNotOurs = errors.New("does not look like an agent's state directory")

// Places are where to look, as paths inside the root.
type Places struct {
	// State are state directories: what they hold is the agent's.
	State []string
	// Config are directories of configuration: only secrets in them count.
	Config []string
}

// Check lists what of one host is in a root, sorted by path. It changes nothing.
func Check(root *rootfs.FS, where Places) ([]Found, error) {
	var all []Found
	for _, dir := range where.State {
		found, err := inState(root, dir)
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", dir, err)
		}
		all = append(all, found...)
	}
	for _, dir := range where.Config {
		found, err := secrets(root, dir)
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", dir, err)
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(all), nil
}

// Seal removes what Check finds and returns it, what was removed before an error
// included. ErrInUse while an agent runs there.
func Seal(root *rootfs.FS, where Places) ([]Found, error) {
	var all []Found
	for _, dir := range where.State {
		found, err := sealState(root, dir)
		all = append(all, found...)
		if err != nil {
			return all, fmt.Errorf("seal %s: %w", dir, err)
		}
	}
	for _, dir := range where.Config {
		found, err := secrets(root, dir)
		if err != nil {
			return all, fmt.Errorf("seal %s: %w", dir, err)
		}
		for _, f := range found {
			if err := removeSecret(root, f.Path); err != nil {
				return all, fmt.Errorf("seal %s: %w", dir, err)
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// inState lists the files of a state directory, empty when there is none.
func inState(root fs.FS, dir string) ([]Found, error) {
	var found []Found
	err := walk(root, relative(dir), func(name string, d fs.DirEntry) error {
		info, err := d.Info()
		if err != nil {
			return err
		}
		found = append(found, Found{Path: "/" + name, Kind: kindOf(strings.TrimPrefix(name, relative(dir)+"/")), Bytes: info.Size()})
		return nil
	})
	return found, err
}

// walk calls f for everything in a directory that is no directory itself, and
// for directories that hold nothing; for nothing when the directory is missing.
func walk(root fs.FS, dir string, f func(name string, d fs.DirEntry) error) error {
	entries, err := fs.ReadDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if !e.IsDir() {
			if err := f(name, e); err != nil {
				return err
			}
			continue
		}
		if below, err := fs.ReadDir(root, name); err == nil && len(below) == 0 {
			if err := f(name, e); err != nil {
				return err
			}
			continue
		}
		if err := walk(root, name, f); err != nil {
			return err
		}
	}
	return nil
}

func relative(dir string) string { return strings.TrimPrefix(path.Clean("/"+dir), "/") }

// kindOf tells what a name below a state directory is.
func kindOf(name string) Kind {
	top, _, _ := strings.Cut(name, "/")
	switch {
	case top == identity.EvidenceFile, top == identity.TransportFile:
		return Key
	case top == identity.BindingFile:
		return Binding
	case top == identity.ArchiveDir:
		return Archive
	case top == "cache":
		return Cache
	case top == "spool", strings.HasPrefix(top, "spool."):
		return Spool
	}
	return State
}

// sealState empties a state directory under its locks.
func sealState(root *rootfs.FS, dir string) ([]Found, error) {
	found, err := inState(root, dir)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if !slices.ContainsFunc(found, func(f Found) bool { return f.Kind != State || path.Ext(f.Path) == ".lock" }) {
		return nil, fmt.Errorf("%w: it holds %s and no keys, spool or locks", ErrNotOurs, found[0].Path)
	}
	state, err := root.Changeable(relative(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = state.Close() }()
	release, err := hold(state)
	if err != nil {
		return nil, err
	}
	defer release()
	return found, empty(state, ".")
}

// hold takes every lock an agent takes in its state directory.
func hold(state *os.Root) (release func(), err error) {
	var held []*durable.Lock
	release = func() {
		for _, l := range held {
			_ = l.Close()
		}
	}
	for _, name := range identity.Locks() {
		l, err := durable.TryLockIn(state, name)
		if errors.Is(err, durable.ErrLocked) {
			release()
			return nil, fmt.Errorf("%w (it holds %s)", ErrInUse, name)
		}
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, l)
	}
	return release, nil
}

// empty overwrites and removes everything in a directory, the locks last: as
// long as they have their names no agent starts.
func empty(dir *os.Root, name string) error {
	entries, err := fs.ReadDir(dir.FS(), name)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return lockLast(a.Name()) - lockLast(b.Name()) })
	for _, e := range entries {
		at := path.Join(name, e.Name())
		if e.IsDir() {
			if err := empty(dir, at); err != nil {
				return err
			}
		} else if err := overwrite(dir, at); err != nil {
			return err
		}
		if err := dir.Remove(at); err != nil {
			return err
		}
	}
	return syncDir(dir, name)
}

func lockLast(name string) int {
	if path.Ext(name) == ".lock" {
		return 1
	}
	return 0
}

// maxOverwritten is the largest file whose content is overwritten; keys and
// credentials have a few hundred bytes.
const maxOverwritten = 1 << 20

// overwrite puts zeros in place of a regular file's content.
func overwrite(dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > maxOverwritten {
		return nil
	}
	f, err := dir.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, info.Size()))
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir *os.Root, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func removeSecret(root *rootfs.FS, name string) error {
	dir, err := root.Changeable(relative(path.Dir(name)))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	base := path.Base(name)
	if err := overwrite(dir, base); err != nil {
		return err
	}
	if err := dir.Remove(base); err != nil {
		return err
	}
	return syncDir(dir, ".")
}

// maxSecret bounds what is read of a file to tell whether it holds a secret.
const maxSecret = 64 << 10

// secrets lists the files of a configuration directory that hold a private key
// or a credential.
func secrets(root fs.FS, dir string) ([]Found, error) {
	var found []Found
	err := walk(root, relative(dir), func(name string, d fs.DirEntry) error {
		if d.IsDir() || d.Type()&fs.ModeSymlink == 0 && !d.Type().IsRegular() {
			return nil
		}
		text, err := head(root, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, rootfs.ErrNotRegular) {
			return nil // a link that leads nowhere, or to a directory
		}
		if err != nil {
			return err
		}
		if kind, ok := secret(text); ok {
			found = append(found, Found{Path: "/" + name, Kind: kind, Bytes: int64(len(text))})
		}
		return nil
	})
	return found, err
}

func head(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxSecret))
}
