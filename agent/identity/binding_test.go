package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/schema"
)

// copied is the machine of the tests, started elsewhere from its image.
var copied = schema.Machine{Instance: "ec2/i-0fedcba9876543210", ProductUUID: "ec2a1b2c-0000-0000-0000-000000000002", MachineID: here.MachineID}

// stateDir makes a state directory as a working agent leaves it.
func stateDir(t testing.TB) (string, *identity.Identity) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	id, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"spool/ledger": "the chain", "spool/0000-report.json": "a report", "cache/x": "", "spool.lock": "", "credentials.jwt": "of the first",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, id
}

// archived holds a state directory to what a first start leaves, and an archive
// to what was there before.
func archived(t testing.TB, dir, place string, before *identity.Identity) {
	t.Helper()
	for _, gone := range []string{"spool", "cache", "credentials.jwt"} {
		if _, err := os.Lstat(filepath.Join(dir, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still in use (%v)", gone, err)
		}
	}
	kept, err := identity.Load(place)
	if err != nil {
		t.Fatal(err)
	}
	if !kept.Evidence.Equal(before.Evidence) || kept.TransportKey != before.TransportKey || kept.Binding != before.Binding {
		t.Error("the archive does not hold the identity that was there")
	}
	for name, want := range map[string]string{"spool/ledger": "the chain", "spool/0000-report.json": "a report", "credentials.jwt": "of the first", "why.txt": copied.Instance} {
		got, err := os.ReadFile(filepath.Join(place, name))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("archived %s is %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestAnotherMachineStartsANewIdentity(t *testing.T) {
	dir, first := stateDir(t)
	second, err := identity.Open(dir, copied, now)
	if err != nil {
		t.Fatal(err)
	}
	if second.Evidence.Equal(first.Evidence) || second.TransportKey == first.TransportKey {
		t.Error("the copy uses keys of the machine it was copied from")
	}
	if want := filepath.Join(dir, "archive", "2026-11-22T030405Z-another-machine"); second.Archived != want {
		t.Errorf("archived in %q, want %q", second.Archived, want)
	}
	archived(t, dir, second.Archived, first)
	if second.Binding.Machine != copied {
		t.Errorf("bound to %v, want %v", second.Binding.Machine, copied)
	}
	// The next start is an ordinary one, and another copy is archived beside.
	again, err := identity.Open(dir, copied, now)
	if err != nil || again.Archived != "" || !again.Evidence.Equal(second.Evidence) {
		t.Errorf("next start: archived %q (%v)", again.Archived, err)
	}
	third, err := identity.Open(dir, here, now)
	if err != nil || third.Archived != second.Archived+"-2" {
		t.Fatalf("copied once more: archived %q (%v)", third.Archived, err)
	}
	if places, err := third.Archives(); err != nil || len(places) != 2 {
		t.Errorf("archives %v (%v), want two", places, err)
	}
}

func TestSameMachineKeepsItsKeys(t *testing.T) {
	for name, seen := range map[string]schema.Machine{
		"as_it_was":             here,
		"machine_id_made_anew":  {Instance: here.Instance, ProductUUID: here.ProductUUID, MachineID: strings.Repeat("cd", 16)},
		"other_hardware":        {Instance: here.Instance, ProductUUID: copied.ProductUUID, MachineID: here.MachineID},
		"metadata_service_away": {ProductUUID: here.ProductUUID, MachineID: here.MachineID},
		"cloud_init_only":       {Instance: "cloud-init/x", ProductUUID: here.ProductUUID, MachineID: here.MachineID},
		"nothing_readable":      {},
	} {
		t.Run(name, func(t *testing.T) {
			dir, first := stateDir(t)
			second, err := identity.Open(dir, seen, now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if !second.Evidence.Equal(first.Evidence) || second.Archived != "" {
				t.Errorf("the keys were archived in %q", second.Archived)
			}
			b := second.Binding
			if b.Machine.Instance != here.Instance || !b.BoundAt.Equal(now) {
				t.Errorf("bound to %v since %s: the cloud's instance id must stay", b.Machine, b.BoundAt)
			}
			if seen.MachineID != "" && b.Machine.MachineID != seen.MachineID {
				t.Errorf("bound to machine-id %s, it is %s now", b.Machine.MachineID, seen.MachineID)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	_, id := stateDir(t)
	if gaps, err := id.Check(here); err != nil || len(gaps) != 0 {
		t.Errorf("here: %v, %v", gaps, err)
	}
	if _, err := id.Check(copied); !errors.Is(err, identity.ErrAnotherMachine) || !strings.Contains(err.Error(), copied.Instance) {
		t.Errorf("copied: %v, want ErrAnotherMachine that names the instance", err)
	}
	gaps, err := id.Check(schema.Machine{MachineID: here.MachineID})
	if err != nil || len(gaps) != 1 || gaps[0].Extractor != identity.Extractor || gaps[0].Kind != schema.GapUnreadable {
		t.Errorf("unreadable: %+v, %v; want a gap", gaps, err)
	}
}

// Keys that an older agent made are bound where they are.
func TestKeysWithoutABindingAreBound(t *testing.T) {
	dir, first := stateDir(t)
	if err := os.Remove(filepath.Join(dir, identity.BindingFile)); err != nil {
		t.Fatal(err)
	}
	second, err := identity.Open(dir, copied, now)
	if err != nil || !second.Evidence.Equal(first.Evidence) || second.Binding.Machine != copied {
		t.Errorf("bound to %v (%v)", second.Binding, err)
	}
}

func TestDamagedBindingIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "not_json": "i-1", "unknown_field": `{"machine":{"serial":"1"}}`, "two": "{}{}", "huge": strings.Repeat(" ", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := stateDir(t)
			if err := os.WriteFile(filepath.Join(dir, identity.BindingFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(string) (*identity.Identity, error){open, identity.Load} {
				if _, err := open(dir); err == nil {
					t.Error("taken")
				} else if fault, ok := errors.AsType[*identity.Error](err); !ok || fault.Hint == "" {
					t.Errorf("error %v, want one with a hint", err)
				}
			}
		})
	}
}

// While another process uses the keys they are not taken from it.
func TestArchiveWaitsForNobody(t *testing.T) {
	dir, first := stateDir(t)
	held, err := identity.Hold(dir, identity.Sender)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Open(dir, copied, now); err == nil || !strings.Contains(err.Error(), "another agent already runs `send`") {
		t.Errorf("error %v, want one that names the other agent", err)
	}
	if kept, err := identity.Load(dir); err != nil || !kept.Evidence.Equal(first.Evidence) {
		t.Errorf("the keys were moved (%v)", err)
	}
	_ = held.Close()
	if second, err := identity.Open(dir, copied, now); err != nil || second.Archived == "" {
		t.Errorf("afterwards: %v", err)
	}
}

// crashDir makes the test binary open the state directory there as the copy.
const crashDir = "PATCHPROOF_IDENTITY_CRASH"

func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // strace counts calls by thread
	if _, err := identity.Open(dir, copied, now); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// TestKilledWhileArchiving kills an agent at its first, second, ... rename, and
// starts it again: nothing is lost, and no report is left for the new keys.
func TestKilledWhileArchiving(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install the distribution's package `strace`")
	}
	killed := 0
	for n := 1; ; n++ {
		dir, first := stateDir(t)
		run := func(wrapper ...string) error {
			cmd := exec.Command(os.Args[0])
			if len(wrapper) > 0 {
				cmd = exec.Command(wrapper[0], append(wrapper[1:], os.Args[0])...)
			}
			cmd.Env = append(os.Environ(), crashDir+"="+dir, "GORACE=atexit_sleep_ms=0")
			return cmd.Run()
		}
		calls := "inject=renameat,renameat2,rename:signal=SIGKILL:when=" + strconv.Itoa(n)
		if err := run(strace, "-f", "-qqq", "-o", os.DevNull, "-e", "trace=renameat,renameat2,rename", "-e", calls); err == nil {
			break
		}
		killed++
		if err := run(); err != nil {
			t.Fatalf("after a kill at rename %d: %v", n, err)
		}
		id, err := identity.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		places, err := id.Archives()
		if err != nil || len(places) != 1 {
			t.Fatalf("killed at rename %d: archives %v (%v), want one", n, places, err)
		}
		archived(t, dir, places[0], first)
		if id.Evidence.Equal(first.Evidence) {
			t.Errorf("killed at rename %d: the keys are those of the other machine", n)
		}
	}
	if killed < 8 {
		t.Errorf("killed at %d renames, expected at least 8: the trace misses them", killed)
	}
}
