package livepatch_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/livepatch"
	"github.com/patchproof/patchproof/schema"
)

const demoID = "063985a256ed21381cecb433e7769e3d7fdc8b5c"

// tree is a root as fs.FS, made of the files of the documented layouts.
type tree map[string]string

func (t tree) fs() fstest.MapFS {
	m := fstest.MapFS{}
	for name, content := range t {
		if dir, ok := strings.CutSuffix(name, "/"); ok {
			m[dir] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			continue
		}
		m[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	return m
}

func (t tree) with(more tree) tree {
	all := maps.Clone(t)
	maps.Copy(all, more)
	return all
}

// note is the ELF note of a build id, as sys/module/*/notes shows it.
func note(id string) string {
	raw, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	b := binary.LittleEndian.AppendUint32(nil, 4)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(raw)))
	b = binary.LittleEndian.AppendUint32(b, 3)
	return string(append(append(b, "GNU\x00"...), raw...))
}

// module is a relocatable object that holds a build id and nothing else.
func module(id string) string {
	names := "\x00.note.gnu.build-id\x00.shstrtab\x00"
	body := note(id)
	var b bytes.Buffer
	shoff := 64 + len(body) + len(names)
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(shoff), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_NOTE), Off: 64, Size: uint64(len(body)), Addralign: 4},
		{Name: 20, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(body)), Size: uint64(len(names)), Addralign: 1},
	}
	for _, v := range []any{header, []byte(body), []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b.String()
}

// loaded is what a kernel 6.1 shows of an enabled patch.
func loaded(name, version string) tree {
	return tree{
		"proc/sys/kernel/tainted":                                        "45056\n",
		"sys/kernel/livepatch/" + name + "/enabled":                      "1\n",
		"sys/kernel/livepatch/" + name + "/transition":                   "0\n",
		"sys/kernel/livepatch/" + name + "/force":                        "",
		"sys/kernel/livepatch/" + name + "/vmlinux/patched":              "1\n",
		"sys/kernel/livepatch/" + name + "/vmlinux/cmdline_proc_show,1/": "",
		"sys/module/" + name + "/taint":                                  "OEK\n",
		"sys/module/" + name + "/version":                                version + "\n",
		"sys/module/" + name + "/srcversion":                             "F16B90AAF0D4E0E2E712B22\n",
		"sys/module/" + name + "/notes/.note.gnu.build-id":               note(demoID),
	}
}

func read(t *testing.T, root fs.FS, h livepatch.Host) ([]schema.LivePatch, []schema.Gap) {
	t.Helper()
	return livepatch.Read(root, h)
}

func demo() schema.LivePatch {
	return schema.LivePatch{
		Provider: schema.ProviderOther, Name: "lp_demo", Version: "1.2.3", SrcVersion: "F16B90AAF0D4E0E2E712B22", BuildID: demoID,
		Loaded: true, Enabled: true, Objects: []string{"vmlinux"}, Functions: 1,
	}
}

// The steps of a patch's life are those a real kernel was seen in.
func TestLifeOfAPatch(t *testing.T) {
	task := func(pid, state string) tree {
		return tree{"proc/" + pid + "/task/" + pid + "/patch_state": state + "\n"}
	}
	for _, tc := range []struct {
		name   string
		root   tree
		change func(*schema.LivePatch)
	}{
		{"enabled", loaded("lp_demo", "1.2.3"), func(*schema.LivePatch) {}},
		{
			"in_transition",
			loaded("lp_demo", "1.2.3").with(tree{"sys/kernel/livepatch/lp_demo/transition": "1\n"}).
				with(task("448", "0")).with(task("1", "1")).with(task("2", "-1")),
			func(p *schema.LivePatch) { p.Transition, p.Stuck = true, 1 },
		},
		{
			"being_disabled",
			loaded("lp_demo", "1.2.3").with(tree{
				"sys/kernel/livepatch/lp_demo/transition": "1\n", "sys/kernel/livepatch/lp_demo/enabled": "0\n",
			}).with(task("448", "1")).with(task("449", "1")).with(task("1", "0")),
			func(p *schema.LivePatch) { p.Enabled, p.Transition, p.Stuck = false, true, 2 },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := demo()
			tc.change(&want)
			got, gaps := read(t, tc.root.fs(), livepatch.Host{Release: "6.1.0-56-amd64", OS: schema.OSRelease{ID: "debian"}})
			if diff := cmp.Diff([]schema.LivePatch{want}, got); diff != "" || len(gaps) > 0 {
				t.Errorf("patches (-want +got):\n%s\ngaps %v", diff, gaps)
			}
			if inForce := want.Enabled && !want.Transition; got[0].InForce() != inForce {
				t.Errorf("in force: %v", got[0].InForce())
			}
		})
	}
}

// A disabled or replaced patch loses its directory while its module stays.
func TestDisabledPatchIsLoadedAndNotEnabled(t *testing.T) {
	root := loaded("lp_demo", "1.2.3").with(tree{"sys/module/ext4/taint": "\n", "sys/module/vfat/version": "1\n"})
	for name := range root {
		if strings.HasPrefix(name, "sys/kernel/livepatch/") {
			delete(root, name)
		}
	}
	want := demo()
	want.Enabled, want.Objects, want.Functions = false, nil, 0
	got, gaps := read(t, root.fs(), livepatch.Host{Release: "6.1.0-56-amd64"})
	if diff := cmp.Diff([]schema.LivePatch{want}, got); diff != "" || len(gaps) > 0 {
		t.Errorf("patches (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}

// vanishing is a root where a patch's directory goes away between the listing
// and the reading.
type vanishing struct{ fstest.MapFS }

func (v vanishing) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, "/enabled") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return v.MapFS.Open(name)
}

func TestVanishingPatchIsNotEnabled(t *testing.T) {
	got, gaps := read(t, vanishing{loaded("lp_demo", "1.2.3").fs()}, livepatch.Host{Release: "6.1.0-56-amd64"})
	if len(got) != 1 || got[0].Enabled || len(gaps) > 0 {
		t.Errorf("got %+v, gaps %v", got, gaps)
	}
}

func TestUnreadableStateIsAGap(t *testing.T) {
	root := loaded("lp_demo", "1.2.3").with(tree{"sys/kernel/livepatch/lp_demo/enabled": "yes\n"})
	got, gaps := read(t, root.fs(), livepatch.Host{Release: "6.1.0-56-amd64"})
	if len(got) != 1 || got[0].Enabled || len(gaps) != 1 || gaps[0].Path != "/sys/kernel/livepatch/lp_demo" {
		t.Errorf("got %+v, gaps %v", got, gaps)
	}
}

func rpmPackage(name, version, release string) schema.Package {
	return schema.Package{Format: schema.FormatRPM, Name: name, Version: version, Release: release, Arch: "x86_64", Source: name}
}

func TestProviders(t *testing.T) {
	for _, tc := range []struct {
		name, release, module, file string
		os                          schema.OSRelease
		packages                    []schema.Package
		provider, owner             string
	}{
		{
			"amazon", "6.1.57-29.131.amzn2023.x86_64", "livepatch_CVE_2022_36946",
			"usr/lib/kpatch/6.1.57-29.131.amzn2023.x86_64/livepatch-CVE-2022-36946.ko",
			schema.OSRelease{ID: "amzn", VersionID: "2023"},
			[]schema.Package{
				rpmPackage("kernel-livepatch-6.1.57-30.131", "1.0", "2.amzn2023"),
				rpmPackage("kernel-livepatch-6.1.57-29.131", "1.0", "3.amzn2023"),
			},
			schema.ProviderAmazon, "kernel-livepatch-6.1.57-29.131-1.0-3.amzn2023.x86_64",
		},
		{
			"rhel", "5.14.0-70.13.1.el9_0.x86_64", "kpatch_5_14_0_70_13_1_1_2",
			"usr/lib/kpatch/5.14.0-70.13.1.el9_0.x86_64/kpatch-5_14_0-70_13_1-1-2.ko",
			schema.OSRelease{ID: "rhel"},
			[]schema.Package{
				rpmPackage("kpatch-patch-5_14_0-70_13", "1", "1.el9_0"), // a shorter release is another kernel's
				rpmPackage("kpatch-patch-5_14_0-70_13_1", "1", "2.el9_0"),
			},
			schema.ProviderKpatch, "kpatch-patch-5_14_0-70_13_1-1-2.el9_0.x86_64",
		},
		{
			"suse", "5.14.21-150400.24.100-default", "livepatch_150400_24_100_3",
			"lib/modules/5.14.21-150400.24.100-default/livepatch/livepatch-150400-24-100-3.ko",
			schema.OSRelease{ID: "sles", IDLike: []string{"suse"}},
			[]schema.Package{rpmPackage("kernel-livepatch-5_14_21-150400_24_100-default", "3", "150400.2.1")},
			schema.ProviderSUSE, "kernel-livepatch-5_14_21-150400_24_100-default-3-150400.2.1.x86_64",
		},
		{
			"canonical", "5.15.0-100-generic", "lkp_Ubuntu_5_15_0_100_110_generic_104", "",
			schema.OSRelease{ID: "ubuntu", IDLike: []string{"debian"}},
			nil, schema.ProviderCanonical, "",
		},
		{"made_here", "6.1.0-56-amd64", "lp_demo", "", schema.OSRelease{ID: "debian"}, nil, schema.ProviderOther, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := loaded(tc.module, "1.0")
			if tc.file != "" {
				root[tc.file] = module(demoID)
			}
			got, gaps := read(t, root.fs(), livepatch.Host{Release: tc.release, OS: tc.os, Packages: tc.packages})
			if len(got) != 1 || len(gaps) > 0 {
				t.Fatalf("patches %+v, gaps %v", got, gaps)
			}
			if p := got[0]; p.Provider != tc.provider || p.Package != tc.owner || !p.InForce() {
				t.Errorf("provider %q, package %q, in force %v; want %q, %q", p.Provider, p.Package, p.InForce(), tc.provider, tc.owner)
			}
		})
	}
}

// An update of the package that was not loaded must not lend its version to the
// module in the kernel.
func TestUpdatedModuleOnDiskIsNotTheLoadedOne(t *testing.T) {
	const file = "usr/lib/kpatch/6.1.57-29.131.amzn2023.x86_64/livepatch-CVE-2022-36946.ko"
	root := loaded("livepatch_CVE_2022_36946", "1.0").with(tree{file: module("11" + demoID[2:])})
	got, gaps := read(t, root.fs(), livepatch.Host{
		Release: "6.1.57-29.131.amzn2023.x86_64", OS: schema.OSRelease{ID: "amzn"},
		Packages: []schema.Package{rpmPackage("kernel-livepatch-6.1.57-29.131", "1.0", "3.amzn2023")},
	})
	if len(got) != 1 || got[0].Package != "" || got[0].File != "" || !got[0].InForce() {
		t.Errorf("got %+v", got)
	}
	if len(gaps) != 1 || gaps[0].Kind != schema.GapUnowned || gaps[0].Path != "/"+file {
		t.Errorf("gaps %v", gaps)
	}
}

func TestModuleOnDiskAlone(t *testing.T) {
	const release = "5.14.0-70.13.1.el9_0.x86_64"
	for _, suffix := range []string{"", ".xz"} {
		file := "usr/lib/kpatch/" + release + "/kpatch-5_14_0-70_13_1-1-1.ko" + suffix
		got, gaps := read(t, tree{file: "anything"}.fs(), livepatch.Host{
			Release: release, Packages: []schema.Package{rpmPackage("kpatch-patch-5_14_0-70_13_1", "1", "1.el9_0")},
		})
		want := []schema.LivePatch{{
			Provider: schema.ProviderKpatch, Name: "kpatch_5_14_0_70_13_1_1_1", File: "/" + file,
			Package: "kpatch-patch-5_14_0-70_13_1-1-1.el9_0.x86_64",
		}}
		if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
			t.Errorf("patches (-want +got):\n%s\ngaps %v", diff, gaps)
		}
	}
}

func TestModuleThatCannotBeComparedIsAGap(t *testing.T) {
	const dir = "usr/lib/kpatch/6.1.57-29.131.amzn2023.x86_64/livepatch-CVE-2022-36946.ko"
	for name, want := range map[string]string{dir + ".xz": schema.GapUnsupported, dir: schema.GapUnreadable, dir + ".gz": schema.GapUnreadable} {
		root := loaded("livepatch_CVE_2022_36946", "1.0").with(tree{name: "not a module"})
		got, gaps := read(t, root.fs(), livepatch.Host{Release: "6.1.57-29.131.amzn2023.x86_64", OS: schema.OSRelease{ID: "amzn"}})
		if len(got) != 1 || got[0].Package != "" || len(gaps) != 1 || gaps[0].Kind != want {
			t.Errorf("%s: %+v, gaps %v", name, got, gaps)
		}
	}
}

func TestKernelCareStatesAKernel(t *testing.T) {
	got, gaps := read(t, tree{"proc/kcare/effective_version": "3.10.0-1160.119.1.el7\n"}.fs(), livepatch.Host{Release: "3.10.0-1160.el7.x86_64"})
	want := []schema.LivePatch{{
		Provider: schema.ProviderKernelCare, Name: "kcare", Loaded: true, Enabled: true, Effective: "3.10.0-1160.119.1.el7",
	}}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("patches (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}

func TestKspliceIsShownAndCoversNothing(t *testing.T) {
	got, gaps := read(t, tree{"sys/module/ksplice_ab12cd/taint": "O\n", "sys/module/ksplice_ef34/taint": "O\n"}.fs(),
		livepatch.Host{Release: "5.15.0-100-generic"})
	want := []schema.LivePatch{{Provider: schema.ProviderKsplice, Name: "ksplice", Loaded: true, Enabled: true, Functions: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patches (-want +got):\n%s", diff)
	}
	if len(gaps) != 1 || gaps[0].Kind != schema.GapUnsupported {
		t.Errorf("gaps %v", gaps)
	}
}

func TestNoLivePatches(t *testing.T) {
	for name, root := range map[string]tree{
		"none_loaded": {"sys/kernel/livepatch/": "", "sys/module/ext4/taint": "\n", "proc/sys/kernel/tainted": "0\n"},
		"no_support":  {},
	} {
		if got, gaps := read(t, root.fs(), livepatch.Host{Release: "6.1.0"}); len(got)+len(gaps) > 0 {
			t.Errorf("%s: %+v, gaps %v", name, got, gaps)
		}
	}
}

func FuzzReadModule(f *testing.F) {
	f.Add([]byte(module(demoID)), []byte(note(demoID)))
	f.Add([]byte("\x7fELF"), []byte{})
	f.Fuzz(func(t *testing.T, file, note []byte) {
		const release = "5.14.0-70.13.1.el9_0.x86_64"
		root := loaded("kpatch_x", "1").with(tree{
			"usr/lib/kpatch/" + release + "/kpatch-x.ko":   string(file),
			"sys/module/kpatch_x/notes/.note.gnu.build-id": string(note),
		})
		got, gaps := livepatch.Read(root.fs(), livepatch.Host{Release: release})
		if len(got) != 1 {
			t.Fatalf("%d patches", len(got))
		}
		if got[0].File == "" && len(gaps) == 0 {
			t.Error("no file, and no gap that says why")
		}
	})
}
