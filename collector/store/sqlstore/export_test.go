package sqlstore

import "context"

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
		steps = append(steps, migration{version: int64(len(steps) + 1), name: "later", sql: text, sum: string(rune('a' + i))})
	}
	return apply(ctx, s.writer.DB, steps)
}
