package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
)

func newSLACommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sla",
		Short: "deadlines: what is due when, and why",
	}
	cmd.AddCommand(newExplainCommand())
	return cmd
}

// explainFlags are the words of 'sla explain' as they were given.
type explainFlags struct {
	class, severity, exposure, environment       string
	core, crownJewel, coldWallet, hotWallet      bool
	dataSensitivity                              string
	noFix                                        bool
	available, detected, merged, released, known string
	kevAdded, kevDue, exploited, validated       string
	automatable, impact, exploit, epss           string
	publicExploit, sensitiveComponent            bool
	policy, at                                   string
}

func newExplainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --class CLASS --severity SEVERITY --detected DATE",
		Short: "explain the deadline of a vulnerability on an asset",
		Long: `Explain when a vulnerability on an asset is due, by which rule, and every other
deadline that applied.

DATE is YYYY-MM-DD, the start of that day in the policy's time zone, or an
instant such as 2026-03-10T14:00:00Z. --detected is needed except for code,
which needs --known and one of --merged and --released. What is not given of
exposure and environment is unknown, and unknown is read strictly.

Exit status: 0 explained, 1 error, 2 wrong usage.`,
		Example: `  patchproof sla explain --class compute --severity high --exposure internal \
    --environment production --available 2026-03-02 --detected 2026-03-10
  patchproof sla explain --class code --severity critical --known 2026-03-01 \
    --merged 2026-02-01 --kev-added 2026-03-04 -o json`,
		Args: cobra.NoArgs,
	}
	out := outputFlag(cmd, "table", "json")
	f.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := f.loadPolicy()
		if err != nil {
			return err
		}
		in, at, err := f.input(p, time.Now())
		if err != nil {
			return usage(err)
		}
		v, err := sla.Evaluate(p, in, at)
		if err != nil {
			return usage(err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), explanationOf(v))
		}
		printDeadline(cmd.OutOrStdout(), p, v)
		return nil
	}
	return cmd
}

func (f *explainFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVar(&f.class, "class", "", "compute, appliance, image, workload, golden or code")
	s.StringVar(&f.severity, "severity", "", "critical, high, medium or low")
	s.StringVar(&f.exposure, "exposure", "unknown", "internet, internal or unknown")
	s.StringVar(&f.environment, "environment", "unknown", "production, nonproduction, enduser or unknown")
	s.BoolVar(&f.core, "core", false, "the asset is core infrastructure")
	s.BoolVar(&f.crownJewel, "crown-jewel", false, "trading engine, wallet or signing")
	s.BoolVar(&f.coldWallet, "cold-wallet", false, "cold-wallet tooling: quarterly windows")
	s.BoolVar(&f.hotWallet, "hot-wallet", false, "the asset serves a hot wallet")
	s.StringVar(&f.dataSensitivity, "data-sensitivity", "normal", "high or normal")
	s.BoolVar(&f.noFix, "no-fix", false, "the vendor has no fix yet")
	s.StringVar(&f.available, "available", "", "DATE the vendor issued the fix")
	s.StringVar(&f.detected, "detected", "", "DATE of first detection")
	s.StringVar(&f.merged, "merged", "", "DATE of the merge to the default branch (code)")
	s.StringVar(&f.released, "released", "", "DATE of the release (code)")
	s.StringVar(&f.known, "known", "", "DATE the vulnerability became known (code)")
	s.StringVar(&f.kevAdded, "kev-added", "", "DATE of the listing in CISA's KEV catalogue")
	s.StringVar(&f.kevDue, "kev-due", "", "CISA's own due DATE")
	s.StringVar(&f.exploited, "exploited", "", "DATE an operator marked it actively exploited")
	s.StringVar(&f.validated, "validated", "", "DATE the patch was validated (Zero-Day)")
	s.StringVar(&f.automatable, "automatable", "", "SSVC: yes or no")
	s.StringVar(&f.impact, "impact", "", "SSVC technical impact: partial or total")
	s.StringVar(&f.exploit, "exploit", "", "SSVC exploitation: none, poc or active")
	s.StringVar(&f.epss, "epss", "", "EPSS score from 0 to 1")
	s.BoolVar(&f.publicExploit, "public-exploit", false, "an exploit is public")
	s.BoolVar(&f.sensitiveComponent, "sensitive-component", false, "kernel, OpenSSL or a language runtime")
	s.StringVar(&f.policy, "policy", "", "policy FILE (the shipped standard)")
	s.StringVar(&f.at, "at", "", "TIME of asking (now)")
}

// loadPolicy reads the policy named by --policy, or the shipped one.
func (f *explainFlags) loadPolicy() (*sla.Policy, error) {
	if f.policy == "" {
		p, _ := policy.Default()
		return p, nil
	}
	src, err := readPolicy(f.policy)
	if err != nil {
		return nil, err
	}
	p, _, err := policy.Parse(src)
	if err != nil {
		return nil, withHint(fmt.Errorf("policy %s: %w", f.policy, err), "'patchproof policy check "+f.policy+"' lists every problem")
	}
	return p, nil
}

// maxPolicyFile is more than policy.Parse accepts.
const maxPolicyFile = 2 << 20

func readPolicy(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer func() { _ = file.Close() }()
	src, err := io.ReadAll(io.LimitReader(file, maxPolicyFile))
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return src, nil
}

// input turns the flags into the engine's input, and reports every fault at once.
func (f *explainFlags) input(p *sla.Policy, now time.Time) (sla.Input, time.Time, error) {
	r := &flagReader{policy: p}
	in := sla.Input{
		Asset: sla.Asset{
			Class:       sla.Class(r.word("class", f.class, true, "compute", "appliance", "image", "workload", "golden", "code")),
			Exposure:    sla.Exposure(r.word("exposure", f.exposure, true, "internet", "internal", "unknown")),
			Environment: sla.Environment(r.word("environment", f.environment, true, "production", "nonproduction", "enduser", "unknown")),
			Core:        f.core, CrownJewel: f.crownJewel, ColdWallet: f.coldWallet, HotWallet: f.hotWallet,
			HighDataSensitivity: r.word("data-sensitivity", f.dataSensitivity, true, "high", "normal") == "high",
		},
		Vulnerability: sla.Vulnerability{
			Severity:           finding.Severity(r.word("severity", f.severity, true, "critical", "high", "medium", "low")),
			ActiveExploitation: r.instant("exploited", f.exploited),
			Automatable:        r.word("automatable", f.automatable, false, "yes", "no"),
			Impact:             r.word("impact", f.impact, false, "partial", "total"),
			Exploitation:       r.word("exploit", f.exploit, false, "none", "poc", "active"),
			EPSS:               r.score("epss", f.epss),
			PublicExploit:      f.publicExploit, SensitiveComponent: f.sensitiveComponent,
		},
		Clock: sla.Clock{
			Available: r.instant("available", f.available), NoFix: f.noFix,
			Detected: r.instant("detected", f.detected), Known: r.instant("known", f.known),
			Merged: r.instant("merged", f.merged), Released: r.instant("released", f.released),
			Validated: r.instant("validated", f.validated),
		},
	}
	if listed := r.instant("kev-added", f.kevAdded); !listed.IsZero() {
		in.Vulnerability.KEVAdded, in.Vulnerability.KEVListed = p.LocalDate(listed), listed
	}
	if due := r.instant("kev-due", f.kevDue); !due.IsZero() {
		in.Vulnerability.KEVDue = p.LocalDate(due)
	}
	at := now
	if f.at != "" {
		at = r.instant("at", f.at)
	}
	f.checkTogether(r)
	return in, at, r.err()
}

// checkTogether reports flags that need or exclude each other.
func (f *explainFlags) checkTogether(r *flagReader) {
	if f.noFix && f.available != "" {
		r.fault("--no-fix and --available contradict each other: give one")
	}
	if f.kevDue != "" && f.kevAdded == "" {
		r.fault("--kev-due needs --kev-added: CISA's date comes with the listing")
	}
	if f.validated != "" && f.kevAdded == "" && f.exploited == "" {
		r.fault("--validated needs --kev-added or --exploited: it shortens a Zero-Day")
	}
	if f.class == string(sla.Code) {
		if f.known == "" {
			r.fault("--known is needed for code: the date the vulnerability became known")
		}
		if f.merged == "" && f.released == "" {
			r.fault("--merged or --released is needed for code")
		}
		return
	}
	if f.detected == "" {
		r.fault("--detected is needed: the date of first detection")
	}
	for _, d := range []struct{ flag, value string }{{"known", f.known}, {"merged", f.merged}, {"released", f.released}} {
		if d.value != "" && f.class != "" {
			r.fault("--%s is for --class code alone", d.flag)
		}
	}
}

// flagReader reads flag values and collects the faults.
type flagReader struct {
	policy *sla.Policy
	faults []string
}

func (r *flagReader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// err is every fault in one line, nil when there is none.
func (r *flagReader) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.faults, "; "))
}

func (r *flagReader) word(flag, value string, needed bool, known ...string) string {
	if value == "" && !needed {
		return ""
	}
	if slices.Contains(known, value) {
		return value
	}
	if value == "" {
		r.fault("--%s is needed: one of %s", flag, strings.Join(known, ", "))
	} else {
		r.fault("--%s %q is not one of %s", flag, value, strings.Join(known, ", "))
	}
	return ""
}

// instant reads a date, the start of that local day, or an instant.
func (r *flagReader) instant(flag, value string) time.Time {
	if value == "" {
		return time.Time{}
	}
	t, err := r.policy.StartOf(finding.Date(value))
	if err != nil {
		t, err = time.Parse(time.RFC3339, value)
	}
	if err != nil || t.Year() < 1970 || t.Year() > 2149 {
		r.fault("--%s %q is not a date YYYY-MM-DD or an instant such as 2026-03-10T14:00:00Z, from 1970 to 2149", flag, value)
		return time.Time{}
	}
	return t
}

func (r *flagReader) score(flag, value string) float64 {
	if value == "" {
		return 0
	}
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(x) || x < 0 || x > 1 {
		r.fault("--%s %q is not a number from 0 to 1", flag, value)
	}
	return x
}

// explanation is the JSON form of a verdict. It is stable.
type explanation struct {
	ClockStart  *finding.Date       `json:"clock_start"`
	Due         *finding.Date       `json:"due"`
	Target      *finding.Date       `json:"target"`
	MitigateBy  *time.Time          `json:"mitigate_by"`
	Rule        *string             `json:"rule"`
	State       string              `json:"state"`
	Arrival     bool                `json:"arrival"`
	Forensics   bool                `json:"forensics"`
	Cycle       string              `json:"cycle"`
	Priority    string              `json:"priority"`
	PriorityWhy []string            `json:"priority_why"`
	Candidates  []finding.Candidate `json:"candidates"`
	Notes       []string            `json:"notes"`
	Policy      string              `json:"policy"`
	TZData      string              `json:"tzdata"`
}

func explanationOf(v finding.Verdict) explanation {
	x := explanation{
		State: v.State, Arrival: v.Arrival, Forensics: v.Forensics, Cycle: v.Cycle,
		Priority: v.Priority, PriorityWhy: v.PriorityWhy, Candidates: v.Candidates, Notes: v.Notes,
		Policy: v.Policy, TZData: v.TZData,
		ClockStart: given(v.ClockStart), Due: given(v.Due), Target: given(v.Target), Rule: given(v.Rule),
	}
	if !v.MitigateBy.IsZero() {
		at := v.MitigateBy.UTC()
		x.MitigateBy = &at
	}
	if x.Candidates == nil {
		x.Candidates = []finding.Candidate{}
	}
	if x.Notes == nil {
		x.Notes = []string{}
	}
	return x
}

// given is nil for the empty word, so that JSON says null.
func given[T ~string](w T) *T {
	if w == "" {
		return nil
	}
	return &w
}

// printDeadline tells a person the verdict: the date, why, and what else applied.
func printDeadline(w io.Writer, p *sla.Policy, v finding.Verdict) {
	fmt.Fprintln(w, headline(v))
	for _, c := range v.Candidates {
		if c.Rule == v.Rule {
			for _, text := range wrapTo(clean(c.Why), proseWidth(w)-2) {
				fmt.Fprintf(w, "  %s\n", text)
			}
			break
		}
	}
	fmt.Fprintln(w)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, clean(value))
		}
	}
	line("clock start", string(v.ClockStart))
	line("rule", v.Rule)
	if !v.DueAt.IsZero() {
		line("breach", v.DueAt.In(p.Zone).Format(time.RFC3339))
	}
	line("target", string(v.Target))
	if !v.MitigateBy.IsZero() {
		line("mitigate by", v.MitigateBy.In(p.Zone).Format(time.RFC3339))
	}
	if v.Forensics {
		line("forensics", "a forensic investigation is required (CISA BOD 26-04)")
	}
	line("cycle", strings.ReplaceAll(v.Cycle, "_", " "))
	line("priority", v.Priority+": "+strings.Join(v.PriorityWhy, "; "))
	line("policy", p.Name+" "+v.Policy)
	line("zone", p.Zone.String()+", data "+v.TZData)
	if len(v.Candidates) > 0 {
		fmt.Fprintln(w)
		printCandidates(w, v)
	}
	if len(v.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range v.Notes {
		for _, text := range wrapTo("note: "+clean(n), proseWidth(w)) {
			fmt.Fprintln(w, text)
		}
	}
}

func headline(v finding.Verdict) string {
	switch v.State {
	case finding.VerdictGate:
		return "no clock: a gate (golden image)"
	case finding.VerdictAwaitingFix:
		return "no date: awaiting a fix"
	}
	day := string(v.Due)
	if t, err := time.Parse(time.DateOnly, day); err == nil {
		day += " (" + t.Weekday().String() + ")"
	}
	text := "due " + day + ": " + v.State
	if v.Arrival {
		text += ", on arrival: the window had closed before first detection"
	}
	return text
}

func printCandidates(w io.Writer, v finding.Verdict) {
	t := table{columns: []column{{head: " "}, {head: "RULE", min: 20}, {head: "START"}, {head: "DUE"}, {head: "WHY", min: 24}}, wrapLast: true}
	won := false
	for _, c := range v.Candidates {
		mark := ""
		switch {
		case c.Rule == v.Rule && !won:
			mark, won = "*", true
		case c.Advisory:
			mark = "~"
		}
		t.add(mark, c.Rule, string(c.Start), string(c.Due), c.Why)
	}
	t.print(w)
	fmt.Fprintln(w, "* wins   ~ shown, never wins")
}
