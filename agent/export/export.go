// Package export is the road by hand: it writes sealed reports into bundle files
// that a person carries to the collector.
//
// It refuses to decide what becomes of a report that was written out: that a file
// lies on a medium proves nothing, only a receipt does.
//
// Invariants:
//   - A file is complete, synced and read back before it has its name; a crash or a
//     pulled medium leaves the file before or after, never half of one.
//   - A file holds everything it was given, in that order; each stands alone and can
//     be imported in any order, any number of times.
//   - Nothing that is no bundle is ever replaced.
//   - No network, and the clock is only told, never believed.
package export

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Extension ends the name of a bundle that Write names itself. A reader goes by
// what is in a file, not by its name.
const Extension = ".bundle"

// Errors of this package.
var (
	// ErrNotBundle: what lies at the place is something else and stays there.
	ErrNotBundle = errors.New("a file that is no bundle is in its place")
	// ErrTooMuch: what waits does not fit one file.
	ErrTooMuch = errors.New("what waits does not fit one bundle")
	// ErrNoDirectory: what is named as a directory is none; a medium is not there.
	ErrNoDirectory = errors.New("no such directory")
)

// Envelope is one line to write out.
type Envelope struct {
	// Sequence is of a report, 0 of anything else. Size is in bytes.
	Sequence uint64
	Size     int64
	// Load returns the sealed bytes; nil when there is nothing to write any more.
	Load func() ([]byte, error)
}

// Writer makes bundles of one host.
type Writer struct {
	Recipient *bundle.Recipient
	Key       ed25519.PrivateKey
	// Agent is the version that is told, Now the host's clock.
	Agent string
	Now   func() time.Time
}

// File is a bundle that was written.
type File struct {
	Path   string `json:"path"`
	Digest string `json:"sha256"`
	Size   int    `json:"size"`
	// Envelopes in it, and the lowest and highest sequence among them.
	Envelopes int    `json:"envelopes"`
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
}

// Write writes everything to out: a file, or a directory that is there, in which
// the host's own names are used and replaced. A name that ends in a separator is a
// directory's (ErrNoDirectory). What one bundle cannot hold goes on in further
// files, which only a directory has room for; ErrTooMuch otherwise.
func (w *Writer) Write(out string, all []Envelope) ([]File, error) {
	if out == "" {
		return nil, errors.New("export: no place to write to")
	}
	groups := group(all)
	paths := []string{out}
	info, err := os.Stat(out)
	switch {
	case err == nil && info.IsDir():
		paths = w.paths(out, len(groups))
	case os.IsPathSeparator(out[len(out)-1]):
		return nil, fmt.Errorf("export to %s: %w", out, ErrNoDirectory)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("export: %w", err)
	case len(groups) > 1:
		return nil, fmt.Errorf("export to %s: %w", out, ErrTooMuch)
	}
	var files []File
	for i, g := range groups {
		f, err := w.writeOne(paths[i], g)
		if err != nil {
			return files, fmt.Errorf("export: %w", err)
		}
		files = append(files, f)
	}
	if len(paths) > len(groups) {
		// What an earlier, longer export left behind is in the files before it.
		for _, path := range paths[len(groups):] {
			if err := removeBundle(path); err != nil {
				return files, fmt.Errorf("export: %w", err)
			}
		}
	}
	return files, nil
}

// maxFiles bounds the files of one export: two bundles hold the largest spool
// there is by default.
const maxFiles = 64

// paths are the names of n files in a directory, and of those that an earlier
// export may have left beyond them.
func (w *Writer) paths(dir string, n int) []string {
	pub, _ := w.Key.Public().(ed25519.PublicKey)
	base := "patchproof-" + schema.KeyID(pub)[:16]
	var out []string
	for i := 1; i <= maxFiles; i++ {
		path := filepath.Join(dir, base+Extension)
		if i > 1 {
			path = filepath.Join(dir, base+"-"+strconv.Itoa(i)+Extension)
		}
		if _, err := os.Lstat(path); i > n && err != nil {
			break
		}
		out = append(out, path)
	}
	return out
}

// lineRoom is what a line costs beside its bytes: its end, and its id in the
// manifest, in base64.
const lineRoom = 1 + (64+3)*4/3 + 1

// manifestRoom is what the manifest costs beside the ids.
const manifestRoom = 2048

// group splits envelopes, in order, into what fits one bundle each. Without any,
// there is one empty bundle: that a host has nothing to say is worth carrying.
func group(all []Envelope) [][]Envelope {
	const room = int64(bundle.MaxSize - bundle.Overhead - manifestRoom)
	groups, used := [][]Envelope{nil}, int64(0)
	for _, e := range all {
		last := len(groups) - 1
		size := e.Size + lineRoom
		if n := len(groups[last]); n > 0 && (used+size > room || n == bundle.MaxLines) {
			groups, used, last = append(groups, nil), 0, last+1
		}
		groups[last] = append(groups[last], e)
		used += size
	}
	return groups
}

func (w *Writer) writeOne(path string, envelopes []Envelope) (File, error) {
	f := File{Path: path}
	m := bundle.Manifest{MadeAt: w.Now(), Agent: w.Agent}
	var lines [][]byte
	for _, e := range envelopes {
		raw, err := e.Load()
		if err != nil {
			return f, err
		}
		if raw == nil {
			continue
		}
		lines = append(lines, raw)
		if e.Sequence > 0 && w.own(raw) {
			if m.First == 0 || e.Sequence < m.First {
				m.First = e.Sequence
			}
			m.Last = max(m.Last, e.Sequence)
		}
	}
	sealed, err := bundle.Seal(w.Recipient, lines, m, w.Key)
	if err != nil {
		return f, err
	}
	if err := checkBundle(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := durable.WriteVerified(path, sealed, 0o600); err != nil {
		return f, err
	}
	sum := sha256.Sum256(sealed)
	f.Digest, f.Size, f.Envelopes = hex.EncodeToString(sum[:]), len(sealed), len(lines)
	f.First, f.Last = m.First, m.Last
	return f, nil
}

// own reports whether the present key sealed an envelope; what an older key of this
// host sealed may travel along, and is counted apart.
func (w *Writer) own(raw []byte) bool {
	opened, err := envelope.Open(raw)
	return err == nil && opened.Key.Equal(w.Key.Public())
}

func removeBundle(path string) error {
	if err := checkBundle(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// checkBundle returns an error unless a file that begins as a bundle is at path.
func checkBundle(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", path, ErrNotBundle)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	start := make([]byte, bundle.HeaderSize)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if !bundle.IsBundle(start[:n]) {
		return fmt.Errorf("%s: %w", path, ErrNotBundle)
	}
	return nil
}
