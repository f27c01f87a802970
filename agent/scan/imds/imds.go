// Package imds asks the EC2 instance metadata service which instance this is,
// by IMDSv2 only.
//
// Invariants:
//   - One total time limit, short enough that a scan never waits for long.
//   - No proxy, no redirect: the answer comes from the address asked. Sizes are
//     bounded.
//   - The identity document and its signature are handed on as served. They are
//     verified where they are believed, not here.
//
// Protocol: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "imds"

// Endpoint is the service's link-local address, which every instance has.
const Endpoint = "http://169.254.169.254"

// Provider is whose service this is, as reports name it.
const Provider = "aws"

// Bounds of one round of questions.
const (
	Timeout     = time.Second
	maxDocument = 16 << 10
	maxValue    = 1024
	tokenLife   = "60" // seconds
)

var errNotThere = errors.New("404")

// OnEC2 says whether the machine's own firmware claims to be an EC2 instance,
// so that others are never asked: a packet to a link-local address nobody holds
// takes the whole time limit.
func OnEC2(root fs.FS) bool {
	for _, name := range []string{
		"sys/class/dmi/id/sys_vendor",     // Nitro
		"sys/class/dmi/id/chassis_vendor", // Nitro, when the vendor was changed
		"sys/class/dmi/id/bios_vendor",    // bare metal
		"sys/class/dmi/id/bios_version",   // Xen: 4.11.amazon
	} {
		if strings.Contains(strings.ToLower(read(root, name)), "amazon") {
			return true
		}
	}
	// Xen once more, which any user may read.
	return strings.HasPrefix(strings.ToLower(read(root, "sys/hypervisor/uuid")), "ec2")
}

func read(root fs.FS, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return ""
	}
	return string(b)
}

// Fetch asks the service at endpoint. What it answered is returned also when
// some of it failed; the gaps say what.
func Fetch(ctx context.Context, endpoint string) (*schema.Cloud, []schema.Gap) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	c := newClient(endpoint)
	defer c.http.CloseIdleConnections()
	if err := c.authorize(ctx); err != nil {
		return nil, []schema.Gap{gap("/latest/api/token", err)}
	}
	return c.fetch(ctx)
}

// InstanceID asks the service at endpoint for the instance's id alone.
func InstanceID(ctx context.Context, endpoint string) (string, []schema.Gap) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	c := newClient(endpoint)
	defer c.http.CloseIdleConnections()
	if err := c.authorize(ctx); err != nil {
		return "", []schema.Gap{gap("/latest/api/token", err)}
	}
	d, _, err := c.document(ctx)
	if err != nil {
		return "", []schema.Gap{gap(identityDocument, err)}
	}
	return d.InstanceID, nil
}

func gap(path string, err error) schema.Gap {
	kind := schema.GapUnreadable
	var corrupt *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		kind = schema.GapTimeout
	case errors.As(err, &corrupt), errors.As(err, &mistyped):
		kind = schema.GapCorrupt
	}
	return schema.Gap{Extractor: Extractor, Kind: kind, Path: path, Detail: err.Error()}
}

type client struct {
	endpoint string
	token    string
	http     *http.Client
}

func newClient(endpoint string) *client {
	return &client{
		endpoint: strings.TrimSuffix(endpoint, "/"),
		http: &http.Client{
			// An own transport: the default one asks the environment for a proxy.
			Transport: &http.Transport{MaxResponseHeaderBytes: 16 << 10, MaxIdleConns: 1, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

// authorize gets the session token that every question carries.
func (c *client) authorize(ctx context.Context) error {
	token, err := c.do(ctx, http.MethodPut, "/latest/api/token", maxValue, "X-aws-ec2-metadata-token-ttl-seconds", tokenLife)
	if err != nil {
		return err
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("the token is not one line of text")
	}
	c.token = token
	return nil
}

func (c *client) get(ctx context.Context, path string, limit int64) (string, error) {
	return c.do(ctx, http.MethodGet, path, limit, "X-aws-ec2-metadata-token", c.token)
}

func (c *client) do(ctx context.Context, method, path string, limit int64, header, value string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set(header, value)
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return "", errNotThere
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the metadata service answers %s", resp.Status)
	case err != nil:
		return "", fmt.Errorf("read the answer: %w", err)
	case int64(len(body)) > limit:
		return "", fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return string(body), nil
}

// document is what we use of an instance identity document.
type document struct {
	AccountID        string `json:"accountId"`
	Region           string `json:"region"`
	AvailabilityZone string `json:"availabilityZone"`
	InstanceID       string `json:"instanceId"`
	InstanceType     string `json:"instanceType"`
	ImageID          string `json:"imageId"`
}

const identityDocument = "/latest/dynamic/instance-identity/document"

// document returns the identity document, read and as served.
func (c *client) document(ctx context.Context) (d document, raw string, err error) {
	if raw, err = c.get(ctx, identityDocument, maxDocument); err != nil {
		return document{}, "", err
	}
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		return document{}, "", fmt.Errorf("read the identity document: %w", err)
	}
	return d, raw, nil
}

func (c *client) fetch(ctx context.Context) (*schema.Cloud, []schema.Gap) {
	d, raw, err := c.document(ctx)
	if err != nil {
		return nil, []schema.Gap{gap(identityDocument, err)}
	}
	cloud := &schema.Cloud{
		Provider: Provider, AccountID: d.AccountID, Region: d.Region, AvailabilityZone: d.AvailabilityZone,
		InstanceID: d.InstanceID, InstanceType: d.InstanceType, ImageID: d.ImageID, IdentityDocument: raw,
	}
	var gaps []schema.Gap
	if cloud.IdentitySignature, err = c.signature(ctx); err != nil {
		gaps = append(gaps, gap("/latest/dynamic/instance-identity", err))
	}
	tags, more := c.tags(ctx)
	cloud.Tags = tags
	return cloud, append(gaps, more...)
}

// signature gets the PKCS#7 signature over the document: the RSA one, and where
// that is not offered the older DSA one.
func (c *client) signature(ctx context.Context) (string, error) {
	sig, err := c.get(ctx, "/latest/dynamic/instance-identity/rsa2048", maxDocument)
	if errors.Is(err, errNotThere) {
		sig, err = c.get(ctx, "/latest/dynamic/instance-identity/pkcs7", maxDocument)
	}
	if err != nil {
		return "", fmt.Errorf("get the signature of the identity document: %w", err)
	}
	return sig, nil
}

// tags gets the instance's tags. Access to them is off unless the owner turned
// it on, which the service answers with 404: no tags, and no gap.
func (c *client) tags(ctx context.Context) (map[string]string, []schema.Gap) {
	const path = "/latest/meta-data/tags/instance"
	list, err := c.get(ctx, path, maxDocument)
	if errors.Is(err, errNotThere) {
		return nil, nil
	}
	if err != nil {
		return nil, []schema.Gap{gap(path, err)}
	}
	keys := slices.DeleteFunc(strings.Split(list, "\n"), func(k string) bool { return k == "" })
	var gaps []schema.Gap
	if len(keys) > schema.MaxLabels {
		gaps = append(gaps, gap(path, fmt.Errorf("%d tags, %d are read", len(keys), schema.MaxLabels)))
		keys = keys[:schema.MaxLabels]
	}
	tags := make(map[string]string, len(keys))
	for _, key := range keys {
		value, err := c.get(ctx, path+"/"+url.PathEscape(key), maxValue)
		if err != nil {
			gaps = append(gaps, gap(path+"/"+key, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		tags[key] = value
	}
	return tags, gaps
}
