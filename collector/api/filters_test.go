package api_test

import (
	"encoding/json"
	"testing"

	"github.com/patchproof/patchproof/collector/query"
)

// The API's document must name every filter there is, and no other.
func TestTheDocumentNamesEveryFilter(t *testing.T) {
	f := newFixture(t)
	_, _, body := f.get(t, "/v1/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range doc.Paths["/v1/findings"]["get"].Parameters {
		names[p.Name] = true
	}
	for _, d := range query.Fields {
		if !names[d.Name] {
			t.Errorf("filter %q is not in the document", d.Name)
		}
		delete(names, d.Name)
	}
	for _, more := range []string{"view", "sort", "limit", "after", "as_of"} {
		delete(names, more)
	}
	if len(names) > 0 {
		t.Errorf("the document names filters that do not exist: %v", names)
	}
}

func TestFiltersTravelFromTheClient(t *testing.T) {
	f := newFixture(t)
	yes := true
	l, err := f.c.Findings(t.Context(), query.Filter{Severity: []string{"high", "low"}, KEV: &yes, View: "kev-internet", Sort: []string{"-due"}, Unowned: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"severity": "high,low", "kev": "true", "view": "kev-internet", "sort": "-due", "unowned": "true"}
	for k, v := range want {
		if l.Filters[k] != v {
			t.Errorf("got filters %v, want %s=%s", l.Filters, k, v)
		}
	}
	if _, err := f.c.Findings(t.Context(), query.Filter{Sort: []string{"nothing"}}); err == nil {
		t.Error("got no error for a sort key that does not exist")
	}
	views, err := f.c.Views(t.Context())
	if err != nil || len(views.Views) != len(query.Views) {
		t.Errorf("got %d views, %v", len(views.Views), err)
	}
}
