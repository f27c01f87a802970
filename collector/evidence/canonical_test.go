package evidence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
)

// byTree is the definition: decode into a tree and encode that, whose keys are sorted.
func byTree(t interface{ Fatal(...any) }, v any) []byte {
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	dec := json.NewDecoder(bytes.NewReader(first))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func TestCanonicalIsTheEncodingOfATree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawJSON(t, 4)
		at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
		l, err := evidence.LeafFor("drawn", at, v)
		if err != nil {
			t.Fatal(err)
		}
		if want := byTree(t, map[string]any{"at": at, "body": v, "kind": "drawn"}); !bytes.Equal(l.Body, want) {
			t.Fatalf("got  %q\nwant %q", l.Body, want)
		}
	})
}

// spelt has its fields in no order.
type spelt struct {
	Z string          `json:"z"`
	B []byte          `json:"b"`
	A any             `json:"a"`
	N float64         `json:"n"`
	R json.RawMessage `json:"r"`
	Y *int            `json:"y,omitempty"`
}

// drawJSON draws what can be encoded, with strings that no one should send.
func drawJSON(t *rapid.T, depth int) any {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "\xff\xfe", "<script>&", "\u2028\u2029", "\x00\x1f\b\f\n\"\\", "é", "\U0001f600", "{\"a\":1}", "]},:",
	}), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	kinds := 5
	if depth > 0 {
		kinds = 9
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return text.Draw(t, "text")
	case 1:
		return rapid.Float64Range(-1e30, 1e30).Draw(t, "float")
	case 2:
		return rapid.Int64().Draw(t, "int")
	case 3:
		return rapid.Bool().Draw(t, "bool")
	case 4:
		return nil
	case 5:
		return map[string]any(nil)
	case 6:
		m := map[string]any{}
		for range rapid.IntRange(0, 40).Draw(t, "members") {
			m[text.Draw(t, "key")] = drawJSON(t, depth-3)
		}
		return m
	case 7:
		list := []any{}
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			list = append(list, drawJSON(t, depth-1))
		}
		return list
	default:
		raw := rapid.SampledFrom([]string{`null`, ` { "b" : 1.50 , "a" : "\u0041\/\ud800" } `, `{"k":1,"a":2,"k":[3]}`, `"\ufffd"`, `[ 1e5 , -0 ]`})
		return spelt{Z: text.Draw(t, "z"), B: []byte(text.Draw(t, "b")), A: drawJSON(t, depth-1), N: rapid.Float64Range(-1, 1).Draw(t, "n"), R: json.RawMessage(raw.Draw(t, "raw"))}
	}
}

func BenchmarkFindingsDigest1000(b *testing.B) {
	list := make([]finding.Finding, 1000)
	for i := range list {
		list[i] = finding.Finding{
			ID: fmt.Sprint("F-", i), Asset: "a-1", Vulnerability: "CVE-2026-1", Component: "openssl", Severity: finding.High, SeveritySource: "vendor rating High",
			Packages: []finding.Comparison{{Package: "libssl3", Arch: "amd64", Installed: "3.0.11-1", Advisory: "DSA-1", Feed: "osv:Debian", Fixed: "3.0.14-1"}},
			Verdict: finding.Verdict{Due: "2026-06-01", Rule: "7.1/high/internet", Candidates: []finding.Candidate{
				{Rule: "7.1/high/internet", Start: "2026-05-01", Due: "2026-06-01", Why: "30 days from vendor availability"},
			}},
		}
	}
	for b.Loop() {
		if _, err := evidence.FindingsDigest(list); err != nil {
			b.Fatal(err)
		}
	}
}
