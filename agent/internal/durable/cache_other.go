//go:build !linux

package durable

import "os"

// dropCache does nothing: there is no way to ask here.
func dropCache(*os.File) {}
