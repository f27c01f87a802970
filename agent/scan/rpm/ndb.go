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
			if err := c.blob(index, binary.LittleEndian.Uint32(slot[8:])); err != nil {
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
func (c *ndbCensus) blob(index, block uint32) error {
	if _, ok := c.taken[block]; ok {
		return fmt.Errorf("shares its header with another: %w", errCorrupt)
	}
	c.taken[block] = struct{}{}
	at := int64(block) * ndbBlock
	var head [ndbBlock]byte
	if _, err := c.f.ReadAt(head[:], at); err != nil {
		return errTruncated
	}
	if string(head[:4]) != ndbBlobMagic || binary.LittleEndian.Uint32(head[4:]) != index {
		return fmt.Errorf("its header is not where it should be: %w", errCorrupt)
	}
	n := int64(binary.LittleEndian.Uint32(head[12:]))
	switch {
	case at+ndbBlock+n > c.size:
		return errTruncated
	case n > int64(c.limits.Header), len(c.taken) > c.limits.Packages:
		return errTooLarge
	}
	if c.total += n; c.total > c.size {
		return fmt.Errorf("headers overlap: %w", errCorrupt)
	}
	if err := c.checksum(at, n, binary.LittleEndian.Uint32(head[8:])); err != nil {
		return err
	}
	c.count.headers++
	return nil
}

// checksum verifies a blob as rpm does: Adler-32 over head (checksum left out)
// and content, kept in the head and again in the tail.
func (c *ndbCensus) checksum(at, n int64, want uint32) error {
	h := adler32.New()
	if _, err := io.Copy(h, io.NewSectionReader(c.f, at+ndbBlock, n)); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	if got := h.Sum32(); got != want {
		return fmt.Errorf("checksum %08x, want %08x: %w", got, want, errCorrupt)
	}
	return nil
}
