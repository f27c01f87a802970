package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// ErrManyEntries means that a directory holds more names than were read.
var ErrManyEntries = errors.New("more names than are read")

// ReadFile reads a file of at most limit bytes; a larger one is an error.
func ReadFile(root fs.FS, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return b, nil
}

// maxLine is the most bytes of a file of one line.
const maxLine = 4096

// ReadLine reads a file of one line, such as those of proc and sys, without the
// space around it.
func ReadLine(root fs.FS, name string) (string, error) {
	b, err := ReadFile(root, name, maxLine)
	return strings.TrimSpace(string(b)), err
}

// Entries lists a directory in its own order. Beyond limit names the rest is
// left out and the error is ErrManyEntries.
func Entries(root fs.FS, dir string, limit int) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, fmt.Errorf("list %s: not a directory", dir)
	}
	entries, err := d.ReadDir(limit + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(entries) > limit {
		return entries[:limit], fmt.Errorf("list %s: %w: %d", dir, ErrManyEntries, limit)
	}
	return entries, err
}
