// Package sqlstore keeps what the collector remembers in one SQLite file.
//
// It implements the roles of collector/store; collector/store/storetest is
// their definition. Queries are written in the SQL that SQLite and PostgreSQL
// both speak; only the migrations and [Open] name a dialect.
//
// Invariants:
//   - One connection writes, inside BEGIN IMMEDIATE; others read the last
//     committed state and never wait for it (write-ahead log).
//   - synchronous=FULL: what a verb returned from is on the disk.
//   - A verb is one transaction. When it returns an error, nothing of it remains.
//   - Every applied migration's checksum is recorded with it; a database with
//     another one, or with a migration this program does not know, is refused.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/patchproof/patchproof/collector/store"
)

// readers bounds the connections that answer questions.
const readers = 4

// pastReaders bounds those that answer for the past: each may read every state
// that was ever recorded.
const pastReaders = 2

// Store is a database. Its methods are safe for concurrent use.
type Store struct {
	writer *bun.DB
	pool   *bun.DB
	// past are connections that a question on the past turns back.
	past *bun.DB
	// reader is the pool, or within View and Past one transaction.
	reader bun.IDB
	// position is set within Past, start within Between.
	position  *store.Position
	start     *store.Position
	hindsight *hindsight
	readOnly  bool
	pack      *zstd.Encoder
	unpack    *zstd.Decoder
	// feedCounts is shared with views: what it holds says of which state it is.
	feedCounts *feedCounts
}

var _ store.Store = (*Store)(nil)

// Open opens the database in a file, makes it when it is not there, and brings
// its schema up to date. It returns [store.ErrNewerSchema] when a newer version
// of the program wrote it.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string) (*Store, error) {
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	s, err := connect(path, "_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, s.writer.DB); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// OpenReadOnly opens the database in a file to look at it: nothing is made,
// migrated or written, so an auditor's copy stays what it is. It returns
// [store.ErrNotFound] when there is no such file.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	s, err := openReadOnly(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return s, nil
}

func openReadOnly(ctx context.Context, path string) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound
	}
	s, err := connect(path, "mode=ro")
	if err != nil {
		return nil, err
	}
	s.readOnly = true
	if err := checkCurrent(ctx, s.pool.DB); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// connect makes the two pools; the driver opens the file with the first query.
func connect(path string, params ...string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	writer, err := sql.Open("sqlite", dsn(abs, append(params, "_txlock=immediate", "_pragma=cache_size(-32768)")...))
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	pool, err := sql.Open("sqlite", dsn(abs, append(params, "_pragma=query_only(1)", "_pragma=cache_size(-8192)")...))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(readers)
	pool.SetMaxIdleConns(readers)
	past, err := sql.Open("sqlite", dsn(abs, append(params, "_pragma=cache_size(-8192)")...))
	if err != nil {
		return nil, err
	}
	past.SetMaxOpenConns(pastReaders)
	s := &Store{
		writer: bun.NewDB(writer, sqlitedialect.New()), pool: bun.NewDB(pool, sqlitedialect.New()), past: bun.NewDB(past, sqlitedialect.New()),
		feedCounts: &feedCounts{}, hindsight: &hindsight{},
	}
	s.reader = s.pool
	if s.pack, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	if s.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxText)); err != nil {
		return nil, err
	}
	return s, nil
}

// makePrivate makes the file, when it is not there, so that nobody but its owner
// can read it; SQLite gives the same mode to the files beside it.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn names a file to the driver; a path may hold any character but NUL.
func dsn(path string, more ...string) string {
	params := append([]string{
		"_pragma=busy_timeout(15000)",
		"_pragma=foreign_keys(1)",
		"_pragma=temp_store(MEMORY)",
	}, more...)
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: strings.Join(params, "&")}
	return u.String()
}

// Close waits for the verbs that run and closes the file.
func (s *Store) Close() error {
	err := errors.Join(s.pool.Close(), s.past.Close(), s.writer.Close())
	s.unpack.Close()
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// View calls f with the store as it stands now: whatever is written meanwhile,
// all that f reads is of one moment. f must not write, nor keep what it was given.
func (s *Store) View(ctx context.Context, f func(store.Store) error) error {
	err := s.pool.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		// The snapshot is taken by the first read.
		if _, err := leafCount(ctx, tx); err != nil {
			return err
		}
		view := *s
		view.reader = tx
		return f(&view)
	})
	return translate("view store", err)
}

// write runs f in the one writing transaction, and commits when it returns nil.
func (s *Store) write(ctx context.Context, what string, f func(tx bun.Tx) error) error {
	err := s.writer.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error { return f(tx) })
	return translate(what, err)
}

// translate wraps a driver's error with what was being done, in the store's terms.
func translate(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isConstraint reports whether a write broke a key or a reference.
func isConstraint(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}
