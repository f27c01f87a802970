// Command demofeeds writes the dated feed snapshot that the demo uses where
// there is no network: scripts/demo/feeds. It restates facts: which version of
// which Debian 12 source package fixed which CVEs and when, as maintainers wrote
// in their changelogs; CISA's scores and decision points for those CVEs; and
// their entries in CISA's catalogue of exploited vulnerabilities.
//
//	go run ./scripts/demofeeds -data ../shared/data -out scripts/demo/feeds
//
// The same input gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	data := flag.String("data", "../shared/data", "`directory` with debian-fixes.json and exploit/")
	out := flag.String("out", "scripts/demo/feeds", "`directory` to write to")
	flag.Parse()
	if err := run(*data, *out); err != nil {
		fmt.Fprintln(os.Stderr, "demofeeds:", err)
		os.Exit(1)
	}
}

func run(data, out string) error {
	entries, err := readChangelogs(filepath.Join(data, "debian-fixes.json"))
	if err != nil {
		return err
	}
	fixes, err := restate(entries)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, f := range fixes {
		for _, cve := range f.CVEs {
			named[cve] = true
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := writeOSV(filepath.Join(out, "osv-debian-12.zip"), fixes); err != nil {
		return fmt.Errorf("write advisories: %w", err)
	}
	facts, err := writeFacts(filepath.Join(data, "exploit/vulnrichment/ssvc-cvss.csv.gz"), filepath.Join(out, "cve-facts.jsonl.gz"), named)
	if err != nil {
		return fmt.Errorf("write CVE facts: %w", err)
	}
	listed, err := writeKEV(filepath.Join(data, "exploit/kev/known_exploited_vulnerabilities.json"), filepath.Join(out, "kev.json"), named)
	if err != nil {
		return fmt.Errorf("write KEV: %w", err)
	}
	fmt.Printf("%d changelog entries, %d advisories, %d CVEs, %d with facts, %d exploited\n", len(entries), len(fixes), len(named), facts, listed)
	return nil
}
