package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type partRow struct {
	bun.BaseModel `bun:"table:part"`

	Digest string `bun:"digest,pk"`
	Size   int64  `bun:"size"`
	Text   []byte `bun:"text"` // one zstd frame
}

// keepParts records the texts not held yet. A text that does not hash to its
// name is refused: the next host would trust it.
func (s *Store) keepParts(ctx context.Context, tx bun.Tx, texts map[string]string) error {
	digests := slices.Sorted(maps.Keys(texts))
	missing, err := missingParts(ctx, tx, digests)
	if err != nil {
		return err
	}
	for _, d := range missing {
		text := texts[d]
		if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != d {
			return fmt.Errorf("part %s: the text's digest is %x", d, sum)
		}
		if len(text) > maxText {
			return fmt.Errorf("part %s: %d bytes, more than the %d a part may have", d, len(text), maxText)
		}
		row := partRow{Digest: d, Size: int64(len(text)), Text: s.pack.EncodeAll([]byte(text), nil)}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return fmt.Errorf("part %s: %w", d, err)
		}
	}
	return nil
}

// Part returns the canonical text of a part.
func (s *Store) Part(ctx context.Context, digest string) (string, error) {
	var row partRow
	if err := s.reader.NewSelect().Model(&row).Where("digest = ?", digest).Scan(ctx); err != nil {
		return "", notFound(err, "part %s", digest)
	}
	text, err := s.unpack.DecodeAll(row.Text, nil)
	if err != nil {
		return "", fmt.Errorf("part %s: inflate: %w", digest, err)
	}
	if int64(len(text)) != row.Size {
		return "", fmt.Errorf("part %s: holds %d bytes, %d are recorded", digest, len(text), row.Size)
	}
	return string(text), nil
}

// MissingParts returns those digests the store does not hold, sorted.
func (s *Store) MissingParts(ctx context.Context, digests []string) ([]string, error) {
	missing, err := missingParts(ctx, s.reader, digests)
	if err != nil {
		return nil, fmt.Errorf("look up parts: %w", err)
	}
	return missing, nil
}

func missingParts(ctx context.Context, db bun.IDB, digests []string) ([]string, error) {
	missing := make(map[string]struct{}, len(digests))
	for _, d := range digests {
		missing[d] = struct{}{}
	}
	err := batches(slices.Sorted(maps.Keys(missing)), rowsAtOnce, func(some []string) error {
		var held []string
		if err := db.NewRaw("SELECT digest FROM part WHERE digest IN (?)", bun.List(some)).Scan(ctx, &held); err != nil {
			return err
		}
		for _, d := range held {
			delete(missing, d)
		}
		return nil
	})
	return slices.Sorted(maps.Keys(missing)), err
}

var _ store.Reports = (*Store)(nil)
