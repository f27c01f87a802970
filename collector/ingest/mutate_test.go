package ingest_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/schema"
)

// What is not exactly what a trusted host sealed is never accepted: whatever is
// cut, flipped, inserted or spliced, the door rejects it, on record.
func TestMutatedEnvelopesAreRejected(t *testing.T) {
	h := natstest.NewHost(t, 1)
	r := open(t)
	r.trust(t, h)
	raws, _ := h.Chain(t, 2)
	stranger, _ := natstest.NewHost(t, 2).Chain(t, 1)
	seeds := append(slices.Clone(raws), stranger...)
	known := map[string]bool{string(raws[0]): true, string(raws[1]): true}
	addresses := []string{h.TransportKey(), natstest.NewHost(t, 2).TransportKey(), "nobody", ""}
	rapid.Check(t, func(rt *rapid.T) {
		raw := bytes.Clone(rapid.SampledFrom(seeds).Draw(rt, "seed"))
		for range rapid.IntRange(0, 3).Draw(rt, "edits") {
			raw = mutate(rt, raw, seeds)
		}
		address := rapid.SampledFrom(addresses).Draw(rt, "address")
		receipt, err := r.Accept(t.Context(), ingest.Delivery{Raw: raw, Road: "nats", TransportKey: address})
		if err == nil {
			if !known[string(raw)] || (address != "" && address != h.TransportKey()) {
				rt.Fatalf("accepted %q on %q", raw, address)
			}
			return
		}
		if _, rejected := errors.AsType[*ingest.Rejection](err); !rejected {
			rt.Fatalf("%q is neither accepted nor rejected: %v", raw, err)
		}
		if receipt != nil && r.open(t, receipt).Kind != schema.ReceiptRejected {
			rt.Fatalf("%q was rejected with another receipt: %s", raw, receipt)
		}
	})
}

// mutate edits an envelope at one place.
func mutate(rt *rapid.T, raw []byte, seeds [][]byte) []byte {
	if len(raw) == 0 {
		return raw
	}
	at := rapid.IntRange(0, len(raw)-1).Draw(rt, "at")
	switch rapid.IntRange(0, 3).Draw(rt, "edit") {
	case 0:
		raw[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		return raw
	case 1:
		return slices.Insert(raw, at, rapid.SampledFrom([]byte(" \n\t{}[],:\"\\=A0")).Draw(rt, "byte"))
	case 2:
		end := min(at+rapid.IntRange(1, 40).Draw(rt, "cut"), len(raw))
		return slices.Delete(raw, at, end)
	default:
		other := rapid.SampledFrom(seeds).Draw(rt, "other")
		return append(raw[:at], other[min(at, len(other)):]...)
	}
}
