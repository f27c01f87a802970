package dpkg

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// readFileLists reads what the file lists say beside the database: when each
// package was last unpacked, and which packages dpkg once knew. whole says that
// the status file was readable to its end.
func (r *reader) readFileLists(whole bool) {
	dir, err := fs.Sub(r.root, infoDir)
	if err != nil {
		return // an image may ship the database without them
	}
	if c, ok := dir.(interface{ Close() error }); ok {
		defer func() { _ = c.Close() }()
	}
	for i := range r.records {
		if r.records[i].installed {
			r.records[i].pkg.InstalledAt = installTime(dir, &r.records[i])
		}
	}
	if whole {
		r.checkOrphans(dir)
	}
}

// installTime is when dpkg wrote the package's file list, 0 when there is none.
func installTime(dir fs.FS, rec *record) int64 {
	name := rec.pkg.Name + ".list"
	if rec.multiArch {
		name = rec.pkg.Name + ":" + rec.pkg.Arch + ".list"
	}
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return 0
	}
	info, err := fs.Lstat(dir, name)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return max(info.ModTime().Unix(), 0)
}

// checkOrphans reports packages that have a file list and no stanza. dpkg
// removes the list with the stanza, so the status file lost them: it was cut
// between stanzas, or is an older copy.
func (r *reader) checkOrphans(dir fs.FS) {
	names, err := readNames(dir, ".", r.limits.Entries)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.gap(kindOf(err), infoDir, err.Error())
		}
		return
	}
	var orphans []string
	for _, file := range names {
		name, ok := strings.CutSuffix(file, ".list")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, ":")
		if _, ok := r.known[name]; !ok {
			orphans = append(orphans, name)
		}
	}
	if len(orphans) == 0 {
		return
	}
	slices.Sort(orphans)
	shown := strings.Join(orphans[:min(len(orphans), 5)], ", ")
	r.gap(schema.GapTruncated, statusFile,
		fmt.Sprintf("%d packages have a file list and no stanza, among them %.200q", len(orphans), shown))
}
