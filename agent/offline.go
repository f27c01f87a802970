package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/agent/export"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

// DefaultExportEvery is how often a host that no network reaches writes its bundle.
const DefaultExportEvery = 24 * time.Hour

// retryExport is the wait after a bundle could not be written, as when the medium
// is not there.
const retryExport = 10 * time.Minute

// ErrNoRecipientKey says that nobody is configured to seal bundles to.
var ErrNoRecipientKey = errors.New("no recipient key is configured")

// Offline is how a host that no network reaches is set up.
type Offline struct {
	// Writer makes the bundles, Dir is where they go.
	Writer *export.Writer
	Dir    string
	// Every is the time between two exports, DefaultExportEvery when zero.
	Every time.Duration
}

// RunOffline collects as Run does, and writes what waits to the export directory
// by schedule in place of sending it.
func (a *Agent) RunOffline(ctx context.Context, o Offline) error {
	if o.Writer == nil || o.Writer.Recipient == nil {
		return ErrNoRecipientKey
	}
	if o.Every == 0 {
		o.Every = DefaultExportEvery
	}
	a.together = true
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Collect(ctx) })
	group.Go(func() error { return a.exportLoop(ctx, o) })
	return group.Wait()
}

// exportLoop writes the bundle after the first report, and then by schedule.
func (a *Agent) exportLoop(ctx context.Context, o Offline) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.sealed:
	}
	for {
		wait := o.Every
		if files, err := a.Export(o.Writer, filepath.Clean(o.Dir)+string(filepath.Separator)); err != nil {
			wait = min(retryExport, o.Every)
			a.Log.Error("export failed", "err", err, "retry_in", wait)
		} else {
			for _, f := range files {
				a.Log.Info("bundle written", "path", f.Path, "digest", f.Digest, "envelopes", f.Envelopes, "last", f.Last)
			}
		}
		timer := time.NewTimer(wait)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-a.sealed: // it goes with the next export
			case <-timer.C:
				waiting = false
			}
		}
	}
}

// Export writes everything that has no receipt yet to out, see export.Writer.
func (a *Agent) Export(w *export.Writer, out string) ([]export.File, error) {
	if w.Recipient == nil {
		return nil, ErrNoRecipientKey
	}
	waiting, err := a.Spool.Pending()
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	all := make([]export.Envelope, len(waiting))
	for i, e := range waiting {
		all[i] = export.Envelope{Sequence: e.Sequence, Size: e.Size, Load: func() ([]byte, error) { return a.loadForExport(e) }}
	}
	return w.Write(out, all)
}

// loadForExport leaves out what was settled meanwhile, or is damaged and was moved
// aside and counted: the rest must get out.
func (a *Agent) loadForExport(e spool.Entry) ([]byte, error) {
	raw, err := a.Spool.Load(e)
	switch {
	case errors.Is(err, spool.ErrGone):
		return nil, nil
	case errors.Is(err, spool.ErrCorrupt):
		a.Log.Error("spool file damaged", "report", e.ID, "sequence", e.Sequence, "err", err)
		return nil, nil
	default:
		return raw, err
	}
}

// Imported says what a file of receipts did.
type Imported struct {
	Lines int `json:"lines"`
	// Accepted reports have left the spool, Kept and Needed ones wait on, Retired
	// ones were refused for good; Unknown ones did not wait here.
	Accepted int `json:"accepted"`
	Kept     int `json:"kept"`
	Needed   int `json:"needed"`
	Retired  int `json:"retired"`
	Unknown  int `json:"unknown"`
	// Foreign lines are of kinds this version does not know, Refused ones are not by
	// the pinned key or do not fit their report. Neither changed anything.
	Foreign  int      `json:"foreign"`
	Refused  int      `json:"refused"`
	Refusals []string `json:"refusals"`
	// Waiting is what is left in the spool.
	Waiting int `json:"waiting"`
}

// maxRefusals bounds what is told of a hostile file.
const maxRefusals = 8

// ImportReceipts settles the receipts of a file that came back by hand. A receipt
// changes something only when the pinned key signed it.
func (a *Agent) ImportReceipts(file []byte) (Imported, error) {
	out := Imported{Refusals: []string{}}
	if len(a.ReceiptKey) == 0 {
		return out, ErrNoReceiptKey
	}
	lines, err := bundle.DecodeReturn(file)
	if err != nil {
		return out, fmt.Errorf("import receipts: %w", err)
	}
	out.Lines = len(lines)
	for i, l := range lines {
		if l.Type != envelope.TypeReceipt {
			out.Foreign++
			continue
		}
		if err := a.settleReturned(l.Raw, &out); err != nil {
			return out, fmt.Errorf("import receipts: line %d: %w", i+2, err)
		}
	}
	waiting, err := a.Spool.Pending()
	out.Waiting = len(waiting)
	return out, err
}

func (a *Agent) settleReturned(raw []byte, out *Imported) error {
	receipt, err := envelope.OpenReceipt(raw, a.ReceiptKey)
	var outcome spool.Outcome
	if err == nil {
		outcome, err = a.Spool.Settle(raw, receipt)
		if err != nil && !errors.Is(err, spool.ErrReceipt) {
			return err
		}
	}
	if err != nil {
		if out.Refused++; len(out.Refusals) < maxRefusals {
			out.Refusals = append(out.Refusals, err.Error())
		}
		return nil
	}
	switch outcome {
	case spool.Accepted:
		out.Accepted++
	case spool.Kept:
		out.Kept++
	case spool.Needed:
		out.Needed++
	case spool.Retired:
		out.Retired++
	case spool.Unknown:
		out.Unknown++
	}
	return nil
}
