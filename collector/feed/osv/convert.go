package osv

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/cvss"
	"github.com/patchproof/patchproof/collector/inventory"
)

// converter turns records into advisories. One serves one goroutine.
type converter struct {
	keep    func(inventory.Release) bool
	record  record
	targets map[string]target
	words   map[string]string
	scores  map[string]advisory.Score
	skipped map[string]int
	common  common
	out     []converted
}

type converted struct {
	advisory.Advisory
	index int // of the record, in order of file name
}

func newConverter(o Options) *converter {
	return &converter{
		keep:    o.Keep,
		targets: map[string]target{},
		words:   map[string]string{},
		scores:  map[string]advisory.Score{},
		skipped: map[string]int{},
	}
}

// word returns one copy of a string that comes again and again.
func (c *converter) word(s string) string {
	if s == "" {
		return ""
	}
	if w, ok := c.words[s]; ok {
		return w
	}
	s = strings.Clone(s)
	c.words[s] = s
	return s
}

// skip counts what is left out. A hostile document cannot make the list of
// reasons long.
func (c *converter) skip(reason string) {
	if _, ok := c.skipped[reason]; !ok && len(c.skipped) >= maxReasons {
		reason = "other reasons"
	}
	c.skipped[reason]++
}

const maxReasons = 200

// add reads one document.
func (c *converter) add(index int, doc []byte) error {
	r := &c.record
	if err := decode(doc, r); err != nil {
		return err
	}
	if !c.concerns(r) {
		return nil
	}
	a, err := c.advisory(r)
	if err != nil {
		return fmt.Errorf("%s: %w", r.ID, err)
	}
	if len(a.Affected) > 0 || a.Withdrawn != nil && len(r.Affected) == 0 {
		c.out = append(c.out, converted{a, index})
	}
	return nil
}

// concerns reports whether a record speaks of a release we know, and counts
// what it says of others. A withdrawn record need not speak of any.
func (c *converter) concerns(r *record) bool {
	c.common.begin()
	concerned := len(r.Affected) == 0
	sig := strings.HasPrefix(r.ID, "RXSA-")
	for i := range r.Affected {
		t := c.target(r.Affected[i].Package.Ecosystem)
		switch {
		case t.dist == nil:
			c.skip(t.why)
			continue
		case t.why != "":
			c.skip(t.why)
		case sig:
			// The special interest groups of Rocky Linux rebuild packages under
			// the names of the distribution's own, in repositories beside it.
			c.skip("advisory of a Rocky Linux special interest group")
		default:
			concerned = true
			c.common.release(t.release)
		}
		c.common.distro(t.dist.id)
	}
	c.common.end(len(r.Affected) == 0)
	return concerned
}

func (c *converter) target(ecosystem string) target {
	t, ok := c.targets[ecosystem]
	if !ok {
		t = resolve(ecosystem)
		c.targets[strings.Clone(ecosystem)] = t
	}
	return t
}

func (c *converter) advisory(r *record) (advisory.Advisory, error) {
	a := advisory.Advisory{ID: r.ID, Summary: clip(r.Summary, 500)}
	if err := dates(r, &a); err != nil {
		return a, err
	}
	if err := c.rows(r, &a); err != nil {
		return a, err
	}
	a.Vulnerabilities = vulnerabilities(r)
	a.Rating = rating(r, a.Affected)
	a.Scores = c.severities(r)
	for _, ref := range r.References {
		if ref.Type == "ADVISORY" && len(a.References) < 8 && plain(ref.URL, 512) {
			a.References = append(a.References, ref.URL)
		}
	}
	return a, nil
}

// dates sets the three instants. A record whose id is a CVE's was made from the
// CVE: its published is the day the CVE was, not the day of a fix.
func dates(r *record, a *advisory.Advisory) error {
	published, err := instant("published", r.Published)
	if err != nil {
		return err
	}
	if a.Modified, err = instant("modified", r.Modified); err != nil {
		return err
	}
	withdrawn, err := instant("withdrawn", r.Withdrawn)
	if err != nil {
		return err
	}
	if !withdrawn.IsZero() {
		a.Withdrawn = &withdrawn
	}
	a.Issued, a.IssuedKind = published, advisory.DateAdvisory
	switch kind := advisory.DateKind(r.Specific.Patchproof.IssuedKind); kind {
	case "":
	case advisory.DateChangelog, advisory.DateRepository:
		a.IssuedKind = kind
	default:
		return fmt.Errorf("database_specific.patchproof.issued_kind %s is not changelog or repository", strconv.Quote(clip(string(kind), 32)))
	}
	if cveOf(r.ID) != "" || published.IsZero() {
		a.Issued, a.IssuedKind = time.Time{}, advisory.DateFirstSeen
	}
	return nil
}

// rows converts the affected list.
func (c *converter) rows(r *record, a *advisory.Advisory) error {
	for i := range r.Affected {
		src := &r.Affected[i]
		t := c.target(src.Package.Ecosystem)
		if t.why != "" {
			continue
		}
		if c.keep != nil && !c.keep(t.release) {
			continue
		}
		row, err := c.row(r, src, t)
		if err != nil {
			return err
		}
		if a.Affected == nil {
			a.Affected = make([]advisory.Affected, 0, len(r.Affected))
		}
		a.Affected = append(a.Affected, row)
	}
	a.Affected = slices.Clip(a.Affected)
	return nil
}

func (c *converter) row(r *record, src *affected, t target) (advisory.Affected, error) {
	row := advisory.Affected{
		Release: t.release,
		Format:  t.dist.format,
		Kind:    t.dist.kind,
		Name:    c.word(src.Package.Name),
		Urgency: c.word(clip(src.Specific.Urgency, 32)),
	}
	if !plain(row.Name, 256) {
		return row, fmt.Errorf("package name %s is not printable text without spaces", strconv.Quote(clip(row.Name, 64)))
	}
	if err := c.ranges(src, &row); err != nil {
		return row, fmt.Errorf("package %s: %w", row.Name, err)
	}
	row.LivePatch = livePatch(r.ID, src)
	if err := c.module(r.ID, src, &row); err != nil {
		return row, fmt.Errorf("package %s: %w", row.Name, err)
	}
	row.Module = c.word(moduleOf(r.Summary, &row))
	return row, nil
}

// livePatch reports rows that speak of a live patch: Canonical's livepatch
// notices, and kpatch packages, whose version says nothing of the kernel's.
func livePatch(id string, src *affected) bool {
	return strings.HasPrefix(id, "LSN-") || src.Specific.ModuleNameRegex != "" || strings.HasPrefix(src.Package.Name, "kpatch-patch")
}

// module reads which module a notice of Canonical's live patches speaks of, and
// from which of its versions on it fixes: the one it names, or the number of the
// notice (LSN-0104-1), since its patches cumulate.
func (c *converter) module(id string, src *affected, row *advisory.Affected) error {
	pattern := src.Specific.ModuleNameRegex
	if pattern == "" {
		return nil
	}
	if len(pattern) > 512 {
		return fmt.Errorf("module_name_regex of %d bytes, at most 512", len(pattern))
	}
	name, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("module_name_regex: %w", err)
	}
	if name.NumSubexp() < 1 {
		c.skip("live patch whose module tells no version, which covers nothing")
		return nil
	}
	number := src.Specific.ModuleVersion
	if number == "" {
		number, _, _ = strings.Cut(strings.TrimPrefix(id, "LSN-"), "-")
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return fmt.Errorf("version %s of a live patch is not a number", strconv.Quote(clip(number, 32)))
	}
	row.ModuleName, row.ModuleVersion = c.word(pattern), n
	return nil
}

// ranges reads the events in their order. With ranges, the list of versions
// only spells them out and is left; with neither, everything is affected.
func (c *converter) ranges(src *affected, row *advisory.Affected) error {
	for i := range src.Ranges {
		switch rg := &src.Ranges[i]; rg.Type {
		case "ECOSYSTEM":
			if err := c.events(rg.Events, row); err != nil {
				return err
			}
		case "GIT", "SEMVER":
			c.skip("range of type " + rg.Type + ", which is not of package versions")
		default:
			return fmt.Errorf("range type %s is not known", strconv.Quote(clip(rg.Type, 32)))
		}
	}
	if len(row.Ranges) > 0 {
		return nil
	}
	for _, v := range src.Versions {
		if !plain(v, 256) {
			return fmt.Errorf("version %s is not printable text without spaces", strconv.Quote(clip(v, 64)))
		}
		row.Versions = append(row.Versions, c.word(v))
	}
	if len(row.Versions) == 0 {
		row.Ranges = []advisory.Range{{Introduced: "0"}}
	}
	return nil
}

// events pairs each introduced with what ends it. A second end without a new
// start keeps the wider reading: affected up to the later of the two.
func (c *converter) events(events []event, row *advisory.Affected) error {
	start, open := "0", false
	for i := range events {
		e := &events[i]
		for _, v := range []string{e.Introduced, e.Fixed, e.LastAffected} {
			if v != "" && !plain(v, 256) {
				return fmt.Errorf("version %s is not printable text without spaces", strconv.Quote(clip(v, 64)))
			}
		}
		if e.Introduced != "" {
			if open {
				row.Ranges = append(row.Ranges, advisory.Range{Introduced: start})
			}
			start, open = c.word(e.Introduced), true
		}
		if e.Fixed != "" || e.LastAffected != "" {
			row.Ranges = append(row.Ranges, advisory.Range{Introduced: start, Fixed: c.word(e.Fixed), LastAffected: c.word(e.LastAffected)})
			open = false
		}
	}
	if open {
		row.Ranges = append(row.Ranges, advisory.Range{Introduced: start})
	}
	return nil
}

// moduleOf names the module stream an rpm row speaks of. A modular build has
// ".module" in its release; which stream it is only the summary says
// ("Important: nodejs:18 security update").
func moduleOf(summary string, row *advisory.Affected) string {
	if row.Kind != advisory.NameBinary {
		return ""
	}
	modular := slices.ContainsFunc(row.Ranges, func(r advisory.Range) bool {
		return strings.Contains(r.Fixed, ".module+el") || strings.Contains(r.Fixed, ".module_el")
	})
	if !modular {
		return ""
	}
	// A summary may name two ("virt:rhel and virt-devel:rhel"); which package is of
	// which it does not say, so the row is of both.
	var streams []string
	for word := range strings.FieldsSeq(summary) {
		if m := streamPattern.FindStringSubmatch(strings.Trim(word, ",;()")); m != nil && !slices.Contains(streams, m[1]) {
			streams = append(streams, m[1])
		}
	}
	if len(streams) == 0 {
		return "*"
	}
	return strings.Join(streams, " ")
}

var streamPattern = regexp.MustCompile(`^([A-Za-z0-9][\w.+-]*:[A-Za-z0-9_][\w.+-]*)(?:/[\w.+-]+)?$`)

// vulnerabilities collects CVE ids. An advisory's "related" are the CVEs it
// fixes (DSA, USN, ALSA, RLSA, RHSA); in a record that is a CVE's own they are
// merely related. AlmaLinux sometimes names none there although its references
// do: those then count.
func vulnerabilities(r *record) []string {
	own := cveOf(r.ID)
	var ids []string
	add := func(names []string) {
		for _, n := range names {
			if cve := cveOf(n); cve != "" {
				ids = append(ids, cve)
			}
		}
	}
	add([]string{r.ID})
	add(r.Aliases)
	add(r.Upstream)
	if own == "" {
		add(r.Related)
	}
	if len(ids) == 0 {
		for _, ref := range r.References {
			if _, name, ok := strings.Cut(ref.URL, "/security/cve/"); ok {
				add([]string{name})
			}
		}
	}
	if len(ids) == 0 {
		return []string{r.ID}
	}
	slices.Sort(ids)
	return slices.Clip(slices.Compact(ids))
}

// cveOf returns the CVE a name stands for: itself, or the one in DEBIAN-CVE-…
// and UBUNTU-CVE-…; empty for any other name.
func cveOf(name string) string {
	for _, prefix := range []string{"DEBIAN-", "UBUNTU-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if advisory.IsCVE(name) {
		return name
	}
	return ""
}

// rating returns the publisher's word: the prefix of the summary (AlmaLinux,
// Rocky Linux), Ubuntu's priority, Debian's worst urgency.
func rating(r *record, rows []advisory.Affected) string {
	if word, _, ok := strings.Cut(r.Summary, ": "); ok && slices.Contains(summaryRatings, word) {
		return word
	}
	for _, s := range r.Severity {
		if s.Type == "Ubuntu" {
			return clip(s.Score, 32)
		}
	}
	for i := range r.Affected {
		if p := r.Affected[i].Specific.UbuntuPriority; p != "" {
			return clip(p, 32)
		}
	}
	worst := ""
	for i := range rows {
		u := strings.TrimRight(rows[i].Urgency, "*")
		if urgencies[u] > urgencies[worst] {
			worst = u
		}
	}
	return worst
}

var (
	summaryRatings = []string{"Critical", "Important", "Moderate", "Low", "None"}
	urgencies      = map[string]int{"unimportant": 1, "low": 2, "medium": 3, "high": 4}
)

// severities computes the scores of the record, each once. Debian and Ubuntu do
// not score CVEs: in their CVE records the vector is the NVD's.
func (c *converter) severities(r *record) []advisory.Score {
	source := "vendor"
	if cveOf(r.ID) != "" {
		source = "nvd"
	}
	var scores []advisory.Score
	add := func(list []severity) {
		for _, s := range list {
			if !strings.HasPrefix(s.Type, "CVSS_") {
				continue
			}
			score, ok := c.score(source, s.Score)
			if ok && !slices.Contains(scores, score) {
				scores = append(scores, score)
			}
		}
	}
	add(r.Severity)
	for i := range r.Affected {
		add(r.Affected[i].Severity)
	}
	slices.SortFunc(scores, func(a, b advisory.Score) int {
		return cmp.Or(strings.Compare(b.Version, a.Version), cmp.Compare(b.Value, a.Value), strings.Compare(a.Vector, b.Vector))
	})
	return scores
}

func (c *converter) score(source, vector string) (advisory.Score, bool) {
	key := source + " " + vector
	if s, ok := c.scores[key]; ok {
		return s, s.Source != ""
	}
	s, err := cvss.Score(source, vector)
	if err != nil {
		c.skip("CVSS vector that cannot be read")
		s = advisory.Score{}
	}
	if len(c.scores) < 1<<16 {
		c.scores[key] = s
	}
	return s, err == nil
}
