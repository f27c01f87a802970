package identity_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchproof/patchproof/agent/identity"
)

// FuzzBinding puts any bytes in the binding's place. The keys must be refused,
// used or archived: never lost, and never used on a machine the bytes say they
// are not of.
func FuzzBinding(f *testing.F) {
	f.Add([]byte(`{"machine":{"instance":"ec2/i-0123456789abcdef0"},"bound_at":"2026-11-22T03:04:05Z"}`))
	f.Add([]byte(`{"machine":{"instance":"ec2/i-0fedcba9876543210"}}`))
	f.Add([]byte(`{"machine":{"product_uuid":"/","machine_id":"ec2/"}}`))
	f.Add([]byte(`{"machine":null}`))
	f.Add([]byte("{}{}"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, binding []byte) {
		dir := filepath.Join(t.TempDir(), "state")
		before, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, identity.BindingFile), binding, 0o600); err != nil {
			t.Fatal(err)
		}
		bound, loadErr := identity.Load(dir)
		after, err := open(dir)
		if (err == nil) != (loadErr == nil) {
			t.Fatalf("open says %v, load %v", err, loadErr)
		}
		if err != nil {
			return
		}
		kept := after.Evidence.Equal(before.Evidence)
		if _, wrong := bound.Check(here); kept == (wrong != nil) {
			t.Fatalf("keys kept: %v, though the binding says %v", kept, wrong)
		}
		if kept {
			return
		}
		old, err := identity.Load(after.Archived)
		if err != nil || !old.Evidence.Equal(before.Evidence) {
			t.Fatalf("the keys are neither in use nor archived: %v", err)
		}
	})
}
