package rpm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"os"
)

// Layout of ndb's Packages.db, little-endian: a header and slots of 16 bytes in
// pages of 4096, then blobs in blocks of 16 bytes.
const (
	ndbMagic     = "RpmP"
	ndbSlotMagic = "Slot"
	ndbBlobMagic = "BlbS"
	ndbTailMagic = "BlbE"
	ndbTail      = 12
	ndbPage      = 4096
	ndbBlock     = 16
	ndbMaxPages  = 2048 // what go-rpmdb reads
)

// censusNDB counts the used slots, and checks that each leads to a whole blob
// with the right checksum.
func censusNDB(ctx context.Context, path string, l Limits) (count, error) {
	f, err := os.Open(path)
	if err != nil {
		return count{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return count{}, err
	}
	c := &ndbCensus{f: f, size: info.Size(), limits: l, taken: make(map[uint32]struct{})}
	return c.count, c.run(ctx)
}

type ndbCensus struct {
	f      *os.File
	size   int64
	limits Limits
	taken  map[uint32]struct{} // blobs counted, by offset
	total  int64
	count  count
}

func (c *ndbCensus) run(ctx context.Context) error {
	pages, err := c.pages()
	if err != nil {
		return err
	}
	slots := bufio.NewReaderSize(io.NewSectionReader(c.f, 2*ndbBlock, pages*ndbPage-2*ndbBlock), 64<<10)
	var slot [ndbBlock]byte
	for {
		_, err := io.ReadFull(slots, slot[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the slots: %w", err)
		}
		if string(slot[:4]) != ndbSlotMagic {
			return fmt.Errorf("a slot without its mark: %w", errCorrupt)
		}
		if index := binary.LittleEndian.Uint32(slot[4:]); index != 0 {
			if err := c.blob(index, binary.LittleEndian.Uint32(slot[8:]), binary.LittleEndian.Uint32(slot[12:])); err != nil {
				return fmt.Errorf("package %d: %w", index, err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

// pages returns the number of slot pages the header states.
func (c *ndbCensus) pages() (int64, error) {
	var head [2 * ndbBlock]byte
	if _, err := c.f.ReadAt(head[:], 0); err != nil {
		return 0, fmt.Errorf("no ndb header: %w", errTruncated)
	}
	if string(head[:4]) != ndbMagic {
		return 0, fmt.Errorf("no ndb database: %w", errCorrupt)
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v != 0 {
		return 0, fmt.Errorf("ndb version %d: %w", v, errUnsupported)
	}
	pages := int64(binary.LittleEndian.Uint32(head[12:]))
	switch {
	case pages == 0:
		return 0, fmt.Errorf("no slot pages: %w", errCorrupt)
	case pages > ndbMaxPages:
		return 0, fmt.Errorf("%d slot pages: %w", pages, errTooLarge)
	case pages*ndbPage > c.size:
		return 0, fmt.Errorf("%d slot pages in %d bytes: %w", pages, c.size, errTruncated)
	}
	return pages, nil
}

// blob counts one blob. Each may be used once: a few megabytes of slots that all
// point at one blob would otherwise unfold to gigabytes.
func (c *ndbCensus) blob(index, block, blocks uint32) error {
	if _, ok := c.taken[block]; ok {
		return fmt.Errorf("shares its header with another: %w", errCorrupt)
	}
	c.taken[block] = struct{}{}
	at := int64(block) * ndbBlock
	var head [ndbBlock]byte
	if _, err := c.f.ReadAt(head[:], at); err != nil {
		return readError(err)
	}
	if string(head[:4]) != ndbBlobMagic || binary.LittleEndian.Uint32(head[4:]) != index {
		return fmt.Errorf("its header is not where it should be: %w", errCorrupt)
	}
	n := int64(binary.LittleEndian.Uint32(head[12:]))
	size := (ndbBlock + n + ndbTail + ndbBlock - 1) / ndbBlock * ndbBlock
	switch {
	case n > int64(c.limits.Header), len(c.taken) > c.limits.Packages:
		return errTooLarge
	case size != int64(blocks)*ndbBlock:
		return fmt.Errorf("a header of %d bytes in %d blocks: %w", n, blocks, errCorrupt)
	case at+size > c.size:
		return errTruncated
	}
	if c.total += size; c.total > c.size {
		return fmt.Errorf("headers overlap: %w", errCorrupt)
	}
	whole, err := c.verify(at, n, size)
	if err != nil {
		return fmt.Errorf("read the header: %w", readError(err))
	}
	c.count.headers++
	if !whole {
		c.count.damaged++
	}
	return nil
}

// verify holds a blob against its tail: the Adler-32 of everything before the
// tail, the length again, and a mark. rpm checks the sum only on request, so a
// wrong one leaves the package listed, with a gap beside it.
func (c *ndbCensus) verify(at, n, size int64) (bool, error) {
	h := adler32.New()
	if _, err := io.Copy(h, io.NewSectionReader(c.f, at, size-ndbTail)); err != nil {
		return false, err
	}
	var tail [ndbTail]byte
	if _, err := c.f.ReadAt(tail[:], at+size-ndbTail); err != nil {
		return false, err
	}
	return binary.LittleEndian.Uint32(tail[:]) == h.Sum32() &&
		int64(binary.LittleEndian.Uint32(tail[4:])) == n && string(tail[8:]) == ndbTailMagic, nil
}
