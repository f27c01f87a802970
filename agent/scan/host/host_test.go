package host_test

import (
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/host"
	"github.com/patchproof/patchproof/schema"
)

func file(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }

const id = "3d1219c7c4c5404aaa1f6d2a48adfda4"

func TestNamed(t *testing.T) {
	for _, tc := range []struct {
		name string
		root fstest.MapFS
		want schema.Host
		gaps []string
	}{
		{"both", fstest.MapFS{"etc/hostname": file("web1\n"), "etc/machine-id": file(id + "\n")}, schema.Host{Hostname: "web1", MachineID: id}, nil},
		{"an image's", fstest.MapFS{"etc/machine-id": file("uninitialized\n")}, schema.Host{}, nil},
		{"empty, and the older place", fstest.MapFS{"etc/machine-id": file(""), "var/lib/dbus/machine-id": file(id)}, schema.Host{MachineID: id}, nil},
		{"no id", fstest.MapFS{"etc/machine-id": file("hello")}, schema.Host{}, []string{"/etc/machine-id"}},
		{"control characters", fstest.MapFS{"etc/hostname": file("a\x1b[31mb\n")}, schema.Host{Hostname: "a\ufffd[31mb"}, nil},
		{"a directory", fstest.MapFS{"etc/hostname/x": file("")}, schema.Host{}, []string{"/etc/hostname"}},
		{"nothing", fstest.MapFS{}, schema.Host{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, gaps := host.Named(tc.root)
			var paths []string
			for _, g := range gaps {
				paths = append(paths, g.Path)
			}
			if d := cmp.Diff(tc.want, got); d != "" || !slices.Equal(paths, tc.gaps) {
				t.Errorf("gaps %v, want %v; host (-want +got):\n%s", gaps, tc.gaps, d)
			}
		})
	}
}

// unreadable refuses one file, as the kernel does with product_uuid when the
// agent is not root.
type unreadable struct {
	fstest.MapFS

	name string
}

func (u unreadable) Open(name string) (fs.File, error) {
	if name == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.MapFS.Open(name)
}

func TestRunningHardwareNames(t *testing.T) {
	root := fstest.MapFS{
		"proc/sys/kernel/hostname":        file("web1\n"),
		"sys/class/dmi/id/sys_vendor":     file("Amazon EC2\n"),
		"sys/class/dmi/id/product_name":   file("m5.large\n"),
		"sys/class/dmi/id/product_uuid":   file("EC2A1B2C-0000-0000-0000-000000000001\n"),
		"sys/class/dmi/id/something_else": file("x"),
	}
	got, gaps := host.Running(root)
	if got.ProductUUID != "ec2a1b2c-0000-0000-0000-000000000001" || got.ProductVendor != "Amazon EC2" || got.ProductName != "m5.large" || len(gaps) > 0 {
		t.Errorf("host %+v, gaps %v", got, gaps)
	}
	_, gaps = host.Running(unreadable{root, "sys/class/dmi/id/product_uuid"})
	if len(gaps) != 1 || gaps[0].Kind != schema.GapUnreadable || gaps[0].Path != "/sys/class/dmi/id/product_uuid" {
		t.Errorf("gaps %+v, want one of the product's UUID", gaps)
	}
}

// The running system, against the kernel's own words.
func TestRunningHere(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Skipf("not Linux: %v", err)
	}
	h, gaps := host.Running(os.DirFS("/"))
	if len(gaps) > 0 && os.Getuid() == 0 {
		t.Errorf("gaps %v", gaps)
	}
	name, err := os.Hostname()
	if err != nil || h.Hostname != name {
		t.Errorf("hostname %q, want %q (%v)", h.Hostname, name, err)
	}
	out, err := exec.Command("uname", "-m").Output()
	if err != nil || h.Arch != strings.TrimSpace(string(out)) {
		t.Errorf("arch %q, want %q (%v)", h.Arch, out, err)
	}
	if h.CPUs < 1 || h.MemoryBytes < 1<<26 {
		t.Errorf("%d processors, %d bytes", h.CPUs, h.MemoryBytes)
	}
	if !slices.IsSortedFunc(h.Addresses, func(a, b string) int {
		return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b))
	}) {
		t.Errorf("addresses %v are not in order", h.Addresses)
	}
}

func TestMachine(t *testing.T) {
	root := fstest.MapFS{
		"sys/class/dmi/id/product_uuid": file("EC2A1B2C-0000-0000-0000-000000000001\n"),
		"etc/machine-id":                file(id + "\n"),
		"run/cloud-init/.instance-id":   file("i-0123456789abcdef0\n"),
		// Left by the machine that the image was made from.
		"var/lib/cloud/data/instance-id": file("i-0fedcba9876543210\n"),
	}
	want := schema.Host{MachineID: id, ProductUUID: "ec2a1b2c-0000-0000-0000-000000000001", InstanceID: "i-0123456789abcdef0"}
	if got, gaps := host.Machine(root); cmp.Diff(want, got) != "" || len(gaps) > 0 {
		t.Errorf("%+v, %v; want %+v", got, gaps, want)
	}
	want.ProductUUID = ""
	got, gaps := host.Machine(unreadable{root, "sys/class/dmi/id/product_uuid"})
	if cmp.Diff(want, got) != "" || len(gaps) != 1 || gaps[0].Kind != schema.GapUnreadable || gaps[0].Path != "/sys/class/dmi/id/product_uuid" {
		t.Errorf("%+v, gaps %+v; want a gap for the UUID", got, gaps)
	}
	delete(root, "run/cloud-init/.instance-id")
	if got, _ := host.Machine(root); got.InstanceID != "" {
		t.Errorf("instance %q was taken from a file that outlives the machine", got.InstanceID)
	}
}
