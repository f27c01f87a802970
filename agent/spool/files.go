package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/agent/internal/durable"
)

// Names in the spool's directory.
const (
	ledgerFile  = "ledger"
	rejectedDir = "rejected"
	corruptDir  = "corrupt"
	waitingExt  = ".json"
	stagedExt   = ".sealed"
	receiptExt  = ".receipt"
)

// Bounds of what is kept of refused and damaged files, newest first.
const (
	maxKeptFiles = 64
	maxKeptBytes = 32 << 20
)

func (e Entry) name(ext string) string {
	return fmt.Sprintf("%04d-%020d-%s%s", e.era, e.Sequence, e.ID, ext)
}

func (s *Spool) path(e Entry, ext string) string { return filepath.Join(s.dir, e.name(ext)) }

// parseName is the inverse of Entry.name; what it refuses is not ours.
func parseName(name, ext string) (Entry, bool) {
	base, ok := strings.CutSuffix(name, ext)
	if !ok || len(base) != 4+1+20+1+64 || base[4] != '-' || base[25] != '-' {
		return Entry{}, false
	}
	era, err := strconv.ParseUint(base[:4], 10, 31)
	if err != nil {
		return Entry{}, false
	}
	sequence, err := strconv.ParseUint(base[5:25], 10, 63)
	if err != nil {
		return Entry{}, false
	}
	return Entry{Sequence: sequence, ID: base[26:], era: int(era)}, true
}

func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.era, b.era), cmp.Compare(a.Sequence, b.Sequence), strings.Compare(a.ID, b.ID))
}

func (s *Spool) entries() ([]Entry, error) { return s.list(waitingExt) }

// list returns the reports with an extension, oldest first.
func (s *Spool) list(ext string) ([]Entry, error) { return listDir(s.dir, ext) }

func listDir(dir, ext string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, f := range files {
		e, ok := parseName(f.Name(), ext)
		if !ok {
			continue
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // settled meanwhile
		}
		if err != nil {
			return nil, err
		}
		e.Size = info.Size()
		entries = append(entries, e)
	}
	slices.SortFunc(entries, compareEntries)
	return entries, nil
}

// allFiles lists every report there is a file of, whatever became of it.
func (s *Spool) allFiles() ([]Entry, error) {
	var all []Entry
	for _, place := range []struct{ dir, ext string }{
		{s.dir, waitingExt},
		{s.dir, stagedExt},
		{filepath.Join(s.dir, rejectedDir), waitingExt},
		{filepath.Join(s.dir, corruptDir), waitingExt},
	} {
		entries, err := listDir(place.dir, place.ext)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// sweep removes what was never committed: half-written files, and staged
// reports that no ledger names. Every committed step is finished before.
func (s *Spool) sweep() error {
	if err := durable.RemoveTemps(s.dir); err != nil {
		return err
	}
	staged, err := s.list(stagedExt)
	if err != nil {
		return err
	}
	for _, e := range staged {
		if err := os.Remove(s.path(e, stagedExt)); err != nil {
			return err
		}
	}
	return nil
}

// prune keeps the newest files of dir within the bounds.
func prune(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var bytes int64
	for i, f := range slices.Backward(files) {
		info, err := f.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		if len(files)-i <= maxKeptFiles && bytes <= maxKeptBytes {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
