package spool_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/patchproof/patchproof/agent/spool"
)

// FuzzLedger puts any bytes in the ledger's place, with and without the right
// checksum. The spool must open or say why not, and whatever it then seals must
// not use a sequence that a file in it already has.
func FuzzLedger(f *testing.F) {
	f.Add([]byte(`{"version":1,"key":"","sequence":5,"id":"ab"}`), true)
	f.Add([]byte(`{"version":2}`), true)
	f.Add([]byte(`{"version":1,"todo":[{"do":"remove","file":"../guard"}]}`), true)
	f.Add([]byte(`{"version":1,"todo":[{"do":"aside","file":"../guard"},{"do":"reject","file":".."}]}`), true)
	f.Add([]byte(`{"version":1,"todo":[{"do":"dance","file":"x"}]}`), true)
	f.Add([]byte(`{"version":1,"counts":{"dropped":1},"told":{"dropped":9}}`), true)
	f.Add([]byte("nonsense"), false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, body []byte, sound bool) {
		outside := t.TempDir()
		guard := filepath.Join(outside, "guard")
		if err := os.WriteFile(guard, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(outside, "spool")
		before := add(t, open(t, dir, spool.Limits{}), "a")
		if sound {
			sum := sha256.Sum256(body)
			body = append([]byte(hex.EncodeToString(sum[:])+"\n"), body...)
		}
		if err := os.WriteFile(filepath.Join(dir, "ledger"), body, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = spool.Read(dir) // it must not panic
		s, err := spool.Open(dir, public(testKey(0)), spool.Limits{})
		if _, gone := os.Stat(guard); gone != nil {
			t.Fatal("a file outside the spool was removed")
		}
		if err != nil {
			return
		}
		e, err := s.Append(report(t, "a"), testKey(0))
		if err == nil && !sound && e.Sequence <= before.Sequence {
			t.Fatalf("sequence %d after %d, with a damaged ledger", e.Sequence, before.Sequence)
		}
	})
}
