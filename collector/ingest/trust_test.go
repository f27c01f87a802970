package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// wait sends the envelopes of a host nobody trusts yet, the last one first.
func (r *room) wait(t *testing.T, h *natstest.Host, raws [][]byte) {
	t.Helper()
	for _, raw := range slices.Backward(raws) {
		r.refuse(t, deliver(h, raw), schema.ReasonUnknownKey)
	}
}

func TestTrustReplaysWaitingReportsInOrder(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	raws, ids := h.Chain(t, 3)
	r.wait(t, h, raws)
	fingerprint := schema.Fingerprint(h.Public())
	typed := strings.ToLower(strings.ReplaceAll(fingerprint, "-", " "))
	attributes := store.Attributes{Account: "123456789012", Exposure: sla.Internal}

	got, err := r.Trust(t.Context(), ingest.TrustRequest{Key: typed, Attributes: attributes, By: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	want := ingest.Trusted{
		Asset: store.Asset{
			ID: ingest.AssetID(h.Public()), Name: h.Name(), Key: schema.KeyID(h.Public()), TrustedAt: now,
			Attributes: store.Attributes{
				Account: "123456789012", Exposure: sla.Internal,
				Class: sla.Compute, Environment: sla.UnknownEnvironment,
			},
			Declared: classify.Declared{Attributes: attributes, By: "cli", At: now},
		},
		Fingerprint: fingerprint,
		Leaf:        3, // each waiting report has one
		Replay:      ingest.Replayed{Accepted: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("trusted (-want +got):\n%s", diff)
	}
	var order []string
	for i, receipt := range r.sent {
		order = append(order, receipt.ReportID)
		if receipt.Kind != schema.ReceiptAccepted || receipt.LeafIndex != 4+2*int64(i) {
			t.Errorf("receipt %d is %+v", i, receipt)
		}
	}
	if !slices.Equal(order, ids) {
		t.Errorf("replayed %v, want %v", order, ids)
	}
	if list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("still in quarantine: %+v, %v", list, err)
	}
}

// Replayed or not, the same reports leave the same database.
func TestReplaySameDatabase(t *testing.T) {
	h := natstest.NewHost(t, 1)
	raws, _ := h.Chain(t, 3)
	direct, replayed := open(t), open(t)
	direct.trust(t, h)
	for _, raw := range raws {
		direct.accept(t, deliver(h, raw))
	}
	replayed.wait(t, h, raws)
	replayed.trust(t, h)
	if diff := cmp.Diff(dump(t, direct.path), dump(t, replayed.path)); diff != "" {
		t.Errorf("(-direct +replayed):\n%s", diff)
	}
}

func TestTrustBeforeTheFirstReportNeedsTheWholeKey(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	_, err := r.Trust(t.Context(), ingest.TrustRequest{Key: schema.Fingerprint(h.Public())})
	if !errors.Is(err, ingest.ErrUnseen) || !strings.Contains(err.Error(), "start the agent") {
		t.Errorf("by fingerprint: got %v, want ErrUnseen with what to do", err)
	}
	got, err := r.Trust(t.Context(), ingest.TrustRequest{Key: strings.ToUpper(schema.KeyID(h.Public()))})
	if err != nil || got.Asset.Name != got.Asset.ID {
		t.Errorf("by whole key: got %+v, %v; want it named by its id", got, err)
	}
}

func TestTrustTwiceIsRefused(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	id := r.trust(t, h).Asset.ID
	for _, key := range []string{schema.KeyID(h.Public()), schema.Fingerprint(h.Public())} {
		_, err := r.Trust(t.Context(), ingest.TrustRequest{Key: key})
		if !errors.Is(err, ingest.ErrTrusted) || !strings.Contains(err.Error(), h.Name()) || !strings.Contains(err.Error(), id) {
			t.Errorf("trust %s again: got %v, want ErrTrusted that names the host", key, err)
		}
	}
	if n := r.leaves(t); n != 1 {
		t.Errorf("got %d leaves, want 1", n)
	}
}

func TestTrustRefusesWhatMakesNoSense(t *testing.T) {
	h := natstest.NewHost(t, 1)
	key := schema.KeyID(h.Public())
	for name, req := range map[string]ingest.TrustRequest{
		"no_key":            {},
		"not_a_key":         {Key: "hello"},
		"low_order_key":     {Key: strings.Repeat("00", 32)},
		"mistyped_fp":       {Key: schema.Fingerprint(h.Public())[1:]},
		"control_in_name":   {Key: key, Name: "a\x1b[31mb"},
		"long_name":         {Key: key, Name: strings.Repeat("x", 254)},
		"space_around_name": {Key: key, Name: " a"},
		"class":             {Key: key, Name: "a", Attributes: store.Attributes{Class: "toaster"}},
		"exposure":          {Key: key, Name: "a", Attributes: store.Attributes{Exposure: "moon"}},
		"environment":       {Key: key, Name: "a", Attributes: store.Attributes{Environment: "prod"}},
		"account":           {Key: key, Name: "a", Attributes: store.Attributes{Account: "1\n2"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t)
			if _, err := r.Trust(t.Context(), req); !errors.Is(err, ingest.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if n := r.leaves(t); n != 0 {
				t.Errorf("left %d leaves", n)
			}
		})
	}
}

// A name a host gave itself is used only when it can be shown.
func TestHostileHostNameIsNotUsed(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	report := h.Report(t, 1)
	report.Host.Hostname = "\u202eevil"
	raw, _ := h.Seal(t, report)
	r.wait(t, h, [][]byte{raw})
	got, err := r.Trust(t.Context(), ingest.TrustRequest{Key: schema.Fingerprint(h.Public())})
	if err != nil || got.Asset.Name != got.Asset.ID {
		t.Errorf("got %q, %v; want the asset's id as name", got.Asset.Name, err)
	}
}

// What waits and turns out bad is kept under its own reason; what needs parts is
// asked for and not kept.
func TestReplayOfBadReports(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	good, _ := h.Seal(t, h.Report(t, 1))
	fork, _ := h.Seal(t, h.Report(t, 1, natstest.Package("x", "1")))
	byDigest := h.Report(t, 3)
	byDigest.Bodies = nil
	short, shortID := h.Seal(t, byDigest)
	nonsense := sign(t, []byte("no frame"), h.Key)
	r.wait(t, h, [][]byte{good, fork, short, nonsense})

	got := r.trust(t, h).Replay
	if want := (ingest.Replayed{Accepted: 2, Needed: 1, Rejected: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	list, err := r.store.QuarantinedEnvelopes(t.Context(), schema.KeyID(h.Public()), 0)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, q := range list {
		reasons = append(reasons, q.Reason)
	}
	slices.Sort(reasons)
	if want := []string{schema.ReasonBadFrame}; !slices.Equal(reasons, want) {
		t.Errorf("quarantine holds %v, want %v", reasons, want)
	}
	if !slices.ContainsFunc(r.sent, func(s schema.Receipt) bool { return s.Kind == schema.ReceiptNeed && s.ReportID == shortID }) {
		t.Errorf("nobody asked for the missing part: %+v", r.sent)
	}
}

// Trust that ends between the act and its replay is taken up later.
func TestReplayTrustedTakesUpWhatIsLeft(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	raws, _ := h.Chain(t, 3)
	r.wait(t, h, raws)
	r.wait(t, natstest.NewHost(t, 2), raws[:0])
	// The act alone, as when the program is killed right after its transaction.
	a := store.Asset{ID: "a-1", Name: "a", Key: schema.KeyID(h.Public()), TrustedAt: now}
	if _, err := r.store.TrustKey(t.Context(), a, store.Leaf{Kind: "trust", At: now, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	// A context that ends leaves the rest waiting, and says so.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ReplayTrusted(ctx); err == nil {
		t.Error("replay under an ended context: got no error")
	}
	for _, want := range []ingest.Replayed{{Accepted: 3}, {}} {
		if got, err := r.ReplayTrusted(t.Context()); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

// The agent sends again while its key waits, and again after trust: it is
// accepted on the direct way and no copy stays behind.
func TestResendAfterTrustReleasesTheCopy(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	raw, _ := h.Seal(t, h.Report(t, 1))
	relay := natstest.NewHost(t, 2)
	// A relay was first: the copy in quarantine bears its address.
	r.refuse(t, deliver(relay, raw), schema.ReasonUnknownKey)
	r.refuse(t, deliver(h, raw), schema.ReasonUnknownKey)
	if got := r.trust(t, h).Replay; got != (ingest.Replayed{Rejected: 1}) {
		t.Errorf("got %+v, want the relayed copy rejected", got)
	}
	if len(r.sent) != 0 {
		t.Errorf("the relay got receipts: %+v", r.sent)
	}
	if got := r.accept(t, deliver(h, raw)); got.Kind != schema.ReceiptAccepted {
		t.Errorf("got %+v, want accepted", got)
	}
	if list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("still in quarantine: %+v, %v", list, err)
	}
}

func TestPendingKeys(t *testing.T) {
	r := open(t)
	h1, h2 := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	raws, _ := h1.Chain(t, 2)
	r.wait(t, h1, raws)
	r.wait(t, h1, raws[:1])
	one, _ := h2.Seal(t, h2.Report(t, 1))
	r.wait(t, h2, [][]byte{one})
	r.refuse(t, deliver(h2, []byte("garbage")), schema.ReasonMalformed)

	got, err := r.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pending := func(h *natstest.Host, reports, deliveries int64) ingest.PendingKey {
		return ingest.PendingKey{
			Fingerprint: schema.Fingerprint(h.Public()), Key: schema.KeyID(h.Public()), Reports: reports, Deliveries: deliveries,
			FirstAt: now, LastAt: now, Roads: []string{"nats/" + h.TransportKey()},
		}
	}
	want := []ingest.PendingKey{pending(h1, 2, 3), pending(h2, 1, 1)}
	slices.SortFunc(want, func(a, b ingest.PendingKey) int { return strings.Compare(a.Key, b.Key) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	r.trust(t, h1)
	if got, err := r.Pending(t.Context()); err != nil || len(got) != 1 || got[0].Key != schema.KeyID(h2.Public()) {
		t.Errorf("after trust: got %+v, %v", got, err)
	}
}

// A key trusted while its report is in the door: the report is found by the
// replay or sees the trust, never lost in between.
func TestTrustRacesWithArrival(t *testing.T) {
	for n := range 30 {
		r, h := open(t), natstest.NewHost(t, n)
		raw, id := h.Seal(t, h.Report(t, 1))
		done := make(chan error)
		go func() {
			_, err := r.Accept(context.WithoutCancel(t.Context()), deliver(h, bytes.Clone(raw)))
			done <- err
		}()
		r.trust(t, h)
		if err := <-done; err != nil {
			if _, rejected := errors.AsType[*ingest.Rejection](err); !rejected {
				t.Fatal(err)
			}
		}
		if _, err := r.store.Report(t.Context(), id); err != nil {
			t.Fatalf("round %d: the report was lost: %v", n, err)
		}
	}
}
