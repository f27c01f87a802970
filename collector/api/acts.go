package api

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type trustInput struct {
	Body TrustRequest
}

// importInput takes the body as a stream: an OSV archive does not fit memory budgets.
type importInput struct {
	Name    string `query:"name" maxLength:"255" doc:"File name, for messages only; the kind is told from the content."`
	Confirm bool   `query:"confirm" doc:"Apply a snapshot that was held."`
	body    io.Reader
}

// Resolve keeps the body's reader.
func (in *importInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

// ImportResult is what became of an uploaded document.
type ImportResult struct {
	Outcomes []ImportOutcome `json:"outcomes"`
}

type clearInput struct {
	ID   string `path:"id" maxLength:"253"`
	Body ClearRequest
}

func (s *server) acts(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "trust-host", Method: http.MethodPost, Path: "/v1/hosts/trust",
		Summary: "Trust the key with a fingerprint and replay what it sent", DefaultStatus: http.StatusOK,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *trustInput) (*answer[TrustResult], error) {
		out, err := s.Operator.TrustHost(ctx, in.Body, tokenName(ctx))
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[TrustResult]{Body: out}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "clear-clone", Method: http.MethodPost, Path: "/v1/assets/{id}/lines/keep",
		Summary: "Say which line of reports is the host's; the others no longer count", DefaultStatus: http.StatusOK,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *clearInput) (*answer[ClearResult], error) {
		out, err := s.Operator.ClearClone(ctx, in.ID, in.Body, tokenName(ctx))
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[ClearResult]{Body: out}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "import-feed", Method: http.MethodPost, Path: "/v1/feeds/import",
		Summary: "Import a publisher's document: applied, or held with the reason", DefaultStatus: http.StatusOK,
		RequestBody: &huma.RequestBody{
			Required: true,
			Content:  map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		},
		SkipValidateBody: true,
		Errors:           []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *importInput) (*answer[ImportResult], error) {
		out, err := s.Operator.ImportFeed(ctx, Upload{Name: in.Name, Body: in.body, Confirm: in.Confirm}, tokenName(ctx))
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[ImportResult]{Body: ImportResult{Outcomes: out}}, nil
	})
}
