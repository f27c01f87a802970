package bundle

import (
	"bytes"
	"fmt"

	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// What goes back to a host on the same medium is a file of lines too: a first
// line that says what it is and how many follow, then envelopes by the
// collector's keys. Each line speaks for itself, so nothing is sealed, and a
// reader takes the lines whose payload type it knows and leaves the others.

// MaxReturn is the most bytes of a file that goes back, MaxReturnLines the most
// envelopes in it.
const (
	MaxReturn      = 16 << 20
	MaxReturnLines = 16384
)

// maxReturnLine bounds one line of it; receipts have under a kilobyte.
const maxReturnLine = 1 << 20

// returnHead is the first line of a file that goes back.
type returnHead struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Lines   int    `json:"lines"`
}

const returnFormat = "patchproof-receipts"

// Returned is one line that goes back to a host, not yet verified: whose key must
// have signed it depends on its type.
type Returned struct {
	Type string
	Raw  []byte
}

// EncodeReturn makes the file that takes envelopes back to a host.
func EncodeReturn(lines [][]byte) ([]byte, error) {
	if len(lines) > MaxReturnLines {
		return nil, fmt.Errorf("write receipts: %d lines, at most %d", len(lines), MaxReturnLines)
	}
	head, err := schema.MarshalCanonical(returnHead{Format: returnFormat, Version: 1, Lines: len(lines)})
	if err != nil {
		return nil, fmt.Errorf("write receipts: %w", err)
	}
	out := append(bytes.Join(append([][]byte{head}, lines...), []byte("\n")), '\n')
	if len(out) > MaxReturn {
		return nil, fmt.Errorf("write receipts: %d bytes, at most %d", len(out), MaxReturn)
	}
	return out, nil
}

// DecodeReturn takes such a file apart. A file that was cut short is refused, since
// its first line says how many follow; the error is a *schema.Refusal.
func DecodeReturn(file []byte) ([]Returned, error) {
	if len(file) > MaxReturn {
		return nil, schema.Refuse(schema.ReasonTooLarge, "receipts: %d bytes, at most %d", len(file), MaxReturn)
	}
	if len(file) == 0 || file[len(file)-1] != '\n' {
		return nil, schema.Refuse(schema.ReasonBadLines, "the last line does not end: the file was cut short")
	}
	if n := bytes.Count(file, []byte("\n")); n > MaxReturnLines+1 {
		return nil, schema.Refuse(schema.ReasonBadLines, "%d lines, at most %d", n, MaxReturnLines+1)
	}
	texts := bytes.Split(file[:len(file)-1], []byte("\n"))
	head, err := schema.DecodeStrict(texts[0], maxReturnLine, returnHead.validate)
	if err != nil {
		return nil, atLine(1, err)
	}
	if n := len(texts) - 1; n != head.Lines {
		return nil, schema.Refuse(schema.ReasonBadLines, "%d lines after the first, which says %d", n, head.Lines)
	}
	out := make([]Returned, 0, head.Lines)
	for i, raw := range texts[1:] {
		kind, err := envelope.TypeOf(raw, maxReturnLine)
		if err != nil {
			return nil, atLine(i+2, err)
		}
		out = append(out, Returned{Type: kind, Raw: raw})
	}
	return out, nil
}

func (h returnHead) validate() error {
	if h.Format != returnFormat || h.Version != 1 || h.Lines < 0 {
		return schema.Refuse(schema.ReasonBadHeader, "format %.80q version %d: want %s version 1", h.Format, h.Version, returnFormat)
	}
	return nil
}
