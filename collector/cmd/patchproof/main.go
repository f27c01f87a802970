// Command patchproof is the collector and the command line of its users.
//
// Standard output carries data, standard error talk. Exit status: 0 done,
// 1 error, 2 wrong usage, 3 the policy says no.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit statuses.
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitPolicy = 3
)

// statusError carries an exit status, and a hint for the person at the keyboard.
type statusError struct {
	code int
	err  error
	hint string
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// usage marks an error as wrong usage (status 2).
func usage(err error) error { return &statusError{code: exitUsage, err: err} }

// withHint adds what to do about an error.
func withHint(err error, hint string) error {
	return &statusError{code: exitError, err: err, hint: hint}
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return report(stderr, err)
}

// report says an error on standard error and returns the exit status for it.
func report(stderr io.Writer, err error) int {
	code, hint := exitError, ""
	if se, ok := errors.AsType[*statusError](err); ok {
		code, hint = se.code, se.hint
	}
	if p, ok := errors.AsType[*client.Problem](err); ok && hint == "" {
		hint = problemHint(p)
	}
	if errors.Is(err, client.ErrUnreachable) && hint == "" {
		hint = "start it with 'patchproof serve', or point to one with --url"
	}
	fmt.Fprintf(stderr, "patchproof: %s\n", clean(oneLine(err.Error())))
	if hint != "" {
		fmt.Fprintf(stderr, "patchproof: hint: %s\n", hint)
	}
	return code
}

// oneLine joins what libraries and errors.Join write on several lines.
func oneLine(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case b.Len() == 0:
		case strings.HasSuffix(b.String(), ":"):
			b.WriteByte(' ')
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func problemHint(p *client.Problem) string {
	switch p.Status {
	case 401:
		return "give a token with --token-file; the first one is in the data directory's file 'token'"
	case 403:
		return "use a token that has the scope; 'patchproof token create' makes one"
	case 404:
		return "list what there is: 'patchproof asset list', 'patchproof finding list'"
	default:
		return ""
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "patchproof",
		Short: "prove that every vulnerability on every host was fixed in time",
		Long: `Patchproof's collector and command line.

  patchproof serve --data DIR      run the collector
  patchproof host list             hosts, and keys that wait for trust
  patchproof summary               the estate on one screen
  patchproof finding list          what is due, most urgent first
  patchproof finding explain ID    why it is due when it is due`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("patchproof {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &statusError{code: exitUsage, err: err, hint: fmt.Sprintf("'%s --help' lists the flags", cmd.CommandPath())}
	})
	root.AddCommand(
		newServeCommand(), newCheckConfigCommand(), newHostCommand(), newKeyCommand(), newFeedCommand(), newFindingCommand(), newAssetCommand(),
		newVulnCommand(), newSummaryCommand(), newQuarantineCommand(), newGapCommand(), newBreachCommand(), newEvidenceCommand(),
		newMatchCommand(), newSLACommand(), newPolicyCommand(), newTokenCommand(), newClassifyCommand(), newCoverageCommand(),
		newApprovalCommand(), newBrokerCommand(),
	)
	root.Args = cobra.ArbitraryArgs // or cobra refuses an unknown command itself, with status 1
	strictArgs(root)
	return root
}

// strictArgs makes wrong arguments exit with status 2, and groups refuse
// unknown verbs instead of printing help with status 0.
func strictArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return &statusError{code: exitUsage, err: wrongArgument(cmd, check, args), hint: "usage: " + cmd.UseLine()}
		}
	}
	if c.HasSubCommands() && c.RunE == nil && c.Run == nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return &statusError{
				code: exitUsage, err: fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()),
				hint: "it knows " + strings.Join(verbs(cmd), ", "),
			}
		}
	}
	for _, sub := range c.Commands() {
		strictArgs(sub)
	}
}

// wrongArgument says which argument is missing or one too many.
func wrongArgument(cmd *cobra.Command, check cobra.PositionalArgs, args []string) error {
	for i, arg := range slices.Backward(args) {
		if check(cmd, args[:i]) == nil {
			return fmt.Errorf("unexpected argument %q", arg)
		}
	}
	return errors.New("an argument is missing")
}

func verbs(c *cobra.Command) []string {
	var out []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			out = append(out, s.Name())
		}
	}
	return out
}
