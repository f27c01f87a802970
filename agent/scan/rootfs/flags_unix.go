//go:build unix

package rootfs

import (
	"os"
	"syscall"
)

// openFlags never block, even when a FIFO takes a file's place between the
// look and the open.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK
