package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// Leaf kinds.
const (
	KindReport     = "report"
	KindTrust      = "trust"
	KindAttributes = "attributes"
	KindFeed       = "feed"
	KindFeedHeld   = "feed_held"
	KindAssessment = "assessment"
	KindPolicy     = "policy"
	KindToken      = "token"
	KindTokenEnd   = "token_revoked"
	KindApproval   = "approval"
	KindQuarantine = "quarantine"
	KindRelease    = "quarantine_released"
	KindLogEpoch   = "log_epoch"
	KindRetirement = "retirement"

	KindClassification = "classification"
)

// leafBody is what is hashed: the kind and the instant are inside.
type leafBody struct {
	At   time.Time       `json:"at"`
	Body json.RawMessage `json:"body"`
	Kind string          `json:"kind"`
}

// LeafFor makes a leaf: canonical JSON {"at":…,"body":…,"kind":…}, where body is
// the given value. Canonical means: keys sorted bytewise at every depth, no space,
// no escapes but those JSON demands and U+2028, U+2029.
func LeafFor(kind string, at time.Time, body any) (store.Leaf, error) {
	if kind == "" {
		return store.Leaf{}, errors.New("make leaf: no kind")
	}
	at = at.UTC().Truncate(time.Microsecond)
	text, err := canonical(map[string]any{"at": at, "body": body, "kind": kind})
	if err != nil {
		return store.Leaf{}, fmt.Errorf("make %s leaf: %w", kind, err)
	}
	return store.Leaf{Kind: kind, At: at, Body: text}, nil
}

// SealedLeaf makes a leaf whose body the store completes with the digests of the
// rows it writes under the leaf.
func SealedLeaf(kind string, at time.Time, body func(contents map[string]string) any) (store.Leaf, error) {
	l, err := LeafFor(kind, at, body(nil))
	if err != nil {
		return store.Leaf{}, err
	}
	l.Seal = func(contents map[string]string) ([]byte, error) {
		sealed, err := LeafFor(kind, at, body(contents))
		return sealed.Body, err
	}
	return l, nil
}

// Hash returns a leaf's RFC 6962 leaf hash.
func Hash(l store.Leaf) tlog.Hash { return tlog.RecordHash(l.Body) }

// OpenLeaf reads a leaf's body into v and checks that the row's kind and instant
// are those that were hashed.
func OpenLeaf(l store.Leaf, v any) error {
	var b leafBody
	if err := strictJSON(l.Body, &b, true); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if b.Kind != l.Kind {
		return fmt.Errorf("the row says kind %q, the body %q", l.Kind, b.Kind)
	}
	if !b.At.Equal(l.At) {
		return fmt.Errorf("the row says %s, the body %s", l.At.Format(time.RFC3339Nano), b.At.Format(time.RFC3339Nano))
	}
	if v == nil {
		return nil
	}
	if err := strictJSON(b.Body, v, false); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

func strictJSON(text []byte, v any, known bool) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if known {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// ReportBody is the body of a report leaf: all that the report's row says, but
// for what the raw envelope says itself.
type ReportBody struct {
	Report      string    `json:"report"`
	Asset       string    `json:"asset"`
	Key         string    `json:"key"`
	Sequence    uint64    `json:"sequence"`
	Previous    string    `json:"previous,omitempty"`
	CollectedAt time.Time `json:"collected_at"`
	ReceivedAt  time.Time `json:"received_at"`
	Release     string    `json:"release"`
	Kernel      string    `json:"kernel,omitempty"`
	SetDigest   string    `json:"set_digest"`
	Complete    bool      `json:"complete"`
	Road        string    `json:"road"`
	// Raw is the SHA-256 (hex) of the envelope as received.
	Raw string `json:"raw_sha256"`
	// Parts are name and digest of every part.
	Parts map[string]string `json:"parts"`
}

// ReportLeaf makes the leaf of an accepted report.
func ReportLeaf(r store.Report) (store.Leaf, error) {
	return LeafFor(KindReport, r.ReceivedAt, reportBody(r))
}

func reportBody(r store.Report) ReportBody {
	parts := make(map[string]string, len(r.Statement.Parts))
	for _, p := range r.Statement.Parts {
		parts[p.Name] = p.Digest
	}
	return ReportBody{
		Report: r.ID, Asset: r.Asset, Key: r.Key, Sequence: r.Sequence, Previous: r.Previous,
		CollectedAt: instant(r.CollectedAt), ReceivedAt: instant(r.ReceivedAt),
		Release: r.Release.String(), Kernel: r.Kernel.Release, SetDigest: r.SetDigest, Complete: r.Complete,
		Road: r.Road, Raw: Digest(r.Raw), Parts: parts,
	}
}

// TrustBody is the body of a trust leaf.
type TrustBody struct {
	Asset      string           `json:"asset"`
	Key        string           `json:"key"`
	Name       string           `json:"name"`
	Attributes store.Attributes `json:"attributes"`
	// Declared is what the operator said, without what follows from saying nothing.
	Declared *store.Attributes `json:"declared,omitempty"`
	// By says who did it: a token's name, or "cli".
	By string `json:"by,omitempty"`
}

// TrustLeaf makes the leaf of a key that someone trusts for a new asset.
func TrustLeaf(a store.Asset, by string, at time.Time) (store.Leaf, error) {
	b := TrustBody{Asset: a.ID, Key: a.Key, Name: a.Name, Attributes: a.Attributes, By: by}
	if a.Declared != (classify.Declared{}) {
		b.Declared = &a.Declared.Attributes
	}
	return LeafFor(KindTrust, at, b)
}

// AttributesBody is the body of an attributes leaf.
type AttributesBody struct {
	Asset      string           `json:"asset"`
	Name       string           `json:"name"`
	Attributes store.Attributes `json:"attributes"`
	By         string           `json:"by,omitempty"`
}

// AttributesLeaf makes the leaf of an asset's new name and attributes.
func AttributesLeaf(asset, name string, a store.Attributes, by string, at time.Time) (store.Leaf, error) {
	return LeafFor(KindAttributes, at, AttributesBody{Asset: asset, Name: name, Attributes: a, By: by})
}

// FeedBody is the body of a feed leaf.
type FeedBody struct {
	Feed      string    `json:"feed"`
	Kind      string    `json:"kind"`
	Snapshot  bool      `json:"snapshot"`
	Digest    string    `json:"digest"`
	Published time.Time `json:"published,omitzero"`
	// Advisories and Facts count what the batch held.
	Advisories int `json:"advisories"`
	Facts      int `json:"facts"`
	// Confirmed is set when a person applied a snapshot that was held; Overruled
	// says what it was held for, By who it was.
	Confirmed bool   `json:"confirmed,omitempty"`
	Overruled string `json:"overruled,omitempty"`
	By        string `json:"by,omitempty"`
	// Releases are those the batch covers.
	Releases []inventory.Release `json:"releases,omitempty"`
	// Contents are the digests of what the batch wrote, see store.Audit.Contents, and
	// as "facts" that of all facts of its kind after it. Older leaves have none.
	Contents map[string]string `json:"contents,omitempty"`
}

// FeedLeaf makes the leaf of an applied batch; overruled says what a person
// confirmed it against.
func FeedLeaf(b advisory.Batch, overruled, by string, at time.Time) (store.Leaf, error) {
	body := FeedBody{
		Feed: b.Feed.Name, Kind: b.Feed.Kind, Snapshot: b.Snapshot, Digest: b.Digest, Published: b.Published.UTC(),
		Advisories: len(b.Advisories), Facts: len(b.Facts), Confirmed: overruled != "", Overruled: overruled, By: by,
		Releases: b.Releases,
	}
	return SealedLeaf(KindFeed, at, func(contents map[string]string) any {
		body.Contents = contents
		return body
	})
}

// FeedHeldBody is the body of a feed_held leaf.
type FeedHeldBody struct {
	Feed   string `json:"feed"`
	Kind   string `json:"kind,omitempty"` // older leaves do not say it
	Digest string `json:"digest"`
	Reason string `json:"reason"`
}

// FeedHeldLeaf makes the leaf of a snapshot that waits for a person.
func FeedHeldLeaf(f advisory.Feed, h store.Held) (store.Leaf, error) {
	return LeafFor(KindFeedHeld, h.At, FeedHeldBody{Feed: f.Name, Kind: f.Kind, Digest: h.Digest, Reason: h.Reason})
}

// AssessmentBody is the body of an assessment leaf.
type AssessmentBody struct {
	// Assets are those the batch assessed, sorted.
	Assets []string `json:"assets"`
	// Findings counts the changed findings, Digest is over their list, see
	// FindingsDigest.
	Findings int    `json:"findings"`
	Digest   string `json:"findings_sha256"`
	// Policy is the digest of the policy the deadlines were made with.
	Policy string `json:"policy,omitempty"`
	// AsOf counts the leaves that everything the assessments read stands on.
	AsOf int64 `json:"as_of,omitempty"`
	// Outcomes is the digest over what else was found of the assets, and what it all
	// stood on, see OutcomesDigest. Contents has that of the facts which were read and
	// are others than were read before ("facts_seen"). Older leaves have neither.
	Outcomes string            `json:"outcomes_sha256,omitempty"`
	Contents map[string]string `json:"contents,omitempty"`
}

// AssessmentLeaf makes the leaf of a batch of assessments.
func AssessmentLeaf(as []store.Assessment, policy string, at time.Time) (store.Leaf, error) {
	body := AssessmentBody{Assets: []string{}, Policy: policy}
	var changed []finding.Finding
	for _, a := range as {
		body.Assets, body.AsOf = append(body.Assets, a.Mark.Asset), a.AsOf
		changed = append(changed, a.Changed...)
	}
	slices.Sort(body.Assets)
	digest, err := FindingsDigest(changed)
	if err != nil {
		return store.Leaf{}, fmt.Errorf("make assessment leaf: %w", err)
	}
	body.Findings, body.Digest = len(changed), digest
	outcomes := make([]store.Outcome, len(as))
	for i := range as {
		if outcomes[i], err = as[i].Outcome(); err != nil {
			return store.Leaf{}, fmt.Errorf("make assessment leaf: %w", err)
		}
	}
	if body.Outcomes, err = OutcomesDigest(outcomes); err != nil {
		return store.Leaf{}, fmt.Errorf("make assessment leaf: %w", err)
	}
	return SealedLeaf(KindAssessment, at, func(contents map[string]string) any {
		body.Contents = contents
		return body
	})
}

// OutcomesDigest is the SHA-256 (hex) over the lines "asset sha256(canonical
// JSON)\n" of outcomes, sorted.
func OutcomesDigest(list []store.Outcome) (string, error) {
	return linesDigest(list, func(o store.Outcome) (string, any) { return o.Asset, o })
}

// linesDigest is the SHA-256 (hex) over the lines "name sha256(canonical JSON)\n"
// of a list, sorted.
func linesDigest[T any](list []T, of func(T) (name string, v any)) (string, error) {
	lines := make([]string, len(list))
	for i := range list {
		name, v := of(list[i])
		text, err := canonical(v)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		lines[i] = name + " " + Digest(text) + "\n"
	}
	slices.Sort(lines)
	return Digest([]byte(strings.Join(lines, ""))), nil
}

// FindingsDigest is the SHA-256 (hex) over the lines "id sha256(canonical JSON)\n"
// of findings, sorted; instants are cut to microseconds, as the store keeps them.
func FindingsDigest(list []finding.Finding) (string, error) {
	return linesDigest(list, func(f finding.Finding) (string, any) { return f.ID, ExactFinding(f) })
}

// ExactFinding is a finding as the store keeps it.
func ExactFinding(f finding.Finding) finding.Finding {
	f.Detected, f.Available, f.SeenAt, f.Closed = instant(f.Detected), instant(f.Available), instant(f.SeenAt), instant(f.Closed)
	f.Verdict.DueAt, f.Verdict.MitigateBy, f.Verdict.TargetAt = instant(f.Verdict.DueAt), instant(f.Verdict.MitigateBy), instant(f.Verdict.TargetAt)
	return f
}

// PolicyBody is the body of a policy leaf.
type PolicyBody struct {
	Digest string `json:"digest"`
	// Source is the SHA-256 (hex) of the policy file.
	Source string `json:"source_sha256"`
	By     string `json:"by,omitempty"`
	// EffectiveAt is when it comes into force; older leaves do not say it, and mean
	// their own instant.
	EffectiveAt time.Time `json:"effective_at,omitzero"`
	// Looser are the cells that were made looser than those of the policy it
	// replaces; By knew of them.
	Looser []store.LooserCell `json:"looser,omitempty"`
}

// PolicyLeaf makes the leaf of an applied policy.
func PolicyLeaf(p store.PolicyRecord, by string) (store.Leaf, error) {
	body := PolicyBody{Digest: p.Digest, Source: Digest(p.Source), By: by, EffectiveAt: instant(p.EffectiveAt), Looser: p.Looser}
	if p.EffectiveAt.IsZero() {
		body.EffectiveAt = instant(p.AppliedAt)
	}
	return LeafFor(KindPolicy, p.AppliedAt, body)
}

// TokenBody is the body of a token leaf.
type TokenBody struct {
	Name string `json:"name"`
	// Hash is the token's SHA-256 (hex), as the store keeps it.
	Hash string `json:"hash"`
	By   string `json:"by,omitempty"`
	// Scopes are what it may do; older leaves do not say it, and mean everything.
	Scopes    []string  `json:"scopes,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// TokenLeaf makes the leaf of a new API token.
func TokenLeaf(t store.Token, by string) (store.Leaf, error) {
	body := TokenBody{Name: t.Name, Hash: t.Hash, By: by, Scopes: t.Scopes}
	if !t.ExpiresAt.IsZero() {
		body.ExpiresAt = instant(t.ExpiresAt)
	}
	return LeafFor(KindToken, t.CreatedAt, body)
}

// TokenEndBody is the body of a token_revoked leaf.
type TokenEndBody struct {
	Name string `json:"name"`
	By   string `json:"by,omitempty"`
}

// TokenEndLeaf makes the leaf of a token that somebody revoked.
func TokenEndLeaf(name, by string, at time.Time) (store.Leaf, error) {
	return LeafFor(KindTokenEnd, at, TokenEndBody{Name: name, By: by})
}

// ApprovalBody is the body of an approval leaf: a decision on a request.
type ApprovalBody struct {
	Approval    string    `json:"approval"`
	Cause       string    `json:"cause"`
	Subject     string    `json:"subject"`
	What        string    `json:"what"`
	RequestedBy string    `json:"requested_by"`
	RequestedAt time.Time `json:"requested_at"`
	Decision    string    `json:"decision"`
	By          string    `json:"by"`
	Reason      string    `json:"reason,omitempty"`
}

// ApprovalLeaf makes the leaf of a decision.
func ApprovalLeaf(a store.Approval) (store.Leaf, error) {
	return LeafFor(KindApproval, a.DecidedAt, ApprovalBody{
		Approval: a.ID, Cause: string(a.Cause), Subject: a.Subject, What: a.What, RequestedBy: a.RequestedBy,
		RequestedAt: instant(a.RequestedAt), Decision: string(a.State), By: a.DecidedBy, Reason: a.Reason,
	})
}

// QuarantineBody is the body of a quarantine leaf: an envelope was refused, or
// again for another reason. At is when; the first leaf of a digest tells the rest.
type QuarantineBody struct {
	Digest string `json:"digest"`
	Key    string `json:"key,omitempty"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Road   string `json:"road,omitempty"`
	// Kept counts the bytes that are kept, Raw is their SHA-256 (hex). It is Digest,
	// but for an envelope too large to keep.
	Kept int    `json:"kept"`
	Raw  string `json:"raw_sha256"`
}

// QuarantineLeaf makes the leaf of a refused envelope.
func QuarantineLeaf(q store.Quarantined) (store.Leaf, error) {
	return LeafFor(KindQuarantine, q.LastAt, quarantineBody(q))
}

func quarantineBody(q store.Quarantined) QuarantineBody {
	return QuarantineBody{
		Digest: q.Digest, Key: q.Key, Reason: store.Words(q.Reason), Detail: store.Words(q.Detail), Road: store.Words(q.Road),
		Kept: len(q.Raw), Raw: Digest(q.Raw),
	}
}

// ReleaseBody is the body of a quarantine_released leaf: the envelope was taken
// in as a report after all.
type ReleaseBody struct {
	Digest string `json:"digest"`
	Report string `json:"report"`
}

// ReleaseLeaf makes the leaf of an envelope that left quarantine.
func ReleaseLeaf(digest, report string, at time.Time) (store.Leaf, error) {
	return LeafFor(KindRelease, at, ReleaseBody{Digest: digest, Report: report})
}

// RetirementBody is the body of a retirement leaf: an operator's word that an asset
// is in use no more, or is again.
type RetirementBody struct {
	Asset   string    `json:"asset"`
	Retired bool      `json:"retired"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"`
	By      string    `json:"by,omitempty"`
}

// RetirementLeaf makes the leaf of an asset's retirement, or of taking it back.
func RetirementLeaf(asset string, r store.Retirement, at time.Time) (store.Leaf, error) {
	return LeafFor(KindRetirement, at, RetirementBody{Asset: asset, Retired: r.Retired, Since: instant(r.At), Reason: r.Reason, By: r.By})
}

// EpochBody is the body of a log_epoch leaf: why the log took a new epoch.
type EpochBody struct {
	Epoch  int64  `json:"epoch"`
	Reason string `json:"reason"`
	// LostSize and LostRoot are the signed head that this log can no longer show.
	LostSize int64  `json:"lost_size,omitempty"`
	LostRoot string `json:"lost_root,omitempty"`
}

// instant is t as the store keeps it.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Digest is the SHA-256 (hex) that leaves name things by.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
