//go:build unix

package natsin

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles is how many files the process may hold open.
func openFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024 // what every system allows
	}
	return int(min(l.Cur, math.MaxInt32))
}
