package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Retirement says why an asset is in use no more, and since when.
type Retirement struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
	At     string `json:"at,omitempty" maxLength:"64" doc:"A date in the policy's zone or an instant, not before its last report; now when absent."`
}

// Retired says what came of a retirement, or of taking one back.
type Retired struct {
	Asset string    `json:"asset"`
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Leaf  int64     `json:"leaf" doc:"Index of the evidence leaf."`
}

type retireInput struct {
	ID   string `path:"id" maxLength:"253"`
	Body Retirement
}

type reinstateInput struct {
	ID   string `path:"id" maxLength:"253"`
	Body Decision
}

func (s *server) assets(api huma.API) {
	act(s, api, "/v1/assets/{id}/retire", "retire-asset", "Say that an asset is in use no more: what is open on it ends, and not as fixed",
		func(ctx context.Context, in *retireInput) (Retired, error) {
			return s.Operator.RetireAsset(ctx, in.ID, in.Body, tokenName(ctx))
		})
	act(s, api, "/v1/assets/{id}/reinstate", "reinstate-asset", "Take a retirement back, or outweigh the list that has an asset as terminated",
		func(ctx context.Context, in *reinstateInput) (Retired, error) {
			return s.Operator.ReinstateAsset(ctx, in.ID, in.Body.Reason, tokenName(ctx))
		})
}
