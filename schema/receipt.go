package schema

import (
	"slices"
	"time"
)

// Kinds of receipt.
const (
	// ReceiptAccepted: the report is on record, at a leaf of the evidence log.
	ReceiptAccepted = "accepted"
	// ReceiptRejected: the report is in quarantine, for Reason.
	ReceiptRejected = "rejected"
	// ReceiptNeed: the collector lacks the bodies of Parts; seal them again in full.
	ReceiptNeed = "need"
)

// Receipt is the collector's signed answer to one report. A host drops a report
// from its spool only on one.
type Receipt struct {
	Kind     string `json:"kind"`
	ReportID string `json:"report_id"`
	// Host is the KeyID of the evidence key that sealed the report.
	Host string `json:"host"`
	// Sequence is the report's, 0 when a rejected report was never read.
	Sequence uint64 `json:"sequence"`
	// LogOrigin and LogEpoch name the evidence log: its origin line, and a number
	// that changes when the log was restored from a backup.
	LogOrigin string `json:"log_origin"`
	LogEpoch  int64  `json:"log_epoch"`
	// LeafIndex is the report's leaf in that log, -1 unless accepted.
	LeafIndex  int64     `json:"leaf_index"`
	ReceivedAt time.Time `json:"received_at"`
	// Reason and Detail say why, when rejected.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Parts names what is needed, sorted.
	Parts []string `json:"parts,omitempty"`
}

// MaxReceipt is the most bytes of a receipt's JSON.
const MaxReceipt = 16 << 10

// EncodeReceipt returns the one spelling of a receipt. Its time becomes UTC in
// microseconds and its detail is made to fit; all else out of bounds is an error.
func EncodeReceipt(r Receipt) ([]byte, error) {
	r.ReceivedAt = Timestamp(r.ReceivedAt)
	r.Detail = CleanText(r.Detail, maxText)
	if err := validateReceipt(r); err != nil {
		return nil, err
	}
	return marshalCanonical(r)
}

// DecodeReceipt returns the receipt a payload holds. It refuses any bytes
// EncodeReceipt would not have written; the error is a *Refusal.
func DecodeReceipt(payload []byte) (Receipt, error) {
	return DecodeStrict(payload, MaxReceipt, validateReceipt)
}

func validateReceipt(r Receipt) error {
	if !isDigest(r.ReportID) {
		return outOfBounds("report_id", "%.80q is not a report id", r.ReportID)
	}
	if _, err := ParseKeyID(r.Host); err != nil {
		return Refuse(ReasonOutOfBounds, "host: %w", err)
	}
	if r.Sequence > MaxInteger || (r.Sequence == 0 && r.Kind != ReceiptRejected) {
		return outOfBounds("sequence", "%d in a receipt of kind %.20q", r.Sequence, r.Kind)
	}
	if r.LogEpoch < 0 || r.LogEpoch > MaxInteger {
		return outOfBounds("log_epoch", "%d, want 0 to %d", r.LogEpoch, int64(MaxInteger))
	}
	for _, t := range []text{
		{field: "log_origin", value: &r.LogOrigin, max: maxName, word: true},
		{field: "reason", value: &r.Reason, max: maxName, word: r.Kind == ReceiptRejected},
		{field: "detail", value: &r.Detail, max: maxText},
	} {
		if err := t.check(); err != nil {
			return err
		}
	}
	if r.ReceivedAt.IsZero() {
		return outOfBounds("received_at", "missing")
	}
	if err := checkTime("received_at", r.ReceivedAt); err != nil {
		return err
	}
	return validateKind(r)
}

// validateKind holds what each kind of receipt has and has not.
func validateKind(r Receipt) error {
	switch r.Kind {
	case ReceiptAccepted:
		if r.LeafIndex < 0 || r.LeafIndex > MaxInteger {
			return outOfBounds("leaf_index", "%d of an accepted report, want 0 to %d", r.LeafIndex, int64(MaxInteger))
		}
	case ReceiptRejected, ReceiptNeed:
		if r.LeafIndex != -1 {
			return outOfBounds("leaf_index", "%d, want -1 unless accepted", r.LeafIndex)
		}
	default:
		return outOfBounds("kind", "%.40q: want accepted, rejected or need", r.Kind)
	}
	if r.Kind != ReceiptRejected && (r.Reason != "" || r.Detail != "") {
		return outOfBounds("reason", "%.80q in a receipt of kind %q", r.Reason, r.Kind)
	}
	return validateNeeded(r)
}

func validateNeeded(r Receipt) error {
	if (r.Kind == ReceiptNeed) != (len(r.Parts) > 0) {
		return outOfBounds("parts", "%d parts in a receipt of kind %q", len(r.Parts), r.Kind)
	}
	if len(r.Parts) > MaxParts {
		return outOfBounds("parts", "%d parts, at most %d", len(r.Parts), MaxParts)
	}
	for _, name := range r.Parts {
		if !isPartName(name) {
			return outOfBounds("parts", "%.80q is not a part's name", name)
		}
	}
	if !slices.IsSorted(r.Parts) || len(slices.Compact(slices.Clone(r.Parts))) != len(r.Parts) {
		return Refuse(ReasonPartsUnsorted, "needed parts %q are not sorted", r.Parts)
	}
	return nil
}
