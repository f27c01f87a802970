// Package config is how an operator tells the agent what to do: a file, then
// the environment, then flags, each over the one before.
//
// Invariants:
//   - A missing file at the default place is no fault, a missing file that was
//     asked for is one; an unknown key or variable is always one.
//   - Every field has a usable zero value; a faulty value is never replaced by
//     a default.
//   - Validate reports all faults at once.
package config

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/patchproof/patchproof/agent/pin"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

// DefaultPath is where the configuration is looked for. It need not be there.
const DefaultPath = "/etc/patchproof/agent.yaml"

// EnvPrefix starts every environment variable of the agent.
const EnvPrefix = "PATCHPROOF_AGENT_"

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Config is the agent's configuration. The zero value works against a broker on
// this host, but for ReceiptKey: without it nothing can be receipted.
type Config struct {
	// Server is the NATS URL, or several with commas between. Default nats://127.0.0.1:4222.
	Server string `yaml:"server"`
	// ReceiptKey is the collector's receipt key in hex, as `patchproof key show`
	// prints it. Sending needs it.
	ReceiptKey string `yaml:"receipt_key"`
	// RecipientKey is what bundles are sealed to, as `patchproof key show` prints it.
	// Exporting needs it.
	RecipientKey string `yaml:"recipient_key"`
	// Export sets this host up as one that no network reaches.
	Export Export `yaml:"export"`
	// CA is a PEM file of the authority that signs the broker's certificate, CASHA256
	// that authority's SHA-256 in hex; either pins it. `patchproof key show` prints
	// both. A broker on another host needs one of them.
	CA       string `yaml:"ca"`
	CASHA256 string `yaml:"ca_sha256"`
	// Reconnect is the window in which the agent comes back after a connection was
	// lost, at a random moment of it. Default 30s.
	Reconnect time.Duration `yaml:"reconnect"`
	// StateDir holds the keys and the spool. Default /var/lib/patchproof-agent.
	StateDir string `yaml:"state_dir"`
	// Interval between reports. Default 6h.
	Interval time.Duration `yaml:"interval"`
	// Resend is the first wait for a receipt before a report is sent again; it
	// doubles up to an hour. Default 30s.
	Resend time.Duration `yaml:"resend"`
	// Labels are the operator's words for this host.
	Labels map[string]string `yaml:"labels"`
	// Spool bounds what waits for a receipt.
	Spool Spool `yaml:"spool"`
	// IMDS is about the EC2 instance metadata service.
	IMDS IMDS `yaml:"imds"`
}

// Spool bounds what waits for a receipt.
type Spool struct {
	// MaxBytes of waiting reports. Default 64 MiB.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxReports waiting. Default 1000.
	MaxReports int `yaml:"max_reports"`
}

// Export is about reports that travel by hand.
type Export struct {
	// Dir is where `run` writes bundles. With it the host is offline: `run` collects
	// and exports, and sends nothing.
	Dir string `yaml:"dir"`
	// Interval between exports. Default 24h.
	Interval time.Duration `yaml:"interval"`
}

// IMDS is about the EC2 instance metadata service.
type IMDS struct {
	// Disabled: do not ask it, even on an EC2 instance.
	Disabled bool `yaml:"disabled"`
	// Endpoint is another address of it, asked on any machine.
	Endpoint string `yaml:"endpoint"`
}

// Defaults.
const (
	DefaultServer   = "nats://127.0.0.1:4222"
	DefaultStateDir = "/var/lib/patchproof-agent"
)

// Bounds of what can be set.
const (
	minInterval = time.Minute
	maxInterval = 7 * 24 * time.Hour
	maxExport   = 31 * 24 * time.Hour
	minResend   = time.Second
	// minReconnect is short enough for tests and for a collector with a few hosts.
	minReconnect = 100 * time.Millisecond
)

// Load reads the configuration. path is what was asked for, empty for the
// default place; environ is as of os.Environ. The result is not yet validated.
func Load(path string, environ []string) (*Config, error) {
	var c Config
	asked := path != ""
	if !asked {
		path = DefaultPath
	}
	data, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !asked:
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	default:
		if err := c.decode(data); err != nil {
			return nil, fmt.Errorf("read configuration %s: %w", path, err)
		}
	}
	if err := c.environment(environ); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	return &c, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return data, err
}

func (c *Config) decode(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return plainFaults(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("holds more than one document")
	}
	return nil
}

// plainFaults tells YAML's faults in one line and without the names of Go types.
func plainFaults(err error) error {
	faults, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	var lines []string
	for _, line := range faults.Errors {
		line, _, _ = strings.Cut(line, " in type config.")
		lines = append(lines, line)
	}
	return errors.New(strings.Join(lines, "; "))
}

// variables are the fields that can be set by the environment, by the name
// after EnvPrefix.
func (c *Config) variables() map[string]func(string) error {
	return map[string]func(string) error{
		"SERVER":            text(&c.Server),
		"RECEIPT_KEY":       text(&c.ReceiptKey),
		"RECIPIENT_KEY":     text(&c.RecipientKey),
		"EXPORT_DIR":        text(&c.Export.Dir),
		"EXPORT_INTERVAL":   duration(&c.Export.Interval),
		"CA":                text(&c.CA),
		"CA_SHA256":         text(&c.CASHA256),
		"RECONNECT":         duration(&c.Reconnect),
		"STATE_DIR":         text(&c.StateDir),
		"INTERVAL":          duration(&c.Interval),
		"RESEND":            duration(&c.Resend),
		"LABELS":            c.labels,
		"SPOOL_MAX_BYTES":   number(&c.Spool.MaxBytes),
		"SPOOL_MAX_REPORTS": number(&c.Spool.MaxReports),
		"IMDS_DISABLED":     boolean(&c.IMDS.Disabled),
		"IMDS_ENDPOINT":     text(&c.IMDS.Endpoint),
	}
}

// ConfigVariable names the file to read; the command line reads it.
const ConfigVariable = EnvPrefix + "CONFIG"

func (c *Config) environment(environ []string) error {
	variables := c.variables()
	var faults []error
	for _, pair := range environ {
		full, value, _ := strings.Cut(pair, "=")
		name, ours := strings.CutPrefix(full, EnvPrefix)
		if !ours || full == ConfigVariable {
			continue
		}
		set, known := variables[name]
		if !known {
			faults = append(faults, fmt.Errorf("%s: unknown variable, the agent knows %s", full,
				EnvPrefix+strings.Join(slices.Sorted(maps.Keys(variables)), ", "+EnvPrefix)))
			continue
		}
		if err := set(value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", full, err))
		}
	}
	return errors.Join(faults...)
}

// Set sets one field by the name its variable has after EnvPrefix; flags use it.
func (c *Config) Set(variable, value string) error {
	set, known := c.variables()[variable]
	if !known {
		return fmt.Errorf("no field %s", variable)
	}
	return set(value)
}

func text(to *string) func(string) error {
	return func(s string) error { *to = s; return nil }
}

func duration(to *time.Duration) func(string) error {
	return func(s string) (err error) { *to, err = time.ParseDuration(s); return err }
}

func boolean(to *bool) func(string) error {
	return func(s string) (err error) { *to, err = strconv.ParseBool(s); return err }
}

func number[N int | int64](to *N) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 63)
		*to = N(n)
		return err
	}
}

// labels reads key=value pairs with commas between.
func (c *Config) labels(s string) error {
	c.Labels = map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q: want key=value", pair)
		}
		c.Labels[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return nil
}

// OrDefault returns c with the defaults in place of zero values that mean them.
func (c Config) OrDefault() Config {
	if c.Server == "" {
		c.Server = DefaultServer
	}
	if c.StateDir == "" {
		c.StateDir = DefaultStateDir
	}
	return c
}

// Validate returns every fault of the configuration, joined.
func (c *Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	d := c.OrDefault()
	for server := range strings.SplitSeq(d.Server, ",") {
		if err := c.checkServer(strings.TrimSpace(server)); err != nil {
			fault("server", "%w", err)
		}
	}
	if c.CA != "" && !filepath.IsAbs(c.CA) {
		fault("ca", "%q is not an absolute path", c.CA)
	}
	if c.CASHA256 != "" {
		if err := pin.CheckSum(c.CASHA256); err != nil {
			fault("ca_sha256", "%w", err)
		}
	}
	if c.Reconnect != 0 && (c.Reconnect < minReconnect || c.Reconnect > time.Hour) {
		fault("reconnect", "%s, want %s to %s", c.Reconnect, minReconnect, time.Hour)
	}
	if c.ReceiptKey != "" {
		if _, err := c.PinnedKey(); err != nil {
			fault("receipt_key", "%w", err)
		}
	}
	if c.RecipientKey != "" {
		if _, err := c.Recipient(); err != nil {
			fault("recipient_key", "%w", err)
		}
	}
	if c.Export.Dir != "" && !filepath.IsAbs(c.Export.Dir) {
		fault("export.dir", "%q is not an absolute path", c.Export.Dir)
	}
	if c.Export.Dir != "" && c.RecipientKey == "" {
		fault("export.dir", "is set and recipient_key is not: bundles are sealed to it")
	}
	if e := c.Export.Interval; e != 0 && (e < minInterval || e > maxExport) {
		fault("export.interval", "%s, want %s to %s", e, minInterval, maxExport)
	}
	if !filepath.IsAbs(d.StateDir) {
		fault("state_dir", "%q is not an absolute path", d.StateDir)
	}
	if c.Interval != 0 && (c.Interval < minInterval || c.Interval > maxInterval) {
		fault("interval", "%s, want %s to %s", c.Interval, minInterval, maxInterval)
	}
	if c.Resend != 0 && (c.Resend < minResend || c.Resend > time.Hour) {
		fault("resend", "%s, want %s to %s", c.Resend, minResend, time.Hour)
	}
	if c.Spool.MaxBytes != 0 && c.Spool.MaxBytes < envelope.MaxEnvelope {
		fault("spool.max_bytes", "%d, want at least %d, the largest report", c.Spool.MaxBytes, envelope.MaxEnvelope)
	}
	if c.Spool.MaxReports < 0 {
		fault("spool.max_reports", "%d is below zero", c.Spool.MaxReports)
	}
	if c.IMDS.Endpoint != "" {
		if err := checkHTTP(c.IMDS.Endpoint); err != nil {
			fault("imds.endpoint", "%w", err)
		}
	}
	faults = append(faults, checkLabels(c.Labels)...)
	return errors.Join(faults...)
}

// PinnedKey returns the collector's receipt key, nil when none is set.
func (c *Config) PinnedKey() (ed25519.PublicKey, error) {
	if c.ReceiptKey == "" {
		return nil, nil
	}
	return schema.ParseKeyID(c.ReceiptKey)
}

// Recipient returns the key bundles are sealed to, nil when none is set.
func (c *Config) Recipient() (*bundle.Recipient, error) {
	if c.RecipientKey == "" {
		return nil, nil //nolint:nilnil // none is set
	}
	return bundle.ParseRecipient(c.RecipientKey)
}

// Authority returns whom TLS connections believe, nil when nothing is pinned.
func (c *Config) Authority() (*pin.Authority, error) { return pin.Load(c.CA, c.CASHA256) }

func (c *Config) checkServer(s string) error {
	u, err := url.Parse(s)
	if fault, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("not a URL: %w", fault.Err) // without the URL, which may hold a password
	}
	if !slices.Contains([]string{"nats", "tls"}, u.Scheme) || u.Hostname() == "" {
		return fmt.Errorf("%q: want nats://HOST:PORT or tls://HOST:PORT", u.Redacted())
	}
	pinned := c.CA != "" || c.CASHA256 != ""
	switch {
	case pinned: // TLS, whatever the scheme says
	case u.Scheme == "tls":
		return fmt.Errorf("%q: TLS needs ca or ca_sha256, as 'patchproof key show' prints them", u.Redacted())
	case !loopback(u.Hostname()):
		return fmt.Errorf("%q is another host: set ca or ca_sha256, as 'patchproof key show' prints them", u.Redacted())
	}
	if u.User != nil {
		return fmt.Errorf("%q holds credentials; the agent signs in with its transport key", u.Redacted())
	}
	return nil
}

// loopback reports whether a host is this one by its very name or address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func checkHTTP(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%q: want http://ADDRESS", s)
	}
	return nil
}

// checkLabels holds labels to what a report may carry, see schema.
func checkLabels(labels map[string]string) []error {
	const maxKey, maxValue = 256, 1024
	var faults []error
	if len(labels) > schema.MaxLabels {
		faults = append(faults, fmt.Errorf("labels: %d of them, at most %d", len(labels), schema.MaxLabels))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == "" {
			faults = append(faults, errors.New("labels: a key is empty"))
		}
		if !plain(key, maxKey) {
			faults = append(faults, fmt.Errorf("labels: key %.80q must be at most %d bytes without control characters", key, maxKey))
		}
		if !plain(labels[key], maxValue) {
			faults = append(faults, fmt.Errorf("labels: value of %.80q must be at most %d bytes without control characters", key, maxValue))
		}
	}
	return faults
}

func plain(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
