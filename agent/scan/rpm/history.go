package rpm

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// logFile is where dnf tells what rpm did.
const logFile = "var/log/dnf.rpm.log"

// History lists what dnf replaced or removed since an instant, by package, in no
// order of time across log files. Lines that are not of that kind are passed over.
//
//	2026-11-21T06:14:02+0000 SUBDEBUG Upgraded: openssl-libs-1:3.0.1-43.el9_0.x86_64
func History(root fs.FS, since time.Time) (map[Owner][]rootfs.Replaced, []schema.Gap) {
	found := map[Owner][]rootfs.Replaced{}
	err := rootfs.EachLogLine(root, logFile, func(line string) bool {
		at, owner, old, ok := parseLogLine(line)
		if !ok {
			return true
		}
		if at.Before(since) {
			return false
		}
		found[owner] = append(found[owner], rootfs.Replaced{At: at, Old: old})
		return true
	})
	if err != nil {
		return found, []schema.Gap{{
			Extractor: Extractor, Kind: kindOf(err), Path: "/" + logFile, Detail: fmt.Sprintf("read what was upgraded: %v", err),
		}}
	}
	return found, nil
}

func parseLogLine(line string) (at time.Time, o Owner, old string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 4 || fields[1] != "SUBDEBUG" {
		return at, o, "", false
	}
	switch fields[2] {
	case "Upgraded:", "Downgraded:", "Erase:", "Erased:", "Obsoleted:":
	default:
		return at, o, "", false
	}
	at, err := time.Parse("2006-01-02T15:04:05Z0700", fields[0])
	if err != nil {
		return at, o, "", false
	}
	name, evr, arch, ok := splitNEVRA(fields[3])
	return at, Owner{Name: name, Arch: arch}, evr, ok
}

// splitNEVRA splits NAME-[EPOCH:]VERSION-RELEASE.ARCH; an epoch of 0 is left out.
func splitNEVRA(s string) (name, evr, arch string, ok bool) {
	dot := strings.LastIndexByte(s, '.')
	if dot <= 0 {
		return "", "", "", false
	}
	s, arch = s[:dot], s[dot+1:]
	release := strings.LastIndexByte(s, '-')
	if release <= 0 {
		return "", "", "", false
	}
	version := strings.LastIndexByte(s[:release], '-')
	if version <= 0 {
		return "", "", "", false
	}
	return s[:version], strings.TrimPrefix(s[version+1:], "0:"), arch, arch != ""
}
