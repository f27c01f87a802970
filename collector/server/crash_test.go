package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

// collectorEnv makes the test binary be a collector over the directory it names.
const collectorEnv = "PATCHPROOF_TEST_COLLECTOR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(collectorEnv); dir != "" {
		os.Exit(beCollector(dir))
	}
	os.Exit(m.Run())
}

// beCollector runs a collector until it is killed, and says when it serves.
func beCollector(dir string) int {
	o := options(dir)
	o.NATSListen = os.Getenv(collectorEnv + "_NATS")
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.Ready = func(e server.Endpoints) { _ = json.NewEncoder(os.Stdout).Encode(e) }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := server.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a collector in a process of its own.
type process struct {
	*exec.Cmd
	server.Endpoints
}

func spawn(t *testing.T, dir, natsAddr string) *process {
	t.Helper()
	p, out := begin(t, dir, natsAddr)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the collector did not start: %v", err)
	}
	if err := json.Unmarshal(line, &p.Endpoints); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

// begin starts a collector and does not wait until it serves.
func begin(t *testing.T, dir, natsAddr string) (*process, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), collectorEnv+"="+dir, collectorEnv+"_NATS="+natsAddr)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p, out
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// end asks the collector to stop and waits for a clean exit.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// fleet is hosts that publish their chains, a few reports at a time, until each
// has a receipt, for as long as the killing goes on.
type fleet struct {
	wg   sync.WaitGroup
	over chan struct{} // closed after the last kill

	mu sync.Mutex
	// sent are envelopes by report id, receipts what the hosts hold for them.
	sent     map[string][]byte
	receipts map[string]schema.Receipt
	errs     []error
}

func (f *fleet) publish(ctx context.Context, s *natstest.Sender, raws [][]byte, ids []string) {
	const group = 3
	for i := 0; i+group <= len(raws); i += group {
		select {
		case <-f.over:
			return
		case <-time.After(time.Duration(rand.IntN(30)) * time.Millisecond): // hosts report now and then
		}
		some := map[string][]byte{}
		for j := i; j < i+group; j++ {
			some[ids[j]] = raws[j]
		}
		f.mu.Lock()
		maps.Copy(f.sent, some)
		f.mu.Unlock()
		got, err := s.Send(ctx, some)
		f.mu.Lock()
		maps.Copy(f.receipts, got)
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("host %d, report %d: %w", s.Host.N, i+1, err))
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, fmt.Errorf("host %d ran out of reports: the last kills hit nothing", s.Host.N))
}

func (f *fleet) receipted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.receipts)
}

// The collector is killed at random points, again and again, while hosts
// publish until receipted. Nothing is lost, nothing is double, and the evidence
// verifies.
func TestKilledCollectorLosesAndDoublesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a collector 20 times; takes a quarter of a minute")
	}
	const kills, hosts, reports = 20, 4, 1500
	dir := dataDir(t)
	p := spawn(t, dir, "127.0.0.1:0")
	addr := p.NATS[len("nats://"):]
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := &fleet{over: make(chan struct{}), sent: map[string][]byte{}, receipts: map[string]schema.Receipt{}}
	trustHost := func(n int) {
		t.Helper()
		(&running{Endpoints: p.Endpoints, dir: dir}).trust(t, schema.KeyID(natstest.NewHost(t, n).Public()))
	}
	for n := range hosts {
		// Half of the hosts are trusted before, half while their reports wait.
		if n%2 == 0 {
			trustHost(n)
		}
		h := natstest.NewHost(t, n)
		raws, ids := h.Chain(t, reports)
		s := (&running{Endpoints: p.Endpoints, dir: dir}).sender(t, h)
		s.Retry = 200 * time.Millisecond
		f.wg.Go(func() { f.publish(ctx, s, raws, ids) })
	}
	for i := range kills {
		before := f.receipted()
		eventually(t, "reports to arrive", func() bool { return f.receipted() > before })
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		p.kill(t)
		if i%4 == 0 { // and once more before it serves
			p, _ = begin(t, dir, addr)
			time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
			p.kill(t)
		}
		p = spawn(t, dir, addr)
		if i == kills/4 {
			trustHost(1)
			trustHost(3)
		}
	}
	close(f.over)
	f.wg.Wait()
	for _, err := range f.errs {
		t.Error(err)
	}
	p.end(t)
	t.Logf("%d reports over %d kills", len(f.sent), kills)
	verify(t, dir, f.sent, f.receipts)
}

// verify holds what the collector recorded against what hosts sent and hold.
func verify(t *testing.T, dir string, want map[string][]byte, receipts map[string]schema.Receipt) {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), filepath.Join(dir, "collector.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	seen := map[string]bool{}
	err = st.EachReport(t.Context(), func(r store.Report) error {
		if seen[r.ID] {
			t.Errorf("report %s is there twice", r.ID)
		}
		seen[r.ID] = true
		if string(want[r.ID]) != string(r.Raw) {
			t.Errorf("report %s is not what was sent", r.ID)
		}
		if got, ok := receipts[r.ID]; !ok || got.LeafIndex != r.LeafIndex || !got.ReceivedAt.Equal(r.ReceivedAt) {
			t.Errorf("report %s at leaf %d has receipt %+v", r.ID, r.LeafIndex, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(want) || len(receipts) != len(want) {
		t.Errorf("got %d reports and %d receipts, want %d", len(seen), len(receipts), len(want))
	}
	leaves, err := st.Leaves(t.Context(), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, l := range leaves {
		kinds[l.Kind]++
	}
	if kinds["report"] != len(want) || kinds["trust"] != 4 || kinds["token"] != 1 || kinds["policy"] != 1 || kinds["log_epoch"] != 0 {
		t.Errorf("got leaves %v", kinds)
	}
	report, err := server.VerifyEvidence(t.Context(), server.VerifyOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK || len(report.Breaks) > 0 || report.Epoch != 1 || report.Reports != len(want) || report.Leaves != int64(len(leaves)) {
		t.Errorf("the evidence does not verify:\n%s", report.Summary())
	}
	if report.Covered != report.Leaves {
		t.Errorf("%d of %d leaves are under a checkpoint after a clean stop", report.Covered, report.Leaves)
	}
}
