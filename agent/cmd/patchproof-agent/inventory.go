package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent/scan"
	"github.com/patchproof/patchproof/schema"
)

// inventoryDocument is what `inventory -o json` prints. The report's bodies are
// left out: packages and stale are the same in full. Stale is there when the
// host's processes were looked at.
type inventoryDocument struct {
	Report   *schema.Report   `json:"report"`
	Packages []schema.Package `json:"packages"`
	Stale    *[]schema.Stale  `json:"stale,omitempty"`
}

func (c *command) inventory() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "Print what is on this host or in a root file system; store and send nothing",
		Long: `Print what is on this host, or below the directory given with --root.

What could not be read is listed as a gap, on standard error and at the end of
the table or in "gaps" of the JSON. The exit code is 0 even then: the inventory
says itself that it is not complete.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.printInventory(cmd, root) },
	}
	cmd.Flags().StringVar(&root, "root", "/", "root file system to read")
	output(cmd)
	return setting(cmd, "labels")
}

func (c *command) printInventory(cmd *cobra.Command, root string) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	settings, err := c.settings(cmd)
	if err != nil {
		return err
	}
	report, packages, err := scan.Run(cmd.Context(), scanOptions(settings, root, ""))
	if err != nil {
		return err
	}
	report = schema.Fit(report)
	stale, err := staleIn(report)
	if err != nil {
		return fmt.Errorf("print inventory: %w", err)
	}
	if format == formatJSON {
		report.Bodies = nil
		if packages == nil {
			packages = []schema.Package{}
		}
		err = printJSON(c.stdout, inventoryDocument{report, packages, stale})
	} else {
		err = c.printTable(report, packages, stale)
	}
	if err != nil {
		return fmt.Errorf("print inventory: %w", err)
	}
	if n := len(report.Gaps); n > 0 {
		c.say("warning: this inventory is not complete, %s:", plural(n, "gap"))
		for _, g := range report.Gaps {
			c.say("  %s", gapLine(g))
		}
	}
	return nil
}

// staleIn returns the stale code a report lists, nil when nothing was looked at.
func staleIn(r *schema.Report) (*[]schema.Stale, error) {
	text, ok := r.Bodies[schema.PartStale]
	if !ok {
		return nil, nil
	}
	stale, err := schema.DecodeStale(text)
	return &stale, err
}

// livePatchLine says how a live patch is, in words.
func livePatchLine(p schema.LivePatch) string {
	state := "on disk, not loaded"
	switch {
	case p.Transition:
		state = fmt.Sprintf("in transition, %s left", plural(p.Stuck, "task"))
	case p.Enabled:
		state = "enabled"
	case p.Loaded:
		state = "loaded, disabled"
	}
	return strings.TrimSpace(p.Name+" "+p.Version) + ", " + state
}

// staleLine counts what processes still run.
func staleLine(stale []schema.Stale) string {
	if len(stale) == 0 {
		return "no process runs code that is no longer on disk"
	}
	pids := map[int]bool{}
	for _, s := range stale {
		pids[s.PID] = true
	}
	return fmt.Sprintf("%d processes run code that is no longer on disk: restart them", len(pids))
}

func (c *command) printTable(r *schema.Report, packages []schema.Package, stale *[]schema.Stale) error {
	var b strings.Builder
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, printable(value))
		}
	}
	fact("host", r.Host.Hostname)
	fact("system", firstOf(r.OS.PrettyName, strings.TrimSpace(r.OS.ID+" "+r.OS.VersionID)))
	fact("kernel", strings.TrimSpace(r.Kernel.Release+" "+r.Kernel.Machine))
	for _, p := range r.Kernel.LivePatches {
		fact("livepatch", livePatchLine(p))
	}
	if stale != nil {
		fact("stale", staleLine(*stale))
	}
	if r.Cloud != nil {
		fact("cloud", strings.Join([]string{r.Cloud.Provider, r.Cloud.Region, r.Cloud.InstanceID}, " "))
	}
	fact("packages", fmt.Sprint(len(packages)))
	b.WriteByte('\n')
	rows := make([][]string, 0, len(packages)+1)
	rows = append(rows, []string{"NAME", "VERSION", "ARCH", "SOURCE", "STATUS"})
	for _, p := range packages {
		source := p.Source
		if p.SourceVersion != p.EVR() {
			source += " " + p.SourceVersion
		}
		rows = append(rows, []string{p.Name, p.EVR(), p.Arch, source, p.Status})
	}
	writeTable(&b, rows, terminalWidth(c.stdout))
	if len(r.Gaps) > 0 {
		fmt.Fprintf(&b, "\nNOT COMPLETE: %s\n", plural(len(r.Gaps), "gap"))
		for _, g := range r.Gaps {
			fmt.Fprintf(&b, "  %s\n", printable(gapLine(g)))
		}
	}
	_, err := io.WriteString(c.stdout, b.String())
	return err
}

func gapLine(g schema.Gap) string {
	s := g.Extractor + ": " + g.Kind
	if g.Path != "" {
		s += " " + g.Path
	}
	if g.Detail != "" {
		s += ": " + g.Detail
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// Output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
)

func output(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", formatTable, "`format`: table or json")
}

func outputOf(cmd *cobra.Command) (string, error) {
	format, err := cmd.Flags().GetString("output")
	if err == nil && format != formatTable && format != formatJSON {
		err = &usageError{fmt.Errorf("--output %q: want table or json", format), ""}
	}
	return format, err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
