package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// PendingKey is a key whose reports wait for trust.
type PendingKey struct {
	Fingerprint string
	Key         string
	// Reports waiting, and how often they were sent.
	Reports    int64
	Deliveries int64
	FirstAt    time.Time
	LastAt     time.Time
	// Roads they came by, with the address used.
	Roads []string
}

// Pending lists the keys that wait for trust, the newest arrival first.
func (d *Door) Pending(ctx context.Context) ([]PendingKey, error) {
	list, err := d.o.Store.QuarantinedEnvelopes(ctx, "", int(d.o.Limits.Total))
	if err != nil {
		return nil, fmt.Errorf("list pending keys: %w", err)
	}
	byKey := map[string]*PendingKey{}
	for _, q := range list {
		if q.Reason == schema.ReasonUnknownKey {
			addPending(byKey, q)
		}
	}
	pending := make([]PendingKey, 0, len(byKey))
	for id, p := range byKey {
		key, err := schema.ParseKeyID(id)
		if err != nil {
			return nil, fmt.Errorf("list pending keys: %w", err)
		}
		p.Fingerprint = schema.Fingerprint(key)
		slices.Sort(p.Roads)
		pending = append(pending, *p)
	}
	slices.SortFunc(pending, func(a, b PendingKey) int {
		return cmp.Or(b.LastAt.Compare(a.LastAt), strings.Compare(a.Key, b.Key))
	})
	return pending, nil
}

func addPending(byKey map[string]*PendingKey, q store.Quarantined) {
	p := byKey[q.Key]
	if p == nil {
		p = &PendingKey{Key: q.Key, FirstAt: q.FirstAt}
		byKey[q.Key] = p
	}
	p.Reports++
	p.Deliveries += q.Count
	if q.FirstAt.Before(p.FirstAt) {
		p.FirstAt = q.FirstAt
	}
	if q.LastAt.After(p.LastAt) {
		p.LastAt = q.LastAt
	}
	if !slices.Contains(p.Roads, q.Road) {
		p.Roads = append(p.Roads, q.Road)
	}
}
