-- Every state an advisory was in: the version a feed carried from a leaf on, or
-- that it no longer carried it. Leaves below zero are from before they were named.
CREATE TABLE advisory_state (
    feed    TEXT NOT NULL,
    id      TEXT NOT NULL,
    leaf    INTEGER NOT NULL,
    digest  TEXT NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (feed, id, leaf),
    FOREIGN KEY (feed, id, digest) REFERENCES advisory_version (feed, id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_state_leaf ON advisory_state (leaf);
INSERT INTO advisory_state (feed, id, leaf, digest, missing)
    SELECT v.feed, v.id, -ROW_NUMBER() OVER (PARTITION BY v.feed, v.id ORDER BY CASE WHEN v.digest = a.digest THEN 0 ELSE 1 END, v.first_at DESC, v.digest),
        v.digest, CASE WHEN v.digest = a.digest THEN a.missing ELSE 0 END
    FROM advisory_version AS v JOIN advisory AS a ON a.feed = v.feed AND a.id = v.id;

-- The leaf under which a fix was first seen, or seen earlier than before: a row
-- is never changed.
CREATE TABLE advisory_fix_seen (
    release  TEXT NOT NULL,
    feed     TEXT NOT NULL,
    id       TEXT NOT NULL,
    fix      TEXT NOT NULL,
    leaf     INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (release, feed, id, fix, leaf)
) STRICT, WITHOUT ROWID;
INSERT INTO advisory_fix_seen (release, feed, id, fix, leaf, first_at) SELECT release, feed, id, fix, -1, first_at FROM advisory_fix;
DROP TABLE advisory_fix;
ALTER TABLE advisory_fix_seen RENAME TO advisory_fix;
CREATE INDEX advisory_fix_advisory ON advisory_fix (feed, id);
CREATE INDEX advisory_fix_leaf ON advisory_fix (leaf);

-- What an assessment found of each asset, beside its findings.
CREATE TABLE assessment (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT;
CREATE INDEX assessment_leaf ON assessment (leaf);

-- Facts as assessments found them, from a leaf on: of other vulnerabilities than
-- those with findings, only the present ones are kept.
CREATE TABLE fact_seen (
    vulnerability TEXT NOT NULL,
    leaf          INTEGER NOT NULL REFERENCES leaf (idx) DEFERRABLE INITIALLY DEFERRED,
    body          TEXT NOT NULL,
    PRIMARY KEY (vulnerability, leaf)
) STRICT;
CREATE INDEX fact_seen_leaf ON fact_seen (leaf);
