package soak_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/agent/pin"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/trust"
)

// What the test binary is when it starts itself again.
const (
	roleEnv   = "PATCHPROOF_TEST_SOAK_ROLE"
	agentsEnv = "PATCHPROOF_TEST_RECONNECT_AGENTS"
)

// shortRun is how many agents come back in an ordinary test run.
const shortRun = 300

// perProcess is how many agents one process plays: far from what a process may
// hold open.
const perProcess = 2500

// The numbers the product promises.
const (
	slack      = 15 * time.Second
	maxFailed  = 0.01
	maxRSS     = 1 << 30
	connectsAt = 300 // agents that join each second before the test begins
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "collector":
		os.Exit(beCollector())
	case "agents":
		os.Exit(beAgents())
	}
	os.Exit(m.Run())
}

// beCollector runs a collector with TLS until it is killed.
func beCollector() int {
	o := server.Options{
		Version: "soak", DataDir: os.Getenv("DATA"), Listen: "127.0.0.1:0", NATSListen: os.Getenv("NATS"),
		TLS: &trust.TLSOptions{Names: []string{"127.0.0.1"}},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	o.Ready = func(e server.Endpoints) { _ = json.NewEncoder(os.Stdout).Encode(e) }
	if err := server.Run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// orders are what a process of agents is told on standard input.
type orders struct {
	Server, Pin string
	Window      time.Duration
	// Ramp is the time over which they first connect.
	Ramp time.Duration
	// Seeds and Claims of each agent.
	Seeds, Claims []string
}

// event is a change of one agent's road, as processes write it.
type event struct {
	At    int64  `json:"at"` // Unix nanoseconds
	Agent int    `json:"agent"`
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"`
}

// beAgents plays agents, each the road that the agent has, until standard input
// ends.
func beAgents() int {
	var o orders
	in := bufio.NewReader(os.Stdin)
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		return 1
	}
	authority, err := pin.Load("", o.Pin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	var wg sync.WaitGroup
	for i := range o.Seeds {
		tell := func(s publish.State) {
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(event{At: time.Now().UnixNano(), Agent: i, Up: s.Connected, Error: s.Error})
		}
		wg.Go(func() { playAgent(ctx, o, i, authority, tell) })
	}
	_, _ = io.Copy(io.Discard, in) // until the parent closes it
	stop()
	wg.Wait()
	return 0
}

func playAgent(ctx context.Context, o orders, i int, authority *pin.Authority, tell func(publish.State)) {
	key, err := nkeys.FromSeed([]byte(o.Seeds[i]))
	if err != nil {
		tell(publish.State{Error: err.Error()})
		return
	}
	road, err := publish.New(publish.Options{
		Server: o.Server, Authority: authority, Transport: key, Window: o.Window, Changed: tell,
		Claims: func() (string, error) { return o.Claims[i], nil }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tell(publish.State{Error: err.Error()})
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(time.Duration(i) * o.Ramp / time.Duration(len(o.Seeds))):
	}
	_ = road.Run(ctx)
}

// fleet is all agents, in their processes, and what they told.
type fleet struct {
	mu     sync.Mutex
	up     map[[2]int]bool
	events []event
}

func (f *fleet) listen(process int, r io.Reader) {
	dec := json.NewDecoder(r)
	for {
		var e event
		if dec.Decode(&e) != nil {
			return
		}
		f.mu.Lock()
		f.up[[2]int{process, e.Agent}] = e.Up
		f.events = append(f.events, e)
		f.mu.Unlock()
	}
}

func (f *fleet) connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, up := range f.up {
		if up {
			n++
		}
	}
	return n
}

// collector is a collector in a process of its own.
type collector struct {
	cmd   *exec.Cmd
	ready time.Time
	server.Endpoints
}

func startCollector(t *testing.T, dir, addr string) *collector {
	t.Helper()
	c := &collector{cmd: self(t, "collector", "DATA="+dir, "NATS="+addr)}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the collector did not start: %v", err)
	}
	c.ready = time.Now()
	if err := json.Unmarshal(line, &c.Endpoints); err != nil {
		t.Fatal(err)
	}
	return c
}

// memory is a figure of a process in bytes, of VmHWM (the most it ever held) or VmRSS.
func (c *collector) memory(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in the process's status", name)
	return 0
}

func self(t *testing.T, role string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// enrol makes keys of agents and their claims.
func enrol(t *testing.T, data string, n int) (seeds, claims []string) {
	t.Helper()
	authority, err := broker.Open(filepath.Join(data, "keys", "broker"), "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		text, err := authority.Issue(public, fmt.Sprintf("soak-%d", i), 0)
		if err != nil {
			t.Fatal(err)
		}
		seeds, claims = append(seeds, string(seed)), append(claims, text)
	}
	return seeds, claims
}

// A collector with all its agents connected is killed and started again. All are
// back within their window and 15 s, few attempts fail, and the collector stays
// within its memory.
func TestReconnect(t *testing.T) {
	agents, window := shortRun, 3*time.Second
	if s := os.Getenv(agentsEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number of agents", agentsEnv, s)
		}
		agents, window = n, publish.LostWindow
	}
	data := filepath.Join(t.TempDir(), "data")
	first := startCollector(t, data, "127.0.0.1:0")
	f := startFleet(t, first, data, agents, window)
	ramp := time.Duration(agents) * time.Second / connectsAt
	await(t, f, agents, 2*ramp+30*time.Second)
	time.Sleep(time.Second)
	resting := first.memory(t, "VmRSS")

	f.mu.Lock()
	before := len(f.events)
	f.mu.Unlock()
	killed := time.Now()
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait()
	second := startCollector(t, data, strings.TrimPrefix(first.NATS, "tls://"))
	await(t, f, agents, window+slack)
	r := f.since(before, killed, second.ready)
	most := second.memory(t, "VmHWM")
	t.Logf("%d agents: %s without a collector; last back %s after it was ready (window %s)", agents,
		second.ready.Sub(killed).Round(time.Millisecond), r.last.Round(time.Millisecond), window)
	t.Logf("%d attempts while nobody listened; of %d attempts after, %d failed (%.2f %%)", r.refused, r.attempts, r.failed, 100*r.share())
	t.Logf("collector: %d MiB resting with all connected, %d MiB at most while they came back", resting>>20, most>>20)
	if r.last > window+slack {
		t.Errorf("the last agent was back after %s, want %s", r.last, window+slack)
	}
	if r.share() >= maxFailed {
		t.Errorf("%.2f %% of attempts failed, want less than %.0f %%: %v", 100*r.share(), 100*maxFailed, r.why)
	}
	if max(most, resting) > maxRSS {
		t.Errorf("the collector took %d MiB, want at most %d", max(most, resting)>>20, maxRSS>>20)
	}
}

func startFleet(t *testing.T, c *collector, data string, agents int, window time.Duration) *fleet {
	t.Helper()
	seeds, claims := enrol(t, data, agents)
	tlsOwn, err := trust.OpenTLS(trust.TLSOptions{Dir: filepath.Join(data, "keys", "tls"), Names: []string{"127.0.0.1"}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := net.SplitHostPort(strings.TrimPrefix(c.NATS, "tls://")); err != nil {
		t.Fatalf("broker at %s: %v", c.NATS, err)
	}
	f := &fleet{up: map[[2]int]bool{}}
	ramp := time.Duration(agents) * time.Second / connectsAt
	process := 0
	for some := range slices.Chunk(seeds, perProcess) {
		from := process * perProcess
		o := orders{Server: c.NATS, Pin: tlsOwn.Pin(), Window: window, Ramp: ramp, Seeds: some, Claims: claims[from : from+len(some)]}
		startAgents(t, f, process, o)
		process++
	}
	return f
}

func startAgents(t *testing.T, f *fleet, process int, o orders) {
	t.Helper()
	cmd := self(t, "agents")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{})
	go func() { defer close(heard); f.listen(process, out) }()
	t.Cleanup(func() {
		_ = in.Close()
		<-heard
		if err := cmd.Wait(); err != nil {
			t.Errorf("agents: %v", err)
		}
	})
	if err := json.NewEncoder(in).Encode(o); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, f *fleet, agents int, limit time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(limit); f.connected() < agents; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.mu.Lock()
			defer f.mu.Unlock()
			last := f.events[max(0, len(f.events)-3):]
			n := 0
			for _, up := range f.up {
				if up {
					n++
				}
			}
			t.Fatalf("%d of %d agents are connected after %s; last heard %+v", n, agents, limit, last)
		}
	}
}

// result is how a fleet came back.
type result struct {
	// refused attempts were made while nobody listened; attempts and failed after.
	refused, attempts, failed int
	last                      time.Duration
	why                       map[string]int
}

func (r result) share() float64 { return float64(r.failed) / float64(max(r.attempts, 1)) }

// since reads what happened after a collector was killed and another was ready.
// Each agent's first event is the loss itself; every other is an attempt.
func (f *fleet) since(from int, killed, ready time.Time) result {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := result{why: map[string]int{}}
	for _, e := range f.events[from:] {
		at := time.Unix(0, e.At)
		switch {
		case strings.HasPrefix(e.Error, "connection lost") && !e.Up && at.Before(killed.Add(time.Second)):
		case e.Up:
			r.attempts++
			r.last = max(r.last, at.Sub(ready))
		case at.Before(ready):
			r.refused++
		default:
			r.attempts++
			r.failed++
			r.why[e.Error]++
		}
	}
	return r
}
