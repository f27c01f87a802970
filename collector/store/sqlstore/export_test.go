package sqlstore

import (
	"context"
	"slices"
)

// Setting reads a pragma of the writing connection.
func (s *Store) Setting(ctx context.Context, pragma string) (value string, err error) {
	err = s.writer.DB.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&value)
	return value, err
}

// ApplyMigrations brings a database to the embedded steps and further ones.
func ApplyMigrations(ctx context.Context, path string, texts ...string) error {
	s, err := connect(path, "_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	steps, err := loadMigrations(migrations)
	if err != nil {
		return err
	}
	for i, text := range texts {
		steps = append(steps, migration{version: steps[len(steps)-1].version + 1, name: "later", sql: text, sum: string(rune('a' + i))})
	}
	return apply(ctx, s.writer.DB, steps)
}

// OldDatabase makes a database as it was before a version of the schema.
func OldDatabase(ctx context.Context, path string, before int64) error {
	s, err := connect(path, "_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	steps, err := loadMigrations(migrations)
	if err != nil {
		return err
	}
	return apply(ctx, s.writer.DB, slices.DeleteFunc(steps, func(m migration) bool { return m.version >= before }))
}
