package main

import "golang.org/x/sys/unix"

func columns(fd uintptr) int {
	size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) //nolint:gosec // a file descriptor is an int
	if err != nil {
		return 0
	}
	return int(size.Col)
}
