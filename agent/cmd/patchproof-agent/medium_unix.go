//go:build !windows

package main

import (
	"os"
	"syscall"
)

// openMedium opens a file without following a link at its name or waiting for a
// FIFO's writer.
func openMedium(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
