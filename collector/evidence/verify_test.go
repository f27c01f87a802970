package evidence_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

// raw opens the database behind the store's back, as an insider would.
func (s *scene) raw() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.db()+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(0)&_pragma=ignore_check_constraints(1)")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *scene) exec(query string, args ...any) {
	s.t.Helper()
	res, err := s.raw().ExecContext(s.t.Context(), query, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 && !strings.HasPrefix(query, "CREATE") {
		s.t.Fatalf("%s changed nothing (%v)", query, err)
	}
}

func TestVerifyOK(t *testing.T) {
	t.Parallel()
	s := whole(t)
	var done, all int64
	v := evidence.Verifier{Store: s.store, Key: s.keys.LogVerifier, HeadFile: s.head(), Progress: func(d, a int64) { done, all = d, a }}
	r := must[evidence.Report](t)(v.Verify(t.Context()))
	if !r.OK || len(r.Breaks)+len(r.Notes) > 0 {
		t.Fatalf("not ok:\n%s", r.Summary())
	}
	n := must[int64](t)(s.store.LeafCount(t.Context()))
	if r.Leaves != n || r.Covered != n || done != n || all != n || r.Reports != 18 || r.Checkpoints != 3 || r.Assets != 3 || r.Parts == 0 || r.Findings != 6 {
		t.Errorf("report %+v for %d leaves, progress %d of %d", r, n, done, all)
	}
	if got := r.Summary(); !strings.HasPrefix(got, "evidence    ok") {
		t.Errorf("summary:\n%s", got)
	}
}

func TestVerifyOfNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := must[evidence.Report](t)(evidence.Verify(t.Context(), s.store, s.keys.LogVerifier))
	if !r.OK {
		t.Errorf("an empty store is not ok:\n%s", r.Summary())
	}
}

func TestVerifyWhileTheCollectorWrites(t *testing.T) {
	t.Parallel()
	s := whole(t)
	l := s.log()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 12 {
			s.rounds(1)
			s.assess(fmt.Sprint("CVE-2026-1", i))
			at := store.Attributes{Owner: fmt.Sprint("owner ", i)}
			name := fmt.Sprint("name ", i)
			if _, err := s.store.SetAttributes(t.Context(), "A1", name, at, s.leaf(evidence.AttributesLeaf("A1", name, at, "cli", now))); err != nil {
				t.Error(err)
			}
			s.integrate(l)
		}
	}()
	for runs := 0; ; runs++ {
		s.wantOK()
		select {
		case <-done:
			s.wantOK()
			t.Logf("verified %d times meanwhile", runs)
			return
		default:
		}
	}
}

func TestVerifyTellsWhatIsNotSignedYet(t *testing.T) {
	t.Parallel()
	s := whole(t)
	s.rounds(1)
	r := s.wantOK()
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "3 leaves") {
		t.Errorf("notes %q", r.Notes)
	}
}

// covered are the columns a verification covers. Every cell of them is either
// hashed, signed, or held against one that is.
var covered = map[string][]string{
	"leaf": {"idx", "kind", "at", "body"},
	"report": {
		"id", "asset", "key", "sequence", "previous", "collected_at", "received_at", "distro", "distro_version", "kernel",
		"set_digest", "complete", "road", "leaf", "statement", "raw",
	},
	"part":                 {"digest", "size", "text"},
	"checkpoint":           {"size", "at", "note"},
	"tree_hash":            {"idx", "hash"},
	"log_state":            {"origin", "epoch"},
	"asset":                {"id", "name", "key", "transport_key", "attributes", "head", "declared", "classified"},
	"policy":               {"leaf", "digest", "source", "applied_at", "effective_at", "applied_by", "looser"},
	"token":                {"name", "hash", "scopes", "created_at", "created_by", "expires_at", "revoked_at", "revoked_by"},
	"finding":              {"id", "leaf", "asset", "vulnerability", "component", "state", "severity", "kev", "order_running", "order_due", "order_priority", "order_severity", "order_kev", "alarm"},
	"finding_version":      {"id", "leaf", "body"},
	"advisory_version":     {"id", "digest", "body"},
	"asset_import":         {"leaf", "source", "file", "format", "digest", "entries", "imported_at", "imported_by", "text"},
	"listed":               {"source", "key", "leaf", "seen", "body"},
	"classification":       {"asset", "leaf", "body"},
	"classification_rules": {"leaf", "digest", "source", "applied_at", "applied_by"},
	"approval":             {"id", "cause", "subject", "what", "requested_by", "requested_at", "state", "decided_by", "decided_at", "reason"},
}

// cell is one place in the database.
type cell struct {
	table, column string
	rowid         int64
}

func (c cell) String() string { return fmt.Sprintf("%s.%s of row %d", c.table, c.column, c.rowid) }

func TestVerifyDetectsEveryEditedCell(t *testing.T) {
	t.Parallel()
	s := whole(t)
	s.wantOK()
	db := s.raw()
	rng := rand.New(rand.NewPCG(1, 2))
	tables := []string{"leaf", "report", "part", "checkpoint"}
	// Two hundred cells of the tables that hold the evidence itself, and every
	// column of every covered table at least twice.
	var cells []cell
	for range 200 {
		cells = append(cells, s.anyCell(db, rng, tables[rng.IntN(len(tables))], ""))
	}
	for table, columns := range covered {
		for _, column := range columns {
			cells = append(cells, s.anyCell(db, rng, table, column), s.anyCell(db, rng, table, column))
		}
	}
	for _, c := range cells {
		s.tamper(db, rng, c)
	}
	s.wantOK() // every edit was taken back
}

func (s *scene) anyCell(db *sql.DB, rng *rand.Rand, table, column string) cell {
	s.t.Helper()
	if column == "" {
		column = covered[table][rng.IntN(len(covered[table]))]
	}
	rows, err := db.QueryContext(s.t.Context(), "SELECT rowid FROM "+table)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		s.t.Fatalf("%s is empty: %v", table, rows.Err())
	}
	return cell{table, column, ids[rng.IntN(len(ids))]}
}

// tamper edits one cell, verifies, and takes the edit back.
func (s *scene) tamper(db *sql.DB, rng *rand.Rand, c cell) {
	s.t.Helper()
	ctx := s.t.Context()
	conn, err := db.Conn(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var old any
	where := fmt.Sprintf("rowid = %d", c.rowid)
	if err := conn.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s", c.column, c.table, where)).Scan(&old); err != nil {
		s.t.Fatalf("%s: %v", c, err)
	}
	// The row is found again by its new content where the key itself is edited.
	var keys []any
	pk := primaryKey(c.table)
	for _, k := range pk {
		var v any
		if err := conn.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s", k, c.table, where)).Scan(&v); err != nil {
			s.t.Fatalf("%s: %v", c, err)
		}
		keys = append(keys, v)
	}
	edited := edit(rng, old)
	set := func(v any) error {
		terms := make([]string, len(pk))
		for i, k := range pk {
			terms[i] = k + " = ?"
		}
		_, err := conn.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET %s = ? WHERE %s", c.table, c.column, strings.Join(terms, " AND ")), append([]any{v}, keys...)...)
		return err
	}
	if err := set(edited); err != nil {
		s.t.Logf("%s: the database itself refuses the edit: %v", c, err)
		return
	}
	r, err := evidence.Verifier{Store: s.store, Key: s.keys.LogVerifier, HeadFile: s.head()}.Verify(ctx)
	if err != nil {
		s.t.Errorf("%s: %v", c, err)
	}
	// A frame has slack: bits that change nothing of the text it holds, whose digest
	// was verified.
	if slack := c.table == "part" && c.column == "text"; r.OK && !slack {
		s.t.Errorf("%s was edited from %.80q to %.80q and nobody noticed", c, fmt.Sprint(old), fmt.Sprint(edited))
	}
	if i := slices.Index(pk, c.column); i >= 0 {
		keys[i] = edited
	}
	if err := set(old); err != nil {
		s.t.Fatalf("%s: take back: %v", c, err)
	}
}

func primaryKey(table string) []string {
	return map[string][]string{
		"leaf": {"idx"}, "report": {"id"}, "part": {"digest"}, "checkpoint": {"size"}, "tree_hash": {"idx"}, "log_state": {"id"},
		"asset": {"id"}, "policy": {"leaf"}, "token": {"name"}, "finding": {"id"}, "finding_version": {"id", "leaf"},
		"advisory_version": {"feed", "id", "digest"},
	}[table]
}

// edit changes one bit, one digit or one character.
func edit(rng *rand.Rand, old any) any {
	switch v := old.(type) {
	case int64:
		if v == 0 || v == 1 {
			return 1 - v // a boolean, most likely
		}
		return v + []int64{1000, 77, 5000}[rng.IntN(3)]
	case string:
		if v == "" {
			return "x"
		}
		b := []byte(v)
		i := rng.IntN(len(b))
		for b[i] == '"' || b[i] == '\\' { // stay valid JSON
			i = (i + 1) % len(b)
		}
		b[i] = map[bool]byte{true: '1', false: '0'}[b[i] == '0']
		return string(b)
	case []byte:
		b := slices.Clone(v)
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		return b
	default:
		return "x"
	}
}

func TestVerifyDetectsEveryDeletedRow(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"leaf", "report", "part", "checkpoint", "tree_hash", "asset", "finding", "finding_version", "policy", "token", "advisory_version"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			s := whole(t)
			db := s.raw()
			rng := rand.New(rand.NewPCG(3, 4))
			c := s.anyCell(db, rng, table, covered[table][0])
			if table == "checkpoint" {
				c.rowid = must[store.Checkpoint](t)(s.store.LastCheckpoint(t.Context())).Size
			}
			s.exec("DELETE FROM "+table+" WHERE rowid = ?", c.rowid)
			if r := s.verify(); r.OK {
				t.Errorf("a row of %s was deleted and nobody noticed:\n%s", table, r.Summary())
			}
		})
	}
}

// TestVerifyDetectsACutEnd removes the end of the log whole, with everything that
// followed from it, as an older copy of the database does. Only the head file
// knows.
func TestVerifyDetectsACutEnd(t *testing.T) {
	t.Parallel()
	s := whole(t)
	before := s.backup()
	s.rounds(1)
	s.assess("CVE-2026-3")
	s.integrate(s.log())
	s.restore(before)
	r := must[evidence.Report](t)(evidence.Verify(t.Context(), s.store, s.keys.LogVerifier))
	if !r.OK {
		t.Fatalf("the cut was not clean:\n%s", r.Summary())
	}
	if r := s.verify(); r.OK || !strings.Contains(r.Summary(), "cut off") {
		t.Errorf("the end was cut off and nobody noticed:\n%s", r.Summary())
	}
}

func TestVerifyDetectsAnAddedKey(t *testing.T) {
	t.Parallel()
	s := whole(t)
	s.exec("INSERT INTO asset SELECT 'A9', name, 'cafe', '', trusted_at, attributes, NULL, 0, '', 0, 0, 0, 0, '[]', declared, classified, '', '', 0, 0, 0, 0, 0, '' FROM asset LIMIT 1")
	if r := s.verify(); r.OK {
		t.Error("a key was added without a leaf and nobody noticed")
	}
}

func TestChainBreaks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.log()
	h := s.trust("A1")
	text := packages(t, 3, "1")
	s.accept(s.next(h, text))
	s.next(h, text) // sealed, never received
	s.accept(s.next(h, text))
	h.previous = strings.Repeat("ab", 32) // a copy of the host wrote the report before
	s.accept(s.next(h, text))
	late := s.trust("A2")
	s.next(late, text)
	s.accept(s.next(late, text))
	s.integrate(l)
	r := s.wantOK()
	var got []string
	for _, b := range r.Breaks {
		got = append(got, fmt.Sprint(b.Asset, " ", b.Kind, " ", b.Sequence))
	}
	if want := []string{"A1 gap 3", "A1 fork 4", "A2 gap 2"}; !slices.Equal(got, want) {
		t.Errorf("breaks %v, want %v\n%s", got, want, r.Summary())
	}
}
