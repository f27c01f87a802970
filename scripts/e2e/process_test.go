package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs until it is told to end.
type process struct {
	t    *testing.T
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the end; read after done
}

// start starts a program in a process group of its own. What it says is added
// to the file log. It ends with the test home at the latest.
func start(t, home *testing.T, log string, env []string, name string, args ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{t: t, name: name, log: log, cmd: exec.Command(filepath.Join(bin, name), args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env, p.cmd.Dir = out, out, env, filepath.Dir(log)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	home.Cleanup(p.kill)
	return p
}

// kill ends the process and everything of its group at once.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// alive fails the test when the process has ended by itself.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.done:
		p.t.Fatalf("%s ended by itself: %v\n%s", p.name, p.err, p.tail())
	default:
	}
}

// stop asks the process to end, as a supervisor does, and holds it to status 0.
func (p *process) stop() {
	p.t.Helper()
	p.alive()
	_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s did not end within 20 seconds of SIGTERM\n%s", p.name, p.tail())
	}
	if p.err != nil {
		p.t.Fatalf("%s after SIGTERM: %v\n%s", p.name, p.err, p.tail())
	}
}

// tail is the end of what the process said.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// answer is what a command that ended has said.
type answer struct {
	args           []string
	code           int
	stdout, stderr string
}

// ask runs a command to its end.
func ask(t *testing.T, env []string, name string, args ...string) answer {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return answer{append([]string{name}, args...), cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// exits holds the answer to an exit status.
func (a answer) exits(t *testing.T, want int) answer {
	t.Helper()
	if a.code != want {
		t.Fatalf("%s: exit status %d, want %d\nstdout: %.2000s\nstderr: %s", strings.Join(a.args, " "), a.code, want, a.stdout, a.stderr)
	}
	return a
}

// says holds the answer, data and talk, to texts it must contain.
func (a answer) says(t *testing.T, want ...string) answer {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(a.stdout+a.stderr, w) {
			t.Errorf("%s: no %q in\nstdout: %.2000s\nstderr: %s", strings.Join(a.args, " "), w, a.stdout, a.stderr)
		}
	}
	return a
}

// eventually waits until ok says so.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
