package estate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/store"
)

// maxReason bounds the reason of an act.
const maxReason = 1000

// Retired says what came of a retirement, or of taking one back.
type Retired struct {
	Asset store.Asset
	Since time.Time
	Leaf  int64
}

// Retire records that an asset is in use no more: its open findings end, and not
// as fixed. since is a date in the policy's zone - its first instant - or an
// instant (RFC 3339), now when empty; not before the asset's last report.
func (s *Service) Retire(ctx context.Context, idOrName, since, reason, by string) (Retired, error) {
	at := s.now()
	if since != "" {
		var err error
		if at, err = s.instant(ctx, since); err != nil {
			return Retired{}, fmt.Errorf("retire asset: %w", err)
		}
		if at.After(s.now()) {
			return Retired{}, fmt.Errorf("retire asset: %w: %s is in the future; retire it when it goes", ErrInvalid, since)
		}
	}
	return s.standing(ctx, idOrName, store.Retirement{Retired: true, At: at, Reason: reason, By: by})
}

// Reinstate takes a retirement back, or outweighs the list that has the asset as
// terminated: findings that ended by it open again.
func (s *Service) Reinstate(ctx context.Context, idOrName, reason, by string) (Retired, error) {
	return s.standing(ctx, idOrName, store.Retirement{At: s.now(), Reason: reason, By: by})
}

func (s *Service) standing(ctx context.Context, idOrName string, r store.Retirement) (Retired, error) {
	what := "reinstate asset"
	if r.Retired {
		what = "retire asset"
	}
	if err := checkReason(r.Reason); err != nil {
		return Retired{}, fmt.Errorf("%s: %w", what, err)
	}
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return Retired{}, fmt.Errorf("%s: %w", what, err)
	}
	leaf, err := evidence.RetirementLeaf(a.ID, r, s.now())
	if err != nil {
		return Retired{}, fmt.Errorf("%s: %w", what, err)
	}
	out := Retired{Asset: a, Since: r.At}
	if out.Leaf, err = s.Store.Retire(ctx, a.ID, r, leaf); err != nil {
		return out, fmt.Errorf("%s: %w", what, err)
	}
	s.Log.Info("asset standing changed", "asset", a.ID, "retired", r.Retired, "since", r.At, "by", r.By, "leaf", out.Leaf)
	return out, nil
}

// instant reads a date in the zone of the policy in force, or an instant.
func (s *Service) instant(ctx context.Context, text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UTC().Truncate(time.Microsecond), nil
	}
	zone := time.UTC
	rec, err := s.Store.PolicyInForce(ctx, s.now())
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return time.Time{}, fmt.Errorf("read policy: %w", err)
	default:
		p, err := policy.Read(rec.Source)
		if err != nil {
			return time.Time{}, fmt.Errorf("read policy %s: %w", rec.Digest, err)
		}
		zone = p.Zone
	}
	at, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return at, fmt.Errorf("%w: %q: want a date, YYYY-MM-DD, or an instant as in 2026-06-01T12:00:00Z", ErrInvalid, text)
	}
	return at.UTC(), nil
}

// checkReason keeps reasons fit for a line of a table.
func checkReason(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return fmt.Errorf("%w: a reason is missing", ErrInvalid)
	case len(s) > maxReason:
		return fmt.Errorf("%w: the reason has %d bytes, at most %d", ErrInvalid, len(s), maxReason)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: the reason %q holds characters that cannot be printed", ErrInvalid, s)
	}
	return nil
}
