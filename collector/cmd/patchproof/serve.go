package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/server"
)

func newServeCommand() *cobra.Command {
	o := server.Options{Version: version}
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the collector: broker, door, assessment, evidence and API in one process",
		Long: `Run the collector. Everything it keeps is in the data directory: keys, database,
broker streams, and the first API token (file 'token', readable by its owner only).
It listens on loopback only.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data", defaultData, "data directory, made on first use")
	f.StringVar(&o.Listen, "http", "127.0.0.1:8420", "address of the API; port 0 takes a free one")
	f.StringVar(&o.NATSListen, "nats", "127.0.0.1:4222", "address of the embedded broker; port 0 takes a free one")
	f.BoolVar(&verbose, "verbose", false, "log each request and report")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		level := slog.LevelInfo
		if verbose {
			level = slog.LevelDebug
		}
		o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
		if err := server.Run(cmd.Context(), o); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	}
	return cmd
}
