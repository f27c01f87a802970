package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/agent/spool"
)

// TestSchedule plays any order of events against what must always hold: oldest
// first, few in flight, every wait bounded, and no report forgotten.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_700_000_000, 0)
		s := newSchedule(DefaultResend)
		var waiting []spool.Entry
		sentAt := map[string]time.Time{}
		next := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				waiting = append(waiting, spool.Entry{Sequence: next, ID: string(rune('a' + next))})
				next++
				s.refresh(waiting, now)
			},
			"send": func(t *rapid.T) {
				e, ok := s.next(now)
				if !ok {
					return
				}
				for _, w := range waiting {
					if w.Sequence < e.Sequence && !s.items[w.ID].due.After(now) {
						t.Fatalf("sequence %d goes before %d, which is due", e.Sequence, w.Sequence)
					}
				}
				if last, again := sentAt[e.ID]; again && now.Sub(last) < 0 {
					t.Fatal("sent in the past")
				}
				s.sent(e.ID, now)
				sentAt[e.ID] = now
				if wait := s.items[e.ID].due.Sub(now); wait < DefaultResend/2 || wait > lastResend {
					t.Fatalf("waits %s for a receipt", wait)
				}
			},
			"settle": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "i")
				waiting = append(append([]spool.Entry{}, waiting[:i]...), waiting[i+1:]...)
				s.refresh(waiting, now)
			},
			"quarantine": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				e := waiting[rapid.IntRange(0, len(waiting)-1).Draw(t, "i")]
				s.putOff(e.ID, now)
				if wait := s.items[e.ID].due.Sub(now); wait < quarantined || wait > 2*quarantined {
					t.Fatalf("a quarantined report waits %s", wait)
				}
			},
			"reconnect": func(*rapid.T) { s.again(now) },
			"pass":      func(t *rapid.T) { now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "d"))) },
			"": func(t *rapid.T) {
				if n := s.inFlight(now); n > maxInFlight {
					t.Fatalf("%d in flight", n)
				}
				if len(s.items) != len(waiting) {
					t.Fatalf("%d items for %d reports", len(s.items), len(waiting))
				}
				due, ok := s.wake()
				if ok != (len(waiting) > 0) || ok && due.After(now.Add(max(lastResend, 2*quarantined))) {
					t.Fatalf("wakes at %v (%v)", due, ok)
				}
			},
		})
	})
}
