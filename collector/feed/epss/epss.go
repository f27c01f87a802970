// Package epss reads the daily EPSS scores as FIRST publishes them
// (https://www.first.org/epss/data_stats): CSV, plain or gzipped, with or
// without the comment line that names the model and the date, with or without
// the header line. Columns are found by header where there is one, and are cve,
// epss, percentile where there is none. The oldest files have no percentile.
package epss

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
const Kind = "epss"

// maxRows bounds the file; today's has 300 000.
const maxRows = 5_000_000

// columns are the places of the three fields, -1 when there is none.
type columns struct{ cve, score, percentile int }

// Parse reads a file of scores: a snapshot.
func Parse(r io.Reader) (advisory.Batch, error) {
	sum := sha256.New()
	text, err := unpack.Stream(io.TeeReader(r, sum))
	if err != nil {
		return advisory.Batch{}, fmt.Errorf("EPSS scores: %w", err)
	}
	b := advisory.Batch{Feed: advisory.Feed{Name: Kind, Kind: Kind}, Snapshot: true}
	if err := read(text, &b); err != nil {
		return advisory.Batch{}, fmt.Errorf("EPSS scores: %w", err)
	}
	b.Digest = hex.EncodeToString(sum.Sum(nil))
	return b, nil
}

func read(text io.Reader, b *advisory.Batch) error {
	cols := columns{0, 1, 2}
	header := false
	var ids []string
	var scores []advisory.EPSS
	src := &source{r: text}
	lines := bufio.NewScanner(src)
	lines.Buffer(make([]byte, 0, 4096), 4096)
	n, date := 0, ""
	for lines.Scan() {
		n++
		line := bytes.TrimRight(lines.Bytes(), "\r")
		switch {
		case len(line) == 0:
			continue
		case line[0] == '#':
			if len(ids) > 0 || header {
				return fmt.Errorf("line %d: a comment after the first line", n)
			}
			var err error
			if b.Published, date, err = dateOf(string(line)); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			continue
		case len(ids) == 0 && !header && !bytes.HasPrefix(line, []byte("CVE-")):
			var err error
			if cols, err = columnsOf(string(line)); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			header = true
			continue
		case len(ids) == maxRows:
			return &unpack.LimitError{What: "the number of rows", Limit: maxRows}
		}
		id, e, err := row(line, cols, header)
		if err != nil && src.err != nil {
			err = src.err // the row is cut off because the stream is
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		e.Date = date
		ids, scores = append(ids, id), append(scores, e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(ids) == 0 {
		return errors.New("there is no row")
	}
	return fill(ids, slices.Clip(scores), b)
}

// source remembers why a stream ended before its end.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func fill(ids []string, scores []advisory.EPSS, b *advisory.Batch) error {
	b.Facts = make([]advisory.Facts, len(ids))
	for i, id := range ids {
		b.Facts[i] = advisory.Facts{Vulnerability: id, EPSS: &scores[i]}
	}
	slices.SortFunc(b.Facts, func(a, b advisory.Facts) int { return strings.Compare(a.Vulnerability, b.Vulnerability) })
	for i := 1; i < len(b.Facts); i++ {
		if b.Facts[i].Vulnerability == b.Facts[i-1].Vulnerability {
			return fmt.Errorf("%s is there twice", b.Facts[i].Vulnerability)
		}
	}
	return nil
}

// dateOf reads "#model_version:v2023.03.01,score_date:2023-03-07T00:00:00+0000".
func dateOf(comment string) (time.Time, string, error) {
	_, rest, ok := strings.Cut(comment, "score_date:")
	if !ok {
		return time.Time{}, "", nil
	}
	s, _, _ := strings.Cut(rest, ",")
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2006-01-02T15:04:05-0700", time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), t.Format(time.DateOnly), nil
		}
	}
	return time.Time{}, "", fmt.Errorf("score_date %s is not a date", quoted(s))
}

func columnsOf(header string) (columns, error) {
	names := strings.Split(strings.ToLower(header), ",")
	cols := columns{slices.Index(names, "cve"), slices.Index(names, "epss"), slices.Index(names, "percentile")}
	if cols.cve < 0 || cols.score < 0 {
		return cols, fmt.Errorf("%s is neither a row nor a header with cve and epss", quoted(header))
	}
	return cols, nil
}

func row(line []byte, cols columns, header bool) (string, advisory.EPSS, error) {
	var e advisory.EPSS
	var id string
	var err error
	i, found := 0, 0
	for rest, more := line, true; more; i++ {
		var field []byte
		field, rest, more = bytes.Cut(rest, []byte(","))
		switch i {
		case cols.cve:
			id = string(field)
			found++
		case cols.score:
			found++
			if e.Score, err = probability(field); err != nil {
				return "", e, fmt.Errorf("epss %w", err)
			}
		case cols.percentile:
			if e.Percentile, err = probability(field); err != nil {
				return "", e, fmt.Errorf("percentile %w", err)
			}
		}
	}
	switch {
	case found < 2 || header && i <= cols.percentile:
		return "", e, fmt.Errorf("%s has %d fields, too few", quoted(string(line)), i)
	case !advisory.IsCVE(id):
		return "", e, fmt.Errorf("%s is not a CVE id", quoted(id))
	}
	return id, e, nil
}

func probability(field []byte) (float64, error) {
	v, err := strconv.ParseFloat(string(field), 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%s is not a number from 0 to 1", quoted(string(field)))
	}
	return v, nil
}

func quoted(s string) string { return strconv.Quote(s[:min(len(s), 64)]) }
