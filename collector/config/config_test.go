package config_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/config"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvironmentIsOverTheFile(t *testing.T) {
	path := write(t, "data_dir: /data\nhttp: 127.0.0.1:1\nnats: 127.0.0.1:2\nquarantine:\n  per_key: 5\n")
	got, err := config.Load(path, []string{
		"PATCHPROOF_HTTP=[::1]:3", "PATCHPROOF_MAX_STREAM_BYTES=100000000", "PATCHPROOF_LOG_LEVEL=debug",
		"PATCHPROOF_URL=http://elsewhere", "PATCHPROOF_AGENT_SERVER=x", "PATCHPROOF_TEST_POSTGRES=x", "PATH=/bin", "LANG=",
	})
	want := config.Config{
		DataDir: "/data", HTTP: "[::1]:3", NATS: "127.0.0.1:2", MaxStreamBytes: 100_000_000,
		Quarantine: config.Quarantine{PerKey: 5}, LogLevel: "debug",
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("validate: %v", err)
	}
	if level, err := got.Level(); err != nil || level != slog.LevelDebug {
		t.Errorf("level %v, %v", level, err)
	}
}

func TestZeroValueIsUsable(t *testing.T) {
	got, err := config.Load("", nil)
	if err != nil || !cmp.Equal(got, config.Config{}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("validate: %v", err)
	}
	if _, err := config.Load(write(t, "# nothing yet\n"), nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	d := got.WithDefaults()
	if d.DataDir != config.DefaultDataDir || d.MaxStreamBytes != natsin.DefaultMaxStore || d.Quarantine.Limits() != ingest.DefaultLimits {
		t.Errorf("defaults are %+v", d)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, env, says string }{
		"unknown_key":      {file: "data: /x\n", says: "data"},
		"unknown_limit":    {file: "quarantine:\n  perkey: 1\n", says: "perkey"},
		"duplicate_key":    {file: "http: a:1\nhttp: b:2\n", says: "http"},
		"two_documents":    {file: "http: a:1\n---\nhttp: b:2\n", says: "more than one document"},
		"not_yaml":         {file: "\t{", says: "yaml"},
		"wrong_type":       {file: "max_stream_bytes: lots\n", says: "lots"},
		"too_large":        {file: strings.Repeat("# x\n", 300_000), says: "larger"},
		"unknown_variable": {env: "PATCHPROOF_NAST=127.0.0.1:1", says: "PATCHPROOF_NAST"},
		"not_a_number":     {env: "PATCHPROOF_MAX_STREAM_BYTES=4G", says: "4G"},
	} {
		t.Run(name, func(t *testing.T) {
			path := ""
			if c.file != "" {
				path = write(t, c.file)
			}
			if _, err := config.Load(path, []string{c.env}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error about %q", err, c.says)
			}
		})
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	c := config.Config{
		HTTP: "0.0.0.0:8420", NATS: "nats", MaxStreamBytes: 1, LogLevel: "loud",
		Quarantine: config.Quarantine{PerKey: 10, Total: 5, BytesPerKey: -1},
	}
	err := c.Validate()
	if !errors.Is(err, natsin.ErrNotLoopback) {
		t.Errorf("got %v, want ErrNotLoopback among them", err)
	}
	for _, says := range []string{"http: ", "nats: ", "max_stream_bytes", "log_level", "per_key 10", "bytes_per_key -1"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("nothing about %q in:\n%v", says, err)
		}
	}
	same := config.Config{HTTP: "127.0.0.1:1", NATS: "127.0.0.1:1"}
	if err := same.Validate(); err == nil {
		t.Error("one address for two listeners is fine?")
	}
}

// Beyond loopback there is TLS, and the certificate is for a name somebody gave.
func TestTLS(t *testing.T) {
	given := config.TLS{Cert: "/c", Key: "/k", CA: "/a"}
	for name, c := range map[string]struct {
		nats  string
		tls   config.TLS
		want  bool   // TLS is spoken
		names string // of the certificate
		says  string
	}{
		"loopback":           {nats: "127.0.0.1:1"},
		"loopback_with_tls":  {nats: "127.0.0.1:1", tls: config.TLS{Names: []string{"a.example"}}, want: true, names: "a.example"},
		"address":            {nats: "192.0.2.1:1", want: true, names: "192.0.2.1"},
		"name_and_address":   {nats: "192.0.2.1:1", tls: config.TLS{Names: []string{"a.example"}}, want: true, names: "a.example 192.0.2.1"},
		"everywhere":         {nats: "0.0.0.0:1", want: true, says: "set tls.names"},
		"everywhere_unsaid":  {nats: ":1", want: true, says: "set tls.names"},
		"everywhere_named":   {nats: "[::]:1", tls: config.TLS{Names: []string{"a.example"}}, want: true, names: "a.example"},
		"given":              {nats: "0.0.0.0:1", tls: given, want: true},
		"given_in_part":      {nats: "0.0.0.0:1", tls: config.TLS{Cert: "/c"}, want: true, says: "cert, key and ca"},
		"loopback_in_part":   {nats: "127.0.0.1:1", tls: config.TLS{Key: "/k"}, want: true, says: "cert, key and ca"},
		"not_a_name":         {nats: "0.0.0.0:1", tls: config.TLS{Names: []string{"https://a"}}, want: true, names: "https://a", says: "neither"},
		"wildcard_is_no_dns": {nats: "0.0.0.0:1", tls: config.TLS{Names: []string{"*"}}, want: true, names: "*", says: "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.tls.Wanted(c.nats); got != c.want {
				t.Errorf("TLS %t, want %t", got, c.want)
			}
			if got := strings.Join(c.tls.ServerNames(c.nats), " "); got != c.names {
				t.Errorf("names %q, want %q", got, c.names)
			}
			err := config.Config{NATS: c.nats, TLS: c.tls}.Validate()
			if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	for name, c := range map[string]struct {
		b    config.Broker
		says string
	}{
		"cluster":           {config.Broker{URLs: []string{"tls://a.example:4222", "tls://192.0.2.1:4222"}, Replicas: 3}, ""},
		"no_urls":           {config.Broker{Replicas: 3}, "set broker.urls"},
		"plain":             {config.Broker{URLs: []string{"nats://a.example:4222"}}, "want tls://"},
		"with_password":     {config.Broker{URLs: []string{"tls://a:b@a.example:4222"}}, "want tls://"},
		"too_many_replicas": {config.Broker{URLs: []string{"tls://a.example:4222"}, Replicas: 7}, "want 1 to 5"},
	} {
		err := config.Config{Broker: c.b}.Validate()
		if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	got, err := config.Load(write(t, "tls:\n  names: [a.example]\n"), []string{"PATCHPROOF_TLS_NAMES=b.example, 192.0.2.1", "PATCHPROOF_TLS_CA=/ca"})
	if err != nil || strings.Join(got.TLS.Names, " ") != "b.example 192.0.2.1" || got.TLS.CA != "/ca" {
		t.Errorf("got %+v, %v", got.TLS, err)
	}
	if _, err := config.Load(write(t, "tls:\n  name: x\n"), nil); err == nil || !strings.Contains(err.Error(), "no setting of tls") {
		t.Errorf("got %v", err)
	}
}
