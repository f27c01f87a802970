// Package kev reads CISA's catalogue of Known Exploited Vulnerabilities in its
// JSON form (https://www.cisa.gov/known-exploited-vulnerabilities-catalog).
//
// A catalogue is whole or it is refused: the count it states must be the number
// of entries it has, every entry has a CVE id and its dates, none is there twice.
package kev

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/unpack"
)

// Kind is the feed kind, and the name of its only feed.
const Kind = "kev"

// maxCatalogue bounds the document; today's is 1.6 MB.
const maxCatalogue = 64 << 20

type catalogue struct {
	Version         string  `json:"catalogVersion"`
	Released        string  `json:"dateReleased"`
	Count           *int    `json:"count"`
	Vulnerabilities []entry `json:"vulnerabilities"`
}

type entry struct {
	CVE        string `json:"cveID"`
	Name       string `json:"vulnerabilityName"`
	Added      string `json:"dateAdded"`
	Due        string `json:"dueDate"`
	Ransomware string `json:"knownRansomwareCampaignUse"`
}

// Parse reads a catalogue, plain or gzipped: a snapshot.
func Parse(r io.Reader) (advisory.Batch, error) {
	b := advisory.Batch{Feed: advisory.Feed{Name: Kind, Kind: Kind}, Snapshot: true}
	sum := sha256.New()
	text, err := unpack.Stream(io.TeeReader(r, sum))
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", err)
	}
	doc, err := io.ReadAll(io.LimitReader(text, maxCatalogue+1))
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", err)
	}
	if len(doc) > maxCatalogue {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", &unpack.LimitError{What: "its size in bytes", Limit: maxCatalogue})
	}
	c, err := decode(doc)
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", err)
	}
	if b.Published, err = released(c.Released); err != nil {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", err)
	}
	if b.Facts, err = facts(c.Vulnerabilities); err != nil {
		return advisory.Batch{}, fmt.Errorf("KEV catalogue: %w", err)
	}
	b.Digest = hex.EncodeToString(sum.Sum(nil))
	return b, nil
}

func decode(doc []byte) (catalogue, error) {
	var c catalogue
	if err := json.Unmarshal(doc, &c); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return c, fmt.Errorf("broken JSON at byte %d: %w", syntax.Offset, err)
		}
		return c, fmt.Errorf("not in CISA's format: %w", err)
	}
	switch {
	case c.Version == "" || c.Released == "" || c.Count == nil:
		return c, errors.New("not in CISA's format: catalogVersion, dateReleased or count is missing")
	case *c.Count != len(c.Vulnerabilities):
		return c, fmt.Errorf("it states %d entries and has %d", *c.Count, len(c.Vulnerabilities))
	}
	return c, nil
}

func released(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("dateReleased %s is not an RFC 3339 time", quoted(s))
	}
	return t.UTC().Truncate(time.Microsecond), nil
}

func facts(entries []entry) ([]advisory.Facts, error) {
	out := make([]advisory.Facts, 0, len(entries))
	for i, e := range entries {
		switch {
		case !advisory.IsCVE(e.CVE):
			return nil, fmt.Errorf("entry %d: cveID %s is not a CVE id", i+1, quoted(e.CVE))
		case !isDate(e.Added):
			return nil, fmt.Errorf("%s: dateAdded %s is not a date", e.CVE, quoted(e.Added))
		case e.Due != "" && !isDate(e.Due):
			return nil, fmt.Errorf("%s: dueDate %s is not a date", e.CVE, quoted(e.Due))
		}
		out = append(out, advisory.Facts{Vulnerability: e.CVE, KEV: &advisory.KEV{
			Added:      e.Added,
			Due:        e.Due,
			Name:       clip(e.Name),
			Ransomware: e.Ransomware == "Known",
		}})
	}
	slices.SortFunc(out, func(a, b advisory.Facts) int { return strings.Compare(a.Vulnerability, b.Vulnerability) })
	for i := 1; i < len(out); i++ {
		if out[i].Vulnerability == out[i-1].Vulnerability {
			return nil, fmt.Errorf("%s is there twice", out[i].Vulnerability)
		}
	}
	return out, nil
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

func clip(s string) string { return s[:min(len(s), 300)] }

func quoted(s string) string { return strconv.Quote(s[:min(len(s), 64)]) }
