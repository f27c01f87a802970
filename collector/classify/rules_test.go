package classify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/sla"
)

var at = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func rules(t testing.TB, src string) classify.RuleSet {
	t.Helper()
	rs, err := classify.ParseRules([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return classify.RuleSet{Rules: rs, By: "ops", At: at}
}

func derive(set classify.RuleSet, in classify.Input, listed ...classify.Listed) classify.Result {
	in.Asset = "A1"
	id := classify.Identity{Asset: "A1", Name: in.Name, InstanceID: in.Claims.InstanceID, Account: in.Claims.Account}
	return classify.Derive(set, classify.NewRoster(listed, []classify.Identity{id}), in)
}

// entry is a word of a list on the instance i-1.
func entry(leaf int64, e classify.Entry) classify.Listed {
	e.Kind, e.InstanceID = classify.KindInstance, "i-1"
	return classify.Listed{Source: fmt.Sprintf("list%d", leaf), Leaf: leaf, Seen: leaf, Digest: "d", By: "ops", At: at, Entry: e}
}

const wallets = `version: 1
rules:
  - id: wallet-account
    match:
      account: ["012345678901", "222222222222"]
      name: "wallet-*"
    set: {environment: production, exposure: internal, crown_jewel: true, owner: custody}
  - id: dev
    match:
      tag: {Environment: [dev, "test*"]}
    set: {environment: nonproduction, owner: {tag: Team}}
  - id: web
    match:
      label: {role: web}
    set: {exposure: internet, environment: nonproduction}
  - id: rest
    match: {name: "*"}
    set: {exposure: internal, owner: platform}
`

func TestRulesHoldInTheOrderOfTheFile(t *testing.T) {
	set := rules(t, wallets)
	inst := classify.Claims{InstanceID: "i-1"}
	for name, tc := range map[string]struct {
		in     classify.Input
		listed []classify.Listed
		want   map[classify.Attribute]string // value by rule
	}{
		"two conditions hold": {
			in:     classify.Input{Name: "wallet-1", Claims: inst},
			listed: []classify.Listed{entry(1, classify.Entry{Account: "012345678901"})},
			want: map[classify.Attribute]string{
				classify.Environment: "production wallet-account", classify.Exposure: "internal wallet-account",
				classify.Owner: "custody wallet-account", classify.CrownJewel: "true wallet-account",
			},
		},
		"one of two does not": {
			in:     classify.Input{Name: "web-1", Claims: inst},
			listed: []classify.Listed{entry(1, classify.Entry{Account: "012345678901"})},
			want:   map[classify.Attribute]string{classify.Environment: " ", classify.Exposure: "internal rest", classify.Owner: "platform rest"},
		},
		"a value from a tag, and the rest from later rules": {
			in:     classify.Input{Name: "x", Claims: inst},
			listed: []classify.Listed{entry(1, classify.Entry{Tags: map[string]string{"Environment": "test-2", "Team": "payments"}})},
			want: map[classify.Attribute]string{
				classify.Environment: "nonproduction dev", classify.Owner: "payments dev", classify.Exposure: "internal rest",
			},
		},
		"a tag that is not there says nothing": {
			in:     classify.Input{Name: "x", Claims: inst},
			listed: []classify.Listed{entry(1, classify.Entry{Tags: map[string]string{"Environment": "dev"}})},
			want:   map[classify.Attribute]string{classify.Owner: "platform rest"},
		},
		"the newer list's tag is the record's": {
			in: classify.Input{Name: "x", Claims: inst},
			listed: []classify.Listed{
				entry(1, classify.Entry{Tags: map[string]string{"Environment": "dev"}}),
				entry(2, classify.Entry{Tags: map[string]string{"Environment": "prod"}}),
			},
			want: map[classify.Attribute]string{classify.Environment: " "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := derive(set, tc.in, tc.listed...)
			for n, want := range tc.want {
				if have := got.Attributes.Get(n) + " " + got.Provenance[n].Name; have != want {
					t.Errorf("%s: got %q, want %q", n, have, want)
				}
			}
		})
	}
}

func TestWhoseWordHolds(t *testing.T) {
	set := rules(t, wallets)
	in := classify.Input{
		Name:     "wallet-1",
		Declared: classify.Declared{Attributes: classify.Attributes{Account: "222222222222", Owner: "hand", Exposure: sla.UnknownExposure}, By: "ada", At: at},
		Claims:   classify.Claims{InstanceID: "i-1", Region: "eu-west-1"},
	}
	list := entry(3, classify.Entry{Place: "line 2", Set: map[classify.Attribute]string{
		classify.Owner: "cmdb-team", classify.Environment: "nonproduction", classify.Service: "signing",
	}})
	got := derive(set, in, list)
	want := classify.Provenance{
		classify.Account:     {Source: classify.ByOperator, By: "ada", At: at},
		classify.Owner:       {Source: classify.ByOperator, By: "ada", At: at},
		classify.Environment: {Source: classify.ByRule, Name: "wallet-account", Detail: `account "222222222222", name "wallet-1" is "wallet-*"`, Digest: set.Rules.Digest, By: "ops", At: at},
		classify.Exposure:    {Source: classify.ByRule, Name: "wallet-account", Detail: `account "222222222222", name "wallet-1" is "wallet-*"`, Digest: set.Rules.Digest, By: "ops", At: at},
		classify.CrownJewel:  {Source: classify.ByRule, Name: "wallet-account", Detail: `account "222222222222", name "wallet-1" is "wallet-*"`, Digest: set.Rules.Digest, By: "ops", At: at},
		classify.Service:     {Source: classify.ByImport, Name: "list3", Detail: "line 2", Digest: "d", By: "ops", At: at},
		classify.Region:      {Source: classify.ByClaim, Name: "instance metadata", Claimed: true},
	}
	if diff := cmp.Diff(want, got.Provenance); diff != "" {
		t.Errorf("provenance (-want +got):\n%s", diff)
	}
	var owners []string
	for _, w := range got.Words[classify.Owner] {
		owners = append(owners, fmt.Sprintf("%s %s %t", w.Origin.Source, w.Value, w.Wins))
	}
	if diff := cmp.Diff([]string{"operator hand true", "rule custody false", "rule platform false", "import cmdb-team false"}, owners); diff != "" {
		t.Errorf("words on the owner (-want +got):\n%s", diff)
	}
}

func TestClaimsOnlyTighten(t *testing.T) {
	set := rules(t, wallets)
	recorded := entry(1, classify.Entry{Set: map[classify.Attribute]string{classify.Environment: "nonproduction", classify.DataSensitivity: "medium"}})
	for name, tc := range map[string]struct {
		claims classify.Claims
		n      classify.Attribute
		want   string
		with   string // what it is claimed with, empty when the record holds
	}{
		"label stricter":          {classify.Claims{Labels: map[string]string{"exposure": "internet"}}, classify.Exposure, "internet", "label exposure"},
		"tag stricter":            {classify.Claims{Tags: map[string]string{"Environment": "Prod"}}, classify.Environment, "production", "instance tag Environment"},
		"rule fits by a label":    {classify.Claims{Labels: map[string]string{"role": "web"}}, classify.Exposure, "internet", "web"},
		"and is not taken looser": {classify.Claims{Labels: map[string]string{"environment": "dev"}}, classify.Environment, "nonproduction", ""},
		"no end-user machine":     {classify.Claims{Labels: map[string]string{"environment": "enduser"}}, classify.Environment, "nonproduction", ""},
		"no internal":             {classify.Claims{Labels: map[string]string{"exposure": "internal"}}, classify.Exposure, "internal", ""},
		"no cold wallet":          {classify.Claims{Labels: map[string]string{"cold_wallet": "true"}}, classify.ColdWallet, "", ""},
		"no class":                {classify.Claims{Labels: map[string]string{"class": "golden"}}, classify.Class, "compute", ""},
		"core":                    {classify.Claims{Labels: map[string]string{"core": "yes"}}, classify.Core, "true", "label core"},
		"more sensitive":          {classify.Claims{Labels: map[string]string{"data-sensitivity": "high"}}, classify.DataSensitivity, "high", "label data-sensitivity"},
		"less sensitive":          {classify.Claims{Labels: map[string]string{"data-sensitivity": "low"}}, classify.DataSensitivity, "medium", ""},
		"nonsense":                {classify.Claims{Labels: map[string]string{"exposure": "moon\x00"}}, classify.Exposure, "internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.claims.InstanceID = "i-1"
			got := derive(set, classify.Input{Name: "x", Claims: tc.claims}, recorded)
			if v := got.Attributes.Get(tc.n); v != tc.want {
				t.Errorf("%s: got %q, want %q", tc.n, v, tc.want)
			}
			o := got.Provenance[tc.n]
			if o.Claimed != (tc.with != "") || tc.with != "" && o.Name != tc.with {
				t.Errorf("origin: got %+v, want claimed with %q", o, tc.with)
			}
		})
	}
}

// An account that only the host names must not loosen anything, nor the unit it
// would be in.
func TestAClaimedAccountMakesAClaimOfItsRules(t *testing.T) {
	set := rules(t, `version: 1
rules:
  - {id: a, match: {account: "1*"}, set: {environment: nonproduction, exposure: internal, core: true}}
  - {id: b, match: {ou: "*sandbox*"}, set: {environment: nonproduction, exposure: internal}}
`)
	account := classify.Listed{Source: "org", Leaf: 1, Entry: classify.Entry{Kind: classify.KindAccount, Account: "111111111111", OU: "ou-sandbox"}}
	got := derive(set, classify.Input{Name: "x", Claims: classify.Claims{Account: "111111111111"}}, account)
	if got.Attributes.Exposure != sla.UnknownExposure || got.Attributes.Environment != sla.UnknownEnvironment || !got.Attributes.Core {
		t.Errorf("got %+v, want exposure and environment unknown, and core", got.Attributes)
	}
	if got.Attributes.OU != "ou-sandbox" || !got.Provenance[classify.OU].Claimed {
		t.Errorf("got unit %q (%+v), want ou-sandbox, claimed", got.Attributes.OU, got.Provenance[classify.OU])
	}
	declared := classify.Declared{Attributes: classify.Attributes{Account: "111111111111"}}
	if got := derive(set, classify.Input{Name: "x", Declared: declared}, account); got.Attributes.Environment != sla.NonProduction {
		t.Errorf("with the account declared: got %q, want nonproduction", got.Attributes.Environment)
	}
}

func columnRank(a classify.Attributes) int {
	switch sla.ColumnOf(sla.Asset{Exposure: a.Exposure, Environment: a.Environment, Core: a.Core}) {
	case sla.ColumnInternet:
		return 3
	case sla.ColumnProduction:
		return 2
	case sla.ColumnNonProduction:
		return 1
	default:
		return 0
	}
}

func TestAddingAClaimNeverLoosens(t *testing.T) {
	words := []string{"internet", "internal", "unknown", "production", "nonproduction", "enduser", "true", "false", "high", "low", "web", "dev", "x"}
	keys := []string{"exposure", "environment", "Environment", "core", "class", "cold_wallet", "crown_jewel", "hot_wallet", "data_sensitivity", "role", "owner"}
	word := rapid.SampledFrom(words)
	pairs := rapid.MapOfN(rapid.SampledFrom(keys), word, 0, 4)
	rapid.Check(t, func(r *rapid.T) {
		set := drawRules(r)
		in := classify.Input{Name: word.Draw(r, "name")}
		in.Declared.Attributes.Exposure = rapid.SampledFrom([]sla.Exposure{"", sla.Internet, sla.Internal}).Draw(r, "declared exposure")
		list := entry(1, classify.Entry{Tags: pairs.Draw(r, "tags"), Account: rapid.SampledFrom([]string{"", "web", "dev"}).Draw(r, "account")})
		in.Claims.InstanceID = "i-1"
		before := derive(set, in, list)
		in.Claims.Labels = pairs.Draw(r, "labels")
		in.Claims.Tags = pairs.Draw(r, "claimed tags")
		in.Claims.Region = word.Draw(r, "region")
		in.Claims.InstanceType = word.Draw(r, "type")
		if list.Account == "" {
			in.Claims.Account = word.Draw(r, "claimed account")
		}
		got := derive(set, in, list)
		if columnRank(got.Attributes) < columnRank(before.Attributes) {
			r.Fatalf("claims loosened %+v to %+v", before.Attributes, got.Attributes)
		}
		b, g := before.Attributes, got.Attributes
		if g.Class != b.Class || g.ColdWallet != b.ColdWallet || b.CrownJewel && !g.CrownJewel || b.HotWallet && !g.HotWallet || b.Core && !g.Core {
			r.Fatalf("claims changed %+v to %+v", b, g)
		}
		if b.Exposure != sla.Internal && g.Exposure == sla.Internal || (g.Environment == sla.EndUser) != (b.Environment == sla.EndUser) {
			r.Fatalf("claims loosened %+v to %+v", b, g)
		}
		if b.Owner != "" && g.Owner != b.Owner {
			r.Fatalf("a claim replaced the owner %q by %q", b.Owner, g.Owner)
		}
		if diff := cmp.Diff(got, derive(set, in, list)); diff != "" {
			r.Fatalf("not the same twice:\n%s", diff)
		}
	})
}

func drawRules(r *rapid.T) classify.RuleSet {
	var b strings.Builder
	b.WriteString("version: 1\nrules:\n")
	for i := range rapid.IntRange(1, 5).Draw(r, "rules") {
		cond := rapid.SampledFrom([]string{
			`{name: "*"}`, `{name: web}`, `{account: [web, dev]}`, `{label: {role: "*e*"}}`, `{tag: {role: web}}`, `{region: "d*"}`, `{instance_type: x, tag: {owner: "*"}}`,
		}).Draw(r, "match")
		does := rapid.SampledFrom([]string{
			"{exposure: internal}", "{exposure: internet}", "{environment: nonproduction}", "{environment: enduser}", "{environment: production, core: true}",
			"{core: false, cold_wallet: true}", "{class: code, hot_wallet: true}", "{environment: {tag: environment}}", "{owner: {tag: owner}, data_sensitivity: low}",
		}).Draw(r, "set")
		fmt.Fprintf(&b, "  - {id: r%d, match: %s, set: %s}\n", i, cond, does)
	}
	rs, err := classify.ParseRules([]byte(b.String()))
	if err != nil {
		r.Fatal(err)
	}
	return classify.RuleSet{Rules: rs}
}

func TestAllFaultsOfRulesAtOnce(t *testing.T) {
	_, err := classify.ParseRules([]byte(`version: 2
rules:
  - id: Upper
    match: {name: "*"}
    set: {exposure: moon}
  - id: a
    match: {nam: x, tag: {}}
    set: {}
  - id: a
    mach: {name: x}
    set: {core: maybe, exposure: unknown, owner: [a]}
extra: 1
`))
	if _, ok := errors.AsType[*classify.Invalid](err); !ok {
		t.Fatalf("got %v, want *Invalid", err)
	}
	for _, want := range []string{
		"line 12: the file has an unknown key \"extra\"", "line 1: version is not 1", "line 3: a rule needs an id", "line 5: rule : exposure \"moon\"",
		"line 7: rule a: match has an unknown key \"nam\"", "line 7: rule a: tag names no key", "line 8: rule a sets nothing",
		"line 9: rule \"a\" is already on line 6", "line 10: a rule has an unknown key \"mach\"", "line 9: rule a has no match", "core \"maybe\": want true or false",
		"exposure is set to unknown", "line 11: rule a: owner is not a single value",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got\n%v\nwant it to say %q", err, want)
		}
	}
}

func TestRulesRefused(t *testing.T) {
	deep := strings.Repeat("[", 10_001)
	for name, tc := range map[string]struct{ src, want string }{
		"empty":         {"", "the file is empty"},
		"no mapping":    {"[]", "not a mapping"},
		"two documents": {"version: 1\n---\nversion: 1\n", "more than one document"},
		"aliases":       {"version: &v 1\nrules: []\n", "anchors and aliases"},
		"not UTF-8":     {"version: \xff", "not UTF-8"},
		"too large":     {strings.Repeat("#", classify.MaxRules+1), "at most"},
		"too deep":      {deep, "exceeded max depth"},
		"no rules":      {"version: 1\nrules: []\n", "not a list with at least one rule"},
		"match all":     {"version: 1\nrules: [{id: a, match: {}, set: {core: true}}]", "no condition"},
		"control":       {"version: 1\nrules: [{id: a, match: {name: \"a\\u202e\"}, set: {core: true}}]", "cannot be printed"},
		"long":          {"version: 1\nrules: [{id: a, match: {name: \"*\"}, set: {owner: " + strings.Repeat("x", 300) + "}}]", "300 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := classify.ParseRules([]byte(tc.src))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestGlobs(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"web", "web", true},
		{"web", "Web", false},
		{"web", "web1", false},
		{"*", "a/b", true},
		{"w?b", "wüb", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"*-prod", "x-prod-prod", true},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"??", "a", false},
		{strings.Repeat("a*", 100) + "b", strings.Repeat("a", 250), false},
	} {
		set := rules(t, fmt.Sprintf("version: 1\nrules: [{id: a, match: {name: %q}, set: {core: true}}]", tc.pattern))
		if got := derive(set, classify.Input{Name: tc.name}).Attributes.Core; got != tc.want {
			t.Errorf("%q matches %q: got %t, want %t", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func TestAnEntryIsOneAssets(t *testing.T) {
	ids := []classify.Identity{
		{Asset: "A1", Name: "web", InstanceID: "i-1", Account: "1"},
		{Asset: "A2", Name: "db", InstanceID: "i-2"},
		{Asset: "A3", Name: "twin", InstanceID: "i-2"},
		{Asset: "A4", Name: "App"},
	}
	list := func(e classify.Entry) classify.Listed {
		e.Kind = classify.KindInstance
		return classify.Listed{Source: "cmdb", Leaf: 1, Entry: e}
	}
	other := list(classify.Entry{InstanceID: "i-1", Account: "2"})
	twice := list(classify.Entry{InstanceID: "i-2"})
	app := list(classify.Entry{Name: "app", Account: "9"})
	web := list(classify.Entry{InstanceID: "i-1", Account: "1", Name: "db"})
	r := classify.NewRoster([]classify.Listed{other, twice, app, web}, ids)
	for _, tc := range []struct {
		l    classify.Listed
		want string
	}{{app, "A4"}, {twice, ""}} {
		if got := r.Owner(&tc.l); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.l.Key(), got, tc.want)
		}
	}
	if len(r.Notes("A2")) == 0 || len(r.Notes("A3")) == 0 {
		t.Error("two assets that claim one instance are not told")
	}
	if got := r.Of("A1"); len(got) != 1 || got[0].Account != "1" {
		t.Errorf("got %+v, want the entry of account 1", got)
	}
	same := []classify.Listed{list(classify.Entry{Name: "App", Account: "1"}), list(classify.Entry{Name: "App", Account: "2"})}
	r = classify.NewRoster(same, ids)
	if len(r.Of("A4")) != 0 || len(r.Notes("A4")) != 1 {
		t.Errorf("got %v, %v; want no entry and a note for an ambiguous name", r.Of("A4"), r.Notes("A4"))
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte(wallets))
	f.Add([]byte("version: 1\nrules: [{id: a, match: {tag: {a: [b]}}, set: {owner: {tag: x}}}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		rs, err := classify.ParseRules(src)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		derive(classify.RuleSet{Rules: rs}, classify.Input{Name: "wallet-1", Claims: classify.Claims{Labels: map[string]string{"role": "web"}}})
	})
}
