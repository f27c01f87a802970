// Package e2e runs the two programs as people and supervisors do: real
// processes on loopback, real files, SIGKILL.
//
// Invariants:
//   - It knows the programs by their command line, their files and their JSON
//     alone; no package of the product is linked here.
//   - Every process it starts ends with the test that started it, and at the end
//     none of our programs is left running.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// bin is the directory of the programs under test.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "patchproof-e2e-")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if bin, err = filepath.EvalSymlinks(dir); err != nil {
		return complain(err)
	}
	if err := build(bin); err != nil {
		return complain(err)
	}
	code := m.Run()
	for _, p := range running(bin) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		code = complain(fmt.Errorf("left running: process %d, %s", p.pid, p.exe))
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "./agent/cmd/patchproof-agent", "./collector/cmd/patchproof")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// found is a process whose program lies in the directory that was searched for.
type found struct {
	pid int
	exe string
}

// running lists the processes whose program lies below dir. A process that is
// gone, or that is not ours to look at, cannot be one that a test has left.
func running(dir string) []found {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var out []found
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(exe, dir+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			out = append(out, found{pid, exe})
		}
	}
	return out
}
