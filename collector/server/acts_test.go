package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

// anAct is how an operation of the API is carried out here, and the kind of leaf
// that has to come of it.
type anAct struct {
	leaf string
	do   func(o *office)
}

// acts are all operations that change something, by id. Whoever adds one adds it
// here, with the leaf that bears witness to it.
var acts = map[string]anAct{
	"trust-host":           {"trust", func(o *office) { o.trustNext() }},
	"import-feed":          {"feed", func(o *office) { o.post("/v1/feeds/import?name=kev.json", kevDocument) }},
	"apply-classification": {"classification", func(o *office) { o.post("/v1/classification/rules", rulesOf("internet")) }},
	"import-assets":        {"classification", func(o *office) { o.post("/v1/assets/import?source=cmdb&file=c.csv", "name,owner\nhost-9,team\n") }},
	"apply-policy":         {"policy", func(o *office) { o.post("/v1/policies?accept_looser=true", o.policy()) }},
	"create-token":         {"token", func(o *office) { o.post("/v1/tokens", `{"name":"made","scopes":["read"]}`) }},
	"revoke-token":         {"token_revoked", func(o *office) { o.token("ended"); o.post("/v1/tokens/ended/revoke", "") }},
	"grant-approval":       {"approval", func(o *office) { o.decide("grant") }},
	"deny-approval":        {"approval", func(o *office) { o.decide("deny") }},
	"retire-asset":         {"retirement", func(o *office) { o.say(o.trusted(), "retire", `{"reason":"sold"}`) }},
	"reinstate-asset": {"retirement", func(o *office) {
		name := o.trusted()
		o.say(name, "retire", `{"reason":"sold"}`)
		o.say(name, "reinstate", `{"reason":"not sold"}`)
	}},
	"set-asset":   {"classification", func(o *office) { o.say(o.trusted(), "set", `{"set":{"owner":"team"},"reason":"they said so"}`) }},
	"clear-clone": {"clone_decision", func(o *office) { o.clearClone() }},
}

// asks are the operations that take a body and change nothing.
var asks = []string{"test-classification", "simulate-policy"}

const kevDocument = `{"title":"CISA Catalog of Known Exploited Vulnerabilities","catalogVersion":"2026.03.02","dateReleased":"2026-03-02T10:00:00.000Z","count":1,
"vulnerabilities":[{"cveID":"CVE-2026-1001","vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":"2026-03-01","shortDescription":"s","requiredAction":"a","dueDate":"2026-03-22","knownRansomwareCampaignUse":"Unknown","notes":"","cwes":[]}]}`

func rulesOf(exposure string) string {
	return "version: 1\nrules:\n  - {id: all, match: {name: \"*\"}, set: {environment: production, exposure: " + exposure + "}}\n"
}

// office is a running collector and who acts in it.
type office struct {
	*running
	t     *testing.T
	hosts int
}

// TestEveryActIsALeaf carries out every operation of the API that changes
// something, and looks for the leaf. An operation that is not known here fails it.
func TestEveryActIsALeaf(t *testing.T) {
	o := &office{running: start(t, dataDir(t)), t: t}
	_, document := o.get(t, "/v1/openapi.json")
	found := actsOf(t, document)
	for _, id := range found {
		a, ok := acts[id]
		if !ok {
			t.Errorf("operation %s changes something and is not known here: give it a leaf in the transaction of what it changes, "+
				"hold what it writes against that leaf in evidence.Verifier, and add it to acts in this file", id)
			continue
		}
		before := o.leaves()
		a.do(o)
		after := o.leaves()
		if after[a.leaf] <= before[a.leaf] {
			t.Errorf("%s left no leaf of kind %s: before %v, after %v", id, a.leaf, before, after)
		}
	}
	for id := range acts {
		if !slices.Contains(found, id) {
			t.Errorf("%s is no operation of the API", id)
		}
	}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	rep, err := server.VerifyEvidence(t.Context(), server.VerifyOptions{DataDir: o.dir})
	if err != nil || !rep.OK {
		t.Errorf("after all acts (%v):\n%s", err, rep.Summary())
	}
}

// actsOf lists the operations that change something: those that are not a GET, and
// need more than the scope to read, or are not said to ask.
func actsOf(t *testing.T, document string) []string {
	t.Helper()
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal([]byte(document), &d); err != nil || len(d.Paths) < 20 {
		t.Fatalf("the API's document has %d paths (%v)", len(d.Paths), err)
	}
	ids := map[string]bool{}
	for _, methods := range d.Paths {
		for method, op := range methods {
			if method != "get" && !slices.Contains(asks, op.OperationID) {
				ids[op.OperationID] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// leaves counts the log by kind.
func (o *office) leaves() map[string]int {
	o.t.Helper()
	st, err := sqlstore.OpenReadOnly(o.t.Context(), filepath.Join(o.dir, "collector.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	list, err := st.Leaves(o.t.Context(), 0, 100_000)
	if err != nil {
		o.t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, l := range list {
		kinds[l.Kind]++
	}
	return kinds
}

func (o *office) post(path, body string) string {
	o.t.Helper()
	return o.postAs("", path, body)
}

// postAs acts with another token than the first.
func (o *office) postAs(secret, path, body string) string {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.HTTP+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	kind := "application/octet-stream"
	switch {
	case strings.HasPrefix(body, "{") && !strings.Contains(path, "import"):
		kind = "application/json"
	case strings.Contains(path, "policies"):
		kind = "application/yaml"
	}
	req.Header.Set("Content-Type", kind)
	var status int
	var text string
	if secret == "" {
		status, text = o.do(o.t, req)
	} else {
		req.Header.Set("Authorization", "Bearer "+secret)
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			o.t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			o.t.Fatal(err)
		}
		status, text = res.StatusCode, string(raw)
	}
	if status != http.StatusOK {
		o.t.Fatalf("POST %s: %d %s", path, status, text)
	}
	return text
}

// token makes a token and returns its secret.
func (o *office) token(name string, scopes ...string) string {
	o.t.Helper()
	if len(scopes) == 0 {
		scopes = []string{"read"}
	}
	body, err := json.Marshal(map[string]any{"name": name, "scopes": scopes})
	if err != nil {
		o.t.Fatal(err)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(o.post("/v1/tokens", string(body))), &made); err != nil || made.Secret == "" {
		o.t.Fatalf("token %s: %v", name, err)
	}
	return made.Secret
}

// trustNext trusts a host of which nobody says anything yet.
func (o *office) trustNext() *natstest.Host {
	o.t.Helper()
	o.hosts++
	h := natstest.NewHost(o.t, 100+o.hosts)
	o.post("/v1/hosts/trust", fmt.Sprintf(`{"fingerprint":%q,"name":"host-%d","attributes":{"class":"","exposure":"","environment":""}}`, schema.KeyID(h.Public()), o.hosts))
	return h
}

// trusted trusts a host and returns the name it has here.
func (o *office) trusted() string {
	o.t.Helper()
	o.trustNext()
	return fmt.Sprintf("host-%d", o.hosts)
}

// say carries out an act on an asset.
func (o *office) say(name, what, body string) {
	o.t.Helper()
	o.post("/v1/assets/"+name+"/"+what, body)
}

// clearClone lets two hosts speak with one key, and has a person say which is which.
func (o *office) clearClone() {
	o.t.Helper()
	h := o.trustNext()
	sent := map[string][]byte{}
	var keep string
	for i := range 2 {
		r := h.Report(o.t, 1)
		r.CollectedAt = r.CollectedAt.Add(time.Duration(i) * time.Minute)
		raw, id := h.Seal(o.t, r)
		sent[id], keep = raw, id
	}
	if _, err := o.sender(o.t, h).Send(limit(o.t, 20*time.Second), sent); err != nil {
		o.t.Fatal(err)
	}
	boss := o.token("boss-lines", "read", "approve")
	o.postAs(boss, fmt.Sprintf("/v1/assets/host-%d/lines/keep", o.hosts), fmt.Sprintf(`{"keep":%q,"reason":"the other is a copy"}`, keep))
}

// policy is another policy each time.
func (o *office) policy() string {
	_, src := policy.Default()
	return string(src) + fmt.Sprintf("# applied at %s\n", time.Now())
}

// decide has another token decide on what a looser word on a new host asks for.
func (o *office) decide(what string) {
	o.t.Helper()
	boss := o.token("boss-"+what, "read", "approve")
	o.post("/v1/classification/rules", rulesOf("internet")+"# for "+what+"\n")
	h := o.trustNext()
	if _, err := o.sender(o.t, h).Send(limit(o.t, 20*time.Second), chain(o.t, h, 1)); err != nil {
		o.t.Fatal(err)
	}
	eventually(o.t, "the host to be assessed", func() bool { return o.metrics(o.t)["patchproof_assess_waiting_assets"] == "0" && o.assessed() })
	o.post("/v1/classification/rules", rulesOf("internal")+"# for "+what+"\n")
	id := ""
	eventually(o.t, "the looser word to wait for approval", func() bool {
		var list struct {
			Approvals []struct{ ID, State string }
		}
		_, text := o.get(o.t, "/v1/approvals")
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			o.t.Fatal(err)
		}
		for _, a := range list.Approvals {
			if a.State == "pending" {
				id = a.ID
			}
		}
		return id != ""
	})
	o.postAs(boss, "/v1/approvals/"+id+"/"+what, `{"reason":"seen"}`)
}

// assessed reports whether every host that reported has attributes in force.
func (o *office) assessed() bool {
	o.t.Helper()
	st, err := sqlstore.OpenReadOnly(o.t.Context(), filepath.Join(o.dir, "collector.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	list, err := st.Assets(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, a := range list {
		if a.Head != nil && a.InForce == nil {
			return false
		}
	}
	return len(list) > 0
}
