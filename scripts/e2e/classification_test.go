package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// coverage is of the answer of 'coverage' what the test looks at.
type coverage struct {
	Expected  int `json:"expected"`
	Reporting int `json:"reporting"`
	NeverSeen int `json:"never_seen"`
}

// classified imports a list, applies rules, and asks by whose word the host is
// what it is.
func classified(t *testing.T, j *job) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rules := write("rules.yaml", `version: 1
rules:
  - id: payments
    match: {tag: {app: "pay*"}}
    set: {service: payments, owner: payments, exposure: internal, crown_jewel: true}
`)
	hasShape(t, "classify-test-file", j.collector.ask("classify", "test", "--file", rules, "-o", "json"))
	hasShape(t, "asset-import", j.collector.ask("asset", "import", write("cmdb.csv", "name,tag:app,rack\n"+assetName+",payments-api,b3\nnever-came,x,\n"), "--source", "cmdb", "-o", "json"))
	j.collector.ask("classify", "test", "--file", rules).exits(t, 0).says(t, "payments", "nothing was applied")
	hasShape(t, "classify-apply", j.collector.ask("classify", "apply", rules, "-o", "json"))
	j.collector.ask("classify", "apply", rules).exits(t, 0).says(t, "in force already")
	hasShape(t, "classify-show", j.collector.ask("classify", "show", "-o", "json"))
	if a := j.collector.ask("classify", "show", "--source").exits(t, 0); !strings.Contains(a.stdout, "id: payments") {
		t.Errorf("the rules in force are shown as %q", a.stdout)
	}
	hasShape(t, "classify-test", j.collector.ask("classify", "test", assetName, "-o", "json"))
	j.collector.ask("classify", "test", assetName).exits(t, 0).says(t, "operator", "payments", "column internet")
	hasShape(t, "asset-show", j.collector.ask("asset", "show", assetName, "-o", "json"))
	// What was said by hand holds over the rule; the rule speaks where nobody did.
	j.collector.ask("asset", "show", assetName).exits(t, 0).says(t, "exposure internet: operator", "owner platform: operator",
		"service payments: rule payments", "crown_jewel true: rule payments")
	hasShape(t, "classify-gaps", j.collector.ask("classify", "gaps", "-o", "json"))
	hasShape(t, "coverage", j.collector.ask("coverage", "-o", "json"))
	if c := read[coverage](t, j.collector.ask("coverage", "-o", "json")); c.Expected != 2 || c.Reporting != 1 || c.NeverSeen != 1 {
		t.Errorf("coverage %+v, want one of two reporting", c)
	}
	j.collector.ask("coverage").exits(t, 0).says(t, "never_seen", "never-came", "expected 2: 1 reporting")

	j.collector.ask("asset", "import", write("bad.csv", "name,Host\na,b\n"), "--source", "cmdb").exits(t, 1).says(t, `columns "name" and "Host" are both the name`)
	j.collector.ask("asset", "import", rules).exits(t, 2).says(t, "--source")
	j.collector.ask("classify", "apply", write("bad.yaml", "version: 1\nrules:\n  - {id: a, mach: {}, set: {exposure: moon}}\n")).exits(t, 1).
		says(t, "line 3", `unknown key "mach"`, `exposure "moon"`)
	j.collector.ask("classify", "test").exits(t, 2).says(t, "name an asset, or rules with --file")
	j.collector.ask("coverage", "--presence", "absent").exits(t, 2).says(t, "never_seen, silent")
}
