package rpm

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity tells a file in one state from the same name in any other. The
// change time cannot be set by a program.
func identity(info fs.FileInfo) string {
	id := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id += fmt.Sprintf(" %d %d %d", s.Dev, s.Ino, s.Ctim.Nano())
	}
	return id
}
