package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// running is a collector in this process.
type running struct {
	server.Endpoints
	dir  string
	stop func() error
}

func options(dir string) server.Options {
	return server.Options{Version: "test", DataDir: dir, Listen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
}

// start runs a collector over a directory until the test ends or stop is called.
func start(t *testing.T, dir string) *running {
	t.Helper()
	return startWith(t, options(dir))
}

func startWith(t *testing.T, o server.Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan server.Endpoints, 1), make(chan error, 1)
	o.Ready = func(e server.Endpoints) { ready <- e }
	go func() { done <- server.Run(ctx, o) }()
	r := &running{dir: o.DataDir}
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case r.Endpoints = <-ready:
	case err := <-done:
		stopped = true
		t.Fatalf("run: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the collector does not get ready")
	}
	return r
}

func dataDir(t *testing.T) string { return filepath.Join(t.TempDir(), "data") }

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.HTTP+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.do(t, req)
}

func (r *running) do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(r.dir, server.TokenFile))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// trust trusts a host over the API, by fingerprint or whole key.
func (r *running) trust(t *testing.T, key string) {
	t.Helper()
	body := strings.NewReader(`{"fingerprint":"` + key + `","attributes":{"class":"compute","exposure":"internal","environment":"production"}}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.HTTP+"/v1/hosts/trust", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if status, text := r.do(t, req); status != http.StatusOK {
		t.Fatalf("trust: %d %s", status, text)
	}
}

// sender is a host that publishes over a socket, as agents do.
func (r *running) sender(t *testing.T, h *natstest.Host) *natstest.Sender {
	t.Helper()
	keys, err := trust.OpenKeys(filepath.Join(r.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(r.NATS, h.Inbox(), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // lost connections are expected
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	pinned, err := schema.ParseKeyID(keys.Pin())
	if err != nil {
		t.Fatal(err)
	}
	return &natstest.Sender{Conn: nc, Host: h, Pinned: pinned, Retry: 300 * time.Millisecond}
}

// chain is n sealed reports by id.
func chain(t *testing.T, h *natstest.Host, n int) map[string][]byte {
	t.Helper()
	raws, ids := h.Chain(t, n)
	m := map[string][]byte{}
	for i, id := range ids {
		m[id] = raws[i]
	}
	return m
}

func limit(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestReportToAnswer(t *testing.T) {
	r, h := start(t, dataDir(t)), natstest.NewHost(t, 1)
	// The host's first report waits: its sender has nothing to show for it.
	sender := r.sender(t, h)
	if got, err := sender.Send(limit(t, time.Second), chain(t, h, 1)); err == nil || len(got) != 0 {
		t.Fatalf("before trust: got receipts %v, error %v", got, err)
	}
	r.trust(t, schema.Fingerprint(h.Public()))
	got, err := sender.Send(limit(t, 20*time.Second), chain(t, h, 3))
	if err != nil || len(got) != 3 {
		t.Fatalf("after trust: got %d receipts, %v; want 3", len(got), err)
	}
	if status, text := r.get(t, "/v1/assets"); status != http.StatusOK || !strings.Contains(text, h.Name()) {
		t.Errorf("assets: %d %s", status, text)
	}
	want := map[string]string{
		`patchproof_reports_total{decision="accepted",reason=""}`:            "3",
		`patchproof_reports_total{decision="rejected",reason="unknown_key"}`: "",
		`patchproof_quarantine_envelopes`:                                    "0",
		`patchproof_stream_messages`:                                         "0",
		`patchproof_assess_waiting_assets`:                                   "0",
		`patchproof_assets`:                                                  "1",
		`patchproof_pending_keys`:                                            "0",
		`patchproof_up{part="evidence"}`:                                     "1",
		`patchproof_up{part="stream"}`:                                       "1",
		`patchproof_evidence_checkpoint_timestamp_seconds`:                   "",
	}
	eventually(t, "the metrics to settle", func() bool {
		m := r.metrics(t)
		for name, value := range want {
			if got, ok := m[name]; !ok || (value != "" && got != value) {
				t.Logf("%s is %q, want %q", name, got, value)
				return false
			}
		}
		return m["patchproof_evidence_leaves"] == m["patchproof_evidence_checkpoint_size"]
	})
}

func (r *running) metrics(t *testing.T) map[string]string {
	t.Helper()
	status, text := r.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("metrics: %d %s", status, text)
	}
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			m[line[:i]] = strings.TrimSpace(line[i+1:])
		}
	}
	return m
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("timed out waiting for %s", what)
}

func TestHealthAndReadiness(t *testing.T) {
	r := start(t, dataDir(t))
	if status, text := r.get(t, "/healthz"); status != http.StatusOK || text != "ok\n" {
		t.Errorf("healthz: %d %q", status, text)
	}
	if status, text := r.get(t, "/readyz"); status != http.StatusOK || text != "store ok\nbroker ok\nstream ok\nevidence ok\n" {
		t.Errorf("readyz: %d %q", status, text)
	}
	if status, _ := r.get(t, "/"); status != http.StatusNotFound {
		t.Errorf("/: %d, want 404", status)
	}
}

func TestFilesOfTheDataDirectory(t *testing.T) {
	r := start(t, dataDir(t))
	var ends server.Endpoints
	text, err := os.ReadFile(filepath.Join(r.dir, server.EndpointsFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &ends); err != nil || ends != r.Endpoints || strings.HasSuffix(ends.HTTP, ":0") || ends.NATS == "" {
		t.Errorf("endpoints %s, %v; want %+v", text, err, r.Endpoints)
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, server.TokenFile: 0o600, server.EndpointsFile: 0o600, "lock": 0o600, "keys": 0o700} {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", name, info, err, mode)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, server.EndpointsFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("endpoints stay behind: %v", err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir, h := dataDir(t), natstest.NewHost(t, 1)
	first := start(t, dir)
	first.trust(t, schema.KeyID(h.Public()))
	envelopes := chain(t, h, 2)
	before, err := first.sender(t, h).Send(limit(t, 20*time.Second), envelopes)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(dir, server.TokenFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir)
	after, err := second.sender(t, h).Send(limit(t, 20*time.Second), envelopes)
	if err != nil {
		t.Fatal(err)
	}
	for id, receipt := range before {
		if a := after[id]; a.LeafIndex != receipt.LeafIndex || !a.ReceivedAt.Equal(receipt.ReceivedAt) || a.LogEpoch != receipt.LogEpoch {
			t.Errorf("receipts differ: %+v, then %+v", receipt, a)
		}
	}
	if again, err := os.ReadFile(filepath.Join(dir, server.TokenFile)); err != nil || string(again) != string(token) {
		t.Errorf("the token changed: %v", err)
	}
}

func TestOneCollectorADirectory(t *testing.T) {
	r := start(t, dataDir(t))
	err := server.Run(t.Context(), options(r.dir))
	if !errors.Is(err, server.ErrInUse) || !strings.Contains(err.Error(), "process") {
		t.Errorf("got %v, want ErrInUse with the process that holds it", err)
	}
	if status, _ := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("the first one suffered: readyz %d", status)
	}
}

func TestRefusedStarts(t *testing.T) {
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*server.Options)
		want   error
		says   string
	}{
		"no_data":       {func(o *server.Options) { o.DataDir = "" }, nil, "no data directory"},
		"http_any":      {func(o *server.Options) { o.Listen = "0.0.0.0:0" }, natsin.ErrNotLoopback, "without TLS"},
		"http_no_host":  {func(o *server.Options) { o.Listen = ":8420" }, natsin.ErrNotLoopback, "API"},
		"nats_any":      {func(o *server.Options) { o.NATSListen = "[::]:0" }, natsin.ErrNotLoopback, "broker"},
		"http_busy":     {func(o *server.Options) { o.Listen = busy.Addr().String() }, nil, "address already in use"},
		"nats_busy":     {func(o *server.Options) { o.NATSListen = busy.Addr().String() }, nil, "address already in use"},
		"shared_data":   {func(o *server.Options) { o.DataDir = shared }, nil, "others can reach it"},
		"data_in_file":  {func(o *server.Options) { o.DataDir = "/dev/null/x" }, nil, "open data directory"},
		"no_such_addr":  {func(o *server.Options) { o.Listen = "127.0.0.1" }, nil, "HOST:PORT"},
		"port_is_words": {func(o *server.Options) { o.NATSListen = "127.0.0.1:nats" }, nil, "port"},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			o := options(filepath.Join(t.TempDir(), "data"))
			c.change(&o)
			err := server.Run(t.Context(), o)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v and %q", err, c.want, c.says)
			}
		})
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("run", func(t *testing.T) {
		r, h := start(t, dataDir(t)), natstest.NewHost(t, 1)
		r.trust(t, schema.KeyID(h.Public()))
		if _, err := r.sender(t, h).Send(limit(t, 20*time.Second), chain(t, h, 1)); err != nil {
			t.Fatal(err)
		}
		if status, _ := r.get(t, "/readyz"); status != http.StatusOK {
			t.Errorf("readyz %d", status)
		}
	})
}
