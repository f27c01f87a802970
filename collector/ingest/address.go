package ingest

import (
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// maxAddress bounds what is kept of a road's address; a transport key has 56
// characters, and what is longer can belong to no host.
const maxAddress = 64

// address is how the quarantine writes where a delivery came from: the road,
// and after a slash the transport key whose address it used.
func address(d Delivery) string {
	if d.TransportKey == "" {
		return d.Road
	}
	return d.Road + "/" + schema.CleanText(d.TransportKey, maxAddress)
}

// deliveryOf undoes address for a replay.
func deliveryOf(address string, raw []byte) Delivery {
	road, key, _ := strings.Cut(address, "/")
	return Delivery{Raw: raw, Road: road, TransportKey: key}
}
