package seal_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/agent/seal"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
)

const stateDir = "/var/lib/patchproof-agent"

var (
	here   = schema.Machine{Instance: "ec2/i-0123456789abcdef0"}
	now    = time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
	places = seal.Places{State: []string{stateDir}, Config: []string{"/etc/patchproof"}}
)

// used makes a root in which an agent has run: keys, a report that waits, and an
// identity of another machine in the archive.
func used(t *testing.T) (dir string, id *identity.Identity) {
	t.Helper()
	dir = t.TempDir()
	state := filepath.Join(dir, stateDir)
	for _, d := range []string{filepath.Dir(state), filepath.Join(dir, "etc/patchproof")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "etc/patchproof/agent.yaml"), "interval: 6h\nreceipt_key: "+strings.Repeat("ab", 32)+"\n")
	if _, err := identity.Open(state, schema.Machine{Instance: "ec2/i-0fedcba9876543210"}, now); err != nil {
		t.Fatal(err)
	}
	id, err := identity.Open(state, here, now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(filepath.Join(state, "spool"), id.Public(), spool.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r := &schema.Report{
		CollectedAt: now, TransportKey: id.TransportKey, Agent: schema.Agent{Version: "test"},
		Gaps: []schema.Gap{{Extractor: "test", Kind: schema.GapUnreadable}},
	}
	if _, err := s.Append(r, id.Evidence); err != nil {
		t.Fatal(err)
	}
	return dir, id
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openRoot(t *testing.T, dir string) *rootfs.FS {
	t.Helper()
	root, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func kinds(found []seal.Found) []seal.Kind {
	var list []seal.Kind
	for _, f := range found {
		list = append(list, f.Kind)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestSealLeavesNothingOfOneHost(t *testing.T) {
	dir, _ := used(t)
	root := openRoot(t, dir)
	before, err := seal.Check(root, places)
	if err != nil {
		t.Fatal(err)
	}
	if want := []seal.Kind{seal.Archive, seal.Binding, seal.Key, seal.Spool, seal.State}; !slices.Equal(kinds(before), want) {
		t.Errorf("found %v, want %v: %+v", kinds(before), want, before)
	}
	removed, err := seal.Seal(root, places)
	if err != nil || !slices.Equal(names(removed), names(before)) {
		t.Errorf("removed %v (%v), want %v", names(removed), err, names(before))
	}
	after, err := seal.Check(root, places)
	if err != nil || len(after) > 0 {
		t.Errorf("left %+v (%v)", after, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, stateDir))
	if err != nil || len(left) > 0 {
		t.Errorf("the state directory holds %v (%v)", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/patchproof/agent.yaml")); err != nil {
		t.Errorf("the configuration: %v", err)
	}
	if again, err := seal.Seal(root, places); err != nil || len(again) > 0 {
		t.Errorf("sealed again: %v, %v", again, err)
	}
}

func names(found []seal.Found) []string {
	var list []string
	for _, f := range found {
		list = append(list, f.Path)
	}
	slices.Sort(list)
	return list
}

// A removed key's blocks are in a snapshot of the disk all the same: the bytes
// themselves must be gone. An open descriptor still sees the removed file.
func TestSealOverwritesKeys(t *testing.T) {
	dir, _ := used(t)
	var open []*os.File
	for _, name := range []string{identity.EvidenceFile, identity.TransportFile} {
		f, err := os.Open(filepath.Join(dir, stateDir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		open = append(open, f)
	}
	if _, err := seal.Seal(openRoot(t, dir), places); err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		data, err := io.ReadAll(f)
		if err != nil || len(data) == 0 || len(bytes.Trim(data, "\x00")) > 0 {
			t.Errorf("%s: the removed file still holds %d bytes that are not zero (%v)", f.Name(), len(bytes.Trim(data, "\x00")), err)
		}
	}
}

func TestSealRefusesWhileAnAgentRuns(t *testing.T) {
	for _, role := range []identity.Role{identity.Collector, identity.Sender} {
		t.Run(string(role), func(t *testing.T) {
			dir, id := used(t)
			held, err := identity.Hold(id.Dir, role)
			if err != nil {
				t.Fatal(err)
			}
			root := openRoot(t, dir)
			if removed, err := seal.Seal(root, places); !errors.Is(err, seal.ErrInUse) || len(removed) > 0 {
				t.Errorf("removed %v, %v; want ErrInUse", removed, err)
			}
			if _, err := identity.Load(id.Dir); err != nil {
				t.Errorf("the keys are gone: %v", err)
			}
			_ = held.Close()
			if _, err := seal.Seal(root, places); err != nil {
				t.Errorf("after it ended: %v", err)
			}
		})
	}
}

func TestSealLeavesAloneWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, stateDir), 0o755); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	if removed, err := seal.Seal(root, places); err != nil || len(removed) > 0 {
		t.Errorf("an empty directory: %v, %v", removed, err)
	}
	mine := filepath.Join(dir, stateDir, "precious")
	write(t, mine, "x")
	if _, err := seal.Seal(root, places); !errors.Is(err, seal.ErrNotOurs) {
		t.Errorf("got %v, want ErrNotOurs", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	// A check tells all the same: nobody knows what it is.
	if found, err := seal.Check(root, places); err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
}

// Links in a root lead where they lead after a chroot, and never out of it.
func TestSealStaysInTheRoot(t *testing.T) {
	dir, _ := used(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "evidence.key"), "another's")
	state := filepath.Join(dir, stateDir)
	if err := os.Symlink(outside, filepath.Join(state, "cache")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(outside, "seed"), "-----BEGIN PRIVATE KEY-----\n")
	if err := os.Symlink(filepath.Join(outside, "seed"), filepath.Join(dir, "etc/patchproof/seed")); err != nil {
		t.Fatal(err)
	}
	// The state directory itself lies elsewhere in the root, by an absolute link.
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(state, filepath.Join(dir, "data/agent")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/data/agent", state); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	if _, err := seal.Seal(root, places); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "data/agent")); err != nil || len(left) > 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	for name, want := range map[string]string{"evidence.key": "another's", "seed": "-----BEGIN PRIVATE KEY-----\n"} {
		if got, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(got) != want {
			t.Errorf("outside the root, %s is %q (%v)", name, got, err)
		}
	}
}

func TestSecretsInTheConfiguration(t *testing.T) {
	_, id := used(t)
	seed, err := id.Transport.Seed()
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(id.Dir, identity.EvidenceFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		kind seal.Kind
	}{
		"private_key":  {string(pem), seal.Key},
		"ec_key":       {"-----BEGIN EC PRIVATE KEY-----\nAA==\n", seal.Key},
		"nats_seed":    {"# old\n" + string(seed) + "\n", seal.Key},
		"jwt":          {"-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.eyJqdGkiOiJBQkNERUYifQ.c2lnbmF0dXJlMDA\n", seal.Credential},
		"public_key":   {"server_key: " + id.TransportKey + "\n", ""},
		"certificate":  {"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", ""},
		"receipt_key":  {"receipt_key: " + id.KeyID() + "\n", ""},
		"binary":       {"\x00-----BEGIN PRIVATE KEY-----", ""},
		"nothing":      {"", ""},
		"a_fifo's_end": {"hello\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "etc/patchproof/more"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "etc/patchproof/more/file"), test.text)
			root := openRoot(t, dir)
			found, err := seal.Check(root, places)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != min(1, len(test.kind)) || len(found) == 1 && found[0].Kind != test.kind {
				t.Errorf("found %+v, want %q", found, test.kind)
			}
			if _, err := seal.Seal(root, places); err != nil {
				t.Fatal(err)
			}
			_, err = os.Stat(filepath.Join(dir, "etc/patchproof/more/file"))
			if gone := errors.Is(err, fs.ErrNotExist); gone != (test.kind != "") {
				t.Errorf("gone: %v", gone)
			}
		})
	}
}

// image makes a real file system of a directory.
func image(t *testing.T, dir string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Fatal("mkfs.ext4 is missing; install the distribution's package `e2fsprogs`")
	}
	path := filepath.Join(t.TempDir(), "image.ext4")
	if out, err := exec.Command(mkfs, "-q", "-d", dir, path, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	return path
}

// mounted gives the content of an image: mounted where that is allowed, else
// read out of it.
func mounted(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	if err := exec.Command("mount", "-o", "loop,ro", path, dir).Run(); err == nil {
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount: %v\n%s", err, out)
			}
		})
		return dir
	}
	out, err := exec.Command("debugfs", "-R", "rdump / "+dir, path).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	t.Logf("read out of the image, since it may not be mounted here")
	return dir
}

// TestImage looks into real file systems: one of a machine that ran the agent,
// and one of the same machine sealed before.
func TestImage(t *testing.T) {
	dir, id := used(t)
	seed, err := id.Transport.Seed()
	if err != nil {
		t.Fatal(err)
	}
	found, err := seal.Check(openRoot(t, mounted(t, image(t, dir))), places)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []seal.Kind{seal.Key, seal.Spool, seal.Binding, seal.State} {
		if !slices.Contains(kinds(found), want) {
			t.Errorf("a %s is in the image, and %v was found", want, found)
		}
	}
	raw := func(path string) bool {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(data, seed)
	}
	if !raw(image(t, dir)) {
		t.Error("the seed is in the image, and looking for it does not find it")
	}
	if _, err := seal.Seal(openRoot(t, dir), places); err != nil {
		t.Fatal(err)
	}
	sealed := image(t, dir)
	if left, err := seal.Check(openRoot(t, mounted(t, sealed)), places); err != nil || len(left) > 0 {
		t.Errorf("left in the sealed image: %v (%v)", left, err)
	}
	if raw(sealed) {
		t.Error("the sealed image holds the seed")
	}
}
