package kernel_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/kernel"
	"github.com/patchproof/patchproof/schema"
)

func file(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }

func TestRunning(t *testing.T) {
	k, boot, gaps := kernel.Running(fstest.MapFS{
		"proc/sys/kernel/osrelease":      file("6.1.0-18-amd64\n"),
		"proc/sys/kernel/version":        file("#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)\n"),
		"proc/sys/kernel/random/boot_id": file("0f3a5f4e-9f1c-4f57-8f0e-2c6e0d1d9b11\n"),
		"proc/stat":                      file("cpu  1 2 3\nintr 9 9 9\nctxt 5\nbtime 1700000000\nprocesses 7\n"),
	})
	if d := cmp.Diff(schema.Kernel{Release: "6.1.0-18-amd64", Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)"}, k); d != "" {
		t.Errorf("kernel (-want +got):\n%s", d)
	}
	if d := cmp.Diff(schema.Boot{ID: "0f3a5f4e-9f1c-4f57-8f0e-2c6e0d1d9b11", Time: time.Unix(1700000000, 0).UTC()}, boot); d != "" {
		t.Errorf("boot (-want +got):\n%s", d)
	}
	if len(gaps) > 0 {
		t.Errorf("gaps %v", gaps)
	}
}

func TestRunningUnreadable(t *testing.T) {
	for name, root := range map[string]fstest.MapFS{
		"nothing":         {},
		"no boot time":    {"proc/stat": file("cpu 1\n")},
		"wrong boot time": {"proc/stat": file("btime soon\n")},
	} {
		t.Run(name, func(t *testing.T) {
			_, boot, gaps := kernel.Running(root)
			if len(gaps) != 4 || !boot.Time.IsZero() {
				t.Errorf("boot %+v, gaps %+v, want four", boot, gaps)
			}
		})
	}
}

// The running system, against uname.
func TestRunningHere(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/osrelease"); err != nil {
		t.Skipf("not Linux: %v", err)
	}
	k, boot, gaps := kernel.Running(os.DirFS("/"))
	if len(gaps) > 0 || k.Release == "" || strings.ContainsAny(k.Release, " \n") || len(boot.ID) != 36 || !boot.Time.Before(time.Now()) {
		t.Errorf("kernel %+v, boot %+v, gaps %v", k, boot, gaps)
	}
}

func TestInstalled(t *testing.T) {
	root := fstest.MapFS{
		"boot/vmlinuz-6.1.0-18-amd64":                    file(""),
		"boot/vmlinuz-6.1.0-17-amd64":                    file(""),
		"boot/vmlinuz-0-rescue-3d1219c7c4c5404aaa1f6d2a": file(""), // begins with a digit, is a copy of another
		"boot/vmlinuz-6.1.0-18-amd64.old":                file(""),
		"boot/vmlinuz":                                   file(""),
		"boot/initrd.img-9.9":                            file(""),
		"boot/config-9.9":                                file(""),
		"lib/modules/6.1.0-18-amd64/kernel/a.ko":         file(""),
		"lib/modules/5.10.0-1-amd64/updates/dkms.ko":     file(""), // outlived its kernel
		"usr/lib/modules/6.12.1-custom/modules.builtin":  file(""),
	}
	packages := []schema.Package{
		{Format: schema.FormatDeb, Name: "linux-image-amd64", Version: "6.1.76", Release: "1"},
		{Format: schema.FormatDeb, Name: "linux-image-6.1.0-18-amd64", Version: "6.1.76", Release: "1"},
		{Format: schema.FormatDeb, Name: "linux-image-6.1.0-18-amd64-dbg", Version: "6.1.76", Release: "1"},
		{Format: schema.FormatDeb, Name: "linux-headers-6.1.0-17-amd64", Version: "6.1.69", Release: "1"},
	}
	want := []schema.InstalledKernel{
		{Release: "6.1.0-17-amd64"},
		{Release: "6.1.0-18-amd64", Package: "linux-image-6.1.0-18-amd64_6.1.76-1"},
		{Release: "6.12.1-custom"},
	}
	got, gaps := kernel.Installed(root, packages)
	if d := cmp.Diff(want, got); d != "" || len(gaps) > 0 {
		t.Errorf("gaps %v, kernels (-want +got):\n%s", gaps, d)
	}
}

func TestInstalledNone(t *testing.T) {
	if got, gaps := kernel.Installed(fstest.MapFS{}, nil); len(got) > 0 || len(gaps) > 0 {
		t.Errorf("got %v, gaps %v of an empty root", got, gaps)
	}
}

func TestInstalledTooMany(t *testing.T) {
	root := fstest.MapFS{}
	for i := range schema.MaxInstalledKernels + 1 {
		root["boot/vmlinuz-6."+strings.Repeat("1", 1+i/100)+"."+string(rune('0'+i/10%10))+string(rune('0'+i%10))] = file("")
	}
	got, gaps := kernel.Installed(root, nil)
	if len(got) != schema.MaxInstalledKernels || len(gaps) != 1 || gaps[0].Kind != schema.GapTruncated {
		t.Errorf("%d kernels, gaps %v", len(got), gaps)
	}
}

// Releases as uname -r gives them, with the package that each distribution
// installs for it.
func TestOwner(t *testing.T) {
	deb := func(name, version, release string) schema.Package {
		return schema.Package{Format: schema.FormatDeb, Name: name, Version: version, Release: release}
	}
	rpm := func(name, version, release, arch string) schema.Package {
		return schema.Package{Format: schema.FormatRPM, Name: name, Version: version, Release: release, Arch: arch}
	}
	for _, tc := range []struct {
		release  string
		packages []schema.Package
		want     string
	}{
		{
			"6.8.0-1021-aws",
			[]schema.Package{
				deb("linux-modules-6.8.0-1021-aws", "6.8.0", "1021.23"), deb("linux-image-6.8.0-1021-aws", "6.8.0", "1021.23"),
			},
			"linux-image-6.8.0-1021-aws_6.8.0-1021.23",
		},
		{
			"5.15.0-91-generic",
			[]schema.Package{deb("linux-image-unsigned-5.15.0-91-generic", "5.15.0", "91.101")},
			"linux-image-unsigned-5.15.0-91-generic_5.15.0-91.101",
		},
		{
			"6.8.12-4-pve",
			[]schema.Package{deb("proxmox-kernel-6.8.12-4-pve-signed", "6.8.12", "4")},
			"proxmox-kernel-6.8.12-4-pve-signed_6.8.12-4",
		},
		{
			"5.14.0-70.13.1.el9_0.x86_64",
			[]schema.Package{
				rpm("kernel", "5.14.0", "70.13.1.el9_0", "x86_64"), rpm("kernel-core", "5.14.0", "70.13.1.el9_0", "x86_64"),
				rpm("kernel-tools", "5.14.0", "70.13.1.el9_0", "x86_64"),
			},
			"kernel-core-5.14.0-70.13.1.el9_0.x86_64",
		},
		{
			"5.14.0-70.13.1.el9_0.x86_64+debug",
			[]schema.Package{
				rpm("kernel-debug-core", "5.14.0", "70.13.1.el9_0", "x86_64"), rpm("kernel-core", "5.14.0", "70.13.1.el9_0", "x86_64"),
			},
			"kernel-debug-core-5.14.0-70.13.1.el9_0.x86_64",
		},
		{
			"5.10.198-187.748.amzn2.x86_64",
			[]schema.Package{rpm("kernel", "5.10.198", "187.748.amzn2", "x86_64")},
			"kernel-5.10.198-187.748.amzn2.x86_64",
		},
		{
			"6.12.30-39.52.amzn2023.aarch64",
			[]schema.Package{rpm("kernel6.12", "6.12.30", "39.52.amzn2023", "aarch64")},
			"kernel6.12-6.12.30-39.52.amzn2023.aarch64",
		},
		{
			"5.15.0-100.96.32.el8uek.x86_64",
			[]schema.Package{rpm("kernel-uek", "5.15.0", "100.96.32.el8uek", "x86_64")},
			"kernel-uek-5.15.0-100.96.32.el8uek.x86_64",
		},
		{
			"5.14.21-150500.55.31-default",
			[]schema.Package{rpm("kernel-default", "5.14.21", "150500.55.31.1", "x86_64")},
			"kernel-default-5.14.21-150500.55.31.1.x86_64",
		},
		{"6.18.44-own", []schema.Package{deb("linux-image-6.1.0-18-amd64", "6.1.76", "1")}, ""},
		{"5.14.0-70.13.1.el9_0.x86_64", []schema.Package{rpm("kernel-headers", "5.14.0", "70.13.1.el9_0", "x86_64")}, ""},
	} {
		t.Run(tc.release, func(t *testing.T) {
			if got := kernel.Owner(tc.release, tc.packages); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
