package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
)

var now = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// operator records what the API passed on.
type operator struct {
	trusted api.TrustRequest
	by      string
	upload  string
	whole   [2]bool
	source  string
	confirm bool
	err     error
}

func (o *operator) TrustHost(_ context.Context, r api.TrustRequest, by string) (api.TrustResult, error) {
	o.trusted, o.by = r, by
	return api.TrustResult{Asset: "a-1", Name: r.Name, Replayed: 2}, o.err
}

func (o *operator) ClearClone(_ context.Context, host string, r api.ClearRequest, by string) (api.ClearResult, error) {
	o.by = by
	return api.ClearResult{Asset: host, Keep: r.Keep, Kept: 2, Aside: 1}, o.err
}

func (o *operator) PendingHosts(context.Context) ([]api.PendingHost, error) { return nil, o.err }

func (o *operator) ImportFeed(_ context.Context, u api.Upload, _ string) ([]api.ImportOutcome, error) {
	b, err := io.ReadAll(u.Body)
	o.upload, o.confirm = string(b), u.Confirm
	if err != nil {
		return nil, &api.BadInput{Err: err}
	}
	return []api.ImportOutcome{{Feed: "kev", Kind: "kev"}}, o.err
}

func (o *operator) ApplyRules(_ context.Context, src []byte, by string) (api.RulesApplied, error) {
	o.upload, o.by = string(src), by
	return api.RulesApplied{Digest: "d", Rules: 1}, o.err
}

func (o *operator) RetireAsset(_ context.Context, asset string, r api.Retirement, by string) (api.Retired, error) {
	o.upload, o.by = asset+" "+r.At+" "+r.Reason, by
	return api.Retired{Asset: asset, Leaf: 7}, o.err
}

func (o *operator) ReinstateAsset(_ context.Context, asset, reason, by string) (api.Retired, error) {
	o.upload, o.by = asset+" back "+reason, by
	return api.Retired{Asset: asset, Leaf: 8}, o.err
}

func (o *operator) SetAsset(_ context.Context, asset string, w api.AssetWords, by string) (api.AssetSaid, error) {
	o.upload, o.by = fmt.Sprint(asset, " ", w.Name, " ", w.Set, " ", w.Reason), by
	return api.AssetSaid{Asset: asset, Leaf: 9}, o.err
}

func (o *operator) ImportAssets(_ context.Context, u api.AssetUpload, by string) (api.AssetsImported, error) {
	b, err := io.ReadAll(u.Body)
	o.upload, o.by, o.source, o.whole = string(b), by, u.Source, [2]bool{u.Whole, u.Confirm}
	if err != nil {
		return api.AssetsImported{}, &api.BadInput{Err: err}
	}
	return api.AssetsImported{Source: u.Source, Entries: 1}, o.err
}

func (o *operator) Approvals(context.Context) ([]store.Approval, error) {
	return []store.Approval{{ID: "A-1", Cause: "policy", State: store.ApprovalPending}}, o.err
}

func (o *operator) DecideApproval(_ context.Context, id string, grant bool, reason, by string) (store.Approval, error) {
	if by == "first" && id == "A-OWN" {
		return store.Approval{}, store.ErrOwnRequest
	}
	state := store.ApprovalDenied
	if grant {
		state = store.ApprovalGranted
	}
	return store.Approval{ID: id, State: state, DecidedBy: by, Reason: reason}, o.err
}

func (o *operator) ReceiptKey() api.KeyInfo { return api.KeyInfo{ReceiptKey: "ab"} }

type fixture struct {
	srv    *httptest.Server
	st     *sqlstore.Store
	op     *operator
	token  string
	c      *client.Client
	clock  time.Time
	limits access.Limits
	log    safeLog
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureWith(t, access.Limits{PerToken: 1e6, TokenBurst: 1e6, PerAddress: 1e6, AddressBurst: 1e6})
}

func newFixtureWith(t *testing.T, limits access.Limits) *fixture {
	t.Helper()
	st := sqltest.Open(t)
	token, hash, err := trust.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := evidence.LeafFor(evidence.KindToken, now, map[string]string{"name": "first"})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.AddToken(t.Context(), store.Token{Name: "first", Hash: hash, CreatedAt: now, Scopes: []string{"admin"}}, leaf); err != nil {
		t.Fatal(err)
	}
	f := &fixture{clock: now, limits: limits, token: token, st: st, op: &operator{}}
	clock := func() time.Time { return f.clock }
	op := f.op
	h := api.New(api.Options{
		Query: &query.Service{Store: st, Now: clock}, Operator: op, Evidence: st,
		Policies: &standard.Keeper{Store: st, Now: clock}, Store: st,
		Access: &access.Keeper{Store: st, Now: clock}, Tokens: st, Limits: f.limits,
		Now: clock, Log: slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), MaxUpload: 1 << 10,
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	f.srv, f.c = srv, &client.Client{URL: srv.URL, Token: token}
	return f
}

// get returns status, content type and body of a call with a token.
func (f *fixture) get(t *testing.T, path, token string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s: got no request id", path)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestNothingIsAnsweredWithoutAToken(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v1/summary", "/v1/findings", "/v1/assets", "/v1/hosts", "/v1/feeds", "/v1/key", "/v1/nothing"} {
		for _, token := range []string{"", "pp_wrong", f.token + "x"} {
			status, kind, body := f.get(t, path, token)
			if status != http.StatusUnauthorized || kind != "application/problem+json" {
				t.Errorf("%s with token %q: got %d %s %s, want 401 and a problem document", path, token, status, kind, body)
			}
		}
	}
}

func TestOpenAPIDocumentIsPublicAnd31(t *testing.T) {
	f := newFixture(t)
	status, _, body := f.get(t, "/v1/openapi.json", "")
	var doc struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || status != http.StatusOK {
		t.Fatalf("got %d, %v", status, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("got OpenAPI %s, want 3.1", doc.OpenAPI)
	}
	for _, p := range []string{"/v1/summary", "/v1/findings", "/v1/findings/{id}", "/v1/assets", "/v1/vulnerabilities/{id}", "/v1/hosts/trust", "/v1/feeds/import"} {
		if doc.Paths[p] == nil {
			t.Errorf("the document lacks %s", p)
		}
	}
}

func TestAnEmptyEstateAnswersWithEmptyLists(t *testing.T) {
	f := newFixture(t)
	for path, want := range map[string]string{
		"/v1/findings": `"findings":[]`, "/v1/assets": `"assets":[]`, "/v1/hosts": `"pending":[]`, "/v1/feeds": `"feeds":[]`,
		"/v1/quarantine": `"envelopes":[]`, "/v1/summary": `"running":0`, "/v1/evidence/checkpoint": `"leaves":1`,
	} {
		status, _, body := f.get(t, path, f.token)
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s, want %s in it", path, status, body, want)
		}
	}
}

func TestWrongQuestionsAreToldWhatIsWrong(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v1/findings?severity=bad", http.StatusUnprocessableEntity, "severity"},
		{"/v1/findings?sevrity=high", http.StatusUnprocessableEntity, "sevrity"},
		{"/v1/findings?limit=0", http.StatusUnprocessableEntity, "limit"},
		{"/v1/findings?asset=nobody", http.StatusNotFound, "nobody"},
		{"/v1/findings/F-NOPE", http.StatusNotFound, "F-NOPE"},
		{"/v1/assets/nobody", http.StatusNotFound, "nobody"},
		{"/v1/vulnerabilities/CVE-1", http.StatusNotFound, "no feed names it"},
	} {
		status, kind, body := f.get(t, c.path, f.token)
		if status != c.status || kind != "application/problem+json" || !strings.Contains(body, c.want) {
			t.Errorf("%s: got %d %s %s, want %d naming %q", c.path, status, kind, body, c.status, c.want)
		}
	}
}

func TestTrustIsPassedOnWithWhoAsked(t *testing.T) {
	f := newFixture(t)
	want := api.TrustRequest{Fingerprint: "ABCD-EFGH", Name: "web", Attributes: store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production, Owner: "team"}}
	res, err := f.c.TrustHost(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if f.op.trusted != want || f.op.by != "first" || res.Replayed != 2 {
		t.Errorf("got %+v by %q (%+v), want %+v by first", f.op.trusted, f.op.by, res, want)
	}
}

func TestNobodyDecidesOnTheirOwnRequest(t *testing.T) {
	f := newFixture(t)
	a, err := f.c.DecideApproval(t.Context(), "A-1", true, "seen the ticket")
	if err != nil || a.State != "granted" || a.DecidedBy != "first" || a.Reason != "seen the ticket" {
		t.Errorf("got %+v, %v, want it granted by first", a, err)
	}
	for id, want := range map[string]int{"A-OWN": http.StatusForbidden} {
		_, err := f.c.DecideApproval(t.Context(), id, true, "mine")
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != want {
			t.Errorf("%s: got %v, want status %d", id, err, want)
		}
	}
	_, err = f.c.DecideApproval(t.Context(), "A-1", false, "")
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("without a reason: got %v, want a refusal", err)
	}
	list, err := f.c.Approvals(t.Context())
	if err != nil || list.Count != 1 || list.Approvals[0].State != "pending" {
		t.Errorf("got %+v, %v, want the pending request", list, err)
	}
}

func TestUploadIsStreamedAndBounded(t *testing.T) {
	f := newFixture(t)
	if _, err := f.c.ImportFeed(t.Context(), "kev.json", strings.NewReader("body"), true); err != nil {
		t.Fatal(err)
	}
	if f.op.upload != "body" || !f.op.confirm {
		t.Errorf("got %q confirm %t, want the body and the confirmation", f.op.upload, f.op.confirm)
	}
	_, err := f.c.ImportFeed(t.Context(), "big", strings.NewReader(strings.Repeat("x", 2<<10)), false)
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("got %v, want a refusal of a body over the limit", err)
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	f := newFixture(t)
	f.op.err = errors.New("disk /secret/path is on fire")
	status, _, body := f.get(t, "/v1/hosts", f.token)
	if status != http.StatusInternalServerError || strings.Contains(body, "secret") || !strings.Contains(body, "request") {
		t.Errorf("got %d %s, want 500 with the request id and no internals", status, body)
	}
}

func TestClientSaysWhenNobodyAnswers(t *testing.T) {
	c := &client.Client{URL: "http://127.0.0.1:1", Token: "x"}
	if _, err := c.Summary(t.Context(), query.Filter{}, ""); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestClassificationActs(t *testing.T) {
	f := newFixture(t)
	res, err := f.c.ApplyRules(t.Context(), []byte("version: 1\n"))
	if err != nil || res.Rules != 1 || f.op.upload != "version: 1\n" || f.op.by != "first" {
		t.Errorf("got %+v (%v), operator %q by %q", res, err, f.op.upload, f.op.by)
	}
	im, err := f.c.ImportAssets(t.Context(), api.AssetUpload{Source: "cmdb", File: "a b.csv", Body: strings.NewReader("name\nx\n"), Whole: true, Confirm: true})
	if err != nil || im.Source != "cmdb" || f.op.source != "cmdb" || f.op.whole != [2]bool{true, true} || f.op.upload != "name\nx\n" {
		t.Errorf("got %+v (%v), operator %q of %q", im, err, f.op.upload, f.op.source)
	}
	_, err = f.c.ApplyRules(t.Context(), make([]byte, classify.MaxRules+2))
	var p *client.Problem
	if !errors.As(err, &p) || p.Status/100 != 4 || !strings.Contains(p.Detail, "more than") {
		t.Errorf("got %v for a file that is too large, want a refusal that says so", err)
	}
	if _, err := f.c.ImportAssets(t.Context(), api.AssetUpload{File: "a.csv", Body: strings.NewReader("x")}); !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("got %v for a list without a name, want 422", err)
	}
}

func TestAssetsAreRetiredAndReinstated(t *testing.T) {
	f := newFixture(t)
	got, err := f.c.RetireAsset(t.Context(), "web/1 ü", api.Retirement{Reason: "sold", At: "2026-03-01"})
	if err != nil || got.Leaf != 7 || f.op.upload != "web/1 ü 2026-03-01 sold" || f.op.by == "" {
		t.Errorf("got %+v (%v), operator %q by %q", got, err, f.op.upload, f.op.by)
	}
	got, err = f.c.ReinstateAsset(t.Context(), "web/1 ü", "found")
	if err != nil || got.Leaf != 8 || f.op.upload != "web/1 ü back found" {
		t.Errorf("got %+v (%v), operator %q", got, err, f.op.upload)
	}
	said, err := f.c.SetAsset(t.Context(), "web/1 ü", api.AssetWords{Name: "web", Set: map[string]string{"owner": "a,b"}, Reason: "moved"})
	if err != nil || said.Leaf != 9 || f.op.upload != "web/1 ü web map[owner:a,b] moved" {
		t.Errorf("got %+v (%v), operator %q", said, err, f.op.upload)
	}
	var p *client.Problem
	if _, err := f.c.RetireAsset(t.Context(), "web", api.Retirement{}); !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("got %v for a retirement without a reason, want 422", err)
	}
}

func TestRulesOnTrial(t *testing.T) {
	f := newFixture(t)
	good := []byte("version: 1\nrules: [{id: a, match: {name: \"*\"}, set: {core: true}}]\n")
	res, err := f.c.TestRules(t.Context(), good, "")
	if err != nil || res.Trial == nil || res.Trial.Rules != 1 || len(res.Trial.Unused) != 1 {
		t.Errorf("got %+v (%v), want a trial on no asset", res, err)
	}
	var p *client.Problem
	if _, err := f.c.TestRules(t.Context(), []byte("version: 1\nrules: [{id: a, mach: {}}]\n"), ""); !errors.As(err, &p) || !strings.Contains(p.Detail, "line 2") {
		t.Errorf("got %v for faulty rules, want the line", err)
	}
	if _, err := f.c.TestRules(t.Context(), good, "nobody"); !errors.As(err, &p) || p.Status != http.StatusNotFound {
		t.Errorf("got %v for an unknown asset, want 404", err)
	}
}

func TestCoverageOfNothing(t *testing.T) {
	f := newFixture(t)
	c, err := f.c.Coverage(t.Context(), 36*time.Hour)
	if err != nil || c.Expected != 0 || c.Cadence != "36h0m0s" || c.Rows == nil || c.Lists == nil {
		t.Errorf("got %+v (%v)", c, err)
	}
	for _, bad := range []string{"x", "-1h", "0s", "99999h"} {
		if status, _, body := f.get(t, "/v1/coverage?cadence="+bad, f.token); status != http.StatusUnprocessableEntity || !strings.Contains(body, "24h") {
			t.Errorf("cadence %s: got %d %s", bad, status, body)
		}
	}
	for _, path := range []string{"/v1/classification", "/v1/classification/gaps"} {
		if status, _, body := f.get(t, path, f.token); status != http.StatusOK || strings.Contains(body, "null,") && !strings.Contains(body, `"rules":null`) {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
	if status, _, _ := f.get(t, "/v1/classification/assets/nobody", f.token); status != http.StatusNotFound {
		t.Errorf("an unknown asset: got %d, want 404", status)
	}
}
