package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/spool"
)

const (
	// firstRetry is the window of the first retry after a failed collection.
	firstRetry = time.Minute
	// firstPrompt is the window in which a report that the collector asked for is made.
	firstPrompt = 20 * time.Second
)

// Collect makes a report at once and then every interval, a tenth more or less
// so that a fleet that started together does not report together. It ends with
// identity.ErrAnotherMachine when the machine is no longer the one the keys are for.
func (a *Agent) Collect(ctx context.Context) error {
	failures, prompts := 0, 0
	for {
		next := a.Interval - a.Interval/10 + upTo(a.Interval/5)
		if _, err := a.CollectOnce(ctx); err == nil {
			failures = 0
		} else {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, identity.ErrAnotherMachine) {
				return err // only a new start makes keys for this one
			}
			next = upTo(doubled(firstRetry, failures, a.Interval))
			failures++
			a.Log.Error("collection failed", "err", err, "retry_in", next.Round(time.Second))
		}
		prompted := a.rest(ctx, next, prompts)
		if ctx.Err() != nil {
			return nil
		}
		if prompts++; !prompted {
			prompts = 0
		}
	}
}

// rest waits until the next report is due, or earlier when the collector wants
// one. Each further wish in a row is met after a longer wait, so that a
// collector that is never content gets no more than one report an interval extra.
func (a *Agent) rest(ctx context.Context, next time.Duration, prompts int) (prompted bool) {
	timer := time.NewTimer(next)
	defer timer.Stop()
	due := a.Now().Add(next)
	var poll <-chan time.Time
	if !a.together {
		ticker := time.NewTicker(pollEvery)
		defer ticker.Stop()
		poll = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return prompted
		case <-timer.C:
			return prompted
		case <-a.wanted:
		case <-poll:
			wants, err := a.Spool.WantsReport()
			if err != nil {
				a.Log.Error("spool unreadable", "err", err)
			}
			if !wants {
				continue
			}
		}
		if prompted {
			continue
		}
		prompted = true
		if wait := upTo(doubled(firstPrompt, prompts, a.Interval)); a.Now().Add(wait).Before(due) {
			timer.Reset(wait)
		}
	}
}

// CollectOnce scans, seals and spools one report.
func (a *Agent) CollectOnce(ctx context.Context) (spool.Entry, error) {
	report, err := a.Scan(ctx)
	if err != nil {
		return spool.Entry{}, fmt.Errorf("collect: %w", err)
	}
	gaps, err := a.Identity.Check(report.Machine())
	if err != nil {
		return spool.Entry{}, fmt.Errorf("collect: %w", err)
	}
	report.Gaps = append(gaps, report.Gaps...)
	report.TransportKey, report.Offline = a.Identity.TransportKey, a.Offline
	entry, err := a.Spool.Append(report, a.Identity.Evidence)
	if err != nil {
		return spool.Entry{}, fmt.Errorf("collect: %w", err)
	}
	a.Log.Info("report sealed", "report", entry.ID, "sequence", entry.Sequence, "bytes", entry.Size,
		"gaps", len(report.Gaps), "cpu", report.Cost.CPU, "duration", report.Cost.Duration)
	tell(a.sealed)
	return entry, nil
}
