package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// maxLog is the most bytes of one log, unpacked, and maxLogLine of one line.
const (
	maxLog     = 64 << 20
	maxLogLine = 64 << 10
)

// maxRotations is how many older logs are read.
const maxRotations = 32

// Replaced is a version of a package that its manager's log says was replaced or
// removed.
type Replaced struct {
	At  time.Time
	Old string
}

// EachLogLine yields the lines of a log and of the older ones logrotate kept
// beside it (name.1, name.2.gz, ...), the newest file first, each from its
// beginning. When yield returns false the files older than this one are left
// out. A log that is not there is no error.
func EachLogLine(root fs.FS, name string, yield func(line string) (older bool)) error {
	for n := range maxRotations {
		file := name
		if n > 0 {
			file += "." + strconv.Itoa(n)
		}
		older, err := oneLog(root, file, yield)
		if errors.Is(err, fs.ErrNotExist) && n > 0 {
			older, err = oneLog(root, file+".gz", yield)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if n > 0 {
				return nil
			}
		case err != nil:
			return fmt.Errorf("read %s: %w", file, err)
		case !older:
			return nil
		}
	}
	return nil
}

func oneLog(root fs.FS, name string, yield func(string) bool) (older bool, err error) {
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		zr, err := gzip.NewReader(f)
		if err != nil {
			return false, err
		}
		r = zr
	}
	limited := &io.LimitedReader{R: r, N: maxLog}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxLogLine)
	older = true
	for lines.Scan() {
		older = yield(lines.Text()) && older
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	if limited.N <= 0 {
		return false, fmt.Errorf("more than %d bytes", maxLog)
	}
	return older, nil
}
