package evidence_test

import (
	"database/sql"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A column is one of these.
const (
	// underLeaf: the cell, or its digest, is in a leaf, a checkpoint or a signed
	// envelope, and Verify holds it against that.
	underLeaf = "under leaf"
	// derived: it follows from what is under leaves, and Verify recomputes it.
	derived = "derived"
	// operational: it steers the program and is no evidence; each has a reason.
	operational = "operational"
	// open: it should be held against the log, and is not yet. The list only ever shrinks.
	open = "open"
)

// class says what a column is and, of those that are operational, why it may be.
type class struct{ is, why string }

var (
	leafed   = class{is: underLeaf}
	computed = class{is: derived}
)

func because(why string) class { return class{operational, why} }
func notYet(why string) class  { return class{open, why} }

// columns names every column of every table but those that the database itself
// generates: nobody can edit them.
var columns = map[string]map[string]class{
	"advisory":                    all(computed, "feed", "id", "digest", "withdrawn", "missing"),
	"advisory_fix":                all(leafed, "release", "feed", "id", "fix", "leaf", "first_at"),
	"advisory_release":            all(computed, "release", "feed", "id"),
	"advisory_state":              all(leafed, "feed", "id", "leaf", "digest", "missing"),
	"advisory_version":            with(all(leafed, "feed", "id", "digest", "body"), "first_at", computed),
	"advisory_vulnerability":      all(computed, "vulnerability", "feed", "id"),
	"advisory_vulnerability_past": all(notYet("what older versions named is not recomputed"), "vulnerability", "feed", "id"),
	"approval":                    all(leafed, "id", "cause", "subject", "what", "requested_by", "requested_at", "state", "decided_by", "decided_at", "reason"),
	"assessment":                  all(leafed, "asset", "leaf", "body"),
	"asset": {
		"id": leafed, "name": leafed, "key": leafed, "transport_key": leafed, "trusted_at": leafed, "attributes": leafed, "declared": leafed,
		"classified": leafed, "attributes_by": leafed, "attributes_at": leafed, "head": leafed, "retirement": leafed,
		"head_sequence": computed, "head_release": computed, "assessed_sequence": computed, "refold": computed, "forked": computed, "moved": computed,
		"assessed_at": because("when somebody last looked; looking changes nothing and has no leaf"),
		"in_force":    leafed, "covered": leafed, "gaps": leafed,
		"leaf": notYet("what stood before the present state is not replayed"), "head_leaf": notYet("what stood before the present state is not replayed"),
	},
	"asset_past": all(notYet("what stood before the present state is not replayed"), "id", "leaf", "name", "key", "transport_key", "trusted_at", "retirement",
		"attributes", "covered", "gaps", "declared", "classified", "in_force", "attributes_by", "attributes_at"),
	"asset_head_past":      all(notYet("what stood before the present state is not replayed"), "id", "leaf", "head", "head_sequence", "head_release"),
	"asset_dimension":      all(computed, "asset", "dimension", "value"),
	"asset_import":         all(leafed, "leaf", "source", "file", "format", "digest", "entries", "imported_at", "imported_by", "text"),
	"asset_key":            all(leafed, "key", "asset", "trusted_at", "leaf"),
	"checkpoint":           all(leafed, "size", "at", "note"),
	"classification":       all(leafed, "asset", "leaf", "body"),
	"classification_rules": all(leafed, "leaf", "digest", "source", "applied_at", "applied_by"),
	"clone_decision":       all(leafed, "leaf", "asset", "keep", "by", "at", "reason"),
	"counter":              all(because("numbers marks and tells caches that they are old; restarting forgets them"), "name", "value"),
	"dirty":                all(because("marks what waits for assessment; one more costs an assessment, one less is made up by the next change"), "asset", "version", "scoped"),
	"dirty_vulnerability":  all(because("says what of a marked asset waits; what nobody names is assessed with the asset"), "asset", "vulnerability"),
	"duplicate":            all(because("counts deliveries of what is on record already"), "report", "count", "first_at", "last_at"),
	"fact":                 all(leafed, "kind", "vulnerability", "missing", "body", "leaf"),
	"fact_past":            all(notYet("feed leaves bear the digest of the present facts"), "kind", "vulnerability", "leaf", "missing", "body"),
	"fact_seen":            all(leafed, "vulnerability", "leaf", "body"),
	"feed": all(leafed, "name", "kind", "digest", "published", "imported_at", "snapshot_at",
		"held_digest", "held_at", "held_reason"),
	"feed_release": all(leafed, "feed", "distro", "version"),
	"feed_version": all(notYet("nothing holds it against the feed leaves"), "feed", "leaf", "kind", "digest", "published", "imported_at", "snapshot_at",
		"held_digest", "held_at", "held_reason", "advisories", "withdrawn", "facts", "missing", "releases"),
	"finding": all(computed, "id", "leaf", "asset", "vulnerability", "component", "state", "severity", "kev", "order_running", "order_due",
		"order_priority", "order_severity", "order_kev", "alarm", "cycle", "arrival", "due", "target", "detected", "closed", "names",
		"outcome", "final", "regression", "on_time_claimed", "target_missed", "accepted", "target_at", "breached", "unmitigated"),
	"finding_count":      all(computed, "dimension", "value", "severity", "state", "outcome", "flags", "due", "target", "findings"),
	"finding_name":       all(computed, "name", "finding"),
	"finding_version":    all(leafed, "id", "leaf", "body"),
	"goose_db_version":   all(because("the migration tool's own list; migration_checksum is what is checked"), "id", "version_id", "is_applied", "tstamp"),
	"history_start":      all(notYet("nothing holds it against the log"), "leaf"),
	"leaf":               all(leafed, "idx", "kind", "at", "body"),
	"listed":             all(leafed, "source", "key", "leaf", "seen", "body"),
	"listed_past":        all(notYet("entries that were replaced are not held against their imports"), "source", "key", "leaf", "seen", "body"),
	"log_seal":           all(notYet("nothing holds it against the log"), "at", "leaf", "checkpoint"),
	"log_state":          with(all(leafed, "origin", "epoch"), "id", because("always 1; the database refuses another")),
	"migration_checksum": all(because("held against the program's own migrations whenever the database is opened"), "version", "name", "sha256"),
	"part":               all(leafed, "digest", "size", "text"),
	"policy": with(all(leafed, "leaf", "digest", "source", "applied_at", "effective_at", "applied_by", "looser"),
		"marked", because("whether every host was marked when it came into force")),
	"quarantine": with(with(all(leafed, "digest", "key", "reason", "detail", "road", "first_at", "size", "raw"),
		"count", because("how often it came again")), "last_at", because("when it came again")),
	"quarantine_dropped": all(because("counts envelopes of which nothing is kept"), "key", "reason", "count", "first_at", "last_at"),
	"quarantine_use":     all(computed, "key", "envelopes", "bytes"),
	"report": all(leafed, "id", "asset", "key", "sequence", "previous", "collected_at", "received_at", "distro", "distro_version", "kernel",
		"set_digest", "complete", "road", "leaf", "statement", "raw"),
	"report_part": all(computed, "report", "name", "digest"),
	"token": with(all(leafed, "name", "hash", "created_at", "scopes", "created_by", "expires_at", "revoked_at", "revoked_by"),
		"last_used", because("when a token was last seen; the log of requests says more")),
	"retirement":        all(leafed, "asset", "leaf", "body"),
	"tree_hash":         all(leafed, "idx", "hash"),
	"undetermined":      all(leafed, "asset", "place", "vulnerability", "component", "body", "leaf"),
	"undetermined_past": all(notYet("nothing holds it against the assessments"), "asset", "place", "leaf", "until", "vulnerability", "component", "body"),
}

func all(c class, names ...string) map[string]class {
	m := map[string]class{}
	for _, n := range names {
		m[n] = c
	}
	return m
}

func with(m map[string]class, name string, c class) map[string]class {
	m[name] = c
	return m
}

// TestEveryColumnIsClassed holds the schema against the table above, so that
// nothing can be stored that nobody thought about.
func TestEveryColumnIsClassed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	found := schemaColumns(t, s.raw())
	unclassed := false
	for _, table := range slices.Sorted(maps.Keys(found)) {
		for _, column := range found[table] {
			if _, ok := columns[table][column]; !ok {
				t.Errorf("%s.%s is not classed", table, column)
				unclassed = true
			}
		}
	}
	if unclassed {
		t.Log("say what it is in coverage_test.go:\n" +
			"  leafed       put it, or a digest of it, in the body of the leaf of the act that writes it, and hold it against that in Verifier.Verify;\n" +
			"  computed     add a derivation to sqlstore/audit.go that recomputes it from what is under leaves;\n" +
			"  because(why) only when it is no evidence: an auditor must not care that somebody edits it.\n" +
			"Then make an act of the scene of the test of random edits write it, so that edits of it are tried.")
	}
	for table, cols := range columns {
		for column, c := range cols {
			if !slices.Contains(found[table], column) {
				t.Errorf("%s.%s is classed and is not in the schema", table, column)
			}
			if (c.is == operational || c.is == open) != (c.why != "") {
				t.Errorf("%s.%s is %s with the reason %q", table, column, c.is, c.why)
			}
		}
	}
}

// schemaColumns lists the columns that somebody can write, by table.
func schemaColumns(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND c.hidden = 0`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	found := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		found[table] = append(found[table], column)
	}
	if err := rows.Err(); err != nil || len(found) == 0 {
		t.Fatalf("%d tables (%v)", len(found), err)
	}
	return found
}

// TestOperationalColumnsAreFew holds the list of what nobody verifies to what it is.
func TestOperationalColumnsAreFew(t *testing.T) {
	t.Parallel()
	tables := map[string]int{}
	for table, cols := range columns {
		for _, c := range cols {
			if c.is == operational {
				tables[table]++
			}
		}
	}
	want := "asset counter dirty dirty_vulnerability duplicate goose_db_version log_state migration_checksum policy quarantine quarantine_dropped token"
	if got := strings.Join(slices.Sorted(maps.Keys(tables)), " "); got != want {
		t.Errorf("tables with operational columns:\n got %s\nwant %s", got, want)
	}
}
