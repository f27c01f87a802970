// Package api serves the collector's answers and takes operators' acts over
// HTTP, version 1, described by OpenAPI 3.1 at /v1/openapi.json.
//
// Invariants:
//   - Every call carries a named token with the scope its operation declares, in
//     one table; the name is logged with the request id.
//   - Errors are problem documents (RFC 9457) without internals: a stranger
//     learns what was wrong with the request, never what the server is made of.
//   - Bodies are bounded; unknown query parameters and fields are refused.
package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
)

// Version is the API's own, promised version.
const Version = "1.0.0"

// Operator carries out what people with a token ask for.
type Operator interface {
	// TrustHost trusts the key with a fingerprint and replays what it sent.
	TrustHost(ctx context.Context, r TrustRequest, by string) (TrustResult, error)
	// ClearClone records which line of reports is a host's.
	ClearClone(ctx context.Context, host string, r ClearRequest, by string) (ClearResult, error)
	// PendingHosts lists keys that send reports and are not trusted.
	PendingHosts(ctx context.Context) ([]PendingHost, error)
	// ImportFeed applies or holds what an uploaded document holds.
	ImportFeed(ctx context.Context, u Upload, by string) ([]ImportOutcome, error)
	// ApplyRules puts a file of classification rules in force.
	ApplyRules(ctx context.Context, src []byte, by string) (RulesApplied, error)
	// ImportAssets takes in a list of assets.
	ImportAssets(ctx context.Context, u AssetUpload, by string) (AssetsImported, error)
	// RetireAsset records that an asset, by id or name, is in use no more.
	RetireAsset(ctx context.Context, asset string, r Retirement, by string) (Retired, error)
	// ReinstateAsset takes that back.
	ReinstateAsset(ctx context.Context, asset, reason, by string) (Retired, error)
	// SetAsset takes an operator's word on what an asset, by id or name, is.
	SetAsset(ctx context.Context, asset string, w AssetWords, by string) (AssetSaid, error)
	// Approvals lists the requests to let deadlines move later.
	Approvals(ctx context.Context) ([]store.Approval, error)
	// DecideApproval grants or denies a request somebody else made.
	DecideApproval(ctx context.Context, id string, grant bool, reason, by string) (store.Approval, error)
	// ReceiptKey is the public key agents pin.
	ReceiptKey() KeyInfo
}

// TrustRequest names a key by fingerprint and classifies its host.
type TrustRequest struct {
	Fingerprint string           `json:"fingerprint" minLength:"8" maxLength:"128" doc:"As patchproof-agent status prints it."`
	Name        string           `json:"name,omitempty" maxLength:"253" doc:"Defaults to the host's own name."`
	Attributes  store.Attributes `json:"attributes"`
}

// TrustResult says which asset a key now speaks for.
type TrustResult struct {
	Asset    string `json:"asset"`
	Name     string `json:"name"`
	Replayed int    `json:"replayed" doc:"Quarantined reports that were accepted."`
	Refused  int    `json:"refused" doc:"Quarantined reports that were refused for another reason."`
}

// ClearRequest says which line of reports is the host's, and why.
type ClearRequest struct {
	Keep   string `json:"keep" minLength:"8" maxLength:"64" doc:"A report of the line, by its id or the beginning of it."`
	Reason string `json:"reason" minLength:"1" maxLength:"1024" doc:"Kept as evidence."`
}

// ClearResult says what counts now.
type ClearResult struct {
	Asset string `json:"asset"`
	Name  string `json:"name"`
	Keep  string `json:"keep"`
	Kept  int    `json:"kept" doc:"Reports of the line."`
	Aside int    `json:"aside" doc:"Reports that no longer count. They stay on record."`
	Leaf  int64  `json:"leaf"`
}

// PendingHost is a key that sends reports and is not trusted.
type PendingHost struct {
	Fingerprint string    `json:"fingerprint"`
	Envelopes   int64     `json:"envelopes" doc:"Distinct reports that wait."`
	Deliveries  int64     `json:"deliveries" doc:"How often they were sent."`
	Roads       []string  `json:"roads" doc:"Roads and addresses they came by."`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
}

// Upload is a document a client sends.
type Upload struct {
	Name    string
	Body    io.Reader
	Confirm bool
}

// ImportOutcome says what became of one batch of a document.
type ImportOutcome struct {
	Feed      string    `json:"feed"`
	Kind      string    `json:"kind"`
	Digest    string    `json:"digest"`
	Snapshot  bool      `json:"snapshot"`
	Published time.Time `json:"published,omitzero"`
	Held      bool      `json:"held"`
	Unchanged bool      `json:"unchanged" doc:"The same bytes were applied before."`
	Reason    string    `json:"reason,omitempty" doc:"Why it was held, what a confirmation overruled, or why nothing changed."`
	// Advisories and Facts count what the document holds, Skipped what it has beside.
	Advisories int            `json:"advisories"`
	Facts      int            `json:"facts"`
	Skipped    map[string]int `json:"skipped,omitempty" doc:"Records left out, by why."`
	Added      int            `json:"added"`
	Changed    int            `json:"changed"`
	Missing    int            `json:"missing"`
	Assets     int            `json:"assets" doc:"Assets marked for assessment."`
}

// KeyInfo is the collector's public keys.
type KeyInfo struct {
	ReceiptKey  string `json:"receipt_key" doc:"Hex; goes into the agent's configuration."`
	Fingerprint string `json:"fingerprint"`
	LogKey      string `json:"log_key" doc:"Verifier key of the evidence log's checkpoints."`
	Origin      string `json:"origin"`
	// RecipientKey is what agents seal bundles to.
	RecipientKey         string `json:"recipient_key" doc:"Goes into the configuration of agents that no network reaches."`
	RecipientFingerprint string `json:"recipient_fingerprint"`
	CASHA256             string `json:"ca_sha256,omitempty" doc:"SHA-256 of the authority that signs the broker's certificate, hex; empty without TLS. Goes into the agent's configuration."`
	CA                   string `json:"ca,omitempty" doc:"That authority's certificate, PEM."`
}

// Options are what the API serves from.
type Options struct {
	Query    *query.Service
	Operator Operator
	// Access makes and ends tokens; Tokens are those that are let in, within Limits.
	Access *access.Keeper
	Tokens store.Tokens
	Limits access.Limits
	// Policies applies policies, Store is what they are tried on.
	Policies *standard.Keeper
	Store    store.Store
	Evidence store.Evidence
	Now      func() time.Time
	Log      *slog.Logger
	// MaxUpload bounds an uploaded feed, in bytes.
	MaxUpload int64
}

const (
	// maxBody bounds every body but a file's.
	maxBody = 64 << 10
	// defaultMaxUpload is room for the largest published OSV archives.
	defaultMaxUpload = 1 << 30
)

// New returns the handler for /v1.
func New(o Options) http.Handler {
	if o.MaxUpload == 0 {
		o.MaxUpload = defaultMaxUpload
	}
	s := &server{Options: o, log: o.Log.With("component", "api"), guard: access.NewGuard(o.Tokens, o.Now, o.Limits), simulating: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Patchproof", Version)
	cfg.Info.Description = "What is due when, and why: findings with deadlines, the evidence behind them, and the acts of operators."
	cfg.DocsPath, cfg.SchemasPath, cfg.OpenAPIPath = "", "/v1/schemas", "/v1/openapi"
	cfg.CreateHooks = nil // no $schema links in bodies
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A named token; the first is written to the data directory. An operation names the scope it takes; the scope admin is every scope."},
	}
	cfg.OnAddOperation = append(cfg.OnAddOperation, declare)
	cfg.Transformers = append(cfg.Transformers, withRequestID)
	api := humago.New(mux, cfg)
	api.UseMiddleware(s.authorize(api))
	s.questions(api)
	s.acts(api)
	s.assets(api)
	s.tokens(api)
	s.classification(api)
	s.approvals(api)
	s.policies(api)
	documentRequestID(api.OpenAPI())
	mux.HandleFunc("/", s.nothingHere)
	return s.withRequest(s.withToken(mux))
}

type server struct {
	Options
	log   *slog.Logger
	guard *access.Guard
	// simulating holds the one simulation that may run.
	simulating chan struct{}
}
