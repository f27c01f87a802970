package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/policy"
)

func TestPolicyShowPrintsTheShippedFile(t *testing.T) {
	_, src := policy.Default()
	out, status, err := answer(t, newPolicyCommand(), "show", "--default")
	if status != 0 || out != string(src) {
		t.Errorf("status %d, %v; %d bytes, want %d", status, err, len(out), len(src))
	}
	out, status, err = answer(t, newPolicyCommand(), "show", "--default", "-o", "json")
	var got api.PolicyFile
	if jsonErr := json.Unmarshal([]byte(out), &got); jsonErr != nil || status != 0 {
		t.Fatalf("status %d, %v, %v", status, err, jsonErr)
	}
	if got.Source != string(src) || got.Digest != policy.Digest(src) || got.State != "shipped" || got.Name != "vpm-standard" {
		t.Errorf("got %s %s %s", got.Digest, got.State, got.Name)
	}
	if _, status, err := answer(t, newPolicyCommand(), "show", "--data", t.TempDir()); status != exitError || !strings.Contains(err.Error(), "no collector runs") {
		t.Errorf("without a collector: status %d, %v", status, err)
	}
}

func TestPolicyCheck(t *testing.T) {
	_, src := policy.Default()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", string(src))
	bad := file("bad.yaml", strings.Replace(string(src), "zone: Europe/Dublin", "zone: Mars\ncolour: red", 1))

	out, status, err := answer(t, newPolicyCommand(), "check", good)
	if status != 0 || !strings.Contains(out, "good.yaml: usable, errors 0, warnings 10, digest "+policy.Digest(src)) ||
		!strings.Contains(out, "warning: timelines.code: a lower severity can be due before a higher one") {
		t.Errorf("status %d, %v:\n%s", status, err, out)
	}

	out, status, err = answer(t, newPolicyCommand(), "check", bad, "-o", "json")
	var got policyCheck
	if jsonErr := json.Unmarshal([]byte(out), &got); jsonErr != nil {
		t.Fatal(jsonErr)
	}
	if status != exitError || got.OK || len(got.Problems) != 2 || got.File != bad || len(got.Digest) != 64 {
		t.Errorf("status %d, %v:\n%s", status, err, out)
	}
	for _, p := range got.Problems {
		if p.Severity != policy.Error || p.Line == 0 || p.Hint == "" || (p.Path != "zone" && p.Path != "colour") {
			t.Errorf("problem %+v", p)
		}
	}

	out, status, _ = answer(t, newPolicyCommand(), "check", bad)
	if status != exitError || !strings.Contains(out, "zone: no such time zone: \"Mars\"\n  hint: use an IANA name") || !strings.Contains(out, "not usable, errors 2") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if _, status, _ := answer(t, newPolicyCommand(), "check", filepath.Join(dir, "none")); status != exitError {
		t.Errorf("a file that is not there: status %d", status)
	}
}

func TestPolicyDiffOfFilesAsksNobody(t *testing.T) {
	_, src := policy.Default()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	text := strings.Replace(string(src), "internet: 14 days", "internet: 21 days", 1)
	text = strings.Replace(text, "mitigate_hours: 24", "mitigate_hours: 12", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status, err := answer(t, newPolicyCommand(), "diff", "default", path, "-o", "csv")
	want := "cell,from,to,effect\n" +
		"timelines.compute.critical.internet,14 days,21 days,looser\n" +
		"kev.mitigate_hours,24 hours,12 hours,stricter\n"
	if status != 0 || !strings.HasPrefix(out, want) {
		t.Errorf("status %d, %v:\n%s", status, err, out)
	}
	out, status, _ = answer(t, newPolicyCommand(), "diff", path, path, "-o", "json")
	var same api.PolicyDiff
	if err := json.Unmarshal([]byte(out), &same); err != nil || status != 0 || same.Count != 0 || same.Changes == nil {
		t.Errorf("a file and itself: status %d, %v\n%s", status, err, out)
	}
}
