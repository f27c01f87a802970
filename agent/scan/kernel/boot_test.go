package kernel_test

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/kernel"
	"github.com/patchproof/patchproof/schema"
)

func root(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = file(content)
	}
	return m
}

func TestRunningSaysHowItWasStarted(t *testing.T) {
	k, _, gaps := kernel.Running(root(map[string]string{
		"proc/sys/kernel/osrelease": "6.1.0-56-amd64\n", "proc/sys/kernel/version": "#1 SMP\n",
		"proc/sys/kernel/random/boot_id": "x\n", "proc/stat": "btime 1767225600\n",
		"proc/cmdline": "root=/dev/vda quiet lockdown=integrity\n", "proc/sys/kernel/tainted": "45056\n",
		"sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
	}))
	want := schema.Kernel{
		Release: "6.1.0-56-amd64", Version: "#1 SMP", CommandLine: "root=/dev/vda quiet lockdown=integrity", Lockdown: "integrity", Tainted: 45056,
	}
	if diff := cmp.Diff(want, k); diff != "" || len(gaps) > 0 {
		t.Errorf("kernel (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}

func TestRebootMarkers(t *testing.T) {
	got, gaps := kernel.RebootMarkers(root(map[string]string{
		"run/reboot-required":      "*** System restart required ***\n",
		"run/reboot-required.pkgs": "linux-image-6.1.0-56-amd64\nlibc6\nlibc6\n",
		"run/reboot-needed":        "",
	}))
	want := []schema.RebootMarker{
		{Path: "/run/reboot-required", Packages: []string{"libc6", "linux-image-6.1.0-56-amd64"}}, {Path: "/run/reboot-needed"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("markers (-want +got):\n%s\ngaps %v", diff, gaps)
	}
	if got, gaps := kernel.RebootMarkers(fstest.MapFS{}); len(got)+len(gaps) > 0 {
		t.Errorf("none: %v, gaps %v", got, gaps)
	}
}

// What grub-mkconfig writes on Debian, shortened.
const debianMenu = `### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="DEFAULT"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	linux	/boot/vmlinuz-6.1.0-56-amd64 root=UUID=1 ro  quiet
	initrd	/boot/initrd.img-6.1.0-56-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-56-amd64' $menuentry_id_option 'gnulinux-6.1.0-56-amd64-advanced-1' {
		linux	/boot/vmlinuz-6.1.0-56-amd64 root=UUID=1 ro  quiet
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-18-amd64' $menuentry_id_option 'gnulinux-6.1.0-18-amd64-advanced-1' {
		linux	/boot/vmlinuz-6.1.0-18-amd64 root=UUID=1 ro  quiet
	}
}
menuentry 'Memory test' {
	linux16 /boot/memtest86+x64.bin
}
`

func TestNextBootByGrubMenu(t *testing.T) {
	for _, tc := range []struct{ name, choice, env, release, entry string }{
		{"first", "0", "", "6.1.0-56-amd64", "gnulinux-simple-1"},
		{"by_numbers", "1>1", "", "6.1.0-18-amd64", "gnulinux-6.1.0-18-amd64-advanced-1"},
		{"by_ids", "gnulinux-advanced-1>gnulinux-6.1.0-18-amd64-advanced-1", "", "6.1.0-18-amd64", "gnulinux-6.1.0-18-amd64-advanced-1"},
		{"by_titles", "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-18-amd64", "", "6.1.0-18-amd64", "gnulinux-6.1.0-18-amd64-advanced-1"},
		{"submenu", "1", "", "6.1.0-56-amd64", "gnulinux-6.1.0-56-amd64-advanced-1"},
		{"saved", "${saved_entry}", "# GRUB Environment Block\nsaved_entry=1>1\n####", "6.1.0-18-amd64", "gnulinux-6.1.0-18-amd64-advanced-1"},
		{"nothing_saved", "${saved_entry}", "# GRUB Environment Block\n####", "6.1.0-56-amd64", "gnulinux-simple-1"},
		{"once", "0", "next_entry=1>1\n", "6.1.0-18-amd64", "gnulinux-6.1.0-18-amd64-advanced-1"},
		{"no_linux", "2", "", "", "Memory test"},
		{"not_there", "7", "", "", "7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{"boot/grub/grub.cfg": strings.Replace(debianMenu, "DEFAULT", tc.choice, 1)}
			if tc.env != "" {
				files["boot/grub/grubenv"] = tc.env
			}
			got, gaps := kernel.NextBoot(root(files))
			want := &schema.NextBoot{Loader: "grub", Release: tc.release, Entry: tc.entry}
			if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
				t.Errorf("next boot (-want +got):\n%s\ngaps %v", diff, gaps)
			}
		})
	}
}

func TestNextBootByEntries(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef-"
	entries := map[string]string{
		"boot/loader/entries/" + id + "5.14.0-70.13.1.el9_0.x86_64.conf": "title AlmaLinux (5.14.0-70.13.1)\nversion 5.14.0-70.13.1.el9_0.x86_64\nlinux /vmlinuz-5.14.0-70.13.1.el9_0.x86_64\n",
		"boot/loader/entries/" + id + "5.14.0-70.9.1.el9_0.x86_64.conf":  "title AlmaLinux (5.14.0-70.9.1)\nlinux /vmlinuz-5.14.0-70.9.1.el9_0.x86_64\n",
		"boot/loader/entries/" + id + "0-rescue.conf":                    "title AlmaLinux (0-rescue)\nlinux /vmlinuz-0-rescue\n",
	}
	for _, tc := range []struct {
		name            string
		files           map[string]string
		loader, release string
	}{
		{"grub_newest", map[string]string{"boot/grub2/grub.cfg": "insmod blscfg\nblscfg\n"}, "bls", "5.14.0-70.13.1.el9_0.x86_64"},
		{"grub_saved", map[string]string{
			"boot/grub2/grub.cfg": "blscfg\n", "boot/grub2/grubenv": "saved_entry=" + id + "5.14.0-70.9.1.el9_0.x86_64\n",
		}, "bls", "5.14.0-70.9.1.el9_0.x86_64"},
		{"grub_by_title", map[string]string{"boot/grub2/grub.cfg": "blscfg\n", "boot/grub2/grubenv": "saved_entry=AlmaLinux (5.14.0-70.9.1)\n"}, "bls", "5.14.0-70.9.1.el9_0.x86_64"},
		{"systemd_newest", map[string]string{}, "systemd-boot", "5.14.0-70.13.1.el9_0.x86_64"},
		{"systemd_pattern", map[string]string{"boot/loader/loader.conf": "timeout 3\ndefault *-5.14.0-70.9*\n"}, "systemd-boot", "5.14.0-70.9.1.el9_0.x86_64"},
		{"not_there", map[string]string{"boot/loader/loader.conf": "default other.conf\n"}, "systemd-boot", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			maps.Copy(tc.files, entries)
			got, gaps := kernel.NextBoot(root(tc.files))
			if got == nil || got.Loader != tc.loader || got.Release != tc.release || len(gaps) > 0 {
				t.Errorf("got %+v, want %s of %s; gaps %v", got, tc.release, tc.loader, gaps)
			}
		})
	}
}

func TestNextBootUnknown(t *testing.T) {
	if got, gaps := kernel.NextBoot(fstest.MapFS{}); got != nil || len(gaps) > 0 {
		t.Errorf("got %+v, gaps %v", got, gaps)
	}
}

func FuzzNextBoot(f *testing.F) {
	f.Add(debianMenu, "next_entry=1>1\n")
	f.Add("blscfg", "saved_entry=x")
	f.Add(strings.Repeat("submenu 'x' {\n", 100), "")
	f.Fuzz(func(t *testing.T, cfg, env string) {
		_, _ = kernel.NextBoot(root(map[string]string{
			"boot/grub/grub.cfg": cfg, "boot/grub/grubenv": env, "boot/loader/entries/a-1.conf": cfg,
		}))
	})
}
