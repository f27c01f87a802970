package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/finding"
)

const yamlType = "application/yaml"

// Policies lists every policy that was applied.
func (c *Client) Policies(ctx context.Context) (api.PolicyList, error) {
	return get[api.PolicyList](ctx, c, "/v1/policies", nil)
}

// Policy returns a policy with its source, by digest, "current" or "default".
func (c *Client) Policy(ctx context.Context, reference string) (api.PolicyFile, error) {
	return get[api.PolicyFile](ctx, c, "/v1/policies/"+url.PathEscape(reference), nil)
}

// PolicyDiff says how a policy differs from another, cell by cell.
func (c *Client) PolicyDiff(ctx context.Context, from, to string) (api.PolicyDiff, error) {
	return get[api.PolicyDiff](ctx, c, "/v1/policies/diff", url.Values{"from": {from}, "to": {to}})
}

// ApplyPolicy puts a policy in force, from a day on or, with none, at once.
func (c *Client) ApplyPolicy(ctx context.Context, source []byte, effective finding.Date, acceptLooser bool) (api.PolicyApplied, error) {
	q := url.Values{}
	if effective != "" {
		q.Set("effective", string(effective))
	}
	if acceptLooser {
		q.Set("accept_looser", "true")
	}
	return call[api.PolicyApplied](ctx, c, http.MethodPost, "/v1/policies", q, yamlType, bytes.NewReader(source))
}

// SimulatePolicy says what would become of the running findings under a policy,
// with at most limit of those that move.
func (c *Client) SimulatePolicy(ctx context.Context, source []byte, limit int) (api.PolicySimulation, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	return call[api.PolicySimulation](ctx, c, http.MethodPost, "/v1/policies/simulate", q, yamlType, bytes.NewReader(source))
}
