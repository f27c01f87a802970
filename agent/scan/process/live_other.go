//go:build !linux

package process

import "io/fs"

// Live is the running system's proc; there is none here.
func Live() fs.FS { return nothing{} }

type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: "/proc/" + name, Err: fs.ErrNotExist}
}
