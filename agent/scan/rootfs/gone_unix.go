//go:build unix

package rootfs

import (
	"errors"
	"syscall"
)

// IsNoProcess reports an error of a file under proc whose process has ended, or
// of one under sys whose device or module has.
func IsNoProcess(err error) bool {
	return errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENODEV)
}
