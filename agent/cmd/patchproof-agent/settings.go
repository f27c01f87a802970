package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker in releases.
var version = ""

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "dev"
}

func (c *command) version() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := outputOf(cmd)
			if err != nil {
				return err
			}
			doc := struct {
				Version   string `json:"version"`
				GoVersion string `json:"go_version"`
				Platform  string `json:"platform"`
			}{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if format == formatJSON {
				return printJSON(c.stdout, doc)
			}
			_, err = fmt.Fprintf(c.stdout, "patchproof-agent %s %s %s\n", doc.Version, doc.GoVersion, doc.Platform)
			return err
		},
	}
	output(cmd)
	return cmd
}

func (c *command) checkConfig() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config",
		Short: "Check file and environment, and list every fault",
		Long: `Check the configuration file and the environment, and list every fault.

Fields of the file, with their defaults:
  server: nats://127.0.0.1:4222          the collector's broker
  receipt_key: ""                        as "patchproof key show" prints it; sending needs it
  recipient_key: ""                      from there too; export needs it
  export: {dir: "", interval: 24h}       no network: run exports there, sends nothing
  ca: ""                                 PEM file of the authority TLS believes
  ca_sha256: ""                          or its SHA-256; a broker elsewhere needs one
  reconnect: 30s                         come back within, after a lost connection
  state_dir: /var/lib/patchproof-agent   keys and spool
  interval: 6h                           between reports
  resend: 30s                            first wait for a receipt
  labels: {}                             your own words for this host
  spool: {max_bytes: 67108864, max_reports: 1000}
  imds: {disabled: false, endpoint: ""}  EC2 instance metadata

The environment sets the same: PATCHPROOF_AGENT_SERVER, ..._SPOOL_MAX_BYTES, and
PATCHPROOF_AGENT_LABELS as key=value,...; flags come last.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := c.settings(cmd)
			if err != nil {
				return err
			}
			c.say("configuration is sound")
			if settings.ReceiptKey == "" {
				c.say("warning: no receipt_key: the agent can collect and can settle no receipt")
				c.hint("set receipt_key to what `patchproof key show` prints on the collector")
			}
			return nil
		},
	}
}
