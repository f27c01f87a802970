package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/policy"
)

// answer runs one command and returns what it printed, and its exit status.
func answer(t *testing.T, cmd *cobra.Command, args ...string) (stdout string, status int, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err = cmd.Execute()
	if err == nil {
		return out.String(), 0, nil
	}
	if se, ok := errors.AsType[*statusError](err); ok {
		return out.String(), se.code, err
	}
	return out.String(), 1, err
}

func explain(t *testing.T, words string) (stdout string, status int, err error) {
	t.Helper()
	return answer(t, newSLACommand(), append([]string{"explain"}, strings.Fields(words)...)...)
}

// asMap is the JSON of an explanation without what only the shipped file's bytes decide.
func asMap(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	p, _ := policy.Default()
	if m["policy"] != p.Digest || m["tzdata"] != policy.TZData {
		t.Errorf("policy %v, tzdata %v", m["policy"], m["tzdata"])
	}
	delete(m, "policy")
	delete(m, "tzdata")
	return m
}

func TestExplainJSON(t *testing.T) {
	const at = " --at 2026-03-20 -o json"
	for _, c := range []struct{ name, args, want string }{
		{
			"internal_high", "--class compute --severity high --exposure internal --environment production --available 2026-03-02 --detected 2026-03-10",
			`{"clock_start":"2026-03-02","due":"2026-03-22","target":null,"mitigate_by":null,"rule":"7.1/high/production/cycle","state":"open",
			"arrival":false,"forensics":false,"cycle":"in_cycle","priority":"P3","priority_why":["severity high +3","3 points: P3"],"notes":[],"candidates":[
			{"rule":"7.1/high/production/cycle","start":"2026-03-02","due":"2026-03-22","why":"§7.1 high, internal production: the next window of calendar production after vendor availability on 2026-03-02 ends on this day"},
			{"rule":"7.1/high/production/days","start":"2026-03-02","due":"2026-04-01","why":"§7.1 high, internal production: 30 days from vendor availability on 2026-03-02"}]}`,
		},
		{
			"arrival_of_a_crown_jewel", "--class compute --severity critical --exposure internet --environment production --crown-jewel --available 2026-01-05 --detected 2026-03-10",
			`{"clock_start":"2026-01-05","due":"2026-01-19","target":"2026-01-12","mitigate_by":null,"rule":"7.1/critical/internet","state":"overdue",
			"arrival":true,"forensics":false,"cycle":"in_cycle","priority":"P1","priority_why":["severity critical +4","exposed +1","crown jewel +1","6 points: P1"],
			"notes":["a medium here would be due 2026-01-18, before this critical's row (2026-01-19): \"next cycle\" read strictly; the switch monotone_severity makes it bind"],
			"candidates":[{"rule":"7.1/critical/internet","start":"2026-01-05","due":"2026-01-19","why":"§7.1 critical, internet-facing or core: 14 days from vendor availability on 2026-01-05"}]}`,
		},
		{
			"kev_without_a_fix", "--class workload --severity low --exposure internet --environment production --no-fix --detected 2026-03-10 --kev-added 2026-03-12 --kev-due 2026-04-02 --automatable yes --impact total",
			`{"clock_start":"2026-03-10","due":"2026-03-15","target":null,"mitigate_by":"2026-03-13T00:00:00Z","rule":"KEV/bod-26-04/exposed/auto-yes/total","state":"overdue",
			"arrival":false,"forensics":true,"cycle":"zero_day","priority":"P0","priority_why":["severity low +1","KEV +2","exposed +1","4 points: P2","KEV on an exposed asset is always P0"],
			"notes":["no fix yet: \"next available cycle\" gives no date"],"candidates":[
			{"rule":"KEV/bod-26-04/exposed/auto-yes/total","start":"2026-03-12","due":"2026-03-15","why":"CISA BOD 26-04, KEV, exposed, automatable, total impact: 3 days from the KEV listing on 2026-03-12, with a forensic investigation"},
			{"rule":"KEV/cisa-due","start":"2026-03-12","due":"2026-04-02","why":"KEV: CISA's own due date, the asset is exposed"}]}`,
		},
		{
			"awaiting_a_fix", "--class image --severity low --exposure internal --environment production --no-fix --detected 2026-03-10",
			`{"clock_start":"2026-03-10","due":null,"target":null,"mitigate_by":null,"rule":null,"state":"awaiting_fix","arrival":false,"forensics":false,
			"cycle":"in_cycle","priority":"P4","priority_why":["severity low +1","1 point: P4"],"notes":["no fix yet: \"next available cycle\" gives no date"],"candidates":[]}`,
		},
		{
			"a_gate", "--class golden --severity medium --exposure internal --environment production --detected 2026-03-10",
			`{"clock_start":null,"due":null,"target":null,"mitigate_by":null,"rule":null,"state":"gate","arrival":false,"forensics":false,
			"cycle":"in_cycle","priority":"P4","priority_why":["severity medium +2","2 points: P4"],
			"notes":["golden image: not releasable while this remains (§7.3, VPM-04.4)"],"candidates":[]}`,
		},
		{
			"code", "--class code --severity critical --exposure internal --environment production --known 2026-03-10 --merged 2026-02-01 --released 2026-02-20",
			`{"clock_start":"2026-03-10","due":"2026-03-24","target":null,"mitigate_by":null,"rule":"7.4/critical","state":"open","arrival":false,"forensics":false,
			"cycle":"in_cycle","priority":"P2","priority_why":["severity critical +4","4 points: P2"],
			"notes":["a low here would be due 2026-03-22, before this critical's row (2026-03-24): \"next cycle\" read strictly; the switch monotone_severity makes it bind"],
			"candidates":[{"rule":"7.4/critical","start":"2026-03-10","due":"2026-03-24","why":"§7.4 critical: 14 days from the vulnerability becoming known on 2026-03-10"}]}`,
		},
		{
			"an_advisory_row", "--class compute --severity critical --exposure internet --environment production --available 2026-03-10 --detected 2026-03-10 --automatable yes --impact total",
			`{"clock_start":"2026-03-10","due":"2026-03-24","target":null,"mitigate_by":null,"rule":"7.1/critical/internet","state":"open","arrival":false,"forensics":false,
			"cycle":"in_cycle","priority":"P1","priority_why":["severity critical +4","exposed +1","5 points: P1"],
			"notes":["a medium here would be due 2026-03-22, before this critical's row (2026-03-24): \"next cycle\" read strictly; the switch monotone_severity makes it bind"],
			"candidates":[{"rule":"7.1/critical/internet","start":"2026-03-10","due":"2026-03-24","why":"§7.1 critical, internet-facing or core: 14 days from first detection on 2026-03-10"},
			{"rule":"BOD-26-04/no-kev/exposed/auto-yes/total","start":"2026-03-10","due":"2026-03-13","advisory":true,"why":"CISA BOD 26-04, no KEV, exposed, automatable, total impact: 3 days from first detection on 2026-03-10 (advisory)"}]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status, err := explain(t, c.args+at)
			if status != 0 {
				t.Fatalf("status %d: %v", status, err)
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, asMap(t, out)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainDates(t *testing.T) {
	const common = "--class compute --severity critical --exposure internal --environment production --no-fix -o json "
	for _, c := range []struct{ name, args, start, mitigate string }{
		{"a_date_is_the_start_of_the_local_day", "--detected 2026-06-10", "2026-06-10", ""},
		{"an_instant", "--detected 2026-06-09T23:30:00Z", "2026-06-10", ""},
		{"an_instant_with_an_offset", "--detected 2026-06-10T01:30:00+03:00", "2026-06-09", ""},
		{"a_listing_by_date", "--detected 2026-06-09 --kev-added 2026-06-10", "2026-06-09", "2026-06-10T23:00:00Z"},
		{"a_listing_by_instant", "--detected 2026-06-09 --kev-added 2026-06-10T12:00:00Z", "2026-06-09", "2026-06-11T12:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status, err := explain(t, common+c.args)
			if status != 0 {
				t.Fatalf("status %d: %v", status, err)
			}
			m := asMap(t, out)
			mitigate, _ := m["mitigate_by"].(string)
			if m["clock_start"] != c.start || mitigate != c.mitigate {
				t.Errorf("got %v, mitigate by %q, want %s, %q", m["clock_start"], mitigate, c.start, c.mitigate)
			}
		})
	}
}

func TestExplainAtATime(t *testing.T) {
	const args = "--class compute --severity critical --exposure internal --environment production --detected 2026-03-02 -o json --at " // due 2026-04-01
	for at, want := range map[string]string{
		"2026-04-01": "open", "2026-04-01T23:59:59+01:00": "open", "2026-04-02": "overdue", "2026-04-01T23:00:00Z": "overdue",
	} {
		out, status, err := explain(t, args+at)
		if status != 0 || asMap(t, out)["state"] != want {
			t.Errorf("at %s: status %d (%v), want %s in %s", at, status, err, want, out)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	const asset = "--class compute --severity high --exposure internal --environment production "
	for _, c := range []struct{ name, args, words string }{
		{"no class", "--severity high --detected 2026-03-02", "--class is needed"},
		{"no severity", "--class compute --detected 2026-03-02", "--severity is needed"},
		{"no detection", asset, "--detected is needed"},
		{"no detection of a golden image", "--class golden --severity high", "--detected is needed"},
		{"class", "--class router --severity high --detected 2026-03-02", `--class "router" is not one of`},
		{"severity", "--class compute --severity urgent --detected 2026-03-02", `--severity "urgent" is not one of`},
		{"exposure", asset + "--exposure dmz --detected 2026-03-02", `--exposure "dmz" is not one of`},
		{"environment", asset + "--environment staging --detected 2026-03-02", `--environment "staging" is not one of`},
		{"date", asset + "--detected 2026-02-30", `--detected "2026-02-30" is not a date`},
		{"date of no form", asset + "--detected yesterday", `--detected "yesterday" is not a date`},
		{"date too early", asset + "--detected 1492-10-12", "from 1970 to 2149"},
		{"date too late", asset + "--detected 9999-10-12", "from 1970 to 2149"},
		{"no fix and a fix", asset + "--detected 2026-03-02 --no-fix --available 2026-03-01", "--no-fix and --available contradict"},
		{"CISA's date without a listing", asset + "--detected 2026-03-02 --kev-due 2026-03-10", "--kev-due needs --kev-added"},
		{"merge of a host", asset + "--detected 2026-03-02 --merged 2026-03-01", "--merged is for --class code alone"},
		{"code without known", "--class code --severity high --merged 2026-03-01", "--known is needed for code"},
		{"code without merge", "--class code --severity high --known 2026-03-01", "--merged or --released is needed"},
		{"automatable", asset + "--detected 2026-03-02 --automatable maybe", `--automatable "maybe" is not one of yes, no`},
		{"impact", asset + "--detected 2026-03-02 --impact huge", `--impact "huge" is not one of partial, total`},
		{"EPSS", asset + "--detected 2026-03-02 --epss 50", `--epss "50" is not a number from 0 to 1`},
		{"time of asking", asset + "--detected 2026-03-02 --at noon", `--at "noon" is not a date`},
		{"end-user appliance", "--class appliance --severity high --exposure internal --environment enduser --detected 2026-03-02", "the policy has no row"},
		{"all at once", "--class router --detected soon --impact huge", `--class "router" is not one of compute, appliance, image, workload, golden, code; --severity is needed`},
		{"output", asset + "--detected 2026-03-02 -o xml", `output format "xml"`},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			out, status, err := explain(t, c.args)
			if status != exitUsage || err == nil || !strings.Contains(err.Error(), c.words) || out != "" {
				t.Errorf("status %d, error %v, output %q; want status 2 and %q", status, err, out, c.words)
			}
		})
	}
}

func TestExplainForAPerson(t *testing.T) {
	out, status, err := explain(t, "--class compute --severity high --exposure unknown --environment production --available 2026-03-02 --detected 2026-03-10 "+
		"--kev-added 2026-03-12 --automatable no --impact total --at 2026-03-13T09:00:00Z")
	if status != 0 {
		t.Fatal(err)
	}
	p, _ := policy.Default()
	want := `due 2026-03-15 (Sunday): open
  CISA BOD 26-04, KEV, exposed, not automatable, total impact: 3 days from the KEV listing on 2026-03-12, with a forensic investigation

clock start  2026-03-02
rule         KEV/bod-26-04/exposed/auto-no/total
breach       2026-03-16T00:00:00Z
mitigate by  2026-03-13T00:00:00Z
forensics    a forensic investigation is required (CISA BOD 26-04)
cycle        zero day
priority     P0: severity high +3; KEV +2; exposed +1; 6 points: P1; KEV on an exposed asset is always P0
policy       vpm-standard ` + p.Digest + `
zone         Europe/Dublin, data 2025c

   RULE                                 START       DUE         WHY
*  KEV/bod-26-04/exposed/auto-no/total  2026-03-12  2026-03-15  CISA BOD 26-04, KEV, exposed, not automatable, total impact: 3 days from the KEV listing on 2026-03-12, with a forensic investigation
   7.1/high/internet                    2026-03-02  2026-04-01  §7.1 high, internet-facing or core: 30 days from vendor availability on 2026-03-02
* wins   ~ shown, never wins

note: classification gap: exposure unknown, counted as internet
note: a medium here would be due 2026-03-22, before this high's row (2026-04-01): "next cycle" read strictly; the switch monotone_severity makes it bind
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExplainByAnotherPolicy(t *testing.T) {
	const args = "--class compute --severity critical --exposure internal --environment production --detected 2026-03-02T03:00:00Z -o json --policy "
	_, src := policy.Default()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", strings.Replace(string(src), "zone: Europe/Dublin", "zone: America/New_York", 1))
	out, status, err := explain(t, args+good)
	if status != 0 {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatal(err)
	}
	if m["clock_start"] != "2026-03-01" || m["due"] != "2026-03-31" {
		t.Errorf("in New York: %v to %v", m["clock_start"], m["due"])
	}
	bad := write("bad.yaml", strings.Replace(string(src), "zone: Europe/Dublin", "zone: Mars", 1))
	if _, status, err := explain(t, args+bad); status != exitError || !strings.Contains(err.Error(), `no such time zone: "Mars"`) {
		t.Errorf("status %d, %v", status, err)
	}
	if _, status, _ := explain(t, args+filepath.Join(dir, "none")); status != exitError {
		t.Errorf("a file that is not there: status %d", status)
	}
}
