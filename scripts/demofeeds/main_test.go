package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRestate(t *testing.T) {
	entries := []entry{
		{"a", "1.0-1", "unstable", []string{"CVE-2020-0001"}, "Thu, 02 Jan 2020 10:00:00 +0000"},                                  // in the release
		{"a", "1.2-1", "unstable", []string{"CVE-2024-0002", "CVE-2024-0003"}, "Wed, 10 Jan 2024 10:00:00 +0100"},                 // came as a rebuild
		{"a", "1.2-1~deb12u2", "bookworm", []string{"CVE-2024-0003"}, "Fri, 12 Jan 2024 10:00:00 +0000"},                          // the branch wins
		{"a", "1.2-1~deb12u3", "bookworm-security", []string{"CVE-2024-0003"}, "Mon, 15 Jan 2024 10:00:00 +0000"},                 // mends the first
		{"b", "3-1+deb12u5", "bullseye-security", []string{"CVE-2024-10004", "CVE-2024-0004"}, "Mon, 15 Jan 2024 10:00:00 +0000"}, // misnamed, and of the branch
	}
	got, err := restate(entries)
	if err != nil {
		t.Fatal(err)
	}
	want := []fix{
		{"a", "1.2-1~deb12u1", time.Date(2024, 1, 10, 9, 0, 0, 0, time.UTC), []string{"CVE-2024-0002"}},
		{"a", "1.2-1~deb12u2", time.Date(2024, 1, 12, 10, 0, 0, 0, time.UTC), []string{"CVE-2024-0003"}},
		{"b", "3-1+deb12u5", time.Date(2024, 1, 15, 10, 0, 0, 0, time.UTC), []string{"CVE-2024-0004", "CVE-2024-10004"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fixes differ (-want +got):\n%s", diff)
	}
	for name, bad := range map[string]entry{
		"date":    {"a", "1", "bookworm", []string{"CVE-2024-0001"}, "yesterday"},
		"cve":     {"a", "1", "bookworm", []string{"CVE-24"}, "Thu, 02 Jan 2020 10:00:00 +0000"},
		"version": {"a", "1:::", "bookworm", []string{"CVE-2024-0003"}, "Thu, 02 Jan 2020 10:00:00 +0000"},
	} {
		if _, err := restate(append([]entry{bad}, entries...)); err == nil {
			t.Errorf("an entry with a bad %s was restated", name)
		}
	}
}

// TestShippedSnapshotIsWhatTheGeneratorWrites runs it again on the facts it was made from.
func TestShippedSnapshotIsWhatTheGeneratorWrites(t *testing.T) {
	data := filepath.Join("..", "..", "..", "shared", "data")
	if _, err := os.Stat(data); err != nil {
		t.Skipf("the facts are not beside the checkout: %v", err)
	}
	out := t.TempDir()
	if err := run(data, out); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(out)
	if err != nil || len(files) != 3 {
		t.Fatalf("got %d files, %v; want 3", len(files), err)
	}
	var total int64
	for _, f := range files {
		made, err := os.ReadFile(filepath.Join(out, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		total += int64(len(made))
		shipped, err := os.ReadFile(filepath.Join("..", "demo", "feeds", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(made, shipped) {
			t.Errorf("%s differs from what is shipped; run `go run ./scripts/demofeeds` and look at the change", f.Name())
		}
	}
	if total > 400_000 {
		t.Errorf("the snapshot has %d bytes, want at most 400 000", total)
	}
}
