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
// characters and what is over its bound (see CleanText), a list over its bound
// is cut and a gap says so. All else out of bounds is an error.
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
	if err := UnmarshalStrict(payload, &s); err != nil {
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
	if r.Parts == nil {
		return nil, Refuse(ReasonNotCanonical, "parts is absent or null, want a list")
	}
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

// MarshalCanonical is the one spelling of a message's JSON: see schema/README.md.
func MarshalCanonical(v any) ([]byte, error) { return marshalCanonical(v) }

// DecodeStrict returns the message that at most limit bytes spell, once it passes
// validate. Any bytes MarshalCanonical would not have written are refused; the
// error is a *Refusal.
func DecodeStrict[T any](payload []byte, limit int, validate func(T) error) (T, error) {
	var v, none T
	if len(payload) > limit {
		return none, Refuse(ReasonTooLarge, "%d bytes, at most %d", len(payload), limit)
	}
	if err := UnmarshalStrict(payload, &v); err != nil {
		return none, err
	}
	if err := validate(v); err != nil {
		return none, err
	}
	canonical, err := marshalCanonical(v)
	if err != nil {
		return none, Refuse(ReasonMalformed, "encode again: %w", err)
	}
	if err := sameBytes(payload, canonical); err != nil {
		return none, err
	}
	return v, nil
}

// UnmarshalStrict decodes exactly one JSON value, of at most maxValues values,
// without unknown fields. Duplicate and case-folded keys pass here: the caller
// encodes again and compares. The error is a *Refusal.
func UnmarshalStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return Refuse(ReasonInvalidUTF8, "not UTF-8")
	}
	if !fewValues(data) {
		return Refuse(ReasonOutOfBounds, "more than %d JSON values", maxValues)
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

// fewValues reports whether data has no more than maxValues commas and opening
// brackets outside strings, and so no more than about as many values. A list of
// empty objects decodes to many times its bytes; this bounds it before anything
// is decoded.
func fewValues(data []byte) bool {
	n, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == '[' || c == '{'):
			if n++; n > maxValues {
				return false
			}
		}
	}
	return true
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
	f.Gaps = slices.Clone(r.Gaps)
	f.Host.Addresses = fitList(&f, "host", "addresses", r.Host.Addresses, MaxAddresses)
	f.OS.IDLike = fitList(&f, "os-release", "entries of ID_LIKE", r.OS.IDLike, MaxIDLike)
	f.Kernel.Installed = fitList(&f, "kernel", "kernels on disk", r.Kernel.Installed, MaxInstalledKernels)
	fitKernel(&f, &r.Kernel)
	f.Gaps = foldGaps(f.Gaps)
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

// fitKernel gives f its own copies of what k lists beside the kernels on disk.
func fitKernel(f *Report, k *Kernel) {
	if k.NextBoot != nil {
		next := *k.NextBoot
		f.Kernel.NextBoot = &next
	}
	f.Kernel.RebootMarkers = fitList(f, "kernel", "reboot markers", k.RebootMarkers, MaxRebootMarkers)
	for i := range f.Kernel.RebootMarkers {
		m := &f.Kernel.RebootMarkers[i]
		m.Packages = fitList(f, "kernel", "packages that ask for a reboot", m.Packages, MaxMarkerPackages)
	}
	f.Kernel.LivePatches = fitList(f, "livepatch", "live patches", k.LivePatches, MaxLivePatches)
	for i := range f.Kernel.LivePatches {
		p := &f.Kernel.LivePatches[i]
		p.Objects = fitList(f, "livepatch", "patched objects", p.Objects, MaxLivePatchWords)
		p.Fixes = fitList(f, "livepatch", "vulnerabilities of a live patch", p.Fixes, MaxLivePatchFixes)
	}
}

func cleanValues(m map[string]string) map[string]string {
	m = maps.Clone(m)
	for k, v := range m {
		m[k] = CleanText(v, maxText)
	}
	return m
}

// fitList returns a copy of list with at most limit entries, and notes a gap in r
// when it left some out.
func fitList[T any](r *Report, extractor, what string, list []T, limit int) []T {
	if len(list) <= limit {
		return slices.Clone(list)
	}
	r.Gaps = append(r.Gaps, Gap{
		Extractor: extractor, Kind: GapTruncated,
		Detail: fmt.Sprintf("%d %s, a report carries %d", len(list), what, limit),
	})
	return slices.Clone(list[:limit])
}

func foldGaps(gaps []Gap) []Gap {
	if len(gaps) <= MaxGaps {
		return gaps
	}
	rest := len(gaps) - (MaxGaps - 1)
	return append(gaps[:MaxGaps-1:MaxGaps-1], Gap{
		Extractor: "report", Kind: GapTruncated,
		Detail: fmt.Sprintf("%d more gaps than a report can carry", rest),
	})
}
