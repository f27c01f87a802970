package policy

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// TZData is the version of the IANA time zone database in zoneinfo.zip.
const TZData = "2025c"

// zoneinfo is the archive that the Go distribution makes of the IANA time zone
// database (public domain) and embeds as time/tzdata. It is kept here because
// time.LoadLocation looks at the host's files before it looks at time/tzdata,
// and because time/tzdata changes with the compiler: a verdict must depend on
// neither.
//
//go:generate sh -c "cp \"$(go env GOROOT)/lib/time/zoneinfo.zip\" zoneinfo.zip && grep ^DATA= \"$(go env GOROOT)/lib/time/update.bash\""
//go:embed zoneinfo.zip
var zoneinfo []byte

var errNoZone = errors.New("no such time zone")

// loadZone reads a zone from the embedded database alone.
func loadZone(name string) (*time.Location, error) {
	archive, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		return nil, fmt.Errorf("read time zone data: %w", err)
	}
	f, err := archive.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("%w: %q", errNoZone, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read time zone data: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return nil, fmt.Errorf("%w: %q", errNoZone, name)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read time zone data: %w", err)
	}
	return time.LoadLocationFromTZData(name, data)
}
