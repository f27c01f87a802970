// Package config is what a collector can be told: one file, then the
// environment, then flags, each over the one before.
//
// Invariants:
//   - Every zero value is usable and means the documented default.
//   - An unknown key, in the file or with our prefix in the environment, is an
//     error: a misspelt limit must not be a limit that is not there.
//   - Validate reports everything wrong at once.
//   - No secret is a value here; secrets lie in files of the data directory.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/store"
)

// Defaults of fields that are left empty.
const (
	DefaultDataDir = "/var/lib/patchproof"
	DefaultHTTP    = "127.0.0.1:8420"
	DefaultNATS    = "127.0.0.1:4222"
)

// Config is a collector's configuration.
type Config struct {
	// DataDir holds keys, database, broker streams and the first API token
	// ($PATCHPROOF_DATA). Default /var/lib/patchproof.
	DataDir string `yaml:"data_dir"`
	// HTTP is the loopback HOST:PORT of the API ($PATCHPROOF_HTTP), NATS that of
	// the embedded broker ($PATCHPROOF_NATS), which beyond loopback speaks TLS. Port 0
	// takes a free one. Defaults 127.0.0.1:8420 and 127.0.0.1:4222.
	HTTP string `yaml:"http"`
	NATS string `yaml:"nats"`
	// TLS says which certificate the broker shows. It speaks TLS when this says
	// anything, and when it listens beyond loopback.
	TLS TLS `yaml:"tls"`
	// Broker is a cluster that others run, instead of the embedded broker.
	Broker Broker `yaml:"broker"`
	// OperatorDir holds the identity keys of the broker's operator and accounts when
	// they are first used ($PATCHPROOF_OPERATOR_DIR). Default: offline/ in keys/broker
	// of the data directory.
	OperatorDir string `yaml:"operator_dir"`
	// MaxStreamBytes bounds the reports that wait on disk
	// ($PATCHPROOF_MAX_STREAM_BYTES). Default 4 GiB.
	MaxStreamBytes int64 `yaml:"max_stream_bytes"`
	// Quarantine caps what refused senders can make the collector hold.
	Quarantine Quarantine `yaml:"quarantine"`
	// LogLevel is debug, info, warn or error ($PATCHPROOF_LOG_LEVEL). Default info.
	LogLevel string `yaml:"log_level"`
}

// TLS is a certificate: one of the collector's own authority, or given files.
type TLS struct {
	// Names are the DNS names and IP addresses that hosts connect to
	// ($PATCHPROOF_TLS_NAMES, with commas). A name or address in nats is added.
	Names []string `yaml:"names"`
	// Cert, Key and CA are PEM files that are used instead of the collector's own
	// ($PATCHPROOF_TLS_CERT, _TLS_KEY, _TLS_CA). They may be replaced while it runs.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"`
}

// Broker is a NATS cluster with the configuration 'patchproof broker
// export-config' writes.
type Broker struct {
	// URLs are its nodes', tls://HOST:PORT ($PATCHPROOF_BROKER_URLS, with commas).
	// None embeds a broker.
	URLs []string `yaml:"urls"`
	// CA is a PEM file of the authority of its certificates ($PATCHPROOF_BROKER_CA).
	// Default: the collector's own, which signed the exported ones.
	CA string `yaml:"ca"`
	// Replicas is on how many nodes each waiting report lies ($PATCHPROOF_BROKER_REPLICAS).
	// Default 1.
	Replicas int `yaml:"replicas"`
}

// Quarantine caps refused envelopes, by number and by bytes, for one key and
// for all. Zero fields take ingest.DefaultLimits.
type Quarantine struct {
	PerKey      int64 `yaml:"per_key"`
	Total       int64 `yaml:"total"`
	BytesPerKey int64 `yaml:"bytes_per_key"`
	BytesTotal  int64 `yaml:"bytes_total"`
}

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// envPrefix begins every variable that is ours.
const envPrefix = "PATCHPROOF_"

// notOurs reports whether a variable is read by somebody else: by commands that
// ask a collector, by the agent, or by tests.
func notOurs(name string) bool {
	return !strings.HasPrefix(name, envPrefix) ||
		slices.Contains([]string{envPrefix + "URL", envPrefix + "TOKEN_FILE"}, name) ||
		strings.HasPrefix(name, envPrefix+"AGENT_") || strings.HasPrefix(name, envPrefix+"TEST_")
}

// Load reads a file, when one is named, and the environment over it (as
// os.Environ gives it). Flags are the caller's, who then calls Validate.
func Load(path string, environ []string) (Config, error) {
	var c Config
	if path != "" {
		if err := c.file(path); err != nil {
			return Config{}, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if err := c.environment(environ); err != nil {
		return Config{}, fmt.Errorf("configuration from the environment: %w", err)
	}
	return c, nil
}

func (c *Config) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("larger than %d bytes", maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) { // an empty file is all defaults
		return errors.New(strings.NewReplacer(
			" not found in type config.Config", " is no setting", " not found in type config.TLS", " is no setting of tls", " not found in type config.Broker", " is no setting of broker", " not found in type config.Quarantine", " is no setting of quarantine",
		).Replace(err.Error()))
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

func (c *Config) environment(environ []string) error {
	var errs []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if notOurs(name) {
			continue
		}
		switch strings.TrimPrefix(name, envPrefix) {
		case "DATA":
			c.DataDir = value
		case "HTTP":
			c.HTTP = value
		case "NATS":
			c.NATS = value
		case "LOG_LEVEL":
			c.LogLevel = value
		case "OPERATOR_DIR":
			c.OperatorDir = value
		case "BROKER_URLS":
			c.Broker.URLs = list(value)
		case "BROKER_CA":
			c.Broker.CA = value
		case "BROKER_REPLICAS":
			n, err := strconv.Atoi(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
			c.Broker.Replicas = n
		case "TLS_NAMES":
			c.TLS.Names = list(value)
		case "TLS_CERT":
			c.TLS.Cert = value
		case "TLS_KEY":
			c.TLS.Key = value
		case "TLS_CA":
			c.TLS.CA = value
		case "MAX_STREAM_BYTES":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
			c.MaxStreamBytes = n
		default:
			errs = append(errs, fmt.Errorf("%s: no such setting", name))
		}
	}
	return errors.Join(errs...)
}

// WithDefaults fills in what was left empty.
func (c Config) WithDefaults() Config {
	c.DataDir = cmp.Or(c.DataDir, DefaultDataDir)
	c.HTTP = cmp.Or(c.HTTP, DefaultHTTP)
	c.NATS = cmp.Or(c.NATS, DefaultNATS)
	c.MaxStreamBytes = cmp.Or(c.MaxStreamBytes, natsin.DefaultMaxStore)
	c.LogLevel = cmp.Or(c.LogLevel, "info")
	c.Quarantine = Quarantine{
		PerKey:      cmp.Or(c.Quarantine.PerKey, ingest.DefaultLimits.PerKey),
		Total:       cmp.Or(c.Quarantine.Total, ingest.DefaultLimits.Total),
		BytesPerKey: cmp.Or(c.Quarantine.BytesPerKey, ingest.DefaultLimits.BytesPerKey),
		BytesTotal:  cmp.Or(c.Quarantine.BytesTotal, ingest.DefaultLimits.BytesTotal),
	}
	return c
}

// minStream is room for one report of the largest size from a few hosts.
const minStream = 64 << 20

// Validate returns everything wrong with a configuration.
func (c Config) Validate() error {
	c = c.WithDefaults()
	errs := []error{
		named("http", natsin.CheckLoopback(c.HTTP)),
		c.checkBroker(),
	}
	if c.HTTP == c.NATS && !strings.HasSuffix(c.HTTP, ":0") {
		errs = append(errs, fmt.Errorf("http and nats are both %s", c.HTTP))
	}
	if c.MaxStreamBytes < minStream {
		errs = append(errs, fmt.Errorf("max_stream_bytes: %d, at least %d", c.MaxStreamBytes, minStream))
	}
	if _, err := c.Level(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.Quarantine.validate())...)
}

func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// checkBroker returns what is wrong with the broker, embedded or not.
func (c Config) checkBroker() error {
	if len(c.Broker.URLs) == 0 {
		if c.Broker.CA != "" || c.Broker.Replicas != 0 {
			return errors.New("broker: ca and replicas are for a cluster: set broker.urls")
		}
		return named("nats", c.TLS.check(c.NATS))
	}
	if c.Broker.Replicas < 0 || c.Broker.Replicas > 5 {
		return fmt.Errorf("broker.replicas: %d, want 1 to 5", c.Broker.Replicas)
	}
	for _, s := range c.Broker.URLs {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "tls" || u.Host == "" || u.User != nil || u.Path != "" {
			return fmt.Errorf("broker.urls: %.80q: want tls://HOST:PORT", s)
		}
	}
	return nil
}

// Wanted reports whether the broker at an address speaks TLS.
func (t TLS) Wanted(addr string) bool {
	return len(t.Names) > 0 || t.Cert != "" || t.Key != "" || t.CA != "" || natsin.CheckLoopback(addr) != nil
}

// ServerNames are the names the certificate is for: those that are set, and the
// one in the address unless it stands for all.
func (t TLS) ServerNames(addr string) []string {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) || host == "localhost" {
		return t.Names
	}
	return append(slices.Clone(t.Names), host)
}

// check returns what is wrong with listening at an address.
func (t TLS) check(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("listen on %q: want HOST:PORT: %w", addr, err)
	}
	given := 0
	for _, file := range []string{t.Cert, t.Key, t.CA} {
		if file != "" {
			given++
		}
	}
	switch {
	case !t.Wanted(addr):
		return nil
	case given != 0 && given != 3:
		return errors.New("tls needs cert, key and ca, or none of them")
	case given == 0 && len(t.ServerNames(addr)) == 0:
		return fmt.Errorf("listen on %q: hosts elsewhere need TLS: set tls.names to the names or addresses they connect to", addr)
	}
	for _, name := range t.Names {
		if net.ParseIP(name) == nil && !dnsName.MatchString(name) {
			return fmt.Errorf("tls.names: %.80q is neither an IP address nor a DNS name", name)
		}
	}
	return nil
}

// dnsName is a name as certificates have it (RFC 1123).
var dnsName = regexp.MustCompile(`^(?i)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func named(field string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

func (q Quarantine) validate() error {
	var errs []error
	for _, f := range []struct {
		name     string
		one, all int64
	}{{"", q.PerKey, q.Total}, {"bytes_", q.BytesPerKey, q.BytesTotal}} {
		if f.one < 0 || f.all < 0 {
			errs = append(errs, fmt.Errorf("quarantine: %sper_key %d and %stotal %d must not be negative", f.name, f.one, f.name, f.all))
		}
		if f.one > f.all {
			errs = append(errs, fmt.Errorf("quarantine: %sper_key %d is more than %stotal %d: one sender could take all of it", f.name, f.one, f.name, f.all))
		}
	}
	return errors.Join(errs...)
}

// Level is the log level.
func (c Config) Level() (slog.Level, error) {
	switch cmp.Or(c.LogLevel, "info") {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log_level: %q: want debug, info, warn or error", c.LogLevel)
}

// Limits are the quarantine's, for the door.
func (q Quarantine) Limits() store.QuarantineLimits {
	return store.QuarantineLimits{PerKey: q.PerKey, Total: q.Total, BytesPerKey: q.BytesPerKey, BytesTotal: q.BytesTotal}
}
