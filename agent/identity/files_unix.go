//go:build !windows

package identity

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openKey opens without following a symlink and without waiting on a pipe.
func openKey(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, &Error{path, "is a symlink", "put the key file itself there", nil}
	}
	if err != nil {
		return nil, &Error{path, "cannot be read", "run the agent as the user that owns it", err}
	}
	return f, nil
}

// foreign reports a file that belongs neither to us nor to root.
func foreign(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid()
}

func othersMay(info fs.FileInfo, bits fs.FileMode) bool { return info.Mode().Perm()&bits != 0 }
