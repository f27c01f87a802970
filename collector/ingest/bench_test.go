package ingest_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/schema"
)

// BenchmarkAccept is the way of a full report of 700 packages through the door,
// with the transaction on disk.
func BenchmarkAccept(b *testing.B) {
	h := natstest.NewHost(b, 1)
	r := open(b)
	r.trust(b, h)
	packages := manyPackages(700)
	var raws [][]byte
	previous := ""
	for seq := range b.N {
		packages[0].Version = "1." + string(rune('a'+seq%26)) + "0"
		report := h.Report(b, uint64(seq)+1, packages...)
		report.Previous = previous
		raw, id := h.Seal(b, report)
		raws, previous = append(raws, raw), id
	}
	b.ResetTimer()
	for _, raw := range raws {
		if _, err := r.Accept(b.Context(), deliver(h, raw)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDuplicate is the same report again.
func BenchmarkDuplicate(b *testing.B) {
	h := natstest.NewHost(b, 1)
	r := open(b)
	r.trust(b, h)
	raw, _ := h.Seal(b, h.Report(b, 1, manyPackages(700)...))
	for b.Loop() {
		if _, err := r.Accept(b.Context(), deliver(h, raw)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGarbage is a message nobody signed.
func BenchmarkGarbage(b *testing.B) {
	r := open(b)
	n := 0
	for b.Loop() {
		n++
		raw := []byte(`{"payloadType":"x","payload":"` + string(rune('a'+n%26)) + `"}`)
		if _, err := r.Accept(b.Context(), ingest.Delivery{Raw: raw, Road: "nats", TransportKey: "x"}); err == nil {
			b.Fatal("accepted")
		}
	}
}

func manyPackages(n int) []schema.Package {
	var list []schema.Package
	for i := range n {
		list = append(list, natstest.Package("package-"+schema.PartDigest(string(rune(i)))[:12], "1.2.3"))
	}
	return list
}
