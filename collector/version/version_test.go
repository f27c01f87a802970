package version_test

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

var formats = []schema.PackageFormat{schema.FormatDeb, schema.FormatRPM, version.FormatAPK}

// relation is one line of a vector file.
type relation struct {
	line int
	a, b string
	want int
}

func TestVectors(t *testing.T) {
	for _, f := range formats {
		rels := readRelations(t, filepath.Join("testdata", string(f)+".txt"))
		if len(rels) < 20 {
			t.Errorf("%s: %d relations read, want at least 20", f, len(rels))
		}
		for _, r := range rels {
			checkRelation(t, f, r)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, line := range readLines(t, filepath.Join("testdata", "bad.txt")) {
		f, v, _ := strings.Cut(line, " ")
		good := "1.0"
		for _, pair := range [][2]string{{v, good}, {good, v}, {v, v}} {
			got, err := version.Compare(schema.PackageFormat(f), pair[0], pair[1])
			if !errors.Is(err, version.ErrUnparseable) || got != 0 {
				t.Errorf("Compare(%s, %q, %q): got %d, %v, want ErrUnparseable", f, pair[0], pair[1], got, err)
			}
		}
	}
}

func TestRefusedByFormatOrLength(t *testing.T) {
	for _, f := range formats {
		for _, v := range []string{"", strings.Repeat("1", version.MaxLength+1), "1.0\n", "1.0\x00", "\t1", "1.0\xff"} {
			if _, err := version.Compare(f, v, "1"); !errors.Is(err, version.ErrUnparseable) {
				t.Errorf("Compare(%s, %.20q, 1): got %v, want ErrUnparseable", f, v, err)
			}
		}
	}
	if _, err := version.Compare("msi", "1", "2"); !errors.Is(err, version.ErrUnparseable) {
		t.Errorf("unknown format: got %v, want ErrUnparseable", err)
	}
}

func TestLongestVersions(t *testing.T) {
	for _, f := range formats {
		long := strings.Repeat("9", version.MaxLength)
		got, err := version.Compare(f, long, "1"+strings.Repeat("0", version.MaxLength-1))
		if err != nil || got != 1 {
			t.Errorf("%s: got %d, %v, want 1", f, got, err)
		}
		if got, err = version.Compare(f, long, "99"); err != nil || got != 1 {
			t.Errorf("%s: got %d, %v, want 1", f, got, err)
		}
	}
}

func TestAppendKeyKeepsDst(t *testing.T) {
	for _, f := range formats {
		dst := []byte("kept")
		got, err := version.AppendKey(dst, f, "1.0 bad")
		if err == nil || string(got) != "kept" {
			t.Errorf("%s: got %q, %v, want the prefix and an error", f, got, err)
		}
		if got, err = version.AppendKey(dst, f, "1.0"); err != nil || !strings.HasPrefix(string(got), "kept") {
			t.Errorf("%s: got %q, %v, want a key after the prefix", f, got, err)
		}
	}
}

func TestCompareAllocatesNothing(t *testing.T) {
	for _, f := range formats {
		a, b := "5.14.0", "5.14.0"
		if f != version.FormatAPK {
			a, b = "1:5.14.0-687.26.1.el9", "1:5.14.0-687.27.1.el9"
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := version.Compare(f, a, b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a comparison, want 0", f, n)
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	pairs := map[schema.PackageFormat][2]string{
		schema.FormatDeb:  {"1:9.2p1-2+deb12u3", "1:9.2p1-2+deb12u10"},
		schema.FormatRPM:  {"5.14.0-70.13.1.el9_0", "5.14.0-687.26.1.el9_8"},
		version.FormatAPK: {"1.1.1d-r0", "1.1.1d-r2"},
	}
	for _, f := range formats {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := version.Compare(f, pairs[f][0], pairs[f][1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("keys", func(b *testing.B) {
		b.ReportAllocs()
		ka, _ := version.AppendKey(nil, schema.FormatRPM, pairs[schema.FormatRPM][0])
		kb, _ := version.AppendKey(nil, schema.FormatRPM, pairs[schema.FormatRPM][1])
		for b.Loop() {
			version.CompareKeys(ka, kb)
		}
	})
}

func checkRelation(t *testing.T, f schema.PackageFormat, r relation) {
	t.Helper()
	got, err := version.Compare(f, r.a, r.b)
	if err != nil || got != r.want {
		t.Errorf("%s line %d: Compare(%q, %q): got %d, %v, want %d", f, r.line, r.a, r.b, got, err, r.want)
	}
	got, err = version.Compare(f, r.b, r.a)
	if err != nil || got != -r.want {
		t.Errorf("%s line %d: Compare(%q, %q): got %d, %v, want %d", f, r.line, r.b, r.a, got, err, -r.want)
	}
}

func readRelations(t *testing.T, path string) []relation {
	t.Helper()
	var out []relation
	signs := map[string]int{"<": -1, "=": 0, ">": 1}
	for i, line := range readLines(t, path) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			t.Fatalf("%s: relation %d: got %q, want A < B, A = B or A > B", path, i+1, line)
		}
		sign, ok := signs[fields[1]]
		if !ok {
			t.Fatalf("%s: relation %d: got %q, want A < B, A = B or A > B", path, i+1, line)
		}
		out = append(out, relation{i + 1, fields[0], fields[2], sign})
	}
	return out
}

// readLines returns the lines of a file that are neither empty nor a comment.
func readLines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}
