//go:build !linux

package host

import "errors"

func machine() (string, error) { return "", errors.ErrUnsupported }
