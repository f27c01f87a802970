package evidence

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the right edge of a Merkle tree: the roots of its greatest perfect
// subtrees, leftmost first. It is enough to add leaves and to name the root.
type tree struct {
	size int64
	edge []tlog.Hash
}

// add appends a leaf's hash and returns the hashes it completes, leaf first, as
// tlog stores them from index tlog.StoredHashIndex(0, n) on.
func (t *tree) add(leaf tlog.Hash) []tlog.Hash {
	hashes := []tlog.Hash{leaf}
	h := leaf
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h = tlog.NodeHash(t.edge[last], h)
		t.edge = t.edge[:last]
		hashes = append(hashes, h)
	}
	t.edge = append(t.edge, h)
	t.size++
	return hashes
}

// root is the tree's hash (RFC 6962, section 2.1); of no leaves that of nothing.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	h := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.edge[i], h)
	}
	return h
}

// edgeIndexes names the stored hashes that make up the right edge at a size.
func edgeIndexes(size int64) []int64 {
	var indexes []int64
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, size>>level-1))
		}
	}
	return indexes
}
