package schema

import "fmt"

// Reasons a message is refused before anything in it is believed. They are
// part of the wire contract: receipts carry them and they never change meaning.
const (
	// ReasonTooLarge: the message, or what it says it inflates to, is over the limit.
	ReasonTooLarge = "too_large"
	// ReasonInvalidUTF8: the text is not UTF-8.
	ReasonInvalidUTF8 = "invalid_utf8"
	// ReasonMalformed: not JSON, or not JSON of the expected shape.
	ReasonMalformed = "malformed"
	// ReasonUnknownField: a JSON key this version does not know.
	ReasonUnknownField = "unknown_field"
	// ReasonTrailingData: bytes after the one value that belongs there.
	ReasonTrailingData = "trailing_data"
	// ReasonNotCanonical: readable, but not the bytes our encoder writes:
	// duplicate or case-folded keys, white space, another order of fields, a
	// re-spelt number or string, a time that is not UTC in microseconds.
	ReasonNotCanonical = "not_canonical"
	// ReasonPayloadType: the envelope carries another kind of payload.
	ReasonPayloadType = "payload_type"
	// ReasonSignatureCount: the envelope does not carry exactly one signature.
	ReasonSignatureCount = "signature_count"
	// ReasonBadKey: the key id is not a usable Ed25519 public key: not 64
	// lowercase hex digits, a non-canonical encoding, or a point of low order,
	// for which anybody can make signatures.
	ReasonBadKey = "bad_key"
	// ReasonBadSignature: the signature is not the key's over these bytes.
	ReasonBadSignature = "bad_signature"
	// ReasonBadFrame: the payload is not exactly one zstd frame with its
	// content size declared, or does not inflate to that size.
	ReasonBadFrame = "bad_frame"
	// ReasonStatementType: not an in-toto Statement v1 of a Report v1.
	ReasonStatementType = "statement_type"
	// ReasonOutOfBounds: a string, list, map or number outside its bound, or
	// missing where one is required. Err names the field.
	ReasonOutOfBounds = "out_of_bounds"
	// ReasonPartsUnsorted: parts are not sorted by name, or one is named twice.
	ReasonPartsUnsorted = "parts_unsorted"
	// ReasonSubjectsDiffer: the statement's subjects are not its parts.
	ReasonSubjectsDiffer = "subjects_differ"
	// ReasonBodyUnnamed: a body that belongs to no part.
	ReasonBodyUnnamed = "body_unnamed"
	// ReasonBodyDigest: a body's digest, size or line count is not its part's.
	ReasonBodyDigest = "body_digest"
	// ReasonBodyNotCanonical: a body is not the canonical text of its part.
	ReasonBodyNotCanonical = "body_not_canonical"
	// ReasonUnexplainedAbsence: no package part, and no gap that says why.
	ReasonUnexplainedAbsence = "unexplained_absence"
	// ReasonWrongKey: a receipt by another key than the pinned one.
	ReasonWrongKey = "wrong_key"
)

// Reasons a bundle is refused as a whole, beside those above.
const (
	// ReasonBadHeader: the file does not begin as a bundle of a version and a
	// suite that this program knows.
	ReasonBadHeader = "bad_header"
	// ReasonWrongRecipient: it is sealed to a key that is not at hand.
	ReasonWrongRecipient = "wrong_recipient"
	// ReasonBadSeal: it was altered or cut since it was sealed.
	ReasonBadSeal = "bad_seal"
	// ReasonBadLines: what was sealed is not lines of envelopes, or too many.
	ReasonBadLines = "bad_lines"
	// ReasonManifestDiffers: the lines are not those that the manifest names.
	ReasonManifestDiffers = "manifest_differs"
)

// Reasons the collector's door refuses a message that is sound in itself.
const (
	// ReasonUnknownKey: no trusted host has this evidence key. The report is kept
	// in quarantine and replayed when the key is trusted; see Retryable.
	ReasonUnknownKey = "unknown_key"
	// ReasonRevokedKey: the host's trust in this key has been withdrawn.
	ReasonRevokedKey = "revoked_key"
	// ReasonTransportMismatch: the transport key of the subject, of the report
	// and of the trusted host are not the same.
	ReasonTransportMismatch = "transport_mismatch"
	// ReasonSequenceFork: another report with the same sequence, or another
	// predecessor, is already on record: the evidence key is in use twice.
	ReasonSequenceFork = "sequence_fork"
)

// Retryable reports whether a rejection for this reason can turn into
// acceptance without the host changing its report, so the host keeps the
// report and sends it again later.
func Retryable(reason string) bool { return reason == ReasonUnknownKey }

// Refusal is the error of every decoder here and in schema/envelope: a stable
// reason for machines and an error that says what and where.
type Refusal struct {
	Reason string
	Err    error
}

// Error is the reason followed by what was found.
func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Reason
	}
	return r.Reason + ": " + r.Err.Error()
}

// Unwrap returns what was found.
func (r *Refusal) Unwrap() error { return r.Err }

// Refuse makes a Refusal; format and args are as for fmt.Errorf.
func Refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}
