// Package updateinfo reads Amazon Linux's advisories from the updateinfo.xml of
// its repositories: Amazon Linux 2 core and extras, 2022, 2023 core, nvidia and
// kernel-livepatch.
//
// Invariants:
//   - A document is of one repository: one release, one extras topic.
//   - Only core covers a release. An extras topic adds to it and covers nothing alone.
//   - A kernel-livepatch package is never a fix by package version, whichever
//     advisory lists it: ordinary kernel advisories list the empty baseline 1.0-0.
//   - A fix of an extras topic with a version (kernel-5.15, postgresql14) speaks of
//     that stream alone: what is older than the stream is another stream, and is
//     not affected by it (see floor).
//   - A directory is read through its repomd.xml, and only when the size and the
//     checksum it states hold.
//   - A DOCTYPE is refused: nothing in this format needs one.
package updateinfo

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/unpack"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// Kind is the feed kind of every batch of this package.
const Kind = "updateinfo"

// Options choose what is kept.
type Options struct {
	// Keep says which releases to keep; nil keeps all.
	Keep func(inventory.Release) bool
}

// Parse reads an updateinfo.xml, plain or gzipped: a snapshot of its repository.
// The name is only for messages.
func Parse(r io.Reader, name string, o Options) (advisory.Batch, error) {
	sum := sha256.New()
	text, err := unpack.Stream(io.TeeReader(r, sum))
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("%q: %w", name, err)
	}
	b := builder{byID: map[string]int{}, words: map[string]string{}, skipped: map[string]int{}, keep: o.Keep}
	if err := decode(text, b.add); err != nil {
		return advisory.Batch{}, fmt.Errorf("%q: %w", name, err)
	}
	batch, err := b.batch()
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("%q: %w", name, err)
	}
	batch.Digest = hex.EncodeToString(sum.Sum(nil))
	return batch, nil
}

// repository is which of Amazon's repositories an advisory is of.
type repository struct {
	release inventory.Release
	// topic is the extras topic or the extra repository, lower case, empty for core.
	topic string
}

var idPattern = regexp.MustCompile(`^ALAS(2|2022|2023)?([A-Z][A-Z0-9._]*(?:-[A-Z0-9._]+)*?)?-(\d{4})-(\d+)$`)

// repositoryOf reads an id: ALAS2-2018-939, ALAS2KERNEL-5.15-2022-001,
// ALAS2023LIVEPATCH-2023-001, ALAS-2011-1 (Amazon Linux 1).
func repositoryOf(id string) (repository, error) {
	m := idPattern.FindStringSubmatch(id)
	if m == nil {
		return repository{}, fmt.Errorf("%s is not the id of an Amazon Linux advisory (ALAS…-YEAR-NUMBER)", quoted(id))
	}
	return repository{
		release: inventory.Release{Distro: "amazon", Version: cmp.Or(m[1], "1")},
		topic:   strings.ToLower(m[2]),
	}, nil
}

func (r repository) feed() string {
	name := Kind + ":" + r.release.String()
	if r.topic != "" {
		name += ":" + r.topic
	}
	return name
}

var streamPattern = regexp.MustCompile(`^[a-z_+-]*[a-z_+-](\d+(?:\.\d+)*)$`)

// floor is the version from which on a fix of this repository applies. The
// extras of Amazon Linux 2 are streams beside core with the same package names:
// kernel is 4.14 in core and 5.15 in the topic kernel-5.15. A host on 4.14 is
// not one that lacks the fix 5.15.43. So a fix whose version begins with the
// topic's number applies from that number on, and any other from the beginning.
func (r repository) floor(epoch, version string) string {
	m := streamPattern.FindStringSubmatch(r.topic)
	if r.release.Version != "2" || m == nil {
		return "0"
	}
	rest, ok := strings.CutPrefix(version, m[1])
	if !ok || rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return "0"
	}
	return epoch + m[1]
}

// builder collects the advisories of one document.
type builder struct {
	keep       func(inventory.Release) bool
	repository *repository
	advisories []advisory.Advisory
	byID       map[string]int
	words      map[string]string
	skipped    map[string]int
	published  time.Time
}

func (b *builder) add(u *update) error {
	repo, err := repositoryOf(u.ID)
	if err != nil {
		return err
	}
	if b.repository == nil {
		b.repository = &repo
	}
	if repo != *b.repository {
		return fmt.Errorf("%s is of another repository (%s) than those before it (%s); import each repository's updateinfo.xml on its own", u.ID, repo.feed(), b.repository.feed())
	}
	a, err := b.advisory(u, repo)
	if err != nil {
		return fmt.Errorf("%s: %w", u.ID, err)
	}
	for _, t := range []time.Time{a.Issued, a.Modified} {
		if t.After(b.published) {
			b.published = t
		}
	}
	if b.keep != nil && !b.keep(repo.release) {
		return nil
	}
	if i, ok := b.byID[a.ID]; ok {
		b.skipped["advisory listed twice, merged"]++
		merge(&b.advisories[i], a)
		return nil
	}
	b.byID[a.ID] = len(b.advisories)
	b.advisories = append(b.advisories, a)
	return nil
}

func (b *builder) advisory(u *update, repo repository) (advisory.Advisory, error) {
	a := advisory.Advisory{
		ID:         strings.Clone(u.ID),
		Feed:       b.word(repo.feed()),
		Summary:    strings.Clone(clip(strings.TrimSpace(u.Title), 500)),
		IssuedKind: advisory.DateAdvisory,
		Rating:     b.word(titled(u.Severity)),
	}
	var err error
	if a.Issued, err = instant(u.Issued); err != nil {
		return a, fmt.Errorf("issued: %w", err)
	}
	if a.Issued.IsZero() {
		return a, fmt.Errorf("issued: there is no date")
	}
	if a.Modified, err = instant(u.Updated); err != nil {
		return a, fmt.Errorf("updated: %w", err)
	}
	for _, cve := range u.CVEs {
		a.Vulnerabilities = append(a.Vulnerabilities, b.word(cve))
	}
	slices.Sort(a.Vulnerabilities)
	a.Vulnerabilities = slices.Clip(slices.Compact(a.Vulnerabilities))
	if len(a.Vulnerabilities) == 0 {
		a.Vulnerabilities = []string{a.ID}
	}
	if len(u.Packages) == 0 {
		return a, fmt.Errorf("it lists no package")
	}
	return a, b.rows(u, repo, &a)
}

// rows makes one row of every package and version, with its architectures.
func (b *builder) rows(u *update, repo repository, a *advisory.Advisory) error {
	type key struct{ name, evr string }
	at := map[key]int{}
	for i := range u.Packages {
		p := &u.Packages[i]
		if err := p.check(); err != nil {
			return err
		}
		if p.Arch == "src" || isDebug(p.Name) {
			b.skipped["source or debug package"]++
			continue
		}
		k := key{p.Name, p.evr()}
		if j, ok := at[k]; ok {
			row := &a.Affected[j]
			if !slices.Contains(row.Arch, p.Arch) {
				row.Arch = append(row.Arch, b.word(p.Arch))
			}
			continue
		}
		at[k] = len(a.Affected)
		a.Affected = append(a.Affected, advisory.Affected{
			Release:   repo.release,
			Format:    schema.FormatRPM,
			Kind:      advisory.NameBinary,
			Name:      b.word(p.Name),
			Arch:      []string{b.word(p.Arch)},
			Ranges:    []advisory.Range{{Introduced: b.word(repo.floor(p.epochPrefix(), p.Version)), Fixed: b.word(k.evr)}},
			LivePatch: isLivePatch(p.Name),
		})
	}
	for i := range a.Affected {
		slices.Sort(a.Affected[i].Arch)
	}
	slices.SortStableFunc(a.Affected, func(x, y advisory.Affected) int { return strings.Compare(x.Name, y.Name) })
	return nil
}

// isDebug reports packages of symbols and sources for debuggers: no code of
// theirs runs, and the packages they describe are listed beside them.
func isDebug(name string) bool {
	return strings.HasSuffix(name, "-debuginfo") || strings.HasSuffix(name, "-debugsource") || strings.Contains(name, "-debuginfo-common")
}

// isLivePatch reports packages whose version is that of a live patch. Tools for
// live patching (kernel-livepatch-repo-cdn, kpatch-runtime) are ordinary packages.
func isLivePatch(name string) bool {
	rest, ok := strings.CutPrefix(name, "kernel-livepatch-")
	return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// merge adds what a second listing of an advisory says; nothing is taken away.
func merge(a *advisory.Advisory, o advisory.Advisory) {
	if o.Issued.Before(a.Issued) {
		a.Issued = o.Issued
	}
	if o.Modified.After(a.Modified) {
		a.Modified = o.Modified
	}
	named := func(v string) bool { return v != a.ID }
	all := slices.Concat(a.Vulnerabilities, o.Vulnerabilities)
	if slices.ContainsFunc(all, named) {
		all = slices.DeleteFunc(all, func(v string) bool { return v == a.ID })
	}
	slices.Sort(all)
	a.Vulnerabilities = slices.Compact(all)
	for _, row := range o.Affected {
		same := func(r advisory.Affected) bool {
			return r.Name == row.Name && slices.Equal(r.Arch, row.Arch) && slices.Equal(r.Ranges, row.Ranges)
		}
		if !slices.ContainsFunc(a.Affected, same) {
			a.Affected = append(a.Affected, row)
		}
	}
}

func (b *builder) batch() (advisory.Batch, error) {
	if b.repository == nil {
		return advisory.Batch{}, fmt.Errorf("there is no <update> in it")
	}
	slices.SortFunc(b.advisories, func(x, y advisory.Advisory) int { return strings.Compare(x.ID, y.ID) })
	out := advisory.Batch{
		Feed:       advisory.Feed{Name: b.repository.feed(), Kind: Kind},
		Snapshot:   true,
		Published:  b.published,
		Advisories: b.advisories,
	}
	if b.repository.topic == "" && (b.keep == nil || b.keep(b.repository.release)) {
		out.Releases = []inventory.Release{b.repository.release}
	}
	if len(b.skipped) > 0 {
		out.Skipped = b.skipped
	}
	return out, nil
}

// word returns one copy of a string that comes again and again.
func (b *builder) word(s string) string {
	if w, ok := b.words[s]; ok {
		return w
	}
	s = strings.Clone(s)
	b.words[s] = s
	return s
}

// titled is a severity as people write it: Important.
func titled(s string) string {
	s = strings.ToLower(clip(strings.TrimSpace(s), 32))
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// instant reads the dates vendors write; they are UTC. Empty is the zero time.
func instant(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, nil
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) >= 9 && len(s) <= 11 {
		return time.Unix(seconds, 0).UTC(), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05 MST", time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1980 && t.Year() <= 9999 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a date", quoted(s))
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

func quoted(s string) string { return strconv.Quote(clip(s, 64)) }
