package bundle_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

var update = flag.Bool("update", false, "write the v1 vectors that are missing")

// The vectors of bundles; schema/envelope holds the digest of each.
const (
	vectorBundle    = "bundle.bin"
	vectorLines     = "bundle-lines.jsonl"
	vectorRecipient = "bundle-recipient.txt"
	vectorReturn    = "receipts.jsonl"
)

// freeze writes the vectors that are missing, and never changes one. A seal is
// random, so bundle.bin comes out once.
func freeze(t *testing.T) {
	t.Helper()
	content := [][]byte{sealed(t, 1, 200), sealed(t, 2, 400)}
	raw := sealBundle(t, content, manifest(2))
	got, err := bundle.Open(raw, recipient(t))
	if err != nil {
		t.Fatal(err)
	}
	back, err := bundle.EncodeReturn([][]byte{readVector(t, "receipt-envelope.json")})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		vectorBundle:    raw,
		vectorLines:     joined(append(content, signedManifest(t, got.Manifest, hostKey()))...),
		vectorRecipient: []byte(recipient(t).Recipient().String() + "\n"),
		vectorReturn:    back,
	} {
		path := filepath.Join("../testdata/v1", name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFrozenVectors(t *testing.T) {
	if *update {
		freeze(t)
	}
	if got := recipient(t).Recipient().String() + "\n"; got != string(readVector(t, vectorRecipient)) {
		t.Errorf("recipient key is %q", got)
	}
	got, err := bundle.Open(readVector(t, vectorBundle), recipient(t))
	if err != nil {
		t.Fatal(err)
	}
	texts := bytes.Split(bytes.TrimSuffix(readVector(t, vectorLines), []byte("\n")), []byte("\n"))
	if len(got.Lines) != len(texts)-1 {
		t.Fatalf("%d lines, want %d", len(got.Lines), len(texts)-1)
	}
	for i, l := range got.Lines {
		if !bytes.Equal(l.Raw, texts[i]) {
			t.Errorf("line %d differs", i+1)
		}
	}
	// The same lines sealed again differ in every byte of the seal, not in content.
	m, err := bundle.DecodeManifest(payloadOf(t, texts[len(texts)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got.Manifest); diff != "" {
		t.Errorf("manifest (-line +opened):\n%s", diff)
	}
	if err := got.Check(func(bundle.Line, *schema.Report) error { return nil }); err != nil {
		t.Error(err)
	}
	if back, err := bundle.DecodeReturn(readVector(t, vectorReturn)); err != nil || len(back) != 1 || back[0].Type != envelope.TypeReceipt {
		t.Errorf("receipts: %v, %v", back, err)
	}
}

func payloadOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	signed, err := envelope.Verify(raw, 1<<20, bundle.TypeManifest)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Payload
}

// FuzzOpen takes any file for a bundle.
func FuzzOpen(f *testing.F) {
	f.Add(readVector(f, vectorBundle))
	f.Add(sealBundle(f, nil, manifest(0)))
	f.Add([]byte("PPBUNDLE"))
	key := recipient(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := bundle.Open(raw, key)
		checkOpened(t, got, err)
	})
}

// FuzzContent takes anything for what somebody sealed to the collector.
func FuzzContent(f *testing.F) {
	f.Add(readVector(f, vectorLines))
	f.Add([]byte("\n"))
	key := recipient(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := bundle.Open(craft(t, content), key)
		checkOpened(t, got, err)
	})
}

func checkOpened(t *testing.T, got *bundle.Opened, err error) {
	t.Helper()
	if err != nil {
		if !refused(err) {
			t.Errorf("not a refusal: %v", err)
		}
		return
	}
	if err := got.Check(func(bundle.Line, *schema.Report) error { return nil }); err != nil && !refused(err) {
		t.Errorf("check: not a refusal: %v", err)
	}
	if got.Manifest.Count != len(got.Lines) {
		t.Errorf("manifest says %d lines, there are %d", got.Manifest.Count, len(got.Lines))
	}
}

// FuzzManifest holds that a manifest has one spelling.
func FuzzManifest(f *testing.F) {
	texts := bytes.Split(readVector(f, vectorLines), []byte("\n"))
	f.Add(payloadOf(f, texts[len(texts)-2]))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := bundle.DecodeManifest(payload)
		if err != nil {
			if !refused(err) {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		again, err := bundle.EncodeManifest(m)
		if err != nil || !bytes.Equal(payload, again) {
			t.Errorf("%q comes back as %q, %v", payload, again, err)
		}
	})
}

// FuzzReturn takes any file for receipts.
func FuzzReturn(f *testing.F) {
	f.Add(readVector(f, vectorReturn))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := bundle.DecodeReturn(file)
		if err != nil {
			if !refused(err) {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		raws := make([][]byte, len(got))
		for i, l := range got {
			raws[i] = l.Raw
		}
		again, err := bundle.EncodeReturn(raws)
		if err != nil || !bytes.Equal(file, again) {
			t.Errorf("%q comes back as %q, %v", file, again, err)
		}
	})
}
