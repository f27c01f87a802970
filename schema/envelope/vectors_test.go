package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

var update = flag.Bool("update", false, "write the bad vectors again, and the v1 vectors that are missing")

const (
	frozen = "../testdata/v1"
	bad    = "../testdata/bad"
)

// The SHA-256 of every frozen vector. A change here breaks every agent and
// every stored envelope there is: add a v2 beside it instead.
var frozenDigests = map[string]string{
	"bundle-lines.jsonl":    "2d91d7a522be8b0161bb0b904698646e5c55d1096d3952ceac90e52d7abfefac",
	"bundle-recipient.txt":  "7458de2e5d9ee08f1abf304d01d961d5c8b62ced7787a60528f8fe344e8c5e18",
	"bundle.bin":            "6785239fad3f6d165f3056f92794b597c464cd68d5478c814a7d8bafbfefa1d1",
	"envelope.id":           "3f0b125089475b4ae61f2764f27c61281f78911d8401a2ba3fc04fb60361abaf",
	"envelope.json":         "ec0d6184199e5dd534bbe85ef09893e62def8200b48d517b43f4d60d265ca004",
	"keys.txt":              "81a468445bad9db83cb2596720ebad6fb43588d1d1b1768651b5ecf2d68b73b5",
	"packages.txt":          "0346cb674bb7df88809f17477fdc3226449daaef8e85d4cd15b4cb3c03f712d6",
	"receipt-envelope.json": "089ce87d3e63c8e24591210afc2b22a65221dbf5c47811348c3ad1b4078181bf",
	"receipts.jsonl":        "725078b020cd400397313379ed351368c0124011f540f4dfec645ac70eba9cdd",
	"receipt.json":          "1556143e23c67d3e3771fcd9c99d54d227f4e4f8860726b0a6495c303e7c0b9b",
	"statement.json":        "dca5e22cd1d547eace790ea4d217cb280db8f3e23eb8db77a408998f437d258f",
}

// vectorKey is an Ed25519 key whose seed is the SHA-256 of a sentence.
func vectorKey(sentence string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(sentence))
	return ed25519.NewKeyFromSeed(seed[:])
}

func evidenceKey() ed25519.PrivateKey { return vectorKey("patchproof v1 vector: evidence key") }
func receiptKey() ed25519.PrivateKey  { return vectorKey("patchproof v1 vector: receipt key") }

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return ed25519.PublicKey(key[32:]) }

// keysText is each key's id and fingerprint.
func keysText() string {
	evidence, receipt := publicOf(evidenceKey()), publicOf(receiptKey())
	return "evidence " + schema.KeyID(evidence) + " " + schema.Fingerprint(evidence) + "\n" +
		"receipt " + schema.KeyID(receipt) + " " + schema.Fingerprint(receipt) + "\n"
}

func vectorPackages() []schema.Package {
	return []schema.Package{
		{
			Format: schema.FormatDeb, Name: "libssl3", Version: "3.0.15", Release: "1~deb12u1", Arch: "amd64",
			Source: "openssl", SourceVersion: "3.0.15-1~deb12u1", Vendor: "Debian", Status: schema.StatusInstalled,
		},
		{
			Format: schema.FormatDeb, Name: "vim-common", Epoch: 2, Version: "9.0.1378", Release: "2+deb12u2", Arch: "all",
			Source: "vim", SourceVersion: "2:9.0.1378-2+deb12u2", Status: schema.StatusTriggersPending,
		},
		{
			Format: schema.FormatRPM, Name: "nodejs", Epoch: 1, Version: "18.20.4", Release: "1.module_el9.4.0+120+a6e3c4e2", Arch: "x86_64",
			Source: "nodejs", SourceVersion: "1:18.20.4-1.module_el9.4.0+120+a6e3c4e2", Vendor: "AlmaLinux",
			Module: "nodejs:18:9040020240807131341:rhel9", InstalledAt: 1_725_000_000, Status: schema.StatusInstalled,
		},
		{
			Format: schema.FormatRPM, Name: "odd", Version: "1^git", Release: "1", Arch: "noarch", Source: "odd", SourceVersion: "1^git-1",
			Vendor: "Caf\xe9 \\ S\u00f6hne\tGmbH", InstalledAt: 1_600_000_000, Status: schema.StatusInstalled,
		},
	}
}

func vectorReport(t testing.TB) *schema.Report {
	t.Helper()
	packages, err := schema.EncodePackages(vectorPackages())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 30, 45, 123456000, time.UTC)
	return &schema.Report{
		Sequence: 7, Previous: strings.Repeat("ab", 32), CollectedAt: at, TransportKey: "U" + strings.Repeat("A", 55),
		Agent: schema.Agent{Version: "1.0.0", GoVersion: "go1.26.3", Platform: "linux/amd64"},
		Host: schema.Host{
			Hostname: "web-1.example", Arch: "x86_64", MachineID: strings.Repeat("5a", 16), ProductVendor: "Amazon EC2",
			ProductName: "m7i.large <&>", CPUs: 2, MemoryBytes: 8 << 30, Virtualization: "kvm", Addresses: []string{"192.0.2.10", "2001:db8::10"},
		},
		OS: schema.OSRelease{
			ID: "debian", VersionID: "12", Codename: "bookworm", Name: "Debian GNU/Linux",
			PrettyName: "Debian GNU/Linux 12 (bookworm)", IDLike: []string{"example"}, CPEName: "cpe:/o:debian:debian_linux:12",
		},
		Kernel: schema.Kernel{
			Release: "6.1.0-28-amd64", Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)", Machine: "x86_64",
			Installed: []schema.InstalledKernel{{Release: "6.1.0-28-amd64", Package: "linux-image-6.1.0-28-amd64"}, {Release: "6.1.0-29-amd64"}},
		},
		Boot: schema.Boot{ID: "0e8e1a4c-6d0c-4f0e-9d5b-0f4d6a1c2b3d", Time: at.Add(-72 * time.Hour)},
		Cloud: &schema.Cloud{
			Provider: "aws", AccountID: "123456789012", Region: "eu-central-1", AvailabilityZone: "eu-central-1a",
			InstanceID: "i-0123456789abcdef0", InstanceType: "m7i.large", ImageID: "ami-0123456789abcdef0",
			Tags: map[string]string{"Name": "web-1", "team": "core"}, IdentityDocument: "{\n  \"region\" : \"eu-central-1\"\n}", IdentitySignature: "TUlJ\n",
		},
		Labels: map[string]string{"environment": "production"},
		Parts: []schema.Part{
			{Name: "kernel", Digest: strings.Repeat("cd", 32), Size: 120, Count: 3},
			schema.NewPart(schema.PartPackages, packages),
		},
		Bodies: map[string]string{schema.PartPackages: packages},
		Gaps:   []schema.Gap{{Extractor: "rpm", Kind: schema.GapUnreadable, Path: "/var/lib/rpm/rpmdb.sqlite", Detail: "permission denied"}},
		Cost:   schema.Cost{CPU: 12 * time.Millisecond, PeakRSS: 14 << 20, Duration: 30 * time.Millisecond, PartsReused: 1},
	}
}

func vectorReceipt(id string) schema.Receipt {
	return schema.Receipt{
		Kind: schema.ReceiptAccepted, ReportID: id, Host: schema.KeyID(publicOf(evidenceKey())), Sequence: 7,
		LogOrigin: "patchproof.example/log", LogEpoch: 1, LeafIndex: 41,
		ReceivedAt: time.Date(2026, 3, 1, 12, 31, 0, 1000, time.UTC),
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func readVector(t testing.TB, dir, name string) []byte {
	t.Helper()
	return must[[]byte](t)(os.ReadFile(filepath.Join(dir, name)))
}

// freeze writes the v1 vectors that are missing, and never changes one.
func freeze(t *testing.T) {
	t.Helper()
	r := vectorReport(t)
	raw, id, err := envelope.Seal(r, evidenceKey())
	if err != nil {
		t.Fatal(err)
	}
	receipt := vectorReceipt(id)
	for name, data := range map[string][]byte{
		"packages.txt":          []byte(r.Bodies[schema.PartPackages]),
		"statement.json":        must[[]byte](t)(schema.EncodeStatement(r)),
		"envelope.json":         raw,
		"envelope.id":           []byte(id + "\n"),
		"receipt.json":          must[[]byte](t)(schema.EncodeReceipt(receipt)),
		"receipt-envelope.json": must[[]byte](t)(envelope.SealReceipt(receipt, receiptKey())),
		"keys.txt":              []byte(keysText()),
	} {
		path := filepath.Join(frozen, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFrozenVectorsNeverChange(t *testing.T) {
	if *update {
		freeze(t)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(frozen))
	got := map[string]string{}
	for _, e := range entries {
		sum := sha256.Sum256(readVector(t, frozen, e.Name()))
		got[e.Name()] = hex.EncodeToString(sum[:])
	}
	if diff := cmp.Diff(frozenDigests, got); diff != "" {
		t.Errorf("frozen vectors (-want +got):\n%s", diff)
	}
}

func TestFrozenVectorsDecodeAndEncodeAgain(t *testing.T) {
	want := vectorReport(t)
	opened := must[*envelope.Opened](t)(envelope.Open(readVector(t, frozen, "envelope.json")))
	if id := strings.TrimSpace(string(readVector(t, frozen, "envelope.id"))); opened.ID != id {
		t.Errorf("got id %s, want %s", opened.ID, id)
	}
	if !opened.Key.Equal(publicOf(evidenceKey())) {
		t.Errorf("got key %x", opened.Key)
	}
	got := must[*schema.Report](t)(opened.Report())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if again := must[[]byte](t)(schema.EncodeStatement(got)); !bytes.Equal(again, readVector(t, frozen, "statement.json")) {
		t.Errorf("the statement encodes to\n%s", again)
	}

	text := string(readVector(t, frozen, "packages.txt"))
	packages := must[[]schema.Package](t)(schema.DecodePackages(text))
	if diff := cmp.Diff(vectorPackages(), packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if again := must[string](t)(schema.EncodePackages(packages)); again != text || got.Bodies[schema.PartPackages] != text {
		t.Errorf("the packages encode to\n%s", again)
	}

	if got, want := keysText(), string(readVector(t, frozen, "keys.txt")); got != want {
		t.Errorf("got keys\n%s\nwant\n%s", got, want)
	}

	raw := readVector(t, frozen, "receipt-envelope.json")
	receipt := must[schema.Receipt](t)(envelope.OpenReceipt(raw, publicOf(receiptKey())))
	if diff := cmp.Diff(vectorReceipt(opened.ID), receipt); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	if again := must[[]byte](t)(schema.EncodeReceipt(receipt)); !bytes.Equal(again, readVector(t, frozen, "receipt.json")) {
		t.Errorf("the receipt encodes to\n%s", again)
	}
	// Ed25519 is deterministic and receipts are not compressed, so this holds
	// for every version of every library.
	if again := must[[]byte](t)(envelope.SealReceipt(receipt, receiptKey())); !bytes.Equal(again, raw) {
		t.Errorf("the receipt seals to\n%s", again)
	}
}

// Bad vectors are named KIND.REASON.WHAT.EXT.
func TestBadVectorsAreRefusedForTheirReason(t *testing.T) {
	if *update {
		writeBad(t)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(bad))
	if want := len(badVectors(t)); len(entries) != want {
		t.Errorf("%d bad vectors on disk, want %d: run with -update", len(entries), want)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			words := strings.Split(e.Name(), ".")
			if len(words) != 4 {
				t.Fatal("want a name of the form KIND.REASON.WHAT.EXT")
			}
			err := decodeKind(t, words[0], readVector(t, bad, e.Name()))
			refusal, ok := errors.AsType[*schema.Refusal](err)
			if !ok {
				t.Fatalf("got error %v, want a refusal", err)
			}
			if refusal.Reason != words[1] {
				t.Errorf("got %q, want reason %s", refusal, words[1])
			}
		})
	}
}

func decodeKind(t *testing.T, kind string, data []byte) (err error) {
	t.Helper()
	switch kind {
	case "packages":
		_, err = schema.DecodePackages(string(data))
	case "statement":
		_, err = schema.DecodeStatement(data)
	case "receipt":
		_, err = schema.DecodeReceipt(data)
	case "receipt-envelope":
		_, err = envelope.OpenReceipt(data, publicOf(receiptKey()))
	case "envelope":
		_, err = envelope.Open(data)
	case "frame":
		// The envelope is sound; what it carries is not.
		var o *envelope.Opened
		if o, err = envelope.Open(data); err != nil {
			t.Fatalf("open: %v", err)
		}
		_, err = o.Report()
	default:
		t.Fatalf("unknown kind %q", kind)
	}
	return err
}

func writeBad(t *testing.T) {
	t.Helper()
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(bad)) {
		if err := os.Remove(filepath.Join(bad, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range badVectors(t) {
		if err := os.WriteFile(filepath.Join(bad, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func badVectors(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, add := range []func(*testing.T, map[string][]byte){badPackages, badStatements, badBodies, badReceipts, badEnvelopes, badFrames} {
		add(t, all)
	}
	return all
}

// swap replaces the one occurrence of old.
func swap(t *testing.T, s []byte, from, to string) []byte {
	t.Helper()
	if n := bytes.Count(s, []byte(from)); n != 1 {
		t.Fatalf("%q occurs %d times, want once", from, n)
	}
	return bytes.Replace(s, []byte(from), []byte(to), 1)
}

func badPackages(t *testing.T, all map[string][]byte) {
	text := readVector(t, frozen, "packages.txt")
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	all["packages.body_not_canonical.unsorted.txt"] = []byte(lines[1] + lines[0])
	all["packages.body_not_canonical.line_twice.txt"] = []byte(lines[0] + lines[0])
	all["packages.body_not_canonical.no_last_newline.txt"] = bytes.TrimSuffix(text, []byte("\n"))
	all["packages.body_not_canonical.column_missing.txt"] = swap(t, text, "\tnodejs:18:9040020240807131341:rhel9", "")
	all["packages.body_not_canonical.column_too_many.txt"] = swap(t, text, "AlmaLinux", "Alma\tLinux")
	all["packages.body_not_canonical.escape_not_needed.txt"] = swap(t, text, "AlmaLinux", `\x41lmaLinux`)
	all["packages.body_not_canonical.escape_unknown.txt"] = swap(t, text, "AlmaLinux", `\tAlmaLinux`)
	all["packages.body_not_canonical.control_unescaped.txt"] = swap(t, text, "AlmaLinux", "Alma\x1bLinux")
	all["packages.body_not_canonical.epoch_padded.txt"] = swap(t, text, "\t2\t9.0", "\t02\t9.0")
	all["packages.body_not_canonical.crlf.txt"] = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	all["packages.body_not_canonical.removed_package.txt"] = swap(t, text, "triggers-pending", "config-files")
	all["packages.invalid_utf8.raw_latin1.txt"] = swap(t, text, `Caf\xe9`, "Caf\xe9")
}

func badStatements(t *testing.T, all map[string][]byte) {
	good := readVector(t, frozen, "statement.json")
	for name, edit := range map[string][2]string{
		"unknown_field.in_the_report":         {`"sequence":7`, `"sequence":7,"severity":"none"`},
		"unknown_field.in_the_statement":      {`{"_type"`, `{"note":"","_type"`},
		"unknown_field.in_a_digest":           {`"digest":{"sha256":"` + strings.Repeat("cd", 32), `"digest":{"sha1":"","sha256":"` + strings.Repeat("cd", 32)},
		"not_canonical.key_twice":             {`"sequence":7`, `"sequence":6,"sequence":7`},
		"not_canonical.key_case_folded":       {`"sequence":7`, `"Sequence":7`},
		"not_canonical.white_space":           {`"sequence":7`, `"sequence": 7`},
		"not_canonical.field_order":           {`"version":"1.0.0","go_version":"go1.26.3"`, `"go_version":"go1.26.3","version":"1.0.0"`},
		"not_canonical.time_zone":             {`"collected_at":"2026-03-01T12:30:45.123456Z"`, `"collected_at":"2026-03-01T13:30:45.123456+01:00"`},
		"not_canonical.time_offset_zero":      {`"collected_at":"2026-03-01T12:30:45.123456Z"`, `"collected_at":"2026-03-01T12:30:45.123456+00:00"`},
		"not_canonical.time_nanoseconds":      {`"collected_at":"2026-03-01T12:30:45.123456Z"`, `"collected_at":"2026-03-01T12:30:45.1234567Z"`},
		"not_canonical.time_trailing_zero":    {`"collected_at":"2026-03-01T12:30:45.123456Z"`, `"collected_at":"2026-03-01T12:30:45.1234560Z"`},
		"not_canonical.escaped_slash":         {`"linux/amd64"`, `"linux\/amd64"`},
		"not_canonical.escaped_letter":        {`"bookworm"`, `"\u0062ookworm"`},
		"not_canonical.lone_surrogate":        {`"bookworm"`, `"\ud800"`},
		"not_canonical.html_escape":           {`m7i.large <&>`, `m7i.large \u003c&>`},
		"not_canonical.null_for_absent":       {`"parts_reused":1`, `"parts_reused":null`},
		"not_canonical.minus_zero":            {`"cpus":2`, `"cpus":-0`},
		"not_canonical.empty_list":            {`"id_like":["example"]`, `"id_like":[]`},
		"malformed.number_as_float":           {`"sequence":7`, `"sequence":7.0`},
		"malformed.number_as_exponent":        {`"sequence":7`, `"sequence":7e0`},
		"malformed.number_over_64_bits":       {`"sequence":7`, `"sequence":18446744073709551616`},
		"malformed.negative_sequence":         {`"sequence":7`, `"sequence":-7`},
		"malformed.string_for_number":         {`"sequence":7`, `"sequence":"7"`},
		"malformed.time_not_rfc3339":          {`"collected_at":"2026-03-01T12:30:45.123456Z"`, `"collected_at":"2026-03-01 12:30:45"`},
		"invalid_utf8.in_a_string":            {`"bookworm"`, "\"book\xffworm\""},
		"statement_type.other_statement":      {schema.StatementType, "https://in-toto.io/Statement/v0.1"},
		"statement_type.other_predicate":      {schema.ReportType, "https://slsa.dev/provenance/v1"},
		"subjects_differ.other_digest":        {`"subject":[{"name":"kernel","digest":{"sha256":"cd`, `"subject":[{"name":"kernel","digest":{"sha256":"ce`},
		"subjects_differ.one_missing":         {`"subject":[{"name":"kernel","digest":{"sha256":"` + strings.Repeat("cd", 32) + `"}},`, `"subject":[`},
		"body_digest.one_letter":              {"vim-common", "vim-commom"},
		"body_digest.count":                   {`"count":4`, `"count":5`},
		"body_unnamed.no_such_part":           {`"bodies":{`, `"bodies":{"images":"a\n",`},
		"out_of_bounds.sequence_zero":         {`"sequence":7`, `"sequence":0`},
		"out_of_bounds.sequence_not_exact":    {`"sequence":7`, `"sequence":9007199254740992`},
		"out_of_bounds.previous_missing":      {`"previous":"` + strings.Repeat("ab", 32) + `",`, ""},
		"out_of_bounds.transport_key":         {`"U` + strings.Repeat("A", 55) + `"`, `"*"`},
		"out_of_bounds.control_character":     {`"bookworm"`, `"\u001b[2Jbookworm"`},
		"out_of_bounds.long_string":           {`"bookworm"`, `"` + strings.Repeat("b", 257) + `"`},
		"out_of_bounds.negative_cost":         {`"cpu_ns":12000000`, `"cpu_ns":-1`},
		"out_of_bounds.part_name":             {`{"name":"kernel","digest":"`, `{"name":"../kernel","digest":"`},
		"out_of_bounds.digest_upper_case":     {`{"name":"kernel","digest":"cd`, `{"name":"kernel","digest":"CD`},
		"out_of_bounds.more_lines_than_bytes": {`"size":120,"count":3`, `"size":120,"count":121`},
	} {
		all["statement."+name+".json"] = swap(t, good, edit[0], edit[1])
	}
	all["statement.trailing_data.second_value.json"] = append(slices.Clone(good), "{}"...)
	all["statement.not_canonical.newline_at_end.json"] = append(slices.Clone(good), '\n')
	all["statement.malformed.cut_short.json"] = good[:len(good)/2]
	all["statement.malformed.empty.json"] = nil
	all["statement.malformed.no_predicate.json"] = []byte(`{"_type":"` + schema.StatementType + `","subject":[],"predicateType":"` + schema.ReportType + `","predicate":null}`)
	all["statement.out_of_bounds.many_values.json"] = swap(t, good, `"parts":[`, `"parts":[`+strings.Repeat("{},", 17_000))
	all["statement.malformed.deep_nesting.json"] = []byte(strings.Repeat("[", 9_000))
}

// spell writes a statement the way schema does, without any of its checks.
func spell(t *testing.T, r *schema.Report) []byte {
	t.Helper()
	type digest struct {
		SHA256 string `json:"sha256"`
	}
	type subject struct {
		Name   string `json:"name"`
		Digest digest `json:"digest"`
	}
	subjects := []subject{}
	for _, p := range r.Parts {
		subjects = append(subjects, subject{p.Name, digest{p.Digest}})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Type          string         `json:"_type"`
		Subject       []subject      `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     *schema.Report `json:"predicate"`
	}{schema.StatementType, subjects, schema.ReportType, r})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func badBodies(t *testing.T, all map[string][]byte) {
	if got := spell(t, vectorReport(t)); !bytes.Equal(got, readVector(t, frozen, "statement.json")) {
		t.Fatalf("the test spells a sound statement differently:\n%s", got)
	}
	for name, change := range map[string]func(r *schema.Report){
		"body_not_canonical.packages_unsorted": func(r *schema.Report) { setPackages(r, "rpm\tb\nrpm\ta\n") },
		"body_not_canonical.packages_crlf": func(r *schema.Report) {
			setPackages(r, strings.ReplaceAll(r.Bodies[schema.PartPackages], "\n", "\r\n"))
		},
		"body_not_canonical.other_part_unsorted": func(r *schema.Report) {
			r.Parts[0] = schema.NewPart("kernel", "b\na\n")
			r.Bodies["kernel"] = "b\na\n"
		},
		"parts_unsorted.reversed":        func(r *schema.Report) { slices.Reverse(r.Parts) },
		"parts_unsorted.one_part_twice":  func(r *schema.Report) { r.Parts = append(r.Parts, r.Parts[1]) },
		"unexplained_absence.no_gap":     func(r *schema.Report) { r.Parts, r.Bodies, r.Gaps = r.Parts[:1], nil, nil },
		"not_canonical.parts_null":       func(r *schema.Report) { r.Parts, r.Bodies = nil, nil },
		"out_of_bounds.too_many_parts":   func(r *schema.Report) { r.Bodies = nil; r.Parts = manyParts() },
		"out_of_bounds.too_many_labels":  func(r *schema.Report) { r.Labels = manyLabels() },
		"out_of_bounds.gap_without_kind": func(r *schema.Report) { r.Gaps[0].Kind = "" },
	} {
		r := vectorReport(t)
		change(r)
		all["statement."+name+".json"] = spell(t, r)
	}
}

func setPackages(r *schema.Report, text string) {
	r.Parts[1] = schema.NewPart(schema.PartPackages, text)
	r.Bodies[schema.PartPackages] = text
}

func manyParts() []schema.Part {
	var parts []schema.Part
	for i := range schema.MaxParts + 1 {
		parts = append(parts, schema.NewPart("p"+string(rune('0'+i/10))+string(rune('0'+i%10)), ""))
	}
	return parts
}

func manyLabels() map[string]string {
	labels := map[string]string{}
	for i := range schema.MaxLabels + 1 {
		labels[strings.Repeat("x", i+1)] = "y"
	}
	return labels
}

func badReceipts(t *testing.T, all map[string][]byte) {
	good := readVector(t, frozen, "receipt.json")
	for name, edit := range map[string][2]string{
		"unknown_field.extra":           {`"kind"`, `"trust":true,"kind"`},
		"not_canonical.key_twice":       {`"sequence":7`, `"sequence":7,"sequence":7`},
		"not_canonical.key_case_folded": {`"kind"`, `"KIND"`},
		"not_canonical.white_space":     {`"sequence":7`, `"sequence":7 `},
		"not_canonical.time_zone":       {`12:31:00.000001Z`, `14:31:00.000001+02:00`},
		"out_of_bounds.kind":            {`"accepted"`, `"maybe"`},
		"out_of_bounds.no_leaf":         {`"leaf_index":41`, `"leaf_index":-1`},
		"out_of_bounds.report_id":       {`"report_id":"`, `"report_id":"0`},
		"out_of_bounds.sequence_zero":   {`"sequence":7`, `"sequence":0`},
		"malformed.leaf_as_text":        {`"leaf_index":41`, `"leaf_index":"41"`},
	} {
		all["receipt."+name+".json"] = swap(t, good, edit[0], edit[1])
	}
	all["receipt.trailing_data.second_value.json"] = append(slices.Clone(good), good...)
	all["receipt.too_large.detail.json"] = bytes.Repeat([]byte("{"), schema.MaxReceipt+1)

	other := vectorKey("patchproof v1 vector: another receipt key")
	all["receipt-envelope.wrong_key.not_pinned.json"] = sign(t, other, envelope.TypeReceipt, good)
	all["receipt-envelope.payload_type.a_report.json"] = readVector(t, frozen, "envelope.json")
	all["receipt-envelope.unknown_field.inside.json"] = sign(t, receiptKey(), envelope.TypeReceipt, all["receipt.unknown_field.extra.json"])
	all["receipt-envelope.bad_signature.other_payload.json"] = swap(t, readVector(t, frozen, "receipt-envelope.json"),
		base64.StdEncoding.EncodeToString(good), base64.StdEncoding.EncodeToString(all["receipt.out_of_bounds.sequence_zero.json"]))
}

// sign makes an envelope with the reference library's encoding of what is
// signed, and not with ours.
func sign(t testing.TB, key ed25519.PrivateKey, payloadType string, payload []byte) []byte {
	t.Helper()
	sig := ed25519.Sign(key, dsse.PAE(payloadType, payload))
	return must[[]byte](t)(json.Marshal(dsse.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{KeyID: schema.KeyID(publicOf(key)), Sig: base64.StdEncoding.EncodeToString(sig)}},
	}))
}

func badEnvelopes(t *testing.T, all map[string][]byte) {
	good := readVector(t, frozen, "envelope.json")
	var w dsse.Envelope
	if err := json.Unmarshal(good, &w); err != nil {
		t.Fatal(err)
	}
	keyID, sig := w.Signatures[0].KeyID, w.Signatures[0].Sig
	signature := `{"keyid":"` + keyID + `","sig":"` + sig + `"}`
	other := schema.KeyID(publicOf(receiptKey()))
	forged := append([]byte{1}, make([]byte, 63)...)
	for name, edit := range map[string][2]string{
		"signature_count.none":                {signature, ""},
		"signature_count.two":                 {signature, signature + "," + signature},
		"not_canonical.white_space":           {`,"payload":`, `, "payload":`},
		"not_canonical.key_twice":             {`"signatures":`, `"payload":"","payload":"` + w.Payload + `","signatures":`},
		"not_canonical.key_case_folded":       {`"signatures"`, `"Signatures"`},
		"not_canonical.escaped_letter":        {`"payloadType":"application`, `"payloadType":"\u0061pplication`},
		"not_canonical.newline_in_base64":     {`"payload":"`, `"payload":"\n`},
		"not_canonical.signature_order":       {signature, `{"sig":"` + sig + `","keyid":"` + keyID + `"}`},
		"unknown_field.extra":                 {`"signatures"`, `"unsigned":"","signatures"`},
		"unknown_field.in_the_signature":      {`{"keyid"`, `{"cert":"","keyid"`},
		"malformed.base64_without_padding":    {sig + `"`, strings.TrimRight(sig, "=") + `"`},
		"malformed.base64_of_urls":            {`"payload":"`, `"payload":"_-_-`},
		"malformed.not_json":                  {`{"payloadType"`, `payloadType`},
		"payload_type.a_receipt":              {envelope.TypeStatement, envelope.TypeReceipt},
		"payload_type.other":                  {envelope.TypeStatement, "application/vnd.in-toto+json"},
		"bad_key.upper_case":                  {keyID, strings.ToUpper(keyID)},
		"bad_key.short":                       {keyID, keyID[2:]},
		"bad_key.empty":                       {keyID, ""},
		"bad_key.low_order_forgery":           {signature, `{"keyid":"01` + strings.Repeat("0", 62) + `","sig":"` + base64.StdEncoding.EncodeToString(forged) + `"}`},
		"bad_key.not_canonical_point":         {keyID, "f0" + strings.Repeat("f", 62)},
		"bad_signature.other_key":             {keyID, other},
		"bad_signature.other_payload":         {`"payload":"` + w.Payload[:8], `"payload":"` + flip(w.Payload[:8])},
		"bad_signature.short":                 {sig, base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"bad_signature.zero":                  {sig, base64.StdEncoding.EncodeToString(make([]byte, 64))},
		"invalid_utf8.in_the_type":            {"application", "applic\xffation"},
		"out_of_bounds.many_empty_signatures": {signature, signature + strings.Repeat(",{}", 17_000)},
	} {
		all["envelope."+name+".json"] = swap(t, good, edit[0], edit[1])
	}
	all["envelope.trailing_data.second_envelope.json"] = append(slices.Clone(good), good...)
	all["envelope.not_canonical.newline_at_end.json"] = append(slices.Clone(good), '\n')
	all["envelope.malformed.empty.json"] = nil
	all["envelope.malformed.cut_short.json"] = good[:len(good)-1]
	all["envelope.not_canonical.sig_spare_bits.json"] = swap(t, good, sig, sig[:len(sig)-3]+spareBits(sig[len(sig)-3])+"==")
	all["envelope.bad_signature.s_not_reduced.json"] = swap(t, good, sig, malleate(t, sig))
}

// flip changes the first character of base64 without making it invalid.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// spareBits returns the next base64 character, which decodes to the same byte
// where only two bits count.
func spareBits(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(alphabet[strings.IndexByte(alphabet, c)+1])
}

// malleate adds the order of the group to S: the same equation, other bytes.
func malleate(t *testing.T, sig string) string {
	t.Helper()
	raw := must[[]byte](t)(base64.StdEncoding.DecodeString(sig))
	order := must[[]byte](t)(hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"))
	carry := 0
	for i := range order {
		sum := int(raw[32+i]) + int(order[i]) + carry
		raw[32+i], carry = byte(sum), sum>>8
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func badFrames(t *testing.T, all map[string][]byte) {
	statement := readVector(t, frozen, "statement.json")
	frame := compress(t, statement)
	const magic = "\x28\xb5\x2f\xfd"
	for name, data := range map[string][]byte{
		"bad_frame.empty":                  {},
		"bad_frame.plain_json":             statement,
		"bad_frame.two_frames":             append(slices.Clone(frame), frame...),
		"bad_frame.trailing_byte":          append(slices.Clone(frame), 0),
		"bad_frame.skippable_after":        append(slices.Clone(frame), "\x50\x2a\x4d\x18\x00\x00\x00\x00"...),
		"bad_frame.skippable_only":         []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"),
		"bad_frame.cut_short":              frame[:len(frame)-5],
		"bad_frame.header_only":            frame[:6],
		"bad_frame.checksum_wrong":         append(slices.Clone(frame[:len(frame)-4]), "\x00\x00\x00\x00"...),
		"bad_frame.needs_a_dictionary":     []byte(magic + "\x21\x07\x02\x11\x00\x00ab"),
		"bad_frame.no_content_size":        []byte(magic + "\x00\x00\x11\x00\x00ab"),
		"bad_frame.reserved_block":         []byte(magic + "\x20\x02\x17\x00\x00ab"),
		"bad_frame.block_over_the_end":     []byte(magic + "\x20\x02\x81\x00\x00ab"),
		"bad_frame.size_too_small":         []byte(magic + "\x20\x01\x11\x00\x00ab"),
		"bad_frame.size_too_large":         []byte(magic + "\x20\x03\x11\x00\x00ab"),
		"bad_frame.blocks_cannot_hold_it":  declared(magic, schema.MaxStatement),
		"too_large.declares_64_MiB_and_1":  declared(magic, schema.MaxStatement+1),
		"too_large.declares_2_to_the_63":   declared(magic, 1<<63),
		"too_large.window_of_16_MiB":       []byte(magic + "\x80\x70" + "\x02\x00\x00\x00" + "\x11\x00\x00ab"),
		"malformed.not_a_statement":        compress(t, []byte("ab")),
		"unknown_field.inside":             compress(t, all["statement.unknown_field.in_the_report.json"]),
		"body_digest.inside":               compress(t, all["statement.body_digest.one_letter.json"]),
		"not_canonical.key_twice_inside":   compress(t, all["statement.not_canonical.key_twice.json"]),
		"out_of_bounds.bomb_of_zero_bytes": compress(t, []byte(`{"predicate":{"parts":[`+strings.Repeat("{},", 1<<20)+`{}]}}`)),
	} {
		all["frame."+name+".json"] = sign(t, evidenceKey(), envelope.TypeStatement, data)
	}
}

// declared is a frame of a single segment that declares size and holds two bytes.
func declared(magic string, size uint64) []byte {
	return append(binary.LittleEndian.AppendUint64([]byte(magic+"\xe0"), size), "\x11\x00\x00ab"...)
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	enc := must[*zstd.Encoder](t)(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true)))
	return enc.EncodeAll(data, nil)
}
