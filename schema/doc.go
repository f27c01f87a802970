// Package schema is what a host and the collector say to each other: the
// report, its parts, the receipt, the subjects they travel on, and the reasons
// either side refuses a message. README.md beside this file is the same
// contract in prose, for those who write a second implementation.
//
// Invariants:
//
//   - Decoding is strict. A value has exactly one spelling; bytes this package
//     would not have written are refused, so accepted bytes re-encode to
//     themselves. Duplicate and case-folded JSON keys, unknown fields, trailing
//     data and re-spelt numbers or times all fall under that one rule.
//   - Every string, list, map and number has a bound, held when encoding and
//     when decoding. Nothing is allocated from a length the sender claims.
//   - Every refusal is a *Refusal with a Reason from the list in refusal.go. No
//     input, however made, panics.
//   - A report without a package part says why in a gap. Absence of data never
//     reads as absence of exposure.
//   - Times are UTC, truncated to microseconds.
//
// The package reads no files, no clock and no network, and verifies no
// signature: that is schema/envelope.
//
// It implements in-toto Statement v1
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).
package schema
