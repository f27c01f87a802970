package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// collector is a collector over a data directory of its own, on ports of its own.
type collector struct {
	*process

	t, home    *testing.T // the step that asks, and the test it ends with
	data       string
	http, nats string // HOST:PORT, kept over restarts
}

// newCollector starts a collector and waits until it serves.
func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t, home: t, data: filepath.Join(t.TempDir(), "collector"), http: "127.0.0.1:0", nats: "127.0.0.1:0"}
	c.start()
	ends := c.ready()
	c.http, c.nats = host(t, ends.HTTP), host(t, ends.NATS)
	return c
}

func (c *collector) start() {
	c.t.Helper()
	c.process = start(c.t, c.home, filepath.Join(filepath.Dir(c.data), "collector.log"), c.env(), "patchproof",
		"serve", "--data", c.data, "--http", c.http, "--nats", c.nats)
}

// endpoints is the file a running collector keeps for commands on its machine.
type endpoints struct {
	HTTP string `json:"http"`
	NATS string `json:"nats"`
}

// ready waits until the collector answers.
func (c *collector) ready() endpoints {
	c.t.Helper()
	var ends endpoints
	eventually(c.t, 30*time.Second, "collector serves", func() bool {
		c.alive()
		text, err := os.ReadFile(filepath.Join(c.data, "endpoints.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if err := json.Unmarshal(text, &ends); err != nil {
			c.t.Fatalf("endpoints.json is not whole: %v\n%s", err, text)
		}
		return c.ask("summary").code == 0
	})
	return ends
}

func host(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "0" {
		t.Fatalf("endpoint %q: want a real port", raw)
	}
	return u.Host
}

// env is the environment of a person at the collector.
func (c *collector) env() []string { return append(plainEnv(), "PATCHPROOF_DATA="+c.data) }

// ask runs a command of the collector's.
func (c *collector) ask(args ...string) answer {
	c.t.Helper()
	return ask(c.t, c.env(), "patchproof", args...)
}

// use makes a step the one that asks, and fails.
func (c *collector) use(t *testing.T) {
	c.t = t
	if c.process != nil {
		c.process.t = t
	}
}

// use makes a step the one that asks, and fails.
func (a *hostAgent) use(t *testing.T) {
	a.t = t
	if a.process != nil {
		a.process.t = t
	}
}

// plainEnv is the environment without the settings of whoever runs the tests.
func plainEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", "TERM=xterm"}
}

// hostAgent is an agent on this host with a state directory of its own.
type hostAgent struct {
	*process

	t, home     *testing.T // the step that asks, and the test it ends with
	dir, config string
}

// newAgent writes the configuration of an agent of the collector. It starts nothing.
func newAgent(t *testing.T, c *collector) *hostAgent {
	t.Helper()
	dir := t.TempDir()
	a := &hostAgent{t: t, home: t, dir: dir, config: filepath.Join(dir, "agent.yaml")}
	key := read[receiptKey](t, c.ask("key", "show", "-o", "json"))
	text := fmt.Sprintf("server: nats://%s\nreceipt_key: %s\nstate_dir: %s\nresend: 1s\nlabels: {suite: e2e}\nimds: {disabled: true}\n",
		c.nats, key.ReceiptKey, filepath.Join(dir, "state"))
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *hostAgent) start() {
	a.t.Helper()
	a.process = start(a.t, a.home, filepath.Join(a.dir, "agent.log"), a.env(), "patchproof-agent", "run")
}

func (a *hostAgent) env() []string { return append(plainEnv(), "PATCHPROOF_AGENT_CONFIG="+a.config) }

// ask runs a command of the agent's.
func (a *hostAgent) ask(args ...string) answer {
	a.t.Helper()
	return ask(a.t, a.env(), "patchproof-agent", args...)
}

func (a *hostAgent) status() agentStatus {
	a.t.Helper()
	return read[agentStatus](a.t, a.ask("status", "-o", "json"))
}

// settled reports whether everything the agent has sealed is receipted. Receipts
// come in any order, so the last one need not be that of the last report.
func (s agentStatus) settled() bool {
	return s.Spool.LastSealed != nil && s.Spool.Waiting == 0 && s.Spool.Counts.Accepted == s.Spool.Counts.Sealed
}

// The parts of answers that tests look into.
type (
	receiptKey struct {
		ReceiptKey  string `json:"receipt_key"`
		Fingerprint string `json:"fingerprint"`
	}
	receipt struct {
		Kind      string `json:"kind"`
		Reason    string `json:"reason"`
		Sequence  uint64 `json:"sequence"`
		LeafIndex int64  `json:"leaf_index"`
	}
	agentStatus struct {
		Fingerprint string `json:"fingerprint"`
		KeyID       string `json:"key_id"`
		Spool       struct {
			Waiting    int `json:"waiting"`
			LastSealed *struct {
				Sequence uint64 `json:"sequence"`
				ID       string `json:"id"`
			} `json:"last_sealed"`
			LastReceipt  *receipt `json:"last_receipt"`
			LastRejected *receipt `json:"last_rejected"`
			Counts       struct {
				Sealed, Accepted, Rejected, Dropped, Corrupt, Jumps uint64
			} `json:"counts"`
		} `json:"spool"`
	}
	hostList struct {
		Assets  []asset `json:"assets"`
		Pending []struct {
			Fingerprint string `json:"fingerprint"`
			Envelopes   int    `json:"envelopes"`
		} `json:"pending"`
	}
	asset struct {
		ID          string    `json:"id"`
		Name        string    `json:"name"`
		Fingerprint string    `json:"fingerprint"`
		Release     string    `json:"release"`
		Packages    int       `json:"packages"`
		Sequence    uint64    `json:"sequence"`
		Covered     bool      `json:"covered"`
		Gaps        []any     `json:"gaps"`
		LastReport  time.Time `json:"last_report"`
		Open        struct{ Total, Overdue int }
	}
	findingList struct {
		Count    int       `json:"count"`
		Findings []finding `json:"findings"`
	}
	finding struct {
		ID            string    `json:"id"`
		Asset         string    `json:"asset"`
		AssetName     string    `json:"asset_name"`
		Vulnerability string    `json:"vulnerability"`
		Component     string    `json:"component"`
		Installed     string    `json:"installed"`
		Fixed         string    `json:"fixed"`
		Severity      string    `json:"severity"`
		State         string    `json:"state"`
		Reason        string    `json:"reason"`
		Due           string    `json:"due"`
		Rule          string    `json:"rule"`
		Detected      time.Time `json:"detected"`
		Available     time.Time `json:"available"`
		Closed        time.Time `json:"closed"`
	}
	summary struct {
		Assets struct {
			Total, Reporting, Uncovered int
			PendingKeys                 int `json:"pending_keys"`
		} `json:"assets"`
		Findings struct {
			Total, Running, Within, Overdue, Fixed int
			AwaitingFix                            int `json:"awaiting_fix"`
			NotAffected                            int `json:"not_affected"`
		} `json:"findings"`
	}
	verification struct {
		OK       bool `json:"ok"`
		Problems []struct{ Where, What string }
		Breaks   []struct{ Kind, What string }
		Leaves   int64 `json:"leaves"`
		Covered  int64 `json:"covered"`
		Reports  int   `json:"reports"`
	}
)

// read takes the JSON of an answer that succeeded; it must be one document.
func read[T any](t *testing.T, a answer) T {
	t.Helper()
	a.exits(t, 0)
	var v T
	dec := json.NewDecoder(strings.NewReader(a.stdout))
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v\n%.2000s", strings.Join(a.args, " "), err, a.stdout)
	}
	if dec.More() {
		t.Fatalf("%s: more than one document\n%.2000s", strings.Join(a.args, " "), a.stdout)
	}
	return v
}
