//go:build linux

package process_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/process"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

const containerID = "3f4b8e1c5d6a79b00e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f"

// proc is a process as proc shows it.
func proc(m fstest.MapFS, pid, command, cgroup string, maps ...string) {
	stat := pid + " (" + command + ") S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250000 1 1 18446744073709551615 1 1 0\n"
	m["proc/"+pid+"/stat"] = &fstest.MapFile{Data: []byte(stat)}
	m["proc/"+pid+"/cgroup"] = &fstest.MapFile{Data: []byte(cgroup)}
	m["proc/"+pid+"/maps"] = &fstest.MapFile{Data: []byte(strings.Join(append(maps, ""), "\n"))}
}

// below is the proc of a root, which stays in charge of what may be opened.
type below struct{ root fs.FS }

func (b below) Open(name string) (fs.File, error) { return b.root.Open(path.Join("proc", name)) }

func host(root fs.FS, boot int64) process.Host {
	return process.Host{Proc: below{root}, Root: root, Boot: boot}
}

const (
	libssl   = "7f2c4a026000-7f2c4a04e000 r-xp 00026000 fe:01 131205                     /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)"
	libsslRO = "7f2c4a000000-7f2c4a026000 r--p 00000000 fe:01 131205                     /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)"
	libc     = "7f2c49e00000-7f2c49e26000 r-xp 00026000 fe:01 131299                     /usr/lib/x86_64-linux-gnu/libc.so.6"
	app      = "55d0c0e00000-55d0c0e26000 r-xp 00000000 fe:01 99                         /opt/my app/bin/app (deleted)"
)

func TestReadNamesWhatIsStale(t *testing.T) {
	root := fstest.MapFS{"usr/lib/x86_64-linux-gnu/libssl.so.3": {Data: []byte("new")}}
	proc(root, "812", "nginx: (w) x", "0::/system.slice/nginx.service\n", libsslRO, libssl, libc, libssl)
	proc(root, "900", "app", "0::/user.slice/user-0.slice/session-3.scope\n", app)
	proc(root, "901", "sshd", "0::/system.slice/ssh.service\n", libc)
	proc(root, "2", "kthreadd", "0::/\n")
	proc(root, "950", "java", "12:pids:/kubepods/burstable/pod1/"+containerID+"\n1:name=systemd:/kubepods/burstable/pod1/"+containerID+"\n", libssl)
	root["proc/meminfo"] = &fstest.MapFile{}

	stale, gaps, ok := process.Read(t.Context(), host(root, 1767225600))
	slices.SortFunc(stale, func(a, b schema.Stale) int { return a.PID - b.PID })
	want := []schema.Stale{
		{
			Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Kind: schema.StaleReplaced, PID: 812, Started: 1767228100,
			Command: "nginx: (w) x", Unit: "nginx.service",
		},
		{Path: "/opt/my app/bin/app", Kind: schema.StaleDeleted, PID: 900, Started: 1767228100, Command: "app", Unit: "session-3.scope"},
		{
			Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Kind: schema.StaleReplaced, PID: 950, Started: 1767228100,
			Command: "java", Container: containerID,
		},
	}
	if diff := cmp.Diff(want, stale); diff != "" || !ok || len(gaps) > 0 {
		t.Errorf("stale (-want +got):\n%s\nok %v, gaps %v", diff, ok, gaps)
	}
}

func TestReadLeavesOutWhatNoPackageBrought(t *testing.T) {
	root := fstest.MapFS{}
	const at = "7f2c4a026000-7f2c4a04e000 r-xp 00000000 00:01 7 "
	proc(root, "7", "jit", "0::/\n",
		at+"/memfd:jit-cache (deleted)", at+"/dev/zero (deleted)", at+"/dev/shm/x (deleted)", at+"/SYSV00000000 (deleted)",
		at+"/[aio] (deleted)", at+"/tmp/ffiXyz (deleted)", at+"/run/user/0/orc (deleted)", at+"[heap]", at+"[vdso]", at,
		libsslRO, // data of a library alone is not code that runs
	)
	if stale, gaps, ok := process.Read(t.Context(), host(root, 0)); len(stale)+len(gaps) > 0 || !ok {
		t.Errorf("stale %v, gaps %v, ok %v", stale, gaps, ok)
	}
}

// forbidding is a root where the maps of some processes may not be read.
type forbidding struct {
	fstest.MapFS
	denied []string
}

func (f forbidding) Open(name string) (fs.File, error) {
	if slices.Contains(f.denied, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.MapFS.Open(name)
}

func TestReadSaysWhatItMayNotLookAt(t *testing.T) {
	root := forbidding{MapFS: fstest.MapFS{}, denied: []string{"proc/8/maps", "proc/9/maps"}}
	for _, pid := range []string{"7", "8", "9"} {
		proc(root.MapFS, pid, "x", "0::/\n", libssl)
	}
	stale, gaps, ok := process.Read(t.Context(), host(root, 0))
	if len(stale) != 1 || !ok || len(gaps) != 1 || !strings.HasPrefix(gaps[0].Detail, "2 of 3 processes may not be looked at") {
		t.Errorf("stale %v, gaps %v, ok %v", stale, gaps, ok)
	}
	root.denied = append(root.denied, "proc/7/maps")
	if _, gaps, ok := process.Read(t.Context(), host(root, 0)); ok || len(gaps) != 1 {
		t.Errorf("nothing was looked at: ok %v, gaps %v", ok, gaps)
	}
	if _, gaps, ok := process.Read(t.Context(), host(fstest.MapFS{}, 0)); ok || len(gaps) != 1 {
		t.Errorf("no proc: ok %v, gaps %v", ok, gaps)
	}
}

func TestReadHoldsItsLimits(t *testing.T) {
	root := fstest.MapFS{}
	for i := range 40 {
		proc(root, strconv.Itoa(i+1), "x", "0::/\n", libssl, app)
	}
	host := host(root, 0)
	l := process.DefaultLimits
	l.Processes, l.Stale = 30, 50
	stale, gaps, _ := l.Read(t.Context(), host)
	if len(stale) != 50 || len(gaps) != 2 || gaps[0].Kind != schema.GapTruncated || gaps[1].Kind != schema.GapTruncated {
		t.Errorf("%d stale, gaps %v", len(stale), gaps)
	}
	l = process.DefaultLimits
	l.Maps = 100
	if stale, gaps, ok := l.Read(t.Context(), host); len(stale) > 0 || ok || len(gaps) != 40 {
		t.Errorf("maps over the limit: %d stale, %d gaps, ok %v", len(stale), len(gaps), ok)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, gaps, ok := process.Read(over, host); ok || len(gaps) != 1 || gaps[0].Kind != schema.GapTimeout {
		t.Errorf("no time: gaps %v, ok %v", gaps, ok)
	}
}

// Real processes: one whose program was replaced under it, one whose was deleted.
func TestReadRealProcesses(t *testing.T) {
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		t.Skip("no proc here")
	}
	dir := ordinary(t)
	replaced, deleted := filepath.Join(dir, "replaced"), filepath.Join(dir, "deleted")
	pids := map[string]int{}
	for _, name := range []string{replaced, deleted} {
		program(t, name)
		c := exec.Command(name, "60")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		pids[name] = c.Process.Pid
	}
	program(t, replaced+".new")
	if err := os.Rename(replaced+".new", replaced); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(deleted); err != nil {
		t.Fatal(err)
	}
	root, err := rootfs.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	stale, _, ok := process.Read(t.Context(), process.Host{Proc: process.Live(), Root: root, Boot: 1})
	if !ok {
		t.Fatal("nothing was looked at")
	}
	kinds := map[string]string{}
	for _, s := range stale {
		if pid, ours := pids[s.Path]; ours && pid == s.PID {
			kinds[s.Path] = s.Kind + " " + s.Command
		}
	}
	want := map[string]string{replaced: "replaced replaced", deleted: "deleted deleted"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// ordinary makes a directory where programs are not taken for made at run time,
// as they are below /tmp.
func ordinary(t *testing.T) string {
	t.Helper()
	home, _ := os.UserHomeDir()
	for _, parent := range []string{".", "/var/lib", home} {
		parent, err := filepath.Abs(parent)
		if err != nil || strings.HasPrefix(parent, "/tmp/") || strings.HasPrefix(parent, "/var/tmp/") || strings.HasPrefix(parent, "/run/") {
			continue
		}
		dir, err := os.MkdirTemp(parent, "stale-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	t.Fatal("no directory to put a program in outside of /tmp")
	return ""
}

// program puts a program that sleeps at a path, and waits until the file can be run.
func program(t *testing.T, name string) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
}

func BenchmarkReadHere(b *testing.B) {
	root, err := rootfs.Open("/")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		process.Read(b.Context(), process.Host{Proc: process.Live(), Root: root})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(libssl, "1 (a) S 1", "0::/a.service")
	f.Add(app+"\n"+libssl, "1 (a) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250000 1", "1:name=systemd:/x")
	f.Fuzz(func(t *testing.T, maps, stat, cgroup string) {
		root := fstest.MapFS{
			"proc/1/maps":   {Data: []byte(maps)},
			"proc/1/stat":   {Data: []byte(stat)},
			"proc/1/cgroup": {Data: []byte(cgroup)},
		}
		stale, gaps, _ := process.Read(t.Context(), host(root, 1))
		if _, err := schema.EncodeStale(stale); err != nil && len(gaps) == 0 {
			t.Error(fmt.Errorf("cannot be stated: %w", err))
		}
	})
}
