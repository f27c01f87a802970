// Package natstest runs the real broker inside a test and plays the hosts that
// use it. Hosts are made from a small number, so that a failing test fails again
// with the same keys and the same envelopes.
package natstest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Server is a broker and the authority it believes.
type Server struct {
	*natsin.Broker
	Authority *broker.Authority
	// AuthorityDir is where its keys lie.
	AuthorityDir string
}

// Broker starts a broker that listens nowhere, lets guests in, and ends with the test.
func Broker(t testing.TB) *Server {
	t.Helper()
	return BrokerIn(t, t.TempDir(), "")
}

// BrokerIn starts such a broker over a directory; listen as in natsin.BrokerOptions.
func BrokerIn(t testing.TB, dir, listen string) *Server {
	t.Helper()
	return Start(t, natsin.BrokerOptions{Dir: dir, Listen: listen, Guests: true})
}

// Start starts a broker with an authority of its own.
func Start(t testing.TB, o natsin.BrokerOptions) *Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "authority")
	authority, err := broker.Open(dir, "", time.Now) //nolint:forbidigo // a broker in a test lives now
	if err != nil {
		t.Fatal(err)
	}
	o.Authority = authority
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b, err := natsin.StartBroker(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	authority.OnPush(b.UpdateAccount)
	return &Server{b, authority, dir}
}

// Conn is the collector's own connection to a broker.
func Conn(t testing.TB, b *Server) *nats.Conn {
	t.Helper()
	nc, err := b.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Host is a made-up host with its two keys.
type Host struct {
	N         int
	Key       ed25519.PrivateKey
	Transport nkeys.KeyPair
}

// NewHost returns host n, the same for the same n.
func NewHost(t testing.TB, n int) *Host {
	t.Helper()
	seed := sha256.Sum256(fmt.Appendf(nil, "host %d evidence", n))
	road := sha256.Sum256(fmt.Appendf(nil, "host %d transport", n))
	transport, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, road[:])
	if err != nil {
		t.Fatal(err)
	}
	return &Host{N: n, Key: ed25519.NewKeyFromSeed(seed[:]), Transport: transport}
}

// Public is the host's evidence key.
func (h *Host) Public() ed25519.PublicKey {
	pub, _ := h.Key.Public().(ed25519.PublicKey)
	return pub
}

// TransportKey is the host's NATS user key.
func (h *Host) TransportKey() string {
	pub, err := h.Transport.PublicKey()
	if err != nil {
		panic(err) // the pair was made in NewHost
	}
	return pub
}

// Name is the host's name.
func (h *Host) Name() string { return fmt.Sprintf("host-%d.example", h.N) }

// Package is an installed deb of the given name and version.
func Package(name, version string) schema.Package {
	return schema.Package{
		Format: schema.FormatDeb, Name: name, Version: version, Release: "1", Arch: "amd64",
		Source: name, SourceVersion: version + "-1", Status: "installed",
	}
}

// Report is the host's full report with a sequence; its packages, when none are
// given, differ from one sequence to the next.
func (h *Host) Report(t testing.TB, seq uint64, packages ...schema.Package) *schema.Report {
	t.Helper()
	if packages == nil {
		packages = []schema.Package{Package("base-files", "12.4"), Package("bash", fmt.Sprintf("5.2.%d", seq)), Package("openssl", "3.0.11")}
	}
	text, err := schema.EncodePackages(packages)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC).Add(time.Duration(seq) * time.Hour)
	previous := ""
	if seq > 1 { // a made-up id, for reports that stand alone; Chain gives the real one
		previous = schema.PartDigest(fmt.Sprintf("host %d report %d", h.N, seq-1))
	}
	return &schema.Report{
		Sequence: seq, Previous: previous, CollectedAt: at, TransportKey: h.TransportKey(),
		Agent:  schema.Agent{Version: "1.0.0", GoVersion: "go1.26", Platform: "linux/amd64"},
		Host:   schema.Host{Hostname: h.Name(), Arch: "x86_64", MachineID: fmt.Sprintf("%032x", h.N)},
		OS:     schema.OSRelease{ID: "debian", VersionID: "12", Codename: "bookworm", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
		Kernel: schema.Kernel{Release: "6.1.0-18-amd64", Machine: "x86_64"},
		Boot:   schema.Boot{ID: "5d3b8a4e-0c3a-4a0e-9f53-0c6f3f9f1c55", Time: at.Add(-24 * time.Hour)},
		Parts:  []schema.Part{schema.NewPart(schema.PartPackages, text)},
		Bodies: map[string]string{schema.PartPackages: text},
		Cost:   schema.Cost{CPU: time.Millisecond, PeakRSS: 1 << 20, Duration: 2 * time.Millisecond},
	}
}

// Seal signs a report with the host's evidence key.
func (h *Host) Seal(t testing.TB, r *schema.Report) (raw []byte, id string) {
	t.Helper()
	raw, id, err := envelope.Seal(r, h.Key)
	if err != nil {
		t.Fatal(err)
	}
	return raw, id
}

// Chain seals n full reports, each naming the one before it.
func (h *Host) Chain(t testing.TB, n int) (raws [][]byte, ids []string) {
	t.Helper()
	previous := ""
	for seq := range n {
		r := h.Report(t, uint64(seq)+1)
		r.Previous = previous
		raw, id := h.Seal(t, r)
		raws, ids, previous = append(raws, raw), append(ids, id), id
	}
	return raws, ids
}

// Connect opens a connection as this host, with claims that the broker believes.
func (h *Host) Connect(t testing.TB, b *Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := b.ConnectLocal(append([]nats.Option{h.Claims(t, b), h.Inbox()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Claims makes a connection this host's.
func (h *Host) Claims(t testing.TB, b *Server) nats.Option {
	t.Helper()
	claims, err := b.Authority.Issue(h.TransportKey(), h.Name(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return nats.UserJWT(func() (string, error) { return claims, nil }, h.Transport.Sign)
}

// Inbox puts replies below the prefix this host may read.
func (h *Host) Inbox() nats.Option { return nats.CustomInboxPrefix("_INBOX." + h.TransportKey()) }

// Sender publishes a host's envelopes until each has a receipt, as an agent does.
type Sender struct {
	Conn   *nats.Conn
	Host   *Host
	Pinned ed25519.PublicKey
	// Retry is the wait before an envelope without a receipt is sent again.
	Retry time.Duration
}

// Send publishes the envelopes, by id, until every one has an accepted receipt
// or the context ends, and returns the receipts by report id.
func (s *Sender) Send(ctx context.Context, envelopes map[string][]byte) (map[string]schema.Receipt, error) {
	inbox, err := s.Conn.SubscribeSync(schema.ReceiptSubject(s.Host.TransportKey()))
	if err != nil {
		return nil, fmt.Errorf("subscribe to receipts: %w", err)
	}
	defer func() { _ = inbox.Unsubscribe() }()
	got := map[string]schema.Receipt{}
	for len(got) < len(envelopes) {
		for id, raw := range envelopes {
			if _, ok := got[id]; !ok {
				// No waiting for the broker's word: only a receipt counts.
				_ = s.Conn.Publish(schema.ReportSubject(s.Host.TransportKey()), raw)
			}
		}
		if err := s.collect(ctx, inbox, envelopes, got); err != nil {
			return got, err
		}
	}
	return got, nil
}

// collect takes receipts until all are there or it is time to send again.
func (s *Sender) collect(ctx context.Context, inbox *nats.Subscription, envelopes map[string][]byte, got map[string]schema.Receipt) error {
	wait, cancel := context.WithTimeout(ctx, s.Retry)
	defer cancel()
	for len(got) < len(envelopes) {
		m, err := inbox.NextMsgWithContext(wait)
		if err != nil {
			return ctx.Err() // nil when only the wait is over
		}
		r, err := envelope.OpenReceipt(m.Data, s.Pinned)
		if err != nil {
			continue // anybody may be able to send here; only what is signed counts
		}
		if _, ours := envelopes[r.ReportID]; ours && r.Kind == schema.ReceiptAccepted {
			if before, ok := got[r.ReportID]; ok && (before.LeafIndex != r.LeafIndex || before.LogEpoch != r.LogEpoch) {
				return fmt.Errorf("report %s was receipted at leaf %d and at leaf %d", r.ReportID, before.LeafIndex, r.LeafIndex)
			}
			got[r.ReportID] = r
		}
	}
	return nil
}
