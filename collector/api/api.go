// Package api serves the collector's answers and takes operators' acts over
// HTTP, version 1, described by OpenAPI 3.1 at /v1/openapi.json.
//
// Invariants:
//   - Every call carries a named token; its name is logged with the request id.
//   - Errors are problem documents (RFC 9457) without internals: a stranger
//     learns what was wrong with the request, never what the server is made of.
//   - Bodies are bounded; unknown query parameters and fields are refused.
package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// Version is the API's own, promised version.
const Version = "1.0.0"

// Operator carries out what people with a token ask for.
type Operator interface {
	// TrustHost trusts the key with a fingerprint and replays what it sent.
	TrustHost(ctx context.Context, r TrustRequest, by string) (TrustResult, error)
	// PendingHosts lists keys that send reports and are not trusted.
	PendingHosts(ctx context.Context) ([]PendingHost, error)
	// ImportFeed applies or holds what an uploaded document holds.
	ImportFeed(ctx context.Context, u Upload, by string) ([]ImportOutcome, error)
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

// KeyInfo is the collector's receipt key.
type KeyInfo struct {
	ReceiptKey  string `json:"receipt_key" doc:"Hex; goes into the agent's configuration."`
	Fingerprint string `json:"fingerprint"`
	LogKey      string `json:"log_key" doc:"Verifier key of the evidence log's checkpoints."`
	Origin      string `json:"origin"`
}

// Options are what the API serves from.
type Options struct {
	Query    *query.Service
	Operator Operator
	Tokens   store.Tokens
	Evidence store.Evidence
	// HashToken turns a presented token into what the store keeps.
	HashToken func(token string) string
	Now       func() time.Time
	Log       *slog.Logger
	// MaxUpload bounds an uploaded feed, in bytes.
	MaxUpload int64
}

const (
	// maxBody bounds every body but a feed's.
	maxBody = 64 << 10
	// defaultMaxUpload is room for the largest published OSV archives.
	defaultMaxUpload = 1 << 30
)

// New returns the handler for /v1.
func New(o Options) http.Handler {
	if o.MaxUpload == 0 {
		o.MaxUpload = defaultMaxUpload
	}
	s := &server{Options: o, log: o.Log.With("component", "api")}
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Patchproof", Version)
	cfg.Info.Description = "What is due when, and why: findings with deadlines, the evidence behind them, and the acts of operators."
	cfg.DocsPath, cfg.SchemasPath, cfg.OpenAPIPath = "", "/v1/schemas", "/v1/openapi"
	cfg.CreateHooks = nil // no $schema links in bodies
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A named token; the first is written to the data directory."},
	}
	cfg.Security = []map[string][]string{{"token": {}}}
	api := humago.New(mux, cfg)
	s.questions(api)
	s.acts(api)
	return s.withRequest(s.withToken(mux))
}

type server struct {
	Options
	log *slog.Logger
}

type contextKey int

const (
	keyRequestID contextKey = iota
	keyTokenName
)

// withRequest gives every request an id, bounds its body and logs its outcome.
func (s *server) withRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // never fails
		id := hex.EncodeToString(raw[:])
		limit := int64(maxBody)
		if r.Method == http.MethodPost && r.URL.Path == importPath {
			limit = s.MaxUpload
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyRequestID, id)))
	})
}

// withToken lets a request pass that carries a token we know. The OpenAPI
// document is public: it says nothing about the estate.
func (s *server) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/openapi") {
			next.ServeHTTP(w, r)
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || token == "" {
			s.refuse(w, r, http.StatusUnauthorized, "a token is needed: send it as 'Authorization: Bearer TOKEN'")
			return
		}
		t, err := s.Tokens.TokenByHash(r.Context(), s.HashToken(token))
		switch {
		case errors.Is(err, store.ErrNotFound):
			s.refuse(w, r, http.StatusUnauthorized, "the token is not known")
			return
		case err != nil:
			s.log.Error("token lookup failed", "err", err)
			s.refuse(w, r, http.StatusServiceUnavailable, "tokens cannot be checked now, try again")
			return
		}
		if err := s.Tokens.TouchToken(r.Context(), t.Name, s.Now()); err != nil {
			s.log.Warn("token use not recorded", "token", t.Name, "err", err)
		}
		s.log.Debug("request", "token", t.Name, "method", r.Method, "path", r.URL.Path, "request", r.Context().Value(keyRequestID))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyTokenName, t.Name)))
	})
}

func tokenName(ctx context.Context) string {
	name, _ := ctx.Value(keyTokenName).(string)
	return name
}
