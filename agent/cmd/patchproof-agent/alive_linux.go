package main

import (
	"os"
	"strconv"
)

// alive reports whether a process is there.
func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return pid > 0 && err == nil
}
