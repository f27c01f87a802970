// Package durable changes files so that a crash at any point leaves either the
// old or the new content, and guards directories between processes.
//
// Invariants:
//   - WriteFile returns only after the content and its name are on disk;
//   - a reader never sees a half-written file under the final name;
//   - a lock is the kernel's: it ends with the process that holds it, however it ends.
package durable

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TempPrefix starts the name of every file that is still being written. What
// carries it after a crash was never promised to anyone and may be removed.
const TempPrefix = ".tmp-"

// ErrLocked says another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// WriteFile replaces path by data: written aside, synced, renamed, and the
// directory synced.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := stage(filepath.Dir(path), data, mode)
	if err != nil {
		return err
	}
	if err := Rename(temp, path); err != nil {
		_ = os.Remove(temp) // the rename's error is the one to tell
		return err
	}
	return nil
}

// ErrDiffers says that what was written does not come back as it was.
var ErrDiffers = errors.New("what was written does not come back from the medium")

// WriteVerified is WriteFile for a medium that may be bad: what was synced is read
// back, past the page cache where the system can, before it takes its place. It is
// written aside as path with ".part" added, which a crash may leave there and the
// next call replaces. ErrDiffers when the medium gives back something else.
func WriteVerified(path string, data []byte, mode fs.FileMode) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(part, data, mode); err != nil {
		return err
	}
	err := verify(part, data)
	if err == nil {
		err = Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part) // the first error is the one to tell
	}
	return err
}

// verify compares a synced file with what was written to it.
func verify(path string, want []byte) error {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	dropCache(f)
	got, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
	if err != nil {
		return fmt.Errorf("read back %s: %w", path, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: %w", path, ErrDiffers)
	}
	return nil
}

// CreateFile is WriteFile for a name that must not exist yet: it never
// replaces a file (fs.ErrExist).
func CreateFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := stage(filepath.Dir(path), data, mode)
	if err != nil {
		return err
	}
	linkErr := os.Link(temp, path)
	if err := os.Remove(temp); err != nil {
		return err
	}
	if linkErr != nil {
		return linkErr
	}
	return SyncDir(filepath.Dir(path))
}

// Rename moves a synced file to its name in the same file system and syncs the
// directories it left and entered.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		if err := SyncDir(filepath.Dir(from)); err != nil {
			return err
		}
	}
	return SyncDir(filepath.Dir(to))
}

// RemoveTemps removes what a crash left half-written in dir. The caller holds
// the lock that every writer of dir takes.
func RemoveTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), TempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// stage writes data to a new file with a temporary name in dir and syncs it.
func stage(dir string, data []byte, mode fs.FileMode) (string, error) {
	path := filepath.Join(dir, TempPrefix+rand.Text())
	return path, create(path, data, mode)
}

// create writes data to a file that is not there yet and syncs it. What could not
// be written whole is removed.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path) // the write's error is the one to tell
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Lock is a lock on a file, held until Close or the end of the process.
type Lock struct{ f *os.File }

// TryLock takes the lock at path without waiting; ErrLocked when it is taken.
func TryLock(path string) (*Lock, error) { return lock(path, false) }

// WaitLock takes the lock at path and waits for it. It is for locks that are
// held for the length of a few file operations.
func WaitLock(path string) (*Lock, error) { return lock(path, true) }

// TryLockIn is TryLock for a name in an open directory, which nothing leads out of.
func TryLockIn(dir *os.Root, name string) (*Lock, error) {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_RDWR|openNoFollow, 0o600)
	return hold(f, err, name, false)
}

func lock(path string, wait bool) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|openNoFollow, 0o600)
	return hold(f, err, path, wait)
}

func hold(f *os.File, err error, path string, wait bool) (*Lock, error) {
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := lockFile(f, wait); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Close gives the lock back. The file stays: removing it would let two
// processes hold locks on different files of one name.
func (l *Lock) Close() error { return l.f.Close() }
