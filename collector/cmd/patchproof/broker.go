package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/server"
)

func newBrokerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "broker", Short: "who may do what at the broker, and servers that others run"}
	cmd.AddCommand(newBrokerInitCommand(), newBrokerExportCommand())
	return cmd
}

// addData adds the flags of commands that work on a data directory themselves.
func (s *settings) addData(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.file, "config", "", "configuration file; default: "+defaultConfig+" when it is there")
	f.StringVar(&s.flags.DataDir, "data", "", "data directory of the collector, made on first use")
	f.StringVar(&s.flags.OperatorDir, "operator-dir", "", "directory of the identity keys, when they are made or used; default keys/broker/offline in the data directory")
}

func newBrokerInitCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "init --operator-dir DIR",
		Short: "make the broker's keys before the first start, identity keys apart",
		Long: `Make the keys and claims of the broker's operator and accounts, as the first start of
'serve' would. The identity keys go to DIR, which may then be taken away: nothing that
runs needs it. Identity keys that are in DIR already are used, so that a collector
that lost its data directory has the same operator and accounts again.`,
		Args: cobra.NoArgs,
	}
	s.addData(cmd)
	format := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return fmt.Errorf("make the broker's keys: %w", err)
		}
		if c.OperatorDir == "" {
			return &statusError{code: exitUsage, err: errors.New("make the broker's keys: no directory for the identity keys"), hint: "name it with --operator-dir, on a medium that is kept elsewhere"}
		}
		err = server.InitBroker(c.DataDir, c.OperatorDir)
		if errors.Is(err, broker.ErrExists) {
			return withHint(err, "they stay as they are; stop the collector and move the directory away to begin anew: every host then needs new claims")
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "patchproof: move the identity keys to a medium that is kept elsewhere")
		if *format == "json" {
			return printJSON(cmd.OutOrStdout(), struct {
				DataDir     string `json:"data_dir"`
				OperatorDir string `json:"operator_dir"`
			}{c.DataDir, c.OperatorDir})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "identity keys: %s\n", clean(c.OperatorDir))
		return nil
	}
	return cmd
}

func newBrokerExportCommand() *cobra.Command {
	var s settings
	var out string
	var names []string
	cmd := &cobra.Command{
		Use:   "export-config --out DIR --node HOST[:PORT[:ROUTEPORT]]...",
		Short: "write the configuration of nats-servers that are to be the broker",
		Long: `Write, for each node, what nats-server needs to be this collector's broker: operator
and account claims, limits, TLS with a certificate of the collector's authority, and the
other nodes. It holds no key of the operator. Then set broker.urls and start the
collector again; 'patchproof check-config --help' shows the settings.`,
		Args: cobra.NoArgs,
	}
	s.addData(cmd)
	format := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&out, "out", "", "directory to make, with one of each node's in it")
	cmd.Flags().StringArrayVar(&names, "node", nil, "a node by the name or address hosts use; ports default to 4222 and 6222")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if out == "" || len(names) == 0 {
			return &statusError{code: exitUsage, err: errors.New("export broker configuration: --out and at least one --node are needed"), hint: "usage: " + cmd.UseLine()}
		}
		c, err := s.load()
		if err != nil {
			return fmt.Errorf("export broker configuration: %w", err)
		}
		o := server.ExportOptions{DataDir: c.DataDir, OperatorDir: c.OperatorDir, Out: out, MaxStream: c.MaxStreamBytes, Now: time.Now}
		o.TLS.Cert, o.TLS.Key, o.TLS.CA = c.TLS.Cert, c.TLS.Key, c.TLS.CA
		for _, name := range names {
			node, err := broker.ParseNode(name)
			if err != nil {
				return &statusError{code: exitUsage, err: fmt.Errorf("export broker configuration: %w", err)}
			}
			o.Nodes = append(o.Nodes, node)
		}
		err = server.ExportBroker(o)
		if errors.Is(err, fs.ErrExist) {
			return withHint(err, "name a directory that is not there")
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "patchproof: %s; the README in %s says how to start them\n", plural(len(o.Nodes), "node"), out)
		return showNodes(cmd, *format, out, o.Nodes)
	}
	return cmd
}

// nodeView is a node as it is shown.
type nodeView struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	Dir  string `json:"dir"`
}

func showNodes(cmd *cobra.Command, format, out string, nodes []broker.Node) error {
	views := []nodeView{}
	for _, n := range nodes {
		views = append(views, nodeView{n.Name(), n.URL(), filepath.Join(out, n.Name())})
	}
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), struct {
			Nodes []nodeView `json:"nodes"`
		}{views})
	}
	t := &table{columns: []column{{head: "NODE"}, {head: "URL"}}}
	for _, v := range views {
		t.add(v.Name, v.URL)
	}
	t.print(cmd.OutOrStdout())
	return nil
}
