package ingest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// Store is what the door needs of the collector's memory.
type Store interface {
	store.Reports
	store.Lines
	store.Assets
	store.Quarantine
}

// Delivery is one message as a road hands it in.
type Delivery struct {
	Raw []byte
	// Road names the road: nats, bundle.
	Road string
	// TransportKey is the key the road's address belongs to (on NATS, the last
	// token of the subject). Empty on a road without addresses.
	TransportKey string
}

// Options are what a door is made of.
type Options struct {
	Store Store
	// ReceiptKey signs receipts.
	ReceiptKey ed25519.PrivateKey
	// LogOrigin and LogEpoch name the evidence log that receipts point into.
	LogOrigin string
	LogEpoch  int64
	Now       func() time.Time
	Log       *slog.Logger
	// Limits cap the quarantine; zero fields take DefaultLimits.
	Limits store.QuarantineLimits
	// Accepted is called after each newly accepted report, to wake what comes
	// next. It must not block. May be nil.
	Accepted func()
	// Publish sends a receipt to a host when no message of its road is at hand:
	// after a replay. Nil sends none; the host asks again by itself.
	Publish func(road, transportKey string, receipt []byte) error
	// Count is told each decision, and the reason of a rejection. May be nil.
	Count func(decision, reason string)
}

// DefaultLimits cap what refused senders can make the collector hold: a key
// waiting for trust keeps a month of daily reports, 10 000 new hosts fit, and
// the disk never spends more than 2 GiB. Envelopes without a valid signature
// share the allowance of one key.
var DefaultLimits = store.QuarantineLimits{
	PerKey: 32, Total: 40_000,
	BytesPerKey: 32 << 20, BytesTotal: 2 << 30,
}

// stripes is how many keys can be in the door at once.
const stripes = 64

// Door decides on deliveries. It is safe for concurrent use; deliveries of one
// key are decided one after the other.
type Door struct {
	o     Options
	seed  maphash.Seed
	locks [stripes]sync.Mutex
	parts checked
}

// NewDoor returns a door over a store.
func NewDoor(o Options) *Door {
	o.Limits = withDefaults(o.Limits)
	if o.Count == nil {
		o.Count = func(string, string) {}
	}
	if o.Accepted == nil {
		o.Accepted = func() {}
	}
	o.Log = o.Log.With("component", "ingest")
	return &Door{o: o, seed: maphash.MakeSeed()}
}

func withDefaults(l store.QuarantineLimits) store.QuarantineLimits {
	for _, f := range []struct{ got, def *int64 }{
		{&l.PerKey, &DefaultLimits.PerKey},
		{&l.Total, &DefaultLimits.Total},
		{&l.BytesPerKey, &DefaultLimits.BytesPerKey},
		{&l.BytesTotal, &DefaultLimits.BytesTotal},
	} {
		if *f.got == 0 {
			*f.got = *f.def
		}
	}
	return l
}

// Rejection is a refusal for good: the message was put into quarantine and must
// not be tried again as it is. Reason is one of schema's.
type Rejection struct {
	Reason string
	Err    error
}

// Error is the reason followed by what was found.
func (r *Rejection) Error() string {
	if r.Err == nil {
		return "rejected: " + r.Reason
	}
	return fmt.Sprintf("rejected: %s: %v", r.Reason, r.Err)
}

// Unwrap returns what was found.
func (r *Rejection) Unwrap() error { return r.Err }

// Decisions, as Options.Count is told them.
const (
	Accepted  = "accepted"
	Duplicate = "duplicate"
	Needed    = "need"
	Rejected  = "rejected"
)

// passage is one delivery on its way through the door.
type passage struct {
	Delivery
	// replay marks a delivery that comes out of quarantine: whatever is decided,
	// it does not stay there as it was.
	replay   bool
	decision string

	at     time.Time
	opened *envelope.Opened
	key    string // evidence key id, once verified
	asset  store.Asset
	report *schema.Report
}

// Accept decides on a delivery. It returns the receipt to send to where the
// delivery came from, nil for none. A *Rejection as error means the delivery
// was refused for good; any other error that nothing was decided and the road
// must deliver it again.
func (d *Door) Accept(ctx context.Context, in Delivery) (receipt []byte, err error) {
	return d.pass(ctx, &passage{Delivery: in})
}

func (d *Door) pass(ctx context.Context, p *passage) (receipt []byte, err error) {
	p.at = schema.Timestamp(d.o.Now())
	if p.opened, err = envelope.Open(p.Raw); err != nil {
		return d.refuse(ctx, p, err)
	}
	p.key = schema.KeyID(p.opened.Key)
	defer d.lock(p.key)()
	return d.decide(ctx, p)
}

// lock takes the lock of a key and returns what gives it back.
func (d *Door) lock(key string) (unlock func()) {
	l := &d.locks[maphash.String(d.seed, key)%stripes]
	l.Lock()
	return l.Unlock
}

// decided counts a decision.
func (d *Door) decided(p *passage, decision, reason string) {
	p.decision = decision
	d.o.Count(decision, reason)
}

// decide is the rest of the way, for a verified envelope, under its key's lock.
func (d *Door) decide(ctx context.Context, p *passage) ([]byte, error) {
	if err := d.identify(ctx, p); err != nil {
		return d.refuse(ctx, p, err)
	}
	if held, err := d.o.Store.Report(ctx, p.opened.ID); err == nil {
		return d.duplicate(ctx, p, held)
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up report: %w", err)
	}
	if err := d.read(p); err != nil {
		return d.refuse(ctx, p, err)
	}
	need, err := d.missing(ctx, p.report)
	if err != nil {
		return d.refuse(ctx, p, err)
	}
	if len(need) > 0 {
		return d.ask(ctx, p, need)
	}
	return d.record(ctx, p)
}

// identify finds the asset that the verified key belongs to.
func (d *Door) identify(ctx context.Context, p *passage) error {
	asset, err := d.o.Store.AssetByKey(ctx, p.key)
	if errors.Is(err, store.ErrNotFound) {
		return &Rejection{schema.ReasonUnknownKey, fmt.Errorf("no trusted host has the key with fingerprint %s", schema.Fingerprint(p.opened.Key))}
	}
	if err != nil {
		return fmt.Errorf("look up key: %w", err)
	}
	p.asset = asset
	return nil
}

// read inflates and decodes the report and checks that road, report and asset
// name one transport key.
func (d *Door) read(p *passage) error {
	report, err := p.opened.Report()
	if err != nil {
		return err
	}
	p.report = report
	if err := onRoadOf(p.Delivery, report.TransportKey); err != nil {
		return err
	}
	if p.asset.TransportKey != "" && p.asset.TransportKey != report.TransportKey {
		return &Rejection{schema.ReasonTransportMismatch, fmt.Errorf("the report names transport key %s, host %s is bound to %s",
			report.TransportKey, p.asset.Name, p.asset.TransportKey)}
	}
	return nil
}

// errRelayed marks a report that came in on another host's address: its sender
// is not its author.
var errRelayed = errors.New("the sender is not the report's author")

// onRoadOf checks that the road's address is the one the author signed.
func onRoadOf(in Delivery, signed string) error {
	if in.TransportKey == "" || in.TransportKey == signed {
		return nil
	}
	return &Rejection{schema.ReasonTransportMismatch, fmt.Errorf("sent on the address of %.64q, the report names %s: %w", in.TransportKey, signed, errRelayed)}
}

// ask answers that parts must travel in full. Nothing is kept.
func (d *Door) ask(ctx context.Context, p *passage, need []string) ([]byte, error) {
	if p.replay {
		d.release(ctx, p)
	}
	r := d.receipt(schema.ReceiptNeed, p)
	r.Parts = need
	d.decided(p, Needed, "")
	d.o.Log.Debug("parts needed", "asset", p.asset.ID, "report", p.opened.ID, "parts", need)
	return d.seal(r)
}

// record writes the report and its leaf and answers that it is accepted.
func (d *Door) record(ctx context.Context, p *passage) ([]byte, error) {
	row := p.row()
	leaf, err := evidence.ReportLeaf(row)
	if err != nil {
		return nil, fmt.Errorf("make leaf: %w", err)
	}
	index, err := d.o.Store.AcceptReport(ctx, row, leaf)
	switch {
	case errors.Is(err, store.ErrExists): // another collector on the same store was faster
		held, err := d.o.Store.Report(ctx, p.opened.ID)
		if err != nil {
			return nil, fmt.Errorf("look up report: %w", err)
		}
		return d.duplicate(ctx, p, held)
	case err != nil:
		return nil, fmt.Errorf("accept report: %w", err)
	}
	row.LeafIndex = index
	d.decided(p, Accepted, "")
	d.o.Accepted()
	d.o.Log.Debug("report accepted", "asset", p.asset.ID, "report", row.ID, "sequence", row.Sequence, "leaf", index)
	d.release(ctx, p)
	return d.seal(d.accepted(row))
}

// release takes the envelope out of quarantine, where it may wait since before
// its key was trusted. Most keys have nothing there, and reading that is
// cheaper than a transaction.
func (d *Door) release(ctx context.Context, p *passage) {
	if list, err := d.o.Store.QuarantinedEnvelopes(ctx, p.key, 1); err == nil && len(list) == 0 {
		return
	}
	leaf, err := evidence.ReleaseLeaf(digestOf(p.Raw), p.opened.ID, p.at)
	if err == nil {
		err = d.o.Store.ReleaseQuarantined(ctx, digestOf(p.Raw), leaf)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		// Decided all the same; a left-over copy is released by the next replay.
		d.o.Log.Warn("quarantined copy not released", "key", p.key, "err", err)
	}
}

// duplicate counts a delivery of a report already on record and gives the same
// receipt again.
func (d *Door) duplicate(ctx context.Context, p *passage, held store.Report) ([]byte, error) {
	if err := onRoadOf(p.Delivery, held.Statement.TransportKey); err != nil {
		return d.refuse(ctx, p, err)
	}
	if err := d.o.Store.RecordDuplicate(ctx, held.ID, p.at); err != nil {
		return nil, fmt.Errorf("record duplicate: %w", err)
	}
	d.decided(p, Duplicate, "")
	d.release(ctx, p)
	return d.seal(d.accepted(held))
}

// row is the report as the store keeps it.
func (p *passage) row() store.Report {
	r := p.report
	texts := make(map[string]string, len(r.Bodies))
	set := ""
	for _, part := range r.Parts {
		if body, ok := r.Bodies[part.Name]; ok {
			texts[part.Digest] = body
		}
		if part.Name == schema.PartPackages {
			set = part.Digest
		}
	}
	statement := *r
	statement.Bodies = nil
	return store.Report{
		ID: p.opened.ID, Asset: p.asset.ID, Key: p.key, Sequence: r.Sequence, Previous: r.Previous,
		CollectedAt: r.CollectedAt, ReceivedAt: p.at,
		Release:   inventory.ReleaseOf(r.OS.ID, r.OS.VersionID),
		Kernel:    inventory.KernelOf(r.Kernel),
		SetDigest: set, Complete: complete(r),
		Statement: statement, Raw: p.Raw, LeafIndex: -1, Road: p.Road, PartsTexts: texts,
	}
}

// complete reports whether the list of packages is whole: it is there, and no
// extractor of packages left a gap.
func complete(r *schema.Report) bool {
	if _, ok := r.Part(schema.PartPackages); !ok {
		return false
	}
	for _, g := range r.Gaps {
		switch schema.PackageFormat(g.Extractor) {
		case "dpkg", schema.FormatDeb, schema.FormatRPM:
			return false
		}
	}
	return true
}
