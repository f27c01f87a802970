// Package evidence makes what the collector did provable: every fact has a leaf
// in a log, the log is a Merkle tree, and signed checkpoints fix its head.
//
// Leaves are canonical JSON, written by the store in the transaction of the fact
// they bear witness to. [Log.Integrate] later computes the tree over them and
// signs its head; [Verify] recomputes everything and says what does not fit.
//
// Invariants:
//   - A leaf's hash covers its kind, its instant and its body; the tree covers
//     its place.
//   - Nothing is signed before the stored hashes were held against the leaves
//     and the last checkpoint.
//   - Two checkpoints under one origin never contradict each other: a log that
//     lost leaves it had signed (a restored backup) goes on under a new epoch,
//     which is part of the origin, see [OpenLog].
//
// # What vouches for what
//
// Every column of the store is one of three, and a test holds that against the
// schema (coverage_test.go):
//
//   - under a leaf: the cell, or a digest over it, is in a leaf, a signed
//     checkpoint or a host's signed envelope;
//   - derived: kept for speed, recomputed by [Verifier.Verify] from what is under
//     leaves;
//   - operational: it steers the program (marks, counters, when a token was last
//     used) and is no evidence.
//
// A leaf names small things in its body and long lists by digest: the findings,
// outcomes and facts of an assessment, the states of advisories and first sights
// of fixes that a feed brought. Rows of such lists bear their leaf's index, are
// only ever added, and are held against the digest one leaf at a time. Of facts
// (hundreds of thousands of scores move in a day) a feed's leaf covers the whole
// kind as it stands after the import, and an assessment's leaf those it read,
// where they are others than were read before.
//
// # What is replayed, and what is not
//
// With [Verifier.Replay] every assessment is made again by the code that made it,
// from the record as of the number of leaves it names, and compared: each finding
// version with its verdict, moves, breaches, requests and outcome; coverage, gaps,
// comparisons that could not be made, attributes in force. It starts from reports
// and parts, every version of every advisory, policies, attributes, approvals and
// the finding versions recorded before, which were replayed in their turn.
//
// Not replayed:
//
//   - that the facts an assessment read are what feeds said at the time: they are
//     under the assessment's own leaf; the present ones are under the last import's;
//   - how attributes follow from rules, lists and claims: results, rules and files
//     are each under leaves;
//   - parsing: that a feed's document says what the advisories under its leaf say;
//     the leaf has the document's digest, the document is not kept;
//   - which report an assessment went on from: it is under its leaf;
//   - assessments by versions that did not name what they stood on; their number is
//     a note of the report.
//
// An assessment that changed nothing has no leaf, so that one was never made does
// not show; what it would have changed shows with the next one of the asset.
//
// Specifications: RFC 6962 (tree and leaf hash), https://c2sp.org/tlog-checkpoint,
// https://c2sp.org/signed-note.
package evidence
