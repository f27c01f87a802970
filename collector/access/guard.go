package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/trust"
)

// Limits say how often callers may come. Zero fields take those of DefaultLimits.
type Limits struct {
	// PerToken is a token's requests a second, TokenBurst how many at once.
	PerToken   float64
	TokenBurst int
	// PerAddress is the failed attempts a second that an address is answered,
	// AddressBurst how many at once.
	PerAddress   float64
	AddressBurst int
}

// DefaultLimits leave room for a person with a script and for a dashboard.
var DefaultLimits = Limits{PerToken: 50, TokenBurst: 500, PerAddress: 1, AddressBurst: 30}

// maxRemembered bounds the tokens and the addresses that are remembered each.
const maxRemembered = 4096

// touchEvery is how exact the last use of a token is kept: each is a write.
const touchEvery = time.Minute

// Guard lets callers with a good token in.
type Guard struct {
	store     store.Tokens
	now       func() time.Time
	tokens    *throttle
	addresses *throttle
}

// NewGuard returns a guard over the tokens of a store.
func NewGuard(st store.Tokens, now func() time.Time, l Limits) *Guard {
	if l.PerToken == 0 {
		l.PerToken, l.TokenBurst = DefaultLimits.PerToken, DefaultLimits.TokenBurst
	}
	if l.PerAddress == 0 {
		l.PerAddress, l.AddressBurst = DefaultLimits.PerAddress, DefaultLimits.AddressBurst
	}
	return &Guard{
		store: st, now: now,
		tokens:    newThrottle(rate.Limit(l.PerToken), l.TokenBurst, maxRemembered),
		addresses: newThrottle(rate.Limit(l.PerAddress), l.AddressBurst, maxRemembered),
	}
}

// Enter returns the token that a presented secret belongs to. The error is
// [ErrNoToken], [ErrUnknown], [ErrExpired] or [ErrRevoked], a [*Throttled], or the
// store's. Of a token that is known, the name comes with the error.
func (g *Guard) Enter(ctx context.Context, presented, remote string) (store.Token, error) {
	now := g.now()
	if presented == "" {
		return store.Token{}, g.failed(remote, now, ErrNoToken)
	}
	if !trust.ValidToken(presented) {
		return store.Token{}, g.failed(remote, now, ErrUnknown)
	}
	t, err := g.store.TokenByHash(ctx, trust.HashToken(presented))
	if errors.Is(err, store.ErrNotFound) {
		return store.Token{}, g.failed(remote, now, ErrUnknown)
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("look up token: %w", err)
	}
	if err := Usable(t, now); err != nil {
		return t, g.failed(remote, now, err)
	}
	if wait := g.tokens.take(t.Name, now); wait > 0 {
		return t, &Throttled{After: wait}
	}
	return t, nil
}

// Used records that a token was used, once a minute at most.
func (g *Guard) Used(ctx context.Context, t store.Token) error {
	now := g.now()
	if now.Sub(t.LastUsed) < touchEvery {
		return nil
	}
	return g.store.TouchToken(ctx, t.Name, now)
}

// failed counts a failed attempt against its address. Beyond the limit the caller
// is not told why any more, only to wait.
func (g *Guard) failed(remote string, now time.Time, why error) error {
	if wait := g.addresses.take(addressOf(remote), now); wait > 0 {
		return &Throttled{After: wait}
	}
	return why
}

// addressOf is what of a HOST:PORT one caller can hardly change: the address, of
// IPv6 its network.
func addressOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "" // all that cannot be told apart share one limit
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
