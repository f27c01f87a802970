//go:build !unix

package rootfs

// IsNoProcess reports an error of a file under proc whose process has ended;
// there is no proc here.
func IsNoProcess(error) bool { return false }
