package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/patchproof/patchproof/collector/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migration is one forward step of the schema.
type migration struct {
	version int64
	name    string
	sql     string
	sum     string
}

// migrate brings the schema up to date. A step, its checksum and its number
// are one transaction, so a crash leaves a whole number of steps.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := loadMigrations(migrations)
	if err != nil {
		return err
	}
	return apply(ctx, db, steps)
}

// checkCurrent refuses a database whose schema is not exactly ours.
func checkCurrent(ctx context.Context, db *sql.DB) error {
	steps, err := loadMigrations(migrations)
	if err != nil {
		return err
	}
	if err := checkApplied(ctx, db, steps); err != nil {
		return err
	}
	var applied int
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM migration_checksum").Scan(&applied)
	if err != nil {
		return fmt.Errorf("it is not a collector's database: %w", err)
	}
	if applied < len(steps) {
		return fmt.Errorf("its schema is %d of %d steps old; use the version that wrote it", len(steps)-applied, len(steps))
	}
	return nil
}

func apply(ctx context.Context, db *sql.DB, steps []migration) error {
	if err := checkApplied(ctx, db, steps); err != nil {
		return err
	}
	all := make([]*goose.Migration, len(steps))
	for i, m := range steps {
		all[i] = goose.NewGoMigration(m.version, &goose.GoFunc{RunTx: m.run}, nil)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, nil,
		goose.WithGoMigrations(all...), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (m migration) run(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, m.sql); err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO migration_checksum (version, name, sha256) VALUES (?, ?, ?)", m.version, m.name, m.sum)
	return err
}

// checkApplied holds the steps a database went through against those we know.
func checkApplied(ctx context.Context, db *sql.DB, steps []migration) error {
	var tables int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'migration_checksum'").Scan(&tables)
	if err != nil || tables == 0 {
		return err
	}
	known := make(map[int64]migration, len(steps))
	for _, m := range steps {
		known[m.version] = m
	}
	rows, err := db.QueryContext(ctx, "SELECT version, name, sha256 FROM migration_checksum ORDER BY version")
	if err != nil {
		return fmt.Errorf("read applied migrations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var got migration
		if err := rows.Scan(&got.version, &got.name, &got.sum); err != nil {
			return fmt.Errorf("read applied migrations: %w", err)
		}
		want, ok := known[got.version]
		if !ok {
			return fmt.Errorf("migration %s: %w; run the version that wrote it, or a later one", got.name, store.ErrNewerSchema)
		}
		if want.sum != got.sum {
			return fmt.Errorf("migration %s was applied with checksum %s, this program has %s: the database was made by a build that was never released, or was altered",
				got.name, got.sum, want.sum)
		}
	}
	return rows.Err()
}

func loadMigrations(fsys fs.FS) ([]migration, error) {
	names, err := fs.Glob(fsys, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	steps := make([]migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s: its name does not begin with a number: %w", name, err)
		}
		sum := sha256.Sum256(text)
		steps = append(steps, migration{version: version, name: path.Base(name), sql: string(text), sum: hex.EncodeToString(sum[:])})
	}
	return steps, nil
}
