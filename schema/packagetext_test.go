package schema_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
)

func TestEncodePackagesSortsAndEscapes(t *testing.T) {
	deb := schema.Package{
		Format: schema.FormatDeb, Name: "libc6", Version: "2.36", Release: "9+deb12u10", Arch: "amd64",
		Source: "glibc", SourceVersion: "2.36-9+deb12u10", Vendor: "Debian", Status: schema.StatusInstalled,
	}
	latin := schema.Package{
		Format: schema.FormatRPM, Name: "old", Epoch: 1, Version: "2", Release: "3.el6", Arch: "noarch",
		Source: "old", SourceVersion: "1:2-3.el6", Vendor: "Ren\xe9 \\ S\u00f6hne\n", InstalledAt: 1700000000, Status: schema.StatusInstalled,
	}
	got, err := schema.EncodePackages([]schema.Package{latin, deb, latin})
	if err != nil {
		t.Fatal(err)
	}
	want := "deb\tlibc6\t0\t2.36\t9+deb12u10\tamd64\tglibc\t2.36-9+deb12u10\tDebian\t\t0\tinstalled\n" +
		"rpm\told\t1\t2\t3.el6\tnoarch\told\t1:2-3.el6\tRen\\xe9 \\x5c S\u00f6hne\\x0a\t\t1700000000\tinstalled\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	back, err := schema.DecodePackages(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]schema.Package{deb, latin}, back); diff != "" {
		t.Errorf("decoded packages (-want +got):\n%s", diff)
	}
}

func TestEncodePackagesRefuses(t *testing.T) {
	good := schema.Package{Format: schema.FormatRPM, Name: "a", Version: "1", Source: "a", Status: schema.StatusInstalled}
	for _, tc := range []struct {
		name   string
		change func(*schema.Package)
		want   string
	}{
		{"format", func(p *schema.Package) { p.Format = "zip" }, "format"},
		{"name", func(p *schema.Package) { p.Name = "" }, "name and source"},
		{"source", func(p *schema.Package) { p.Source = "" }, "name and source"},
		{"status", func(p *schema.Package) { p.Status = "config-files" }, "status"},
		{"negative_epoch", func(p *schema.Package) { p.Epoch = -1 }, "epoch"},
		{"large_epoch", func(p *schema.Package) { p.Epoch = schema.MaxEpoch + 1 }, "epoch"},
		{"installed_at", func(p *schema.Package) { p.InstalledAt = -1 }, "installed_at"},
		{"long_field", func(p *schema.Package) { p.Vendor = strings.Repeat("x", schema.MaxField+1) }, "at most"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := good
			tc.change(&bad)
			if _, err := schema.EncodePackages([]schema.Package{good, bad}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one about %q", err, tc.want)
			}
		})
	}
	if _, err := schema.EncodePackages(make([]schema.Package, schema.MaxPackages+1)); err == nil {
		t.Error("more than MaxPackages packages were encoded")
	}
}

func TestEmptyPackageTextIsAnEmptySet(t *testing.T) {
	text, err := schema.EncodePackages(nil)
	if err != nil || text != "" {
		t.Fatalf("got %q, %v; want the empty text", text, err)
	}
	ps, err := schema.DecodePackages("")
	if err != nil || len(ps) != 0 {
		t.Fatalf("got %v, %v; want no packages", ps, err)
	}
}

func TestDecodePackagesRefuses(t *testing.T) {
	const line = "rpm\ta\t0\t1\t2\tx86_64\ta\t1-2\t\t\t0\tinstalled"
	for _, tc := range []struct {
		name, text, reason string
	}{
		{"no_last_newline", line, schema.ReasonBodyNotCanonical},
		{"empty_line", "\n", schema.ReasonBodyNotCanonical},
		{"blank_last_line", line + "\n\n", schema.ReasonBodyNotCanonical},
		{"twice", line + "\n" + line + "\n", schema.ReasonBodyNotCanonical},
		{"unsorted", strings.Replace(line, "\ta\t", "\tb\t", 1) + "\n" + line + "\n", schema.ReasonBodyNotCanonical},
		{"column_missing", strings.TrimSuffix(line, "\tinstalled") + "\n", schema.ReasonBodyNotCanonical},
		{"column_too_many", line + "\t\n", schema.ReasonBodyNotCanonical},
		{"carriage_return", line + "\r\n", schema.ReasonBodyNotCanonical},
		{"nul", strings.Replace(line, "1-2", "1-\x00", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"delete", strings.Replace(line, "1-2", "1-\x7f", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"not_utf8", strings.Replace(line, "1-2", "1-\xff", 1) + "\n", schema.ReasonInvalidUTF8},
		{"epoch_empty", strings.Replace(line, "\t0\t1\t", "\t\t1\t", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"epoch_zero_padded", strings.Replace(line, "\t0\t1\t", "\t01\t1\t", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"epoch_signed", strings.Replace(line, "\t0\t1\t", "\t+1\t1\t", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"epoch_too_large", strings.Replace(line, "\t0\t1\t", "\t2147483648\t1\t", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"time_overflows", strings.Replace(line, "\t0\tinst", "\t99999999999999999999\tinst", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"time_year_10000", strings.Replace(line, "\t0\tinst", "\t253402300800\tinst", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"unknown_format", strings.Replace(line, "rpm", "msi", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"unknown_status", strings.Replace(line, "installed", "gone", 1) + "\n", schema.ReasonBodyNotCanonical},
		{"escape_cut_short", strings.Replace(line, "1-2", `1-\x0`, 1) + "\n", schema.ReasonBodyNotCanonical},
		{"escape_unknown", strings.Replace(line, "1-2", `1-\n00`, 1) + "\n", schema.ReasonBodyNotCanonical},
		{"escape_upper_case", strings.Replace(line, "1-2", `1-\x0A`, 1) + "\n", schema.ReasonBodyNotCanonical},
		{"escape_not_needed", strings.Replace(line, "1-2", `1-\x41`, 1) + "\n", schema.ReasonBodyNotCanonical},
		{"escape_of_good_utf8", strings.Replace(line, "1-2", `1-\xc3\xa9`, 1) + "\n", schema.ReasonBodyNotCanonical},
		{"long_field", strings.Replace(line, "1-2", strings.Repeat("1", schema.MaxField+1), 1) + "\n", schema.ReasonBodyNotCanonical},
		{"too_large", strings.Repeat("\n", schema.MaxPart+1), schema.ReasonTooLarge},
		{"too_many", strings.Repeat("\n", schema.MaxPackages+1), schema.ReasonTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := schema.DecodePackages(tc.text)
			wantReason(t, err, tc.reason)
		})
	}
}

func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	refusal, ok := errors.AsType[*schema.Refusal](err)
	if !ok {
		t.Fatalf("got error %v, want a refusal for %s", err, reason)
	}
	if refusal.Reason != reason {
		t.Errorf("got refusal %q, want reason %s", refusal, reason)
	}
}

// hostile draws what package managers may hold: mostly plain, sometimes bytes
// that are neither text nor safe in a line.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-z0-9.+~^:-]{0,12}`),
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "\t", "\n", `\`, `\x41`, "\x00", "é", "\xe9", "\u2028", "\ufffd", "=1+1"}),
	)
}

func packageGen() *rapid.Generator[schema.Package] {
	return rapid.Custom(func(t *rapid.T) schema.Package {
		text := hostile()
		named := text.Filter(func(s string) bool { return s != "" })
		return schema.Package{
			Format: rapid.SampledFrom([]schema.PackageFormat{schema.FormatDeb, schema.FormatRPM}).Draw(t, "format"),
			Name:   named.Draw(t, "name"), Epoch: rapid.IntRange(0, schema.MaxEpoch).Draw(t, "epoch"),
			Version: text.Draw(t, "version"), Release: text.Draw(t, "release"), Arch: text.Draw(t, "arch"),
			Source: named.Draw(t, "source"), SourceVersion: text.Draw(t, "source_version"),
			Vendor: text.Draw(t, "vendor"), Module: text.Draw(t, "module"),
			InstalledAt: rapid.Int64Range(0, 253402300799).Draw(t, "installed_at"),
			Status:      rapid.SampledFrom([]string{schema.StatusInstalled, schema.StatusUnpacked, schema.StatusTriggersPending}).Draw(t, "status"),
		}
	})
}

func TestPackageTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(packageGen(), 0, 8).Draw(t, "packages")
		text, err := schema.EncodePackages(ps)
		if err != nil {
			t.Fatal(err)
		}
		back, err := schema.DecodePackages(text)
		if err != nil {
			t.Fatalf("decode %q: %v", text, err)
		}
		want := map[schema.Package]bool{}
		for _, p := range ps {
			want[p] = true
		}
		got := map[schema.Package]bool{}
		for _, p := range back {
			got[p] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("packages (-want +got):\n%s", diff)
		}
		if len(back) != len(got) {
			t.Fatalf("%d lines for %d distinct packages", len(back), len(got))
		}
		again, err := schema.EncodePackages(back)
		if err != nil || again != text {
			t.Fatalf("encoded again: %q, %v; want %q", again, err, text)
		}
	})
}

func TestPackageTextIsSortedAsSortSorts(t *testing.T) {
	sort, err := exec.LookPath("sort")
	if err != nil {
		t.Skip("no sort(1) on this system to compare with")
	}
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(packageGen(), 0, 12).Draw(t, "packages")
		text, err := schema.EncodePackages(ps)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(sort, "-u")
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.Stdin = strings.NewReader(shuffled(t, text))
		sorted, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sorted, []byte(text)) {
			t.Fatalf("sort gives %q, EncodePackages %q", sorted, text)
		}
	})
}

func shuffled(t *rapid.T, text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(rapid.Permutation(lines[:len(lines)-1]).Draw(t, "order"), "")
}

func FuzzDecodePackages(f *testing.F) {
	for _, name := range seeds(f, "packages") {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ps, err := schema.DecodePackages(text)
		if checked := schema.CheckPart(schema.PartPackages, text); (checked == nil) != (err == nil) {
			t.Fatalf("CheckPart says %v, DecodePackages %v", checked, err)
		}
		if err != nil {
			if _, ok := errors.AsType[*schema.Refusal](err); !ok {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		again, err := schema.EncodePackages(ps)
		if err != nil || again != text {
			t.Fatalf("encoded again: %q, %v; want %q", again, err, text)
		}
	})
}

// thousand is a package set of a common size, about as long as real ones.
func thousand() []schema.Package {
	ps := make([]schema.Package, 1000)
	for i := range ps {
		ps[i] = schema.Package{
			Format: schema.FormatRPM, Name: fmt.Sprintf("package-name-%d", i), Version: "1.2." + fmt.Sprint(i),
			Release: "4.amzn2023.0.2", Arch: "x86_64", Source: fmt.Sprintf("package-name-%d", i/3),
			SourceVersion: "1.2.3-4.amzn2023.0.2", Vendor: "Amazon Linux", InstalledAt: 1_700_000_000 + int64(i),
			Status: schema.StatusInstalled,
		}
	}
	return ps
}

func BenchmarkEncodePackages(b *testing.B) {
	ps := thousand()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.EncodePackages(ps); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePackages(b *testing.B) {
	text, err := schema.EncodePackages(thousand())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.DecodePackages(text); err != nil {
			b.Fatal(err)
		}
	}
}
