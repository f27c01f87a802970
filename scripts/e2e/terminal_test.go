package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// terminals looks at every table on a terminal of 80 and of 120 columns: no line
// is wider, and nothing that is typed or compared elsewhere is cut.
func terminals(t *testing.T, j *job) {
	whole := map[string]string{"host list": j.asset.Fingerprint, "asset show": j.asset.Fingerprint}
	commands := [][]string{
		{"summary"},
		{"feed", "status"},
		{"asset", "list"},
		{"asset", "show", assetName},
		{"host", "list"},
		{"quarantine", "list"},
		{"finding", "list"},
		{"finding", "list", "--limit", "20", "--why"},
		{"evidence", "verify"},
		{"sla", "explain", "--class", "compute", "--severity", "high", "--available", "2026-03-01", "--detected", "2026-03-10"},
	}
	if j.finding.ID != "" {
		whole["finding list"] = j.finding.ID
		commands = append(commands, []string{"finding", "explain", j.finding.ID}, []string{"vuln", "show", publishedCVE})
	}
	for _, columns := range []int{80, 120} {
		for _, args := range commands {
			t.Run(fmt.Sprintf("%d/%s", columns, strings.Join(args[:min(2, len(args))], "-")), func(t *testing.T) {
				out := onTerminal(t, j.collector.env(), columns, "patchproof", args...)
				for line := range strings.SplitSeq(out, "\n") {
					if n := utf8.RuneCountInString(line); n > columns && !unbroken(line) {
						t.Errorf("a line of %d columns: %s", n, line)
					}
				}
				if want := whole[strings.Join(args[:min(2, len(args))], " ")]; !strings.Contains(out, want) && len(args) <= 3 {
					t.Errorf("no %s in\n%s", want, out)
				}
			})
		}
	}
}

// unbroken: a line with a digest or a gap's detail on it may run over, it is not
// part of a table.
func unbroken(line string) bool {
	for _, label := range []string{"policy ", "gap ", "open ", "root ", "note "} {
		if strings.HasPrefix(line, label) {
			return true
		}
	}
	return false
}

// onTerminal runs a command with a terminal as its standard output and returns
// what it wrote there.
func onTerminal(t *testing.T, env []string, columns int, name string, args ...string) string {
	t.Helper()
	main, terminal := openTerminal(t, columns)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
	var stderr strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = env, terminal, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	out, err := io.ReadAll(main)
	if err != nil && !errors.Is(err, syscall.EIO) { // EIO: the last one has hung up
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

// openTerminal makes a pseudoterminal of a width.
func openTerminal(t *testing.T, columns int) (main, terminal *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = main.Close() })
	number, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(main.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: uint16(columns)})
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return main, terminal
}
