package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent/config"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/agent/seal"
)

// sealDocument is what `seal-image -o json` prints.
type sealDocument struct {
	Root     string   `json:"root"`
	StateDir string   `json:"state_dir"`
	Checked  []string `json:"checked"`
	// Removed is what was removed, Left what belongs to one host and is there.
	Removed  []seal.Found `json:"removed"`
	Left     []seal.Found `json:"left"`
	Warnings []string     `json:"warnings"`
}

// leftError is the answer that an image is not fit to be copied.
type leftError struct{ n int }

func (e *leftError) Error() string {
	return plural(e.n, "file") + " of one host in this root: every copy of it would start as that host"
}

func (c *command) sealImage() *cobra.Command {
	var root string
	var check bool
	cmd := &cobra.Command{
		Use:   "seal-image",
		Short: "Remove keys, reports and credentials, so that this machine or a root can become an image",
		Long: `Remove keys, reports and credentials, so that this machine, or the root file
system given with --root, can become an image. The configuration stays. Stop the
service before, and make the image before it starts again:

  patchproof-agent service stop && patchproof-agent seal-image

With --check nothing is removed. The exit code is 3 when something of one host is
there, in either case.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runSeal(cmd, root, check) },
	}
	cmd.Flags().StringVar(&root, "root", "/", "root file system to prepare, such as a mounted image")
	cmd.Flags().BoolVar(&check, "check", false, "remove nothing, only tell what is there")
	output(cmd)
	return setting(cmd, "state-dir")
}

func (c *command) runSeal(cmd *cobra.Command, dir string, check bool) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	if c.configPath == "" && dir != "/" {
		c.configPath = configIn(dir)
	}
	settings, err := c.settings(cmd)
	if err != nil {
		return err
	}
	root, err := rootfs.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	where := places(settings)
	doc := sealDocument{
		Root: dir, StateDir: settings.StateDir, Checked: append(slices.Clone(where.State), where.Config...),
		Removed: []seal.Found{}, Left: []seal.Found{}, Warnings: shared(root),
	}
	if !check {
		removed, err := seal.Seal(root, where)
		doc.Removed = append(doc.Removed, removed...)
		if err != nil {
			return sealFault(err, removed)
		}
	}
	left, err := seal.Check(root, where)
	if err != nil {
		return fmt.Errorf("check image: %w", err)
	}
	doc.Left = append(doc.Left, left...)
	return c.printSeal(doc, format)
}

// places are the state directory in use, the default one, and where the
// configuration lies.
func places(settings config.Config) seal.Places {
	state := []string{settings.StateDir, config.DefaultStateDir}
	return seal.Places{State: slices.Compact(state), Config: []string{filepath.Dir(config.DefaultPath)}}
}

// configIn returns the configuration inside a root, empty when it has none.
func configIn(dir string) string {
	path := filepath.Join(dir, config.DefaultPath)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

func sealFault(err error, removed []seal.Found) error {
	hint := ""
	switch {
	case errors.Is(err, seal.ErrInUse):
		hint = "stop it first: patchproof-agent service stop"
	case errors.Is(err, seal.ErrNotOurs):
		hint = "check state_dir; a directory that no agent used is left alone"
	case errors.Is(err, fs.ErrPermission):
		hint = "run this as root"
	}
	if len(removed) > 0 {
		err = fmt.Errorf("%w; %s may be gone already, run it again", err, plural(len(removed), "file"))
	}
	return &hinted{fmt.Errorf("seal image: %w", err), hint}
}

// shared tells what of the operating system would be the same on every copy.
func shared(root fs.FS) []string {
	warnings := []string{}
	if id, err := readLine(root, "etc/machine-id"); err == nil && id != "" && id != "uninitialized" {
		warnings = append(warnings, "/etc/machine-id is set: every copy has the same; empty the file, the next boot fills it")
	}
	return warnings
}

func readLine(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	return strings.TrimSpace(string(b)), err
}

func (c *command) printSeal(doc sealDocument, format string) error {
	if format == formatJSON {
		if err := printJSON(c.stdout, doc); err != nil {
			return err
		}
	} else if _, err := io.WriteString(c.stdout, sealText(doc, terminalWidth(c.stdout))); err != nil {
		return err
	}
	for _, w := range doc.Warnings {
		c.say("warning: %s", w)
	}
	if n := len(doc.Left); n > 0 {
		return &hinted{&leftError{n}, "stop the agent and run `patchproof-agent seal-image`, with --root for an image"}
	}
	if len(doc.Removed) == 0 {
		c.say("nothing of one host is there; looked in %s", strings.Join(doc.Checked, ", "))
	} else {
		c.say("sealed: %s removed, nothing is left", plural(len(doc.Removed), "file"))
	}
	return nil
}

func sealText(doc sealDocument, width int) string {
	if len(doc.Removed)+len(doc.Left) == 0 {
		return ""
	}
	rows := [][]string{{"", "KIND", "BYTES", "PATH"}}
	for _, part := range []struct {
		word string
		list []seal.Found
	}{{"removed", doc.Removed}, {"left", doc.Left}} {
		for _, f := range part.list {
			rows = append(rows, []string{part.word, string(f.Kind), fmt.Sprint(f.Bytes), f.Path})
		}
	}
	var b strings.Builder
	writeTable(&b, rows, width)
	return b.String()
}
