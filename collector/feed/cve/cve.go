// Package cve reads CVE records in the CVE JSON 5.x format
// (https://github.com/CVEProject/cve-schema) for what they say of severity: CVSS
// from the CNA's container, CVSS and SSVC decision points from CISA's.
//
// Invariants:
//   - Other publishers' containers and KEV notes are passed over and counted:
//     the order of sources is CNA, then CISA-ADP, and KEV has its own feed.
//   - A rejected record gives no facts and is counted.
//   - A batch is always an upsert: an archive of CVE records is a part of the list
//     as often as all of it, and one that is absent takes nothing back.
package cve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/cvss"
	"github.com/patchproof/patchproof/collector/feed/unpack"
)

// Kind is the feed kind, and the name of its only feed.
const Kind = "cve"

// cisaADP is the organisation id of CISA's container; its short name is CISA-ADP.
const cisaADP = "134c704f-9b21-4f2e-91b3-4a467353bcc0"

// ErrNotRecord says that the document is JSON, and not a CVE record.
var ErrNotRecord = errors.New("not a CVE record in format 5.x")

// ParseZip reads an archive of records.
func ParseZip(r io.ReaderAt, size int64) (advisory.Batch, error) {
	rs, err := unpack.Zip(r, size)
	if err != nil {
		return advisory.Batch{}, err
	}
	return parseAll(rs)
}

// ParseDir reads a directory of .json records, as the CVE list's repository is.
func ParseDir(fsys fs.FS) (advisory.Batch, error) {
	rs, err := unpack.Dir(fsys)
	if err != nil {
		return advisory.Batch{}, err
	}
	return parseAll(rs)
}

// Parse reads one record, or several one after another (JSON Lines), plain or
// gzipped.
func Parse(r io.Reader) (advisory.Batch, error) {
	sum := sha256.New()
	text, err := unpack.Stream(io.TeeReader(r, sum))
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("CVE records: %w", err)
	}
	c := newCollector()
	bound := &recordBound{r: text}
	d := json.NewDecoder(bound)
	for n := 1; ; n++ {
		bound.n = 0
		var doc json.RawMessage
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) && n > 1 {
			break
		}
		if err != nil {
			return advisory.Batch{}, fmt.Errorf("CVE record %d: broken JSON after byte %d: %w", n, d.InputOffset(), err)
		}
		if n > unpack.MaxEntries {
			return advisory.Batch{}, &unpack.LimitError{What: "the number of records", Limit: unpack.MaxEntries}
		}
		if err := c.add(doc); err != nil {
			return advisory.Batch{}, fmt.Errorf("CVE record %d: %w", n, err)
		}
	}
	b, err := join([]*collector{c})
	if err != nil {
		return advisory.Batch{}, err
	}
	b.Digest = hex.EncodeToString(sum.Sum(nil))
	return b, nil
}

// recordBound keeps one record from growing without end.
type recordBound struct {
	r io.Reader
	n int
}

func (b *recordBound) Read(p []byte) (int, error) {
	if b.n > unpack.MaxRecord {
		return 0, &unpack.LimitError{What: "the record's size in bytes", Limit: unpack.MaxRecord}
	}
	n, err := b.r.Read(p)
	b.n += n
	return n, err
}

func parseAll(rs *unpack.Records) (advisory.Batch, error) {
	cs := make([]*collector, unpack.Workers)
	for i := range cs {
		cs[i] = newCollector()
	}
	err := rs.Each(func(worker, index int, doc []byte) error {
		// The list's repository keeps its own change notes beside the records.
		if base := path.Base(rs.Name(index)); base == "delta.json" || base == "deltaLog.json" {
			cs[worker].skipped["change note of the CVE list"]++
			return nil
		}
		return cs[worker].add(doc)
	})
	if err != nil {
		return advisory.Batch{}, err
	}
	b, err := join(cs)
	if err != nil {
		return advisory.Batch{}, err
	}
	b.Digest, err = rs.Digest()
	return b, err
}

func join(cs []*collector) (advisory.Batch, error) {
	b := advisory.Batch{Feed: advisory.Feed{Name: Kind, Kind: Kind}, Skipped: map[string]int{}}
	for _, c := range cs {
		b.Facts = append(b.Facts, c.facts...)
		for why, n := range c.skipped {
			b.Skipped[why] += n
		}
		if c.updated.After(b.Published) {
			b.Published = c.updated
		}
	}
	slices.SortFunc(b.Facts, func(a, b advisory.Facts) int { return strings.Compare(a.Vulnerability, b.Vulnerability) })
	for i := 1; i < len(b.Facts); i++ {
		if b.Facts[i].Vulnerability == b.Facts[i-1].Vulnerability {
			return advisory.Batch{}, fmt.Errorf("%s is there twice", b.Facts[i].Vulnerability)
		}
	}
	if len(b.Skipped) == 0 {
		b.Skipped = nil
	}
	return b, nil
}

// collector gathers facts; one serves one goroutine.
type collector struct {
	facts   []advisory.Facts
	skipped map[string]int
	updated time.Time
}

func newCollector() *collector { return &collector{skipped: map[string]int{}} }

func (c *collector) add(doc []byte) error {
	var r record
	if err := json.Unmarshal(doc, &r); err != nil {
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("broken JSON at byte %d: %w", syntax.Offset, err)
		case errors.As(err, &typ):
			return fmt.Errorf("%w: at byte %d: %s is a %s", ErrNotRecord, typ.Offset, quoted(typ.Field), typ.Value)
		}
		return fmt.Errorf("%w: %w", ErrNotRecord, err)
	}
	id := r.Metadata.ID
	if r.Type != "CVE_RECORD" || !strings.HasPrefix(r.Version, "5.") {
		return fmt.Errorf("%w: dataType is %s, dataVersion %s", ErrNotRecord, quoted(r.Type), quoted(r.Version))
	}
	if !advisory.IsCVE(id) {
		return fmt.Errorf("%w: cveId %s is not a CVE id", ErrNotRecord, quoted(id))
	}
	switch r.Metadata.State {
	case "PUBLISHED":
	case "REJECTED":
		c.skipped["rejected record"]++
		return nil
	default:
		return fmt.Errorf("%s: state %s is neither PUBLISHED nor REJECTED", id, quoted(r.Metadata.State))
	}
	if t, ok := instant(r.Metadata.Updated); ok && t.After(c.updated) {
		c.updated = t
	}
	f := advisory.Facts{Vulnerability: id}
	c.metrics("cna", r.Containers.CNA.Metrics, &f)
	for _, adp := range r.Containers.ADP {
		if adp.Provider.Org != cisaADP && adp.Provider.Name != "CISA-ADP" {
			if len(adp.Metrics) > 0 {
				c.skipped["metrics of a publisher other than the CNA and CISA"]++
			}
			continue
		}
		c.metrics("adp", adp.Metrics, &f)
		if err := c.decisions(adp.Metrics, &f); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	c.facts = append(c.facts, f)
	return nil
}

// metrics takes the scores. The stated base score holds; the vector is scored
// where none is stated.
func (c *collector) metrics(source string, ms []metric, f *advisory.Facts) {
	for _, m := range ms {
		for _, v := range []*score{m.V4, m.V31, m.V30, m.V2} {
			if v == nil {
				continue
			}
			s, err := cvss.Score(source, v.Vector)
			if v.Base != nil && *v.Base >= 0 && *v.Base <= 10 {
				s.Value = *v.Base
			} else if err != nil {
				c.skipped["CVSS vector that cannot be read"]++
				continue
			}
			if err != nil { // a stated score beside a vector that is no vector
				s.Vector, s.Version = "", versionOf(v, m)
			}
			if !slices.Contains(f.Scores, s) {
				f.Scores = append(f.Scores, s)
			}
		}
	}
	slices.SortStableFunc(f.Scores, func(a, b advisory.Score) int {
		return cmp.Or(strings.Compare(b.Source, a.Source), strings.Compare(b.Version, a.Version), cmp.Compare(b.Value, a.Value))
	})
}

func versionOf(v *score, m metric) string {
	switch v {
	case m.V4:
		return "4.0"
	case m.V31:
		return "3.1"
	case m.V30:
		return "3.0"
	default:
		return "2.0"
	}
}

// decisions takes CISA's SSVC points; of several, the newest.
func (c *collector) decisions(ms []metric, f *advisory.Facts) error {
	for _, m := range ms {
		switch {
		case m.Other == nil:
			continue
		case m.Other.Type != "ssvc":
			c.skipped["CISA metric other than CVSS and SSVC"]++
			continue
		}
		var content ssvc
		if err := json.Unmarshal(m.Other.Content, &content); err != nil {
			return fmt.Errorf("SSVC: %w", err)
		}
		points, err := content.points()
		if err != nil {
			return fmt.Errorf("SSVC: %w", err)
		}
		if f.SSVC == nil || points.Date > f.SSVC.Date {
			f.SSVC = &points
		}
	}
	return nil
}

func (s ssvc) points() (advisory.SSVC, error) {
	var out advisory.SSVC
	if t, ok := instant(s.Timestamp); ok {
		out.Date = t.Format(time.DateOnly)
	}
	for _, option := range s.Options {
		for name, value := range option {
			value = strings.ToLower(value)
			var field *string
			var allowed []string
			switch name {
			case "Exploitation":
				field, allowed = &out.Exploitation, []string{"none", "poc", "active"}
			case "Automatable":
				field, allowed = &out.Automatable, []string{"yes", "no"}
			case "Technical Impact":
				field, allowed = &out.Impact, []string{"partial", "total"}
			default:
				continue
			}
			if !slices.Contains(allowed, value) {
				return out, fmt.Errorf("%s is %s, want one of %s", name, quoted(value), strings.Join(allowed, ", "))
			}
			*field = value
		}
	}
	return out, nil
}

func instant(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1980 && t.Year() <= 9999 {
			return t.UTC().Truncate(time.Microsecond), true
		}
	}
	return time.Time{}, false
}

func clip(s string) string { return s[:min(len(s), 64)] }

func quoted(s string) string { return strconv.Quote(clip(s)) }
