//go:build linux

package main

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/patchproof/patchproof/agent/internal/durable"
	"github.com/patchproof/patchproof/agent/internal/natstest"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"patchproof-agent": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			c := startCollector(t)
			env.Setenv("SERVER", c.url)
			env.Setenv("RECEIPT_KEY", schema.KeyID(c.key.Public().(ed25519.PublicKey)))
			env.Setenv("COLLECTOR", c.url)
			env.Values["collector"] = c
			env.Values["lock"] = new(holder)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"instance": instance,
			"locked":   locked,
			"unlock":   func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(ts.Value("lock").(*holder).Close()) },
			"trust":    func(ts *testscript.TestScript, _ bool, _ []string) { ts.Value("collector").(*collector).trust(true) },
			"chmod0644": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.Chmod(ts.MkAbs(args[0]), 0o644))
			},
		},
	})
}

// instance sets up a metadata service of an instance: instance ID.
func instance(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: instance ID")
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			_, _ = w.Write([]byte("token"))
		case "/latest/dynamic/instance-identity/document":
			_, _ = fmt.Fprintf(w, `{"instanceId":%q}`, args[0])
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	ts.Defer(service.Close)
	ts.Setenv("PATCHPROOF_AGENT_IMDS_ENDPOINT", service.URL)
}

// holder holds a lock for a while.
type holder struct{ io.Closer }

// locked holds a lock as a running agent does: locked FILE.
func locked(ts *testscript.TestScript, _ bool, args []string) {
	held, err := durable.TryLock(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Value("lock").(*holder).Closer = held
}

// exits runs the agent and expects an exit code: exits CODE [ARGUMENT...].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE [ARGUMENT...]")
	}
	err := ts.Exec("patchproof-agent", args[1:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run: %v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// collector is a broker with somebody behind it who takes reports.
type collector struct {
	t    *testing.T
	url  string
	key  ed25519.PrivateKey
	conn *nats.Conn

	mu      sync.Mutex
	trusted bool
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	broker := natstest.Run(t, natstest.Options{})
	c := &collector{t: t, url: broker.ClientURL(), key: key, conn: natstest.Connect(t, broker, 16)}
	js, err := c.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Subscribe(schema.SubjectReportsAll, c.take, nats.Durable("door"), nats.ManualAck()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *collector) trust(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted = yes
}

func (c *collector) take(m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := envelope.Open(m.Data)
	if err != nil {
		c.t.Errorf("open: %v", err)
		return
	}
	r, err := o.Report()
	if err != nil {
		c.t.Errorf("report: %v", err)
		return
	}
	receipt := schema.Receipt{
		Kind: schema.ReceiptAccepted, ReportID: o.ID, Host: schema.KeyID(o.Key), Sequence: r.Sequence,
		LogOrigin: "test.example/log", LeafIndex: 41, ReceivedAt: time.Now(),
	}
	if !c.trusted {
		receipt.Kind, receipt.Reason, receipt.Sequence, receipt.LeafIndex = schema.ReceiptRejected, schema.ReasonUnknownKey, 0, -1
	}
	raw, err := envelope.SealReceipt(receipt, c.key)
	if err != nil {
		c.t.Error(err)
		return
	}
	if err := c.conn.Publish(schema.ReceiptSubject(r.TransportKey), raw); err != nil {
		c.t.Error(err)
	}
	if err := m.Ack(); err != nil {
		c.t.Error(err)
	}
}

// volatile is what differs between two runs on the same root.
var volatile = regexp.MustCompile(`("collected_at": )"[^"]*"|("(?:cpu|duration)_ns": )\d+|("peak_rss_bytes": )\d+|("(?:go_version|platform|version)": )"(?:go|linux|\(devel\)|v0|dev)[^"]*"`)

func TestInventoryGolden(t *testing.T) {
	for _, format := range []string{"json", "table"} {
		t.Run(format, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run([]string{"inventory", "--root", "testdata/root", "-o", format}, &stdout, &stderr); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr.String())
			}
			got := volatile.ReplaceAllString(stdout.String(), `$1$2$3$4"*"`)
			compareGolden(t, filepath.Join("testdata/golden", "inventory."+format), got)
			if !strings.Contains(stderr.String(), "warning: this inventory is not complete") {
				t.Errorf("the damaged entry is not told on standard error:\n%s", stderr.String())
			}
		})
	}
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (run with -update and review):\n%s", path, got)
	}
}

// binary makes the binary as it is released.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "patchproof-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

const (
	maxBinary  = 20 << 20
	maxModules = 40
)

func TestBinaryIsSmall(t *testing.T) {
	path := binary(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "version", "-m", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Count(string(out), "\n\tdep\t")
	t.Logf("%d bytes, %d modules", info.Size(), modules)
	if info.Size() > maxBinary || modules > maxModules || modules < 5 {
		t.Errorf("%d bytes and %d modules, at most %d and %d", info.Size(), modules, maxBinary, maxModules)
	}
}

// TestNeverExecutes runs every command that collects or sends under strace.
func TestNeverExecutes(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install the distribution's package `strace`")
	}
	path := binary(t)
	c := startCollector(t)
	c.trust(true)
	for name, test := range map[string]struct {
		args []string
		loop bool
	}{
		"inventory": {args: []string{"inventory"}},
		"once":      {args: []string{"once"}},
		"collect":   {args: []string{"collect"}, loop: true},
		"send":      {args: []string{"send"}, loop: true},
		"run":       {args: []string{"run"}, loop: true},
		"status":    {args: []string{"status"}},
		"init":      {args: []string{"init", "--offline"}},
		"seal":      {args: []string{"seal-image"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			trace := filepath.Join(dir, "trace")
			cmd := exec.Command(strace, append([]string{"-f", "-qq", "-e", "trace=execve,execveat", "-o", trace, path}, test.args...)...)
			cmd.Env = append(os.Environ(), "PATCHPROOF_AGENT_STATE_DIR="+filepath.Join(dir, "state"),
				"PATCHPROOF_AGENT_SERVER="+c.url, "PATCHPROOF_AGENT_RECEIPT_KEY="+schema.KeyID(c.key.Public().(ed25519.PublicKey)))
			if name == "status" || name == "seal" {
				runFirst(t, cmd.Env, path)
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if test.loop {
				runFor(t, cmd, 3*time.Second)
			} else if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			checkTrace(t, trace, path)
		})
	}
}

// TestOfflineInitTouchesNoNetwork runs it under strace, on a machine that says
// it has a metadata service.
func TestOfflineInitTouchesNoNetwork(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install the distribution's package `strace`")
	}
	path, dir := binary(t), t.TempDir()
	trace := filepath.Join(dir, "trace")
	for command, touches := range map[string]bool{"init --offline": false, "collect --once": true} {
		cmd := exec.Command(strace, append([]string{"-f", "-qq", "-e", "trace=%network", "-o", trace, path}, strings.Fields(command)...)...)
		cmd.Env = append(os.Environ(), "PATCHPROOF_AGENT_STATE_DIR="+filepath.Join(dir, "state"), "PATCHPROOF_AGENT_IMDS_ENDPOINT=http://127.0.0.1:1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(calls), "socket("); got != touches {
			t.Errorf("%s: made sockets: %v, want %v\n%s", command, got, touches, calls)
		}
	}
}

func runFirst(t *testing.T, env []string, path string) {
	t.Helper()
	cmd := exec.Command(path, "collect", "--once")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// runFor lets a loop run, asks it to end, and expects it to end well.
func runFor(t *testing.T, cmd *exec.Cmd, d time.Duration) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	// strace passes the signal of its own end on to nobody: end the program itself.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatalf("strace has the children %q: %v", children, err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Errorf("end the loop: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the loop ended with %v: %s", err, cmd.Stderr)
	}
}

// checkTrace expects the one execve that started the program and no other.
func checkTrace(t *testing.T, trace, path string) {
	t.Helper()
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	calls := 0
	for _, line := range lines {
		if strings.Contains(line, "execve") {
			calls++
			if !strings.Contains(line, path) {
				t.Errorf("the agent ran a program: %s", line)
			}
		}
	}
	if calls != 1 {
		t.Errorf("%d calls of execve, want the one that starts the agent:\n%s", calls, data)
	}
}
