package evidence_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/internal/recordtest"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
)

func TestAYearIsVerifiedAndReplayed(t *testing.T) {
	t.Parallel()
	year := recordtest.Year(t)
	var touched int // assessments of what facts touched alone
	err := openRaw(t, filepath.Join(year.Dir, recordtest.Database)).QueryRowContext(t.Context(), `SELECT COUNT(*) FROM assessment WHERE body LIKE '%"only":%'`).Scan(&touched)
	if err != nil || touched == 0 {
		t.Errorf("the year has no assessment of some findings alone (%v)", err)
	}
	r := year.Verify()
	if !r.OK {
		t.Fatalf("not ok:\n%s", r.Summary())
	}
	if r.Replayed.Decisions != r.Findings || r.Findings < 50 || r.Replayed.Old != 0 || len(r.Notes) > 0 {
		t.Errorf("%d finding versions, replayed %+v, notes %q", r.Findings, r.Replayed, r.Notes)
	}
}

// edits is how many random edits are made; seedName names what makes them others.
const (
	edits    = 1000
	seedName = "PATCHPROOF_TEST_SEED"
)

// TestEveryRandomEditIsDetected makes single edits of a whole record, each of the
// record as it was, and verifies it after each. The seed is printed: the same one
// makes the same edits.
func TestEveryRandomEditIsDetected(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(seedName); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedName, seed)
	year := newYear(t)
	if r := year.verify(t, year.image); !r.OK {
		t.Fatalf("before any edit:\n%s", r.Summary())
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	const workers = 4
	for w := range workers {
		group.Go(func() {
			e := &editor{t: t, year: year, rng: rand.New(rand.NewPCG(seed, uint64(w))), path: filepath.Join(t.TempDir(), "edited.db")}
			for range edits / workers {
				kind := e.one()
				mu.Lock()
				done[kind]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("edits: %v", done)
	if len(done) != len(kinds) {
		t.Errorf("only some kinds of edits were made: %v of %v", done, slices.Sorted(maps.Keys(kinds)))
	}
}

// TestEveryColumnIsEdited tries each column that is evidence, whatever the dice say.
func TestEveryColumnIsEdited(t *testing.T) {
	t.Parallel()
	year := newYear(t)
	e := &editor{t: t, year: year, rng: rand.New(rand.NewPCG(7, 7)), path: filepath.Join(t.TempDir(), "edited.db")}
	for _, table := range slices.Sorted(maps.Keys(year.tables)) {
		for _, column := range year.tables[table].columns {
			if !held(table, column) {
				continue
			}
			if !e.column(table, column) {
				t.Errorf("%s.%s: no edit of it can be made: let an act of recordtest.Year write it in two rows", table, column)
			}
		}
	}
}

// held reports whether verification holds a column: it is evidence, and not one of
// those that are still open.
func held(table, column string) bool {
	is := columns[table][column].is
	return is == underLeaf || is == derived
}

// year is the image of a record's database, and what its tables are.
type year struct {
	*recordtest.Record
	image  []byte
	head   string
	tables map[string]table
}

type table struct {
	columns, key []string
	rows         int
}

func newYear(t *testing.T) *year {
	t.Helper()
	r := recordtest.Year(t)
	if err := r.Store.Close(); err != nil { // folds the write-ahead log into the file
		t.Fatal(err)
	}
	y := &year{Record: r, head: filepath.Join(r.Dir, recordtest.HeadFile), tables: map[string]table{}}
	path := filepath.Join(r.Dir, recordtest.Database)
	db := openRaw(t, path)
	if _, err := db.ExecContext(t.Context(), "PRAGMA journal_mode=DELETE"); err != nil {
		t.Fatal(err)
	}
	for name, cols := range schemaColumns(t, db) {
		if !slices.ContainsFunc(cols, func(c string) bool { return held(name, c) }) {
			continue
		}
		tb := table{columns: cols}
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+name).Scan(&tb.rows); err != nil {
			t.Fatal(err)
		}
		tb.key = keyOf(t, db, name)
		if tb.rows == 0 {
			t.Errorf("%s is empty: let an act of recordtest.Year write it", name)
		}
		y.tables[name] = tb
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	y.image = must[[]byte](t)(os.ReadFile(path))
	return y
}

// keyOf lists the columns of a table's primary key.
func keyOf(t testing.TB, db *sql.DB, table string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", table)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var key []string
	for rows.Next() {
		var c string
		if err := rows.Scan(&c); err != nil {
			t.Fatal(err)
		}
		key = append(key, c)
	}
	if err := rows.Err(); err != nil || len(key) == 0 {
		t.Fatalf("key of %s: %v (%v)", table, key, err)
	}
	return key
}

// openRaw opens a database behind the store's back, as an insider would.
func openRaw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=foreign_keys(0)&_pragma=ignore_check_constraints(1)&_pragma=synchronous(0)&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// verify verifies an image of the database.
func (y *year) verify(t testing.TB, image []byte) evidence.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "verified.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return y.verifyFile(t, path, true)
}

func (y *year) verifyFile(t testing.TB, path string, replay bool) evidence.Report {
	t.Helper()
	st, err := sqlstore.OpenReadOnly(context.WithoutCancel(t.Context()), path)
	if err != nil {
		return evidence.Report{Problems: []evidence.Problem{{Where: "database", What: err.Error()}}}
	}
	defer func() { _ = st.Close() }()
	v := evidence.Verifier{Store: st, Key: y.Keys.LogVerifier, HeadFile: y.head}
	if replay {
		v.Replay = assess.Replay
	}
	r, err := v.Verify(t.Context())
	if err != nil {
		return evidence.Report{Problems: []evidence.Problem{{Where: "database", What: err.Error()}}}
	}
	return r
}

// editor makes one edit after the other, each of the whole record.
type editor struct {
	t    *testing.T
	year *year
	rng  *rand.Rand
	path string
	db   *sql.DB
	said string // the edit under way, in words
}

// kinds are the kinds of edits. Each returns whether it changed anything.
var kinds = map[string]func(e *editor, table, column string) bool{
	"cell":      (*editor).cell,
	"timestamp": (*editor).timestamp,
	"swap":      (*editor).swap,
	"delete":    (*editor).remove,
	"add":       (*editor).add,
}

// one makes one random edit that changes something, and wants it detected.
func (e *editor) one() string {
	for {
		kind := slices.Sorted(maps.Keys(kinds))[e.rng.IntN(len(kinds))]
		table, column := e.anyColumn()
		if e.try(kind, table, column) {
			return kind
		}
	}
}

// column makes an edit of one column, if there is one.
func (e *editor) column(table, column string) bool {
	for range 40 {
		if e.try("cell", table, column) {
			return true
		}
	}
	return false
}

func (e *editor) anyColumn() (table, column string) {
	names := slices.Sorted(maps.Keys(e.year.tables))
	for {
		table = names[e.rng.IntN(len(names))]
		cols := e.year.tables[table].columns
		column = cols[e.rng.IntN(len(cols))]
		if held(table, column) && e.year.tables[table].rows > 0 {
			return table, column
		}
	}
}

// try makes an edit on a fresh copy, verifies, and reports whether there was one.
func (e *editor) try(kind, table, column string) bool {
	if err := os.WriteFile(e.path, e.year.image, 0o600); err != nil {
		e.t.Error(err)
		return true
	}
	e.db = openRaw(e.t, e.path)
	e.said = kind + " of " + table + "." + column
	made := kinds[kind](e, table, column)
	if err := e.db.Close(); err != nil {
		e.t.Error(err)
	}
	if !made {
		return false
	}
	// Most edits contradict a leaf; only those that do not need the replay.
	if e.year.verifyFile(e.t, e.path, false).OK && e.year.verifyFile(e.t, e.path, true).OK {
		e.t.Errorf("nobody noticed: %s", e.said)
	}
	return true
}

// row picks a row: its key's values.
func (e *editor) row(table string) []any {
	tb := e.year.tables[table]
	vals := make([]any, len(tb.key))
	ptrs := make([]any, len(tb.key))
	for i := range vals {
		ptrs[i] = &vals[i]
	}
	q := fmt.Sprintf("SELECT %s FROM %s ORDER BY %s LIMIT 1 OFFSET %d", strings.Join(tb.key, ", "), table, strings.Join(tb.key, ", "), e.rng.IntN(tb.rows))
	if err := e.db.QueryRowContext(e.t.Context(), q).Scan(ptrs...); err != nil {
		e.t.Errorf("%s: %v", q, err)
	}
	return vals
}

func (e *editor) where(table string) string {
	terms := make([]string, len(e.year.tables[table].key))
	for i, k := range e.year.tables[table].key {
		terms[i] = k + " = ?"
	}
	return strings.Join(terms, " AND ")
}

func (e *editor) read(table, column string, key []any) any {
	var v any
	if err := e.db.QueryRowContext(e.t.Context(), "SELECT "+column+" FROM "+table+" WHERE "+e.where(table), key...).Scan(&v); err != nil {
		e.t.Errorf("%s: %v", e.said, err)
	}
	return v
}

// exec runs an edit; one that the database refuses, or that changes nothing, is none.
func (e *editor) exec(query string, args ...any) bool {
	res, err := e.db.ExecContext(e.t.Context(), query, args...)
	if err != nil {
		return false
	}
	n, err := res.RowsAffected()
	return err == nil && n == 1
}

func (e *editor) set(table, column string, key []any, old, v any) bool {
	if same(old, v) {
		return false
	}
	e.said += fmt.Sprintf(" of row %.80q from %.120q to %.120q", fmt.Sprint(key), fmt.Sprint(old), fmt.Sprint(v))
	return e.exec("UPDATE "+table+" SET "+column+" = ? WHERE "+e.where(table), append([]any{v}, key...)...)
}

func same(a, b any) bool {
	x, ok1 := a.([]byte)
	y, ok2 := b.([]byte)
	if ok1 && ok2 {
		return bytes.Equal(x, y)
	}
	return a == b
}

// cell changes a cell to another plausible value: another row's, or one nearby.
func (e *editor) cell(table, column string) bool {
	key := e.row(table)
	old := e.read(table, column, key)
	if e.rng.IntN(2) == 0 {
		return e.set(table, column, key, old, e.read(table, column, e.row(table)))
	}
	return e.set(table, column, key, old, e.nearby(table+"."+column, old))
}

func (e *editor) nearby(where string, old any) any {
	switch v := old.(type) {
	case nil:
		return "x"
	case int64:
		if v == 0 || v == 1 {
			return 1 - v // a boolean, most likely
		}
		return v + []int64{1, -1, 1000, 77}[e.rng.IntN(4)]
	case string:
		return e.respelt(v)
	case []byte:
		if packed[where] {
			return repacked(e.t, v)
		}
		b := bytes.Clone(v)
		if len(b) == 0 {
			return []byte("x")
		}
		b[e.rng.IntN(len(b))] ^= 1 << e.rng.IntN(8)
		return b
	default:
		return "x"
	}
}

// respelt changes a character, or its case: names in JSON are read without it.
func (e *editor) respelt(v string) string {
	if v == "" {
		return "x"
	}
	b := []byte(v)
	i := e.rng.IntN(len(b))
	for tries := 0; (b[i] == '"' || b[i] == '\\') && tries < len(b); tries++ { // stay valid JSON
		i = (i + 1) % len(b)
	}
	switch c := b[i]; {
	case e.rng.IntN(2) == 0 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'):
		b[i] ^= 0x20
	case c == '0':
		b[i] = '1'
	default:
		b[i] = '0'
	}
	return string(b)
}

// packed are the columns that hold a compressed text. A frame has slack: bits that
// change nothing of the text, whose digest is what is verified.
var packed = map[string]bool{"part.text": true, "asset_import.text": true}

// repacked is another text in a frame.
func repacked(t testing.TB, frame []byte) []byte {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer dec.Close()
	text, err := dec.DecodeAll(frame, nil)
	if err != nil || len(text) == 0 {
		t.Errorf("inflate %d bytes: %v", len(frame), err)
		return nil
	}
	text[len(text)/2]++
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	return enc.EncodeAll(text, nil)
}

// timestamp moves an instant by a second.
func (e *editor) timestamp(table, column string) bool {
	key := e.row(table)
	old := e.read(table, column, key)
	v, ok := old.(int64)
	if !ok || v < 1e15 || v > 1e17 { // microseconds since 1970, of our days
		return false
	}
	return e.set(table, column, key, old, v+1_000_000)
}

// swap swaps the values of two rows.
func (e *editor) swap(table, column string) bool {
	if slices.Contains(e.year.tables[table].key, column) {
		return false // the rows would only change places
	}
	a, b := e.row(table), e.row(table)
	x, y := e.read(table, column, a), e.read(table, column, b)
	if same(x, y) {
		return false
	}
	// Where values are unique the one has to make room first.
	return e.set(table, column, a, x, y) && e.set(table, column, b, y, x) ||
		e.set(table, column, a, x, "in between") && e.set(table, column, b, y, x) && e.set(table, column, a, "in between", y)
}

// remove deletes a row.
func (e *editor) remove(table, _ string) bool {
	key := e.row(table)
	e.said = fmt.Sprintf("delete of row %.80q of %s", fmt.Sprint(key), table)
	return e.exec("DELETE FROM "+table+" WHERE "+e.where(table), key...)
}

// add adds a row: a copy of another with another key.
func (e *editor) add(table, _ string) bool {
	tb := e.year.tables[table]
	key := e.row(table)
	changed := tb.key[e.rng.IntN(len(tb.key))]
	v := e.nearby(table+"."+changed, e.read(table, changed, key))
	cols := make([]string, len(tb.columns))
	for i, c := range tb.columns {
		if cols[i] = c; c == changed {
			cols[i] = "?"
		}
	}
	e.said = fmt.Sprintf("copy of row %.80q of %s with %s %.80q", fmt.Sprint(key), table, changed, fmt.Sprint(v))
	q := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE %s", table, strings.Join(tb.columns, ", "), strings.Join(cols, ", "), table, e.where(table))
	return e.exec(q, append([]any{v}, key...)...)
}
