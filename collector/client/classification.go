package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/query"
)

const binary = "application/octet-stream"

// Classification shows the rules in force and the imports.
func (c *Client) Classification(ctx context.Context) (query.Classification, error) {
	return get[query.Classification](ctx, c, "/v1/classification", nil)
}

// Classified explains one asset, by id or name.
func (c *Client) Classified(ctx context.Context, idOrName string) (query.Classified, error) {
	return get[query.Classified](ctx, c, "/v1/classification/assets/"+url.PathEscape(idOrName), nil)
}

// ClassificationGaps lists what nobody vouches for.
func (c *Client) ClassificationGaps(ctx context.Context) (query.ClassificationGaps, error) {
	return get[query.ClassificationGaps](ctx, c, "/v1/classification/gaps", nil)
}

// Coverage holds what is expected against what reports.
func (c *Client) Coverage(ctx context.Context, cadence time.Duration) (query.Coverage, error) {
	q := url.Values{}
	if cadence != 0 {
		q.Set("cadence", cadence.String())
	}
	return get[query.Coverage](ctx, c, "/v1/coverage", q)
}

// ApplyRules puts a file of rules in force.
func (c *Client) ApplyRules(ctx context.Context, src []byte) (api.RulesApplied, error) {
	return call[api.RulesApplied](ctx, c, http.MethodPost, "/v1/classification/rules", nil, binary, bytes.NewReader(src))
}

// TestRules says what a file of rules would do to one asset, or to all when asset is empty.
func (c *Client) TestRules(ctx context.Context, src []byte, asset string) (api.RulesTest, error) {
	q := url.Values{}
	if asset != "" {
		q.Set("asset", asset)
	}
	return call[api.RulesTest](ctx, c, http.MethodPost, "/v1/classification/test", q, binary, bytes.NewReader(src))
}

// ImportAssets uploads a list of assets.
func (c *Client) ImportAssets(ctx context.Context, u api.AssetUpload) (api.AssetsImported, error) {
	q := url.Values{"source": {u.Source}, "file": {u.File}}
	if u.Whole {
		q.Set("whole", "true")
	}
	if u.Confirm {
		q.Set("confirm", "true")
	}
	return call[api.AssetsImported](ctx, c, http.MethodPost, "/v1/assets/import", q, binary, u.Body)
}

// RetireAsset says that an asset, by id or name, is in use no more.
func (c *Client) RetireAsset(ctx context.Context, asset string, r api.Retirement) (api.Retired, error) {
	return post[api.Retired](ctx, c, "/v1/assets/"+url.PathEscape(asset)+"/retire", r)
}

// SetAsset says by hand what an asset is, or what it is called.
func (c *Client) SetAsset(ctx context.Context, asset string, w api.AssetWords) (api.AssetSaid, error) {
	return post[api.AssetSaid](ctx, c, "/v1/assets/"+url.PathEscape(asset)+"/set", w)
}

// ReinstateAsset takes that back.
func (c *Client) ReinstateAsset(ctx context.Context, asset, reason string) (api.Retired, error) {
	return post[api.Retired](ctx, c, "/v1/assets/"+url.PathEscape(asset)+"/reinstate", api.Decision{Reason: reason})
}
