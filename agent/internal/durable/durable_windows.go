package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

const openNoFollow = 0

// SyncDir does nothing: Windows has no way to sync a directory, NTFS journals names.
func SyncDir(string) error { return nil }

func lockFile(f *os.File, wait bool) error {
	flags := uint32(windows.LOCKFILE_EXCLUSIVE_LOCK)
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
