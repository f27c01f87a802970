package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache asks that the next read comes from the medium. A file system that does
// not heed it answers from memory, which still finds what never got there whole.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
