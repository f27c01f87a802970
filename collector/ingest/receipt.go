package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// receipt is the part of a receipt that says what it is about.
func (d *Door) receipt(kind string, p *passage) schema.Receipt {
	r := schema.Receipt{
		Kind: kind, ReportID: p.opened.ID, Host: p.key,
		LogOrigin: d.o.LogOrigin, LogEpoch: d.o.LogEpoch, LeafIndex: -1, ReceivedAt: p.at,
	}
	if p.report != nil {
		r.Sequence = p.report.Sequence
	}
	return r
}

// accepted is made of what the store holds, so that a repeated delivery earns
// the same bytes.
func (d *Door) accepted(r store.Report) schema.Receipt {
	return schema.Receipt{
		Kind: schema.ReceiptAccepted, ReportID: r.ID, Host: r.Key, Sequence: r.Sequence,
		LogOrigin: d.o.LogOrigin, LogEpoch: d.o.LogEpoch, LeafIndex: r.LeafIndex, ReceivedAt: r.ReceivedAt,
	}
}

func (d *Door) seal(r schema.Receipt) ([]byte, error) {
	raw, err := envelope.SealReceipt(r, d.o.ReceiptKey)
	if err != nil {
		return nil, fmt.Errorf("seal receipt: %w", err)
	}
	return raw, nil
}

// refuse turns a refusal into quarantine, a receipt and a *Rejection. An error
// that is no refusal decides nothing and is handed on.
func (d *Door) refuse(ctx context.Context, p *passage, cause error) ([]byte, error) {
	rejection := rejectionOf(cause)
	if rejection == nil {
		return nil, cause
	}
	q := store.Quarantined{
		Digest: digestOf(p.Raw), Key: p.key, Reason: rejection.Reason, Detail: rejection.detail(), Road: address(p.Delivery),
		Count: 1, FirstAt: p.at, LastAt: p.at, Raw: p.Raw,
	}
	if len(p.Raw) > envelope.MaxEnvelope {
		q.Raw = nil // its digest, reason and size say enough
	}
	leaf, err := evidence.QuarantineLeaf(q)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	kept, err := d.o.Store.Quarantine(ctx, q, d.o.Limits, leaf)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	d.decided(p, Rejected, rejection.Reason)
	d.o.Log.Info("report rejected", "reason", rejection.Reason, "digest", q.Digest, "key", p.key, "road", q.Road, "kept", kept, "err", rejection.Err)
	receipt, err := d.rejected(p, rejection)
	if err != nil {
		return nil, err
	}
	return receipt, rejection
}

// rejected is the receipt for a refusal, or nil where none may be given.
//
// A message without a valid signature has no author, so there is no report and
// no host a receipt could name. A relayed envelope earns none either: the relay
// could show it to the author, who would take its own report for rejected.
func (d *Door) rejected(p *passage, why *Rejection) ([]byte, error) {
	if p.opened == nil || errors.Is(why, errRelayed) {
		return nil, nil
	}
	r := d.receipt(schema.ReceiptRejected, p)
	r.Reason, r.Detail = why.Reason, why.detail()
	return d.seal(r)
}

// rejectionOf returns the refusal in an error, nil when there is none.
func rejectionOf(err error) *Rejection {
	if r, ok := errors.AsType[*Rejection](err); ok {
		return r
	}
	if r, ok := errors.AsType[*schema.Refusal](err); ok {
		return &Rejection{Reason: r.Reason, Err: r.Err}
	}
	return nil
}

// maxDetail bounds what a refusal says about hostile input.
const maxDetail = 512

func (r *Rejection) detail() string {
	if r.Err == nil {
		return ""
	}
	return schema.CleanText(r.Err.Error(), maxDetail)
}
