package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestVoice holds what the programs say to wrong input, by scripts. A collector
// runs beside them on $COLLECTOR; PATCHPROOF_DATA names no collector at first.
//
// The scripts' own command is
//
//	fails STATUS PROGRAM ARGUMENTS...
//
// It holds the exit status, and the voice: nothing on standard output, every
// line on standard error starts with the program's name, the message with a
// small letter, and it ends without a full stop.
func TestVoice(t *testing.T) {
	c := newCollector(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/voice", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("COLLECTOR", c.data)
			env.Setenv("HTTP", c.http)
			env.Setenv("NATS", c.nats)
			env.Setenv("FEEDS", filepath.Dir(demoFeeds(t)))
			env.Setenv("PATCHPROOF_DATA", filepath.Join(env.WorkDir, "none"))
			env.Setenv("PATCHPROOF_AGENT_CONFIG", filepath.Join(env.WorkDir, "agent.yaml"))
			text := fmt.Sprintf("state_dir: %s\nimds: {disabled: true}\n", filepath.Join(env.WorkDir, "state"))
			return os.WriteFile(filepath.Join(env.WorkDir, "agent.yaml"), []byte(text), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails},
	})
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails STATUS PROGRAM ARGUMENTS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output holds %q, want nothing", out)
	}
	if fault := voice(args[1], ts.ReadFile("stderr")); fault != "" {
		ts.Fatalf("%s", fault)
	}
}

// logLine is what a program logs as it runs, which is no talk.
var logLine = regexp.MustCompile(`^time=\S+ level=\S+ msg=`)

// voice returns what is wrong with how a program speaks.
func voice(program, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	said := 0
	for _, line := range lines {
		if logLine.MatchString(line) {
			continue
		}
		said++
		message, ok := strings.CutPrefix(line, program+": ")
		if !ok {
			return fmt.Sprintf("a line does not start with %q: %s", program+": ", line)
		}
		message = strings.TrimPrefix(strings.TrimPrefix(message, "hint: "), "error: ")
		if capital(message) || strings.HasSuffix(message, ".") && !strings.HasSuffix(message, "...") {
			return "a capital at the start or a full stop at the end: " + line
		}
	}
	if said == 0 {
		return "nothing on standard error says why"
	}
	return ""
}

// capital reports whether a message starts with a capital that is not a name's
// or an abbreviation's.
func capital(s string) bool {
	word, _, _ := strings.Cut(s, " ")
	letters := []rune(word)
	return len(letters) > 1 && unicode.IsUpper(letters[0]) && unicode.IsLower(letters[1])
}

func TestVoiceHearsFaults(t *testing.T) {
	for _, c := range []struct {
		text string
		fine bool
	}{
		{"patchproof: no collector runs here\n", true},
		{"patchproof: API: no token\npatchproof: hint: give one with --token-file\n", true},
		{"patchproof: hint: usage: patchproof feed import PATH...\n", true},
		{"patchproof: No collector runs here\n", false},
		{"patchproof: no collector runs here.\n", false},
		{"no collector runs here\n", false},
		{"patchproof: panic\ngoroutine 1 [running]:\n", false},
		{"", false},
	} {
		if got := voice("patchproof", c.text); (got == "") != c.fine {
			t.Errorf("voice(%q): %q, want fine %v", c.text, got, c.fine)
		}
	}
}
