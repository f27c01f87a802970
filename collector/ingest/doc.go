// Package ingest is the collector's door: the one way a host's report enters,
// whatever road carried it, and the operator's act that lets a host's key in.
//
// Invariants:
//   - Nothing is parsed before its signature is verified, and nothing is
//     inflated before its key is trusted.
//   - A report, its parts, the asset's head, the dirty mark and the evidence
//     leaf are one transaction; a receipt is written only after it committed.
//   - What is refused for good is a *Rejection, is kept in quarantine within
//     fixed limits, and is answered; any other error means "not decided, try
//     again", and leaves nothing behind.
//   - The same report twice changes nothing but a counter and gets the very same
//     receipt.
//   - A receipt about a report is given only for what its author signed. A relayed
//     or forged copy never earns a receipt that its author would believe.
//   - Roads carry no policy: the same envelopes by any road leave the same facts.
package ingest
