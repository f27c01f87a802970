package evidence

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/store"
)

// Head is what a checkpoint says.
type Head struct {
	Origin string
	Epoch  int64
	Size   int64
	Root   tlog.Hash
	At     time.Time
	// After is the size of the checkpoint before it, 0 for the first: so none can be
	// taken out. It is negative in one of an older version, which does not say it.
	After int64
}

// A checkpoint's text is that of C2SP tlog-checkpoint with two extension lines, of
// which older ones have the first:
//
//	<origin>/<epoch>
//	<size>
//	<base64 root hash>
//	time <RFC 3339 instant, UTC>
//	after <size of the checkpoint before>
const (
	timePrefix  = "time "
	afterPrefix = "after "
)

func (h Head) text() string {
	text := fmt.Sprintf("%s/%d\n%d\n%s\n%s%s\n", h.Origin, h.Epoch, h.Size, h.Root, timePrefix, h.At.UTC().Format(time.RFC3339Nano))
	if h.After >= 0 {
		text += fmt.Sprintf("%s%d\n", afterPrefix, h.After)
	}
	return text
}

// sign makes the signed note and the row that keeps it.
func (h Head) sign(signer note.Signer) (store.Checkpoint, error) {
	text, err := note.Sign(&note.Note{Text: h.text()}, signer)
	if err != nil {
		return store.Checkpoint{}, err
	}
	return store.Checkpoint{Size: h.Size, At: h.At, Note: text}, nil
}

// OpenCheckpoint verifies a signed checkpoint and reads what it says. Only the
// one spelling that this package writes is accepted.
func OpenCheckpoint(signed []byte, verifier note.Verifier) (Head, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return Head{}, err
	}
	h, err := parseHead(n.Text)
	if err != nil {
		return Head{}, err
	}
	if h.text() != n.Text {
		return Head{}, errors.New("malformed checkpoint: not spelt as it is written")
	}
	return h, nil
}

func parseHead(text string) (Head, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 4 && len(lines) != 5 {
		return Head{}, fmt.Errorf("malformed checkpoint: %d lines, want 4 or 5", len(lines))
	}
	h := Head{After: -1}
	cut := strings.LastIndexByte(lines[0], '/')
	if cut < 1 {
		return Head{}, errors.New("malformed checkpoint: the origin bears no epoch")
	}
	h.Origin = lines[0][:cut]
	var err, bad error
	if h.Epoch, err = strconv.ParseInt(lines[0][cut+1:], 10, 64); err != nil {
		bad = errors.Join(bad, err)
	}
	if h.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		bad = errors.Join(bad, err)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		bad = errors.Join(bad, errors.New("the root is not a hash"))
	}
	copy(h.Root[:], root)
	if h.At, err = time.Parse(time.RFC3339Nano, strings.TrimPrefix(lines[3], timePrefix)); err != nil {
		bad = errors.Join(bad, err)
	}
	if len(lines) == 5 {
		if h.After, err = strconv.ParseInt(strings.TrimPrefix(lines[4], afterPrefix), 10, 64); err != nil || h.After < 0 || h.After >= h.Size {
			bad = errors.Join(bad, err, errors.New("the checkpoint before it is none"))
		}
	}
	if h.Epoch < 1 || h.Size < 0 {
		bad = errors.Join(bad, errors.New("an epoch or a size out of range"))
	}
	if bad != nil {
		return Head{}, fmt.Errorf("malformed checkpoint: %w", bad)
	}
	return h, nil
}
