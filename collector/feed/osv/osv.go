// Package osv reads advisories in the OSV format (https://ossf.github.io/osv-schema/)
// that distributions publish: AlmaLinux, Debian, Red Hat, Rocky Linux, Ubuntu.
//
// Invariants:
//   - A snapshot with one faulty record is no snapshot: the error names the file
//     and the byte, and nothing of it is returned.
//   - What is left out (releases that are out of scope, vectors nobody can read)
//     is counted in Batch.Skipped.
//   - An issue date is the date of the document that carries the fix. A record
//     made from the CVE itself (DEBIAN-CVE-…, UBUNTU-CVE-…) has no such date.
//   - Records come out ordered by id, however the input was ordered.
package osv

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/unpack"
	"github.com/patchproof/patchproof/collector/inventory"
)

// Kind is the feed kind of every batch of this package.
const Kind = "osv"

// Errors of a document as a whole.
var (
	// ErrNotDistribution says that no record speaks of a distribution release we know.
	ErrNotDistribution = errors.New("no record is of a supported distribution release (AlmaLinux, Debian, Red Hat, Rocky Linux, Ubuntu)")
	// ErrMixed says that no distribution is named by every record.
	ErrMixed = errors.New("the records are of several distributions; import each ecosystem's own archive")
)

// Options choose what is kept.
type Options struct {
	// Keep says which releases to keep; nil keeps all.
	Keep func(inventory.Release) bool
}

// ParseZip reads an archive as OSV publishes it (ECOSYSTEM/all.zip): a snapshot.
func ParseZip(r io.ReaderAt, size int64, o Options) (advisory.Batch, error) {
	rs, err := unpack.Zip(r, size)
	if err != nil {
		return advisory.Batch{}, err
	}
	return parseSnapshot(rs, o)
}

// ParseDir reads a directory of .json records: a snapshot.
func ParseDir(fsys fs.FS, o Options) (advisory.Batch, error) {
	rs, err := unpack.Dir(fsys)
	if err != nil {
		return advisory.Batch{}, err
	}
	return parseSnapshot(rs, o)
}

// ParseOne reads one record: an upsert. When it speaks of several releases,
// Split gives each release's feed its own rows.
func ParseOne(doc []byte) (advisory.Batch, error) {
	if len(doc) > unpack.MaxRecord {
		return advisory.Batch{}, &unpack.LimitError{What: "the record's size in bytes", Limit: unpack.MaxRecord}
	}
	c := newConverter(Options{})
	if err := c.add(0, doc); err != nil {
		return advisory.Batch{}, err
	}
	b, err := join([]*converter{c}, nil)
	if err != nil {
		return advisory.Batch{}, err
	}
	sum := sha256.Sum256(doc)
	b.Digest = hex.EncodeToString(sum[:])
	return b, nil
}

func parseSnapshot(rs *unpack.Records, o Options) (advisory.Batch, error) {
	cs := make([]*converter, unpack.Workers)
	for i := range cs {
		cs[i] = newConverter(o)
	}
	err := rs.Each(func(worker, index int, body []byte) error { return cs[worker].add(index, body) })
	if err != nil {
		return advisory.Batch{}, err
	}
	b, err := join(cs, rs.Name)
	if err != nil {
		return advisory.Batch{}, err
	}
	b.Snapshot = true
	if b.Digest, err = rs.Digest(); err != nil {
		return advisory.Batch{}, err
	}
	return b, nil
}

// Split gives every release of a batch its own feed ("osv:AlmaLinux:9"), as the
// archives of single releases have, with the rows of that release only.
func Split(b advisory.Batch) []advisory.Batch {
	if len(b.Releases) < 2 {
		return []advisory.Batch{b}
	}
	out := make([]advisory.Batch, 0, len(b.Releases))
	for _, r := range b.Releases {
		s := b
		s.Feed.Name = feedName(r)
		s.Releases = []inventory.Release{r}
		s.Advisories = nil
		for _, a := range b.Advisories {
			if a.Affected = rowsOf(a.Affected, r); len(a.Affected) > 0 {
				a.Feed = s.Feed.Name
				s.Advisories = append(s.Advisories, a)
			}
		}
		out = append(out, s)
	}
	return out
}

func rowsOf(rows []advisory.Affected, r inventory.Release) []advisory.Affected {
	n := 0
	for i := range rows {
		if rows[i].Release == r {
			n++
		}
	}
	if n == len(rows) {
		return rows
	}
	kept := make([]advisory.Affected, 0, n)
	for i := range rows {
		if rows[i].Release == r {
			kept = append(kept, rows[i])
		}
	}
	return kept
}
