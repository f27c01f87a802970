// Package natsin is the NATS road to the collector's door: it takes messages
// from the stream REPORTS, hands each to ingest.Door, publishes the receipt the
// door wrote, and acknowledges. It carries no policy of its own.
//
// It also runs the embedded broker of a collector that has no cluster.
//
// Invariants:
//   - A message is acknowledged only after the door has recorded it or refused
//     it for good. Any other error leaves it in the stream, to be tried again.
//   - A receipt goes to the receipt subject of the transport key in the
//     message's own subject, and nowhere else.
//   - The broker's durability and its de-duplication are not relied on: a host
//     keeps its report until it holds a receipt.
//   - What waits in memory is bounded in bytes, whatever hosts publish.
//   - The broker listens on loopback only. A connection of a host may publish
//     reports and read receipts; the stream and JetStream's own subjects live in
//     an account it cannot reach.
package natsin
