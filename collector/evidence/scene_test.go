package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// now is the collector's clock in these tests.
var now = time.Date(2026, 3, 2, 9, 30, 0, 123456000, time.UTC)

// scene is a collector's record with real envelopes, made by the roles
// themselves.
type scene struct {
	t     testing.TB
	dir   string
	store *sqlstore.Store
	keys  *trust.Keys
	hosts map[string]*host
}

// host is what an agent knows of itself.
type host struct {
	id       string
	key      ed25519.PrivateKey
	sequence uint64
	previous string
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), hosts: map[string]*host{}}
	keys, err := trust.OpenKeys(filepath.Join(s.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s.keys = keys
	s.open()
	return s
}

func (s *scene) db() string   { return filepath.Join(s.dir, "patchproof.db") }
func (s *scene) head() string { return filepath.Join(s.dir, "log.head") }

func (s *scene) open() {
	s.t.Helper()
	s.store = sqltest.OpenAt(s.t, s.db())
}

// log opens the evidence log, as a start of the collector does.
func (s *scene) log() *evidence.Log {
	s.t.Helper()
	l, err := evidence.OpenLog(s.t.Context(), evidence.Options{
		Store: s.store, Signer: s.keys.Log, Verifier: s.keys.LogVerifier, HeadFile: s.head(), Now: func() time.Time { return now },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (s *scene) integrate(l *evidence.Log) store.Checkpoint {
	s.t.Helper()
	c, err := l.Integrate(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *scene) verify() evidence.Report {
	s.t.Helper()
	v := evidence.Verifier{Store: s.store, Key: s.keys.LogVerifier, HeadFile: s.head()}
	r, err := v.Verify(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *scene) wantOK() evidence.Report {
	s.t.Helper()
	r := s.verify()
	if !r.OK {
		s.t.Fatalf("not ok:\n%s", r.Summary())
	}
	return r
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (s *scene) leaf(l store.Leaf, err error) store.Leaf {
	s.t.Helper()
	return must[store.Leaf](s.t)(l, err)
}

func (s *scene) trust(id string) *host {
	s.t.Helper()
	h := hostOf(id)
	a := store.Asset{
		ID: id, Name: "host " + id, Key: schema.KeyID(h.public()), TrustedAt: now,
		Attributes: store.Attributes{Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production},
	}
	must[int64](s.t)(s.store.TrustKey(s.t.Context(), a, s.leaf(evidence.TrustLeaf(a, "cli", now))))
	s.hosts[id] = h
	return h
}

func hostOf(id string) *host {
	seed := sha256.Sum256([]byte(id))
	return &host{id: id, key: ed25519.NewKeyFromSeed(seed[:])}
}

func (h *host) public() ed25519.PublicKey { return h.key.Public().(ed25519.PublicKey) }

// next makes the host's next sealed report and the row the door makes of it.
func (s *scene) next(h *host, text string) store.Report {
	s.t.Helper()
	h.sequence++
	st := &schema.Report{
		Sequence: h.sequence, Previous: h.previous, CollectedAt: now.Truncate(time.Second).Add(time.Duration(h.sequence) * time.Minute),
		TransportKey: transportKey(h.id), Agent: schema.Agent{Version: "1.0.0", GoVersion: "go1.26", Platform: "linux/amd64"},
		Host: schema.Host{Hostname: "host-" + h.id, Arch: "x86_64"},
		OS:   schema.OSRelease{ID: "debian", VersionID: "12", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
		Kernel: schema.Kernel{
			Release: "6.1.0-18-amd64", Version: "#1 SMP", Machine: "x86_64",
		},
		Parts:  []schema.Part{schema.NewPart(schema.PartPackages, text)},
		Bodies: map[string]string{schema.PartPackages: text},
	}
	raw, id, err := envelope.Seal(st, h.key)
	if err != nil {
		s.t.Fatal(err)
	}
	h.previous = id
	opened, err := envelope.Open(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	signed := must[*schema.Report](s.t)(opened.Report())
	return store.Report{
		ID: id, Asset: h.id, Key: schema.KeyID(h.public()), Sequence: signed.Sequence, Previous: signed.Previous,
		CollectedAt: signed.CollectedAt, ReceivedAt: now.Add(time.Duration(h.sequence) * time.Minute),
		Release:   inventory.ReleaseOf(signed.OS.ID, signed.OS.VersionID),
		Kernel:    inventory.Kernel{Release: signed.Kernel.Release, Version: signed.Kernel.Version, Machine: signed.Kernel.Machine},
		SetDigest: signed.Parts[0].Digest, Complete: true, Statement: *signed, Raw: raw, Road: "nats",
		PartsTexts: map[string]string{signed.Parts[0].Digest: text},
	}
}

// transportKey has the form of a NATS user key.
func transportKey(id string) string {
	sum := sha512.Sum512([]byte(id))
	return "U" + base32.StdEncoding.EncodeToString(sum[:])[:55]
}

func (s *scene) accept(r store.Report) int64 {
	s.t.Helper()
	return must[int64](s.t)(s.store.AcceptReport(s.t.Context(), r, s.leaf(evidence.ReportLeaf(r))))
}

// packages makes the canonical text of n packages.
func packages(t testing.TB, n int, version string) string {
	t.Helper()
	ps := make([]schema.Package, n)
	for i := range ps {
		name := fmt.Sprintf("package-%04d", i)
		ps[i] = schema.Package{
			Format: schema.FormatDeb, Name: name, Version: version, Release: fmt.Sprint(i), Arch: "amd64",
			Source: name, SourceVersion: version + "-" + fmt.Sprint(i), Status: "installed",
		}
	}
	return must[string](t)(schema.EncodePackages(ps))
}

// assess records one finding for every dirty asset.
func (s *scene) assess(vulnerability string) {
	s.t.Helper()
	var as []store.Assessment
	for _, m := range must[[]store.Mark](s.t)(s.store.DirtyAssets(s.t.Context(), 0)) {
		f := finding.Finding{
			ID: finding.ID(m.Asset, vulnerability, "openssl"), Asset: m.Asset, Vulnerability: vulnerability, Component: "openssl",
			State: finding.Open, Detected: now, SeenAt: now, Severity: finding.High, SeveritySource: "vendor rating <Important> & more",
			Verdict: finding.Verdict{DueAt: now.Add(48 * time.Hour), Priority: "P1", State: finding.VerdictOpen},
		}
		ask := store.Approval{
			ID: "R-" + m.Asset, Cause: finding.CauseClassification, Subject: m.Asset, What: "exposure <internet> to internal", RequestedBy: "cli", RequestedAt: now,
		}
		as = append(as, store.Assessment{
			Mark: m, At: now, AssessedSequence: s.hosts[m.Asset].sequence, Covered: true, Changed: []finding.Finding{f},
			Classification: ask.ID, Requests: []store.Approval{ask},
		})
	}
	l := s.leaf(evidence.AssessmentLeaf(as, "policy-digest", now))
	must[int64](s.t)(s.store.ApplyAssessments(s.t.Context(), as, &l))
}

// whole is a record with every kind of leaf, integrated in three steps.
func whole(t testing.TB) *scene {
	t.Helper()
	s := newScene(t)
	l := s.log()
	for _, id := range []string{"A1", "A2", "A3"} {
		s.trust(id)
	}
	s.rounds(3)
	s.integrate(l)
	s.acts()
	s.rounds(2)
	s.integrate(l)
	s.assess("CVE-2026-1")
	s.assess("CVE-2026-2") // nothing is dirty: no leaf
	for id, state := range map[string]store.ApprovalState{"R-A1": store.ApprovalGranted, "R-A2": store.ApprovalDenied, "R-A3": store.ApprovalGranted} {
		a := must[store.Approval](t)(s.store.Approval(t.Context(), id))
		a.State, a.DecidedBy, a.DecidedAt, a.Reason = state, "boss", now, "seen & done"
		must[int64](t)(s.store.DecideApproval(t.Context(), a, s.leaf(evidence.ApprovalLeaf(a))))
	}
	s.rounds(1)
	s.assess("CVE-2026-2")
	s.integrate(l)
	return s
}

func (s *scene) rounds(n int) {
	s.t.Helper()
	for range n {
		for _, id := range []string{"A1", "A2", "A3"} {
			h := s.hosts[id]
			s.accept(s.next(h, packages(s.t, 20, fmt.Sprintf("1.%d", h.sequence/2))))
		}
	}
}

// acts are those of people and feeds.
func (s *scene) acts() {
	s.t.Helper()
	ctx := s.t.Context()
	at := store.Attributes{Class: sla.Compute, Exposure: sla.Internet, Environment: sla.Production, Core: true, Owner: "team <a>"}
	must[int64](s.t)(s.store.SetAttributes(ctx, "A2", "renamed", at, s.leaf(evidence.AttributesLeaf("A2", "renamed", at, "cli", now))))
	for _, gone := range []store.Retirement{
		{Retired: true, At: now.Add(time.Hour), Reason: "sold <1>", By: "ada"},
		{At: now.Add(2 * time.Hour), Reason: "not sold", By: "ada"},
	} {
		must[int64](s.t)(s.store.Retire(ctx, "A2", gone, s.leaf(evidence.RetirementLeaf("A2", gone, now))))
	}
	p := store.PolicyRecord{
		Digest: "policy-digest", Source: []byte("policy: yes\n"), AppliedAt: now, EffectiveAt: now.Add(time.Hour), By: "cli",
		Looser: []store.LooserCell{{Path: "kev.mitigate_hours", From: "24 hours", To: "48 hours"}},
	}
	must[int64](s.t)(s.store.ApplyPolicy(ctx, p, s.leaf(evidence.PolicyLeaf(p, "cli"))))
	s.classify("cmdb", "name,owner,tag:env\nhost A1,team one,prod\ngone,nobody,dev\n")
	s.classify("cmdb", "name,owner,tag:env\nnew,team,prod\n\nhost A1,team one,prod\n")
	s.classify("", "version: 1\nrules:\n  - {id: prod, match: {tag: {env: prod}}, set: {environment: production, exposure: internal}}\n")
	s.classify("", "version: 1\nrules:\n  - {id: all, match: {name: \"*\"}, set: {owner: platform}}\n")
	_, hash, err := trust.NewToken()
	if err != nil {
		s.t.Fatal(err)
	}
	tok := store.Token{Name: "admin", Hash: hash, CreatedAt: now, CreatedBy: "first start", Scopes: []string{"read", "operate"}, ExpiresAt: now.Add(time.Hour)}
	if err := s.store.AddToken(ctx, tok, s.leaf(evidence.TokenLeaf(tok, "first start"))); err != nil {
		s.t.Fatal(err)
	}
	must[int64](s.t)(s.store.RevokeToken(ctx, "admin", "cli", now, s.leaf(evidence.TokenEndLeaf("admin", "cli", now))))
	b := advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Snapshot: true, Digest: "d"}
	must[store.Applied](s.t)(s.store.ApplyBatch(ctx, b, now, s.leaf(evidence.FeedLeaf(b, "", "cli", now))))
	o := advisory.Batch{Feed: advisory.Feed{Name: "osv:Debian", Kind: "osv"}, Snapshot: true, Digest: "d3", Advisories: []advisory.Advisory{
		{ID: "DSA-1", Vulnerabilities: []string{"CVE-2026-1"}}, {ID: "DSA-2", Vulnerabilities: []string{"CVE-2026-2"}},
	}}
	must[store.Applied](s.t)(s.store.ApplyBatch(ctx, o, now, s.leaf(evidence.FeedLeaf(o, "", "cli", now))))
	h := store.Held{Digest: "d2", At: now, Reason: "shrinks by 3 %"}
	if err := s.store.HoldBatch(ctx, b.Feed, h, s.leaf(evidence.FeedHeldLeaf(b.Feed, h))); err != nil {
		s.t.Fatal(err)
	}
}

// classify imports a list under a source's name, or applies rules when it is empty.
func (s *scene) classify(source, text string) {
	s.t.Helper()
	at := now
	must[int64](s.t)(s.store.Reclassify(s.t.Context(), nil, func(e store.Estate) (store.Reclassification, error) {
		var r store.Reclassification
		body := evidence.ClassificationBody{By: "ada"}
		if source == "" {
			rules := must[*classify.Rules](s.t)(classify.ParseRules([]byte(text)))
			r.Rules = &store.RulesRecord{Digest: rules.Digest, Source: []byte(text), AppliedAt: at, AppliedBy: "ada"}
			e.Rules = r.Rules
			body.Act, body.Rules = evidence.ActRules, &evidence.RulesBody{Digest: rules.Digest, Rules: len(rules.Rules)}
		} else {
			list := must[classify.List](s.t)(classify.ReadImport([]byte(text)))
			r.Import = &store.AssetImport{
				Source: source, File: "f.csv", Format: list.Format, Digest: list.Digest, Entries: len(list.Entries), ImportedAt: at, ImportedBy: "ada", Text: []byte(text),
			}
			body.Act, body.Import = evidence.ActImport, &evidence.ImportBody{Source: source, File: "f.csv", Format: list.Format, Digest: list.Digest, Entries: len(list.Entries)}
			for i := range list.Entries {
				l := classify.Listed{Source: source, Digest: list.Digest, Leaf: e.Next, Seen: e.Next, By: "ada", At: at, Entry: list.Entries[i]}
				for _, was := range e.Listed {
					if was.Source == source && was.Same(&list.Entries[i]) {
						was.Seen = e.Next
						l = was
					}
				}
				r.Listed = append(r.Listed, l)
			}
			e.Listed = append(e.Listed, r.Listed...)
		}
		set, err := e.RuleSet()
		if err != nil {
			return r, err
		}
		roster := classify.NewRoster(e.Listed, e.Identities)
		for i := range e.Standings {
			st := &e.Standings[i]
			res := classify.Derive(set, roster, st.Input())
			r.Changed = append(r.Changed, store.Classification{
				Asset: st.Asset, Attributes: res.Attributes, Provenance: res.Provenance, Notes: res.Notes, Claims: st.Claims,
			})
		}
		leaf, err := evidence.ClassificationLeaf(body, r.Changed, at)
		r.Leaf = &leaf
		return r, err
	}))
}

// backup copies the database as it stands.
func (s *scene) backup() string {
	s.t.Helper()
	if err := s.store.Close(); err != nil { // folds the write-ahead log into the file
		s.t.Fatal(err)
	}
	copied := filepath.Join(s.t.TempDir(), "backup.db")
	copyFile(s.t, s.db(), copied)
	s.open()
	return copied
}

func (s *scene) restore(from string) {
	s.t.Helper()
	if err := s.store.Close(); err != nil {
		s.t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(s.db() + suffix)
	}
	copyFile(s.t, from, s.db())
	s.open()
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, bytes.Clone(b), 0o600); err != nil {
		t.Fatal(err)
	}
}
