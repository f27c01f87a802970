// Package spool keeps sealed reports on disk until the collector's signed
// receipt says they are on record.
//
// It refuses to decide anything about the road: what is sent when, and by which
// road, is the sender's business. A receipt handed to Settle must already be
// verified with the pinned key.
//
// Layout of its directory:
//
//	ledger                   the chain and what is known of receipts, see ledger.go
//	ERA-SEQUENCE-ID.json     a sealed report waiting for its receipt
//	ERA-SEQUENCE-ID.sealed   a sealed report whose ledger entry is not yet written
//	rejected/                reports the collector refused, with the receipt; bounded
//	corrupt/                 files that no longer hold what was written; bounded
//
// The lock taken around every change, by whichever process, is the file of the
// directory's name with ".lock" beside it.
//
// Invariants:
//   - The ledger is the commit point. A report is staged and synced, then the
//     ledger names its sequence and id, then it gets the name a sender sees. A
//     crash before the ledger leaves no trace of the report and its sequence
//     free; a crash after it is finished by the next Open. So no sequence is
//     ever visible with two contents, and no visible report is lost.
//   - A report leaves only on a receipt that names its id, key and sequence, or
//     by the drop rule, or because its bytes are damaged; the last two are
//     counted, shown in the status and told as a gap in the next report.
//   - The drop rule: when a new report would exceed the limits, the oldest
//     waiting ones go first and the newest always stays. Every report is a full
//     statement, so the newest carries the state; the dropped ones are history,
//     and that history is missing is itself stated.
//   - A part goes by digest only when the collector's receipt for a report that
//     names this digest is on record. Until then its body travels in every report,
//     and always in one that says it is offline: what travels by hand stands alone.
//   - A report carries the receipt with the latest time that was seen when it was
//     sealed, which proves that it is not older.
//   - A sequence that may have been used is never used again: when the ledger is
//     lost or the collector reports a fork, the sequence jumps ahead.
package spool

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Errors of this package.
var (
	// ErrGone: the report is no longer waiting; it was settled or dropped.
	ErrGone = errors.New("report is no longer in the spool")
	// ErrCorrupt: the report's file does not hold what was sealed; it has been
	// moved aside and counted.
	ErrCorrupt = errors.New("spool file is damaged and was moved to corrupt/")
	// ErrNone: there is no spool in this directory yet.
	ErrNone = errors.New("no spool yet")
	// ErrReceipt: the receipt does not fit the report it names.
	ErrReceipt = errors.New("receipt does not fit the report")
)

// Extractor is the name gaps of the spool carry in a report.
const Extractor = "spool"

// Default limits.
const (
	DefaultBytes   = 64 << 20
	DefaultReports = 1000
)

// Limits bound what waits in the spool. The zero value means the defaults.
type Limits struct {
	Bytes   int64
	Reports int
}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Reports == 0 {
		l.Reports = DefaultReports
	}
	return l
}

// Spool is the directory of waiting reports. Several processes may hold it
// open; every change is made under its lock.
type Spool struct {
	dir    string
	limits Limits
	keyID  string

	mu sync.Mutex
	// needed counts, by report id, the `need` receipts that came after a newer
	// report had been accepted.
	needed map[string]int
}

// Entry is one waiting report.
type Entry struct {
	Sequence uint64
	ID       string
	Size     int64

	era int
}

// Open opens the spool in dir for reports sealed by the key, makes it at first
// start, and finishes what a crash left undone.
func Open(dir string, key ed25519.PublicKey, limits Limits) (*Spool, error) {
	s := &Spool{dir: dir, limits: limits.orDefault(), keyID: schema.KeyID(key), needed: map[string]int{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

func (s *Spool) open() error {
	return s.locked(func(l *ledger) error {
		if err := s.sweep(); err != nil || l.Key == s.keyID {
			return err
		}
		// A new evidence key counts its own reports; what the old one sealed
		// still waits and goes first.
		l.startEra(s.keyID)
		return s.save(l)
	})
}

// makeDirs makes the directory with its first ledger in one step, so that a
// directory without a ledger always means a lost one.
func (s *Spool) makeDirs() error {
	_, err := os.Lstat(s.dir)
	if err == nil {
		return s.makeKept(s.dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := s.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	if err := s.makeKept(fresh); err != nil {
		return err
	}
	if err := writeLedger(fresh, newLedger(s.keyID)); err != nil {
		return err
	}
	return durable.Rename(fresh, s.dir)
}

func (s *Spool) makeKept(dir string) error {
	for _, name := range []string{rejectedDir, corruptDir} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// locked runs change with the lock held, the directories there, the ledger
// read, and everything a crash left undone finished.
func (s *Spool) locked(change func(*ledger) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock, err := durable.WaitLock(s.dir + ".lock")
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := s.makeDirs(); err != nil {
		return err
	}
	l, err := s.readLedger()
	if err != nil {
		return err
	}
	if err := s.finish(l); err != nil {
		return err
	}
	return change(l)
}

// Append seals r as the next report of the chain and keeps it. It sets the
// sequence, the predecessor and the last receipt, leaves out the bodies the
// collector has unless r is offline, and adds as gaps what happened to earlier
// reports. r is not changed.
func (s *Spool) Append(r *schema.Report, key ed25519.PrivateKey) (Entry, error) {
	var entry Entry
	err := s.locked(func(l *ledger) error {
		next := l.compose(r)
		raw, id, err := envelope.Seal(next, key)
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		entry = Entry{Sequence: next.Sequence, ID: id, Size: int64(len(raw)), era: l.Era}
		return s.commit(l, entry, raw)
	})
	if err != nil {
		return Entry{}, fmt.Errorf("spool report: %w", err)
	}
	return entry, nil
}

// commit makes a sealed report part of the chain: stage, ledger, name.
func (s *Spool) commit(l *ledger, e Entry, raw []byte) error {
	if err := s.sweep(); err != nil {
		return err
	}
	waiting, err := s.entries()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.path(e, stagedExt), raw, 0o600); err != nil {
		return err
	}
	for _, victim := range s.victims(waiting, e) {
		l.drop(victim)
	}
	l.seal(e)
	// After an error here it is not known which ledger is on disk. The staged
	// file stays: the next change publishes it or sweeps it away accordingly.
	return s.apply(l)
}

// victims are the oldest waiting reports that must go for e to fit.
func (s *Spool) victims(waiting []Entry, e Entry) []Entry {
	bytes := e.Size
	for _, w := range waiting {
		bytes += w.Size
	}
	n := 0
	for n < len(waiting) && (len(waiting)-n+1 > s.limits.Reports || bytes > s.limits.Bytes) {
		bytes -= waiting[n].Size
		n++
	}
	return waiting[:n]
}

// Pending lists the waiting reports, oldest first.
func (s *Spool) Pending() ([]Entry, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	return entries, nil
}

// Load returns the sealed bytes of a waiting report, verified again. ErrGone
// when it no longer waits, ErrCorrupt when its file is damaged.
func (s *Spool) Load(e Entry) ([]byte, error) {
	raw, _, err := s.load(e)
	if errors.Is(err, ErrCorrupt) {
		cause := err
		err = s.locked(func(l *ledger) error {
			if _, _, err := s.load(e); !errors.Is(err, ErrCorrupt) {
				return err
			}
			l.setAside(e)
			if err := s.save(l); err != nil {
				return err
			}
			return errors.Join(cause, s.finish(l))
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load report %d: %w", e.Sequence, err)
	}
	return raw, nil
}

func (s *Spool) load(e Entry) ([]byte, *envelope.Opened, error) {
	raw, err := readBounded(s.path(e, waitingExt), envelope.MaxEnvelope)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrGone
	}
	if err != nil {
		return nil, nil, err
	}
	opened, err := envelope.Open(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if opened.ID != e.ID {
		return nil, nil, fmt.Errorf("%w: holds report %s", ErrCorrupt, opened.ID)
	}
	return raw, opened, nil
}

// WantsReport reports whether a new report in full should be sealed before the
// next one is due: the collector lacks parts, or refused this chain's sequence.
func (s *Spool) WantsReport() (bool, error) {
	l, err := loadLedger(s.dir)
	if err != nil {
		return false, fmt.Errorf("read ledger: %w", err)
	}
	return l.WantsReport, nil
}
