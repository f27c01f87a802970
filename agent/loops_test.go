package agent_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// far is the far end of a road in memory: what it is told to answer to a report.
type far struct {
	key      ed25519.PrivateKey
	receipts chan []byte
	up       chan struct{}

	mu     sync.Mutex
	answer func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt
	fail   error
	log    []delivery
}

type delivery struct {
	at time.Time
	r  *schema.Report
	id string
}

func newFar(answer func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt) *far {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return &far{key: key, receipts: make(chan []byte, 100), up: make(chan struct{}, 1), answer: answer}
}

func (f *far) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *far) Receipts() <-chan []byte       { return f.receipts }
func (f *far) Up() <-chan struct{}           { return f.up }

func (f *far) Publish(_ context.Context, id string, raw []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	o, err := envelope.Open(raw)
	if err != nil {
		return err
	}
	r, err := o.Report()
	if err != nil {
		return err
	}
	f.log = append(f.log, delivery{time.Now(), r, id})
	for _, receipt := range f.answer(len(f.log), o, r) {
		sealed, err := envelope.SealReceipt(receipt, f.key)
		if err != nil {
			return err
		}
		f.receipts <- sealed
	}
	return nil
}

func (f *far) set(fail error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *far) deliveries() []delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]delivery{}, f.log...)
}

func answer(kind string, o *envelope.Opened, r *schema.Report) schema.Receipt {
	out := schema.Receipt{
		Kind: kind, ReportID: o.ID, Host: schema.KeyID(o.Key), Sequence: r.Sequence,
		LogOrigin: "test", LeafIndex: -1, ReceivedAt: time.Now(),
	}
	switch kind {
	case schema.ReceiptAccepted:
		out.LeafIndex = 0
	case schema.ReceiptNeed:
		out.Parts = []string{schema.PartPackages}
	}
	return out
}

func accept(_ int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
	return []schema.Receipt{answer(schema.ReceiptAccepted, o, r)}
}

func mute(int, *envelope.Opened, *schema.Report) []schema.Receipt { return nil }

// host is an agent with a state directory and a scan that always finds one package.
type host struct {
	*agent.Agent
	dir string

	mu    sync.Mutex
	scans []time.Time
	fail  error
	// machineID is what scans find.
	machineID string
}

// machine is where these agents run.
var machine = schema.Machine{MachineID: "3d1219c7c4c5404aaa1f6d2a48adfda4"}

func (h *host) failing(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

func newHost(t *testing.T, road agent.Road, key ed25519.PublicKey, change func(*agent.Options)) *host {
	t.Helper()
	h := &host{dir: filepath.Join(t.TempDir(), "state"), machineID: machine.MachineID}
	id, err := identity.Open(h.dir, machine, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := spool.Open(filepath.Join(h.dir, "spool"), id.Public(), spool.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	o := agent.Options{
		Identity: id, Spool: kept, Road: road, ReceiptKey: key, Scan: h.scan, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	h.Agent = agent.New(o)
	return h
}

func (h *host) scan(context.Context) (*schema.Report, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.scans = append(h.scans, time.Now())
	if h.fail != nil {
		return nil, h.fail
	}
	text, err := schema.EncodePackages([]schema.Package{{
		Format: schema.FormatDeb, Name: "bash", Version: "5.2", Arch: "amd64",
		Source: "bash", SourceVersion: "5.2", Status: schema.StatusInstalled,
	}})
	if err != nil {
		return nil, err
	}
	return &schema.Report{
		CollectedAt: time.Now(), Agent: schema.Agent{Version: "test"}, Host: schema.Host{MachineID: h.machineID},
		Parts:  []schema.Part{schema.NewPart(schema.PartPackages, text)},
		Bodies: map[string]string{schema.PartPackages: text},
	}, nil
}

func (h *host) waiting(t *testing.T) int {
	t.Helper()
	entries, err := h.Spool.Pending()
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func (h *host) status(t *testing.T) spool.Status {
	t.Helper()
	st, err := spool.Read(filepath.Join(h.dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// during runs loop in a bubble of fake time for d.
func during(t *testing.T, loop func(context.Context) error, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := loop(ctx); err != nil {
		t.Errorf("loop: %v", err)
	}
}

func TestRunReportsAtOnceAndEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(accept)
		h := newHost(t, f, public(f.key), nil)
		start := time.Now()
		during(t, h.Run, 24*time.Hour)
		log := f.deliveries()
		// 6 h, a tenth more or less: after the first, three or four in 24 h.
		if len(log) < 4 || len(log) > 5 {
			t.Fatalf("%d reports in a day", len(log))
		}
		if !log[0].at.Equal(start) {
			t.Errorf("first report after %s, want at once", log[0].at.Sub(start))
		}
		for i := 1; i < len(log); i++ {
			if gap := log[i].at.Sub(log[i-1].at); gap < 324*time.Minute || gap > 396*time.Minute {
				t.Errorf("report %d came %s after the one before", i+1, gap)
			}
			if n := len(log[i].r.Bodies); n != 0 {
				t.Errorf("report %d carries %d bodies of an unchanged state", i+1, n)
			}
		}
		if n := h.waiting(t); n != 0 {
			t.Errorf("%d reports wait", n)
		}
	})
}

func TestResendUntilReceipted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
			if n < 6 {
				return nil // lost on the way
			}
			return accept(n, o, r)
		})
		h := newHost(t, f, public(f.key), nil)
		if _, err := h.CollectOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		during(t, h.Send, 24*time.Hour)
		log := f.deliveries()
		if len(log) != 6 || h.waiting(t) != 0 {
			t.Fatalf("sent %d times, %d wait; want 6 and 0", len(log), h.waiting(t))
		}
		window := agent.DefaultResend
		for i := 1; i < len(log); i, window = i+1, 2*window {
			if gap := log[i].at.Sub(log[i-1].at); gap < window/2 || gap > window {
				t.Errorf("sent again after %s, want %s to %s", gap, window/2, window)
			}
			if log[i].id != log[0].id {
				t.Error("sent again under another id")
			}
		}
	})
}

func TestSilenceKeepsEverythingWithoutTurningInCircles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(mute)
		h := newHost(t, f, public(f.key), nil)
		during(t, h.Run, 7*24*time.Hour)
		if n := h.waiting(t); n < 25 {
			t.Errorf("%d reports wait after a week of silence, want all", n)
		}
		// Each report is sent at most about 2 h⁻¹ once its window is an hour.
		if n := len(f.deliveries()); n < 200 || n > 6000 {
			t.Errorf("sent %d times in a week", n)
		}
	})
}

func TestRoadDownIsNotPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(accept)
		f.set(publish.ErrDown)
		h := newHost(t, f, public(f.key), nil)
		go func() {
			time.Sleep(48 * time.Hour)
			f.set(nil)
			f.up <- struct{}{}
		}()
		during(t, h.Run, 49*time.Hour)
		if n := h.waiting(t); n != 0 {
			t.Errorf("%d reports wait after the road came up", n)
		}
		log := f.deliveries()
		for i := range log {
			if log[i].r.Sequence != uint64(i)+1 {
				t.Errorf("delivery %d is report %d, want the oldest first", i+1, log[i].r.Sequence)
			}
		}
		if len(log) < 8 {
			t.Errorf("%d deliveries", len(log))
		}
	})
}

func TestOnlyThePinnedKeyIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stranger := newFar(accept), newFar(accept)
		h := newHost(t, f, public(stranger.key), nil)
		f.receipts <- []byte("garbage")
		during(t, h.Run, time.Hour)
		if n := h.waiting(t); n != 1 {
			t.Errorf("%d reports wait, want 1: a stranger's receipt was believed", n)
		}
	})
}

func TestNeedBringsAFullReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		has := false // the collector was restored from before the first report
		f := newFar(func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
			if n == 1 {
				return accept(n, o, r)
			}
			if has = has || len(r.Bodies) > 0; has {
				return accept(n, o, r)
			}
			return []schema.Receipt{answer(schema.ReceiptNeed, o, r)}
		})
		h := newHost(t, f, public(f.key), nil)
		during(t, h.Run, 8*time.Hour)
		var got []uint64
		for _, d := range f.deliveries() {
			got = append(got, d.r.Sequence)
		}
		// 1 accepted, 2 needs a part, 3 brings it within the prompt's window, 2 again.
		if len(got) != 4 || got[2] != 3 || got[3] != 2 || h.waiting(t) != 0 {
			t.Fatalf("deliveries %v, %d wait", got, h.waiting(t))
		}
		if wait := f.deliveries()[2].at.Sub(f.deliveries()[1].at); wait > 20*time.Second {
			t.Errorf("the full report came %s after it was asked for", wait)
		}
	})
}

func TestACollectorThatIsNeverContentIsAnsweredEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(func(_ int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
			return []schema.Receipt{answer(schema.ReceiptNeed, o, r)}
		})
		h := newHost(t, f, public(f.key), nil)
		during(t, h.Run, 24*time.Hour)
		if n := len(h.scans); n < 5 || n > 60 {
			t.Errorf("%d scans in a day", n)
		}
	})
}

func TestQuarantinedReportsWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
			if n < 4 {
				no := answer(schema.ReceiptRejected, o, r)
				no.Reason, no.Sequence = schema.ReasonUnknownKey, 0
				return []schema.Receipt{no}
			}
			return accept(n, o, r)
		})
		h := newHost(t, f, public(f.key), nil)
		during(t, h.Run, 3*time.Hour)
		log := f.deliveries()
		if len(log) != 4 || h.waiting(t) != 0 {
			t.Fatalf("%d deliveries, %d wait", len(log), h.waiting(t))
		}
		for i := 1; i < len(log); i++ {
			if gap := log[i].at.Sub(log[i-1].at); gap < 15*time.Minute || gap > 30*time.Minute {
				t.Errorf("sent again after %s", gap)
			}
		}
	})
}

func TestFailedScansAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(accept)
		h := newHost(t, f, public(f.key), nil)
		h.failing(errors.New("no root"))
		go func() { time.Sleep(time.Hour); h.failing(nil) }()
		during(t, h.Run, 12*time.Hour)
		if len(f.deliveries()) < 1 || len(h.scans) < 3 || len(h.scans) > 40 {
			t.Errorf("%d scans, %d reports", len(h.scans), len(f.deliveries()))
		}
	})
}

// TestTwoProcesses runs the loops apart, as `collect` and `send` do: they see
// each other through the disk alone.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(accept)
		h := newHost(t, f, public(f.key), nil)
		other, err := spool.Open(filepath.Join(h.dir, "spool"), h.Identity.Public(), spool.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		o := h.Options
		o.Spool = other
		apart := agent.New(o)
		done := make(chan struct{})
		go func() { defer close(done); during(t, apart.Send, 13*time.Hour) }()
		time.Sleep(30 * time.Second)
		start := time.Now()
		during(t, h.Collect, 12*time.Hour)
		<-done
		log := f.deliveries()
		if len(log) < 2 || h.waiting(t) != 0 {
			t.Fatalf("%d deliveries, %d wait", len(log), h.waiting(t))
		}
		if wait := log[0].at.Sub(start); wait > time.Minute {
			t.Errorf("the sender saw the report after %s", wait)
		}
	})
}

func TestOnce(t *testing.T) {
	reject := func(reason string) func(int, *envelope.Opened, *schema.Report) []schema.Receipt {
		return func(_ int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
			no := answer(schema.ReceiptRejected, o, r)
			no.Reason = reason
			return []schema.Receipt{no}
		}
	}
	needFirst := func(n int, o *envelope.Opened, r *schema.Report) []schema.Receipt {
		if n == 1 {
			return []schema.Receipt{answer(schema.ReceiptNeed, o, r)}
		}
		return accept(n, o, r)
	}
	for name, test := range map[string]struct {
		answer func(int, *envelope.Opened, *schema.Report) []schema.Receipt
		ok     bool
		reason string
	}{
		"accepted":  {answer: accept, ok: true},
		"needed":    {answer: needFirst, ok: true},
		"untrusted": {answer: reject(schema.ReasonUnknownKey), reason: schema.ReasonUnknownKey},
		"rejected":  {answer: reject(schema.ReasonRevokedKey), reason: schema.ReasonRevokedKey},
		"silence":   {answer: mute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(test.answer)
				h := newHost(t, f, public(f.key), nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				receipt, err := h.Once(ctx)
				if test.ok {
					if err != nil || receipt.Kind != schema.ReceiptAccepted {
						t.Fatalf("receipt %+v, error %v", receipt, err)
					}
					return
				}
				un, ok := errors.AsType[*agent.Unreceipted](err)
				if !ok || (un.Receipt == nil) != (test.reason == "") {
					t.Fatalf("error %v", err)
				}
				if un.Receipt != nil && un.Receipt.Reason != test.reason {
					t.Errorf("reason %q, want %q", un.Receipt.Reason, test.reason)
				}
			})
		})
	}
}

func TestSendNeedsAPinnedKey(t *testing.T) {
	f := newFar(accept)
	h := newHost(t, f, nil, nil)
	if err := h.Run(t.Context()); !errors.Is(err, agent.ErrNoReceiptKey) {
		t.Errorf("error %v, want ErrNoReceiptKey", err)
	}
}

// TestEndsOnAnotherMachine: a machine that was copied while the agent ran is not
// the one the keys are for, and nothing more is signed there.
func TestEndsOnAnotherMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(accept)
		h := newHost(t, f, public(f.key), nil)
		ended := make(chan error, 1)
		go func() { ended <- h.Run(t.Context()) }()
		synctest.Wait()
		h.mu.Lock()
		h.machineID = "ffffffffffffffffffffffffffffffff"
		h.mu.Unlock()
		if err := <-ended; !errors.Is(err, identity.ErrAnotherMachine) {
			t.Fatalf("the loops ended with %v, want ErrAnotherMachine", err)
		}
		if n := len(f.deliveries()); n != 1 {
			t.Errorf("%d reports were sent, want the one of the machine itself", n)
		}
	})
}

// TestTellsWhenTheMachineIsUnknown: keys whose machine cannot be told are used,
// and each report says so.
func TestTellsWhenTheMachineIsUnknown(t *testing.T) {
	f := newFar(accept)
	h := newHost(t, f, public(f.key), nil)
	h.machineID = ""
	entry, err := h.CollectOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := h.Spool.Load(entry)
	if err != nil {
		t.Fatal(err)
	}
	o, err := envelope.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Report()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Gaps) != 1 || r.Gaps[0].Extractor != identity.Extractor || r.Gaps[0].Kind != schema.GapUnreadable {
		t.Errorf("gaps %+v, want one by %s", r.Gaps, identity.Extractor)
	}
}
