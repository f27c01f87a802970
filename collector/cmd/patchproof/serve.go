package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/config"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/trust"
)

// defaultConfig is read when it is there.
const defaultConfig = "/etc/patchproof/collector.yaml"

// settings are a collector's configuration as the command line may override it.
type settings struct {
	file    string
	flags   config.Config
	verbose bool
}

func (s *settings) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.file, "config", "", "configuration file; default: "+defaultConfig+" when it is there")
	f.StringVar(&s.flags.DataDir, "data", "", "data directory, made on first use; default "+config.DefaultDataDir)
	f.StringVar(&s.flags.HTTP, "http", "", "loopback address of the API, port 0 takes a free one; default "+config.DefaultHTTP)
	f.StringVar(&s.flags.NATS, "nats", "", "address of the embedded broker, with TLS beyond loopback; default "+config.DefaultNATS)
	f.StringVar(&s.flags.OperatorDir, "operator-dir", "", "directory of the broker's identity keys, used on first start; default keys/broker/offline in the data directory")
	f.BoolVar(&s.verbose, "verbose", false, "log each request and report")
}

// load reads file and environment, and flags over them.
func (s *settings) load() (config.Config, error) {
	path := s.file
	if path == "" {
		if _, err := os.Stat(defaultConfig); !errors.Is(err, fs.ErrNotExist) {
			path = defaultConfig
		}
	}
	c, err := config.Load(path, os.Environ())
	if err != nil {
		return c, withHint(err, "'patchproof check-config --help' lists the settings")
	}
	c.DataDir = cmp.Or(s.flags.DataDir, c.DataDir)
	c.HTTP = cmp.Or(s.flags.HTTP, c.HTTP)
	c.NATS = cmp.Or(s.flags.NATS, c.NATS)
	c.OperatorDir = cmp.Or(s.flags.OperatorDir, c.OperatorDir)
	if s.verbose {
		c.LogLevel = "debug"
	}
	c = c.WithDefaults()
	return c, c.Validate()
}

func newServeCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the collector: broker, door, assessment, evidence and API in one process",
		Long: `Run the collector. Everything it keeps is in the data directory: keys, database,
broker streams, and the first API token (file 'token', readable by its owner only).
It listens on loopback only, but for the broker, which beyond loopback speaks TLS 1.3
under an authority of the collector's own and lets in enrolled hosts only. Settings come from a file, then the environment, then
flags, each over the one before; 'patchproof check-config' tells what would hold.`,
		Args: cobra.NoArgs,
	}
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		level, err := c.Level()
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		o := server.Options{
			Version: version, DataDir: c.DataDir, Listen: c.HTTP, NATSListen: c.NATS,
			TLS: tlsOptions(c), Cluster: clusterOptions(c), OperatorDir: c.OperatorDir,
			MaxStream: c.MaxStreamBytes, Quarantine: c.Quarantine.Limits(),
			Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
		}
		err = server.Run(cmd.Context(), o)
		if errors.Is(err, syscall.EADDRINUSE) {
			return withHint(err, "another program listens there; name another address with --http or --nats, port 0 takes a free one")
		}
		return err
	}
	return cmd
}

// tlsOptions are what the broker shows, nil for no TLS.
func tlsOptions(c config.Config) *trust.TLSOptions {
	given := trust.TLSOptions{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA}
	if len(c.Broker.URLs) > 0 { // listens nowhere; its authority may have signed the cluster's certificates
		return &given
	}
	if !c.TLS.Wanted(c.NATS) {
		return nil
	}
	return &trust.TLSOptions{Names: c.TLS.ServerNames(c.NATS), Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA}
}

// clusterOptions are how the broker is reached, nil for the embedded one.
func clusterOptions(c config.Config) *server.ClusterOptions {
	if len(c.Broker.URLs) == 0 {
		return nil
	}
	return &server.ClusterOptions{URLs: c.Broker.URLs, CA: c.Broker.CA, Replicas: c.Broker.Replicas}
}

func newCheckConfigCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "check the collector's settings and print what would hold",
		Long: `Check the collector's settings as 'serve' with the same flags would read them, and
print what would hold. A configuration file is YAML:

  data_dir: ` + config.DefaultDataDir + `
  http: ` + config.DefaultHTTP + `
  nats: ` + config.DefaultNATS + `
  tls:                           # of the broker; its own authority, or given files
    names: []                    # names and addresses that hosts connect to
    cert: ""                     # PEM files: certificate, key, authority
    key: ""
    ca: ""
  broker:                        # a NATS cluster instead of the embedded broker
    urls: []                     # tls://HOST:PORT of its nodes
    ca: ""                       # authority of its certificates, when not our own
    replicas: 1                  # nodes on which a waiting report lies
  operator_dir: ""               # identity keys of the broker; default in data_dir
  max_stream_bytes: 4294967296   # reports that wait on disk
  log_level: info                # debug, info, warn, error
  quarantine:                    # what refused senders can make it hold
    per_key: 32
    total: 40000
    bytes_per_key: 33554432
    bytes_total: 2147483648

Environment: PATCHPROOF_DATA, _HTTP, _NATS, _TLS_NAMES, _TLS_CERT, _TLS_KEY, _TLS_CA,
_BROKER_URLS, _BROKER_CA, _BROKER_REPLICAS, _OPERATOR_DIR, _MAX_STREAM_BYTES, _LOG_LEVEL.`,
		Args: cobra.NoArgs,
	}
	s.add(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return fmt.Errorf("check configuration: %w", err)
		}
		shown := shownConfig(c)
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), shown)
		}
		t := &table{columns: []column{{head: "SETTING"}, {head: "VALUE"}}}
		for _, row := range shown.rows() {
			t.add(row[0], row[1])
		}
		t.print(cmd.OutOrStdout())
		fmt.Fprintln(cmd.ErrOrStderr(), "patchproof: configuration is sound")
		return nil
	}
	return cmd
}

// configView is a configuration as it is shown.
type configView struct {
	DataDir        string         `json:"data_dir"`
	HTTP           string         `json:"http"`
	NATS           string         `json:"nats"`
	TLS            *tlsView       `json:"tls,omitempty"`
	Broker         *brokerView    `json:"broker,omitempty"`
	OperatorDir    string         `json:"operator_dir,omitempty"`
	MaxStreamBytes int64          `json:"max_stream_bytes"`
	LogLevel       string         `json:"log_level"`
	Quarantine     quarantineView `json:"quarantine"`
}

// tlsView is there when the broker speaks TLS.
type tlsView struct {
	Names []string `json:"names,omitempty"`
	Cert  string   `json:"cert,omitempty"`
	Key   string   `json:"key,omitempty"`
	CA    string   `json:"ca,omitempty"`
}

// brokerView is there when the broker is not embedded.
type brokerView struct {
	URLs     []string `json:"urls"`
	CA       string   `json:"ca,omitempty"`
	Replicas int      `json:"replicas"`
}

type quarantineView struct {
	PerKey      int64 `json:"per_key"`
	Total       int64 `json:"total"`
	BytesPerKey int64 `json:"bytes_per_key"`
	BytesTotal  int64 `json:"bytes_total"`
}

func shownConfig(c config.Config) configView {
	v := configView{
		DataDir: c.DataDir, HTTP: c.HTTP, NATS: c.NATS, OperatorDir: c.OperatorDir, MaxStreamBytes: c.MaxStreamBytes, LogLevel: c.LogLevel,
		Quarantine: quarantineView(c.Quarantine),
	}
	if t := tlsOptions(c); t != nil {
		v.TLS = &tlsView{Names: t.Names, Cert: t.Cert, Key: t.Key, CA: t.CA}
	}
	if b := clusterOptions(c); b != nil {
		v.Broker = &brokerView{URLs: b.URLs, CA: b.CA, Replicas: cmp.Or(b.Replicas, 1)}
	}
	return v
}

func (v configView) rows() [][2]string {
	n := func(i int64) string { return fmt.Sprint(i) }
	t, b := cmp.Or(v.TLS, &tlsView{}), cmp.Or(v.Broker, &brokerView{})
	return [][2]string{
		{"data_dir", v.DataDir},
		{"http", v.HTTP},
		{"nats", v.NATS},
		{"tls", map[bool]string{true: "yes", false: "no, loopback only"}[v.TLS != nil]},
		{"tls.names", strings.Join(t.Names, ", ")},
		{"tls.cert", t.Cert},
		{"broker", cmp.Or(strings.Join(b.URLs, ", "), "embedded")},
		{"operator_dir", v.OperatorDir},
		{"max_stream_bytes", n(v.MaxStreamBytes)},
		{"log_level", v.LogLevel},
		{"quarantine.per_key", n(v.Quarantine.PerKey)},
		{"quarantine.total", n(v.Quarantine.Total)},
		{"quarantine.bytes_per_key", n(v.Quarantine.BytesPerKey)},
		{"quarantine.bytes_total", n(v.Quarantine.BytesTotal)},
	}
}
