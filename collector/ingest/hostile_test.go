package ingest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// wrapper is a DSSE envelope as an attacker takes it apart.
type wrapper struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

func unwrap(t *testing.T, raw []byte) wrapper {
	t.Helper()
	var w wrapper
	if err := json.Unmarshal(raw, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func wrap(t *testing.T, w wrapper) []byte {
	t.Helper()
	raw, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(raw, []byte(`\u002b`), []byte("+"))
}

// sign makes an envelope of any payload.
func sign(t *testing.T, payload []byte, key ed25519.PrivateKey) []byte {
	t.Helper()
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(envelope.TypeStatement), envelope.TypeStatement, len(payload), payload)
	return wrap(t, wrapper{
		PayloadType: envelope.TypeStatement, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []signature{{schema.KeyID(key.Public().(ed25519.PublicKey)), base64.StdEncoding.EncodeToString(ed25519.Sign(key, pae))}},
	})
}

// forgeries are what can be made of a host's two envelopes without its key.
func forgeries(t *testing.T, raw, other []byte, attacker *natstest.Host) []struct {
	name, reason string
	raw          []byte
} {
	t.Helper()
	good, w := unwrap(t, raw), unwrap(t, other)
	edit := func(f func(*wrapper)) []byte {
		w := good
		w.Signatures = slices.Clone(w.Signatures)
		f(&w)
		return wrap(t, w)
	}
	text := string(raw)
	return []struct {
		name, reason string
		raw          []byte
	}{
		{"wrong_key_same_keyid", schema.ReasonBadSignature, edit(func(w *wrapper) {
			payload, _ := base64.StdEncoding.DecodeString(w.Payload)
			w.Signatures[0].Sig = unwrap(t, sign(t, payload, attacker.Key)).Signatures[0].Sig
		})},
		{"other_keyid", schema.ReasonBadSignature, edit(func(w *wrapper) { w.Signatures[0].KeyID = schema.KeyID(attacker.Public()) })},
		{"low_order_key", schema.ReasonBadKey, edit(func(w *wrapper) { w.Signatures[0].KeyID = "01" + strings.Repeat("00", 31) })},
		{"swapped_payload", schema.ReasonBadSignature, edit(func(g *wrapper) { g.Payload = w.Payload })},
		{"swapped_signature", schema.ReasonBadSignature, edit(func(g *wrapper) { g.Signatures = w.Signatures })},
		{"doubly_signed", schema.ReasonSignatureCount, edit(func(g *wrapper) {
			g.Signatures = append(g.Signatures, unwrap(t, sign(t, []byte("x"), attacker.Key)).Signatures...)
		})},
		{"same_signature_twice", schema.ReasonSignatureCount, edit(func(g *wrapper) { g.Signatures = append(g.Signatures, g.Signatures[0]) })},
		{"unsigned", schema.ReasonSignatureCount, edit(func(g *wrapper) { g.Signatures = []signature{} })},
		{"other_type", schema.ReasonPayloadType, edit(func(g *wrapper) { g.PayloadType = envelope.TypeReceipt })},
		{"white_space", schema.ReasonNotCanonical, []byte(strings.Replace(text, `,"payload"`, `, "payload"`, 1))},
		{"newline_at_end", schema.ReasonNotCanonical, append(bytes.Clone(raw), '\n')},
		{"reordered", schema.ReasonNotCanonical, fmt.Appendf(nil, `{"payload":%q,"payloadType":%q,"signatures":[{"keyid":%q,"sig":%q}]}`,
			good.Payload, good.PayloadType, good.Signatures[0].KeyID, good.Signatures[0].Sig)},
		{"escaped", schema.ReasonNotCanonical, []byte(strings.Replace(text, "application/", `application\/`, 1))},
		{"escaped_key", schema.ReasonNotCanonical, []byte(strings.Replace(text, `"payload":`, `"pa\u0079load":`, 1))},
		{"case_folded_key", schema.ReasonNotCanonical, []byte(strings.Replace(text, `"payload":`, `"Payload":`, 1))},
		{"duplicate_key", schema.ReasonNotCanonical, []byte(strings.Replace(text, `"payload":`, `"payload":"","payload":`, 1))},
		{"unknown_field", schema.ReasonUnknownField, []byte(strings.Replace(text, `"payload":`, `"extra":1,"payload":`, 1))},
		{"trailing", schema.ReasonTrailingData, append(bytes.Clone(raw), raw...)},
		{"upper_case_keyid", schema.ReasonBadKey, edit(func(g *wrapper) { g.Signatures[0].KeyID = strings.ToUpper(g.Signatures[0].KeyID) })},
		{"base64_newline", schema.ReasonNotCanonical, []byte(strings.Replace(text, `"payload":"`, `"payload":"\n`, 1))},
		{"base64_unpadded", schema.ReasonMalformed, edit(func(g *wrapper) { g.Signatures[0].Sig = strings.TrimRight(g.Signatures[0].Sig, "=") })},
		{"base64_spare_bits", schema.ReasonNotCanonical, edit(func(g *wrapper) {
			// A signature ends in "xx==": the last letter has four spare bits.
			sig := []byte(g.Signatures[0].Sig)
			sig[len(sig)-3]++
			g.Signatures[0].Sig = string(sig)
		})},
		{"empty", schema.ReasonMalformed, nil},
		{"not_utf8", schema.ReasonInvalidUTF8, []byte("\x00\xff\xfe")},
		{"not_json", schema.ReasonMalformed, []byte("hello")},
		{"too_large", schema.ReasonTooLarge, make([]byte, envelope.MaxEnvelope+1)},
	}
}

// A forged, re-spelt, doubly signed or swapped envelope changes nothing, earns
// no receipt that its victim could read, and is on record.
func TestForgeriesChangeNothing(t *testing.T) {
	r := open(t)
	h, attacker := natstest.NewHost(t, 1), natstest.NewHost(t, 666)
	r.trust(t, h)
	raws, _ := h.Chain(t, 2)
	r.accept(t, deliver(h, raws[0]))
	before := dump(t, r.path)
	for _, f := range forgeries(t, raws[1], raws[0], attacker) {
		t.Run(f.name, func(t *testing.T) {
			for _, sender := range []*natstest.Host{attacker, h} {
				if receipt := r.refuse(t, deliver(sender, f.raw), f.reason); receipt != nil {
					t.Errorf("got a receipt for what nobody signed: %s", receipt)
				}
			}
			if diff := cmp.Diff(before, dump(t, r.path)); diff != "" {
				t.Errorf("the forgery left a trace (-before +after):\n%s", diff)
			}
		})
	}
	// The real one still goes through.
	if got := r.accept(t, deliver(h, raws[1])); got.Kind != schema.ReceiptAccepted {
		t.Errorf("got %+v, want accepted", got)
	}
}

// A captured envelope sent on another host's address is refused and on record,
// whether it was accepted before or not, and its relay gets no receipt that
// would make the author drop the report.
func TestRelayedEnvelopeIsRefusedWithoutReceipt(t *testing.T) {
	r := open(t)
	h, relay := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	r.trust(t, h)
	r.trust(t, relay)
	raws, ids := h.Chain(t, 2)
	r.accept(t, deliver(h, raws[0]))
	before := dump(t, r.path)
	for _, raw := range raws {
		for _, address := range []string{relay.TransportKey(), "*", "nobody", strings.Repeat("U", 5000)} {
			d := ingest.Delivery{Raw: raw, Road: "nats", TransportKey: address}
			if receipt := r.refuse(t, d, schema.ReasonTransportMismatch); receipt != nil {
				t.Errorf("on address %.20q: got receipt %s, want none", address, receipt)
			}
		}
	}
	if diff := cmp.Diff(before, dump(t, r.path)); diff != "" {
		t.Errorf("the relay left a trace (-before +after):\n%s", diff)
	}
	if got := r.accept(t, deliver(h, raws[1])); got.ReportID != ids[1] || got.Kind != schema.ReceiptAccepted {
		t.Errorf("the author's own delivery: got %+v, want accepted", got)
	}
}

// A host that comes back with another transport key is told so: it signed that
// itself.
func TestAnotherTransportKeyIsRefusedWithReceipt(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	raw, _ := h.Seal(t, h.Report(t, 1))
	r.accept(t, deliver(h, raw))
	moved := &natstest.Host{N: 1, Key: h.Key, Transport: natstest.NewHost(t, 99).Transport}
	raw, id := moved.Seal(t, moved.Report(t, 2))
	receipt := r.open(t, r.refuse(t, deliver(moved, raw), schema.ReasonTransportMismatch))
	if receipt.ReportID != id || receipt.Reason != schema.ReasonTransportMismatch {
		t.Errorf("got %+v", receipt)
	}
	// By a road without addresses the binding holds all the same.
	r.refuse(t, ingest.Delivery{Raw: raw, Road: "bundle"}, schema.ReasonTransportMismatch)
}

// What a trusted host signs can still be nonsense.
func TestSignedNonsenseIsRefusedWithReceipt(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	for name, payload := range map[string][]byte{"not_zstd": []byte("{}"), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			receipt := r.open(t, r.refuse(t, deliver(h, sign(t, payload, h.Key)), schema.ReasonBadFrame))
			if receipt.Reason != schema.ReasonBadFrame || receipt.Sequence != 0 {
				t.Errorf("got %+v", receipt)
			}
		})
	}
}

// An unknown key's payload is not even inflated.
func TestUnknownKeyIsNotRead(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	receipt := r.open(t, r.refuse(t, deliver(h, sign(t, []byte("no frame"), h.Key)), schema.ReasonUnknownKey))
	if receipt.Reason != schema.ReasonUnknownKey || !schema.Retryable(receipt.Reason) {
		t.Errorf("got %+v, want a retryable unknown_key", receipt)
	}
}

// Whatever refused senders do, the store holds no more than the limits allow,
// and counts the rest.
func TestQuarantineIsBounded(t *testing.T) {
	limits := store.QuarantineLimits{PerKey: 3, Total: 10, BytesPerKey: 1 << 20, BytesTotal: 1 << 20}
	r := open(t, func(o *ingest.Options) { o.Limits = limits })
	send := func(d ingest.Delivery) {
		t.Helper()
		if _, err := r.Accept(t.Context(), d); err == nil {
			t.Fatal("accepted")
		}
	}
	for n := range 20 { // garbage without a key shares one allowance
		send(ingest.Delivery{Raw: fmt.Appendf(nil, "garbage %d", n), Road: "nats", TransportKey: "x"})
	}
	for n := range 8 { // as do all reports of one key
		h := natstest.NewHost(t, n)
		raws, _ := h.Chain(t, 4)
		for _, raw := range raws {
			send(deliver(h, raw))
		}
	}
	list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	perKey := map[string]int64{}
	for _, q := range list {
		perKey[q.Key]++
	}
	for key, n := range perKey {
		if n > limits.PerKey {
			t.Errorf("key %q has %d envelopes, limit %d", key, n, limits.PerKey)
		}
	}
	if int64(len(list)) != limits.Total {
		t.Errorf("got %d envelopes, want the limit %d", len(list), limits.Total)
	}
	dropped, err := r.store.DroppedEnvelopes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, d := range dropped {
		n += d.Count
	}
	if want := int64(20 + 8*4 - 10); n != want {
		t.Errorf("got %d dropped, want %d", n, want)
	}
}
