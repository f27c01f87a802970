package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry in a report.
const Extractor = "identity"

// ErrAnotherMachine says that the keys were made on another machine. The next
// Open archives them and makes others.
var ErrAnotherMachine = errors.New("the keys were made on another machine")

// Binding is the machine that keys belong to.
type Binding struct {
	Machine schema.Machine `json:"machine"`
	// BoundAt is when, by the host's clock.
	BoundAt time.Time `json:"bound_at"`
}

// Check holds the machine a report was made on against the one the keys are
// for. The error is ErrAnotherMachine; a gap says that it could not be told.
func (id *Identity) Check(here schema.Machine) ([]schema.Gap, error) {
	switch like, why := id.Binding.Machine.Like(here); like {
	case schema.AnotherMachine:
		return nil, fmt.Errorf("%w: %s", ErrAnotherMachine, why)
	case schema.SameMachine:
		return nil, nil
	default:
		return []schema.Gap{{
			Extractor: Extractor, Kind: schema.GapUnreadable,
			Detail: fmt.Sprintf("whether the keys are this machine's cannot be told: %s; bound to: %s; here: %s", why, id.Binding.Machine, here),
		}}, nil
	}
}

// bind writes down which machine the keys in dir are for: at first start, for keys that an older agent made, and when more or other facts of the
// same machine are known.
func bind(dir string, here schema.Machine, now time.Time) error {
	held, err := readBinding(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next := held
	switch like, _ := held.Machine.Like(here); {
	case err != nil || !hasKeys(dir):
		next = Binding{Machine: here, BoundAt: schema.Timestamp(now)}
	case like == schema.SameMachine:
		next.Machine = learned(held.Machine, here)
	}
	if err == nil && next == held {
		return nil
	}
	return writeBinding(dir, next)
}

// learned returns what is known of a machine after it was seen again. A fact
// that cannot be read now stands, and no id by cloud-init replaces a cloud's own.
func learned(m, seen schema.Machine) schema.Machine {
	if seen.Instance != "" && (schema.FromCloud(seen.Instance) || !schema.FromCloud(m.Instance)) {
		m.Instance = seen.Instance
	}
	if seen.ProductUUID != "" {
		m.ProductUUID = seen.ProductUUID
	}
	if seen.MachineID != "" {
		m.MachineID = seen.MachineID
	}
	return m
}

// readBinding returns fs.ErrNotExist when there is none.
func readBinding(dir string) (Binding, error) {
	path := filepath.Join(dir, BindingFile)
	if absent(path) {
		return Binding{}, fs.ErrNotExist
	}
	data, err := readKey(path)
	if err != nil {
		return Binding{}, fmt.Errorf("read the machine's binding: %w", err)
	}
	var b Binding
	if err := schema.UnmarshalStrict(data, &b); err != nil {
		return Binding{}, fmt.Errorf("read the machine's binding: %w", &Error{
			path, "is not what the agent wrote",
			"when this is the machine the keys were made on, remove the file: they are bound again; otherwise run `patchproof-agent seal-image`", err,
		})
	}
	return b, nil
}

func writeBinding(dir string, b Binding) error {
	data, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("write the machine's binding: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, BindingFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the machine's binding: %w", err)
	}
	return nil
}

// hasKeys reports whether some key was made in dir.
func hasKeys(dir string) bool {
	return !absent(filepath.Join(dir, EvidenceFile)) || !absent(filepath.Join(dir, TransportFile))
}

// Names of the archive in a state directory.
const (
	ArchiveDir = "archive"
	unfinished = ".unfinished"
	whyFile    = "why.txt"
)

// archiveName is how the directory of one archived identity is called.
const archiveName = "2006-01-02T150405Z-another-machine"

// archiveForeign moves everything another machine left in dir below archive/ and
// returns where; empty when the keys are this machine's. It deletes nothing. What
// a crash leaves half moved the next start moves.
func archiveForeign(dir string, here schema.Machine, now time.Time) (string, error) {
	to := filepath.Join(dir, ArchiveDir, unfinished)
	begun := !absent(to)
	foreign, why, err := isForeign(dir, here)
	if !begun && (err != nil || !foreign) {
		return "", err
	}
	for _, role := range []Role{Collector, Sender} {
		held, err := Hold(dir, role)
		if err != nil {
			return "", fmt.Errorf("archive the keys of another machine: %w", err)
		}
		defer func() { _ = held.Close() }()
	}
	if !begun {
		if err := startArchive(to, why); err != nil {
			return "", fmt.Errorf("archive the keys of another machine: %w", err)
		}
	}
	place, err := finishArchive(dir, to, now)
	if err != nil {
		return "", fmt.Errorf("archive the keys of another machine: %w", err)
	}
	return place, nil
}

func isForeign(dir string, here schema.Machine) (foreign bool, why string, err error) {
	b, err := readBinding(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !hasKeys(dir) {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	like, why := b.Machine.Like(here)
	text := fmt.Sprintf("The keys and reports here were made on another machine: %s.\nBound to: %s, at %s.\nFound on: %s.\n"+
		"No agent uses them any more. Keep them while the collector may ask for their reports.\n",
		why, b.Machine, b.BoundAt.Format(time.RFC3339), here)
	return like == schema.AnotherMachine, text, nil
}

// startArchive makes the place to move to, with the reason in it, in one step:
// that it is there means that moving has begun.
func startArchive(to, why string) error {
	fresh := filepath.Join(filepath.Dir(to), durable.TempPrefix+unfinished)
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(fresh, whyFile), []byte(why), 0o600); err != nil {
		return err
	}
	return durable.Rename(fresh, to)
}

func finishArchive(dir, to string, now time.Time) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name() == ArchiveDir || filepath.Ext(e.Name()) == lockExt {
			continue
		}
		if err := durable.Rename(filepath.Join(dir, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return "", err
		}
	}
	place := filepath.Join(dir, ArchiveDir, now.UTC().Format(archiveName))
	for n := 2; !absent(place); n++ {
		place = filepath.Join(dir, ArchiveDir, fmt.Sprintf("%s-%d", now.UTC().Format(archiveName), n))
	}
	return place, durable.Rename(to, place)
}

// Archives lists where the identities of other machines are kept, oldest first.
func (id *Identity) Archives() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(id.Dir, ArchiveDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list archived identities: %w", err)
	}
	var places []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // a move that has not ended
			places = append(places, filepath.Join(id.Dir, ArchiveDir, e.Name()))
		}
	}
	return places, nil
}
