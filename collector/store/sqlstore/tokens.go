package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

type tokenRow struct {
	bun.BaseModel `bun:"table:token"`

	Name      string        `bun:"name,pk"`
	Hash      string        `bun:"hash"`
	CreatedAt int64         `bun:"created_at"`
	LastUsed  int64         `bun:"last_used"`
	Scopes    string        `bun:"scopes"`
	CreatedBy string        `bun:"created_by"`
	ExpiresAt sql.NullInt64 `bun:"expires_at"`
	RevokedAt sql.NullInt64 `bun:"revoked_at"`
	RevokedBy string        `bun:"revoked_by"`
}

// AddToken records a token, with its leaf. [store.ErrExists] when the name or
// the hash is taken.
func (s *Store) AddToken(ctx context.Context, t store.Token, leaf store.Leaf) error {
	return s.write(ctx, "add token", func(tx bun.Tx) error {
		row := tokenRow{
			Name: t.Name, Hash: t.Hash, CreatedAt: micros(t.CreatedAt), LastUsed: micros(t.LastUsed),
			Scopes: strings.Join(t.Scopes, " "), CreatedBy: t.CreatedBy,
			ExpiresAt: optional(t.ExpiresAt), RevokedAt: optional(t.RevokedAt), RevokedBy: t.RevokedBy,
		}
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

// RevokeToken ends a token for good, with its leaf. [store.ErrNotFound] when
// there is none of the name, [store.ErrConflict] when it was revoked before.
func (s *Store) RevokeToken(ctx context.Context, name, by string, at time.Time, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "revoke token", func(tx bun.Tx) error {
		var row tokenRow
		if err := tx.NewSelect().Model(&row).Where("name = ?", name).Scan(ctx); err != nil {
			return notFound(err, "token %q", name)
		}
		if row.RevokedAt.Valid {
			return fmt.Errorf("token %q was revoked at %s: %w", name, instant(row.RevokedAt.Int64).Format(time.RFC3339), store.ErrConflict)
		}
		if _, err := tx.NewRaw("UPDATE token SET revoked_at = ?, revoked_by = ? WHERE name = ?", micros(at), by, name).Exec(ctx); err != nil {
			return err
		}
		n, err = appendLeaf(ctx, tx, leaf)
		return err
	})
	return n, err
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
	for i := range rows {
		tokens[i] = rows[i].token()
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

func (r *tokenRow) token() store.Token {
	return store.Token{
		Name: r.Name, Hash: r.Hash, CreatedAt: instant(r.CreatedAt), LastUsed: instant(r.LastUsed),
		Scopes: strings.Fields(r.Scopes), CreatedBy: r.CreatedBy,
		ExpiresAt: given(r.ExpiresAt), RevokedAt: given(r.RevokedAt), RevokedBy: r.RevokedBy,
	}
}

// optional stores the zero time as null, given is its inverse.
func optional(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: micros(t), Valid: !t.IsZero()}
}

func given(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return instant(n.Int64)
}
