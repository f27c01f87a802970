package rpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Layout of a Berkeley DB hash database: db_page.h.
const (
	bdbMagic       = 0x00061561
	bdbHead        = 26 // bytes of a page's own header
	bdbOffPage     = 12 // bytes of an entry that leads to an overflow chain
	bdbPageHashOld = 2
	bdbPageOver    = 7
	bdbPageMeta    = 8
	bdbPageHash    = 13
	bdbKeyData     = 1
	bdbOffPageType = 3
)

// censusBDB counts the values in overflow chains, which is where rpm's headers
// are, and checks everything go-rpmdb relies on while it reads them. A header
// small enough to be kept in its hash page is never seen by go-rpmdb, so those
// are counted apart.
func censusBDB(ctx context.Context, path string, l Limits) (count, error) {
	f, err := os.Open(path)
	if err != nil {
		return count{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return count{}, err
	}
	c := &bdbCensus{f: f, size: info.Size(), limits: l, order: binary.LittleEndian}
	return c.count, c.run(ctx)
}

type bdbCensus struct {
	f      *os.File
	size   int64
	limits Limits
	order  binary.ByteOrder
	page   int64  // bytes of a page
	last   int64  // number of the last page
	taken  []bool // overflow pages already part of a chain
	count  count
}

func (c *bdbCensus) run(ctx context.Context) error {
	if err := c.meta(); err != nil {
		return err
	}
	buf := make([]byte, c.page)
	for n := range c.last + 1 {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if _, err := c.f.ReadAt(buf, n*c.page); err != nil {
			return fmt.Errorf("page %d: %w", n, readError(err))
		}
		if t := buf[25]; t == bdbPageHash || t == bdbPageHashOld {
			if err := c.hashPage(buf); err != nil {
				return fmt.Errorf("page %d: %w", n, err)
			}
		}
	}
	return nil
}

// meta reads the first page.
func (c *bdbCensus) meta() error {
	var head [512]byte
	if _, err := c.f.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("no metadata page: %w", readError(err))
	}
	if c.order.Uint32(head[12:]) != bdbMagic {
		c.order = binary.BigEndian
		if c.order.Uint32(head[12:]) != bdbMagic {
			return fmt.Errorf("no Berkeley DB hash database: %w", errCorrupt)
		}
	}
	if head[24] != 0 {
		return fmt.Errorf("an encrypted database: %w", errUnsupported)
	}
	if head[25] != bdbPageMeta {
		return fmt.Errorf("no metadata page: %w", errCorrupt)
	}
	c.page, c.last = int64(c.order.Uint32(head[20:])), int64(c.order.Uint32(head[32:]))
	if c.page < 512 || c.page > 64<<10 || c.page&(c.page-1) != 0 {
		return fmt.Errorf("pages of %d bytes: %w", c.page, errCorrupt)
	}
	if (c.last+1)*c.page > c.size {
		return fmt.Errorf("%d pages of %d bytes in a file of %d: %w", c.last+1, c.page, c.size, errTruncated)
	}
	c.taken = make([]bool, c.last+1)
	return nil
}

// hashPage counts the values of one page of key and value pairs. All offsets
// are 16 bits wide, in the file as in go-rpmdb, so sums are checked to fit.
func (c *bdbCensus) hashPage(buf []byte) error {
	entries := int64(c.order.Uint16(buf[20:]))
	if entries%2 != 0 {
		return fmt.Errorf("%d entries, not in pairs: %w", entries, errCorrupt)
	}
	if end := bdbHead + 2*entries; end > c.page || end > 0xffff {
		return fmt.Errorf("%d entries in %d bytes: %w", entries, c.page, errCorrupt)
	}
	for i := int64(1); i < entries; i += 2 {
		key := int64(c.order.Uint16(buf[bdbHead+2*(i-1):]))
		at := int64(c.order.Uint16(buf[bdbHead+2*i:]))
		if at < bdbHead+2*entries || at >= c.page {
			return fmt.Errorf("entry %d outside the page: %w", i, errCorrupt)
		}
		if err := c.value(buf, key, at); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

func (c *bdbCensus) value(buf []byte, key, at int64) error {
	switch kind := buf[at]; kind {
	case bdbOffPageType:
		if at+bdbOffPage > c.page || at+bdbOffPage > 0xffff {
			return fmt.Errorf("outside the page: %w", errCorrupt)
		}
		if c.count.headers++; c.count.headers > c.limits.Packages {
			return errTooLarge
		}
		return c.chain(int64(c.order.Uint32(buf[at+4:])), int64(c.order.Uint32(buf[at+8:])))
	case bdbKeyData:
		// Key 0 holds the last package number, which is all rpm keeps inline
		// as long as headers are larger than a quarter of a page.
		if !c.zeroKey(buf, key) {
			c.count.unseen++
		}
		return nil
	default:
		return fmt.Errorf("a value of type %d: %w", kind, errUnsupported)
	}
}

func (c *bdbCensus) zeroKey(buf []byte, key int64) bool {
	if key < bdbHead || key+5 > c.page || buf[key] != bdbKeyData {
		return false
	}
	return c.order.Uint32(buf[key+1:]) == 0
}

// chain follows overflow pages. Each page may be part of one chain once, so
// every chain ends and all of them together fit the file.
func (c *bdbCensus) chain(next, length int64) error {
	if length > int64(c.limits.Header) {
		return fmt.Errorf("a header of %d bytes: %w", length, errTooLarge)
	}
	if next == 0 {
		return fmt.Errorf("an empty header: %w", errCorrupt)
	}
	var head [bdbHead]byte
	got := int64(0)
	for next != 0 {
		if next > c.last || next*c.page > 0xffffffff || c.taken[next] {
			return fmt.Errorf("overflow page %d is outside the file or used twice: %w", next, errCorrupt)
		}
		c.taken[next] = true
		if _, err := c.f.ReadAt(head[:], next*c.page); err != nil {
			return fmt.Errorf("overflow page %d: %w", next, readError(err))
		}
		if head[25] != bdbPageOver {
			return fmt.Errorf("overflow page %d has type %d: %w", next, head[25], errCorrupt)
		}
		here, after := c.page-bdbHead, int64(c.order.Uint32(head[16:]))
		if after == 0 {
			here = int64(c.order.Uint16(head[22:]))
		}
		if bdbHead+here > c.page || bdbHead+here > 0xffff && after == 0 {
			return fmt.Errorf("overflow page %d holds %d bytes: %w", next, here, errCorrupt)
		}
		got, next = got+here, after
	}
	if got != length {
		return fmt.Errorf("a header of %d bytes, want %d: %w", got, length, errCorrupt)
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}
