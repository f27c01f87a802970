package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
)

// jump is how far the sequence moves on when it is not known which ones were
// used: more reports than a host seals in a century at the default interval.
const jump = 1 << 20

// unknownPrevious stands where the predecessor's id is lost. It is no report's
// id, so the break in the chain is plain to see.
const unknownPrevious = "0000000000000000000000000000000000000000000000000000000000000000"

// errLedger: the ledger is missing or damaged.
var errLedger = errors.New("ledger is damaged")

const maxLedger = 1 << 20

// ledger is the small file that makes changes atomic. It is replaced whole, and
// names the steps that follow from it (Todo), so a crash between the ledger and
// a step is finished later.
type ledger struct {
	Version int `json:"version"`
	// Key is the evidence key whose reports are counted; Era tells the reports
	// of one key from those of the key before it.
	Key string `json:"key"`
	Era int    `json:"era"`
	// Sequence and ID are of the last sealed report.
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id,omitempty"`
	// ForkedAt is the highest sequence used when the collector last reported a
	// fork; reports up to it may be refused as well and cause no further jump.
	ForkedAt uint64 `json:"forked_at,omitempty"`

	// Baseline is the parts of the newest accepted report, by name: what the
	// collector has. Empty means that everything travels in full.
	Baseline         map[string]string `json:"baseline,omitempty"`
	BaselineSequence uint64            `json:"baseline_sequence,omitempty"`
	// FullSequence is the newest report that carries the body of every part.
	FullSequence uint64 `json:"full_sequence,omitempty"`
	WantsReport  bool   `json:"wants_report,omitempty"`

	LastAccepted *schema.Receipt `json:"last_accepted,omitempty"`
	// LastReceipt is the receipt with the latest time that was seen, as it was
	// signed; ReceiptedAt is that time.
	LastReceipt  string          `json:"last_receipt,omitempty"`
	ReceiptedAt  time.Time       `json:"receipted_at,omitzero"`
	LastRejected *schema.Receipt `json:"last_rejected,omitempty"`
	LastSealed   *Sealed         `json:"last_sealed,omitempty"`

	Counts Counts `json:"counts"`
	// Told is Counts as of the last sealed report: the difference goes into the
	// next one as gaps.
	Told Counts `json:"told"`
	// Todo is what follows from the last change, see finish.
	Todo []step `json:"todo,omitempty"`
}

// Sealed is the newest report of the chain.
type Sealed struct {
	Sequence    uint64    `json:"sequence"`
	ID          string    `json:"id"`
	CollectedAt time.Time `json:"collected_at"`
}

// Counts are totals since the spool was made.
type Counts struct {
	Sealed   uint64 `json:"sealed"`
	Accepted uint64 `json:"accepted"`
	Rejected uint64 `json:"rejected"`
	Dropped  uint64 `json:"dropped"`
	Corrupt  uint64 `json:"corrupt"`
	Jumps    uint64 `json:"jumps"`
}

// step is one change of the directory that the ledger has decided on. Doing it
// twice is harmless.
type step struct {
	Do   string `json:"do"` // publish, remove, reject, aside
	File string `json:"file"`
}

const (
	doPublish = "publish"
	doRemove  = "remove"
	doReject  = "reject"
	doAside   = "aside"
)

func newLedger(keyID string) *ledger { return &ledger{Version: 1, Key: keyID} }

func (l *ledger) startEra(keyID string) {
	l.Key, l.Era, l.Sequence, l.ID, l.ForkedAt = keyID, l.Era+1, 0, "", 0
	l.Baseline, l.BaselineSequence, l.FullSequence = nil, 0, 0
	l.WantsReport, l.LastSealed = false, nil
}

// compose returns r as the next report of the chain, and notes what it tells.
func (l *ledger) compose(r *schema.Report) *schema.Report {
	next := *r
	next.Sequence, next.Previous, next.LastReceipt = l.Sequence+1, l.ID, l.LastReceipt
	next.Bodies = map[string]string{}
	for _, p := range r.Parts {
		body, ok := r.Bodies[p.Name]
		if ok && (r.Offline || l.Baseline[p.Name] != p.Digest) {
			next.Bodies[p.Name] = body
		}
	}
	next.Gaps = slices.Concat(l.gaps(), r.Gaps) // first, since a list over its bound is cut at its end
	l.LastSealed = &Sealed{CollectedAt: schema.Timestamp(r.CollectedAt)}
	if len(next.Bodies) == len(next.Parts) {
		l.FullSequence = next.Sequence
	}
	l.Told = l.Counts
	return &next
}

// saw keeps a verified receipt as proof of the age of reports to come, unless a
// later one was seen.
func (l *ledger) saw(raw []byte, r schema.Receipt) {
	if len(raw) <= schema.MaxLastReceipt && r.ReceivedAt.After(l.ReceiptedAt) {
		l.LastReceipt, l.ReceiptedAt = string(raw), r.ReceivedAt
	}
}

// gaps tells what happened to the chain since the last report.
func (l *ledger) gaps() []schema.Gap {
	var gaps []schema.Gap
	tell := func(kind string, now, told uint64, what string) {
		if now != told {
			gaps = append(gaps, schema.Gap{Extractor: Extractor, Kind: kind, Detail: fmt.Sprintf("%d %s (%d in all)", now-told, what, now)})
		}
	}
	tell(schema.GapTruncated, l.Counts.Dropped, l.Told.Dropped, "sealed reports were dropped unreceipted because the spool was full")
	tell(schema.GapCorrupt, l.Counts.Corrupt, l.Told.Corrupt, "spool files were damaged and moved aside")
	tell(schema.GapUnsupported, l.Counts.Rejected, l.Told.Rejected, "reports were rejected by the collector")
	tell(schema.GapCorrupt, l.Counts.Jumps, l.Told.Jumps, "times the sequence jumped ahead, because the chain's ledger was lost or the collector reported a fork")
	return gaps
}

func (l *ledger) seal(e Entry) {
	l.Sequence, l.ID = e.Sequence, e.ID
	l.LastSealed.Sequence, l.LastSealed.ID = e.Sequence, e.ID
	l.Counts.Sealed++
	l.WantsReport = false
	l.Todo = append(l.Todo, step{doPublish, e.name("")})
}

func (l *ledger) drop(e Entry) {
	l.Counts.Dropped++
	l.Todo = append(l.Todo, step{doRemove, e.name(waitingExt)})
}

func (l *ledger) setAside(e Entry) {
	l.Counts.Corrupt++
	l.Todo = append(l.Todo, step{doAside, e.name(waitingExt)})
}

// skipAhead leaves behind every sequence that may have been used.
func (l *ledger) skipAhead(from uint64) {
	l.Sequence = max(l.Sequence, from) + jump
	l.Counts.Jumps++
	if l.ID == "" {
		l.ID = unknownPrevious
	}
}

// finish does what the ledger has decided on, for the first time or because a
// crash came between.
func (s *Spool) finish(l *ledger) error {
	for _, st := range l.Todo {
		if err := s.do(st); err != nil {
			return fmt.Errorf("%s %s: %w", st.Do, st.File, err)
		}
	}
	l.Todo = nil // written with the next change; doing a step twice is harmless
	return nil
}

func (s *Spool) do(st step) error {
	path := filepath.Join(s.dir, st.File)
	var err error
	switch st.Do {
	case doPublish:
		err = durable.Rename(path+stagedExt, path+waitingExt)
	case doRemove:
		if err = os.Remove(path); err == nil {
			err = durable.SyncDir(s.dir)
		}
	case doReject:
		if err = durable.Rename(path, filepath.Join(s.dir, rejectedDir, st.File)); err == nil {
			err = prune(filepath.Join(s.dir, rejectedDir))
		}
	case doAside:
		if err = durable.Rename(path, filepath.Join(s.dir, corruptDir, st.File)); err == nil {
			err = prune(filepath.Join(s.dir, corruptDir))
		}
	default:
		return fmt.Errorf("unknown step %q", st.Do)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// The ledger's file is the SHA-256 of the JSON in hex, a newline, the JSON.

func (s *Spool) save(l *ledger) error { return writeLedger(s.dir, l) }

func writeLedger(dir string, l *ledger) error {
	body, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode ledger: %w", err)
	}
	sum := sha256.Sum256(body)
	data := append(hex.AppendEncode(nil, sum[:]), '\n')
	if err := durable.WriteFile(filepath.Join(dir, ledgerFile), append(data, body...), 0o600); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

// loadLedger reads the ledger; errLedger when it is missing from a spool or damaged.
func loadLedger(dir string) (*ledger, error) {
	data, err := readBounded(filepath.Join(dir, ledgerFile), maxLedger)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is missing", errLedger)
	}
	if err != nil {
		return nil, err
	}
	sum, body, ok := bytes.Cut(data, []byte("\n"))
	want := sha256.Sum256(body)
	if !ok || string(sum) != hex.EncodeToString(want[:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errLedger)
	}
	var l ledger
	if err := json.Unmarshal(body, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", errLedger, err)
	}
	if l.Version != 1 {
		return nil, fmt.Errorf("ledger has version %d, this agent writes 1: a newer agent used this directory", l.Version)
	}
	for _, st := range l.Todo {
		if st.File == "" || filepath.Base(st.File) != st.File {
			return nil, fmt.Errorf("%w: step %q on %q, which is not a file of the spool", errLedger, st.Do, st.File)
		}
	}
	return &l, nil
}

// readLedger reads the ledger and makes a new one in place of a lost one.
func (s *Spool) readLedger() (*ledger, error) {
	l, err := loadLedger(s.dir)
	if !errors.Is(err, errLedger) {
		return l, err
	}
	return s.recover()
}

// recover starts a new ledger from the files that are left. Which sequences
// were used is not known, so it jumps; everything travels in full again.
func (s *Spool) recover() (*ledger, error) {
	files, err := s.allFiles()
	if err != nil {
		return nil, err
	}
	l := newLedger(s.keyID)
	for _, e := range files {
		if e.era > l.Era || e.era == l.Era && e.Sequence > l.Sequence {
			l.Era, l.Sequence, l.ID = e.era, e.Sequence, e.ID
		}
	}
	if err := s.keepStaged(l); err != nil {
		return nil, err
	}
	l.skipAhead(l.Sequence)
	l.ForkedAt = l.Sequence
	l.Counts.Corrupt++
	lost := filepath.Join(s.dir, ledgerFile)
	if err := durable.Rename(lost, filepath.Join(s.dir, corruptDir, ledgerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return l, s.save(l)
}

// keepStaged publishes staged reports when no ledger says whether they were
// committed: they are sealed, and the jump keeps their sequence unique.
func (s *Spool) keepStaged(l *ledger) error {
	staged, err := s.list(stagedExt)
	for _, e := range staged {
		l.Todo = append(l.Todo, step{doPublish, e.name("")})
	}
	return err
}

func (l *ledger) status() Status {
	return Status{
		KeyID: l.Key, LastSealed: l.LastSealed, LastAccepted: l.LastAccepted, LastRejected: l.LastRejected,
		Counts: l.Counts, WantsReport: l.WantsReport,
	}
}

// readBounded reads at most one byte more than limit: a file that long fails the
// check of what it holds.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}
