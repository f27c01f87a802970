package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/store"
)

// atOnce is how many leaves are read at a time; the window that every Integrate
// looks at again has the same width.
const atOnce = 4096

// Options say what a Log works with.
type Options struct {
	Store    store.Evidence
	Signer   note.Signer
	Verifier note.Verifier
	// HeadFile keeps the last signed checkpoint outside the database, so that a
	// restored backup is noticed. Empty: it is not.
	HeadFile string
	Now      func() time.Time
}

// Log turns leaves into signed checkpoints. Its methods are safe for concurrent
// use; one process at a time may hold it.
type Log struct {
	o Options

	mu     sync.Mutex
	origin string
	epoch  int64
	// window is where the next look at older leaves begins.
	window int64
	// broken is why nothing is signed any more.
	broken error
}

// ErrContradiction says that the database contradicts what was signed. Nothing
// is signed until someone looked into it.
var ErrContradiction = errors.New("the evidence log contradicts what was signed; run patchproof evidence verify")

// OpenLog names the log on first use and resumes it after that.
//
// A database that agrees with itself but not with the checkpoint in the head
// file is a restored backup: leaves that were signed, and receipts given for
// them, are gone. The log then goes on under a new epoch, with a leaf that names
// the lost head, and agents that see the new epoch in receipts send their state
// again. A database that contradicts its own last checkpoint was damaged or
// altered: it gets no new epoch, and Integrate refuses to sign.
//
// A backup in which the head file was restored together with the database looks
// like no loss at all: keep the head file out of backups.
func OpenLog(ctx context.Context, o Options) (*Log, error) {
	l := &Log{o: o}
	if err := l.name(ctx); err != nil {
		return nil, fmt.Errorf("open evidence log: %w", err)
	}
	if err := l.resume(ctx); err != nil {
		return nil, fmt.Errorf("open evidence log: %w", err)
	}
	return l, nil
}

// Origin and Epoch identify the log in receipts.
func (l *Log) Origin() string { return l.origin }

// Epoch counts from 1; it grows when signed leaves were lost.
func (l *Log) Epoch() int64 { return l.epoch }

func (l *Log) name(ctx context.Context) (err error) {
	l.origin, l.epoch, err = l.o.Store.LogState(ctx)
	if errors.Is(err, store.ErrNotFound) {
		l.origin, l.epoch = l.o.Signer.Name(), 1
		err = l.o.Store.SetLogState(ctx, l.origin, l.epoch)
	}
	if err != nil {
		return err
	}
	if l.origin != l.o.Signer.Name() {
		return fmt.Errorf("the database holds log %s, the log key is for %s; put the key back that belongs to this database", l.origin, l.o.Signer.Name())
	}
	return nil
}

// resume holds the database against itself and against the head file.
func (l *Log) resume(ctx context.Context) error {
	head, err := l.readHead()
	if err != nil {
		return err
	}
	last, err := l.last(ctx)
	if errors.Is(err, ErrContradiction) {
		l.broken = err
		return nil
	}
	if err != nil {
		return err
	}
	lost, err := l.audit(ctx, last, head)
	if errors.Is(err, ErrContradiction) {
		l.broken = err
		return nil
	}
	if err != nil {
		return err
	}
	if lost {
		return l.startEpoch(ctx, *head)
	}
	return nil
}

// last is the database's own last checkpoint, nil before the first.
func (l *Log) last(ctx context.Context) (*Head, error) {
	c, err := l.o.Store.LastCheckpoint(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is the answer
	}
	if err != nil {
		return nil, err
	}
	h, err := OpenCheckpoint(c.Note, l.o.Verifier)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d: %w: %w", c.Size, err, ErrContradiction)
	}
	if h.Size != c.Size || h.Origin != l.origin {
		return nil, fmt.Errorf("checkpoint %d is for %d leaves of %s: %w", c.Size, h.Size, h.Origin, ErrContradiction)
	}
	return &h, nil
}

// audit recomputes the tree over all leaves. It returns ErrContradiction when
// the database contradicts its own last checkpoint or stored hashes, and
// whether it lost leaves that the head file's checkpoint covers.
func (l *Log) audit(ctx context.Context, last, head *Head) (lost bool, err error) {
	covered := int64(0)
	if last != nil {
		covered = last.Size
	}
	lost = head != nil && head.Epoch >= l.epoch
	var t tree
	err = eachLeaf(ctx, l.o.Store, 0, func(leaves []store.Leaf) error {
		var expect []tlog.Hash
		first := tlog.StoredHashIndex(0, t.size)
		for _, leaf := range leaves {
			hashes := t.add(Hash(leaf))
			if t.size <= covered {
				expect = append(expect, hashes...)
			}
			if last != nil && t.size == last.Size && t.root() != last.Root {
				return fmt.Errorf("the first %d leaves: %w", t.size, ErrContradiction)
			}
			if head != nil && t.size == head.Size && t.root() == head.Root && head.Epoch == l.epoch {
				lost = false
			}
		}
		return l.compare(ctx, first, expect)
	})
	if err != nil {
		return false, err
	}
	if t.size < covered {
		return false, fmt.Errorf("%d of %d leaves are there: %w", t.size, covered, ErrContradiction)
	}
	return lost, nil
}

// compare holds computed hashes against stored ones, from an index on.
func (l *Log) compare(ctx context.Context, first int64, want []tlog.Hash) error {
	if len(want) == 0 {
		return nil
	}
	indexes := make([]int64, len(want))
	for i := range want {
		indexes[i] = first + int64(i)
	}
	stored, err := l.o.Store.Hashes(ctx, indexes)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	if err != nil {
		return err
	}
	for i, h := range want {
		if !bytes.Equal(stored[indexes[i]], h[:]) {
			return fmt.Errorf("stored tree hash %d is not that of the leaves: %w", indexes[i], ErrContradiction)
		}
	}
	return nil
}

func (l *Log) startEpoch(ctx context.Context, lost Head) error {
	epoch := max(l.epoch, lost.Epoch) + 1
	leaf, err := LeafFor(KindLogEpoch, l.o.Now(), EpochBody{
		Epoch: epoch, Reason: "the database does not hold what was signed: restored from a backup",
		LostSize: lost.Size, LostRoot: lost.Root.String(),
	})
	if err != nil {
		return err
	}
	if _, err := l.o.Store.StartEpoch(ctx, epoch, leaf); err != nil {
		return err
	}
	l.epoch = epoch
	return nil
}

// Integrate computes the tree over the leaves that came since the last
// checkpoint, signs the new head and records both. Without new leaves it returns
// the last checkpoint; without any leaf [store.ErrNotFound].
//
// What it signs always extends what it signed before: it begins from stored
// hashes that make up the last signed root, and only then adds leaves. It also
// looks again at a window of older leaves. It returns [ErrContradiction], and
// signs nothing more, when something does not fit.
func (l *Log) Integrate(ctx context.Context) (store.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return store.Checkpoint{}, fmt.Errorf("integrate: %w", l.broken)
	}
	c, err := l.integrate(ctx)
	if errors.Is(err, ErrContradiction) {
		l.broken = err
	}
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("integrate: %w", err)
	}
	return c, nil
}

func (l *Log) integrate(ctx context.Context) (store.Checkpoint, error) {
	last, err := l.last(ctx)
	if err != nil {
		return store.Checkpoint{}, err
	}
	t, err := l.edge(ctx, last)
	if err != nil {
		return store.Checkpoint{}, err
	}
	if err := l.lookAgain(ctx, t.size); err != nil {
		return store.Checkpoint{}, err
	}
	signed := t.size
	hashes := map[int64][]byte{}
	err = eachLeaf(ctx, l.o.Store, t.size, func(leaves []store.Leaf) error {
		for _, leaf := range leaves {
			index := tlog.StoredHashIndex(0, t.size)
			for _, h := range t.add(Hash(leaf)) {
				hashes[index] = h[:]
				index++
			}
		}
		return nil
	})
	if err != nil {
		return store.Checkpoint{}, err
	}
	if t.size == signed {
		c, err := l.o.Store.LastCheckpoint(ctx)
		if err != nil {
			return c, err
		}
		return c, l.writeHead(c.Note)
	}
	return l.record(ctx, t, signed, hashes)
}

// record signs the tree as it now is, after the checkpoint of some size.
func (l *Log) record(ctx context.Context, t *tree, after int64, hashes map[int64][]byte) (store.Checkpoint, error) {
	head := Head{Origin: l.origin, Epoch: l.epoch, Size: t.size, Root: t.root(), At: instant(l.o.Now()), After: after}
	c, err := head.sign(l.o.Signer)
	if err != nil {
		return c, fmt.Errorf("sign checkpoint: %w", err)
	}
	if err := l.o.Store.Integrate(ctx, hashes, c); err != nil {
		return c, err
	}
	return c, l.writeHead(c.Note)
}

// edge reads the right edge at the last checkpoint from stored hashes and
// checks that it makes up the signed root.
func (l *Log) edge(ctx context.Context, last *Head) (*tree, error) {
	if last == nil {
		return &tree{}, nil
	}
	indexes := edgeIndexes(last.Size)
	stored, err := l.o.Store.Hashes(ctx, indexes)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	if err != nil {
		return nil, err
	}
	t := &tree{size: last.Size}
	for _, i := range indexes {
		if len(stored[i]) != tlog.HashSize {
			return nil, fmt.Errorf("stored tree hash %d has %d bytes: %w", i, len(stored[i]), ErrContradiction)
		}
		t.edge = append(t.edge, tlog.Hash(stored[i]))
	}
	if t.root() != last.Root {
		return nil, fmt.Errorf("the stored hashes do not make up the root of checkpoint %d: %w", last.Size, ErrContradiction)
	}
	return t, nil
}

// lookAgain holds a window of integrated leaves against their stored hashes; the
// next call takes the next one.
func (l *Log) lookAgain(ctx context.Context, size int64) error {
	if l.window >= size {
		l.window = 0
	}
	n := min(atOnce, size-l.window)
	if n <= 0 {
		return nil
	}
	leaves, err := l.o.Store.Leaves(ctx, l.window, int(n))
	if err != nil {
		return err
	}
	if int64(len(leaves)) < n {
		return fmt.Errorf("%d of %d leaves from %d on are there: %w", len(leaves), n, l.window, ErrContradiction)
	}
	if err := l.compareLeaves(ctx, leaves); err != nil {
		return err
	}
	l.window += n
	return nil
}

func (l *Log) compareLeaves(ctx context.Context, leaves []store.Leaf) error {
	indexes := make([]int64, len(leaves))
	for i, leaf := range leaves {
		indexes[i] = tlog.StoredHashIndex(0, leaf.Index)
	}
	stored, err := l.o.Store.Hashes(ctx, indexes)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		if h := Hash(leaf); !bytes.Equal(stored[indexes[i]], h[:]) {
			return fmt.Errorf("leaf %d is not the one that was integrated: %w", leaf.Index, ErrContradiction)
		}
	}
	return nil
}

// eachLeaf calls f with consecutive leaves from an index on. A hole is a
// contradiction.
func eachLeaf(ctx context.Context, st store.Evidence, from int64, f func([]store.Leaf) error) error {
	for {
		leaves, err := st.Leaves(ctx, from, atOnce)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if leaf.Index != from {
				return fmt.Errorf("leaf %d is not there: %w", from, ErrContradiction)
			}
			from++
		}
		if len(leaves) == 0 {
			return nil
		}
		if err := f(leaves); err != nil {
			return err
		}
	}
}

// readHead returns what the head file's checkpoint says, nil when there is no
// file. A file that cannot be read or verified stops the log: guessing would
// hide a loss.
func (l *Log) readHead() (*Head, error) {
	if l.o.HeadFile == "" {
		return nil, nil //nolint:nilnil // absence is the answer
	}
	h, err := ReadHead(l.o.HeadFile, l.o.Verifier)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // absence is the answer
	}
	if err != nil {
		return nil, err
	}
	if h.Origin != l.origin {
		return nil, fmt.Errorf("%s is the head of log %s, this is %s", l.o.HeadFile, h.Origin, l.origin)
	}
	return &h, nil
}

// ReadHead reads and verifies a head file.
func ReadHead(path string, verifier note.Verifier) (Head, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Head{}, fmt.Errorf("read log head: %w", err)
	}
	h, err := OpenCheckpoint(text, verifier)
	if err != nil {
		return Head{}, fmt.Errorf("read log head %s: %w; if it was damaged, move it away: signed leaves that were lost will then not be noticed", path, err)
	}
	return h, nil
}

// writeHead replaces the head file, whole or not at all. It follows the
// database, so after a crash it may be behind, never ahead.
func (l *Log) writeHead(text []byte) error {
	path := l.o.HeadFile
	if path == "" {
		return nil
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := replaceFile(path, text); err != nil {
		return fmt.Errorf("write log head: %w", err)
	}
	return nil
}

func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
