package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/store"
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

// AssetWords are what an operator says of an asset by hand.
type AssetWords struct {
	Name   string            `json:"name,omitempty" maxLength:"253" doc:"A new name; its old one when absent."`
	Set    map[string]string `json:"set,omitempty" maxProperties:"16" doc:"Attributes to values; an empty one takes the operator's word back."`
	Reason string            `json:"reason" minLength:"1" maxLength:"1000"`
}

// AssetSaid says what came of them.
type AssetSaid struct {
	Asset      string           `json:"asset"`
	Name       string           `json:"name"`
	Attributes store.Attributes `json:"attributes" doc:"As they stand; what is looser moves no deadline before it is approved."`
	Leaf       int64            `json:"leaf" doc:"Index of the evidence leaf; -1 when all of it had been said before."`
}

type setInput struct {
	ID   string `path:"id" maxLength:"253"`
	Body AssetWords
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
	act(s, api, "/v1/assets/{id}/set", "set-asset", "Say by hand what an asset is, or what it is called",
		func(ctx context.Context, in *setInput) (AssetSaid, error) {
			return s.Operator.SetAsset(ctx, in.ID, in.Body, tokenName(ctx))
		})
}
