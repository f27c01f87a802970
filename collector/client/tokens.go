package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/patchproof/patchproof/collector/api"
)

// Tokens lists every token.
func (c *Client) Tokens(ctx context.Context) (api.TokenList, error) {
	return get[api.TokenList](ctx, c, "/v1/tokens", nil)
}

// CreateToken makes a token; its secret is in the answer, and nowhere else.
func (c *Client) CreateToken(ctx context.Context, r api.TokenRequest) (api.NewToken, error) {
	return post[api.NewToken](ctx, c, "/v1/tokens", r)
}

// RevokeToken ends a token for good.
func (c *Client) RevokeToken(ctx context.Context, name string) (api.TokenInfo, error) {
	return call[api.TokenInfo](ctx, c, http.MethodPost, "/v1/tokens/"+url.PathEscape(name)+"/revoke", nil, "", nil)
}
