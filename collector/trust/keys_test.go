package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

func open(t *testing.T, dir string) *trust.Keys {
	t.Helper()
	k, err := trust.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "keys")
	first, second := open(t, dir), open(t, dir)
	if !first.Receipt.Equal(second.Receipt) || first.LogVerifierKey != second.LogVerifierKey || first.Origin != second.Origin ||
		first.Recipient.Recipient().ID() != second.Recipient.Recipient().ID() {
		t.Error("the keys changed between two opens")
	}
	other := open(t, t.TempDir()+"/keys")
	if other.Receipt.Equal(first.Receipt) || other.Origin == first.Origin || other.Recipient.Recipient().ID() == first.Recipient.Recipient().ID() {
		t.Error("two collectors share a key or an origin")
	}
	if _, err := schema.ParseKeyID(first.Pin()); err != nil {
		t.Errorf("pin %q: %v", first.Pin(), err)
	}
	if got, err := schema.ParseFingerprint(first.Fingerprint()); err != nil || got != first.Fingerprint() {
		t.Errorf("fingerprint %q: %v", first.Fingerprint(), err)
	}
}

func TestKeyFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	open(t, dir)
	for path, want := range map[string]os.FileMode{
		dir: 0o700, filepath.Join(dir, trust.ReceiptFile): 0o600, filepath.Join(dir, trust.LogFile): 0o600, filepath.Join(dir, trust.RecipientFile): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%d files in the directory (%v), want 3", len(entries), err)
	}
}

func TestRefusesWhatOthersCanRead(t *testing.T) {
	for _, c := range []struct {
		file string
		mode os.FileMode
	}{{"", 0o755}, {"", 0o710}, {trust.ReceiptFile, 0o640}, {trust.ReceiptFile, 0o604}, {trust.LogFile, 0o644}, {trust.LogFile, 0o620}} {
		dir := filepath.Join(t.TempDir(), "keys")
		open(t, dir)
		path := filepath.Join(dir, c.file)
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := trust.OpenKeys(dir)
		if err == nil || !strings.Contains(err.Error(), "chmod") || !strings.Contains(err.Error(), path) {
			t.Errorf("%q with mode %04o: got error %v, want one that says what to do", c.file, c.mode, err)
		}
	}
}

func TestRefusesOtherContent(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p256 := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, c := range map[string]struct {
		file    string
		content []byte
	}{
		"empty receipt key":         {trust.ReceiptFile, nil},
		"a receipt key of P-256":    {trust.ReceiptFile, p256},
		"not PEM":                   {trust.ReceiptFile, []byte("hello\n")},
		"a receipt key of 1 MB":     {trust.ReceiptFile, bytes.Repeat([]byte("x"), 1<<20)},
		"empty log key":             {trust.LogFile, nil},
		"a log key without a field": {trust.LogFile, []byte("PRIVATE+KEY+name+abcdef\n")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			open(t, dir)
			path := filepath.Join(dir, c.file)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := trust.OpenKeys(dir); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one that names %s", err, path)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, c.content) {
				t.Errorf("the file was overwritten (%v)", err)
			}
		})
	}
}

func TestRefusesTwoReceiptKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	open(t, dir)
	path := filepath.Join(dir, trust.ReceiptFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.OpenKeys(dir); err == nil {
		t.Error("a file with two keys was accepted")
	}
}

func TestRefusesAFileInPlaceOfTheDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.OpenKeys(path); err == nil {
		t.Error("a file was taken for the key directory")
	}
}

func TestManyFirstStartsAgree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	pins := make([]string, 8)
	var wg sync.WaitGroup
	for i := range pins {
		wg.Go(func() {
			k, err := trust.OpenKeys(dir)
			if err != nil {
				t.Error(err)
				return
			}
			pins[i] = k.Pin() + k.LogVerifierKey
		})
	}
	wg.Wait()
	for _, p := range pins {
		if p != pins[0] {
			t.Errorf("keys differ: %s and %s", pins[0], p)
		}
	}
}

func TestLogKeySigns(t *testing.T) {
	k := open(t, filepath.Join(t.TempDir(), "keys"))
	signed, err := note.Sign(&note.Note{Text: "head\n"}, k.Log)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(k.LogVerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []note.Verifier{v, k.LogVerifier} {
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			t.Error(err)
		}
	}
}
