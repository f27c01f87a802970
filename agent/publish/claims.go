package publish

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// never is longer than any claims hold.
const never = 100 * 365 * 24 * time.Hour

// lastRenewWindow is the longest window in which new claims are asked for once.
const lastRenewWindow = time.Hour

// renewal is how the road asks for new claims.
type renewal struct {
	// refused: the broker does not let the claims at hand in.
	refused  bool
	failures int
	// next is when it may be asked again.
	next time.Time
}

// refused reports whether a broker does not take what we showed it.
func refused(err error) bool {
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// renew asks for new claims when that is due.
func (r *Road) renew(ctx context.Context) {
	now := r.options.Now()
	if r.options.Renew == nil || now.Before(r.renewal.next) || !r.renewal.refused && now.Before(r.renewAt()) {
		return
	}
	err := r.options.Renew(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.options.Log.Warn("claims not renewed", "err", err)
		r.fault(fmt.Errorf("claims not renewed: %w", err))
		r.renewal.next = now.Add(jitterWithin(r.options.Window, r.renewal.failures, lastRenewWindow))
		r.renewal.failures++
		return
	}
	r.options.Log.Info("claims renewed")
	// Claims that were just renewed and are refused again do not make a circle.
	r.renewal = renewal{next: now.Add(r.options.Window)}
}

// renewAt is when the claims at hand come into the last third of their life; at
// once when there are none or they cannot be read.
func (r *Road) renewAt() time.Time {
	text, err := r.options.Claims()
	if err != nil || text == "" {
		return time.Time{}
	}
	from, to, err := life(text)
	switch {
	case err != nil:
		return time.Time{}
	case to.IsZero(): // they hold for ever
		return r.options.Now().Add(never)
	}
	return to.Add(-to.Sub(from) / 3)
}

// renewalDue delivers when new claims are to be asked for.
func (r *Road) renewalDue() (due <-chan time.Time, stop func()) {
	if r.options.Renew == nil {
		return nil, func() {}
	}
	at := r.renewAt()
	if at.Before(r.renewal.next) {
		at = r.renewal.next
	}
	timer := time.NewTimer(max(at.Sub(r.options.Now()), 0))
	return timer.C, func() { timer.Stop() }
}

// life is when claims were issued and when they expire, zero when never. They
// are the collector's; only the broker needs to verify them.
func life(claims string) (from, to time.Time, err error) {
	parts := strings.Split(claims, ".")
	if len(parts) != 3 {
		return from, to, errors.New("claims are not a JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return from, to, fmt.Errorf("claims: %w", err)
	}
	var c struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return from, to, fmt.Errorf("claims: %w", err)
	}
	if c.Expires != 0 {
		to = time.Unix(c.Expires, 0).UTC()
	}
	return time.Unix(c.Issued, 0).UTC(), to, nil
}
