package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// BadInput is an error whose words are meant for the caller.
type BadInput struct{ Err error }

func (e *BadInput) Error() string { return e.Err.Error() }
func (e *BadInput) Unwrap() error { return e.Err }

// fail turns an error into a problem document. Only errors that speak of the
// request keep their words; of others the caller gets the request id to quote.
func (s *server) fail(ctx context.Context, err error) error {
	var bad *BadInput
	var status huma.StatusError
	switch {
	case errors.As(err, &status):
		return status
	case errors.As(err, &bad):
		return huma.Error422UnprocessableEntity(bad.Error())
	case errors.Is(err, query.ErrFilter):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, store.ErrNotKept):
		return huma.Error422UnprocessableEntity("what this question needs was not kept for the past; ask it without as_of")
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, store.ErrOwnRequest):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return huma.Error409Conflict(err.Error())
	}
	id := useOf(ctx).id
	s.log.Error("request failed", "request", id, "err", err)
	return huma.Error500InternalServerError(fmt.Sprintf("the collector could not answer; its log tells more under request %s", id))
}

// refuse answers outside huma, in the same form.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem{
		ErrorModel: &huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail},
		RequestID:  useOf(r.Context()).id,
	})
}

// problem is a problem document with the member to quote when asking about it.
type problem struct {
	*huma.ErrorModel
	RequestID string `json:"request_id"`
}

// withRequestID adds the request's id to every problem document.
func withRequestID(ctx huma.Context, _ string, v any) (any, error) {
	if e, ok := v.(*huma.ErrorModel); ok {
		return problem{ErrorModel: e, RequestID: useOf(ctx.Context()).id}, nil
	}
	return v, nil
}

// documentRequestID tells of it in the OpenAPI document.
func documentRequestID(doc *huma.OpenAPI) {
	if e := doc.Components.Schemas.Map()["ErrorModel"]; e != nil {
		e.Properties["request_id"] = &huma.Schema{Type: huma.TypeString, Description: "Names the request in the collector's log."}
	}
}
