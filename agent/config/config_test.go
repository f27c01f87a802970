package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/config"
)

func load(t *testing.T, file string, env ...string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, env)
}

func TestZeroIsUsable(t *testing.T) {
	c, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	d := c.OrDefault()
	if d.Server != config.DefaultServer || d.StateDir != config.DefaultStateDir {
		t.Errorf("defaults %+v", d)
	}
	if key, err := d.PinnedKey(); key != nil || err != nil {
		t.Errorf("pinned %v, %v out of nothing", key, err)
	}
}

func TestFileThenEnvironment(t *testing.T) {
	c, err := load(t, `
server: nats://a:1,tls://b:2
ca_sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
reconnect: 5s
interval: 1h30m
labels: {team: wallets}
spool: {max_bytes: 16777216, max_reports: 7}
imds: {disabled: true}
`, "PATCHPROOF_AGENT_INTERVAL=2h", "PATCHPROOF_AGENT_LABELS=team=core, tier=1", "PATCHPROOF_AGENT_SPOOL_MAX_REPORTS=9",
		"PATCHPROOF_AGENT_CONFIG=/elsewhere", "PATH=/bin", "PATCHPROOF_AGENT_IMDS_DISABLED=false")
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		Server: "nats://a:1,tls://b:2", CASHA256: strings.Repeat("0123456789abcdef", 4), Reconnect: 5 * time.Second, Interval: 2 * time.Hour, Labels: map[string]string{"team": "core", "tier": "1"},
		Spool: config.Spool{MaxBytes: 16 << 20, MaxReports: 9},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		env  []string
		want string
	}{
		"unknown_key":      {"sever: nats://x:1\n", nil, "field sever not found"},
		"unknown_nested":   {"spool: {max_byte: 1}\n", nil, "field max_byte not found"},
		"duplicate_key":    {"interval: 1h\ninterval: 2h\n", nil, "already defined"},
		"not_yaml":         {"{", nil, "yaml"},
		"wrong_type":       {"interval: soon\n", nil, "cannot unmarshal"},
		"two_documents":    {"interval: 1h\n---\ninterval: 2h\n", nil, "more than one document"},
		"unknown_variable": {"", []string{"PATCHPROOF_AGENT_SERVRE=x"}, "PATCHPROOF_AGENT_SERVRE: unknown variable"},
		"bad_variable":     {"", []string{"PATCHPROOF_AGENT_INTERVAL=soon"}, "PATCHPROOF_AGENT_INTERVAL: time: invalid duration"},
		"bad_labels":       {"", []string{"PATCHPROOF_AGENT_LABELS=team"}, "want key=value"},
		"huge":             {strings.Repeat("#", 2<<20), nil, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, test.file, test.env...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// A broker on another host is spoken to under a pinned authority, or not at all.
func TestServersNeedAPin(t *testing.T) {
	const sum = "ca_sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
	for name, c := range map[string]struct{ file, want string }{
		"loopback":        {"server: nats://127.0.0.1:4222,nats://[::1]:1,nats://localhost:2\n", ""},
		"elsewhere":       {"server: nats://collector:4222\n", "is another host"},
		"one_of_two":      {"server: nats://localhost:1,nats://192.0.2.1:4222\n", "is another host"},
		"elsewhere_tls":   {"server: tls://collector:4222\n", "TLS needs ca"},
		"pinned":          {"server: tls://collector:4222\n" + sum, ""},
		"pinned_nats":     {"server: nats://collector:4222\n" + sum, ""},
		"pinned_by_file":  {"server: tls://collector:4222\nca: /etc/patchproof/ca.pem\n", ""},
		"relative_file":   {"server: tls://collector:4222\nca: ca.pem\n", "not an absolute path"},
		"upper_case_sum":  {"ca_sha256: " + strings.Repeat("AB", 32) + "\n", "lowercase hex"},
		"websocket":       {"server: wss://collector:4222\n" + sum, "want nats://"},
		"looks_loopback":  {"server: nats://127.0.0.1.example.com:4222\n", "is another host"},
		"reconnect_short": {"reconnect: 1ms\n", "reconnect: "},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			err = got.Validate()
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil {
		t.Error("a missing file that was asked for is no error")
	}
}

func TestValidateTellsAllFaults(t *testing.T) {
	c, err := load(t, `
server: http://x
receipt_key: abc
state_dir: here
interval: 1s
resend: 1ms
spool: {max_bytes: 5, max_reports: -1}
imds: {endpoint: "ftp://x"}
labels: {"": x, "a\u0007b": y, c: "\u001b[31m"}
`)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		"server: ", "receipt_key: ", "state_dir: ", "interval: ", "resend: ", "spool.max_bytes: ", "spool.max_reports: ",
		"imds.endpoint: ", "labels: a key is empty", `labels: key "a\ab"`, `labels: value of "c"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in:\n%v", want, err)
		}
	}
}

func TestCredentialsAreNotRepeated(t *testing.T) {
	c := config.Config{Server: "nats://user:secret@host:4222"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}
