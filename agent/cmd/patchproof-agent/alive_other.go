//go:build !linux

package main

import "os"

// alive reports whether a process is there, as far as the system tells.
func alive(pid int) bool {
	_, err := os.FindProcess(pid)
	return pid > 0 && err == nil
}
