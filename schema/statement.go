package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// statement is the in-toto Statement v1 a payload holds.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     *Report   `json:"predicate"`
}

type subject struct {
	Name   string `json:"name"`
	Digest struct {
		SHA256 string `json:"sha256"`
	} `json:"digest"`
}

// EncodeStatement returns the one spelling of a report: the JSON of an in-toto
// Statement v1 whose subjects are the report's parts. It does not change r.
//
// A host must always be able to speak, so what is only told, not compared, is
// made to fit: times become UTC in microseconds, free text loses control
// characters and what is over its bound (see CleanText), gaps over MaxGaps are
// folded into one that counts them. All else out of bounds is an error.
func EncodeStatement(r *Report) ([]byte, error) {
	fitted := fit(r)
	if err := ValidateReport(fitted); err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	payload, err := marshalStatement(fitted)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	if len(payload) > MaxStatement {
		return nil, fmt.Errorf("encode statement: %w",
			Refuse(ReasonTooLarge, "%d bytes, at most %d", len(payload), MaxStatement))
	}
	return payload, nil
}

// DecodeStatement returns the report a payload states. It refuses any bytes
// EncodeStatement would not have written; the error is a *Refusal. Bodies are
// checked against their parts, so their digests hold and they are canonical.
func DecodeStatement(payload []byte) (*Report, error) {
	if len(payload) > MaxStatement {
		return nil, Refuse(ReasonTooLarge, "statement: %d bytes, at most %d", len(payload), MaxStatement)
	}
	var s statement
	if err := unmarshalStrict(payload, &s); err != nil {
		return nil, err
	}
	switch {
	case s.Type != StatementType:
		return nil, Refuse(ReasonStatementType, "_type %.200q: want %q", s.Type, StatementType)
	case s.PredicateType != ReportType:
		return nil, Refuse(ReasonStatementType, "predicateType %.200q: want %q", s.PredicateType, ReportType)
	case s.Predicate == nil:
		return nil, Refuse(ReasonMalformed, "the statement has no predicate")
	}
	r := s.Predicate
	if err := ValidateReport(r); err != nil {
		return nil, err
	}
	if !slices.Equal(s.Subject, subjectsOf(r.Parts)) {
		return nil, Refuse(ReasonSubjectsDiffer, "subjects are not the report's parts")
	}
	canonical, err := marshalStatement(r)
	if err != nil {
		return nil, Refuse(ReasonMalformed, "encode again: %w", err)
	}
	if err := sameBytes(payload, canonical); err != nil {
		return nil, err
	}
	return r, nil
}

func marshalStatement(r *Report) ([]byte, error) {
	s := statement{Type: StatementType, Subject: subjectsOf(r.Parts), PredicateType: ReportType, Predicate: r}
	return marshalCanonical(&s)
}

func subjectsOf(parts []Part) []subject {
	subjects := make([]subject, len(parts))
	for i, p := range parts {
		subjects[i].Name = p.Name
		subjects[i].Digest.SHA256 = p.Digest
	}
	return subjects
}

// marshalCanonical is encoding/json without HTML escapes and without the
// newline an Encoder ends with.
func marshalCanonical(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// unmarshalStrict decodes exactly one JSON value without unknown fields.
// Duplicate and case-folded keys pass here and fall to sameBytes.
func unmarshalStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return Refuse(ReasonInvalidUTF8, "not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		// encoding/json has no type for this error; a test holds the wording.
		if strings.HasPrefix(err.Error(), "json: unknown field ") {
			return Refuse(ReasonUnknownField, "%w", err)
		}
		return Refuse(ReasonMalformed, "%w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Refuse(ReasonTrailingData, "data after the JSON value")
	}
	return nil
}

// sameBytes refuses what decoded well but was spelt another way.
func sameBytes(got, canonical []byte) error {
	if bytes.Equal(got, canonical) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(canonical) && got[at] == canonical[at] {
		at++
	}
	return Refuse(ReasonNotCanonical, "byte %d is not as the encoder writes it", at)
}

// Timestamp is t as the wire and the store carry it: UTC, truncated to
// microseconds, without a monotonic reading.
func Timestamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// isTimestamp reports whether t is in the form Timestamp gives.
func isTimestamp(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond()%1000 == 0
}

// fit returns a copy of r that shares only parts, bodies and maps with it.
func fit(r *Report) *Report {
	f := *r
	f.CollectedAt, f.Boot.Time = Timestamp(r.CollectedAt), Timestamp(r.Boot.Time)
	f.Host.Addresses = slices.Clone(r.Host.Addresses)
	f.OS.IDLike = slices.Clone(r.OS.IDLike)
	f.Kernel.Installed = slices.Clone(r.Kernel.Installed)
	f.Gaps = foldGaps(slices.Clone(r.Gaps))
	if r.Cloud != nil {
		cloud := *r.Cloud
		f.Cloud = &cloud
	}
	if f.Parts == nil {
		f.Parts = []Part{}
	}
	f.Labels = cleanValues(r.Labels)
	if f.Cloud != nil {
		f.Cloud.Tags = cleanValues(f.Cloud.Tags)
	}
	for _, t := range textsOf(&f) {
		*t.value = t.clean(*t.value)
	}
	return &f
}

func cleanValues(m map[string]string) map[string]string {
	m = maps.Clone(m)
	for k, v := range m {
		m[k] = CleanText(v, maxText)
	}
	return m
}

func foldGaps(gaps []Gap) []Gap {
	if len(gaps) <= MaxGaps {
		return gaps
	}
	rest := len(gaps) - (MaxGaps - 1)
	return append(gaps[:MaxGaps-1:MaxGaps-1], Gap{
		Extractor: "report", Kind: "truncated",
		Detail: fmt.Sprintf("%d more gaps than a report can carry", rest),
	})
}
