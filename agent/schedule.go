package agent

import (
	"time"

	"github.com/patchproof/patchproof/agent/spool"
)

const (
	// maxInFlight is how many reports may be with the broker without a receipt
	// being overdue.
	maxInFlight = 4
	// lastResend ends the doubling of the wait for a receipt.
	lastResend = time.Hour
	// quarantined is the least wait after a rejection that may pass; as much
	// again is random. When the host is trusted the collector replays what it
	// has, so this matters only when that receipt is lost.
	quarantined = 15 * time.Minute
	// settleDown is the window in which reports are sent again after a reconnect.
	settleDown = 2 * time.Second
)

// schedule decides which report is sent when. It knows no clock and no disk.
type schedule struct {
	resend time.Duration
	order  []spool.Entry
	items  map[string]*item
}

type item struct {
	due      time.Time
	attempts int
	// sent: with the broker, and a receipt may come until due.
	sent bool
}

func newSchedule(resend time.Duration) *schedule {
	return &schedule{resend: resend, items: map[string]*item{}}
}

// refresh takes over what waits now, oldest first. New reports are due at once.
func (s *schedule) refresh(waiting []spool.Entry, now time.Time) {
	s.order = waiting
	items := make(map[string]*item, len(waiting))
	for _, e := range waiting {
		if items[e.ID] = s.items[e.ID]; items[e.ID] == nil {
			items[e.ID] = &item{due: now}
		}
	}
	s.items = items
}

// next returns the oldest report that is due, unless enough are in flight.
func (s *schedule) next(now time.Time) (spool.Entry, bool) {
	if s.inFlight(now) >= maxInFlight {
		return spool.Entry{}, false
	}
	for _, e := range s.order {
		if !s.items[e.ID].due.After(now) {
			return e, true
		}
	}
	return spool.Entry{}, false
}

func (s *schedule) inFlight(now time.Time) int {
	n := 0
	for _, it := range s.items {
		if it.sent && it.due.After(now) {
			n++
		}
	}
	return n
}

// wake returns when something becomes due; false when only an event can help.
func (s *schedule) wake() (time.Time, bool) {
	var first time.Time
	for _, it := range s.items {
		if first.IsZero() || it.due.Before(first) {
			first = it.due
		}
	}
	return first, !first.IsZero()
}

// sent: the broker has it; without a receipt it goes again after a wait of
// between half and all of a window that doubles.
func (s *schedule) sent(id string, now time.Time) {
	if it := s.items[id]; it != nil {
		window := doubled(s.resend, it.attempts, max(lastResend, s.resend))
		it.due, it.sent = now.Add(window/2+upTo(window/2)), true
		it.attempts++
	}
}

// putOff: it cannot go now for a reason of its own.
func (s *schedule) putOff(id string, now time.Time) {
	if it := s.items[id]; it != nil {
		it.due, it.sent = now.Add(quarantined+upTo(quarantined)), false
	}
}

// again: receipts may have been lost, so what was sent goes again soon.
func (s *schedule) again(now time.Time) {
	for _, it := range s.items {
		if it.sent {
			it.due, it.sent = now.Add(upTo(settleDown)), false
		}
	}
}

// soon: a report that could not be accepted may be now.
func (s *schedule) soon(id string, now time.Time) {
	if it := s.items[id]; it != nil {
		it.due, it.sent = now.Add(upTo(settleDown)), false
	}
}

// firstReturn is when the first report in flight stops being so.
func (s *schedule) firstReturn(now time.Time) time.Time {
	var first time.Time
	for _, it := range s.items {
		if it.sent && it.due.After(now) && (first.IsZero() || it.due.Before(first)) {
			first = it.due
		}
	}
	return first
}
