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
// Specifications: RFC 6962 (tree and leaf hash), https://c2sp.org/tlog-checkpoint,
// https://c2sp.org/signed-note.
package evidence
