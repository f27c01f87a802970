package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/config"
	"github.com/patchproof/patchproof/agent/export"
	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/schema/bundle"
)

// exportDocument is what `export -o json` prints.
type exportDocument struct {
	Files []export.File `json:"files"`
	// Collected is the sequence of the report made for this export, absent when an
	// agent that runs here makes the reports.
	Collected uint64 `json:"collected,omitempty"`
}

func exporter(settings config.Config, id *identity.Identity) (*export.Writer, error) {
	to, err := settings.Recipient()
	if err != nil {
		return nil, err
	}
	if to == nil {
		return nil, agent.ErrNoRecipientKey
	}
	return &export.Writer{Recipient: to, Key: id.Evidence, Agent: buildVersion(), Now: time.Now}, nil
}

func (c *command) export() *cobra.Command {
	var out string
	var skip bool
	cmd := &cobra.Command{
		Use:   "export --out DIR|FILE",
		Short: "Make a report and write everything without a receipt into a bundle",
		Long: `Make a report and write everything the collector has not receipted into one
bundle, sealed to the collector. Carry it there, import it with 'patchproof bundle
import', and bring its receipts back to 'patchproof-agent receipts import'. Until
then every export holds all of it again, so a lost medium loses nothing.

In a directory the file has this host's own name, and replaces the one before.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runExport(cmd, out, !skip) },
	}
	cmd.Flags().StringVar(&out, "out", "", "`place` to write to: a directory that is there, or a file")
	cmd.Flags().BoolVar(&skip, "no-collect", false, "write what waits, without a new report")
	output(cmd)
	return setting(cmd, "state-dir", "recipient-key", "labels")
}

func (c *command) runExport(cmd *cobra.Command, out string, collect bool) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	if out == "" {
		return &usageError{errors.New("no place to write to"), "name a directory or a file with --out"}
	}
	return c.withAgent(cmd.Context(), cmd, slog.LevelWarn, nil, func(ctx context.Context, a *agent.Agent) error {
		settings, err := c.settings(cmd)
		if err != nil {
			return err
		}
		w, err := exporter(settings, a.Identity)
		if err != nil {
			return err
		}
		var doc exportDocument
		if collect {
			if doc.Collected, err = c.collectForExport(ctx, a); err != nil {
				return err
			}
		}
		if doc.Files, err = a.Export(w, out); err != nil {
			return exportHint(err)
		}
		return c.printExport(doc, format)
	})
}

// collectForExport makes a report that stands alone, unless an agent runs here and
// makes them.
func (c *command) collectForExport(ctx context.Context, a *agent.Agent) (uint64, error) {
	held, err := identity.Hold(a.Identity.Dir, identity.Collector)
	if _, busy := errors.AsType[*identity.Error](err); busy {
		c.say("an agent runs here and makes the reports; writing what waits")
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = held.Close() }()
	a.Offline = true
	entry, err := a.CollectOnce(ctx)
	return entry.Sequence, err
}

func exportHint(err error) error {
	switch {
	case errors.Is(err, export.ErrTooMuch):
		return &hinted{err, "name a directory: there is room for several files"}
	case errors.Is(err, export.ErrNoDirectory):
		return &hinted{err, "is the medium mounted?"}
	case errors.Is(err, export.ErrNotBundle):
		return &hinted{err, "name another file, or move that one away"}
	default:
		return err
	}
}

func (c *command) printExport(doc exportDocument, format string) error {
	if format == formatJSON {
		return printJSON(c.stdout, doc)
	}
	for _, f := range doc.Files {
		what := plural(f.Envelopes, "envelope")
		if f.First > 0 {
			what += fmt.Sprintf(", reports %d to %d", f.First, f.Last)
		}
		if _, err := fmt.Fprintf(c.stdout, "%s: %s, %d bytes, sha256 %s\n", printable(f.Path), what, f.Size, f.Digest); err != nil {
			return err
		}
	}
	c.say("on the collector: patchproof bundle import FILE --receipts-out RECEIPTS")
	return nil
}

func (c *command) receipts() *cobra.Command {
	group := &cobra.Command{
		Use:   "receipts",
		Short: "What the collector answered by hand",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &usageError{errors.New("a command is needed"), "see " + cmd.CommandPath() + " --help"}
		},
	}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Settle the receipts in a file, and let go of what is on record",
		Long: `Settle the receipts that came back in a file. A report leaves this host only when a
receipt signed by the pinned receipt_key says that it is on record.`,
		Args: oneArg("the file of receipts"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.importReceipts(cmd, args[0]) },
	}
	output(cmd)
	group.AddCommand(setting(cmd, "state-dir", "receipt-key"))
	return group
}

func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := "usage: " + cmd.UseLine()
		if len(args) == 0 {
			return &usageError{fmt.Errorf("%s is missing", what), hint}
		}
		if len(args) > 1 {
			return &usageError{fmt.Errorf("unexpected argument %q", args[1]), hint}
		}
		return nil
	}
}

func (c *command) importReceipts(cmd *cobra.Command, path string) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	file, err := readMedium(path, bundle.MaxReturn)
	if err != nil {
		return err
	}
	return c.withAgent(cmd.Context(), cmd, slog.LevelWarn, nil, func(_ context.Context, a *agent.Agent) error {
		done, err := a.ImportReceipts(file)
		if err != nil {
			return err
		}
		if err := c.printImported(done, format); err != nil {
			return err
		}
		if done.Refused > 0 {
			return &hinted{
				fmt.Errorf("%s refused; they changed nothing", plural(done.Refused, "line")),
				"is receipt_key that of the collector the file comes from?",
			}
		}
		return nil
	})
}

// readMedium reads a regular file that somebody brought: no links, no devices, and
// never more than limit bytes.
func readMedium(path string, limit int64) ([]byte, error) {
	f, err := openMedium(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", path, limit)
	}
	return data, nil
}

func (c *command) printImported(d agent.Imported, format string) error {
	if format == formatJSON {
		return printJSON(c.stdout, d)
	}
	_, err := fmt.Fprintf(c.stdout, "%s on record; %d kept, %d needed in full, %d refused for good, %d not waiting here; %d left waiting\n",
		plural(d.Accepted, "report"), d.Kept, d.Needed, d.Retired, d.Unknown, d.Waiting)
	if d.Foreign > 0 {
		c.say("%s of kinds this version does not know, left alone", plural(d.Foreign, "line"))
	}
	for _, r := range d.Refusals {
		c.say("refused: %s", r)
	}
	return err
}
