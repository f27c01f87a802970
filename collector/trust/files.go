package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenDir makes a directory for secrets on first use, and refuses one that others
// can enter.
func OpenDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return refuseShared(dir, info, 0o700)
}

// refuseShared refuses what anyone but the owner can read, write or enter.
func refuseShared(path string, info fs.FileInfo, want fs.FileMode) error {
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, others can reach it; run chmod %o %s, and think about who may have read it",
			path, info.Mode().Perm(), want, path)
	}
	return nil
}

// readOrMake returns a file's content, made by the given function on first use.
func readOrMake(path string, content func() ([]byte, error)) ([]byte, error) {
	text, err := ReadPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	err = CreatePrivate(path, text)
	if errors.Is(err, fs.ErrExist) { // another process was first
		return ReadPrivate(path)
	}
	return text, err
}

// maxKeyFile bounds what is read of a key file; none of ours has 1 KiB.
const maxKeyFile = 4096

// ReadPrivate reads a key file, which nobody but its owner can read.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := refuseShared(path, info, 0o600); err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s has %d bytes, a key file has at most %d", path, info.Size(), maxKeyFile)
	}
	return os.ReadFile(path)
}

// CreatePrivate writes a file that only its owner can read, whole or not at all,
// and never over another (fs.ErrExist).
func CreatePrivate(path string, content []byte) error { return write(path, content, os.Link) }

// ReplacePrivate writes a file that only its owner can read, whole or not at
// all, in place of what was there.
func ReplacePrivate(path string, content []byte) error { return write(path, content, os.Rename) }

// write syncs the content under a name of its own and then gives it its place.
func write(path string, content []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := place(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
