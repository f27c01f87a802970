package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Outcome is what a receipt did to the spool.
type Outcome string

// Outcomes.
const (
	// Accepted: the report is on record and has left the spool.
	Accepted Outcome = "accepted"
	// Kept: rejected for a reason that may pass; send it again much later.
	Kept Outcome = "kept"
	// Retired: rejected for good and moved to rejected/.
	Retired Outcome = "retired"
	// Needed: the collector lacks parts. A report in full answers it; this one
	// stays and can be accepted after that.
	Needed Outcome = "needed"
	// Unknown: the report does not wait here; it was settled or dropped before.
	Unknown Outcome = "unknown"
)

// Settle applies a verified receipt; raw is kept beside a report that is
// rejected. ErrReceipt when the receipt names this report with another key or
// sequence: nothing is changed then.
func (s *Spool) Settle(raw []byte, r schema.Receipt) (Outcome, error) {
	outcome := Unknown
	err := s.locked(func(l *ledger) error {
		e, ok, err := s.find(r.ReportID)
		if err != nil || !ok {
			return err
		}
		_, opened, err := s.load(e)
		if err != nil {
			return err
		}
		if err := fits(r, e, opened); err != nil {
			return err
		}
		outcome, err = s.settle(l, e, opened, raw, r)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("settle report %.16s: %w", r.ReportID, err)
	}
	return outcome, nil
}

func (s *Spool) find(id string) (Entry, bool, error) {
	entries, err := s.entries()
	for _, e := range entries {
		if e.ID == id {
			return e, true, err
		}
	}
	return Entry{}, false, err
}

// fits holds a receipt against the report it names. A rejected report may
// never have been read, then its receipt says sequence 0.
func fits(r schema.Receipt, e Entry, opened *envelope.Opened) error {
	if host := schema.KeyID(opened.Key); r.Host != host {
		return fmt.Errorf("%w: it is for host %.16s, the report is by %.16s", ErrReceipt, r.Host, host)
	}
	unread := r.Kind == schema.ReceiptRejected && r.Sequence == 0
	if r.Sequence != e.Sequence && !unread {
		return fmt.Errorf("%w: it is for sequence %d, the report has %d", ErrReceipt, r.Sequence, e.Sequence)
	}
	return nil
}

func (s *Spool) settle(l *ledger, e Entry, opened *envelope.Opened, raw []byte, r schema.Receipt) (Outcome, error) {
	switch {
	case r.Kind == schema.ReceiptAccepted:
		return Accepted, s.accept(l, e, opened, raw, r)
	case r.Kind == schema.ReceiptNeed:
		return s.need(l, e, raw, r)
	case r.Kind == schema.ReceiptRejected && schema.Retryable(r.Reason):
		return Kept, s.keep(l, r)
	case r.Kind == schema.ReceiptRejected:
		return Retired, s.retire(l, e, raw, r)
	default:
		return "", fmt.Errorf("%w: kind %q", ErrReceipt, r.Kind)
	}
}

// accept ends a report's stay. What it names by digest the collector has.
func (s *Spool) accept(l *ledger, e Entry, opened *envelope.Opened, raw []byte, r schema.Receipt) error {
	report, err := opened.Report()
	if err != nil {
		return err
	}
	if schema.KeyID(opened.Key) == l.Key && e.Sequence > l.BaselineSequence {
		l.Baseline, l.BaselineSequence = map[string]string{}, e.Sequence
		for _, p := range report.Parts {
			l.Baseline[p.Name] = p.Digest
		}
	}
	l.LastAccepted = &r
	l.saw(raw, r)
	l.Counts.Accepted++
	l.Todo = append(l.Todo, step{doRemove, e.name(waitingExt)})
	delete(s.needed, e.ID)
	return s.apply(l)
}

// keep records a rejection that may pass, once.
func (s *Spool) keep(l *ledger, r schema.Receipt) error {
	if last := l.LastRejected; last != nil && last.ReportID == r.ReportID && last.Reason == r.Reason {
		return nil
	}
	l.LastRejected = &r
	return s.apply(l)
}

// retire moves a report out for good. What the collector holds of this host is
// in doubt then, so the next report carries everything.
func (s *Spool) retire(l *ledger, e Entry, raw []byte, r schema.Receipt) error {
	beside := filepath.Join(s.dir, rejectedDir, e.name(receiptExt))
	if err := durable.WriteFile(beside, raw, 0o600); err != nil {
		return fmt.Errorf("keep receipt: %w", err)
	}
	l.LastRejected = &r
	l.Counts.Rejected++
	l.Baseline = nil
	l.Todo = append(l.Todo, step{doReject, e.name(waitingExt)})
	if r.Reason == schema.ReasonSequenceFork && e.era == l.Era && e.Sequence > l.ForkedAt {
		// Someone used our sequence: a clone of this host, or this host before it
		// was restored from a backup. The collector has that on record; we go on
		// where nobody has been.
		l.ForkedAt = l.Sequence
		l.skipAhead(l.Sequence)
		l.WantsReport = true
	}
	delete(s.needed, e.ID)
	return s.apply(l)
}

// need asks for a report in full, unless one is on its way. The report stays:
// once the parts are there it can be accepted as it is. When even that does not
// help, its parts are gone from this host and it is retired.
func (s *Spool) need(l *ledger, e Entry, raw []byte, r schema.Receipt) (Outcome, error) {
	if e.era == l.Era && e.Sequence >= l.BaselineSequence {
		if l.FullSequence > e.Sequence || l.WantsReport {
			return Needed, nil
		}
		l.Baseline, l.WantsReport = nil, true
		return Needed, s.apply(l)
	}
	// The first such receipt may be older than the acceptance of the newer report.
	if s.needed[e.ID]++; s.needed[e.ID] < 2 {
		return Needed, nil
	}
	return Retired, s.retire(l, e, raw, r)
}

func (s *Spool) apply(l *ledger) error {
	if err := s.save(l); err != nil {
		return err
	}
	return s.finish(l)
}

// Status is what people want to know of a spool.
type Status struct {
	KeyID string
	// Waiting reports and their bytes.
	Waiting      int
	WaitingBytes int64
	LastSealed   *Sealed
	LastAccepted *schema.Receipt
	LastRejected *schema.Receipt
	Counts       Counts
	// WantsReport: the collector asked for a report in full.
	WantsReport bool
	// Rejected and Corrupt are files kept aside.
	Rejected, Corrupt int
	// Fault is why the ledger cannot be read; a collector that starts repairs it.
	Fault string
}

// Read returns the status of the spool in dir and changes nothing. ErrNone when
// there is none.
func Read(dir string) (Status, error) {
	entries, err := listDir(dir, waitingExt)
	if err != nil {
		return Status{}, fmt.Errorf("read spool: %w", errNone(err))
	}
	var st Status
	switch l, err := loadLedger(dir); {
	case errors.Is(err, errLedger):
		st.Fault = err.Error()
	case err != nil:
		return Status{}, fmt.Errorf("read spool: %w", err)
	default:
		st = l.status()
	}
	for _, e := range entries {
		st.Waiting++
		st.WaitingBytes += e.Size
	}
	for dirName, n := range map[string]*int{rejectedDir: &st.Rejected, corruptDir: &st.Corrupt} {
		kept, err := countKept(filepath.Join(dir, dirName))
		if err != nil {
			return Status{}, fmt.Errorf("read spool: %w", err)
		}
		*n = kept
	}
	return st, nil
}

func errNone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	return err
}

// countKept counts the files kept in dir, without the receipts beside them.
func countKept(dir string) (int, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n := 0
	for _, f := range files {
		if filepath.Ext(f.Name()) != receiptExt {
			n++
		}
	}
	return n, nil
}
