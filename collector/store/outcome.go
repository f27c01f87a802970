package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/schema"
)

// Outcome is what an assessment found of an asset beside its findings, and what
// it stood on, as it is recorded under the assessment's leaf.
type Outcome struct {
	Asset string `json:"asset"`
	// Only, when it names vulnerabilities, says that nothing but findings of theirs
	// was dated again: the fields below say nothing, and what was recorded before holds.
	Only []string `json:"only,omitempty"`
	// After is the sequence of the report that was assessed before, Refold says that
	// all reports were folded again; Sequence is the last one's.
	After    uint64 `json:"after,omitempty"`
	Refold   bool   `json:"refold,omitempty"`
	Sequence uint64 `json:"sequence"`

	Covered bool         `json:"covered"`
	Gaps    []schema.Gap `json:"gaps,omitempty"`
	// Undetermined is the digest of the comparisons that could not be made, see
	// UndeterminedDigest.
	Undetermined string `json:"undetermined_sha256"`
	// InForce is what of the attributes binds, nil when the assessment left it.
	InForce *Attributes `json:"in_force,omitempty"`
	// Classification is the id a request for the asset's present attributes has.
	Classification string    `json:"classification,omitempty"`
	Requests       []Request `json:"requests,omitempty"`
}

// Request is what an assessment asks for.
type Request struct {
	ID      string        `json:"id"`
	Cause   finding.Cause `json:"cause"`
	Subject string        `json:"subject"`
	What    string        `json:"what"`
	By      string        `json:"by"`
	At      time.Time     `json:"at"`
}

// Outcome is what is recorded of an assessment beside its findings.
func (a *Assessment) Outcome() (Outcome, error) {
	if len(a.Mark.Vulnerabilities) > 0 {
		return Outcome{Asset: a.Mark.Asset, Only: a.Mark.Vulnerabilities}, nil
	}
	digest, err := UndeterminedDigest(a.Undetermined)
	if err != nil {
		return Outcome{}, fmt.Errorf("outcome of %s: %w", a.Mark.Asset, err)
	}
	o := Outcome{
		Asset: a.Mark.Asset, After: a.After, Refold: a.Refold, Sequence: a.AssessedSequence,
		Covered: a.Covered, Gaps: a.Gaps, Undetermined: digest, InForce: a.InForce, Classification: a.Classification,
	}
	for _, r := range a.Requests {
		o.Requests = append(o.Requests, Request{
			ID: r.ID, Cause: r.Cause, Subject: r.Subject, What: r.What, By: r.RequestedBy, At: r.RequestedAt.UTC().Truncate(time.Microsecond),
		})
	}
	return o, nil
}

// UndeterminedDigest is the SHA-256 (hex) over comparisons as JSON, each with a
// newline after it, in their order.
func UndeterminedDigest(list []finding.Undetermined) (string, error) {
	h := sha256.New()
	for i := range list {
		text, err := json.Marshal(list[i])
		if err != nil {
			return "", fmt.Errorf("digest undetermined: %w", err)
		}
		_, _ = h.Write(append(text, '\n'))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
