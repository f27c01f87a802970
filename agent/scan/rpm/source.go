package rpm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/knqyf263/go-rpmdb/pkg/bdb"
	dbi "github.com/knqyf263/go-rpmdb/pkg/db"
	"github.com/knqyf263/go-rpmdb/pkg/ndb"
	"github.com/knqyf263/go-rpmdb/pkg/sqlite3"
	_ "modernc.org/sqlite" // registers the driver "sqlite", which go-rpmdb opens by name
)

// source yields the headers of a database; go-rpmdb's three backends do.
type source interface {
	Read() <-chan dbi.Entry
	Close() error
}

func openSQLite(path string) (source, error) { return sqlite3.Open(path) }
func openNDB(path string) (source, error)    { return ndb.Open(path) }
func openBDB(path string) (source, error)    { return bdb.Open(path) }

// count is what a census found.
type count struct {
	// headers is how many the reader must yield.
	headers int
	// unseen is how many are stored in a way the reader passes over.
	unseen int
	// damaged is how many do not match the checksum kept with them.
	damaged int
}

// sqliteMagic starts every SQLite 3 database.
const sqliteMagic = "SQLite format 3\x00"

// censusSQLite counts the rows of the Packages table. go-rpmdb does not ask
// whether its query ended or broke off, and would read from whatever is called
// Packages: a view can yield rows without end.
func censusSQLite(ctx context.Context, path string, l Limits) (count, error) {
	if err := checkMagic(path); err != nil {
		return count{}, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=trusted_schema(0)")
	if err != nil {
		return count{}, fmt.Errorf("open the copy: %w", err)
	}
	defer func() { _ = db.Close() }()
	if err := checkTable(ctx, db); err != nil {
		return count{}, err
	}
	var rows, longest, odd int64
	err = db.QueryRowContext(ctx,
		`SELECT count(*), coalesce(max(length(blob)), 0), count(*) FILTER (WHERE typeof(blob) <> 'blob') FROM Packages`).
		Scan(&rows, &longest, &odd)
	switch {
	case err != nil:
		return count{}, sqliteError("count packages", err)
	case odd > 0:
		return count{}, fmt.Errorf("%d rows of Packages are not headers: %w", odd, errCorrupt)
	case longest > int64(l.Header):
		return count{}, fmt.Errorf("a header of %d bytes: %w", longest, errTooLarge)
	case rows > int64(l.Packages):
		return count{}, fmt.Errorf("%d packages: %w", rows, errTooLarge)
	}
	return count{headers: int(rows)}, nil
}

func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	magic := make([]byte, len(sqliteMagic))
	if _, err := f.ReadAt(magic, 0); err != nil {
		return fmt.Errorf("no SQLite database: %w", errTruncated)
	}
	if string(magic) != sqliteMagic {
		return fmt.Errorf("no SQLite database: %w", errCorrupt)
	}
	return nil
}

// checkTable refuses a Packages that is not a plain table with a blob column.
func checkTable(ctx context.Context, db *sql.DB) error {
	var kind string
	err := db.QueryRowContext(ctx,
		`SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = 'packages'`).Scan(&kind)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("no table Packages: %w", errCorrupt)
	case err != nil:
		return sqliteError("look for the table Packages", err)
	case kind != "table":
		return fmt.Errorf("the table Packages is a %s: %w", kind, errCorrupt)
	}
	var stored int
	err = db.QueryRowContext(ctx,
		`SELECT count(*) FROM pragma_table_xinfo('Packages') WHERE lower(name) = 'blob' AND hidden = 0`).Scan(&stored)
	if err != nil {
		return sqliteError("look at the table Packages", err)
	}
	if stored != 1 {
		return fmt.Errorf("the table Packages stores no column blob: %w", errCorrupt)
	}
	return nil
}

// sqliteError tells a damaged database from one that could not be read in time.
func sqliteError(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, errCorrupt, err)
}
