package recordtest

import (
	"bytes"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

const day = 24 * time.Hour

// Year is a small estate through a year in which everything happens that leaves a
// trace: every table of the store has rows when it ends, and all is signed.
func Year(t testing.TB) *Record {
	t.Helper()
	r := New(t)
	r.Begin()
	r.spring()
	r.summer()
	r.autumn()
	r.winter()
	r.Sign()
	return r
}

// Begin is the first day: standard, tokens, feeds, hosts.
func (r *Record) Begin() {
	r.T.Helper()
	_, src := policy.Default()
	r.apply(src, "", false)
	for _, name := range []string{"dashboard", "ada", "old"} {
		_, _, err := r.Tokens.Create(r.ctx(), access.Request{Name: name, Scopes: []string{"read", "operate"}, TTL: 400 * day}, "first start")
		r.Must(err)
	}
	_, _, err := r.Tokens.Create(r.ctx(), access.Request{Name: "boss", Scopes: []string{"admin"}}, "first start")
	r.Must(err)
	r.Import(Snapshot(
		Advisory("DSA-1", "CVE-2026-1", "openssl", "3.0.12-1", Start.AddDate(0, 0, -40)),
		Advisory("DSA-2", "CVE-2026-2", "bash", "5.2.20-1", Start.AddDate(0, 0, -3)),
		Advisory("DSA-3", "CVE-2026-3", "zlib", "", time.Time{}),
	), false)
	r.Import(Facts("kev", advisory.Facts{Vulnerability: "CVE-2026-2", KEV: &advisory.KEV{Added: "2026-01-02", Due: "2026-01-23"}}), false)
	r.Import(Facts("epss",
		advisory.Facts{Vulnerability: "CVE-2026-1", EPSS: &advisory.EPSS{Score: 0.41, Percentile: 0.9, Date: "2026-01-12"}},
		advisory.Facts{Vulnerability: "CVE-2026-3", EPSS: &advisory.EPSS{Score: 0.02, Percentile: 0.4, Date: "2026-01-12"}},
	), false)
	r.Import(Facts("cve",
		advisory.Facts{
			Vulnerability: "CVE-2026-1", SSVC: &advisory.SSVC{Exploitation: "poc", Automatable: "no", Impact: "partial"},
			Scores: []advisory.Score{{Source: "cna", Version: "3.1", Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Value: 9.8}},
		},
		advisory.Facts{Vulnerability: "CVE-2026-9", SSVC: &advisory.SSVC{Exploitation: "none"}},
	), false)
	r.Trust(1, "web-1", store.Attributes{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production, Owner: "payments"})
	r.Trust(2, "db-1", store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production, Service: "ledger"})
	r.Trust(3, "test-1", store.Attributes{})
	r.Report(4, r.packages("3.0.11", "1.2.13")...) // waits for trust
	r.Deliver(99, r.Garbage())
	r.reports("3.0.11", "1.2.13")
	r.Assess()
	r.Sign()
}

func (r *Record) packages(openssl, zlib string) []schema.Package {
	return []schema.Package{Deb("bash", "5.2.15"), Deb("openssl", openssl), Deb("libssl3", openssl), Deb("zlib", zlib)}
}

// reports is a round of the trusted hosts.
func (r *Record) reports(openssl, zlib string) {
	r.T.Helper()
	for n := 1; n <= 3; n++ {
		r.Pass(time.Minute)
		r.Deliver(n, r.Seal(n, Statement{
			Packages: r.packages(openssl, zlib),
			Cloud:    &schema.Cloud{Provider: "aws", AccountID: "111122223333", Region: "eu-west-1", InstanceID: "i-0000000000000000" + string(rune('0'+n))},
			Labels:   map[string]string{"tier": "one"},
		}))
	}
}

func (r *Record) apply(src []byte, effective finding.Date, looser bool) {
	r.T.Helper()
	_, err := r.Policies.Apply(r.ctx(), standard.Request{Source: src, Effective: effective, AcceptLooser: looser}, "boss")
	r.Must(err)
}

// spring brings lists, rules, a host that waited, a fix and a breach.
func (r *Record) spring() {
	r.T.Helper()
	r.Days(5)
	_, err := r.Estate.Import(r.ctx(), estate.List{
		Source: "cmdb", File: "cmdb.csv", By: "ada",
		Data: []byte("name,owner,tag:env\nweb-1,payments,prod\ndb-1,core,prod\ngone-1,nobody,dev\n"),
	})
	r.Must(err)
	_, err = r.Estate.ApplyRules(r.ctx(), []byte("version: 1\nrules:\n  - {id: prod, match: {tag: {env: prod}}, set: {environment: production}}\n"), "boss")
	r.Must(err)
	r.Assess()
	r.Trust(4, "", store.Attributes{Exposure: sla.Internet, Environment: sla.Production, ColdWallet: true}) // its report leaves quarantine
	r.Report(5, r.packages("3.0.12", "1.2.13")...)                                                          // waits for good
	r.Assess()
	_, err = r.Tokens.Revoke(r.ctx(), "old", "boss")
	r.Must(err)
	r.Days(10)
	r.Sign()
	// The next state of the feed: a fix, a withdrawn advisory, one without versions, one gone.
	withdrawn := Advisory("DSA-2", "CVE-2026-2", "bash", "5.2.20-1", Start.AddDate(0, 0, -3))
	at := r.Clock.Add(-time.Hour)
	withdrawn.Withdrawn, withdrawn.Modified = &at, at
	unclear := Advisory("DSA-4", "CVE-2026-4", "bash", "", r.Clock)
	unclear.Affected[0].Ranges = nil
	r.Import(Snapshot(
		Advisory("DSA-1", "CVE-2026-1", "openssl", "3.0.12-1", Start.AddDate(0, 0, -40)),
		withdrawn,
		Advisory("DSA-3", "CVE-2026-3", "zlib", "1.2.14-1", time.Time{}),
		unclear,
	), true)
	r.Assess()
	r.reports("3.0.12", "1.2.13") // openssl is fixed, late on the internet
	r.Assess()
}

// summer brings a looser word and who decides on it, another policy, a regression.
func (r *Record) summer() {
	r.T.Helper()
	r.Days(3)
	held := r.Import(Snapshot(Advisory("DSA-1", "CVE-2026-1", "openssl", "3.0.12-1", Start)), false)
	if held.Result != "held" {
		r.T.Fatalf("a snapshot that takes most away was %s", held.Result)
	}
	_, err := r.Estate.ApplyRules(r.ctx(), []byte("version: 1\nrules:\n"+
		"  - {id: prod, match: {tag: {env: prod}}, set: {environment: nonproduction, exposure: internal}}\n"+
		"  - {id: rest, match: {name: \"test-*\"}, set: {environment: nonproduction, exposure: internal, owner: lab}}\n"), "boss")
	r.Must(err)
	for _, n := range []int{1, 2, 3, 4} {
		r.setAttributes(n)
	}
	r.Assess()
	pending := 0
	r.Decide(true, func(store.Approval) bool { pending++; return pending == 1 })
	r.Decide(false, func(store.Approval) bool { pending++; return pending == 2+1 })
	if pending < 3 {
		r.T.Fatalf("%d requests were asked for", pending)
	}
	r.Assess()
	_, src := policy.Default()
	looser := bytes.Replace(src, []byte("      internet: 14 days\n      production: 30 days"), []byte("      internet: 21 days\n      production: 25 days"), 1)
	if bytes.Equal(looser, src) {
		r.T.Fatal("the shipped policy has another spelling")
	}
	r.apply(looser, "", true)
	r.Days(2)
	r.Import(Facts("epss",
		advisory.Facts{Vulnerability: "CVE-2026-1", EPSS: &advisory.EPSS{Score: 0.62, Percentile: 0.95, Date: "2026-02-06"}},
	), true)
	r.Import(Facts("kev", advisory.Facts{Vulnerability: "CVE-2026-3", KEV: &advisory.KEV{Added: r.Clock.Format(time.DateOnly)}}), true)
	r.Days(25)
	r.reports("3.0.11", "1.2.13") // somebody rolled back: openssl comes back for good
	r.Assess()
	r.Sign()
}

// setAttributes is an operator's word on an asset.
func (r *Record) setAttributes(n int) {
	r.T.Helper()
	a, err := r.Store.AssetByKey(r.ctx(), schema.KeyID(r.Host(n).Public()))
	r.Must(err)
	at := a.Declared.Attributes
	at.Exposure, at.Environment, at.ColdWallet = sla.Internal, sla.NonProduction, false
	leaf, err := attributesLeaf(a.ID, a.Name, at, r.Clock)
	r.Must(err)
	_, err = r.Store.SetAttributes(r.ctx(), a.ID, a.Name, at, leaf)
	r.Must(err)
}

// autumn brings gaps, late and lost reports, repetitions, and the end of it.
func (r *Record) autumn() {
	r.T.Helper()
	_, src := policy.Default()
	r.apply(src, finding.Date(r.Clock.AddDate(0, 0, 3).Format(time.DateOnly)), true)
	r.Deliver(2, r.Seal(2, Statement{Packages: r.packages("3.0.11", "1.2.14"), Gaps: []schema.Gap{
		{Extractor: "dpkg", Kind: "unreadable", Path: "/var/lib/dpkg/status", Detail: "cut short"},
	}}))
	r.Assess()
	late := r.Seal(1, Statement{Packages: r.packages("3.0.12", "1.2.13")})
	r.Deliver(1, r.Seal(1, Statement{Packages: r.packages("3.0.12", "1.2.14"), Skip: 1}))
	r.Assess()
	r.Pass(time.Hour)
	r.Deliver(1, late) // an older report comes late: all is folded again
	r.Deliver(1, late) // and once more
	r.Assess()
	r.Days(6)
	r.reports("3.0.12", "1.2.14")
	r.Days(16) // outcomes become final
	r.Import(Snapshot(
		Advisory("DSA-1", "CVE-2026-1", "openssl", "3.0.12-1", Start.AddDate(0, 0, -40)),
		Advisory("DSA-2", "CVE-2026-2", "bash", "5.2.20-1", Start.AddDate(0, 0, -3)),
		Advisory("DSA-3", "CVE-2026-3", "zlib", "1.2.14-1", time.Time{}),
	), true)
	r.Days(1)
}

// winter brings hosts whose key two machines speak with, and hosts that go.
func (r *Record) winter() {
	r.T.Helper()
	for n := 5; n <= 6; n++ {
		asset := r.Trust(n, "copied-"+string(rune('0'+n)), store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production})
		r.Report(n, r.packages("3.0.11", "1.2.14")...)
		r.Assess()
		before := *r.host(n)
		r.Pass(time.Minute)
		r.Report(n, r.packages("3.0.12", "1.2.14")...)
		keep := r.host(n).previous
		*r.host(n) = before
		r.Pass(time.Minute)
		r.Report(n, r.packages("3.0.11", "1.2.14")...)
		r.Assess()
		r.Pass(time.Hour)
		_, err := r.Door.ClearClone(r.ctx(), ingest.ClearRequest{Host: asset, Keep: keep, Reason: "the other is a copy", By: "boss"})
		r.Must(err)
		r.Assess()
		r.retire(asset, true)
		r.Days(1)
	}
	r.retire(r.asset(6), false)
	r.Days(1)
}

func (r *Record) asset(n int) string {
	r.T.Helper()
	a, err := r.Store.AssetByKey(r.ctx(), schema.KeyID(r.Host(n).Public()))
	r.Must(err)
	return a.ID
}

// retire is an operator's word on whether an asset is in use.
func (r *Record) retire(asset string, retired bool) {
	r.T.Helper()
	r.Pass(time.Hour)
	word := store.Retirement{Retired: retired, At: r.Clock, Reason: "sold, they said", By: "ada"}
	leaf, err := evidence.RetirementLeaf(asset, word, r.Clock)
	r.Must(err)
	_, err = r.Store.Retire(r.ctx(), asset, word, leaf)
	r.Must(err)
	r.Assess()
}
