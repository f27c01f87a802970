// Package recordtest makes a collector's whole record for tests: hosts that seal
// real reports, feeds, rules, lists, policies, tokens and approvals, by the
// services that do so in the product, under a clock of its own. [Year] is a year
// of everything.
package recordtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/standard"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Names of a data directory, as the server has them.
const (
	Database = "collector.db"
	HeadFile = "log-head"
)

// Start is when a record begins.
var Start = time.Date(2026, 1, 12, 8, 0, 0, 0, time.UTC)

// Debian12 is the release of the hosts.
var Debian12 = inventory.Release{Distro: "debian", Version: "12"}

// Record is a collector's record under way.
type Record struct {
	T     testing.TB
	Dir   string
	Clock time.Time
	Store *sqlstore.Store
	Keys  *trust.Keys
	Log   *evidence.Log

	Door     *ingest.Door
	Assessor *assess.Assessor
	Importer *feed.Importer
	Estate   *estate.Service
	Policies *standard.Keeper
	Tokens   *access.Keeper

	hosts map[int]*host
}

type host struct {
	*natstest.Host
	sequence uint64
	previous string
}

// New makes an empty record in a directory of its own.
func New(t testing.TB) *Record {
	t.Helper()
	r := &Record{T: t, Dir: t.TempDir(), Clock: Start, hosts: map[int]*host{}}
	var err error
	if r.Keys, err = trust.OpenKeys(filepath.Join(r.Dir, "keys")); err != nil {
		t.Fatal(err)
	}
	if r.Store, err = sqlstore.Open(t.Context(), filepath.Join(r.Dir, Database)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Store.Close() })
	now, log := func() time.Time { return r.Clock }, slog.New(slog.DiscardHandler)
	r.Log, err = evidence.OpenLog(t.Context(), evidence.Options{
		Store: r.Store, Signer: r.Keys.Log, Verifier: r.Keys.LogVerifier, HeadFile: filepath.Join(r.Dir, HeadFile), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Estate = &estate.Service{Store: r.Store, Now: now, Log: log}
	r.Assessor = assess.New(r.Store, now, log)
	r.Assessor.Classify = r.Estate.Refresh
	r.Importer = &feed.Importer{Store: r.Store, Now: now, Log: log}
	r.Policies = &standard.Keeper{Store: r.Store, Now: now}
	r.Tokens = &access.Keeper{Store: r.Store, Now: now}
	r.Door = ingest.NewDoor(ingest.Options{
		Store: r.Store, ReceiptKey: r.Keys.Receipt, LogOrigin: r.Log.Origin(), LogEpoch: r.Log.Epoch(), Now: now, Log: log,
	})
	return r
}

func (r *Record) ctx() context.Context { return r.T.Context() }

// Must ends the test when an act failed.
func (r *Record) Must(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// Pass lets time pass.
func (r *Record) Pass(d time.Duration) { r.Clock = r.Clock.Add(d) }

// Days lets days pass, with an assessment each.
func (r *Record) Days(n int) {
	r.T.Helper()
	for range n {
		r.Pass(24 * time.Hour)
		r.Assess()
	}
}

// Assess drains what is marked.
func (r *Record) Assess() {
	r.T.Helper()
	_, err := r.Assessor.Drain(r.ctx())
	r.Must(err)
}

// Sign integrates the log.
func (r *Record) Sign() {
	r.T.Helper()
	_, err := r.Log.Integrate(r.ctx())
	r.Must(err)
}

// Verify verifies the record, decisions and all.
func (r *Record) Verify() evidence.Report {
	r.T.Helper()
	v := evidence.Verifier{Store: r.Store, Key: r.Keys.LogVerifier, HeadFile: filepath.Join(r.Dir, HeadFile), Replay: assess.Replay}
	rep, err := v.Verify(r.ctx())
	r.Must(err)
	return rep
}

// Statement is what differs from one report of a host to the next.
type Statement struct {
	Packages []schema.Package
	Gaps     []schema.Gap
	// Cloud and Labels are what the host says of itself.
	Cloud  *schema.Cloud
	Labels map[string]string
	// Skip is added to the sequence: so many reports before it are lost, or late.
	Skip uint64
	// Kernel runs, 6.1.0-18-amd64 when empty.
	Kernel string
}

// Seal makes a host's next envelope. A host is made when it is first named.
func (r *Record) Seal(n int, s Statement) []byte {
	r.T.Helper()
	h := r.host(n)
	h.sequence += 1 + s.Skip
	rep := h.Report(r.T, h.sequence, s.Packages...)
	rep.Previous, rep.CollectedAt, rep.Gaps, rep.Cloud, rep.Labels = h.previous, r.Clock.Add(-time.Minute), s.Gaps, s.Cloud, s.Labels
	if s.Kernel != "" {
		rep.Kernel.Release = s.Kernel
	}
	raw, id := h.Seal(r.T, rep)
	h.previous = id
	return raw
}

// Host is a host, made when it is first named.
func (r *Record) Host(n int) *natstest.Host { return r.host(n).Host }

func (r *Record) host(n int) *host {
	if r.hosts[n] == nil {
		r.hosts[n] = &host{Host: natstest.NewHost(r.T, n)}
	}
	return r.hosts[n]
}

// Deliver hands an envelope to the door; a refusal is no error.
func (r *Record) Deliver(n int, raw []byte) {
	r.T.Helper()
	_, err := r.Door.Accept(r.ctx(), ingest.Delivery{Raw: raw, Road: "nats", TransportKey: r.Host(n).TransportKey()})
	if _, refused := errors.AsType[*ingest.Rejection](err); !refused {
		r.Must(err)
	}
}

// Report seals and delivers.
func (r *Record) Report(n int, packages ...schema.Package) {
	r.T.Helper()
	r.Deliver(n, r.Seal(n, Statement{Packages: packages}))
}

// Trust lets a host in and returns the asset's id.
func (r *Record) Trust(n int, name string, at store.Attributes) string {
	r.T.Helper()
	t, err := r.Door.Trust(r.ctx(), ingest.TrustRequest{Key: schema.KeyID(r.Host(n).Public()), Name: name, Attributes: at, By: "ada"})
	r.Must(err)
	r.Must(r.Estate.Refresh(r.ctx(), []string{t.Asset.ID}))
	return t.Asset.ID
}

// Decide decides on every pending request that a filter lets through.
func (r *Record) Decide(grant bool, which func(store.Approval) bool) int {
	r.T.Helper()
	list, err := r.Store.Approvals(r.ctx())
	r.Must(err)
	n := 0
	for _, a := range list {
		if a.State != store.ApprovalPending || !which(a) {
			continue
		}
		a.State, a.DecidedBy, a.DecidedAt, a.Reason = store.ApprovalDenied, "grace", r.Clock, "seen in the meeting"
		if grant {
			a.State = store.ApprovalGranted
		}
		leaf, err := evidence.ApprovalLeaf(a)
		r.Must(err)
		_, err = r.Store.DecideApproval(r.ctx(), a, leaf)
		r.Must(err)
		n++
	}
	return n
}

// Import imports a batch; confirm applies one that would be held.
func (r *Record) Import(b advisory.Batch, confirm bool) feed.Outcome {
	r.T.Helper()
	b.Digest = evidence.Digest(fmt.Appendf(nil, "%v %v", r.Clock, b))
	b.Published = r.Clock.Add(-time.Hour)
	out, err := r.Importer.ImportAs(r.ctx(), b, confirm, "ada")
	r.Must(err)
	return out
}

// Deb is an installed package.
func Deb(name, version string) schema.Package { return natstest.Package(name, version) }

// Advisory is one of Debian's, with a fix unless it is empty.
func Advisory(id, cve, source, fixed string, issued time.Time) advisory.Advisory {
	a := advisory.Advisory{
		ID: id, Feed: "osv:Debian", Modified: issued, Vulnerabilities: []string{cve}, Rating: "High", Summary: "flaw in " + source,
		Affected: []advisory.Affected{{
			Release: Debian12, Format: schema.FormatDeb, Name: source, Kind: advisory.NameSource,
			Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}},
		}},
	}
	if !issued.IsZero() {
		a.Issued, a.IssuedKind = issued, advisory.DateAdvisory
	}
	return a
}

// Snapshot is a whole state of Debian's feed.
func Snapshot(list ...advisory.Advisory) advisory.Batch {
	return advisory.Batch{
		Feed: advisory.Feed{Name: "osv:Debian", Kind: "osv"}, Snapshot: true, Advisories: list, Releases: []inventory.Release{Debian12},
	}
}

// Facts is a whole state of a feed of facts.
func Facts(kind string, list ...advisory.Facts) advisory.Batch {
	return advisory.Batch{Feed: advisory.Feed{Name: kind, Kind: kind}, Snapshot: true, Facts: list}
}

// Garbage is an envelope nobody signed.
func (r *Record) Garbage() []byte {
	raw := r.Seal(99, Statement{})
	e, err := envelope.Open(raw)
	if err != nil || e == nil {
		r.T.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	return raw
}

func attributesLeaf(id, name string, at store.Attributes, when time.Time) (store.Leaf, error) {
	return evidence.AttributesLeaf(id, name, at, "ada", when)
}
