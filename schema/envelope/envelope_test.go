package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

func TestSealOpenReport(t *testing.T) {
	want := vectorReport(t)
	raw, id, err := envelope.Seal(want, evidenceKey())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := envelope.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	if opened.ID != id || !opened.Key.Equal(publicOf(evidenceKey())) {
		t.Errorf("got id %s and key %x, want %s and %x", opened.ID, opened.Key, id, publicOf(evidenceKey()))
	}
	got, err := opened.Report()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// The reference library agrees on what is signed, and so on the id.
func TestIDIsTheDigestOfTheReferencePreAuthenticationEncoding(t *testing.T) {
	raw, id, err := envelope.Seal(vectorReport(t), evidenceKey())
	if err != nil {
		t.Fatal(err)
	}
	var w dsse.Envelope
	if err := json.Unmarshal(raw, &w); err != nil {
		t.Fatal(err)
	}
	payload, err := w.DecodeB64Payload()
	if err != nil {
		t.Fatal(err)
	}
	pae := dsse.PAE(w.PayloadType, payload)
	if sum := sha256.Sum256(pae); hex.EncodeToString(sum[:]) != id {
		t.Errorf("id %s is not the SHA-256 of the reference encoding", id)
	}
	sig, err := base64.StdEncoding.DecodeString(w.Signatures[0].Sig)
	if err != nil || !ed25519.Verify(publicOf(evidenceKey()), pae, sig) {
		t.Errorf("the signature is not over the reference encoding (%v)", err)
	}
}

func TestSealRefuses(t *testing.T) {
	r := vectorReport(t)
	if _, _, err := envelope.Seal(r, evidenceKey()[:32]); err == nil {
		t.Error("a key of 32 bytes signed")
	}
	r.Sequence = 0
	_, _, err := envelope.Seal(r, evidenceKey())
	if refusal, ok := errors.AsType[*schema.Refusal](err); !ok || refusal.Reason != schema.ReasonOutOfBounds {
		t.Errorf("got %v, want a refusal for %s", err, schema.ReasonOutOfBounds)
	}
	if _, err := envelope.SealReceipt(schema.Receipt{}, receiptKey()); err == nil {
		t.Error("an empty receipt was sealed")
	}
}

func TestSizesAreBounded(t *testing.T) {
	for name, err := range map[string]error{
		"open":         second(envelope.Open(make([]byte, envelope.MaxEnvelope+1))),
		"open_receipt": second(envelope.OpenReceipt(make([]byte, envelope.MaxReceiptEnvelope+1), publicOf(receiptKey()))),
	} {
		if refusal, ok := errors.AsType[*schema.Refusal](err); !ok || refusal.Reason != schema.ReasonTooLarge {
			t.Errorf("%s: got %v, want a refusal for %s", name, err, schema.ReasonTooLarge)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The largest envelope of a receipt that schema allows must fit.
func TestLargestReceiptFits(t *testing.T) {
	r := vectorReceipt(strings.Repeat("0", 64))
	r.Kind, r.LeafIndex = schema.ReceiptRejected, -1
	r.LogOrigin, r.Reason, r.Detail = strings.Repeat("\"", 256), strings.Repeat("\"", 256), strings.Repeat("\"", 5000)
	raw, err := envelope.SealReceipt(r, receiptKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envelope.OpenReceipt(raw, publicOf(receiptKey())); err != nil {
		t.Error(err)
	}
}

// No single changed byte of an envelope leaves it acceptable.
func TestEveryByteCounts(t *testing.T) {
	raw := readVector(t, frozen, "envelope.json")
	for i := range raw {
		for _, bit := range []byte{0x01, 0x20} {
			changed := bytes.Clone(raw)
			changed[i] ^= bit
			if _, err := envelope.Open(changed); err == nil {
				t.Fatalf("byte %d with bit %#02x changed was accepted", i, bit)
			}
		}
	}
}

func TestOpenReceiptWithoutAPinnedKey(t *testing.T) {
	_, err := envelope.OpenReceipt(readVector(t, frozen, "receipt-envelope.json"), nil)
	if refusal, ok := errors.AsType[*schema.Refusal](err); !ok || refusal.Reason != schema.ReasonWrongKey {
		t.Errorf("got %v, want a refusal for %s", err, schema.ReasonWrongKey)
	}
}

func TestSealedReportsOpen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := vectorReport(t)
		r.Host.Hostname = rapid.String().Draw(rt, "hostname")
		r.Gaps[0].Detail = string(rapid.SliceOf(rapid.Byte()).Draw(rt, "detail"))
		r.Labels = rapid.MapOfN(rapid.StringMatching(`[a-z]{1,8}`), rapid.String(), 0, 5).Draw(rt, "labels")
		key := ed25519.NewKeyFromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "seed"))
		raw, id, err := envelope.Seal(r, key)
		if err != nil {
			rt.Fatal(err)
		}
		opened, err := envelope.Open(raw)
		if err != nil {
			rt.Fatal(err)
		}
		if opened.ID != id {
			rt.Fatalf("got id %s, want %s", opened.ID, id)
		}
		if _, err := opened.Report(); err != nil {
			rt.Fatal(err)
		}
	})
}

// A frame of one megabyte that claims 64 must not cost 64 before it is refused.
func TestAClaimedSizeTakesNoMemory(t *testing.T) {
	for _, name := range []string{"frame.bad_frame.blocks_cannot_hold_it.json", "frame.too_large.declares_64_MiB_and_1.json"} {
		opened, err := envelope.Open(readVector(t, bad, name))
		if err != nil {
			t.Fatal(err)
		}
		if took := memoryOf(func() { _, err = opened.Report() }); took > 1<<20 {
			t.Errorf("%s: %d bytes allocated for a refusal", name, took)
		}
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func memoryOf(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Sealing must fit an agent that may use 20 MB in all, and leave nothing running.
func TestSealIsSmallAndLeavesNothingRunning(t *testing.T) {
	r := largeReport(t, 700)
	goroutines := runtime.NumGoroutine()
	took := memoryOf(func() {
		if _, _, err := envelope.Seal(r, evidenceKey()); err != nil {
			t.Fatal(err)
		}
	})
	if limit := uint64(8 << 20); took > limit {
		t.Errorf("sealing 700 packages allocated %d bytes, at most %d", took, limit)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines after sealing, %d before", n, goroutines)
	}
}

const fipsChild = "PATCHPROOF_TEST_FIPS_CHILD"

// Everything here again in a process that allows only approved cryptography.
func TestInFIPSOnlyMode(t *testing.T) {
	if os.Getenv(fipsChild) != "" {
		t.Skip("this is the process in FIPS-only mode")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^(TestSealOpenReport|TestFrozen.*|TestBadVectors.*|TestIDIs.*|TestEveryByteCounts|TestLargest.*)$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", fipsChild+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in FIPS-only mode: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: TestSealOpenReport")) {
		t.Fatalf("the process ran no tests:\n%s", out)
	}
}

func largeReport(t testing.TB, n int) *schema.Report {
	t.Helper()
	ps := make([]schema.Package, n)
	for i := range ps {
		// Digits of a digest stand for versions, which hardly compress.
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		version := fmt.Sprintf("%d.%d.%d", sum[0], sum[1], sum[2])
		name := fmt.Sprintf("lib%x", sum[4:4+3+i%5])
		ps[i] = schema.Package{
			Format: schema.FormatRPM, Name: name, Version: version, Release: fmt.Sprintf("%d.amzn2023.0.%d", sum[3]%9, sum[3]%5),
			Arch: "x86_64", Source: name, SourceVersion: version + "-1.amzn2023.0.2", Vendor: "Amazon Linux",
			InstalledAt: 1_700_000_000 + int64(sum[8])*3600, Status: schema.StatusInstalled,
		}
	}
	text, err := schema.EncodePackages(ps)
	if err != nil {
		t.Fatal(err)
	}
	r := vectorReport(t)
	r.Parts = []schema.Part{schema.NewPart(schema.PartPackages, text)}
	r.Bodies = map[string]string{schema.PartPackages: text}
	return r
}

func BenchmarkSeal(b *testing.B) {
	r := largeReport(b, 700)
	b.ReportAllocs()
	var size int
	for b.Loop() {
		raw, _, err := envelope.Seal(r, evidenceKey())
		if err != nil {
			b.Fatal(err)
		}
		size = len(raw)
	}
	b.ReportMetric(float64(size), "envelope-B")
}

func BenchmarkOpen(b *testing.B) {
	raw, _, err := envelope.Seal(largeReport(b, 700), evidenceKey())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Open(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReport(b *testing.B) {
	raw, _, err := envelope.Seal(largeReport(b, 700), evidenceKey())
	if err != nil {
		b.Fatal(err)
	}
	opened, err := envelope.Open(raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := opened.Report(); err != nil {
			b.Fatal(err)
		}
	}
}

// seeds adds the files of testdata that match.
func seeds(f *testing.F, patterns ...string) {
	f.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		if len(paths) == 0 {
			f.Fatalf("no seeds match %s", pattern)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// FuzzOpen also signs the input as a payload, so that the fuzzer gets past the
// signature.
func FuzzOpen(f *testing.F) {
	seeds(f, frozen+"/envelope.json", bad+"/envelope.*", bad+"/frame.*")
	seedPayloads(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		tryOpen(t, data)
		tryOpen(t, sign(t, evidenceKey(), envelope.TypeStatement, data))
	})
}

// seedPayloads adds what the frame vectors carry.
func seedPayloads(f *testing.F) {
	f.Helper()
	paths, err := filepath.Glob(bad + "/frame.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, frozen+"/envelope.json") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var w dsse.Envelope
		if err := json.Unmarshal(data, &w); err != nil {
			f.Fatal(err)
		}
		payload, err := w.DecodeB64Payload()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
}

func tryOpen(t *testing.T, raw []byte) {
	t.Helper()
	opened, err := envelope.Open(raw)
	if err != nil {
		wantRefusal(t, err)
		return
	}
	var w dsse.Envelope
	if err := json.Unmarshal(raw, &w); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(w); err != nil || !bytes.Equal(again, raw) {
		t.Fatalf("accepted %q, the reference spells it %q (%v)", raw, again, err)
	}
	r, err := opened.Report()
	if err != nil {
		wantRefusal(t, err)
		return
	}
	if _, err := schema.EncodeStatement(r); err != nil {
		t.Fatalf("accepted report does not encode: %v", err)
	}
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*schema.Refusal](err); !ok {
		t.Fatalf("not a refusal: %v", err)
	}
}

func FuzzOpenReceipt(f *testing.F) {
	seeds(f, frozen+"/receipt*.json", bad+"/receipt*")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, raw := range [][]byte{data, sign(t, receiptKey(), envelope.TypeReceipt, data)} {
			r, err := envelope.OpenReceipt(raw, publicOf(receiptKey()))
			if err != nil {
				wantRefusal(t, err)
				continue
			}
			again, err := envelope.SealReceipt(r, receiptKey())
			if err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("sealed again, %v:\n%s\nwant\n%s", err, again, raw)
			}
		}
	})
}
