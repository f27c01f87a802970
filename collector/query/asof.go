package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/store"
)

// AsOf calls ask with a service that answers for a moment that is over: a date,
// which is the end of that day in the zone of the policy in force when it began,
// or an instant (RFC 3339). What it answers never changes, whatever is recorded
// later. An empty moment is now. ErrFilter when the moment is not over, or is
// before the record begins; store.ErrNotKept when what is asked was not kept.
func (s *Service) AsOf(ctx context.Context, moment string, ask func(*Service) error) error {
	if moment == "" {
		return ask(s)
	}
	at, err := s.moment(ctx, moment)
	if err != nil {
		return err
	}
	err = s.Store.Past(ctx, at, func(st store.Store, p store.Position) error {
		return ask(&Service{Store: st, Now: s.Now, position: &p})
	})
	if errors.Is(err, store.ErrNoHistory) {
		return s.noHistory(ctx, at)
	}
	return err
}

// noHistory says from when on the past can be asked.
func (s *Service) noHistory(ctx context.Context, at time.Time) error {
	begins, err := s.Store.HistoryBegins(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: as of %s: nothing was recorded yet", ErrFilter, at.Format(time.RFC3339))
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: as of %s: the record that answers can be given from begins at %s", ErrFilter, at.Format(time.RFC3339), begins.Format(time.RFC3339Nano))
}

// moment reads when a question is asked of, and refuses what is not over.
func (s *Service) moment(ctx context.Context, word string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, word)
	if err != nil {
		if at, err = time.Parse(time.DateOnly, word); err != nil {
			return at, fmt.Errorf("%w: as of %q: want a date, YYYY-MM-DD, or an instant as in 2026-06-01T12:00:00Z", ErrFilter, word)
		}
		if at, err = s.endOfDay(ctx, at); err != nil {
			return at, err
		}
	}
	at = at.UTC().Truncate(time.Microsecond)
	if now := s.Now().UTC(); !at.Before(now) {
		return at, fmt.Errorf("%w: as of %s: it is not over (now is %s); without it the answer is of now", ErrFilter, at.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	return at, nil
}

// endOfDay is the last instant of a day. Its zone depends on nothing that may
// come after the day: a policy never comes into force before it is applied.
func (s *Service) endOfDay(ctx context.Context, day time.Time) (time.Time, error) {
	zone := time.UTC
	rec, err := s.Store.PolicyInForce(ctx, day)
	if errors.Is(err, store.ErrNotFound) {
		rec, err = s.firstPolicy(ctx)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return day, fmt.Errorf("read policy: %w", err)
	}
	if err == nil {
		if zone, err = s.zoneOf(rec); err != nil {
			return day, err
		}
	}
	y, m, d := day.Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, zone).Add(-time.Microsecond), nil
}

func (s *Service) zoneOf(rec store.PolicyRecord) (*time.Location, error) {
	if z := s.zone.Load(); z != nil && z.policy == rec.Digest {
		return z.zone, nil
	}
	p, _, err := policy.Parse(rec.Source)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", rec.Digest, err)
	}
	s.zone.Store(&policyZone{policy: rec.Digest, zone: p.Zone})
	return p.Zone, nil
}

func (s *Service) firstPolicy(ctx context.Context) (store.PolicyRecord, error) {
	list, err := s.Store.PolicyHistory(ctx)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.PolicyRecord{}, err
	}
	return list[0], nil
}
