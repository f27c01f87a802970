package identity

import (
	"io/fs"
	"os"
)

// On Windows access is a matter of ACLs, which a directory below ProgramData
// inherits; mode bits say nothing there.

func openKey(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, &Error{path, "cannot be read", "run the agent as the user that owns it", err}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, &Error{path, "is a symlink", "put the key file itself there", nil}
	}
	return os.Open(path)
}

func foreign(fs.FileInfo) bool { return false }

func othersMay(fs.FileInfo, fs.FileMode) bool { return false }
