// Package unpack opens what publishers ship (archives and directories of
// records, plain or gzipped streams) and hands out the bytes within bounds.
//
// Invariants:
//   - Nothing is inflated beyond the limits below, whatever a header promises: a
//     bomb is a *LimitError, and so is an archive with too many entries.
//   - A name inside an archive is never a path to write to. It is used to say
//     where a fault is, quoted.
//   - A truncated or damaged stream is an error. It never reads as a shorter one.
package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Limits on what one document may hold. They leave room for the largest that
// publishers ship today: Ubuntu's OSV (about 60 000 records, 5 GB inflated, the
// largest record 9 MB) and the whole CVE list (300 000 records).
const (
	// MaxEntries bounds the records of an archive or directory.
	MaxEntries = 500_000
	// MaxRecord bounds one inflated record.
	MaxRecord = 32 << 20
	// MaxTotal bounds all records of an archive or directory together.
	MaxTotal = 12 << 30
	// MaxStream bounds one inflated stream (updateinfo, KEV, EPSS).
	MaxStream = 512 << 20
	// MaxRatio bounds inflated over packed, for what inflates to more than ratioFloor.
	MaxRatio   = 250
	ratioFloor = 1 << 20
	// maxDirectory bounds an archive's table of contents, about 64 bytes an entry.
	maxDirectory = 48 << 20
)

// ErrEmpty says that there is nothing to read.
var ErrEmpty = errors.New("is empty")

// LimitError says which bound was passed.
type LimitError struct {
	What  string
	Limit int64
}

// Error names the bound.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s is more than the limit of %d", e.What, e.Limit)
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	bom       = []byte{0xef, 0xbb, 0xbf}
)

// Stream returns the text of a plain or gzipped stream without a byte order
// mark. Reading past the bounds gives a *LimitError; an empty stream ErrEmpty.
func Stream(r io.Reader) (io.Reader, error) {
	packed := &counter{r: r}
	br := bufio.NewReaderSize(packed, 64<<10)
	head, err := br.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var text *bufio.Reader
	if bytes.Equal(head, gzipMagic) {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("gunzip: %w", unexpected(err))
		}
		text = bufio.NewReaderSize(&inflating{r: zr, packed: packed}, 64<<10)
	} else {
		text = bufio.NewReaderSize(&inflating{r: br}, 64<<10)
	}
	head, err = text.Peek(3)
	if len(head) == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrEmpty
		}
		return nil, err
	}
	if bytes.Equal(head, bom) {
		_, _ = text.Discard(3)
		if _, err := text.Peek(1); errors.Is(err, io.EOF) {
			return nil, ErrEmpty
		}
	}
	return text, nil
}

// counter counts the packed bytes that were read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// inflating bounds what comes out of a stream; packed is nil for a plain one.
type inflating struct {
	r      io.Reader
	packed *counter
	n      int64
}

func (f *inflating) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.n += int64(n)
	if f.n > MaxStream {
		return n, &LimitError{What: "the inflated size in bytes", Limit: MaxStream}
	}
	if f.packed != nil {
		if err := ratio(f.n, f.packed.n); err != nil {
			return n, err
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return n, fmt.Errorf("gunzip after %d bytes: %w", f.n, err)
		}
	}
	return n, err
}

func ratio(inflated, packed int64) error {
	if inflated > ratioFloor && inflated/MaxRatio > packed {
		return &LimitError{What: "the ratio of inflated to packed bytes", Limit: MaxRatio}
	}
	return nil
}

// unexpected says that an end inside a header is a cut-off, not an end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
