package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type tokenRow struct {
	bun.BaseModel `bun:"table:token"`

	Name      string `bun:"name,pk"`
	Hash      string `bun:"hash"`
	CreatedAt int64  `bun:"created_at"`
	LastUsed  int64  `bun:"last_used"`
}

// AddToken records a token, with its leaf. [store.ErrExists] when the name or
// the hash is taken.
func (s *Store) AddToken(ctx context.Context, t store.Token, leaf store.Leaf) error {
	return s.write(ctx, "add token", func(tx bun.Tx) error {
		row := tokenRow{Name: t.Name, Hash: t.Hash, CreatedAt: micros(t.CreatedAt), LastUsed: micros(t.LastUsed)}
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		if isConstraint(err) {
			return fmt.Errorf("token %q: %w", t.Name, store.ErrExists)
		}
		if err != nil {
			return err
		}
		_, err = appendLeaf(ctx, tx, leaf)
		return err
	})
}

// TokenByHash finds a token by the hash of its secret.
func (s *Store) TokenByHash(ctx context.Context, hash string) (store.Token, error) {
	var row tokenRow
	if err := s.reader.NewSelect().Model(&row).Where("hash = ?", hash).Scan(ctx); err != nil {
		return store.Token{}, notFound(err, "token")
	}
	return row.token(), nil
}

// Tokens lists all by name.
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	var rows []tokenRow
	if err := s.reader.NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	tokens := make([]store.Token, len(rows))
	for i, r := range rows {
		tokens[i] = r.token()
	}
	return tokens, nil
}

// TouchToken records when a token was last used; an earlier instant changes nothing.
func (s *Store) TouchToken(ctx context.Context, name string, at time.Time) error {
	return s.write(ctx, "touch token", func(tx bun.Tx) error {
		us := micros(at)
		res, err := tx.NewRaw("UPDATE token SET last_used = CASE WHEN last_used < ? THEN ? ELSE last_used END WHERE name = ?", us, us, name).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("token %q: %w", name, store.ErrNotFound)
		}
		return nil
	})
}

func (r tokenRow) token() store.Token {
	return store.Token{Name: r.Name, Hash: r.Hash, CreatedAt: instant(r.CreatedAt), LastUsed: instant(r.LastUsed)}
}
