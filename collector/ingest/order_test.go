package ingest_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/schema"
)

// facts are the tables that hold what is true of hosts, without what the order
// of arrival may show in: places in the log, mark versions, counters, refusals.
var facts = map[string]string{
	"report": `SELECT id, asset, key, sequence, previous, collected_at, received_at, distro, distro_version, kernel,
		set_digest, complete, road, statement, hex(raw) FROM report ORDER BY id`,
	"report_part": `SELECT report, name, digest FROM report_part ORDER BY report, name`,
	"part":        `SELECT digest, size FROM part ORDER BY digest`,
	"asset":       `SELECT id, name, key, transport_key, trusted_at, attributes, head, head_sequence, head_release, assessed_sequence, forked, moved, refold FROM asset ORDER BY id`,
	"dirty":       `SELECT asset FROM dirty ORDER BY asset`,
	"leaves":      `SELECT kind, COUNT(*) FROM leaf WHERE kind NOT LIKE 'quarantine%' GROUP BY kind ORDER BY kind`,
}

// dump returns the facts a database holds, a line a row.
func dump(t testing.TB, path string) map[string][]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	all := map[string][]string{}
	for table, query := range facts {
		all[table] = rows(t, db, query)
	}
	return all
}

func rows(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rs, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rs.Close() }()
	columns, err := rs.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rs.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		if err := rs.Scan(values...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for i, v := range values {
			line = append(line, columns[i]+"="+v.(*sql.NullString).String)
		}
		list = append(list, strings.Join(line, " "))
	}
	if err := rs.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// fill delivers envelopes, again and again in the same order, until every one
// is accepted, as hosts do that keep what they have no receipt for.
func fill(t *testing.T, deliveries []ingest.Delivery) map[string][]string {
	t.Helper()
	r := open(t)
	trusted := map[string]bool{}
	for n := range 3 {
		h := natstest.NewHost(t, n)
		r.trust(t, h)
		trusted[h.TransportKey()] = true
	}
	for round := 0; ; round++ {
		open := 0
		for _, d := range deliveries {
			if got := r.accept(t, d); got.Kind != schema.ReceiptAccepted {
				open++
			}
		}
		if open == 0 {
			break
		}
		if round > len(deliveries) {
			t.Fatalf("%d envelopes still open", open)
		}
	}
	return dump(t, r.path)
}

// five are full reports of one host and one that gives its packages by digest.
func five(t *testing.T) []ingest.Delivery {
	t.Helper()
	h := natstest.NewHost(t, 0)
	raws, ids := h.Chain(t, 4)
	last := h.Report(t, 5)
	last.Parts, last.Bodies, last.Previous = h.Report(t, 2).Parts, nil, ids[3]
	raw, _ := h.Seal(t, last)
	var ds []ingest.Delivery
	for _, raw := range append(raws, raw) {
		ds = append(ds, deliver(h, raw))
	}
	return ds
}

func TestAnyOrderSameDatabase(t *testing.T) {
	deliveries := five(t)
	want := fill(t, deliveries)
	if n := len(want["report"]); n != 5 {
		t.Fatalf("got %d reports, want 5", n)
	}
	permutations(len(deliveries), func(order []int) {
		var shuffled []ingest.Delivery
		for _, i := range order {
			shuffled = append(shuffled, deliveries[i], deliveries[order[0]]) // and duplicates
		}
		if diff := cmp.Diff(want, fill(t, shuffled)); diff != "" {
			t.Fatalf("order %v leaves another database (-in order +shuffled):\n%s", order, diff)
		}
	})
}

// Forks, a broken chain and a second machine leave one database too, in every order.
func TestForksInAnyOrderSameDatabase(t *testing.T) {
	h := natstest.NewHost(t, 0)
	first := h.Report(t, 1)
	var deliveries []ingest.Delivery
	add := func(r *schema.Report) string {
		raw, id := h.Seal(t, r)
		deliveries = append(deliveries, deliver(h, raw))
		return id
	}
	id := add(first)
	for n, name := range []string{"a", "b"} {
		r := h.Report(t, 2, natstest.Package(name, "1"))
		r.Previous = id
		r.Cloud = &schema.Cloud{Provider: "aws", InstanceID: fmt.Sprintf("i-%d", n)}
		add(r)
	}
	broken := h.Report(t, 3)
	broken.Previous = strings.Repeat("ab", 32)
	add(broken)
	want := fill(t, deliveries)
	if n := len(want["report"]); n != 4 || !strings.Contains(want["asset"][0], "forked=1 moved=1") {
		t.Fatalf("%d reports, asset %s", n, want["asset"][0])
	}
	permutations(len(deliveries), func(order []int) {
		var shuffled []ingest.Delivery
		for _, i := range order {
			shuffled = append(shuffled, deliveries[i])
		}
		if diff := cmp.Diff(want, fill(t, shuffled)); diff != "" {
			t.Fatalf("order %v leaves another database (-in order +shuffled):\n%s", order, diff)
		}
	})
}

// permutations calls f with every order of n things (Heap's algorithm).
func permutations(n int, f func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var visit func(int)
	visit = func(k int) {
		if k == 1 {
			f(order)
			return
		}
		for i := range k {
			visit(k - 1)
			if k%2 == 0 {
				order[i], order[k-1] = order[k-1], order[i]
			} else {
				order[0], order[k-1] = order[k-1], order[0]
			}
		}
	}
	visit(n)
}

// Many hosts, shuffled and duplicated, by both kinds of road.
func TestShuffledHostsSameDatabase(t *testing.T) {
	var deliveries []ingest.Delivery
	for n := range 3 {
		h := natstest.NewHost(t, n)
		raws, _ := h.Chain(t, 4)
		for _, raw := range raws {
			deliveries = append(deliveries, deliver(h, raw))
		}
	}
	want := fill(t, deliveries)
	rapid.Check(t, func(rt *rapid.T) {
		shuffled := rapid.Permutation(deliveries).Draw(rt, "order")
		again := rapid.SliceOfN(rapid.SampledFrom(deliveries), 0, 6).Draw(rt, "again")
		if diff := cmp.Diff(want, fill(t, append(slices.Clone(shuffled), again...))); diff != "" {
			rt.Fatalf("another database (-in order +shuffled):\n%s", diff)
		}
	})
}

func TestBothRoadsSameDatabase(t *testing.T) {
	byNATS := five(t)
	byBundle := slices.Clone(byNATS)
	for i := range byBundle {
		byBundle[i].Road, byBundle[i].TransportKey = "bundle", ""
	}
	want, got := fill(t, byNATS), fill(t, byBundle)
	for _, d := range []map[string][]string{want, got} {
		for i, line := range d["report"] {
			d["report"][i] = strings.NewReplacer(" road=nats", "", " road=bundle", "").Replace(line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the roads leave different databases (-nats +bundle):\n%s", diff)
	}
}
