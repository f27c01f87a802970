package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

const (
	// firstPause and lastPause bound the window of retries after the broker
	// refused a report or the disk failed.
	firstPause = 2 * time.Second
	lastPause  = 10 * time.Minute
	// refusalsLogged: forged receipts are logged once in this time, so that they
	// cannot fill a disk.
	refusalsLogged = time.Minute
)

// settlement is a verified receipt and what it did.
type settlement struct {
	receipt schema.Receipt
	outcome spool.Outcome
}

// Send keeps the road up, sends what waits and settles receipts, until ctx ends.
func (a *Agent) Send(ctx context.Context) error { return a.send(ctx, nil) }

// send tells settled of every receipt, when there is someone to tell.
func (a *Agent) send(ctx context.Context, settled chan<- settlement) error {
	if len(a.ReceiptKey) == 0 {
		return ErrNoReceiptKey
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Road.Run(ctx) })
	s := &sender{Agent: a, schedule: newSchedule(a.Resend), settled: settled, needed: map[string]bool{}}
	group.Go(func() error { return s.run(ctx) })
	return group.Wait()
}

// sender is one run of the send loop.
type sender struct {
	*Agent
	schedule *schedule
	settled  chan<- settlement

	// paused is until when nothing is sent, after failures in a row.
	paused   time.Time
	failures int
	// down: the road is; only its coming up helps.
	down bool
	// needed are reports that wait for another one to bring their parts.
	needed map[string]bool

	refusals   int
	refusalLog time.Time
}

func (s *sender) run(ctx context.Context) error {
	var poll <-chan time.Time
	if !s.together {
		ticker := time.NewTicker(pollEvery)
		defer ticker.Stop()
		poll = ticker.C
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.pause(err)
		}
		timer.Reset(s.wait())
		select {
		case <-ctx.Done():
			return nil
		case raw := <-s.Road.Receipts():
			s.receive(ctx, raw)
		case <-s.Road.Up():
			s.down = false
			s.paused, s.failures = time.Time{}, 0
			s.schedule.again(s.Now())
		case <-s.sealed:
		case <-poll:
		case <-timer.C:
		}
	}
}

// idle is the longest a timer sleeps; when nothing can become due it is only a
// formality.
const idle = 24 * time.Hour

// wait returns how long nothing is to be done unless something happens.
func (s *sender) wait() time.Duration {
	due, ok := s.schedule.wake()
	if !ok || s.down {
		return idle
	}
	now := s.Now()
	if s.schedule.inFlight(now) >= maxInFlight {
		due = s.schedule.firstReturn(now)
	}
	if due.Before(s.paused) {
		due = s.paused
	}
	return max(due.Sub(now), 0)
}

// step sends at most one report.
func (s *sender) step(ctx context.Context) error {
	now := s.Now()
	if s.down || now.Before(s.paused) {
		return nil
	}
	waiting, err := s.Spool.Pending()
	if err != nil {
		return err
	}
	s.schedule.refresh(waiting, now)
	entry, ok := s.schedule.next(now)
	if !ok {
		return nil
	}
	raw, err := s.Spool.Load(entry)
	switch {
	case errors.Is(err, spool.ErrGone):
		return nil
	case errors.Is(err, spool.ErrCorrupt):
		s.Log.Error("spool file damaged", "report", entry.ID, "sequence", entry.Sequence, "err", err)
		return nil
	case err != nil: // one unreadable file must not hold up the others
		s.Log.Error("spool file unreadable", "report", entry.ID, "sequence", entry.Sequence, "err", err)
		s.schedule.putOff(entry.ID, now)
		return nil
	}
	return s.publish(ctx, entry, raw)
}

func (s *sender) publish(ctx context.Context, entry spool.Entry, raw []byte) error {
	err := s.Road.Publish(ctx, entry.ID, raw)
	switch {
	case errors.Is(err, publish.ErrDown):
		s.down = true
		return nil
	case errors.Is(err, publish.ErrTooLarge):
		s.Log.Error("report cannot be sent", "report", entry.ID, "sequence", entry.Sequence, "err", err)
		s.schedule.putOff(entry.ID, s.Now())
		return nil
	case err != nil:
		return err
	}
	s.failures = 0
	s.schedule.sent(entry.ID, s.Now())
	s.Log.Debug("report sent", "report", entry.ID, "sequence", entry.Sequence)
	return nil
}

func (s *sender) pause(err error) {
	wait := upTo(doubled(firstPause, s.failures, lastPause))
	s.failures++
	s.paused = s.Now().Add(wait)
	s.Log.Warn("sending failed", "err", err, "retry_in", wait.Round(time.Millisecond))
}

// receive verifies a receipt and lets the spool settle it.
func (s *sender) receive(ctx context.Context, raw []byte) {
	receipt, err := envelope.OpenReceipt(raw, s.ReceiptKey)
	if err != nil {
		s.refuse(err)
		return
	}
	outcome, err := s.Spool.Settle(raw, receipt)
	if errors.Is(err, spool.ErrReceipt) {
		s.refuse(err)
		return
	}
	if err != nil {
		// Nothing is lost: the report still waits and is sent again.
		s.Log.Error("receipt not applied", "report", receipt.ReportID, "err", err)
		return
	}
	s.settle(receipt, outcome)
	if s.settled != nil {
		select {
		case s.settled <- settlement{receipt, outcome}:
		case <-ctx.Done():
		}
	}
}

func (s *sender) settle(r schema.Receipt, outcome spool.Outcome) {
	log := s.Log.With("report", r.ReportID, "sequence", r.Sequence)
	now := s.Now()
	switch outcome {
	case spool.Accepted:
		log.Info("report receipted", "leaf", r.LeafIndex)
		for id := range s.needed { // their parts may have come with this one
			s.schedule.soon(id, now)
		}
		clear(s.needed)
	case spool.Kept:
		log.Warn("report quarantined", "reason", r.Reason, "detail", r.Detail)
		s.schedule.putOff(r.ReportID, now)
	case spool.Retired:
		log.Error("report rejected", "reason", r.Reason, "detail", r.Detail)
		s.want()
	case spool.Needed:
		log.Warn("report needs parts", "parts", r.Parts)
		s.schedule.putOff(r.ReportID, now)
		s.needed[r.ReportID] = true
		s.want()
	case spool.Unknown:
		log.Debug("receipt for a report that does not wait")
	}
}

// want passes on that the spool wants a report in full.
func (s *sender) want() {
	if wants, err := s.Spool.WantsReport(); err != nil {
		s.Log.Error("spool unreadable", "err", err)
	} else if wants {
		tell(s.wanted)
	}
}

func (s *sender) refuse(err error) {
	s.refusals++
	if now := s.Now(); now.Sub(s.refusalLog) >= refusalsLogged {
		s.Log.Warn("receipt refused", "err", fmt.Sprint(err), "count", s.refusals)
		s.refusalLog = now
	}
}
