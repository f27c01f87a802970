package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/store"
)

// TokenInfo is what may be known of a token: never its secret, never its hash.
type TokenInfo struct {
	Name      string    `json:"name"`
	Scopes    []string  `json:"scopes"`
	State     string    `json:"state" enum:"active,expired,revoked"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty" doc:"The token that asked for it; empty for one from before this was kept."`
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"Absent for a token without end."`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	RevokedBy string    `json:"revoked_by,omitempty"`
	LastUsed  time.Time `json:"last_used,omitzero" doc:"To the minute."`
}

// TokenList is every token, those that have ended too.
type TokenList struct {
	AsOf   time.Time   `json:"as_of"`
	Count  int         `json:"count"`
	Tokens []TokenInfo `json:"tokens"`
}

// TokenRequest is what a new token is to be.
type TokenRequest struct {
	Name       string   `json:"name" minLength:"1" maxLength:"64" doc:"Never used before, not even for a token that has ended."`
	Scopes     []string `json:"scopes" minItems:"1" maxItems:"4" doc:"Of read, operate, approve and admin; admin implies the others."`
	TTLSeconds int64    `json:"ttl_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"How long it lives; absent or 0 is without end."`
}

// NewToken is a token that was just made. Its secret is in no other answer.
type NewToken struct {
	TokenInfo
	Secret string `json:"secret" doc:"Shown this once; the collector keeps its hash."`
}

type tokenInput struct{ Body TokenRequest }

type nameInput struct {
	Name string `path:"name" maxLength:"64"`
}

func (s *server) tokens(api huma.API) {
	get(s, api, "/v1/tokens", "list-tokens", "Every token, with its scopes and its end", s.listTokens)
	act(s, api, "/v1/tokens", "create-token", "Make a token; the answer holds its secret, this once", s.createToken)
	act(s, api, "/v1/tokens/{name}/revoke", "revoke-token", "End a token for good", s.revokeToken)
}

func (s *server) listTokens(ctx context.Context, _ *none) (TokenList, error) {
	all, err := s.Access.List(ctx)
	out := TokenList{AsOf: s.asOf(), Count: len(all), Tokens: []TokenInfo{}}
	for _, t := range all {
		out.Tokens = append(out.Tokens, s.tokenInfo(t))
	}
	return out, err
}

func (s *server) createToken(ctx context.Context, in *tokenInput) (NewToken, error) {
	r := access.Request{Name: in.Body.Name, Scopes: in.Body.Scopes, TTL: time.Duration(in.Body.TTLSeconds) * time.Second}
	secret, t, err := s.Access.Create(ctx, r, tokenName(ctx))
	if errors.Is(err, access.ErrInvalid) {
		return NewToken{}, &BadInput{Err: err}
	}
	if err != nil {
		return NewToken{}, err
	}
	return NewToken{TokenInfo: s.tokenInfo(t), Secret: secret}, nil
}

func (s *server) revokeToken(ctx context.Context, in *nameInput) (TokenInfo, error) {
	t, err := s.Access.Revoke(ctx, in.Name, tokenName(ctx))
	if errors.Is(err, access.ErrLastAdmin) {
		return TokenInfo{}, huma.Error409Conflict(err.Error())
	}
	if err != nil {
		return TokenInfo{}, err
	}
	return s.tokenInfo(t), nil
}

func (s *server) tokenInfo(t store.Token) TokenInfo {
	state := "active"
	switch err := access.Usable(t, s.Now()); {
	case errors.Is(err, access.ErrRevoked):
		state = "revoked"
	case errors.Is(err, access.ErrExpired):
		state = "expired"
	}
	info := TokenInfo{
		Name: t.Name, Scopes: t.Scopes, State: state, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt, RevokedBy: t.RevokedBy,
	}
	if t.LastUsed.After(t.CreatedAt) {
		info.LastUsed = t.LastUsed.Truncate(time.Minute)
	}
	return info
}

// act registers an operation that changes something.
func act[I, O any](s *server, api huma.API, path, id, summary string, f func(context.Context, *I) (O, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, DefaultStatus: http.StatusOK,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusTooManyRequests},
	}, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[O]{Body: out}, nil
	})
}
