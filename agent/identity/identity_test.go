package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/schema"
)

// here is the machine the tests run on, unless they move.
var here = schema.Machine{Instance: "ec2/i-0123456789abcdef0", ProductUUID: "ec2a1b2c-0000-0000-0000-000000000001", MachineID: strings.Repeat("5a", 16)}

var now = time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)

func open(dir string) (*identity.Identity, error) { return identity.Open(dir, here, now) }

func TestFirstStartMakesTwoKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, identity.EvidenceFile: 0o600, identity.TransportFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: mode %v (%v), want %v", name, info.Mode(), err, mode)
		}
	}
	if err := schema.CheckTransportKey(first.TransportKey); err != nil {
		t.Error(err)
	}
	if raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(first.TransportKey)); err != nil || string(raw) == string(first.Public()) {
		t.Errorf("the two keys are not two (%v)", err)
	}
	again, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []*identity.Identity{again, loaded} {
		if !id.Evidence.Equal(first.Evidence) || id.TransportKey != first.TransportKey {
			t.Error("the keys changed between two starts")
		}
	}
}

func TestFirstStartsAtOnceAgree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	ids := make([]string, 8)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			id, err := open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = id.KeyID() + id.TransportKey
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("two first starts made different keys")
		}
	}
}

func TestHalfFirstStartIsFinished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, identity.TransportFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".tmp-HALF"), []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNone) {
		t.Errorf("load: %v, want ErrNone", err)
	}
	second, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Evidence.Equal(first.Evidence) {
		t.Error("the evidence key was replaced")
	}
	if _, err := os.Stat(filepath.Join(dir, ".tmp-HALF")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a half-written key was left behind")
	}
}

func TestRefusals(t *testing.T) {
	rsa := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	tests := map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"evidence_readable":   {chmod(identity.EvidenceFile, 0o644), "others can read or change it (mode 0644)"},
		"evidence_group":      {chmod(identity.EvidenceFile, 0o640), "mode 0640"},
		"transport_readable":  {chmod(identity.TransportFile, 0o604), "mode 0604"},
		"directory_writable":  {chmod(".", 0o777), "writable by others (mode 0777)"},
		"directory_group":     {chmod(".", 0o770), "writable by others"},
		"evidence_symlink":    {symlink(identity.EvidenceFile), "is a symlink"},
		"transport_symlink":   {symlink(identity.TransportFile), "is a symlink"},
		"evidence_directory":  {replace(identity.EvidenceFile, func(p string) error { return os.Mkdir(p, 0o700) }), "not a regular file"},
		"evidence_empty":      {write(identity.EvidenceFile, ""), "not one PEM block"},
		"evidence_not_pkcs8":  {write(identity.EvidenceFile, rsa), "not a PKCS#8 key"},
		"evidence_huge":       {write(identity.EvidenceFile, strings.Repeat("x", 5000)), "a key has at most 4096"},
		"transport_garbage":   {write(identity.TransportFile, "hello\n"), "not a NATS user seed"},
		"transport_account":   {write(identity.TransportFile, accountSeed()), "not a NATS user seed"},
		"directory_a_file":    {asFile, "not a directory"},
		"directory_a_symlink": {asSymlink, "state directory is a symlink"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if _, err := open(dir); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(dir); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(string) (*identity.Identity, error){open, identity.Load} {
				_, err := open(dir)
				fault, ok := errors.AsType[*identity.Error](err)
				if !ok || !strings.Contains(err.Error(), test.want) || fault.Hint == "" || fault.Path == "" {
					t.Errorf("error %v, want one with %q, a path and a hint", err, test.want)
				}
			}
		})
	}
}

func TestHoldIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	held, err := identity.Hold(dir, identity.Collector)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Hold(dir, identity.Collector); err == nil || !strings.Contains(err.Error(), "another agent already runs `collect`") {
		t.Errorf("second collector: %v", err)
	}
	sender, err := identity.Hold(dir, identity.Sender)
	if err != nil {
		t.Errorf("a sender beside a collector: %v", err)
	}
	for _, h := range []interface{ Close() error }{held, sender} {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if held, err = identity.Hold(dir, identity.Collector); err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	_ = held.Close()
}

func TestLoadBeforeFirstStart(t *testing.T) {
	if _, err := identity.Load(filepath.Join(t.TempDir(), "state")); !errors.Is(err, identity.ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}

func accountSeed() string {
	pair, err := nkeys.CreateAccount()
	if err != nil {
		panic(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		panic(err)
	}
	return string(seed)
}

func chmod(name string, mode fs.FileMode) func(string) error {
	return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
}

func replace(name string, with func(path string) error) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil {
			return err
		}
		return with(path)
	}
}

func write(name, content string) func(string) error {
	return replace(name, func(p string) error { return os.WriteFile(p, []byte(content), 0o600) })
}

func symlink(name string) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		if err := os.Rename(path, path+".real"); err != nil {
			return err
		}
		return os.Symlink(path+".real", path)
	}
}

func asFile(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.WriteFile(dir, nil, 0o600)
}

func asSymlink(dir string) error {
	if err := os.Rename(dir, dir+".real"); err != nil {
		return err
	}
	return os.Symlink(dir+".real", dir)
}
