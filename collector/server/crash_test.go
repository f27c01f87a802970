package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
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
	if err := server.Run(context.Background(), o); err != nil {
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
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the collector did not start: %v", err)
	}
	if err := json.Unmarshal(line, &p.Endpoints); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// fleet is hosts that publish their chains, one report after the other, until
// every one has a receipt.
type fleet struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	chains []map[string][]byte
	// receipts by report id, as the hosts hold them.
	receipts map[string]schema.Receipt
	errs     []error
}

// publish runs one host. It seals a chain ahead and sends it in small groups,
// so that reports are on their way all the time.
func (f *fleet) publish(ctx context.Context, s *natstest.Sender, raws [][]byte, ids []string) {
	const group = 3
	for i := 0; i < len(raws); i += group {
		some := map[string][]byte{}
		for j := i; j < min(i+group, len(raws)); j++ {
			some[ids[j]] = raws[j]
		}
		got, err := s.Send(ctx, some)
		f.mu.Lock()
		for id, r := range got {
			f.receipts[id] = r
		}
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("host %d, report %d: %w", s.Host.N, i+1, err))
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
		select { // hosts report now and then
		case <-ctx.Done():
		case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
		}
	}
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
		t.Skip("kills a collector 20 times; takes half a minute")
	}
	const kills, hosts, reports = 20, 4, 90
	dir := dataDir(t)
	p := spawn(t, dir, "127.0.0.1:0")
	addr := p.NATS[len("nats://"):]
	keys, err := trust.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := schema.ParseKeyID(keys.Pin())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	f := &fleet{receipts: map[string]schema.Receipt{}}
	want := map[string][]byte{}
	for n := range hosts {
		h := natstest.NewHost(t, n)
		// Half of the hosts are trusted before, half while their reports wait.
		if n%2 == 0 {
			(&running{Endpoints: p.Endpoints, dir: dir}).trust(t, schema.KeyID(h.Public()))
		}
		raws, ids := h.Chain(t, reports)
		for i, id := range ids {
			want[id] = raws[i]
		}
		nc, err := nats.Connect(p.NATS, h.Identity(), h.Inbox(), nats.MaxReconnects(-1),
			nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		s := &natstest.Sender{Conn: nc, Host: h, Pinned: pinned, Retry: 200 * time.Millisecond}
		f.wg.Go(func() { f.publish(ctx, s, raws, ids) })
	}
	for i := range kills {
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
		p.kill(t)
		p = spawn(t, dir, addr)
		if i == 5 {
			for n := 1; n < hosts; n += 2 {
				(&running{Endpoints: p.Endpoints, dir: dir}).trust(t, schema.KeyID(natstest.NewHost(t, n).Public()))
			}
		}
	}
	during := f.receipted()
	f.wg.Wait()
	for _, err := range f.errs {
		t.Error(err)
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.kill(t)
	t.Logf("%d of %d reports receipted by the last kill", during, len(want))
	if during == len(want) {
		t.Error("every report was receipted before the last kill: the kills hit nothing")
	}
	verify(t, dir, keys, want, f.receipts)
}

// verify holds what the collector recorded against what hosts sent and hold.
func verify(t *testing.T, dir string, keys *trust.Keys, want map[string][]byte, receipts map[string]schema.Receipt) {
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
	log, err := evidence.OpenLog(t.Context(), evidence.Options{
		Store: st, Signer: keys.Log, Verifier: keys.LogVerifier, HeadFile: filepath.Join(dir, "log-head"), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := log.Integrate(t.Context())
	if err != nil || c.Size != int64(len(leaves)) || log.Epoch() != 1 {
		t.Errorf("evidence: checkpoint of %d leaves under epoch %d, %v; want %d under 1", c.Size, log.Epoch(), err, len(leaves))
	}
}
