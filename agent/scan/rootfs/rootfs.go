// Package rootfs opens one root file system (the running system's or an
// image's) as an fs.FS that extractors can trust not to leave it or hang.
//
// Invariants:
//   - No name leads outside the root. A symbolic link is resolved as a process
//     chrooted there would: an absolute target starts at the root again, and
//     ".." stops at it. The kernel-side check is os.Root's.
//   - Only regular files and directories are opened. A FIFO, socket or device
//     in a file's place is ErrNotRegular, without ever being opened: opening a
//     FIFO can block and opening a device can act.
//   - Nothing is written by this package; Changeable hands out a directory for
//     those who must.
package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ErrNotRegular means that a name holds neither a regular file nor a directory.
var ErrNotRegular = errors.New("not a regular file")

// maxLinks is how many symbolic links one name may pass through, as in Linux.
const maxLinks = 40

var errTooManyLinks = errors.New("too many levels of symbolic links")

// FS is a root file system. It implements fs.FS, fs.StatFS, fs.ReadLinkFS and
// fs.SubFS; files it opens are *os.File.
type FS struct {
	root *os.Root
}

// Open opens the directory dir as a root. Close it when done.
func Open(dir string) (*FS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	return &FS{root: root}, nil
}

// Close releases the root; files already open stay usable.
func (f *FS) Close() error { return f.root.Close() }

// Open opens a regular file or a directory for reading.
func (f *FS) Open(name string) (fs.File, error) {
	resolved, info, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if !readable(info) {
		return nil, pathError("open", name, ErrNotRegular)
	}
	file, err := f.root.OpenFile(resolved, openFlags, 0)
	if err != nil {
		return nil, pathError("open", name, cause(err))
	}
	// The name may have changed hands since it was looked at.
	if info, err = file.Stat(); err == nil && !readable(info) {
		err = ErrNotRegular
	}
	if err != nil {
		_ = file.Close()
		return nil, pathError("open", name, cause(err))
	}
	return file, nil
}

// Stat describes what name leads to, following symbolic links inside the root.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	_, info, err := f.find("stat", name)
	return info, err
}

// Lstat describes name itself when it is a symbolic link. Links in the
// directories leading to it are followed.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, pathError("lstat", name, fs.ErrInvalid)
	}
	info, err := f.root.Lstat(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return info, restate("lstat", name, err)
	}
	dir, _, err := f.find("lstat", path.Dir(name))
	if err != nil {
		return nil, err
	}
	info, err = f.root.Lstat(path.Join(dir, path.Base(name)))
	return info, restate("lstat", name, err)
}

// ReadLink returns the target of the symbolic link name, as written in it.
func (f *FS) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", pathError("readlink", name, fs.ErrInvalid)
	}
	target, err := f.root.Readlink(name)
	return target, restate("readlink", name, err)
}

// Sub returns the directory dir as a root of its own: links below it that lead
// out of dir are then refused. It is for looking at many names in one
// directory, each in a single system call.
func (f *FS) Sub(dir string) (fs.FS, error) {
	sub, err := f.Changeable(dir)
	if err != nil {
		return nil, err
	}
	return &FS{root: sub}, nil
}

// Changeable opens the directory dir for changes below it, which cannot lead out
// of it. It is for preparing images; extractors only read.
func (f *FS) Changeable(dir string) (*os.Root, error) {
	resolved, _, err := f.find("open", dir)
	if err != nil {
		return nil, err
	}
	sub, err := f.root.OpenRoot(resolved)
	if err != nil {
		return nil, pathError("open", dir, cause(err))
	}
	return sub, nil
}

// find returns where name leads and what is there. Most names hold no link
// that os.Root refuses, so the plain way is tried first.
func (f *FS) find(op, name string) (string, fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return "", nil, pathError(op, name, fs.ErrInvalid)
	}
	info, err := f.root.Stat(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return name, info, restate(op, name, err)
	}
	resolved, err := f.resolve(name)
	if err != nil {
		return "", nil, pathError(op, name, cause(err))
	}
	info, err = f.root.Stat(resolved)
	return resolved, info, restate(op, name, err)
}

// resolve follows every symbolic link in name and returns a name without any.
func (f *FS) resolve(name string) (string, error) {
	done, rest, links := ".", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done) // Dir(".") is ".": the root is its own parent
			continue
		}
		next := path.Join(done, part)
		info, err := f.root.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", errTooManyLinks
		}
		target, err := f.root.Readlink(next)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(target, "/") {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

func readable(info fs.FileInfo) bool { return info.Mode().IsRegular() || info.IsDir() }

func restate(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return pathError(op, name, cause(err))
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// cause takes the operating system's own word out of a path error, so that the
// name is not told twice.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
