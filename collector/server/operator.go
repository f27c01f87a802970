package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/trust"
)

// operator carries out what people ask for over the API.
type operator struct {
	door     *ingest.Door
	importer *feed.Importer
	estate   *estate.Service
	keys     *trust.Keys
	tls      *trust.TLS // nil without TLS
	// incoming is where uploads lie while they are read.
	incoming string
	// wake makes the assessor look for marks.
	wake func()

	approvals store.Approvals
	now       func() time.Time
}

var _ api.Operator = (*operator)(nil)

func (o *operator) TrustHost(ctx context.Context, r api.TrustRequest, by string) (api.TrustResult, error) {
	t, err := o.door.Trust(ctx, ingest.TrustRequest{Key: r.Fingerprint, Name: r.Name, Attributes: r.Attributes, By: by})
	switch {
	case errors.Is(err, ingest.ErrUnseen), errors.Is(err, ingest.ErrInvalid), errors.Is(err, ingest.ErrTrusted):
		return api.TrustResult{}, &api.BadInput{Err: err}
	case err != nil:
		return api.TrustResult{}, err
	}
	if err := o.estate.Refresh(ctx, []string{t.Asset.ID}); err != nil {
		return api.TrustResult{}, fmt.Errorf("the host is trusted; %w", err)
	}
	o.wake()
	return api.TrustResult{
		Asset: t.Asset.ID, Name: t.Asset.Name,
		Replayed: t.Replay.Accepted + t.Replay.Duplicate, Refused: t.Replay.Rejected,
	}, nil
}

func (o *operator) ClearClone(ctx context.Context, host string, r api.ClearRequest, by string) (api.ClearResult, error) {
	c, err := o.door.ClearClone(ctx, ingest.ClearRequest{Host: host, Keep: r.Keep, Reason: r.Reason, By: by})
	switch {
	case errors.Is(err, ingest.ErrInvalid), errors.Is(err, ingest.ErrNotSuspect):
		return api.ClearResult{}, &api.BadInput{Err: err}
	case err != nil:
		return api.ClearResult{}, err
	}
	o.wake()
	return api.ClearResult{Asset: c.Asset.ID, Name: c.Asset.Name, Keep: c.Keep, Kept: c.Kept, Aside: c.Aside, Leaf: c.Leaf}, nil
}

func (o *operator) PendingHosts(ctx context.Context) ([]api.PendingHost, error) {
	keys, err := o.door.Pending(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.PendingHost, 0, len(keys))
	for _, k := range keys {
		out = append(out, api.PendingHost{
			Fingerprint: k.Fingerprint, Envelopes: k.Reports, Deliveries: k.Deliveries,
			Roads: append([]string{}, k.Roads...), FirstAt: k.FirstAt, LastAt: k.LastAt,
		})
	}
	return out, nil
}

func (o *operator) Approvals(ctx context.Context) ([]store.Approval, error) {
	return o.approvals.Approvals(ctx)
}

func (o *operator) DecideApproval(ctx context.Context, id string, grant bool, reason, by string) (store.Approval, error) {
	a, err := o.approvals.Approval(ctx, id)
	if err != nil {
		return a, err
	}
	a.State, a.DecidedBy, a.DecidedAt, a.Reason = store.ApprovalDenied, by, o.now().UTC().Truncate(time.Microsecond), reason
	if grant {
		a.State = store.ApprovalGranted
	}
	leaf, err := evidence.ApprovalLeaf(a)
	if err != nil {
		return a, err
	}
	if _, err := o.approvals.DecideApproval(ctx, a, leaf); err != nil {
		return a, err
	}
	o.wake()
	return a, nil
}

func (o *operator) ReceiptKey() api.KeyInfo {
	k := api.KeyInfo{
		ReceiptKey: o.keys.Pin(), Fingerprint: o.keys.Fingerprint(),
		LogKey: o.keys.LogVerifierKey, Origin: o.keys.Origin,
		RecipientKey: o.keys.Recipient.Recipient().String(), RecipientFingerprint: o.keys.Recipient.Recipient().Fingerprint(),
	}
	if o.tls != nil {
		k.CASHA256, k.CA = o.tls.Pin(), string(o.tls.CA())
	}
	return k
}

// ImportFeed writes the upload to disk, since archives are read from their end,
// and then imports each batch in it.
func (o *operator) ImportFeed(ctx context.Context, u api.Upload, by string) ([]api.ImportOutcome, error) {
	dir, err := os.MkdirTemp(o.incoming, "upload-")
	if err != nil {
		return nil, fmt.Errorf("keep upload: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, uploadName(u.Name))
	if err := keep(path, u.Body); err != nil {
		return nil, err
	}
	batches, err := feed.Load(path, feed.Options{})
	if err != nil {
		return nil, &api.BadInput{Err: errors.New(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))}
	}
	out := make([]api.ImportOutcome, 0, len(batches))
	for _, b := range batches {
		done, err := o.importer.ImportAs(ctx, b, u.Confirm, by)
		if err != nil {
			return out, err
		}
		out = append(out, outcome(done))
	}
	o.wake()
	return out, nil
}

func outcome(o feed.Outcome) api.ImportOutcome {
	return api.ImportOutcome{
		Feed: o.Feed, Kind: o.Kind, Digest: o.Digest, Snapshot: o.Snapshot, Published: o.Released,
		Held: o.Result == feed.Held, Unchanged: o.Result == feed.Unchanged, Reason: strings.Join(o.Reasons, "; "),
		Advisories: o.Advisories, Facts: o.Facts, Skipped: o.Skipped,
		Added: o.Applied.Added, Changed: o.Applied.Changed, Missing: o.Applied.Missing, Assets: o.Applied.MarkedAssets,
	}
}

func keep(path string, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	if _, err := io.Copy(f, body); err != nil {
		_ = f.Close()
		return &api.BadInput{Err: fmt.Errorf("read upload: %w", err)}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("keep upload: %w", err)
	}
	return nil
}

// uploadName keeps of a client's file name what is good for messages.
func uploadName(name string) string {
	name = filepath.Base(filepath.Clean("/" + name))
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-+~:", r):
			return r
		default:
			return '_'
		}
	}, name)
	name = strings.TrimLeft(name, ".")
	if name == "" || name == "/" || name == "_" {
		return "upload"
	}
	return name[:min(len(name), 128)]
}
