package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/store"
)

// Verifier checks a store against itself and against what was signed.
type Verifier struct {
	Store store.Store
	Key   note.Verifier
	// HeadFile, when set, is the last checkpoint kept outside the database; it
	// shows leaves that were cut off the end together with their checkpoints.
	HeadFile string
	// Replay, when set, recomputes what assessments decided; see collector/assess.
	Replay Replay
	// Progress, when set, is called now and then with the leaves done and all: of a
	// verification with a replay each leaf counts twice.
	Progress func(done, all int64)
}

// Replay recomputes what assessments decided from the rest of the record as it
// then was, and calls problem for what the record has otherwise. Progress is
// called now and then with the leaves it has gone through.
type Replay func(ctx context.Context, st store.Store, problem func(where, what string), progress func(done int64)) (Replayed, error)

// Replayed counts what a replay recomputed.
type Replayed struct {
	// Assessments of one asset each, and the finding versions they recorded.
	Assessments int `json:"assessments"`
	Decisions   int `json:"decisions"`
	// Old counts the assessments that do not say what they stood on, because an older
	// version made them: they were not replayed.
	Old int `json:"not_replayed,omitempty"`
}

// Verify recomputes everything that the log bears witness to:
//
//   - the whole tree from the leaves, against the stored hashes;
//   - every checkpoint: its signature, its root, its growth, its epoch;
//   - every report's leaf against its row and its raw envelope, opened again, and
//     every part it names against its digest;
//   - every host's chain of reports, where gaps and forks are told as breaks;
//   - trusted keys, names, attributes, the policy, tokens and findings against
//     the leaves that recorded them, and every version of an advisory against
//     its digest.
//
// The error is one of reading or of the context; what does not fit is in the
// Report.
func Verify(ctx context.Context, st store.Store, verifier note.Verifier) (Report, error) {
	return Verifier{Store: st, Key: verifier}.Verify(ctx)
}

// Verify checks the store; see the function of that name. It works on a view, so
// the collector may go on writing.
func (v Verifier) Verify(ctx context.Context) (Report, error) {
	r := &run{Verifier: v, ctx: ctx, parts: map[string]bool{}, seen: map[string]bool{}, said: newSaid()}
	r.Problems, r.Breaks, r.Notes = []Problem{}, []Break{}, []string{}
	head, err := r.readHead()
	if err != nil {
		return Report{}, fmt.Errorf("verify evidence: %w", err)
	}
	err = v.Store.View(ctx, func(st store.Store) error {
		r.Store = st
		for _, step := range []func() error{r.start, r.reports, r.rest, r.finish, r.chains, r.acts, r.replay} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Report{}, fmt.Errorf("verify evidence: %w", err)
	}
	if head != nil {
		r.checkHead(*head)
	}
	r.OK = len(r.Problems) == 0
	return r.Report, nil
}

// readHead reads the head file before the view is taken: the file follows the
// database, so it is never ahead of the view.
func (r *run) readHead() (*Head, error) {
	if r.HeadFile == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	head, err := ReadHead(r.HeadFile, r.Key)
	if err != nil {
		return nil, r.fault("log head", err)
	}
	return &head, nil
}

// run is one verification under way.
type run struct {
	Verifier
	Report
	ctx context.Context //nolint:containedctx // a run lives as long as one call

	tree  tree
	all   int64
	heads []Head // what the checkpoints say, in order; those that cannot be opened are left out
	next  int    // the first of heads not reached yet
	// queue are leaves that were read and not yet looked at.
	queue []store.Leaf
	ended bool
	parts map[string]bool // digests looked at
	seen  map[string]bool // assets looked at
	said  said
}

// fault tells a problem of what is stored from one of reading it: the first is
// recorded and verification goes on.
func (r *run) fault(where string, err error) error {
	if err == nil {
		return nil
	}
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	r.problem(where, "%v", err)
	return nil
}

func (r *run) start() error {
	var err error
	r.Origin, r.Epoch, err = r.Store.LogState(r.ctx)
	if errors.Is(err, store.ErrNotFound) {
		r.Notes, err = append(r.Notes, "the log has no name yet: nothing was ever signed"), nil
	}
	if err != nil {
		return err
	}
	if r.all, err = r.Store.LeafCount(r.ctx); err != nil {
		return err
	}
	cs, err := r.Store.Checkpoints(r.ctx)
	if err != nil {
		return err
	}
	r.Checkpoints = len(cs)
	for _, c := range cs {
		r.openCheckpoint(c)
	}
	return nil
}

func (r *run) openCheckpoint(c store.Checkpoint) {
	where := fmt.Sprintf("checkpoint %d", c.Size)
	r.Covered, r.CheckedAt = max(r.Covered, c.Size), c.At
	h, err := OpenCheckpoint(c.Note, r.Key)
	if err != nil {
		r.problem(where, "%v", err)
		return
	}
	if h.Size != c.Size {
		r.problem(where, "what is signed covers %d leaves", h.Size)
		return
	}
	if !h.At.Equal(c.At) {
		r.problem(where, "the row says %s, what is signed %s", c.At, h.At)
	}
	if h.Origin != r.Origin {
		r.problem(where, "it is of log %s", h.Origin)
	}
	if n := len(r.heads); h.After >= 0 && (n > 0 && h.After != r.heads[n-1].Size || n == 0 && h.After != 0) {
		r.problem(where, "it was signed after the checkpoint of %d leaves, which is not there", h.After)
	}
	r.heads = append(r.heads, h)
}

// leaf returns the next leaf without taking it; nil at the end.
func (r *run) leaf() (*store.Leaf, error) {
	if len(r.queue) == 0 && !r.ended {
		if err := r.read(); err != nil {
			return nil, err
		}
	}
	if len(r.queue) == 0 {
		return nil, nil //nolint:nilnil // the end
	}
	return &r.queue[0], nil
}

// read fetches leaves, grows the tree over them and holds its hashes against the
// stored ones.
func (r *run) read() error {
	leaves, err := r.Store.Leaves(r.ctx, r.tree.size, atOnce)
	if err != nil {
		return err
	}
	if len(leaves) == 0 {
		r.ended = true
		return nil
	}
	var hashes []tlog.Hash
	first := tlog.StoredHashIndex(0, r.tree.size)
	for i, l := range leaves {
		if l.Index != r.tree.size {
			r.problem(fmt.Sprintf("leaf %d", r.tree.size), "it is not there")
			leaves, r.ended = leaves[:i], true
			break
		}
		added := r.tree.add(Hash(l))
		if r.tree.size <= r.Covered {
			hashes = append(hashes, added...)
		}
		r.checkRoots()
	}
	r.queue = leaves
	if r.Progress != nil {
		r.Progress(r.tree.size, r.total())
	}
	return r.compare(first, hashes)
}

// checkRoots holds the checkpoints of the tree's present size against its root.
func (r *run) checkRoots() {
	for ; r.next < len(r.heads) && r.heads[r.next].Size <= r.tree.size; r.next++ {
		if h := r.heads[r.next]; h.Root != r.tree.root() {
			r.problem(fmt.Sprintf("checkpoint %d", h.Size), "the first %d leaves have another root than what is signed: one of them was altered, removed or added", h.Size)
		}
	}
}

func (r *run) compare(first int64, want []tlog.Hash) error {
	indexes := make([]int64, len(want))
	for i := range want {
		indexes[i] = first + int64(i)
	}
	stored, err := r.Store.Hashes(r.ctx, indexes)
	if errors.Is(err, store.ErrNotFound) {
		return r.fault("tree hashes", err)
	}
	if err != nil {
		return err
	}
	for i, h := range want {
		if !bytes.Equal(stored[indexes[i]], h[:]) {
			level, n := tlog.SplitStoredHashIndex(indexes[i])
			r.problem(fmt.Sprintf("tree hash %d", indexes[i]), "level %d, place %d is not what the leaves make it", level, n)
		}
	}
	return nil
}

func (r *run) total() int64 {
	if r.Replay == nil {
		return r.all
	}
	return 2 * r.all
}

// replay recomputes the decisions.
func (r *run) replay() error {
	if r.Replay == nil {
		return nil
	}
	progress := func(done int64) {
		if r.Progress != nil {
			r.Progress(r.all+done, r.total())
		}
	}
	var err error
	r.Replayed, err = r.Replay(r.ctx, r.Store, func(where, what string) { r.problem(where, "%s", what) }, progress)
	if r.Replayed.Old > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d assessments by older versions do not say what they stood on and were not replayed", r.Replayed.Old))
	}
	return r.fault("replay", err)
}

// take looks at the leaf at the front and removes it. row is the report that
// claims it, nil when none does.
func (r *run) take(row *store.Report) error {
	l := r.queue[0]
	r.queue = r.queue[1:]
	where := fmt.Sprintf("leaf %d", l.Index)
	if l.Kind == KindReport || row != nil {
		return r.reportLeaf(where, l, row)
	}
	return r.fault(where, r.said.read(l, r))
}

// rest takes the leaves after the last report's.
func (r *run) rest() error {
	for {
		l, err := r.leaf()
		if err != nil || l == nil {
			return err
		}
		if err := r.take(nil); err != nil {
			return err
		}
	}
}

// finish checks what can only be known at the end.
func (r *run) finish() error {
	r.Leaves, r.Root = r.tree.size, r.tree.root().String()
	for _, h := range r.heads[r.next:] {
		r.problem(fmt.Sprintf("checkpoint %d", h.Size), "only %d leaves are there", r.tree.size)
	}
	if open := r.Leaves - r.Covered; open > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d leaves came after the last checkpoint and are not signed yet", open))
	}
	r.checkEpochs()
	return nil
}

// checkEpochs holds each checkpoint's epoch against the leaves that began one.
func (r *run) checkEpochs() {
	for _, h := range r.heads {
		if want := r.said.epochAt(h.Size); h.Epoch != want {
			r.problem(fmt.Sprintf("checkpoint %d", h.Size), "it is of epoch %d, the leaves it covers say %d", h.Epoch, want)
		}
	}
	if want := r.said.epochAt(r.Leaves); r.Origin != "" && r.Epoch != want {
		r.problem("log state", "epoch %d, the leaves say %d", r.Epoch, want)
	}
	for _, e := range r.said.epochs {
		r.Notes = append(r.Notes, fmt.Sprintf("leaf %d began epoch %d: %s (lost head: %d leaves, root %s)", e.leaf, e.Epoch, e.Reason, e.LostSize, e.LostRoot))
	}
}

// checkHead holds the last checkpoint kept outside against those inside.
func (r *run) checkHead(head Head) {
	if head.Epoch < r.Epoch {
		return // a later epoch's leaf names it as lost
	}
	for _, h := range r.heads {
		if h.Size == head.Size && h.Root == head.Root && h.Epoch == head.Epoch {
			return
		}
	}
	r.problem("log head", "%s holds a signed checkpoint of %d leaves that the database does not: leaves were cut off, or a backup was restored", r.HeadFile, head.Size)
}
