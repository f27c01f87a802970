package schema_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
)

// report is a sound report with two parts, one of which travels.
func report(t testing.TB) *schema.Report {
	t.Helper()
	packages, err := schema.EncodePackages(thousand()[:3])
	if err != nil {
		t.Fatal(err)
	}
	return &schema.Report{
		Sequence: 7, Previous: strings.Repeat("ab", 32),
		CollectedAt:  time.Date(2026, 3, 1, 12, 30, 45, 123456000, time.UTC),
		TransportKey: "U" + strings.Repeat("A", 55),
		Agent:        schema.Agent{Version: "1.0.0", GoVersion: "go1.26", Platform: "linux/amd64"},
		Host:         schema.Host{Hostname: "web-1 <a&b>", Arch: "x86_64", Addresses: []string{"192.0.2.1"}},
		OS:           schema.OSRelease{ID: "amzn", VersionID: "2023", IDLike: []string{"fedora"}},
		Kernel:       schema.Kernel{Installed: []schema.InstalledKernel{{Release: "6.1.1"}}},
		Labels:       map[string]string{"team": "core", "env": "prod"},
		Cloud:        &schema.Cloud{Provider: "aws", IdentityDocument: "{\n}", Tags: map[string]string{"Name": "web"}},
		Parts: []schema.Part{
			schema.NewPart("kernel", "a\n"),
			schema.NewPart(schema.PartPackages, packages),
		},
		Bodies: map[string]string{schema.PartPackages: packages},
		Gaps:   []schema.Gap{{Extractor: "imds", Kind: schema.GapTimeout}},
	}
}

func TestStatementRoundTrips(t *testing.T) {
	r := report(t)
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := schema.DecodeStatement(payload)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if !bytes.Contains(payload, []byte("<a&b>")) {
		t.Error("the statement carries HTML escapes")
	}
	again, err := schema.EncodeStatement(back)
	if err != nil || !bytes.Equal(again, payload) {
		t.Errorf("encoded again, %v:\n%s\nwant\n%s", err, again, payload)
	}
}

func TestEncodeStatementMakesClaimsFit(t *testing.T) {
	r := report(t)
	r.CollectedAt = time.Date(2026, 3, 1, 13, 0, 0, 1234567, time.FixedZone("east", 3600))
	r.Host.Hostname = "a\x1b[31mb\xff"
	r.OS.PrettyName = strings.Repeat("é", 2000)
	r.Labels["team"] = "co\nre"
	r.Gaps = nil
	for i := range schema.MaxGaps + 5 {
		r.Gaps = append(r.Gaps, schema.Gap{Extractor: "dpkg", Kind: schema.GapCorrupt, Path: fmt.Sprintf("\t%d", i)})
	}
	r.Host.Addresses = slices.Repeat([]string{"192.0.2.1"}, schema.MaxAddresses+1)
	before := *r
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := schema.DecodeStatement(payload)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 1, 12, 0, 0, 1234000, time.UTC); !got.CollectedAt.Equal(want) || got.CollectedAt.Location() != time.UTC {
		t.Errorf("got collected_at %s, want %s", got.CollectedAt, want)
	}
	if want := "a\ufffd[31mb\ufffd"; got.Host.Hostname != want {
		t.Errorf("got hostname %q, want %q", got.Host.Hostname, want)
	}
	if n := got.OS.PrettyName; len(n) > 1024 || !strings.HasSuffix(n, "é…") {
		t.Errorf("got pretty name of %d bytes ending in %q", len(n), n[len(n)-6:])
	}
	if got.Labels["team"] != "co\ufffdre" || r.Labels["team"] != "co\nre" {
		t.Errorf("got label %q, and the caller's is now %q", got.Labels["team"], r.Labels["team"])
	}
	last := got.Gaps[len(got.Gaps)-1]
	if len(got.Gaps) != schema.MaxGaps || last.Detail != "7 more gaps than a report can carry" {
		t.Errorf("got %d gaps, the last %+v", len(got.Gaps), last)
	}
	if len(got.Host.Addresses) != schema.MaxAddresses {
		t.Errorf("got %d addresses, want %d", len(got.Host.Addresses), schema.MaxAddresses)
	}
	if diff := cmp.Diff(before, *r); diff != "" {
		t.Errorf("the caller's report changed:\n%s", diff)
	}
}

func TestEncodeStatementSaysWhatItCut(t *testing.T) {
	r := report(t)
	r.Host.Addresses = slices.Repeat([]string{"192.0.2.1"}, schema.MaxAddresses+1)
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := schema.DecodeStatement(payload)
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(r.Gaps), schema.Gap{
		Extractor: "host", Kind: schema.GapTruncated, Detail: "1025 addresses, a report carries 1024",
	})
	if diff := cmp.Diff(want, got.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

// Each row breaks one rule; both the encoder and ValidateReport must name it.
func TestReportBounds(t *testing.T) {
	long := strings.Repeat("x", 70<<10)
	for _, tc := range []struct {
		name   string
		change func(*schema.Report)
		reason string
	}{
		{"sequence_zero", func(r *schema.Report) { r.Sequence = 0 }, schema.ReasonOutOfBounds},
		{"sequence_large", func(r *schema.Report) { r.Sequence = schema.MaxInteger + 1 }, schema.ReasonOutOfBounds},
		{"first_with_previous", func(r *schema.Report) { r.Sequence = 1 }, schema.ReasonOutOfBounds},
		{"later_without_previous", func(r *schema.Report) { r.Previous = "" }, schema.ReasonOutOfBounds},
		{"previous_not_an_id", func(r *schema.Report) { r.Previous = strings.Repeat("AB", 32) }, schema.ReasonOutOfBounds},
		{"transport_key", func(r *schema.Report) { r.TransportKey = "*" }, schema.ReasonOutOfBounds},
		{"no_time", func(r *schema.Report) { r.CollectedAt = time.Time{} }, schema.ReasonOutOfBounds},
		{"time_before_1970", func(r *schema.Report) { r.CollectedAt = time.Unix(-1, 0) }, schema.ReasonOutOfBounds},
		{"time_year_10000", func(r *schema.Report) { r.Boot.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, schema.ReasonOutOfBounds},
		{"no_agent_version", func(r *schema.Report) { r.Agent.Version = "" }, schema.ReasonOutOfBounds},
		{"negative_cpus", func(r *schema.Report) { r.Host.CPUs = -1 }, schema.ReasonOutOfBounds},
		{"negative_cost", func(r *schema.Report) { r.Cost.CPU = -1 }, schema.ReasonOutOfBounds},
		{"memory", func(r *schema.Report) { r.Host.MemoryBytes = schema.MaxInteger + 1 }, schema.ReasonOutOfBounds},
		{"label_without_key", func(r *schema.Report) { r.Labels = map[string]string{"": "x"} }, schema.ReasonOutOfBounds},
		{"label_key_control", func(r *schema.Report) { r.Labels = map[string]string{"a\n": "x"} }, schema.ReasonOutOfBounds},
		{"tag_key_long", func(r *schema.Report) { r.Cloud.Tags = map[string]string{long: "x"} }, schema.ReasonOutOfBounds},
		{"many_labels", func(r *schema.Report) {
			r.Labels = map[string]string{}
			for i := range schema.MaxLabels + 1 {
				r.Labels[fmt.Sprint(i)] = "x"
			}
		}, schema.ReasonOutOfBounds},
		{"cloud_without_provider", func(r *schema.Report) { r.Cloud.Provider = "" }, schema.ReasonOutOfBounds},
		{"identity_document_long", func(r *schema.Report) { r.Cloud.IdentityDocument = long }, schema.ReasonOutOfBounds},
		{"identity_document_control", func(r *schema.Report) { r.Cloud.IdentityDocument = "\x00" }, schema.ReasonOutOfBounds},
		{"gap_without_kind", func(r *schema.Report) { r.Gaps[0].Kind = "" }, schema.ReasonOutOfBounds},
		{"kernel_without_release", func(r *schema.Report) { r.Kernel.Installed[0].Release = "" }, schema.ReasonOutOfBounds},
		{"live_patch_without_name", func(r *schema.Report) {
			r.Kernel.LivePatches = []schema.LivePatch{{Provider: schema.ProviderOther}}
		}, schema.ReasonOutOfBounds},
		{"live_patch_stuck", func(r *schema.Report) {
			r.Kernel.LivePatches = []schema.LivePatch{{Provider: schema.ProviderOther, Name: "x", Stuck: -1}}
		}, schema.ReasonOutOfBounds},
		{"reboot_marker_without_path", func(r *schema.Report) {
			r.Kernel.RebootMarkers = []schema.RebootMarker{{}}
		}, schema.ReasonOutOfBounds},
		{"next_boot_without_loader", func(r *schema.Report) { r.Kernel.NextBoot = &schema.NextBoot{} }, schema.ReasonOutOfBounds},
		{"tainted", func(r *schema.Report) { r.Kernel.Tainted = schema.MaxInteger + 1 }, schema.ReasonOutOfBounds},
		{"stale_not_stale", func(r *schema.Report) {
			r.Parts = append(r.Parts, schema.NewPart(schema.PartStale, ""))
			setBody(r, schema.PartStale, "a\n")
		}, schema.ReasonBodyNotCanonical},
		{"part_name", func(r *schema.Report) { r.Parts[0].Name = "Kernel" }, schema.ReasonOutOfBounds},
		{"part_digest", func(r *schema.Report) { r.Parts[0].Digest = "x" }, schema.ReasonOutOfBounds},
		{"part_size", func(r *schema.Report) { r.Parts[0].Size = schema.MaxPart + 1 }, schema.ReasonOutOfBounds},
		{"part_count", func(r *schema.Report) { r.Parts[0].Count = 3 }, schema.ReasonOutOfBounds},
		{"many_parts", func(r *schema.Report) {
			for i := range schema.MaxParts {
				r.Parts = append(r.Parts, schema.NewPart(fmt.Sprintf("z%02d", i), ""))
			}
		}, schema.ReasonOutOfBounds},
		{"parts_unsorted", func(r *schema.Report) { slices.Reverse(r.Parts) }, schema.ReasonPartsUnsorted},
		{"part_twice", func(r *schema.Report) { r.Parts[1] = r.Parts[0]; r.Bodies = nil }, schema.ReasonPartsUnsorted},
		{"body_unnamed", func(r *schema.Report) { r.Bodies["images"] = "" }, schema.ReasonBodyUnnamed},
		{"body_digest", func(r *schema.Report) { r.Bodies["kernel"] = "b\n" }, schema.ReasonBodyDigest},
		{"body_size", func(r *schema.Report) { r.Parts[1].Size++ }, schema.ReasonBodyDigest},
		{"body_unsorted", func(r *schema.Report) { setBody(r, "kernel", "b\na\n") }, schema.ReasonBodyNotCanonical},
		{"body_line_twice", func(r *schema.Report) { setBody(r, "kernel", "a\na\n") }, schema.ReasonBodyNotCanonical},
		{"body_control", func(r *schema.Report) { setBody(r, "kernel", "a\x1b\n") }, schema.ReasonBodyNotCanonical},
		{"body_not_utf8", func(r *schema.Report) { setBody(r, "kernel", "a\xff\n") }, schema.ReasonBodyNotCanonical},
		{"body_last_line", func(r *schema.Report) { setBody(r, "kernel", "a") }, schema.ReasonBodyNotCanonical},
		{"packages_not_packages", func(r *schema.Report) { setBody(r, schema.PartPackages, "a\n") }, schema.ReasonBodyNotCanonical},
		{"unexplained_absence", func(r *schema.Report) {
			r.Parts, r.Bodies, r.Gaps = r.Parts[:1], nil, nil
		}, schema.ReasonUnexplainedAbsence},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := report(t)
			tc.change(r)
			_, err := schema.EncodeStatement(r)
			wantReason(t, err, tc.reason)
			if err := schema.ValidateReport(r); err == nil {
				t.Error("ValidateReport accepts it")
			}
		})
	}
}

func setBody(r *schema.Report, name, body string) {
	r.Bodies = maps.Clone(r.Bodies)
	r.Bodies[name] = body
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			r.Parts[i] = schema.NewPart(name, body)
		}
	}
}

func TestReportWithoutPartsNeedsAGap(t *testing.T) {
	r := report(t)
	r.Parts, r.Bodies = nil, nil
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.DecodeStatement(payload); err != nil {
		t.Fatal(err)
	}
}

func TestDecodeStatementRefusesSizes(t *testing.T) {
	_, err := schema.DecodeStatement(make([]byte, schema.MaxStatement+1))
	wantReason(t, err, schema.ReasonTooLarge)
	// 20 000 parts in 60 KB: refused before a list of them is made.
	bomb := `{"_type":"","subject":[],"predicateType":"","predicate":{"parts":[` + strings.Repeat("{},", 20_000) + `{}]}}`
	_, err = schema.DecodeStatement([]byte(bomb))
	wantReason(t, err, schema.ReasonOutOfBounds)
}

func TestFullestReportFits(t *testing.T) {
	r := report(t)
	r.Labels, r.Cloud.Tags = map[string]string{}, map[string]string{}
	for i := range schema.MaxLabels {
		// What looks like JSON in a string does not count as values.
		r.Labels[fmt.Sprint(i)], r.Cloud.Tags[fmt.Sprint(i)] = `"`+strings.Repeat(",", 1000), `{"`
	}
	r.Gaps = slices.Repeat([]schema.Gap{{Extractor: "a", Kind: "b", Path: "c", Detail: "d"}}, schema.MaxGaps)
	r.Host.Addresses = slices.Repeat([]string{"a"}, schema.MaxAddresses)
	r.OS.IDLike = slices.Repeat([]string{"a"}, schema.MaxIDLike)
	r.Kernel.Installed = slices.Repeat([]schema.InstalledKernel{{Release: "a", Package: "b"}}, schema.MaxInstalledKernels)
	r.Kernel.NextBoot = &schema.NextBoot{Release: "a", Loader: "b", Entry: "c"}
	r.Kernel.RebootMarkers = slices.Repeat([]schema.RebootMarker{{
		Path: "a", Packages: slices.Repeat([]string{"b"}, schema.MaxMarkerPackages),
	}}, schema.MaxRebootMarkers)
	r.Kernel.LivePatches = slices.Repeat([]schema.LivePatch{{
		Provider: "a", Name: "b", Version: "c", SrcVersion: "d", BuildID: "e", Package: "f", File: "g", Stuck: 1, Functions: 1,
		Effective: "h", Supported: "i", State: "j",
		Objects: slices.Repeat([]string{"k"}, schema.MaxLivePatchWords), Fixes: slices.Repeat([]string{"l"}, schema.MaxLivePatchFixes),
	}}, schema.MaxLivePatches)
	for i := range schema.MaxParts - len(r.Parts) {
		r.Parts = append(r.Parts, schema.NewPart(fmt.Sprintf("z%02d", i), ""))
	}
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.DecodeStatement(payload); err != nil {
		t.Error(err)
	}
}

func TestMissingNamesWhatDoesNotTravel(t *testing.T) {
	r := report(t)
	if diff := cmp.Diff([]string{"kernel"}, r.Missing()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if p, ok := r.Part("kernel"); !ok || p != schema.NewPart("kernel", "a\n") {
		t.Errorf("got %+v, %v", p, ok)
	}
	if _, ok := r.Part("images"); ok {
		t.Error("a part that is not there was found")
	}
}

func TestCleanTextIsIdempotentAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, limit := hostile().Draw(t, "text"), rapid.IntRange(3, 40).Draw(t, "limit")
		once := schema.CleanText(s, limit)
		if len(once) > limit {
			t.Fatalf("%q of limit %d became %q", s, limit, once)
		}
		if twice := schema.CleanText(once, limit); twice != once {
			t.Fatalf("%q became %q, then %q", s, once, twice)
		}
	})
}

func TestReceiptRoundTrips(t *testing.T) {
	for _, r := range receipts() {
		t.Run(r.Kind, func(t *testing.T) {
			payload, err := schema.EncodeReceipt(r)
			if err != nil {
				t.Fatal(err)
			}
			back, err := schema.DecodeReceipt(payload)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r, back); diff != "" {
				t.Errorf("receipt (-want +got):\n%s", diff)
			}
		})
	}
}

func receipts() []schema.Receipt {
	base := schema.Receipt{
		ReportID: strings.Repeat("0f", 32), Host: schema.KeyID(publicOf(testKey(1))), Sequence: 7,
		LogOrigin: "patchproof.example/log", LogEpoch: 1, LeafIndex: -1,
		ReceivedAt: time.Date(2026, 3, 1, 12, 31, 0, 0, time.UTC),
	}
	accepted, rejected, need := base, base, base
	accepted.Kind, accepted.LeafIndex = schema.ReceiptAccepted, 41
	rejected.Kind, rejected.Reason, rejected.Detail = schema.ReceiptRejected, schema.ReasonUnknownKey, "no host has this key"
	need.Kind, need.Parts = schema.ReceiptNeed, []string{"kernel", "packages"}
	return []schema.Receipt{accepted, rejected, need}
}

func TestReceiptBounds(t *testing.T) {
	all := receipts()
	accepted, rejected, need := all[0], all[1], all[2]
	for _, tc := range []struct {
		name   string
		from   schema.Receipt
		change func(*schema.Receipt)
		reason string
	}{
		{"kind", accepted, func(r *schema.Receipt) { r.Kind = "maybe" }, schema.ReasonOutOfBounds},
		{"report_id", accepted, func(r *schema.Receipt) { r.ReportID = "" }, schema.ReasonOutOfBounds},
		{"host", accepted, func(r *schema.Receipt) { r.Host = "web-1" }, schema.ReasonOutOfBounds},
		{"sequence", accepted, func(r *schema.Receipt) { r.Sequence = 0 }, schema.ReasonOutOfBounds},
		{"origin", accepted, func(r *schema.Receipt) { r.LogOrigin = "" }, schema.ReasonOutOfBounds},
		{"epoch", accepted, func(r *schema.Receipt) { r.LogEpoch = -1 }, schema.ReasonOutOfBounds},
		{"time", accepted, func(r *schema.Receipt) { r.ReceivedAt = time.Time{} }, schema.ReasonOutOfBounds},
		{"accepted_without_leaf", accepted, func(r *schema.Receipt) { r.LeafIndex = -1 }, schema.ReasonOutOfBounds},
		{"accepted_with_reason", accepted, func(r *schema.Receipt) { r.Reason = "x" }, schema.ReasonOutOfBounds},
		{"accepted_with_parts", accepted, func(r *schema.Receipt) { r.Parts = []string{"packages"} }, schema.ReasonOutOfBounds},
		{"rejected_with_leaf", rejected, func(r *schema.Receipt) { r.LeafIndex = 0 }, schema.ReasonOutOfBounds},
		{"rejected_without_reason", rejected, func(r *schema.Receipt) { r.Reason = "" }, schema.ReasonOutOfBounds},
		{"need_nothing", need, func(r *schema.Receipt) { r.Parts = nil }, schema.ReasonOutOfBounds},
		{"need_bad_name", need, func(r *schema.Receipt) { r.Parts = []string{"../etc"} }, schema.ReasonOutOfBounds},
		{"need_unsorted", need, func(r *schema.Receipt) { r.Parts = []string{"packages", "kernel"} }, schema.ReasonPartsUnsorted},
		{"need_twice", need, func(r *schema.Receipt) { r.Parts = []string{"kernel", "kernel"} }, schema.ReasonPartsUnsorted},
		{"need_many", need, func(r *schema.Receipt) { r.Parts = slices.Repeat([]string{"kernel"}, schema.MaxParts+1) }, schema.ReasonOutOfBounds},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.from
			tc.change(&r)
			_, err := schema.EncodeReceipt(r)
			wantReason(t, err, tc.reason)
		})
	}
}

func TestOnlyAnUnknownKeyIsRetryable(t *testing.T) {
	if !schema.Retryable(schema.ReasonUnknownKey) || schema.Retryable(schema.ReasonBadSignature) {
		t.Error("an unknown key is retryable, a bad signature is not")
	}
}

// seeds returns the files of testdata whose kind, the first word of the name, is kind.
func seeds(tb testing.TB, kind string) []string {
	tb.Helper()
	var texts []string
	for _, pattern := range []string{"testdata/v1/" + kind + ".*", "testdata/bad/" + kind + ".*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				tb.Fatal(err)
			}
			texts = append(texts, string(data))
		}
	}
	if len(texts) == 0 {
		tb.Fatalf("no seeds of kind %s in testdata", kind)
	}
	return texts
}

func BenchmarkEncodeStatement(b *testing.B) {
	r := report(b)
	text, err := schema.EncodePackages(thousand()[:700])
	if err != nil {
		b.Fatal(err)
	}
	setBody(r, schema.PartPackages, text)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.EncodeStatement(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeStatement(b *testing.B) {
	r := report(b)
	text, err := schema.EncodePackages(thousand()[:700])
	if err != nil {
		b.Fatal(err)
	}
	setBody(r, schema.PartPackages, text)
	payload, err := schema.EncodeStatement(r)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.DecodeStatement(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeStatement(f *testing.F) {
	for _, s := range seeds(f, "statement") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := schema.DecodeStatement(payload)
		if err != nil {
			if _, ok := errors.AsType[*schema.Refusal](err); !ok {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		again, err := schema.EncodeStatement(r)
		if err != nil || !bytes.Equal(again, payload) {
			t.Fatalf("encoded again, %v:\n%s\nwant\n%s", err, again, payload)
		}
	})
}

func FuzzDecodeReceipt(f *testing.F) {
	for _, s := range seeds(f, "receipt") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := schema.DecodeReceipt(payload)
		if err != nil {
			if _, ok := errors.AsType[*schema.Refusal](err); !ok {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		again, err := schema.EncodeReceipt(r)
		if err != nil || !bytes.Equal(again, payload) {
			t.Fatalf("encoded again, %v:\n%s\nwant\n%s", err, again, payload)
		}
	})
}
