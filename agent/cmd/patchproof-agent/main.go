// Patchproof-agent states what is on a host: it scans, signs, and sends its
// reports until the collector has receipted them.
//
// Standard output carries data, standard error talk. Exit codes: 0 done, 1 an
// error, 2 wrong usage, 3 an image is not fit to be copied.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/config"
	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/schema"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitLeft  = 3
)

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &command{stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	c.complain(err)
	if _, wrong := errors.AsType[*usageError](err); wrong {
		return exitUsage
	}
	if _, left := errors.AsType[*leftError](err); left {
		return exitLeft
	}
	return exitError
}

// usageError is a command line that makes no sense.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// command is the state of one run of the program.
type command struct {
	stdout, stderr io.Writer
	configPath     string
	debug          bool
}

// say writes one line of talk.
func (c *command) say(format string, args ...any) {
	for line := range strings.Lines(strings.TrimRight(fmt.Sprintf(format, args...), "\n")) {
		fmt.Fprintf(c.stderr, "patchproof-agent: %s\n", printable(strings.TrimRight(line, "\n")))
	}
}

func (c *command) hint(s string) {
	if s != "" {
		c.say("hint: %s", s)
	}
}

func (c *command) complain(err error) {
	c.say("error: %v", err)
	c.hint(hintFor(err))
}

// hintFor returns what to do about an error, as far as that is known.
func hintFor(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		return u.hint
	}
	if f, ok := errors.AsType[*identity.Error](err); ok {
		return f.Hint
	}
	if errors.Is(err, agent.ErrNoReceiptKey) {
		return "set receipt_key to what `patchproof key show` prints on the collector"
	}
	if errors.Is(err, agent.ErrNoRecipientKey) {
		return "set recipient_key to what `patchproof key show` prints on the collector"
	}
	return ""
}

// flagVariables are the flags that set a field of the configuration, by the
// field's variable.
var flagVariables = map[string]string{
	"state-dir":   "STATE_DIR",
	"server":      "SERVER",
	"receipt-key": "RECEIPT_KEY",

	"recipient-key": "RECIPIENT_KEY",
	"interval":      "INTERVAL",
	"labels":        "LABELS",
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "patchproof-agent",
		Short:         "State what is on this host, signed, until the collector has it on record",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &usageError{errors.New("a command is needed"), "see " + cmd.CommandPath() + " --help"}
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err, "see " + cmd.CommandPath() + " --help"}
	})
	root.PersistentFlags().StringVar(&c.configPath, "config", os.Getenv(config.ConfigVariable),
		"configuration `file` (default "+config.DefaultPath+", when it is there)")
	root.PersistentFlags().BoolVar(&c.debug, "debug", false, "log more")
	root.AddCommand(c.inventory(), c.collect(), c.send(), c.runBoth(), c.once(),
		c.initialize(), c.export(), c.receipts(), c.sealImage(), c.status(), c.checkConfig(), c.version(), c.service())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasParent() && !cmd.HasAvailableSubCommands() {
		return &usageError{fmt.Errorf("unexpected argument %q", args[0]), "see " + cmd.CommandPath() + " --help"}
	}
	hint := "see " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, " or ") + "?"
	}
	return &usageError{fmt.Errorf("unknown command %q", args[0]), hint}
}

// setting adds flags that set fields of the configuration.
func setting(cmd *cobra.Command, names ...string) *cobra.Command {
	usage := map[string]string{
		"state-dir":   "`directory` of keys and spool (default " + config.DefaultStateDir + ")",
		"server":      "NATS `url` of the collector (default " + config.DefaultServer + ")",
		"receipt-key": "the collector's receipt `key` in hex",

		"recipient-key": "the collector's recipient `key`, which bundles are sealed to",
		"interval":      "`time` between reports (default " + agent.DefaultInterval.String() + ")",
		"labels":        "labels of this host, as `key=value,...`",
	}
	for _, name := range names {
		cmd.Flags().String(name, "", usage[name])
	}
	return cmd
}

// settings reads file, environment and flags, and validates the result.
func (c *command) settings(cmd *cobra.Command) (config.Config, error) {
	loaded, err := config.Load(c.configPath, os.Environ())
	if err != nil {
		return config.Config{}, &hinted{err, "see `patchproof-agent check-config --help` for the fields"}
	}
	for name, variable := range flagVariables {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			if err := loaded.Set(variable, f.Value.String()); err != nil {
				return config.Config{}, &usageError{fmt.Errorf("--%s: %w", name, err), ""}
			}
		}
	}
	if err := loaded.Validate(); err != nil {
		return config.Config{}, &hinted{fmt.Errorf("configuration: %w", err), "all faults are listed; correct them and run `patchproof-agent check-config`"}
	}
	return loaded.OrDefault(), nil
}

func (c *command) logger(level slog.Level) *slog.Logger {
	if c.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: level})).With("component", "agent")
}

// trustHint tells how a host becomes trusted.
func trustHint(id *identity.Identity) string {
	return "on the collector, compare the fingerprint and run: patchproof host trust " + id.Fingerprint()
}

// rejectionHint returns what to do about a rejection.
func rejectionHint(id *identity.Identity, reason string) string {
	switch reason {
	case schema.ReasonUnknownKey:
		return trustHint(id)
	case schema.ReasonSequenceFork:
		return "another host has this key, or the state directory was restored from a backup; for a clone, stop the agent, remove its state directory, and trust its new key"
	case schema.ReasonTransportMismatch:
		return "the state directory holds another transport key than the one the collector knows; trust the host anew"
	default:
		return "see the collector's quarantine for what it received"
	}
}
