//go:build !linux

package rpm

import (
	"fmt"
	"io/fs"
)

func identity(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}
