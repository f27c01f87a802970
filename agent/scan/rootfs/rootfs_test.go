//go:build unix

package rootfs_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
)

// newRoot makes a root beside a secret that no name may lead to.
func newRoot(t *testing.T) (dir string, root *rootfs.FS) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	write(t, filepath.Join(top, "secret"), "outside")
	write(t, filepath.Join(dir, "usr/lib/os-release"), "inside")
	write(t, filepath.Join(dir, "usr/lib/sysimage/rpm/db"), "db")
	root, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return dir, root
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func read(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestLinksResolveInsideTheRoot(t *testing.T) {
	for _, tc := range []struct{ name, link, target, open, want string }{
		{"relative", "etc/os-release", "../usr/lib/os-release", "etc/os-release", "inside"},
		{"absolute", "etc/os-release", "/usr/lib/os-release", "etc/os-release", "inside"},
		{"more dots than directories", "etc/os-release", "../../../../../usr/lib/os-release", "etc/os-release", "inside"},
		{"absolute directory", "var/lib/rpm", "/usr/lib/sysimage/rpm", "var/lib/rpm/db", "db"},
		{"relative directory", "var/lib/rpm", "../../usr/lib/sysimage/rpm", "var/lib/rpm/db", "db"},
		{"dots and slashes", "a", "/.//usr/./lib/../lib/os-release", "a", "inside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, root := newRoot(t)
			link(t, tc.target, filepath.Join(dir, tc.link))
			got, err := read(root, tc.open)
			if err != nil || got != tc.want {
				t.Errorf("read %s: %q, %v, want %q", tc.open, got, err, tc.want)
			}
			if _, err := root.Stat(tc.open); err != nil {
				t.Errorf("stat %s: %v", tc.open, err)
			}
			if _, err := root.Lstat(tc.open); err != nil {
				t.Errorf("lstat %s: %v", tc.open, err)
			}
		})
	}
}

func TestLinksNeverLeaveTheRoot(t *testing.T) {
	for _, target := range []string{"../secret", "../../secret", "/secret", "/../secret", "x/../../secret"} {
		t.Run(target, func(t *testing.T) {
			dir, root := newRoot(t)
			link(t, "/", filepath.Join(dir, "x"))
			link(t, target, filepath.Join(dir, "a"))
			if got, err := read(root, "a"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read through %q: %q, %v, want %v", target, got, err, fs.ErrNotExist)
			}
		})
	}
}

func TestLinksInACircle(t *testing.T) {
	dir, root := newRoot(t)
	link(t, "/b", filepath.Join(dir, "a"))
	link(t, "/a", filepath.Join(dir, "b"))
	if _, err := read(root, "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want too many links", err)
	}
}

// A FIFO nobody writes to would hold a plain open for ever.
func TestOnlyRegularFiles(t *testing.T) {
	dir, root := newRoot(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	link(t, "/fifo", filepath.Join(dir, "tofifo"))
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"fifo", "tofifo", "s"} {
			if _, err := read(root, name); !errors.Is(err, rootfs.ErrNotRegular) {
				t.Errorf("%s: %v, want %v", name, err, rootfs.ErrNotRegular)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("an open hangs")
	}
}

func TestNamesAreChecked(t *testing.T) {
	_, root := newRoot(t)
	for _, name := range []string{"/etc", "../secret", "a/../b", "", "a//b"} {
		if _, err := root.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("open %q: %v, want %v", name, err, fs.ErrInvalid)
		}
		if _, err := root.Lstat(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("lstat %q: %v, want %v", name, err, fs.ErrInvalid)
		}
		if _, err := root.ReadLink(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("readlink %q: %v, want %v", name, err, fs.ErrInvalid)
		}
	}
}

func TestErrorsNameTheFileOnce(t *testing.T) {
	_, root := newRoot(t)
	_, err := root.Open("etc/none")
	if want := "open etc/none: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSub(t *testing.T) {
	dir, root := newRoot(t)
	link(t, "/usr/lib/sysimage/rpm", filepath.Join(dir, "var/lib/rpm"))
	sub, err := root.Sub("var/lib/rpm")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(sub, "db"); err != nil || got != "db" {
		t.Errorf("got %q, %v, want db", got, err)
	}
	if _, err := root.Sub("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestIsAnFS(t *testing.T) {
	_, root := newRoot(t)
	if err := fstest.TestFS(root, "usr/lib/os-release", "usr/lib/sysimage/rpm/db"); err != nil {
		t.Error(err)
	}
}

func TestOpenNoDirectory(t *testing.T) {
	if _, err := rootfs.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}
