package ingest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// now is the collector's clock in these tests.
var now = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// room is a door over a real store.
type room struct {
	*ingest.Door
	store  *sqlstore.Store
	path   string
	pinned ed25519.PublicKey
	// sent collects the receipts published by replays.
	sent []schema.Receipt
	// decisions counts what the door said it decided.
	mu        sync.Mutex
	decisions map[string]int
}

func open(t testing.TB, change ...func(*ingest.Options)) *room {
	t.Helper()
	r := &room{path: filepath.Join(t.TempDir(), "collector.db"), decisions: map[string]int{}}
	st := sqltest.OpenAt(t, r.path)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	r.store, r.pinned = st, key.Public().(ed25519.PublicKey)
	o := ingest.Options{
		Store: st, ReceiptKey: key, LogOrigin: "patchproof.dev/log/test", LogEpoch: 1,
		Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
		Publish: func(_, _ string, receipt []byte) error {
			r.sent = append(r.sent, r.open(t, receipt))
			return nil
		},
		Count: func(decision, reason string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.decisions[decision+" "+reason]++
		},
	}
	for _, f := range change {
		f(&o)
	}
	r.Door = ingest.NewDoor(o)
	return r
}

func (r *room) open(t testing.TB, receipt []byte) schema.Receipt {
	t.Helper()
	got, err := envelope.OpenReceipt(receipt, r.pinned)
	if err != nil {
		t.Fatalf("open receipt %q: %v", receipt, err)
	}
	return got
}

func (r *room) trust(t testing.TB, h *natstest.Host) ingest.Trusted {
	t.Helper()
	got, err := r.Trust(t.Context(), ingest.TrustRequest{Key: schema.KeyID(h.Public()), Name: h.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// deliver sends an envelope on the host's own address.
func deliver(h *natstest.Host, raw []byte) ingest.Delivery {
	return ingest.Delivery{Raw: raw, Road: "nats", TransportKey: h.TransportKey()}
}

func (r *room) accept(t *testing.T, d ingest.Delivery) schema.Receipt {
	t.Helper()
	raw, err := r.Accept(t.Context(), d)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	return r.open(t, raw)
}

// refuse expects a rejection, a record of it in quarantine, and returns the receipt.
func (r *room) refuse(t *testing.T, d ingest.Delivery, reason string) []byte {
	t.Helper()
	raw, err := r.Accept(t.Context(), d)
	rejected, ok := errors.AsType[*ingest.Rejection](err)
	if !ok || rejected.Reason != reason {
		t.Fatalf("accept: got error %v, want a rejection for %s", err, reason)
	}
	list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range list {
		if q.Digest == digest(d.Raw) && q.Reason == reason {
			return raw
		}
	}
	t.Fatalf("no record of the %s in quarantine: %+v", reason, list)
	return nil
}

func (r *room) leaves(t *testing.T) int64 {
	t.Helper()
	n, err := r.store.LeafCount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAcceptRecordsReportWithLeafAndReceipt(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	asset := r.trust(t, h).Asset
	raw, id := h.Seal(t, h.Report(t, 1))

	got := r.accept(t, deliver(h, raw))
	want := schema.Receipt{
		Kind: schema.ReceiptAccepted, ReportID: id, Host: schema.KeyID(h.Public()), Sequence: 1,
		LogOrigin: "patchproof.dev/log/test", LogEpoch: 1, LeafIndex: 1, ReceivedAt: now,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	held, err := r.store.Report(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(held.Raw, raw) || held.Asset != asset.ID || held.LeafIndex != 1 || !held.Complete || held.Release.String() != "debian:12" {
		t.Errorf("stored report differs: %+v", held)
	}
	leaves, err := r.store.Leaves(t.Context(), 0, 10)
	if err != nil || len(leaves) != 2 || leaves[0].Kind != "trust" || leaves[1].Kind != "report" {
		t.Errorf("got leaves %+v, %v; want trust, report", leaves, err)
	}
	marks, err := r.store.DirtyAssets(t.Context(), 10)
	if err != nil || len(marks) != 1 || marks[0].Asset != asset.ID {
		t.Errorf("got dirty marks %+v, %v; want one for %s", marks, err, asset.ID)
	}
}

func TestDuplicateChangesNothingAndEarnsTheSameReceipt(t *testing.T) {
	clock := now
	r := open(t, func(o *ingest.Options) { o.Now = func() time.Time { return clock } })
	h := natstest.NewHost(t, 1)
	r.trust(t, h)
	raw, id := h.Seal(t, h.Report(t, 1))
	first, err := r.Accept(t.Context(), deliver(h, raw))
	if err != nil {
		t.Fatal(err)
	}
	before := r.leaves(t)
	for range 3 {
		clock = clock.Add(time.Hour)
		again, err := r.Accept(t.Context(), deliver(h, raw))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Errorf("the second receipt differs:\n%s\n%s", first, again)
		}
	}
	if n, err := r.store.Duplicates(t.Context(), id); err != nil || n != 3 {
		t.Errorf("got %d duplicates, %v; want 3", n, err)
	}
	if after := r.leaves(t); after != before {
		t.Errorf("duplicates appended %d leaves", after-before)
	}
}

func TestNeedAsksForPartsAndKeepsNothing(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	full := h.Report(t, 1)
	byDigest := h.Report(t, 2)
	byDigest.Parts, byDigest.Bodies = full.Parts, nil
	raw2, id2 := h.Seal(t, byDigest)

	got := r.accept(t, deliver(h, raw2))
	if got.Kind != schema.ReceiptNeed || !cmp.Equal(got.Parts, []string{schema.PartPackages}) || got.ReportID != id2 || got.LeafIndex != -1 {
		t.Errorf("got receipt %+v, want need packages", got)
	}
	if n := r.leaves(t); n != 1 {
		t.Errorf("got %d leaves, want only the trust's", n)
	}
	if list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("quarantine holds %+v, %v; want nothing", list, err)
	}
	raw1, _ := h.Seal(t, full)
	r.accept(t, deliver(h, raw1))
	if got := r.accept(t, deliver(h, raw2)); got.Kind != schema.ReceiptAccepted {
		t.Errorf("once the part is held: got %+v, want accepted", got)
	}
}

// A part by digest is checked as one that travels: the report cannot lie about
// its size, nor pass off as packages what came as something else.
func TestPartByDigestIsWhatItSays(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	first := h.Report(t, 1)
	words := "alpha\nbeta\n"
	first.Parts = append(first.Parts, schema.NewPart("words", words))
	first.Bodies["words"] = words
	raw, _ := h.Seal(t, first)
	r.accept(t, deliver(h, raw))

	t.Run("size", func(t *testing.T) {
		liar := h.Report(t, 2)
		liar.Parts, liar.Bodies = []schema.Part{first.Parts[0]}, nil
		liar.Parts[0].Count--
		raw, _ := h.Seal(t, liar)
		r.refuse(t, deliver(h, raw), schema.ReasonBodyDigest)
	})
	t.Run("name", func(t *testing.T) {
		liar := h.Report(t, 3)
		part := schema.NewPart(schema.PartPackages, words)
		liar.Parts, liar.Bodies = []schema.Part{part}, nil
		raw, _ := h.Seal(t, liar)
		r.refuse(t, deliver(h, raw), schema.ReasonBodyNotCanonical)
	})
	t.Run("checked_before", func(t *testing.T) {
		for seq := uint64(4); seq < 6; seq++ {
			honest := h.Report(t, seq)
			text := first.Bodies[schema.PartPackages]
			honest.Parts, honest.Bodies = []schema.Part{schema.NewPart(schema.PartPackages, text)}, nil
			raw, _ := h.Seal(t, honest)
			if got := r.accept(t, deliver(h, raw)); got.Kind != schema.ReceiptAccepted {
				t.Errorf("got %+v, want accepted", got)
			}
		}
	})
}

// Both reports of a fork are on record with a receipt: neither line can be kept
// from speaking by the other.
func TestForkIsKept(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	raw, id := h.Seal(t, h.Report(t, 1))
	r.accept(t, deliver(h, raw))
	fork, forkID := h.Seal(t, h.Report(t, 1, natstest.Package("other", "1")))
	receipt := r.accept(t, deliver(h, fork))
	if receipt.ReportID != forkID || receipt.Kind != schema.ReceiptAccepted || receipt.Sequence != 1 {
		t.Errorf("got receipt %+v", receipt)
	}
	a, err := r.store.AssetByKey(t.Context(), schema.KeyID(h.Public()))
	if err != nil || !a.Forked || a.Head == nil || a.Head.ReportID != max(id, forkID) {
		t.Errorf("forked %v, head %+v, %v", a.Forked, a.Head, err)
	}
	for _, id := range []string{id, forkID} {
		if held, err := r.store.Report(t.Context(), id); err != nil || len(held.Raw) == 0 {
			t.Errorf("report %s: %v", id, err)
		}
	}
}

// Forks that an earlier version put into quarantine are taken in.
func TestQuarantinedForksAreTakenIn(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	raw, _ := h.Seal(t, h.Report(t, 1))
	r.accept(t, deliver(h, raw))
	fork, forkID := h.Seal(t, h.Report(t, 1, natstest.Package("other", "1")))
	q := store.Quarantined{
		Digest: schema.PartDigest(string(fork)), Key: schema.KeyID(h.Public()), Reason: schema.ReasonSequenceFork,
		Road: "nats/" + h.TransportKey(), Count: 1, FirstAt: now, LastAt: now, Raw: fork,
	}
	leaf, err := evidence.QuarantineLeaf(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Quarantine(t.Context(), q, ingest.DefaultLimits, leaf); err != nil {
		t.Fatal(err)
	}
	for _, want := range []ingest.Replayed{{Accepted: 1}, {}} {
		if got, err := r.ReplayTrusted(t.Context()); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := r.store.Report(t.Context(), forkID); err != nil {
		t.Error(err)
	}
}

func TestIncompleteWhenAPackageExtractorLeftAGap(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	for seq, c := range []struct {
		name   string
		change func(*schema.Report)
		want   bool
	}{
		{"whole", func(*schema.Report) {}, true},
		{"rpm_gap", func(p *schema.Report) { p.Gaps = []schema.Gap{{Extractor: "rpm", Kind: schema.GapCorrupt}} }, false},
		{"dpkg_gap", func(p *schema.Report) { p.Gaps = []schema.Gap{{Extractor: "dpkg", Kind: schema.GapUnreadable}} }, false},
		{"imds_gap", func(p *schema.Report) { p.Gaps = []schema.Gap{{Extractor: "imds", Kind: schema.GapTimeout}} }, true},
		{"no_packages", func(p *schema.Report) {
			p.Parts, p.Bodies = nil, nil
			p.Gaps = []schema.Gap{{Extractor: "packages", Kind: schema.GapUnsupported}}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := h.Report(t, uint64(seq)+1)
			c.change(report)
			raw, id := h.Seal(t, report)
			r.accept(t, deliver(h, raw))
			held, err := r.store.Report(t.Context(), id)
			if err != nil || held.Complete != c.want {
				t.Errorf("got complete %v, %v; want %v", held.Complete, err, c.want)
			}
		})
	}
}

// A store that fails decides nothing: the road is told to come again.
func TestStoreFailureIsNoRejection(t *testing.T) {
	r, h := open(t), natstest.NewHost(t, 1)
	r.trust(t, h)
	raw, _ := h.Seal(t, h.Report(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []ingest.Delivery{deliver(h, raw), deliver(h, []byte("garbage"))} {
		receipt, err := r.Accept(ctx, d)
		if _, rejected := errors.AsType[*ingest.Rejection](err); err == nil || rejected || receipt != nil {
			t.Errorf("got receipt %q, error %v; want no receipt and an error that is no rejection", receipt, err)
		}
	}
	if got := r.accept(t, deliver(h, raw)); got.Kind != schema.ReceiptAccepted {
		t.Errorf("on the second try: got %+v, want accepted", got)
	}
}

func TestManyHostsAtOnce(t *testing.T) {
	const hosts, reports, copies = 6, 5, 3
	r := open(t)
	var wg sync.WaitGroup
	for n := range hosts {
		h := natstest.NewHost(t, n)
		r.trust(t, h)
		raws, _ := h.Chain(t, reports)
		for range copies {
			wg.Go(func() {
				for _, raw := range raws {
					if _, err := r.Accept(t.Context(), deliver(h, raw)); err != nil {
						t.Errorf("host %d: %v", n, err)
					}
				}
			})
		}
	}
	wg.Wait()
	if got, want := r.leaves(t), int64(hosts+hosts*reports); got != want {
		t.Errorf("got %d leaves, want %d", got, want)
	}
	if got := r.decisions["accepted "]; got != hosts*reports {
		t.Errorf("got %d accepted, want %d", got, hosts*reports)
	}
	if got := r.decisions["duplicate "]; got != hosts*reports*(copies-1) {
		t.Errorf("got %d duplicates, want %d", got, hosts*reports*(copies-1))
	}
}
