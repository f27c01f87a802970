package finding

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"
)

// FixKind says where the time of a fix comes from.
type FixKind string

// Kinds of fix times.
const (
	InstallTime FixKind = "install_time" // as the package manager recorded it
	CollectedAt FixKind = "collected_at" // when the host read its inventory
)

// FixTime is when a finding was fixed. The host's own time is clamped to what
// receipts prove: NotBefore received the last inventory that showed it
// vulnerable, NotAfter the first that showed it fixed.
type FixTime struct {
	At        time.Time `json:"at"`
	Kind      FixKind   `json:"kind"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// End is how an episode ended. It is provisional until FinalAt, then frozen.
type End struct {
	Outcome Outcome `json:"outcome"`
	Fix     FixTime `json:"fix,omitzero"`
	// Gone is since when the asset of a retired one is in use no more.
	Gone time.Time `json:"gone,omitzero"`
	// OnTimeClaimed: in time by the host's claim alone, what receipts prove is later.
	OnTimeClaimed bool `json:"on_time_claimed,omitempty"`
	// TargetMissed: it stood after its target.
	TargetMissed bool      `json:"target_missed,omitempty"`
	FinalAt      time.Time `json:"final_at"`
	Final        bool      `json:"final,omitempty"`
	// LivePatch: a live patch alone fixes it. It stays provisional, since a boot
	// into the unpatched kernel brings it back as the same episode, whenever that is.
	LivePatch bool `json:"live_patch,omitempty"`
}

// Cause says why a deadline moved, or why one is held.
type Cause string

// Causes.
const (
	CauseSeverityUp     Cause = "severity_up"
	CauseSeverityDown   Cause = "severity_down"
	CauseClassification Cause = "classification"
	CauseKEV            Cause = "kev_added"
	CausePolicy         Cause = "policy"
	CauseFacts          Cause = "facts" // an earlier clock start, a stricter fact
)

// Move is one change of a deadline. An empty date is none.
type Move struct {
	At    time.Time `json:"at"`
	Cause Cause     `json:"cause"`
	From  Date      `json:"from,omitempty"`
	To    Date      `json:"to,omitempty"`
	Rule  string    `json:"rule,omitempty"`
	Why   string    `json:"why"`
	// ApprovedBy names who granted a move later that is not the vendor's.
	ApprovedBy string `json:"approved_by,omitempty"`
}

// DeadlineKind is what a deadline asks for.
type DeadlineKind string

// Kinds of deadlines.
const (
	Patch    DeadlineKind = "patch"
	Mitigate DeadlineKind = "mitigate"
)

// Breach is the instant a deadline passed while the finding stood. There is at
// most one for each kind in an episode, and it stays.
type Breach struct {
	Kind     DeadlineKind `json:"kind"`
	At       time.Time    `json:"at"`
	Deadline time.Time    `json:"deadline"`
}

// PendingApproval is a change that would move the deadline later and waits for approval.
type PendingApproval struct {
	// Approval is the id of the request.
	Approval string    `json:"approval"`
	Cause    Cause     `json:"cause"`
	Since    time.Time `json:"since"`
	// To is the date it would give as of now, empty for none.
	To   Date   `json:"to,omitempty"`
	What string `json:"what"`
}

// Inputs are what the last decision on a deadline was made from.
type Inputs struct {
	Policy       string    `json:"policy"`
	Severity     Severity  `json:"severity"`
	Class        string    `json:"class"`
	Exposure     string    `json:"exposure"`
	Environment  string    `json:"environment"`
	Core         bool      `json:"core,omitempty"`
	CrownJewel   bool      `json:"crown_jewel,omitempty"`
	ColdWallet   bool      `json:"cold_wallet,omitempty"`
	HotWallet    bool      `json:"hot_wallet,omitempty"`
	KEVAdded     Date      `json:"kev_added,omitempty"`
	KEVDue       Date      `json:"kev_due,omitempty"`
	Exploitation string    `json:"exploitation,omitempty"`
	Automatable  string    `json:"automatable,omitempty"`
	Impact       string    `json:"impact,omitempty"`
	Detected     time.Time `json:"detected"`
	Available    time.Time `json:"available,omitzero"`
	// Restarted is when a stricter timeline began, zero while the first one runs.
	Restarted time.Time `json:"restarted,omitzero"`
}

// Clock is the history of an episode's deadline.
type Clock struct {
	Inputs Inputs `json:"inputs"`
	// Moves are the newest of the deadline's moves, oldest first; MovesBefore counts
	// those that are in older versions of the finding only.
	Moves       []Move            `json:"moves,omitempty"`
	MovesBefore int               `json:"moves_before,omitempty"`
	Breaches    []Breach          `json:"breaches,omitempty"`
	Held        []PendingApproval `json:"pending_approval,omitempty"`
}

// Started reports whether a decision was made.
func (c *Clock) Started() bool { return c.Inputs.Policy != "" }

// Breach returns the breach of a kind, nil when there is none.
func (c *Clock) Breach(kind DeadlineKind) *Breach {
	for i := range c.Breaches {
		if c.Breaches[i].Kind == kind {
			return &c.Breaches[i]
		}
	}
	return nil
}

// Alarm is the next instant at which time alone changes what is recorded of a
// finding: a deadline passes, or its outcome becomes final. ok is false when
// there is none.
func (f *Finding) Alarm() (at time.Time, ok bool) {
	if f.Episode == 0 {
		return time.Unix(0, 0).UTC(), true // recorded before episodes were: due at once
	}
	if !f.State.Running() {
		return f.End.FinalAt, !f.End.Final
	}
	for _, d := range []struct {
		kind DeadlineKind
		at   time.Time
	}{{Patch, f.Verdict.DueAt}, {Mitigate, f.Verdict.MitigateBy}} {
		if d.at.IsZero() || f.Clock.Breach(d.kind) != nil {
			continue
		}
		if !ok || d.at.Before(at) {
			at, ok = d.at, true
		}
	}
	return at, ok
}

// EpisodeID is the id of a finding's n-th episode; the first has the finding's own.
func EpisodeID(asset, vulnerability, component string, n int) string {
	if n <= 1 {
		return ID(asset, vulnerability, component)
	}
	return derive("F-", asset, vulnerability, component, strconv.Itoa(n))
}

// ApprovalID is the id of a request to let deadlines move later.
func ApprovalID(cause Cause, subject, content string) string {
	return derive("A-", string(cause), subject, content)
}

func derive(prefix string, parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return prefix + strings.ToUpper(base32.StdEncoding.EncodeToString(h[:10]))
}
