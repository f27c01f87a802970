// Package policy reads the policy file: the company's standard as values, in
// YAML an auditor can read, checked so that no asset is ever left without a
// deadline by a gap in it.
//
// It holds the shipped policy, which is the VPM standard itself, and the time
// zone database. It reads no file, no clock and nothing of the host.
//
// Invariants:
//
//   - [Parse] reports every problem at once, with the line and what to do. Only
//     a file without errors gives a policy; warnings never stop one.
//   - Every row, column and calendar has to be stated. Unknown and repeated
//     keys, aliases and a second document are refused.
//   - The policy's digest is the SHA-256 of the file's bytes as they are: a
//     changed comment is another policy.
//   - Windows are computed here once, for clock starts from 1970 to 2149, so
//     that an evaluation looks them up.
//
// Calendars are RFC 5545 recurrence rules (https://www.rfc-editor.org/rfc/rfc5545#section-3.3.10).
// The rule ids of verdicts and the readings of the standard are listed in README.md.
package policy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/patchproof/patchproof/collector/sla"
)

// Severities of a Problem.
const (
	Error   = "error"
	Warning = "warning"
)

// Problem is one fault or doubt about a policy file.
type Problem struct {
	// Severity is error or warning. An error makes the file unusable.
	Severity string `json:"severity"`
	// Path is where in the file: keys joined by dots. Line is its line, 0 when it has none.
	Path    string `json:"path"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	// Hint says what to do, empty when the message does.
	Hint string `json:"hint,omitempty"`
}

// String is "line 12: timelines.code.low: ...".
func (p Problem) String() string {
	s := p.Message
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// ErrInvalid is in the chain of Parse's error for a policy file with errors.
var ErrInvalid = errors.New("the policy file has errors")

// maxSize bounds a policy file; the shipped one has some 10 kB.
const maxSize = 1 << 20

//go:embed policy.yaml
var shipped []byte

var standard = sync.OnceValue(func() *sla.Policy {
	p, problems := compile(shipped)
	if p == nil {
		panic(fmt.Sprintf("shipped policy: %v", problems))
	}
	return p
})

// Default is the shipped policy, which is the standard, and its source.
func Default() (*sla.Policy, []byte) {
	p := *standard()
	return &p, bytes.Clone(shipped)
}

// Digest is what a verdict calls a policy file: the SHA-256 of its bytes, in hex.
func Digest(src []byte) string {
	sum := sha256.Sum256(src)
	return hex.EncodeToString(sum[:])
}

// Parse reads and checks a policy file. It returns every problem, in order of
// lines; the policy is nil and the error wraps ErrInvalid when one of them is an
// error.
func Parse(src []byte) (*sla.Policy, []Problem, error) {
	p, problems := compile(src)
	if p != nil {
		problems = append(problems, lint(p, standard())...)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if a.Severity != b.Severity {
			return strings.Compare(a.Severity, b.Severity) // "error" before "warning"
		}
		return a.Line - b.Line
	})
	if p == nil {
		return nil, problems, invalid(problems)
	}
	return p, problems, nil
}

// Read reads a policy that was checked before, such as one that was applied: it
// looks for errors and leaves the doubts, whose search takes far longer.
func Read(src []byte) (*sla.Policy, error) {
	p, problems := compile(src)
	if p == nil {
		return nil, invalid(problems)
	}
	return p, nil
}

func invalid(problems []Problem) error {
	var words []string
	for _, p := range problems {
		if p.Severity == Error {
			words = append(words, p.String())
		}
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(words, "; "))
}
