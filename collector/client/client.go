// Package client calls the collector's HTTP API, version 1.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/query"
)

// maxAnswer bounds what a server can make us read.
const maxAnswer = 1 << 30

// Client calls one collector. Its zero Token is refused by every collector.
type Client struct {
	// URL is the collector's base, e.g. http://127.0.0.1:8420.
	URL   string
	Token string
	HTTP  *http.Client
	// AsOf is the moment questions are asked of, empty for now. Questions that
	// cannot be asked of the past are refused by the collector while it is set.
	AsOf string
}

// Problem is a refusal by the collector (RFC 9457).
type Problem struct {
	Status    int    `json:"status"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// Error says what was refused, with every fault the collector named.
func (p *Problem) Error() string {
	msg := p.Detail
	if msg == "" {
		msg = p.Title
	}
	for _, e := range p.Errors {
		msg += fmt.Sprintf("; %s %s", e.Location, e.Message)
	}
	return msg
}

// ErrUnreachable says that no collector answered.
var ErrUnreachable = errors.New("collector is not reachable")

// Summary answers for the findings a filter lets through, by a grouping or none.
func (c *Client) Summary(ctx context.Context, f query.Filter, by string) (query.Summary, error) {
	v := f.Values()
	if by != "" {
		v.Set("by", by)
	}
	return get[query.Summary](ctx, c, "/v1/summary", v)
}

// Period answers what became of findings between two moments; to may be empty.
func (c *Client) Period(ctx context.Context, from, to string, f query.Filter, by string) (query.Summary, error) {
	v := f.Values()
	v.Set("from", from)
	if to != "" {
		v.Set("to", to)
	}
	if by != "" {
		v.Set("by", by)
	}
	return get[query.Summary](ctx, c, "/v1/summary", v)
}

// Breaches lists one page of breached deadlines.
func (c *Client) Breaches(ctx context.Context, b query.BreachQuery) (query.BreachList, error) {
	v := b.Values()
	for name, value := range map[string]string{"kind": strings.Join(b.Kinds, ","), "breached_after": b.BreachedAfter, "breached_before": b.BreachedBefore} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return get[query.BreachList](ctx, c, "/v1/breaches", v)
}

// Findings lists one page of findings.
func (c *Client) Findings(ctx context.Context, f query.Filter) (query.FindingList, error) {
	return get[query.FindingList](ctx, c, "/v1/findings", f.Values())
}

// Views lists the ready-made questions on findings.
func (c *Client) Views(ctx context.Context) (api.ViewList, error) {
	return get[api.ViewList](ctx, c, "/v1/findings-views", nil)
}

// Explain tells why a finding stands where it stands.
func (c *Client) Explain(ctx context.Context, id string) (query.Explanation, error) {
	return get[query.Explanation](ctx, c, "/v1/findings/"+url.PathEscape(id), nil)
}

// FindingHistory tells every recorded state of a finding.
func (c *Client) FindingHistory(ctx context.Context, id string) (query.FindingHistory, error) {
	return get[query.FindingHistory](ctx, c, "/v1/findings/"+url.PathEscape(id)+"/history", nil)
}

// Gaps lists what could not be read or told.
func (c *Client) Gaps(ctx context.Context) (query.GapList, error) {
	return get[query.GapList](ctx, c, "/v1/gaps", nil)
}

// Quarantined shows one refused envelope.
func (c *Client) Quarantined(ctx context.Context, digest string) (api.QuarantineDetail, error) {
	return get[api.QuarantineDetail](ctx, c, "/v1/quarantine/"+url.PathEscape(digest), nil)
}

// Assets lists every host.
func (c *Client) Assets(ctx context.Context) (query.AssetList, error) {
	return get[query.AssetList](ctx, c, "/v1/assets", nil)
}

// Asset shows one host.
func (c *Client) Asset(ctx context.Context, idOrName string) (query.AssetDetail, error) {
	return get[query.AssetDetail](ctx, c, "/v1/assets/"+url.PathEscape(idOrName), nil)
}

// AssetHistory tells what became of a host.
func (c *Client) AssetHistory(ctx context.Context, idOrName string) (query.AssetHistory, error) {
	return get[query.AssetHistory](ctx, c, "/v1/assets/"+url.PathEscape(idOrName)+"/history", nil)
}

// Vulnerability answers about one CVE.
func (c *Client) Vulnerability(ctx context.Context, id string) (query.Vulnerability, error) {
	return get[query.Vulnerability](ctx, c, "/v1/vulnerabilities/"+url.PathEscape(id), nil)
}

// Hosts lists hosts and the keys that wait for trust.
func (c *Client) Hosts(ctx context.Context) (api.HostList, error) {
	return get[api.HostList](ctx, c, "/v1/hosts", nil)
}

// Quarantine lists what the door refused.
func (c *Client) Quarantine(ctx context.Context) (api.QuarantineList, error) {
	return get[api.QuarantineList](ctx, c, "/v1/quarantine", nil)
}

// Feeds lists what is held of every feed.
func (c *Client) Feeds(ctx context.Context) (api.FeedList, error) {
	return get[api.FeedList](ctx, c, "/v1/feeds", nil)
}

// Key returns the receipt key agents pin.
func (c *Client) Key(ctx context.Context) (api.KeyInfo, error) {
	return get[api.KeyInfo](ctx, c, "/v1/key", nil)
}

// Checkpoint returns the newest signed state of the evidence log.
func (c *Client) Checkpoint(ctx context.Context) (api.CheckpointInfo, error) {
	return get[api.CheckpointInfo](ctx, c, "/v1/evidence/checkpoint", nil)
}

// TrustHost trusts a key by its fingerprint.
func (c *Client) TrustHost(ctx context.Context, r api.TrustRequest) (api.TrustResult, error) {
	return post[api.TrustResult](ctx, c, "/v1/hosts/trust", r)
}

// Lines shows how the reports of a host follow each other.
func (c *Client) Lines(ctx context.Context, idOrName string) (query.LineList, error) {
	return get[query.LineList](ctx, c, "/v1/assets/"+url.PathEscape(idOrName)+"/lines", nil)
}

// ClearClone says which line of reports is a host's.
func (c *Client) ClearClone(ctx context.Context, idOrName string, r api.ClearRequest) (api.ClearResult, error) {
	return post[api.ClearResult](ctx, c, "/v1/assets/"+url.PathEscape(idOrName)+"/lines/keep", r)
}

// ImportFeed uploads a publisher's document.
func (c *Client) ImportFeed(ctx context.Context, name string, body io.Reader, confirm bool) (api.ImportResult, error) {
	q := url.Values{"name": {name}}
	if confirm {
		q.Set("confirm", "true")
	}
	return call[api.ImportResult](ctx, c, http.MethodPost, "/v1/feeds/import", q, "application/octet-stream", body)
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, q, "", nil)
}

// post sends a request as JSON.
func post[T any](ctx context.Context, c *Client, path string, request any) (T, error) {
	body, err := json.Marshal(request)
	if err != nil {
		var none T
		return none, fmt.Errorf("encode request: %w", err)
	}
	return call[T](ctx, c, http.MethodPost, path, nil, "application/json", bytes.NewReader(body))
}

func call[T any](ctx context.Context, c *Client, method, path string, q url.Values, contentType string, body io.Reader) (T, error) {
	var out T
	target := strings.TrimRight(c.URL, "/") + path
	if c.AsOf != "" {
		q = maps.Clone(q)
		if q == nil {
			q = url.Values{}
		}
		q.Set("as_of", c.AsOf)
	}
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return out, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.client().Do(req)
	if err != nil {
		return out, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode/100 != 2 {
		return out, problem(resp, answer)
	}
	if err := json.NewDecoder(answer).Decode(&out); err != nil {
		return out, fmt.Errorf("read the collector's answer to %s: %w", path, err)
	}
	return out, nil
}

func problem(resp *http.Response, body io.Reader) error {
	p := &Problem{Status: resp.StatusCode, Title: resp.Status, RequestID: resp.Header.Get("X-Request-Id")}
	// A body that is no problem document leaves the status line to speak.
	_ = json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(p)
	return p
}

func (c *Client) client() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return &http.Client{Timeout: 10 * time.Minute}
}
