package dpkg

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// logFile is dpkg's own log (dpkg.cfg: log /var/log/dpkg.log).
const logFile = "var/log/dpkg.log"

// History lists what dpkg replaced or removed since an instant, by package, in no
// order of time across log files. The log has the host's local time without its zone, so zone is
// the host's. Lines that are not of that kind are passed over.
//
//	2026-11-21 06:14:02 upgrade libssl3:amd64 3.0.11-1~deb12u2 3.0.14-1~deb12u2
func History(root fs.FS, zone *time.Location, since time.Time) (map[Owner][]rootfs.Replaced, []schema.Gap) {
	found := map[Owner][]rootfs.Replaced{}
	err := rootfs.EachLogLine(root, logFile, func(line string) bool {
		owner, r, ok := parseLogLine(line, zone)
		if !ok {
			return true
		}
		if r.At.Before(since) {
			return false
		}
		found[owner] = append(found[owner], r)
		return true
	})
	if err != nil {
		return found, []schema.Gap{{
			Extractor: Extractor, Kind: kindOf(err), Path: "/" + logFile, Detail: fmt.Sprintf("read what was upgraded: %v", err),
		}}
	}
	return found, nil
}

func parseLogLine(line string, zone *time.Location) (Owner, rootfs.Replaced, bool) {
	const stamp = "2006-01-02 15:04:05"
	if len(line) <= len(stamp) {
		return Owner{}, rootfs.Replaced{}, false
	}
	at, err := time.ParseInLocation(stamp, line[:len(stamp)], zone)
	if err != nil {
		return Owner{}, rootfs.Replaced{}, false
	}
	fields := strings.Fields(line[len(stamp):])
	// "<none>" is a version that was not there.
	if len(fields) != 4 || fields[0] != "upgrade" && fields[0] != "remove" || strings.HasPrefix(fields[2], "<") {
		return Owner{}, rootfs.Replaced{}, false
	}
	name, arch, _ := strings.Cut(fields[1], ":")
	return Owner{Name: name, Arch: arch}, rootfs.Replaced{At: at, Old: fields[2]}, true
}
