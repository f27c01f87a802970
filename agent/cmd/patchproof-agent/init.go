package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/schema"
)

// initDocument is what `init -o json` prints.
type initDocument struct {
	Fingerprint  string         `json:"fingerprint"`
	KeyID        string         `json:"key_id"`
	TransportKey string         `json:"transport_key"`
	StateDir     string         `json:"state_dir"`
	Machine      schema.Machine `json:"machine"`
	// Archived is where the keys of another machine went, from which this one was made.
	Archived string   `json:"archived,omitempty"`
	Next     []string `json:"next"`
}

func (c *command) initialize() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make this host's keys now, and print the fingerprint that people type in",
		Long: `Make this host's keys now, and print the fingerprint that people type in.

With --offline nothing is sent or asked over any network, not even the metadata
service: this is how a host begins that never touches one. Run again, it prints
the same keys.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runInit(cmd, offline) },
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "use no network at all")
	output(cmd)
	return setting(cmd, "state-dir")
}

func (c *command) runInit(cmd *cobra.Command, offline bool) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	if !offline {
		return &usageError{errors.New("say --offline"), "a host with a network needs no init: its keys are made when the agent first starts"}
	}
	settings, err := c.settings(cmd)
	if err != nil {
		return err
	}
	settings.IMDS.Disabled = true
	id, err := openIdentity(cmd.Context(), settings, c.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	doc := initDocument{
		Fingerprint: id.Fingerprint(), KeyID: id.KeyID(), TransportKey: id.TransportKey, StateDir: settings.StateDir,
		Machine: id.Binding.Machine, Archived: id.Archived, Next: nextSteps(id),
	}
	if format == formatJSON {
		return printJSON(c.stdout, doc)
	}
	_, err = io.WriteString(c.stdout, initText(doc))
	return err
}

// nextSteps tell two people what to do with the fingerprint.
func nextSteps(id *identity.Identity) []string {
	return []string{
		"write the 13 groups down, or photograph them; they are no secret, but they must arrive unchanged",
		"two different people type them in at the collector, each under their own name: patchproof host trust " + id.Fingerprint(),
		"then carry reports on a medium: patchproof-agent export --out DIR",
	}
}

func initText(d initDocument) string {
	var b strings.Builder
	b.WriteString("fingerprint of this host's evidence key:\n\n")
	groups := strings.Split(d.Fingerprint, "-")
	for len(groups) > 0 { // five groups a line are read aloud without losing the place
		n := min(5, len(groups))
		fmt.Fprintf(&b, "    %s\n", strings.Join(groups[:n], " "))
		groups = groups[n:]
	}
	fmt.Fprintf(&b, "\n%-15s %s\n%-15s %s\n%-15s %s\n", "transport key", d.TransportKey, "machine", printable(d.Machine.String()), "state dir", printable(d.StateDir))
	if d.Archived != "" {
		fmt.Fprintf(&b, "%-15s %s\n", "archived", printable(d.Archived))
	}
	b.WriteString("\nnext:\n")
	for i, step := range d.Next {
		fmt.Fprintf(&b, "%d. %s\n", i+1, step)
	}
	return b.String()
}
