package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchproof/patchproof/agent/internal/durable"
)

// makeDir makes the state directory when it is missing and checks it.
func makeDir(dir string) error {
	if absent(dir) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // a parent such as /var/lib is for everyone to pass
			return &Error{dir, "cannot be made", "run the agent as root or choose another state_dir", err}
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return &Error{dir, "cannot be made", "run the agent as root or choose another state_dir", err}
		}
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return checkDir(dir)
}

// checkDir refuses a state directory in which someone else could plant files.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return &Error{dir, "state directory cannot be read", "run the agent as root or choose another state_dir", err}
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return &Error{dir, "state directory is a symlink", "set state_dir to the directory itself", nil}
	case !info.IsDir():
		return &Error{dir, "state directory is not a directory", "move the file away or choose another state_dir", nil}
	case foreign(info):
		return &Error{dir, "state directory belongs to another user", "chown it to the user the agent runs as", nil}
	case othersMay(info, 0o022):
		return &Error{dir, fmt.Sprintf("state directory is writable by others (mode %04o)", info.Mode().Perm()), "chmod go-w " + dir, nil}
	}
	return nil
}

// readKey reads a key file through one descriptor, so that what was checked is
// what is read.
func readKey(path string) ([]byte, error) {
	f, err := openKey(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, &Error{path, "not a regular file", "keys are plain files; symlinks and devices are refused", nil}
	case foreign(info):
		return nil, &Error{path, "belongs to another user", "chown it to the user the agent runs as", nil}
	case othersMay(info, 0o077):
		fault := fmt.Sprintf("others can read or change it (mode %04o)", info.Mode().Perm())
		return nil, &Error{path, fault, "chmod 600 " + path + "; if anyone else may have read it, remove it and trust the new key", nil}
	case info.Size() > maxKeyFile:
		return nil, &Error{path, fmt.Sprintf("has %d bytes, a key has at most %d", info.Size(), maxKeyFile), "restore the file from a backup", nil}
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// Role is one of the two loops a state directory serves.
type Role string

// The roles.
const (
	Collector Role = "collect"
	Sender    Role = "send"
)

// Locks names every lock that an agent takes in its state directory.
func Locks() []string {
	return []string{keysLock, string(Collector) + lockExt, string(Sender) + lockExt, spoolLock}
}

// Hold takes a role for this process, so that two agents never share a state
// directory: two collectors would fork the chain, two senders would race. The
// lock ends with the process.
func Hold(dir string, role Role) (io.Closer, error) {
	path := filepath.Join(dir, string(role)+lockExt)
	lock, err := durable.TryLock(path)
	if errors.Is(err, durable.ErrLocked) {
		fault := fmt.Sprintf("another agent already runs `%s` here", role)
		return nil, &Error{dir, fault, "stop it first, or give this one its own state_dir", err}
	}
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", role, err)
	}
	return lock, nil
}
