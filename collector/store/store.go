// Package store declares what the collector remembers, as roles made of verbs.
// It holds no SQL and no driver; collector/store/sqlstore implements it and
// collector/store/storetest is its definition.
//
// Invariants:
//   - Every verb that records a fact appends its evidence leaf in the same
//     transaction and returns the leaf's index.
//   - Every instant is UTC, truncated to microseconds.
//   - Nothing here deletes raw envelopes, parts, advisories or leaves.
package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// Errors every implementation translates its driver's errors to.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: the row is already there (a duplicate report, a trusted key).
	ErrExists = errors.New("already exists")
	// ErrConflict: another write came first; load again and retry.
	ErrConflict = errors.New("conflict")
	// ErrNewerSchema: the database was written by a newer version.
	ErrNewerSchema = errors.New("database schema is newer than this program")
)

// Store is everything the collector remembers.
type Store interface {
	Reports
	Lines
	Assets
	Quarantine
	Advisories
	Assessments
	Findings
	Evidence
	Tokens
	Policies
	Classifications
	Approvals
	Retirements
	Audit
	Past
	// View calls f with the store as it stands now: whatever is written meanwhile,
	// all that f reads is of one moment. f must not write, nor keep what it was given.
	View(ctx context.Context, f func(Store) error) error
	Close() error
}

// Leaf is one entry of the evidence log: a kind and canonical JSON.
type Leaf struct {
	Index int64
	Kind  string
	At    time.Time
	Body  []byte
	// Seal, when set, makes the body in the transaction of the fact, from the digests
	// of the rows that are written under the leaf (see Audit.Contents). Without it
	// the body is what it is.
	Seal func(contents map[string]string) ([]byte, error)
}

// Words is free text, which may quote hostile bytes, as every store keeps it:
// valid UTF-8 without NUL.
func Words(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Report is one accepted report.
type Report struct {
	ID       string
	Asset    string
	Key      string // evidence public key, hex
	Sequence uint64
	Previous string

	CollectedAt time.Time
	ReceivedAt  time.Time

	Release   inventory.Release
	Kernel    inventory.Kernel
	SetDigest string
	// StaleDigest names the part of stale code, empty when the report has none.
	StaleDigest string
	Complete    bool // the package extractor left no gap
	Statement   schema.Report
	Raw         []byte // the envelope as received
	LeafIndex   int64
	Road        string
	PartsTexts  map[string]string // digest -> canonical text of parts that came along
}

// Reports keeps accepted reports and the distinct parts they name.
type Reports interface {
	// AcceptReport records r, its new parts, the asset's head if r.Sequence is the
	// highest (of equal ones the greatest id), a dirty mark, and the leaf, in one
	// transaction. It returns the leaf's index. A report that makes a chain fork is
	// recorded like any other, and Asset.Forked tells. ErrExists when r.ID is already
	// there; ErrNotFound when the asset or a part that the statement names is not
	// held. A text that is not its digest's is refused.
	AcceptReport(ctx context.Context, r Report, leaf Leaf) (int64, error)
	// Report returns a report with its raw envelope; its statement is without
	// bodies (PartsTexts is nil, Part returns them).
	Report(ctx context.Context, id string) (Report, error)
	// States lists an asset's reports in order of sequence, after a sequence,
	// without Raw, Statement and parts.
	States(ctx context.Context, asset string, after uint64) ([]Report, error)
	// Part returns the canonical text of a part.
	Part(ctx context.Context, digest string) (string, error)
	// MissingParts returns those digests the store does not hold.
	MissingParts(ctx context.Context, digests []string) ([]string, error)
	// RecordDuplicate counts a delivery of a report that was already accepted.
	RecordDuplicate(ctx context.Context, id string, at time.Time) error
	// Duplicates returns how many such deliveries were counted.
	Duplicates(ctx context.Context, id string) (int64, error)
	// EachReport calls f for every report in leaf order, with Raw.
	EachReport(ctx context.Context, f func(Report) error) error
}

// Asset is a host we track.
type Asset struct {
	ID           string
	Name         string
	Key          string // evidence public key, hex
	TransportKey string // as the first accepted report names it, empty before
	TrustedAt    time.Time
	// Attributes stand now. Declared is what an operator said by hand, Classified by
	// whose word the attributes stand: nil before the first classification.
	Attributes Attributes
	Declared   classify.Declared
	Classified *Classification
	// AttributesBy and AttributesAt say who set the attributes, and when.
	AttributesBy string
	AttributesAt time.Time
	// InForce is what of the attributes binds new findings: what is looser waits for
	// approval. It is nil before the first assessment.
	InForce *Attributes
	// Retirement is the last word of an operator on whether it is in use, nil before
	// the first.
	Retirement *Retirement
	// Head is the report with the highest sequence, nil before the first.
	Head *Head
	// AssessedSequence is the highest sequence folded into findings; Refold asks
	// for a fold from the first report (an older one came late).
	AssessedSequence uint64
	Refold           bool
	AssessedAt       time.Time
	// Forked: its reports are not one chain. Moved: one of its keys was seen on
	// machines that are not one. See collector/lineage for what follows.
	Forked, Moved bool
	// Covered is false when no feed covers the head's release (as of AssessedAt).
	Covered bool
	// Gaps as of the last assessment: the report's and the matcher's.
	Gaps []schema.Gap
}

// Attributes classify an asset; see collector/classify for whose word they rest on.
type Attributes = classify.Attributes

// Head is what the latest report says.
type Head struct {
	ReportID    string
	Sequence    uint64
	CollectedAt time.Time
	ReceivedAt  time.Time
	Release     inventory.Release
	Kernel      inventory.Kernel
	SetDigest   string
	Packages    int
	Complete    bool
	Hostname    string
	OSName      string
	Arch        string
	InstanceID  string
	AccountID   string
	Region      string
	Agent       string
}

// Head is what r says of its asset when it is the latest report.
func (r Report) Head() Head {
	st := r.Statement
	h := Head{
		ReportID: r.ID, Sequence: r.Sequence,
		CollectedAt: r.CollectedAt.UTC().Truncate(time.Microsecond), ReceivedAt: r.ReceivedAt.UTC().Truncate(time.Microsecond),
		Release: r.Release, Kernel: r.Kernel, SetDigest: r.SetDigest, Complete: r.Complete,
		Hostname: st.Host.Hostname, OSName: st.OS.PrettyName, Arch: st.Host.Arch, Agent: st.Agent.Version,
	}
	if h.OSName == "" {
		h.OSName = st.OS.Name
	}
	if st.Cloud != nil {
		h.InstanceID, h.AccountID, h.Region = st.Cloud.InstanceID, st.Cloud.AccountID, st.Cloud.Region
	}
	for _, p := range st.Parts {
		if p.Name == schema.PartPackages {
			h.Packages = p.Count
		}
	}
	return h
}

// Assets keeps the hosts we track and whose keys we trust.
type Assets interface {
	// TrustKey records a new asset for a key, with its leaf. ErrExists when the key
	// is already trusted. Without Declared, the attributes are taken as declared.
	TrustKey(ctx context.Context, a Asset, leaf Leaf) (int64, error)
	// SetAttributes replaces an asset's name and what is declared of it, which holds
	// alone until the next classification, marks it dirty, and appends the leaf.
	SetAttributes(ctx context.Context, id, name string, at Attributes, leaf Leaf) (int64, error)
	AssetByKey(ctx context.Context, key string) (Asset, error)
	// Asset finds by id or by exact name; ErrNotFound, or ErrConflict when a name is ambiguous.
	Asset(ctx context.Context, idOrName string) (Asset, error)
	// AssetPicture counts assets by how well they are known; one that reported
	// before an instant and not since is silent.
	AssetPicture(ctx context.Context, silentBefore time.Time) (AssetPicture, error)
	// AssetsByID returns those of some ids that there are, in no order.
	AssetsByID(ctx context.Context, ids []string) ([]Asset, error)
	// Assets lists all, ordered by name, id.
	Assets(ctx context.Context) ([]Asset, error)
}

// Quarantined is an envelope the door refused, with why.
type Quarantined struct {
	// Digest is the SHA-256 (hex) of Raw.
	Digest string
	// Key is the verified evidence key, empty when no signature verified.
	Key     string
	Reason  string
	Detail  string
	Road    string
	Count   int64
	FirstAt time.Time
	LastAt  time.Time
	Raw     []byte
}

// Dropped counts envelopes of a key and reason that were over the limits.
type Dropped struct {
	Key     string
	Reason  string
	Count   int64
	FirstAt time.Time
	LastAt  time.Time
}

// QuarantineLimits cap what refused senders can make the store hold. A limit of
// zero keeps nothing.
type QuarantineLimits struct {
	PerKey, Total           int64 // envelopes
	BytesPerKey, BytesTotal int64
}

// Quarantine keeps refused envelopes.
type Quarantine interface {
	// Quarantine records q with its leaf, or counts it when its digest is there: then
	// there is a leaf, and the newest reason and detail are kept, only if the reason
	// is another than before. Beyond the limits only the counter of dropped
	// envelopes (per key and reason) grows: then kept is false, and there is no leaf.
	Quarantine(ctx context.Context, q Quarantined, lim QuarantineLimits, leaf Leaf) (kept bool, err error)
	// QuarantinedEnvelopes lists without Raw, newest first; key "" lists all.
	QuarantinedEnvelopes(ctx context.Context, key string, limit int) ([]Quarantined, error)
	// QuarantinedEnvelope returns one with Raw, by its digest.
	QuarantinedEnvelope(ctx context.Context, digest string) (Quarantined, error)
	// QuarantinedRaw lists with Raw, oldest first, for one key and reason.
	QuarantinedRaw(ctx context.Context, key, reason string) ([]Quarantined, error)
	// ReleaseQuarantined removes an envelope that was replayed and accepted, with its
	// leaf.
	ReleaseQuarantined(ctx context.Context, digest string, leaf Leaf) error
	// QuarantineKeys lists the keys with envelopes held for a reason, with counts.
	QuarantineKeys(ctx context.Context, reason string) (map[string]int64, error)
	// QuarantineUse returns how many envelopes are held, and their bytes.
	QuarantineUse(ctx context.Context) (envelopes, bytes int64, err error)
	// DroppedEnvelopes lists the counters, greatest first.
	DroppedEnvelopes(ctx context.Context) ([]Dropped, error)
}

// FeedState is what is held of a feed.
type FeedState struct {
	Feed advisory.Feed
	// Digest, Published and ImportedAt are of the newest applied snapshot or upsert.
	Digest     string
	Published  time.Time
	ImportedAt time.Time
	// SnapshotAt is when a whole snapshot was last applied, zero when never.
	SnapshotAt time.Time
	Advisories int
	Withdrawn  int
	Facts      int
	// Missing counts advisories held that the newest snapshot no longer lists.
	Missing  int
	Releases []inventory.Release
	// Held is a snapshot that was refused as a whole until someone confirms it.
	Held *Held
}

// Held is a snapshot waiting for a person.
type Held struct {
	Digest string
	At     time.Time
	Reason string
}

// Applied says what an applied batch changed.
type Applied struct {
	Added, Changed, Unchanged, Missing int
	MarkedAssets                       int
	Leaf                               int64
}

// Advisories keeps what publishers say.
type Advisories interface {
	// ApplyBatch records a batch and marks the assets it touches, in one
	// transaction. An advisory that a snapshot no longer lists is kept and counted
	// missing. Facts are merged by vulnerability and feed kind; one that a snapshot
	// no longer lists is kept. Touched are assets whose head's release has changed
	// advisories or coverage, and those with a running finding whose facts changed;
	// an EPSS score counts as changed when it crosses a multiple of 0.01. Where only
	// facts changed, of not too many findings, the mark names their vulnerabilities.
	ApplyBatch(ctx context.Context, b advisory.Batch, at time.Time, leaf Leaf) (Applied, error)
	// HoldBatch records that a snapshot was held, with its leaf.
	HoldBatch(ctx context.Context, f advisory.Feed, h Held, leaf Leaf) error
	Feeds(ctx context.Context) ([]FeedState, error)
	// FeedVulnerabilities lists the vulnerabilities a feed names now (not missing,
	// not withdrawn).
	FeedVulnerabilities(ctx context.Context, feed string) (map[string]struct{}, error)
	// AdvisoriesFor returns every advisory, withdrawn ones included, with its rows
	// for one release, ordered by feed, id. One that bears no date of its own is
	// dated by when the feed first carried, or was published with, a fix that it
	// carries now for the release (DateFirstSeen); without a fix it has no date.
	AdvisoriesFor(ctx context.Context, r inventory.Release) ([]advisory.Advisory, error)
	// Generation changes whenever advisories of a release or its coverage change.
	Generation(ctx context.Context, r inventory.Release) (int64, error)
	Advisory(ctx context.Context, feed, id string) (advisory.Advisory, error)
	// AdvisoriesNaming returns advisories that name a vulnerability.
	AdvisoriesNaming(ctx context.Context, vulnerability string) ([]advisory.Advisory, error)
	// Facts returns what is known of vulnerabilities; those unknown are absent.
	Facts(ctx context.Context, vulnerabilities []string) (map[string]advisory.Facts, error)
	// CheckAdvisories calls fault for each recorded advisory version that is not what
	// its digest says, and each advisory whose present version is not recorded.
	CheckAdvisories(ctx context.Context, fault func(feed, id, what string)) error
	// CoveredReleases lists releases that some feed with a snapshot or upsert covers.
	CoveredReleases(ctx context.Context) ([]inventory.Release, error)
}

// Mark is an asset that needs assessment, with the mark's own version: it is
// cleared only if no newer mark came.
type Mark struct {
	Asset   string
	Version int64
	// Vulnerabilities, when there are any, are all that has to be assessed: their
	// facts changed, and nothing else of the asset.
	Vulnerabilities []string
}

// Assessment is the outcome of assessing one asset.
type Assessment struct {
	Mark             Mark
	At               time.Time
	AssessedSequence uint64
	// AsOf counts the leaves that everything the assessment read stands on. After is
	// the sequence of the report that was assessed before, Refold says that all
	// reports were folded again.
	AsOf    int64
	After   uint64
	Refold  bool
	Covered bool
	Gaps    []schema.Gap
	// Facts are those the assessment read, by vulnerability.
	Facts map[string]advisory.Facts
	// Changed are findings to insert or replace; others stay as they are.
	Changed []finding.Finding
	// InForce is what of the asset's attributes binds, nil to leave it.
	InForce *Attributes
	// Classification is the id a request for the asset's present attributes has;
	// requests for others are superseded. Requests are asked for now.
	Classification string
	Requests       []Approval
	// Undetermined replaces the asset's list.
	Undetermined []finding.Undetermined
}

// Assessments drains dirty marks.
type Assessments interface {
	DirtyAssets(ctx context.Context, limit int) ([]Mark, error)
	// MarkAll marks every asset dirty.
	MarkAll(ctx context.Context) error
	// MarkDue marks the assets with a finding of which time alone changes the record
	// by then (finding.Finding.Alarm), and returns how many. Those that are marked
	// already keep their marks.
	MarkDue(ctx context.Context, at time.Time) (int, error)
	// ApplyAssessments records a batch of outcomes with one leaf, in one
	// transaction. A batch that changes no finding, undetermined comparison, gap,
	// coverage, attribute in force or request appends no leaf and returns -1. A mark
	// that became newer meanwhile stays. Of an asset whose mark names vulnerabilities
	// only the findings are recorded. ErrConflict, and nothing recorded, when a mark
	// is gone: someone else assessed the asset from it.
	ApplyAssessments(ctx context.Context, as []Assessment, leaf *Leaf) (int64, error)
	// AssetFindings returns all findings of an asset, closed ones included.
	AssetFindings(ctx context.Context, asset string) ([]finding.Finding, error)
	// Running returns the running findings of some assets on some vulnerabilities,
	// by asset and id.
	Running(ctx context.Context, assets, vulnerabilities []string) ([]finding.Finding, error)
	// AttributesOf returns the attributes of some assets; unknown ones are absent.
	AttributesOf(ctx context.Context, assets []string) (map[string]Attributes, error)
}

// FindingQuery filters findings. Zero fields do not filter; a list lets through
// what is one of its words, and all that is set must hold.
type FindingQuery struct {
	AssetQuery
	Severity []finding.Severity
	State    []finding.State
	// Priority and Cycle as verdicts have them, P0 and zero_day.
	Priority, Cycle []string
	Vulnerability   []string
	Component       []string
	// Package names binary packages, Advisory advisories behind the finding.
	Package, Advisory []string
	KEV               *bool
	// Breach lets through only findings whose deadline of the kind was breached, after
	// and before an instant where those are set, and puts the first breach first.
	Breach                        finding.DeadlineKind
	BreachedAfter, BreachedBefore time.Time
	// Outcome and Flags are as of OutcomeAt; a finding must have all of the flags.
	Outcome   []finding.Outcome
	Flags     []finding.Flag
	OutcomeAt time.Time
	OverdueAt time.Time // only findings running and breached at this instant
	OpenOnly  bool
	// AwaitingFix lets through only running findings without a date.
	AwaitingFix bool
	// DueBefore and DueAfter compare dates; a finding without one passes neither.
	DueBefore, DueAfter           finding.Date
	DetectedBefore, DetectedAfter time.Time
	ClosedBefore, ClosedAfter     time.Time
	// Sort replaces the order of urgency; the id decides what it leaves open.
	Sort []SortKey
	// Limit 0 is no limit. After is the id of the last row seen.
	Limit int
	After string
}

// AssetQuery filters by what assets are. Zero fields do not filter.
type AssetQuery struct {
	// Asset lists ids.
	Asset                                []string
	OU, Account, Region, Service, Owner  []string
	Class, Exposure, Environment, Column []string
	// Unowned lets through only assets without an owner.
	Unowned                           bool
	CrownJewel, ColdWallet, HotWallet *bool
}

// SortKey is one of SortKeys, from its least value or its greatest.
type SortKey struct {
	Key        string
	Descending bool
}

// SortKeys are the words findings can be sorted by. Priority begins at P0,
// severity at low, due with the earliest (none last), kev with those not listed.
var SortKeys = []string{"due", "priority", "severity", "kev", "detected", "closed", "vulnerability", "component", "asset", "state"}

// Groupings are what findings can be counted by.
var Groupings = []string{"ou", "account", "region", "service", "owner", "severity", "class", "exposure", "environment"}

// FindingCount counts findings of one value of a grouping, in one state, of one
// outcome.
type FindingCount struct {
	Value   string
	State   string
	Outcome finding.Outcome
	Total   int
	// Of these: known exploited ones, those with a due date, those whose outcome is
	// final, and those with each flag.
	KEV, Dated, Final                                int
	Arrival, Regression, OnTimeClaimed, TargetMissed int
}

// AssetCount counts running findings of an asset, and comparisons that could not
// be made. Total also holds those of a severity that has no name here.
type AssetCount struct {
	Critical, High, Medium, Low int
	Total, Overdue, KEV         int
	Undetermined                int
}

// AssetPicture counts assets by how well they are known. Gone ones are retired or
// terminated and are in no other count but Total; Back ones report all the same.
// Uncovered and WithGaps are of those that ever reported.
type AssetPicture struct {
	Total, NeverReported, Silent, Uncovered, WithGaps int
	Gone, Back                                        int
	// Waiting are marked for assessment; -1 for a past moment, of which it is not kept.
	Waiting int
}

// FindingVersion is a finding as it was recorded under a leaf.
type FindingVersion struct {
	Leaf    int64
	Finding finding.Finding
}

// Findings answers questions on findings.
type Findings interface {
	// ListFindings orders by urgency: running first, then due instant (none last),
	// priority, severity rank, KEV, id; or as q.Sort says. ErrNotFound when q.After
	// names no finding.
	ListFindings(ctx context.Context, q FindingQuery) ([]finding.Finding, error)
	// CountFindings counts the findings a query lets through by one of Groupings,
	// or all together, by state and by outcome, as of an instant. What orders and
	// pages a query is not looked at.
	CountFindings(ctx context.Context, q FindingQuery, by string, at time.Time) ([]FindingCount, error)
	// CountDue counts, of the findings a query lets through, the running ones whose
	// breach lies in each span: at or after one end, before the next.
	CountDue(ctx context.Context, q FindingQuery, ends []time.Time) ([]int, error)
	// CountByAsset counts running findings, and comparisons that could not be made,
	// of every asset that has any, as of an instant.
	CountByAsset(ctx context.Context, at time.Time) (map[string]AssetCount, error)
	Finding(ctx context.Context, id string) (finding.Finding, error)
	UndeterminedOf(ctx context.Context, asset string) ([]finding.Undetermined, error)
	CountUndetermined(ctx context.Context) (int, error)
	// RecordedFindings returns the findings recorded under an assessment's leaf, as
	// they then stood, by id.
	RecordedFindings(ctx context.Context, leaf int64) ([]finding.Finding, error)
	// FindingHistory returns every recorded state of a finding, oldest first.
	FindingHistory(ctx context.Context, id string) ([]FindingVersion, error)
	// CheckFindings calls fault for each finding that does not stand where the
	// newest recorded state of it says.
	CheckFindings(ctx context.Context, fault func(id, what string)) error
	// VulnerabilitiesWithFindings lists the vulnerabilities some running finding has.
	VulnerabilitiesWithFindings(ctx context.Context) (map[string]struct{}, error)
}

// Checkpoint is a signed tree head (C2SP tlog-checkpoint) over the first Size leaves.
type Checkpoint struct {
	Size int64
	At   time.Time
	Note []byte
}

// Evidence keeps the log: leaves in order, tree hashes, checkpoints.
type Evidence interface {
	// AppendLeaf records an act that has no other fact.
	AppendLeaf(ctx context.Context, leaf Leaf) (int64, error)
	// Leaves returns up to limit leaves from an index on.
	Leaves(ctx context.Context, from int64, limit int) ([]Leaf, error)
	LeafCount(ctx context.Context) (int64, error)
	// Hashes returns stored tree hashes by tlog index; ErrNotFound when one is missing.
	Hashes(ctx context.Context, indexes []int64) (map[int64][]byte, error)
	// Integrate records tree hashes and the checkpoint that covers them.
	Integrate(ctx context.Context, hashes map[int64][]byte, c Checkpoint) error
	LastCheckpoint(ctx context.Context) (Checkpoint, error)
	Checkpoints(ctx context.Context) ([]Checkpoint, error)
	// LogState returns the log's origin and epoch, written once by SetLogState.
	LogState(ctx context.Context) (origin string, epoch int64, err error)
	// SetLogState names the log; ErrExists when it has a name already.
	SetLogState(ctx context.Context, origin string, epoch int64) error
	// StartEpoch moves the log to a later epoch, with its leaf, in one transaction;
	// ErrConflict when the log is there already.
	StartEpoch(ctx context.Context, epoch int64, leaf Leaf) (int64, error)
}

// Token is a named API token, stored hashed.
type Token struct {
	Name      string
	Hash      string // SHA-256 (hex)
	CreatedAt time.Time
	CreatedBy string
	// Scopes say what it may do; without any it may do nothing.
	Scopes []string
	// ExpiresAt is its end, zero for none. RevokedAt is when somebody ended it for
	// good, zero while nobody has.
	ExpiresAt time.Time
	RevokedAt time.Time
	RevokedBy string
	LastUsed  time.Time
}

// Tokens keeps API tokens. A revoked one stays: its name is in evidence, and is
// never given to another.
type Tokens interface {
	// AddToken records a token with its leaf; ErrExists when the name or the hash
	// is taken.
	AddToken(ctx context.Context, t Token, leaf Leaf) error
	// RevokeToken ends a token for good, with its leaf; ErrNotFound when there is
	// none of the name, ErrConflict when it was revoked before.
	RevokeToken(ctx context.Context, name, by string, at time.Time, leaf Leaf) (int64, error)
	// TokenByHash finds a token, also one that has ended.
	TokenByHash(ctx context.Context, hash string) (Token, error)
	// Tokens lists all by name.
	Tokens(ctx context.Context) ([]Token, error)
	TouchToken(ctx context.Context, name string, at time.Time) error
}

// PolicyRecord is a policy as applied.
type PolicyRecord struct {
	Leaf      int64
	Digest    string
	Source    []byte // the YAML file
	AppliedAt time.Time
	// EffectiveAt is when it comes into force, AppliedAt when zero; never before.
	EffectiveAt time.Time
	By          string
	// Looser are the cells that were made looser knowingly, with what they replace.
	Looser []LooserCell
}

// LooserCell is a cell of a policy that can give a later date than the one it replaces.
type LooserCell struct {
	Path string `json:"path"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Policies keeps applied policies. Of those that are effective at an instant, the
// one with the latest effective instant is in force, of equal ones the one
// applied last: a function of the history alone.
type Policies interface {
	// ApplyPolicy records a policy with its leaf, and marks every asset when it is
	// effective at once.
	ApplyPolicy(ctx context.Context, p PolicyRecord, leaf Leaf) (int64, error)
	// PolicyInForce returns the policy in force at an instant; ErrNotFound before
	// the first.
	PolicyInForce(ctx context.Context, at time.Time) (PolicyRecord, error)
	// PolicyHistory returns every policy that was applied, in order of leaves.
	PolicyHistory(ctx context.Context) ([]PolicyRecord, error)
	// EnforcePolicy marks every asset for the policy that a leaf applied, unless
	// that was done before; first says whether it was done now. ErrNotFound when
	// the leaf is no policy's.
	EnforcePolicy(ctx context.Context, leaf int64) (first bool, err error)
	// Policy returns the policy with a digest, as it was applied first.
	Policy(ctx context.Context, digest string) (PolicyRecord, error)
}
