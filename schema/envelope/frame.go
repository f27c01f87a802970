package envelope

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/patchproof/patchproof/schema"
)

// maxWindow is the most memory a frame may ask a decoder to look back on, when
// it is not of a single segment.
const maxWindow = 8 << 20

// maxBlock is the most one zstd block holds once inflated (RFC 8878, 3.1.1.2).
const maxBlock = 128 << 10

// deflate returns one zstd frame of a single segment: its content size is
// declared and no window beyond the content is asked for. The fastest level is
// as small as the default one on package text, in half the memory. One encoder
// a call: a host seals rarely, and keeps no memory for it in between.
func deflate(content []byte) ([]byte, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(256<<10),
		zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	return enc.EncodeAll(content, nil), nil
}

// inflate returns the content of exactly one frame.
func inflate(frame []byte) ([]byte, error) {
	size, err := checkFrame(frame)
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(schema.MaxStatement),
		zstd.WithDecoderMaxWindow(schema.MaxStatement),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, schema.Refuse(schema.ReasonBadFrame, "make zstd decoder: %w", err)
	}
	defer dec.Close()
	content, err := dec.DecodeAll(frame, make([]byte, 0, size))
	if err != nil {
		return nil, schema.Refuse(schema.ReasonBadFrame, "inflate: %w", err)
	}
	if len(content) != size {
		return nil, schema.Refuse(schema.ReasonBadFrame, "inflates to %d bytes, declares %d", len(content), size)
	}
	return content, nil
}

// checkFrame returns the content size one frame declares. It walks the block
// headers without inflating, so that a second frame, trailing bytes or a size
// the blocks cannot hold are refused before memory is taken.
func checkFrame(frame []byte) (size int, err error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return 0, schema.Refuse(schema.ReasonBadFrame, "zstd header: %w", err)
	}
	switch {
	case h.Skippable:
		return 0, schema.Refuse(schema.ReasonBadFrame, "a skippable frame")
	case h.DictionaryID != 0:
		return 0, schema.Refuse(schema.ReasonBadFrame, "needs dictionary %d", h.DictionaryID)
	case !h.HasFCS:
		return 0, schema.Refuse(schema.ReasonBadFrame, "does not declare its content size")
	case h.FrameContentSize > schema.MaxStatement:
		return 0, schema.Refuse(schema.ReasonTooLarge, "inflates to %d bytes, at most %d", h.FrameContentSize, schema.MaxStatement)
	case !h.SingleSegment && h.WindowSize > maxWindow:
		return 0, schema.Refuse(schema.ReasonTooLarge, "window of %d bytes, at most %d", h.WindowSize, maxWindow)
	}
	length, most, err := walkBlocks(frame[h.HeaderSize:])
	if err != nil {
		return 0, schema.Refuse(schema.ReasonBadFrame, "%w", err)
	}
	end := h.HeaderSize + length
	if h.HasCheckSum {
		end += 4
	}
	if end != len(frame) {
		return 0, schema.Refuse(schema.ReasonBadFrame, "one frame of %d bytes in a payload of %d", end, len(frame))
	}
	if h.FrameContentSize > uint64(most) {
		return 0, schema.Refuse(schema.ReasonBadFrame, "declares %d bytes, its blocks hold at most %d", h.FrameContentSize, most)
	}
	return int(h.FrameContentSize), nil
}

// walkBlocks returns the length of a frame's blocks, up to and with the last,
// and the most they can inflate to (RFC 8878, 3.1.1.2).
func walkBlocks(b []byte) (length, most int, err error) {
	const headerSize, raw, rle, reserved = 3, 0, 1, 3
	for {
		if len(b)-length < headerSize {
			return 0, 0, errors.New("truncated: no last block")
		}
		header := int(b[length]) | int(b[length+1])<<8 | int(b[length+2])<<16
		last, kind, size := header&1 != 0, header>>1&3, header>>3
		length += headerSize
		switch kind {
		case reserved:
			return 0, 0, errors.New("a block of the reserved type")
		case rle:
			most += min(size, maxBlock)
			length++
		case raw:
			most += min(size, maxBlock)
			length += size
		default:
			most += maxBlock
			length += size
		}
		if length > len(b) {
			return 0, 0, errors.New("truncated: a block ends after the payload")
		}
		if last {
			return length, most, nil
		}
	}
}
