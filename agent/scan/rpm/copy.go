package rpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A database that is being written is copied again, this often at most and
// after this long; an rpm transaction writes in bursts.
const (
	copyTries = 5
	copyPause = 50 * time.Millisecond
)

// headSize covers what each format keeps its change count in.
const headSize = 4096

var errChanging = errors.New("it kept changing while it was copied")

// copyDatabase makes a copy of the database and the files beside it in cache
// and returns the copy's path and what it is a copy of. The copy is of one moment:
// sizes, times and first pages are the same before and after. rpm's locks are not
// touched, so no transaction ever waits for the agent.
func (r *reader) copyDatabase(ctx context.Context, db database, cache string) (string, states, error) {
	dst := filepath.Join(cache, copyName(db))
	for try := range copyTries {
		before, err := r.states(db)
		if err != nil {
			return "", nil, err
		}
		if total := before.size(); total > r.limits.Database {
			return "", nil, fmt.Errorf("%d bytes: %w", total, errTooLarge)
		}
		if before.main().size == 0 {
			return "", nil, fmt.Errorf("an empty file: %w", errTruncated)
		}
		same, err := r.copyOnce(db, dst, before)
		if err != nil {
			return "", nil, err
		}
		if same {
			return dst, before, nil
		}
		if try < copyTries-1 {
			if err := pause(ctx, copyPause); err != nil {
				return "", nil, err
			}
		}
	}
	return "", nil, errChanging
}

// copyName tells copies of different databases apart.
func copyName(db database) string {
	sum := sha256.Sum256([]byte(db.path))
	return "rpm-" + hex.EncodeToString(sum[:4]) + "-" + db.file
}

// copyOnce copies each file that is there and says whether all stayed the same.
func (r *reader) copyOnce(db database, dst string, before states) (bool, error) {
	if err := removeCopy(db, dst); err != nil {
		return false, err
	}
	for i, suffix := range db.suffixes() {
		if !before[i].there {
			continue
		}
		if err := r.copyFile(db.path+suffix, dst+suffix, before[i].size); err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errShort) {
				return false, nil // it changed: look again
			}
			return false, err
		}
	}
	after, err := r.states(db)
	if err != nil {
		return false, err
	}
	if !before.equal(after) {
		return false, nil
	}
	return r.sameHead(db.path, dst)
}

// removeCopy removes an earlier copy with whatever SQLite left beside it.
func removeCopy(db database, dst string) error {
	for _, suffix := range append(db.suffixes(), "-shm") {
		if err := os.Remove(dst + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

var errShort = errors.New("shorter than it was")

func (r *reader) copyFile(src, dst string, size int64) error {
	in, err := r.root.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// As much as was there at the look: a file that grows for ever ends too.
	n, err := io.Copy(out, io.LimitReader(in, size))
	if err == nil && n < size {
		err = errShort
	}
	return errors.Join(err, out.Close())
}

// sameHead compares the first page of the database with its copy's.
func (r *reader) sameHead(src, dst string) (bool, error) {
	live, err := r.root.Open(src)
	if err != nil {
		return false, err
	}
	defer func() { _ = live.Close() }()
	made, err := os.Open(dst)
	if err != nil {
		return false, err
	}
	defer func() { _ = made.Close() }()
	a, err := io.ReadAll(io.LimitReader(live, headSize))
	if err != nil {
		return false, err
	}
	b, err := io.ReadAll(io.LimitReader(made, headSize))
	if err != nil {
		return false, err
	}
	return bytes.Equal(a, b), nil
}

// suffixes are the database's own name and its sides'.
func (db database) suffixes() []string { return append([]string{""}, db.sides...) }

// state is what tells one moment of a file from another.
type state struct {
	there bool
	info  fs.FileInfo
	size  int64
}

// states are those of the database's files, in the order of suffixes.
type states []state

func (r *reader) states(db database) (states, error) {
	var all states
	for i, suffix := range db.suffixes() {
		info, err := fs.Stat(r.root, db.path+suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i > 0:
			all = append(all, state{})
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s: not a regular file", db.path+suffix)
		default:
			all = append(all, state{there: true, info: info, size: info.Size()})
		}
	}
	return all, nil
}

func (s states) main() state { return s[0] }

func (s states) size() int64 {
	var total int64
	for _, f := range s {
		total += f.size
	}
	return total
}

func (s states) equal(other states) bool {
	for i := range s {
		a, b := s[i], other[i]
		if a.there != b.there || a.size != b.size {
			return false
		}
		if a.there && (!a.info.ModTime().Equal(b.info.ModTime()) || !os.SameFile(a.info, b.info)) {
			return false
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
