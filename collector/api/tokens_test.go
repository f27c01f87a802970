package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/trust"
)

// safeLog is a log that handlers write and tests read.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// as is a client with a new token of some scopes.
func (f *fixture) as(t *testing.T, name string, ttl time.Duration, scopes ...string) *client.Client {
	t.Helper()
	made, err := f.c.CreateToken(t.Context(), api.TokenRequest{Name: name, Scopes: scopes, TTLSeconds: int64(ttl / time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return &client.Client{URL: f.srv.URL, Token: made.Secret}
}

// refused fails unless an error is a problem document of a status, and returns it.
func refused(t *testing.T, err error, status int) *client.Problem {
	t.Helper()
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != status {
		t.Fatalf("got %v, want status %d", err, status)
	}
	if len(p.RequestID) != 16 {
		t.Errorf("got request id %q in the problem document, want 16 digits", p.RequestID)
	}
	return p
}

// document is what of the OpenAPI document says who may do what.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Security    []map[string][]string `json:"security"`
		RequestBody any                   `json:"requestBody"`
	} `json:"paths"`
}

func (f *fixture) document(t *testing.T) document {
	t.Helper()
	_, _, body := f.get(t, "/v1/openapi.json", "")
	var doc document
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEveryOperationDeclaresItsScope(t *testing.T) {
	f := newFixture(t)
	scopes := []string{"read", "operate", "approve", "admin"}
	seen := 0
	for path, methods := range f.document(t).Paths {
		for method, op := range methods {
			seen++
			if len(op.Security) != 1 || len(op.Security[0]["token"]) != 1 || !slices.Contains(scopes, op.Security[0]["token"][0]) {
				t.Errorf("%s %s: operation %s declares %v; add it to the table in scopes.go", method, path, op.OperationID, op.Security)
			}
		}
	}
	if seen < 10 {
		t.Errorf("the document has %d operations", seen)
	}
}

// TestEachOperationTakesItsScopeAndNoOther calls every operation of the document
// with one token of each scope.
func TestEachOperationTakesItsScopeAndNoOther(t *testing.T) {
	f := newFixture(t)
	tokens := map[string]string{}
	for _, scope := range []string{"read", "operate", "approve", "admin"} {
		tokens[scope] = f.as(t, scope, 0, scope).Token
	}
	for path, methods := range f.document(t).Paths {
		for method, op := range methods {
			need := op.Security[0]["token"][0]
			for scope, token := range tokens {
				status, body := f.send(t, strings.ToUpper(method), path, token, "{}")
				allowed := status != http.StatusForbidden
				if want := scope == need || scope == "admin"; allowed != want {
					t.Errorf("%s %s with scope %s: got %d %s, want allowed %t", method, path, scope, status, body, want)
				}
				if !allowed && !strings.Contains(body, "lacks the scope "+need) {
					t.Errorf("%s %s with scope %s: got %s, want the missing scope named", method, path, scope, body)
				}
			}
		}
	}
}

// send is a request with a JSON body; it returns status and body.
func (f *fixture) send(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestLifeOfAToken is a token from its making to its end.
func TestLifeOfAToken(t *testing.T) {
	f := newFixture(t)
	leaves := func() int64 {
		n, err := f.st.LeafCount(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := leaves()

	// A dashboard gets a token for 90 days, to read.
	dashboard := f.as(t, "dashboard", 90*24*time.Hour, "read")
	if _, err := dashboard.Summary(t.Context(), query.Filter{}, ""); err != nil {
		t.Fatal(err)
	}
	// It may not make tokens, least of all better ones.
	_, err := dashboard.CreateToken(t.Context(), api.TokenRequest{Name: "more", Scopes: []string{"admin"}})
	if p := refused(t, err, http.StatusForbidden); !strings.Contains(p.Detail, "admin") {
		t.Errorf("got %q, want the missing scope named", p.Detail)
	}
	list, err := f.c.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := list.Tokens[0]
	if got.Name != "dashboard" || got.State != "active" || got.CreatedBy != "first" || !got.ExpiresAt.Equal(now.AddDate(0, 0, 90)) || !slices.Equal(got.Scopes, []string{"read"}) {
		t.Errorf("got %+v", got)
	}

	// The day before its end it works, at its end it is like none.
	f.clock = now.AddDate(0, 0, 90).Add(-time.Second)
	if _, err := dashboard.Summary(t.Context(), query.Filter{}, ""); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	f.clock = now.AddDate(0, 0, 90)
	_, err = dashboard.Summary(t.Context(), query.Filter{}, "")
	refused(t, err, http.StatusUnauthorized)

	// Another is revoked: at once and for good.
	ci := f.as(t, "ci", 0, "operate")
	if _, err := f.c.RevokeToken(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	_, err = ci.ImportFeed(t.Context(), "x", strings.NewReader("x"), false)
	if p := refused(t, err, http.StatusUnauthorized); !strings.Contains(p.Detail, "revoked") {
		t.Errorf("got %q", p.Detail)
	}
	_, err = f.c.RevokeToken(t.Context(), "ci")
	refused(t, err, http.StatusConflict)
	// Its name is never used again.
	_, err = f.c.CreateToken(t.Context(), api.TokenRequest{Name: "ci", Scopes: []string{"read"}})
	refused(t, err, http.StatusConflict)
	_, err = f.c.RevokeToken(t.Context(), "nobody")
	refused(t, err, http.StatusNotFound)

	// Nobody locks the door behind them.
	_, err = f.c.RevokeToken(t.Context(), "first")
	if p := refused(t, err, http.StatusConflict); !strings.Contains(p.Detail, "last token") {
		t.Errorf("got %q", p.Detail)
	}
	second := f.as(t, "second", 0, "admin")
	if _, err := second.RevokeToken(t.Context(), "first"); err != nil {
		t.Errorf("revoke the first with another there: %v", err)
	}
	if n := leaves() - before; n != 5 { // dashboard, ci, its end, second, the first's end
		t.Errorf("got %d leaves, want 5", n)
	}
}

func TestTokensThatCannotBe(t *testing.T) {
	f := newFixture(t)
	for _, r := range []api.TokenRequest{
		{Name: "", Scopes: []string{"read"}},
		{Name: "a b", Scopes: []string{"read"}},
		{Name: "-a", Scopes: []string{"read"}},
		{Name: "a\u202e", Scopes: []string{"read"}},
		{Name: strings.Repeat("a", 65), Scopes: []string{"read"}},
		{Name: "a"},
		{Name: "a", Scopes: []string{"root"}},
		{Name: "a", Scopes: []string{"read"}, TTLSeconds: 5},
		{Name: "a", Scopes: []string{"read"}, TTLSeconds: -1},
		{Name: "a", Scopes: []string{"read"}, TTLSeconds: 1 << 40},
	} {
		_, err := f.c.CreateToken(t.Context(), r)
		refused(t, err, http.StatusUnprocessableEntity)
	}
	made, err := f.c.CreateToken(t.Context(), api.TokenRequest{Name: "a", Scopes: []string{"admin", "read", "admin"}})
	if err != nil || !slices.Equal(made.Scopes, []string{"read", "admin"}) {
		t.Errorf("got %v %v, want each scope once", made.Scopes, err)
	}
}

func TestRatesAreLimited(t *testing.T) {
	f := newFixtureWith(t, access.Limits{PerToken: 1, TokenBurst: 5, PerAddress: 0.1, AddressBurst: 3})
	ask := func(token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.srv.URL+"/v1/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	// Guesses from one address: three are answered, then it has to wait.
	guess, _, err := trust.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{401, 401, 401, 429, 429} {
		if status, _ := ask(guess); status != want {
			t.Errorf("guess %d: got %d, want %d", i, status, want)
		}
	}
	if _, after := ask("no token at all"); after != "10" {
		t.Errorf("got Retry-After %q, want 10", after)
	}
	// A good token from the same address goes on, up to its own limit.
	for i, want := range []int{200, 200, 200, 200, 200, 429} {
		if status, after := ask(f.token); status != want || (want == 429) != (after == "1") {
			t.Errorf("call %d: got %d, Retry-After %q, want %d", i, status, after, want)
		}
	}
	f.clock = now.Add(2 * time.Second)
	for i, want := range []int{200, 200, 429} {
		if status, _ := ask(f.token); status != want {
			t.Errorf("call %d after two seconds: got %d, want %d", i, status, want)
		}
	}
	f.clock = now.Add(11 * time.Second)
	if status, _ := ask(guess); status != 401 {
		t.Errorf("guess after the wait: got %d, want 401", status)
	}
}

func TestEveryUseIsLogged(t *testing.T) {
	f := newFixture(t)
	reader := f.as(t, "reader", 0, "read")
	if _, err := reader.Summary(t.Context(), query.Filter{}, ""); err != nil {
		t.Fatal(err)
	}
	_, err := reader.Tokens(t.Context())
	p := refused(t, err, http.StatusForbidden)
	if _, err := f.c.TrustHost(t.Context(), api.TrustRequest{Fingerprint: "ABCD-EFGH"}); err != nil {
		t.Fatal(err)
	}
	text := f.log.String()
	for _, want := range []string{
		"level=DEBUG msg=request component=api token=reader request=",
		"method=GET path=/v1/summary status=200",
		"level=INFO msg=request component=api token=reader request=" + p.RequestID + " method=GET path=/v1/tokens status=403",
		"level=INFO msg=request component=api token=first request=",
		"method=POST path=/v1/hosts/trust status=200",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	for _, secret := range []string{f.token, reader.Token, trust.HashToken(f.token)} {
		if strings.Contains(text, secret) {
			t.Error("the log holds a secret")
		}
	}
}

func TestLastUseIsKeptToTheMinute(t *testing.T) {
	f := newFixture(t)
	at := func(d time.Duration) time.Time {
		t.Helper()
		f.clock = now.Add(d)
		if status, _, body := f.get(t, "/v1/key", f.token); status != http.StatusOK {
			t.Fatalf("got %d %s", status, body)
		}
		tok, err := f.st.TokenByHash(t.Context(), trust.HashToken(f.token))
		if err != nil {
			t.Fatal(err)
		}
		return tok.LastUsed
	}
	first := at(time.Hour)
	if !first.Equal(now.Add(time.Hour)) {
		t.Errorf("got last use %s", first)
	}
	if got := at(time.Hour + 59*time.Second); !got.Equal(first) {
		t.Errorf("a use within the minute was written: %s", got)
	}
	if got := at(time.Hour + time.Minute); !got.Equal(now.Add(time.Hour + time.Minute)) {
		t.Errorf("a use after the minute was not written: %s", got)
	}
}

// TestNoAnswerHoldsASecret asks everything that can be asked, and looks for
// secrets and their hashes in what comes back.
func TestNoAnswerHoldsASecret(t *testing.T) {
	f := newFixture(t)
	other := f.as(t, "other", 0, "read", "operate")
	secrets := map[string]string{
		"a token": f.token, "another token": other.Token,
		"a token's hash": trust.HashToken(f.token), "another token's hash": trust.HashToken(other.Token),
	}
	for path, methods := range f.document(t).Paths {
		for method := range methods {
			for _, body := range []string{"", "{}", `{"name":"new","scopes":["read"]}`, f.token} {
				path := strings.NewReplacer("{name}", "other", "{id}", "other").Replace(path)
				for _, query := range []string{"", "?" + f.token} {
					_, text := f.send(t, strings.ToUpper(method), path+query, f.token, body)
					for what, secret := range secrets {
						if strings.Contains(text, secret) && !strings.Contains(query+body, secret) {
							t.Errorf("%s %s answers with %s: %s", method, path, what, text)
						}
					}
				}
			}
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	f := newFixture(t)
	for size, want := range map[int]int{60 << 10: http.StatusUnprocessableEntity, 70 << 10: http.StatusRequestEntityTooLarge, 4 << 20: http.StatusRequestEntityTooLarge} {
		body := `{"name":"` + strings.Repeat("a", size) + `","scopes":["read"]}`
		if status, text := f.send(t, http.MethodPost, "/v1/tokens", f.token, body); status != want {
			t.Errorf("%d bytes: got %d %.200s, want %d", size, status, text, want)
		}
	}
}

func TestProblemsNameTheRequest(t *testing.T) {
	f := newFixture(t)
	f.op.err = errors.New("disk /secret/path is on fire")
	ids := map[string]bool{}
	for _, c := range []struct {
		path, token string
		status      int
	}{
		{"/v1/summary", "", 401},
		{"/v1/nothing", f.token, 404},
		{"/v1/findings/F-NOPE", f.token, 404},
		{"/v1/findings?limit=0", f.token, 422},
		{"/v1/hosts", f.token, 500},
	} {
		status, kind, body := f.get(t, c.path, c.token)
		var p struct {
			RequestID string `json:"request_id"`
			Status    int    `json:"status"`
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatalf("%s: %v: %s", c.path, err, body)
		}
		if status != c.status || p.Status != c.status || kind != "application/problem+json" || len(p.RequestID) != 16 || strings.Contains(body, "secret") {
			t.Errorf("%s: got %d %s %s", c.path, status, kind, body)
		}
		ids[p.RequestID] = true
	}
	if len(ids) != 5 {
		t.Errorf("request ids repeat: %v", slices.Sorted(maps.Keys(ids)))
	}
}
