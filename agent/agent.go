// Package agent runs a host's two loops. Collect scans, seals and spools; Send
// publishes what waits and settles receipts. They share only the spool, so they
// may run in one process or in two.
//
// Invariants:
//   - A report leaves the spool only on a receipt signed by the pinned key that
//     names its id, host and sequence. The broker's acknowledgement removes nothing.
//   - Every interval brings a full statement, changed or not: silence is never
//     used to say that nothing changed.
//   - Nothing turns in circles: each retry waits a random time of a window that
//     doubles, whatever the broker or the collector answers.
//   - A failed scan, a full disk or a broker that is away ends no loop. It is
//     logged and tried again.
package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
)

// Defaults of Options.
const (
	DefaultInterval = 6 * time.Hour
	DefaultResend   = 30 * time.Second
)

// pollEvery is how often a loop that runs without the other looks into the spool.
const pollEvery = time.Minute

// Road takes sealed reports to the collector and brings receipts back.
type Road interface {
	// Run keeps the road up until ctx ends.
	Run(ctx context.Context) error
	// Publish hands one sealed report over; nil means that the road has it.
	Publish(ctx context.Context, id string, raw []byte) error
	// Receipts delivers receipts as they come, unverified.
	Receipts() <-chan []byte
	// Up delivers a value when the road is up again.
	Up() <-chan struct{}
}

// Options are what the loops work with. Road and ReceiptKey are for sending,
// Scan is for collecting; a loop that is not run does not need its own.
type Options struct {
	Identity *identity.Identity
	Spool    *spool.Spool
	Road     Road
	// ReceiptKey is the collector's, pinned by configuration.
	ReceiptKey ed25519.PublicKey
	// Scan makes a report without sequence, predecessor and keys.
	Scan func(context.Context) (*schema.Report, error)
	// Offline: no network reaches this host. Its reports say so and stand alone.
	Offline bool
	// Interval between reports, DefaultInterval when zero.
	Interval time.Duration
	// Resend is the first wait for a receipt, DefaultResend when zero.
	Resend time.Duration
	Now    func() time.Time
	Log    *slog.Logger
}

// ErrNoReceiptKey says that no collector's key is pinned, so no receipt can be believed.
var ErrNoReceiptKey = errors.New("no receipt key is pinned")

// Agent is a host's two loops.
type Agent struct {
	Options

	// sealed tells the sender of a new report, wanted tells the collector that a
	// report in full is wanted. Both hold one value: more would say the same.
	sealed, wanted chan struct{}
	// together is true when both loops run here and need not look at the disk.
	together bool
}

// New makes an agent.
func New(o Options) *Agent {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.Resend == 0 {
		o.Resend = DefaultResend
	}
	return &Agent{Options: o, sealed: make(chan struct{}, 1), wanted: make(chan struct{}, 1)}
}

// Run runs both loops until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	a.together = true
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Collect(ctx) })
	group.Go(func() error { return a.Send(ctx) })
	return group.Wait()
}

// Unreceipted is the error of Once when the collector did not take the report.
type Unreceipted struct {
	Sequence uint64
	// Receipt is the collector's answer, nil when none came in time.
	Receipt *schema.Receipt
}

func (e *Unreceipted) Error() string {
	if e.Receipt == nil {
		return fmt.Sprintf("report %d: no receipt in time; it waits in the spool", e.Sequence)
	}
	s := fmt.Sprintf("report %d: rejected by the collector: %s", e.Sequence, e.Receipt.Reason)
	if e.Receipt.Detail != "" {
		s += ": " + e.Receipt.Detail
	}
	return s
}

// Once collects one report, sends what waits, and returns when the new report
// is receipted. The error is *Unreceipted when it is not before ctx ends, or
// when the collector rejects it. When the collector lacks parts it gets another
// report in full.
func (a *Agent) Once(ctx context.Context) (schema.Receipt, error) {
	entry, err := a.CollectOnce(ctx)
	if err != nil {
		return schema.Receipt{}, err
	}
	a.together = true
	settled := make(chan settlement)
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return a.send(running, settled) })
	receipt, err := a.await(running, entry, settled)
	stop()
	if sendErr := group.Wait(); sendErr != nil {
		return schema.Receipt{}, sendErr
	}
	return receipt, err
}

// await follows one report, and those that replace it, to its receipt.
func (a *Agent) await(ctx context.Context, entry spool.Entry, settled <-chan settlement) (schema.Receipt, error) {
	for full := false; ; {
		var s settlement
		select {
		case <-ctx.Done():
			return schema.Receipt{}, &Unreceipted{Sequence: entry.Sequence}
		case s = <-settled:
		}
		if s.receipt.ReportID != entry.ID {
			continue
		}
		switch s.outcome {
		case spool.Accepted:
			return s.receipt, nil
		case spool.Kept, spool.Retired:
			return s.receipt, &Unreceipted{Sequence: entry.Sequence, Receipt: &s.receipt}
		case spool.Needed:
			if full {
				continue // asked again for what it was just sent; the deadline ends this
			}
			next, err := a.CollectOnce(ctx)
			if err != nil {
				return schema.Receipt{}, err
			}
			entry, full = next, true
		case spool.Unknown:
		}
	}
}

func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been told
	}
}

// upTo returns a random time below d.
func upTo(d time.Duration) time.Duration {
	return rand.N(max(d, 1)) //nolint:gosec // it spreads load and hides nothing
}

// doubled returns base doubled n times, at most limit.
func doubled(base time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && base < limit; n-- {
		base *= 2
	}
	return min(base, limit)
}
