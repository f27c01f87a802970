//go:build !unix

package server

import (
	"errors"
	"os"
)

// takeLock refuses: a collector needs a lock that ends with its process.
func takeLock(string) (*os.File, error) {
	return nil, errors.New("the collector runs on Linux and other Unix systems only")
}
