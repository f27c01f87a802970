package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

var madeAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func keyOf(sentence string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(sentence))
	return ed25519.NewKeyFromSeed(seed[:])
}

func hostKey() ed25519.PrivateKey { return keyOf("patchproof v1 vector: evidence key") }

func idOf(key ed25519.PrivateKey) string { return schema.KeyID(key.Public().(ed25519.PublicKey)) }

// recipient is a fixed key: its private half is the SHA-256 of a sentence.
func recipient(t testing.TB) *bundle.RecipientKey {
	t.Helper()
	seed := sha256.Sum256([]byte("patchproof v1 vector: recipient key"))
	return must(t)(bundle.ParseRecipientKey(seed[:]))
}

func must(t testing.TB) func(*bundle.RecipientKey, error) *bundle.RecipientKey {
	return func(k *bundle.RecipientKey, err error) *bundle.RecipientKey {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

// report is the host's full report with a sequence and about size bytes of packages.
func report(t testing.TB, sequence uint64, size int) *schema.Report {
	t.Helper()
	packages := []schema.Package{}
	for i := 0; i == 0 || i*70 < size; i++ {
		noise := sha256.Sum256(binary.BigEndian.AppendUint64(nil, sequence<<32|uint64(i)))
		packages = append(packages, schema.Package{
			Format: schema.FormatDeb, Name: "p" + schema.KeyID(noise[:12]), Version: "1", Release: "1", Arch: "amd64",
			Source: "p", SourceVersion: "1-1", Status: schema.StatusInstalled,
		})
	}
	text, err := schema.EncodePackages(packages)
	if err != nil {
		t.Fatal(err)
	}
	r := &schema.Report{
		Sequence: sequence, CollectedAt: madeAt.Add(time.Duration(sequence) * time.Hour), TransportKey: "U" + strings.Repeat("A", 55),
		Agent:  schema.Agent{Version: "1.0.0", GoVersion: "go1.26", Platform: "linux/amd64"},
		Host:   schema.Host{Hostname: "cold-1.example", Arch: "x86_64"},
		OS:     schema.OSRelease{ID: "debian", VersionID: "12"},
		Parts:  []schema.Part{schema.NewPart(schema.PartPackages, text)},
		Bodies: map[string]string{schema.PartPackages: text},
	}
	if sequence > 1 {
		r.Previous = strings.Repeat("ab", 32)
	}
	return r
}

func sealed(t testing.TB, sequence uint64, size int) []byte {
	t.Helper()
	raw, _, err := envelope.Seal(report(t, sequence, size), hostKey())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func lines(t testing.TB, n, size int) [][]byte {
	t.Helper()
	out := make([][]byte, n)
	for i := range out {
		out[i] = sealed(t, uint64(i)+1, size)
	}
	return out
}

func manifest(n int) bundle.Manifest {
	m := bundle.Manifest{MadeAt: madeAt, Agent: "1.0.0"}
	if n > 0 {
		m.First, m.Last = 1, uint64(n)
	}
	return m
}

func sealBundle(t testing.TB, content [][]byte, m bundle.Manifest) []byte {
	t.Helper()
	raw, err := bundle.Seal(recipient(t).Recipient(), content, m, hostKey())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func wantRefused(t *testing.T, err error, reason string) {
	t.Helper()
	r, ok := errors.AsType[*schema.Refusal](err)
	if !ok || r.Reason != reason {
		t.Errorf("got %v, want a refusal for %s", err, reason)
	}
}

func TestBundleComesBackAsItWasSealed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 6).Draw(rt, "reports")
		content := lines(t, n, rapid.IntRange(0, 2000).Draw(rt, "size"))
		raw := sealBundle(t, content, manifest(n))
		if len(raw) < bundle.Overhead {
			rt.Fatalf("%d bytes", len(raw))
		}
		other, err := bundle.NewRecipientKey()
		if err != nil {
			rt.Fatal(err)
		}
		got, err := bundle.Open(raw, other, recipient(t))
		if err != nil {
			rt.Fatal(err)
		}
		if got.Recipient != recipient(t).Recipient().ID() || got.Manifest.Host != idOf(hostKey()) || got.Manifest.Count != n {
			rt.Fatalf("got %+v", got)
		}
		for i, l := range got.Lines {
			if !bytes.Equal(l.Raw, content[i]) {
				rt.Errorf("line %d is another", i+1)
			}
		}
		var sequences []uint64
		if err := got.Check(func(_ bundle.Line, r *schema.Report) error {
			sequences = append(sequences, r.Sequence)
			return nil
		}); err != nil || len(sequences) != n {
			rt.Errorf("got reports %v, %v", sequences, err)
		}
	})
}

func TestOverheadIsExact(t *testing.T) {
	content := lines(t, 2, 100)
	raw := sealBundle(t, content, manifest(2))
	opened, err := bundle.Open(raw, recipient(t))
	if err != nil {
		t.Fatal(err)
	}
	inside := 0
	for _, l := range opened.Lines {
		inside += len(l.Raw) + 1
	}
	payload, err := bundle.EncodeManifest(opened.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	last, _, err := envelope.Sign(bundle.TypeManifest, payload, hostKey())
	if err != nil {
		t.Fatal(err)
	}
	if want := inside + len(last) + 1 + bundle.Overhead; len(raw) != want {
		t.Errorf("%d bytes, want %d", len(raw), want)
	}
}

// craft seals any content to the recipient, as somebody who knows only the public
// key can.
func craft(t testing.TB, content []byte) []byte {
	t.Helper()
	whole := sealBundle(t, nil, manifest(0))
	head := whole[:bundle.HeaderSize]
	key, err := hpke.MLKEM768P256().NewPublicKey(publicBytes(t))
	if err != nil {
		t.Fatal(err)
	}
	ct, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), head, content)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(head), ct...)
}

func publicBytes(t testing.TB) []byte {
	t.Helper()
	seed := sha256.Sum256([]byte("patchproof v1 vector: recipient key"))
	k, err := hpke.MLKEM768P256().NewPrivateKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k.PublicKey().Bytes()
}

// signedManifest is the last line for some lines, as m says it.
func signedManifest(t testing.TB, m bundle.Manifest, key ed25519.PrivateKey) []byte {
	t.Helper()
	payload, err := schema.MarshalCanonical(m)
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := envelope.Sign(bundle.TypeManifest, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func joined(parts ...[]byte) []byte { return append(bytes.Join(parts, []byte("\n")), '\n') }

func TestContentIsRefusedFor(t *testing.T) {
	one, two := sealed(t, 1, 10), sealed(t, 2, 10)
	idOne, idTwo := opened(t, one).ID, opened(t, two).ID
	other := keyOf("another host")
	m := bundle.Manifest{Host: idOf(hostKey()), First: 1, Last: 2, Count: 2, IDs: []string{idOne, idTwo}, MadeAt: madeAt, Agent: "1"}
	alter := func(change func(*bundle.Manifest)) bundle.Manifest {
		c := m
		change(&c)
		return c
	}
	receipt, err := envelope.SealReceipt(schema.Receipt{
		Kind: schema.ReceiptAccepted, ReportID: idOne, Host: idOf(hostKey()), Sequence: 1, LogOrigin: "log", ReceivedAt: madeAt,
	}, hostKey())
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Replace(one, []byte(`"sig":"`), []byte(`"sig":"A`), 1)
	flipped := bytes.Clone(one)
	at := bytes.Index(flipped, []byte(`"sig":"`)) + 12
	if flipped[at]++; flipped[at] > 'y' {
		flipped[at] = 'a'
	}
	for name, c := range map[string]struct {
		content []byte
		reason  string
	}{
		"nothing":                  {nil, schema.ReasonBadLines},
		"no_last_newline":          {bytes.TrimSuffix(joined(one, two, signedManifest(t, m, hostKey())), []byte("\n")), schema.ReasonBadLines},
		"no_manifest":              {joined(one, two), schema.ReasonPayloadType},
		"empty_line":               {joined(one, nil, two, signedManifest(t, m, hostKey())), schema.ReasonMalformed},
		"carriage_return":          {bytes.ReplaceAll(joined(one, two, signedManifest(t, m, hostKey())), []byte("\n"), []byte("\r\n")), schema.ReasonNotCanonical},
		"manifest_in_the_middle":   {joined(one, signedManifest(t, m, hostKey()), two), schema.ReasonPayloadType},
		"a_receipt_as_line":        {joined(receipt, signedManifest(t, m, hostKey())), schema.ReasonPayloadType},
		"a_line_missing":           {joined(one, signedManifest(t, m, hostKey())), schema.ReasonManifestDiffers},
		"lines_swapped":            {joined(two, one, signedManifest(t, m, hostKey())), schema.ReasonManifestDiffers},
		"a_line_twice":             {joined(one, one, signedManifest(t, m, hostKey())), schema.ReasonManifestDiffers},
		"signed_by_another":        {joined(one, two, signedManifest(t, m, other)), schema.ReasonManifestDiffers},
		"signature_re_spelt":       {joined(broken, two, signedManifest(t, m, hostKey())), schema.ReasonMalformed},
		"signature_of_other_bytes": {joined(flipped, two, signedManifest(t, m, hostKey())), schema.ReasonBadSignature},
		"id_twice":                 {joined(one, two, signedManifest(t, alter(func(m *bundle.Manifest) { m.IDs = []string{idOne, idOne} }), hostKey())), schema.ReasonOutOfBounds},
		"count_wrong":              {joined(one, two, signedManifest(t, alter(func(m *bundle.Manifest) { m.Count = 3 }), hostKey())), schema.ReasonOutOfBounds},
		"no_time":                  {joined(one, two, signedManifest(t, alter(func(m *bundle.Manifest) { m.MadeAt = time.Time{} }), hostKey())), schema.ReasonOutOfBounds},
		"last_before_first":        {joined(one, two, signedManifest(t, alter(func(m *bundle.Manifest) { m.First = 3 }), hostKey())), schema.ReasonOutOfBounds},
		"too_many_lines":           {append(bytes.Repeat([]byte("\n"), bundle.MaxLines+1), joined(signedManifest(t, m, hostKey()))...), schema.ReasonBadLines},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Open(craft(t, c.content), recipient(t))
			wantRefused(t, err, c.reason)
		})
	}
	sound, err := bundle.Open(craft(t, joined(one, two, signedManifest(t, m, hostKey()))), recipient(t))
	if err != nil || len(sound.Lines) != 2 {
		t.Fatalf("the content that the others are made from is refused: %v", err)
	}
	claims, err := bundle.Open(craft(t, joined(one, two, signedManifest(t, alter(func(m *bundle.Manifest) { m.Last = 7 }), hostKey()))), recipient(t))
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, claims.Check(func(bundle.Line, *schema.Report) error { return nil }), schema.ReasonManifestDiffers)
}

func opened(t testing.TB, raw []byte) *envelope.Opened {
	t.Helper()
	o, err := envelope.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSealRefusesWhatNobodyWouldAccept(t *testing.T) {
	big := sealed(t, 1, 5<<20)
	var many [][]byte
	for size := 0; size < bundle.MaxSize; size += len(big) {
		many = append(many, big)
	}
	for name, content := range map[string][][]byte{"too_large": many, "no_envelope": {[]byte("x")}, "twice": {sealed(t, 1, 1), sealed(t, 1, 1)}} {
		if _, err := bundle.Seal(recipient(t).Recipient(), content, manifest(1), hostKey()); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestHeaderIsRefusedFor(t *testing.T) {
	raw := sealBundle(t, lines(t, 1, 10), manifest(1))
	other, err := bundle.NewRecipientKey()
	if err != nil {
		t.Fatal(err)
	}
	_, err = bundle.Open(raw, other)
	wantRefused(t, err, schema.ReasonWrongRecipient)
	_, err = bundle.Open(raw)
	wantRefused(t, err, schema.ReasonWrongRecipient)
	_, err = bundle.Open(append(bytes.Clone(raw), 0), recipient(t))
	wantRefused(t, err, schema.ReasonBadSeal)
	_, err = bundle.Open(make([]byte, bundle.MaxSize+1), recipient(t))
	wantRefused(t, err, schema.ReasonTooLarge)
	for at, reason := range map[int]string{0: schema.ReasonBadHeader, 9: schema.ReasonBadHeader, 11: schema.ReasonBadHeader, 13: schema.ReasonBadHeader, 15: schema.ReasonBadHeader, 16: schema.ReasonWrongRecipient, bundle.HeaderSize: schema.ReasonBadSeal} {
		changed := bytes.Clone(raw)
		changed[at] ^= 1
		_, err := bundle.Open(changed, recipient(t))
		wantRefused(t, err, reason)
	}
}

// TestEveryBitAndEveryCutIsRefused takes a bundle of 64 KiB. All of its bits take
// minutes; without PATCHPROOF_TEST_ALL_BITS the header and the encapsulated key are
// tried bit by bit and the rest at every 61st.
func TestEveryBitAndEveryCutIsRefused(t *testing.T) {
	key := recipient(t)
	raw := sixtyFourKiB(t)
	step := 61
	if os.Getenv("PATCHPROOF_TEST_ALL_BITS") != "" {
		step = 1
	}
	bits := 8 * len(raw)
	tried := make([]int, runtime.NumCPU())
	var wg sync.WaitGroup
	for w := range tried {
		wg.Go(func() {
			mine := bytes.Clone(raw)
			for bit := w; bit < bits; bit += len(tried) {
				if bit >= 8*bundle.Overhead && bit/len(tried)%step != 0 {
					continue
				}
				tried[w]++
				mine[bit/8] ^= 1 << (bit % 8)
				if _, err := bundle.Open(mine, key); !refused(err) {
					t.Errorf("bit %d: %v", bit, err)
				}
				mine[bit/8] ^= 1 << (bit % 8)
			}
			for n := w; n < len(raw); n += len(tried) {
				if n >= bundle.Overhead && n/len(tried)%step != 0 {
					continue
				}
				tried[w]++
				if _, err := bundle.Open(raw[:n], key); !refused(err) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range tried {
		sum += n
	}
	t.Logf("%d of %d bits and cuts of a bundle of %d bytes tried", sum, bits+len(raw), len(raw))
	if _, err := bundle.Open(raw, key); err != nil {
		t.Errorf("the bundle itself: %v", err)
	}
}

func refused(err error) bool {
	_, ok := errors.AsType[*schema.Refusal](err)
	return ok
}

// sixtyFourKiB is a bundle of about 64 KiB, of three reports.
func sixtyFourKiB(t testing.TB) []byte {
	t.Helper()
	raw := sealBundle(t, lines(t, 3, 74<<10), manifest(3))
	if n := len(raw); n < 60<<10 || n > 70<<10 {
		t.Fatalf("%d bytes", n)
	}
	return raw
}

func TestRecipientText(t *testing.T) {
	key := recipient(t)
	text := key.Recipient().String()
	got, err := bundle.ParseRecipient(text)
	if err != nil || got.ID() != key.Recipient().ID() || got.Fingerprint() != key.Recipient().Fingerprint() {
		t.Fatalf("parse %q: %v", text, err)
	}
	for _, bad := range []string{"", "x25519:" + text, text[:len(text)-1], text + "A", text + "\n", strings.TrimPrefix(text, "mlkem768p256:"), "mlkem768p256:AAAA"} {
		if _, err := bundle.ParseRecipient(bad); err == nil {
			t.Errorf("took %.40q", bad)
		}
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bundle.ParseRecipientKey(raw)
	if err != nil || again.Recipient().String() != text {
		t.Errorf("private key comes back as another: %v", err)
	}
	if _, err := bundle.ParseRecipientKey(raw[1:]); err == nil {
		t.Error("took a private key of 31 bytes")
	}
}

func TestReturnedLines(t *testing.T) {
	receipt := readVector(t, "receipt-envelope.json")
	file, err := bundle.EncodeReturn([][]byte{receipt, receipt})
	if err != nil {
		t.Fatal(err)
	}
	got, err := bundle.DecodeReturn(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []bundle.Returned{{Type: envelope.TypeReceipt, Raw: receipt}, {Type: envelope.TypeReceipt, Raw: receipt}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	for n := range len(file) {
		if _, err := bundle.DecodeReturn(file[:n]); !refused(err) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(file), err)
		}
	}
	empty, err := bundle.EncodeReturn(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bundle.DecodeReturn(empty); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %v, %v", got, err)
	}
	_, err = bundle.DecodeReturn([]byte(`{"format":"other","version":1,"lines":0}` + "\n"))
	wantRefused(t, err, schema.ReasonBadHeader)
	_, err = bundle.DecodeReturn(make([]byte, bundle.MaxReturn+1))
	wantRefused(t, err, schema.ReasonTooLarge)
	if _, err := bundle.EncodeReturn(make([][]byte, bundle.MaxReturnLines+1)); err == nil {
		t.Error("wrote more lines than can be read")
	}
}

func readVector(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../testdata/v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
