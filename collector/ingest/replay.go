package ingest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// held is a quarantined envelope with what its report says.
type held struct {
	store.Quarantined
	report *schema.Report // nil when it cannot be read
}

func (h held) sequence() uint64 {
	if h.report == nil {
		return ^uint64(0) // last: it will only be refused
	}
	return h.report.Sequence
}

// mayPass are the reasons of refusals that trust in the key takes away; forks were
// refused by versions that kept one line only.
var mayPass = []string{schema.ReasonUnknownKey, schema.ReasonSequenceFork}

// waiting lists a key's quarantined reports in order of sequence. Their number
// and size are capped by the quarantine.
func (d *Door) waiting(ctx context.Context, key string) ([]held, error) {
	var list []store.Quarantined
	for _, reason := range mayPass {
		more, err := d.o.Store.QuarantinedRaw(ctx, key, reason)
		if err != nil {
			return nil, fmt.Errorf("list waiting reports: %w", err)
		}
		list = append(list, more...)
	}
	hs := make([]held, len(list))
	for i, q := range list {
		hs[i] = held{Quarantined: q}
		if o, err := envelope.Open(q.Raw); err == nil {
			if r, err := o.Report(); err == nil {
				r.Bodies = nil // only the facts are needed here
				hs[i].report = r
			}
		}
	}
	slices.SortStableFunc(hs, func(a, b held) int {
		return cmp.Or(cmp.Compare(a.sequence(), b.sequence()), strings.Compare(a.Digest, b.Digest))
	})
	return hs, nil
}

func hostname(waiting []held) string {
	for _, h := range slices.Backward(waiting) {
		if h.report != nil && checkName(h.report.Host.Hostname) == nil {
			return h.report.Host.Hostname
		}
	}
	return ""
}

// Replayed counts what became of reports that waited.
type Replayed struct {
	Accepted, Duplicate, Needed, Rejected int
}

func (n *Replayed) add(decision string) {
	switch decision {
	case Accepted:
		n.Accepted++
	case Duplicate:
		n.Duplicate++
	case Needed:
		n.Needed++
	case Rejected:
		n.Rejected++
	}
}

// replay puts quarantined reports through the door again, as if their road had
// just delivered them, and sends the receipts.
func (d *Door) replay(ctx context.Context, waiting []held, n *Replayed) error {
	for _, h := range waiting {
		if err := d.replayOne(ctx, h.Quarantined, n); err != nil {
			return err
		}
	}
	return nil
}

func (d *Door) replayOne(ctx context.Context, q store.Quarantined, n *Replayed) error {
	in := deliveryOf(q.Road, q.Raw)
	p := &passage{Delivery: in, replay: true}
	receipt, err := d.pass(ctx, p)
	if err != nil && rejectionOf(err) == nil {
		return err
	}
	n.add(p.decision)
	if receipt == nil || d.o.Publish == nil || in.TransportKey == "" {
		return nil
	}
	if err := d.o.Publish(in.Road, in.TransportKey, receipt); err != nil {
		// The host asks again, and gets the same answer.
		d.o.Log.Warn("receipt not sent", "transport_key", in.TransportKey, "err", err)
	}
	return nil
}

// ReplayTrusted replays what still waits although its key is trusted, as when
// the program ended between an act of trust and its replay.
func (d *Door) ReplayTrusted(ctx context.Context) (Replayed, error) {
	var total Replayed
	keys := map[string]int64{}
	for _, reason := range mayPass {
		some, err := d.o.Store.QuarantineKeys(ctx, reason)
		if err != nil {
			return total, fmt.Errorf("replay: look up waiting keys: %w", err)
		}
		maps.Copy(keys, some)
	}
	assets, err := d.o.Store.Assets(ctx)
	if err != nil {
		return total, fmt.Errorf("replay: list hosts: %w", err)
	}
	for _, a := range assets {
		if keys[a.Key] == 0 {
			continue
		}
		waiting, err := d.waiting(ctx, a.Key)
		if err != nil {
			return total, fmt.Errorf("replay: %w", err)
		}
		if err := d.replay(ctx, waiting, &total); err != nil {
			return total, fmt.Errorf("replay %s: %w", a.ID, err)
		}
	}
	return total, nil
}
