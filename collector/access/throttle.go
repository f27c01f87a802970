package access

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// throttle is a rate limit for each of many keys. Beyond a number of keys, new
// ones share one limit until others have been idle.
type throttle struct {
	limit rate.Limit
	burst int
	max   int

	mu    sync.Mutex
	by    map[string]*rate.Limiter
	rest  *rate.Limiter
	swept time.Time
}

func newThrottle(limit rate.Limit, burst, most int) *throttle {
	return &throttle{limit: limit, burst: burst, max: most, by: map[string]*rate.Limiter{}, rest: rate.NewLimiter(limit, burst)}
}

// take uses one turn of a key, and returns how long to wait when it has none.
func (t *throttle) take(key string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.limiter(key, now).ReserveN(now, 1)
	if !r.OK() {
		return time.Minute // a burst of nothing: the limit lets nobody in
	}
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (t *throttle) limiter(key string, now time.Time) *rate.Limiter {
	if l, ok := t.by[key]; ok {
		return l
	}
	if len(t.by) >= t.max {
		t.sweep(now)
	}
	if len(t.by) >= t.max {
		return t.rest
	}
	l := rate.NewLimiter(t.limit, t.burst)
	t.by[key] = l
	return l
}

// sweep forgets keys that have all their turns back, once a second at most.
func (t *throttle) sweep(now time.Time) {
	if d := now.Sub(t.swept); d >= 0 && d < time.Second {
		return
	}
	t.swept = now
	for key, l := range t.by {
		if l.TokensAt(now) >= float64(t.burst) {
			delete(t.by, key)
		}
	}
}
