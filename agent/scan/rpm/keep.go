package rpm

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchproof/patchproof/schema"
)

// keepVersion changes whenever the same database would be read differently.
const keepVersion = 1

// keepSettled is how much older than the kept file a database must be. Within a
// file system's time granularity a database could change and look the same.
const keepSettled = 2 * time.Second

// kept is what was read of a database that may not have changed since: most
// scans find it so, and reading a few hundred megabytes again would tell
// nothing.
type kept struct {
	Version  int      `json:"version"`
	Path     string   `json:"path"`
	Files    []string `json:"files"`
	Packages string   `json:"packages"`
}

// recall returns the packages of a database that is as it was when keep saw it.
func (r *reader) recall(db database, cache string) ([]schema.Package, bool) {
	f, err := os.Open(filepath.Join(cache, copyName(db)+".json"))
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	var k kept
	if err := json.NewDecoder(io.LimitReader(f, 2*schema.MaxPart)).Decode(&k); err != nil {
		return nil, false
	}
	info, err := f.Stat()
	if err != nil || k.Version != keepVersion || k.Path != db.path {
		return nil, false
	}
	now, err := r.states(db)
	if err != nil || !now.settledBefore(info.ModTime()) || !slices.Equal(k.Files, now.identities()) {
		return nil, false
	}
	packages, err := schema.DecodePackages(k.Packages)
	return packages, err == nil
}

// keep stores what was read of a database in this state. That it could not be
// stored costs the next scan time and nothing else.
func keep(db database, cache string, state states, packages []schema.Package) error {
	text, err := schema.EncodePackages(packages)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(kept{Version: keepVersion, Path: db.path, Files: state.identities(), Packages: text})
	if err != nil {
		return err
	}
	name := filepath.Join(cache, copyName(db)+".json")
	tmp := name + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// settledBefore says that no file changed shortly before t, or after it.
func (s states) settledBefore(t time.Time) bool {
	for _, f := range s {
		if f.there && f.info.ModTime().Add(keepSettled).After(t) {
			return false
		}
	}
	return true
}

func (s states) identities() []string {
	ids := make([]string, len(s))
	for i, f := range s {
		if f.there {
			ids[i] = identity(f.info)
		}
	}
	return ids
}

// private says whether nobody else can write in the cache directory. What is
// kept there is believed, so a directory others can write in is not used.
func private(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && info.Mode().Perm()&0o022 == 0
}
