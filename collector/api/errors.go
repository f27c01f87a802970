package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

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
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return huma.Error409Conflict(err.Error())
	}
	id := ctx.Value(keyRequestID)
	s.log.Error("request failed", "request", id, "err", err)
	return huma.Error500InternalServerError(fmt.Sprintf("the collector could not answer; its log tells more under request %v", id))
}

// refuse answers outside huma, in the same form.
func (s *server) refuse(w http.ResponseWriter, _ *http.Request, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail})
}
