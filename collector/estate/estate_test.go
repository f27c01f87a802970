package estate_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/schema"
)

var start = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

type scene struct {
	*testing.T
	st  *sqlstore.Store
	s   *estate.Service
	q   *query.Service
	now time.Time
	seq map[string]uint64
}

func newScene(t *testing.T) *scene {
	t.Helper()
	st := sqltest.Open(t)
	s := &scene{T: t, st: st, now: start, seq: map[string]uint64{}}
	clock := func() time.Time { return s.now }
	s.s = &estate.Service{Store: st, Now: clock, Log: slog.New(slog.DiscardHandler)}
	s.q = &query.Service{Store: st, Now: clock}
	return s
}

func key(id string) string {
	seed := sha256.Sum256([]byte(id))
	return schema.KeyID(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

// trust lets a host in; what nobody says of it is unknown.
func (s *scene) trust(id, name string, said store.Attributes) {
	s.Helper()
	a := store.Asset{ID: id, Name: name, Key: key(id), TrustedAt: s.now, Attributes: said, Declared: classify.Declared{Attributes: said, By: "ada", At: s.now}}
	leaf, err := evidence.TrustLeaf(a, "ada", s.now)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.st.TrustKey(s.Context(), a, leaf); err != nil {
		s.Fatal(err)
	}
	s.refresh(id)
}

func (s *scene) refresh(ids ...string) {
	s.Helper()
	if err := s.s.Refresh(s.Context(), ids); err != nil {
		s.Fatal(err)
	}
}

// report takes in a host's report, and then what it claims.
func (s *scene) report(id string, c classify.Claims) {
	s.Helper()
	s.accept(id, c)
	s.refresh(id)
}

func (s *scene) accept(id string, c classify.Claims) {
	s.Helper()
	s.seq[id]++
	r := store.Report{
		ID: fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, id, s.seq[id]))), Asset: id, Key: key(id), Sequence: s.seq[id],
		CollectedAt: s.now, ReceivedAt: s.now, Release: inventory.Release{Distro: "debian", Version: "12"}, Road: "nats", Raw: []byte(id),
		Statement: schema.Report{
			Sequence: s.seq[id], TransportKey: "U" + id, Labels: c.Labels,
			Cloud: &schema.Cloud{Provider: "aws", InstanceID: c.InstanceID, AccountID: c.Account, Region: c.Region, InstanceType: c.InstanceType, Tags: c.Tags},
		},
	}
	leaf, err := evidence.ReportLeaf(r)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.st.AcceptReport(s.Context(), r, leaf); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) rules(text string) estate.Applied {
	s.Helper()
	a, err := s.s.ApplyRules(s.Context(), []byte(text), "ada")
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *scene) list(source, text string) estate.Applied {
	s.Helper()
	a, err := s.s.Import(s.Context(), estate.List{Source: source, File: "dir/list.csv", Data: []byte(text), By: "bob"})
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *scene) asset(id string) store.Asset {
	s.Helper()
	a, err := s.st.Asset(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

const envRules = `version: 1
rules:
  - {id: prod, match: {tag: {env: prod}}, set: {environment: production, exposure: internal, owner: {tag: team}}}
  - {id: dev, match: {tag: {env: dev}}, set: {environment: nonproduction, exposure: internal}}
`

// A web host over its life: unknown, listed, ruled, claiming, moved by the list.
func TestAHostsClassificationOverItsLife(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	s.report("A1", classify.Claims{InstanceID: "i-1", Account: "111111111111"})
	step := func(what string, exposure sla.Exposure, environment sla.Environment, by string) {
		t.Helper()
		a := s.asset("A1")
		got := fmt.Sprintf("%s %s %s", a.Attributes.Exposure, a.Attributes.Environment, a.Classified.Provenance[classify.Environment].Name)
		if want := fmt.Sprintf("%s %s %s", exposure, environment, by); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	step("nobody says", sla.UnknownExposure, sla.UnknownEnvironment, "")
	if a := s.rules(envRules); a.Changed != 0 || a.Rules != 2 {
		t.Errorf("got %+v, want no change: no tag is known", a)
	}
	s.report("A1", classify.Claims{InstanceID: "i-1", Account: "111111111111", Tags: map[string]string{"env": "dev"}})
	step("a claimed tag does not loosen", sla.UnknownExposure, sla.UnknownEnvironment, "")
	if a := s.list("cmdb", "instance_id,tag:env,tag:team\ni-1,dev,web\n"); a.Matched != 1 || a.Changed != 1 {
		t.Errorf("got %+v, want one asset matched and changed", a)
	}
	step("the list's tag", sla.Internal, sla.NonProduction, "dev")
	s.report("A1", classify.Claims{InstanceID: "i-1", Labels: map[string]string{"exposure": "internet"}})
	step("the host says it is exposed", sla.Internet, sla.NonProduction, "dev")
	s.now = s.now.Add(time.Hour)
	s.list("cmdb", "instance_id,tag:env,tag:team\ni-1,prod,web\n")
	step("the list has it in production", sla.Internet, sla.Production, "prod")
	if a := s.asset("A1"); a.Attributes.Owner != "web" || a.Classified.Provenance[classify.Exposure].Instead != "internal" {
		t.Errorf("got owner %q, exposure %+v", a.Attributes.Owner, a.Classified.Provenance[classify.Exposure])
	}
	history, err := s.st.ClassificationHistory(t.Context(), "A1")
	if err != nil || len(history) != 6 {
		t.Errorf("got %d versions (%v), want one for each time that something changed", len(history), err)
	}
}

func TestActsThatChangeNothing(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{Owner: "hand"})
	first := s.rules(envRules)
	leaves := func() int64 {
		n, err := s.st.LeafCount(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := leaves()
	if again := s.rules(envRules); again.Leaf != -1 || first.Leaf < 0 || leaves() != before {
		t.Errorf("got leaf %d for rules in force, want none", again.Leaf)
	}
	s.refresh("A1")
	if leaves() != before {
		t.Error("a refresh without news appended a leaf")
	}
	s.list("cmdb", "name,owner,service\nweb-1,list,pay\n")
	s.now = s.now.Add(24 * time.Hour)
	again := s.list("cmdb", "name,owner,service\nnew,x,y\nweb-1,list,pay\n")
	if again.Changed != 0 || again.Leaf < 0 || again.Matched != 1 {
		t.Errorf("got %+v: an entry that says the same must keep its word", again)
	}
	if o := s.asset("A1").Classified.Provenance[classify.Service]; !o.At.Equal(start) {
		t.Errorf("got %+v, want the word of the first import", o)
	}
	if a := s.asset("A1"); a.Attributes.Owner != "hand" || a.Attributes.Service != "pay" {
		t.Errorf("got %+v, want an operator's word over the list's", a.Attributes)
	}
}

func TestFaultsChangeNothing(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	before, _ := s.st.LeafCount(t.Context())
	_, err := s.s.ApplyRules(t.Context(), []byte("version: 1\nrules: [{id: a}]"), "ada")
	if !errors.Is(err, estate.ErrInvalid) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want an invalid file and its line", err)
	}
	for _, tc := range []struct{ source, text, want string }{
		{"cmdb", "name\na\na\n", "line 3"},
		{"", "name\na\n", "source's name"},
		{"Über", "name\na\n", "source's name"},
	} {
		if _, err := s.s.Import(t.Context(), estate.List{Source: tc.source, File: "x", Data: []byte(tc.text), By: "ada"}); !errors.Is(err, estate.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want it to say %q", tc.source, err, tc.want)
		}
	}
	if after, _ := s.st.LeafCount(t.Context()); after != before {
		t.Errorf("faulty files left %d leaves", after-before)
	}
}

// A host that says it is another's instance takes nothing of it: what the list
// has is then nobody's, and both are told.
func TestARivalTakesNothing(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "dev-1", store.Attributes{})
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.rules(envRules)
	s.list("cmdb", "instance_id,tag:env\ni-1,dev\n")
	s.trust("A2", "prod-1", store.Attributes{})
	s.report("A2", classify.Claims{InstanceID: "i-1"})
	for _, id := range []string{"A1", "A2"} {
		a := s.asset(id)
		if a.Attributes.Environment != sla.UnknownEnvironment || len(a.Classified.Notes) != 1 {
			t.Errorf("%s: got %s, notes %v; want unknown and a note", id, a.Attributes.Environment, a.Classified.Notes)
		}
	}
	gaps, err := s.q.ClassificationGaps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[query.GapKind]int{}
	for _, g := range gaps.Gaps {
		kinds[g.Kind]++
	}
	if diff := cmp.Diff(map[query.GapKind]int{query.GapUnknown: 6, query.GapAmbiguous: 2}, kinds); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestCoverage(t *testing.T) {
	s := newScene(t)
	for i, name := range []string{"loud", "quiet", "mute", "gone", "stray"} {
		s.trust(fmt.Sprintf("A%d", i), name, store.Attributes{})
	}
	s.report("A1", classify.Claims{InstanceID: "i-quiet"})
	s.report("A3", classify.Claims{InstanceID: "i-gone"})
	s.now = s.now.Add(30 * time.Hour)
	s.report("A0", classify.Claims{InstanceID: "i-loud"})
	s.report("A4", classify.Claims{InstanceID: "i-stray"})
	s.list("cmdb", "name\nloud\nmute\nnever\n")
	s.list("ec2", `{"Reservations":[{"OwnerId":"1","Instances":[{"InstanceId":"i-loud","State":{"Name":"running"}},{"InstanceId":"i-quiet"},
		{"InstanceId":"i-gone","State":{"Name":"terminated"}},{"InstanceId":"i-new"},{"InstanceId":"i-old","State":{"Name":"terminated"}}]}]}`)
	s.list("org", `{"Accounts":[{"Id":"1","Paths":["o-x/r-y/ou-a/1/"]}]}`)
	s.now = s.now.Add(time.Hour)
	s.report("A3", classify.Claims{InstanceID: "i-gone"})
	c, err := s.q.Coverage(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Rows {
		got = append(got, fmt.Sprintf("%s %s %s", r.Presence, r.Name, strings.Join(r.Lists, "+")))
	}
	want := []string{
		"back gone ec2", "never_seen i-new ec2", "never_seen mute cmdb", "never_seen never cmdb", "silent quiet ec2",
		"terminated i-old ec2", "reporting loud cmdb+ec2", "reporting stray ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if c.Expected != 6 || c.NeverSeen != 3 || c.Silent != 1 || c.Terminated != 1 || c.Back != 1 || c.Reporting != 2 || c.Unlisted != 1 || len(c.Lists) != 3 {
		t.Errorf("got %+v", c)
	}
	if !strings.Contains(c.Rows[0].Detail, "and yet it has reported since") {
		t.Errorf("got %q for a terminated host that reports", c.Rows[0].Detail)
	}
	if c, err := s.q.Coverage(t.Context(), 48*time.Hour); err != nil || c.Silent != 0 {
		t.Errorf("got %d silent beyond 48 h (%v), want none", c.Silent, err)
	}
	if a := s.asset("A0"); a.Attributes.OU != "ou-a" {
		t.Errorf("got unit %q of a listed account, want ou-a", a.Attributes.OU)
	}
}

func TestTryingRulesAppliesNothing(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	s.list("cmdb", "name,tag:env,owner\nweb-1,dev,list\n")
	trial, err := s.q.TryRules(t.Context(), []byte(envRules))
	if err != nil {
		t.Fatal(err)
	}
	want := []query.RuleChange{
		{Asset: "A1", Name: "web-1", Attribute: classify.Exposure, After: "internal", Rule: "dev"},
		{Asset: "A1", Name: "web-1", Attribute: classify.Environment, After: "nonproduction", Rule: "dev"},
	}
	if diff := cmp.Diff(want, trial.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"prod"}, trial.Unused); diff != "" {
		t.Errorf("unused (-want +got):\n%s", diff)
	}
	one, err := s.q.Classified(t.Context(), "web-1", []byte(envRules))
	if err != nil || one.Attributes.Environment != sla.NonProduction || one.Column != sla.ColumnNonProduction {
		t.Errorf("got %+v (%v), want the trial's environment", one.Attributes, err)
	}
	if a := s.asset("A1"); a.Attributes.Environment != sla.UnknownEnvironment {
		t.Errorf("the trial was applied: %+v", a.Attributes)
	}
	var bad *query.BadRules
	if _, err := s.q.TryRules(t.Context(), []byte("x")); !errors.As(err, &bad) {
		t.Errorf("got %v, want *BadRules", err)
	}
}

// What is declared unknown is not a word, so that a rule may say it.
func TestUnknownIsNoWord(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{Exposure: sla.UnknownExposure, Environment: sla.UnknownEnvironment})
	s.rules("version: 1\nrules: [{id: all, match: {name: \"web-*\"}, set: {exposure: internal, environment: enduser, class: appliance}}]")
	want := store.Attributes{Class: sla.Appliance, Exposure: sla.Internal, Environment: sla.EndUser}
	if diff := cmp.Diff(want, s.asset("A1").Attributes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
