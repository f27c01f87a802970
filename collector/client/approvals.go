package client

import (
	"context"
	"net/url"

	"github.com/patchproof/patchproof/collector/api"
)

// Approvals lists the requests to let deadlines move later.
func (c *Client) Approvals(ctx context.Context) (api.ApprovalList, error) {
	return get[api.ApprovalList](ctx, c, "/v1/approvals", nil)
}

// DecideApproval grants or denies what somebody else asked for.
func (c *Client) DecideApproval(ctx context.Context, id string, grant bool, reason string) (api.Approval, error) {
	verb := "deny"
	if grant {
		verb = "grant"
	}
	return post[api.Approval](ctx, c, "/v1/approvals/"+url.PathEscape(id)+"/"+verb, api.Decision{Reason: reason})
}
