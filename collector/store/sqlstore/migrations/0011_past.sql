-- The past: what stood before, each state from the leaf that recorded it until the
-- next one's, so that any moment can be asked again.

-- The first position of the log that can be asked about. What stood before it in a
-- database that is older than this step was not kept.
CREATE TABLE history_start (leaf INTEGER NOT NULL) STRICT;
INSERT INTO history_start (leaf) SELECT COALESCE(MAX(idx), -1) FROM leaf;

-- Instants that were asked about before the log had passed them: whatever is
-- recorded after the leaf and the checkpoint named here came later than the instant,
-- whatever the clock of the machine said.
CREATE TABLE log_seal (
    at         INTEGER PRIMARY KEY,
    leaf       INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL -- size of the newest
) STRICT;

CREATE INDEX checkpoint_at ON checkpoint (at, size);

-- Under which leaves an asset, and its newest report, are as they are.
ALTER TABLE asset ADD COLUMN leaf INTEGER NOT NULL DEFAULT -1;
ALTER TABLE asset ADD COLUMN head_leaf INTEGER NOT NULL DEFAULT -1;
UPDATE asset SET leaf = (SELECT leaf FROM history_start), head_leaf = (SELECT leaf FROM history_start);

CREATE TABLE asset_past (
    id            TEXT NOT NULL REFERENCES asset (id),
    leaf          INTEGER NOT NULL,
    name          TEXT NOT NULL,
    key           TEXT NOT NULL,
    transport_key TEXT NOT NULL,
    trusted_at    INTEGER NOT NULL,
    attributes    TEXT NOT NULL,
    covered       INTEGER NOT NULL,
    gaps          TEXT NOT NULL,
    declared      TEXT NOT NULL,
    classified    TEXT NOT NULL,
    in_force      TEXT NOT NULL,
    attributes_by TEXT NOT NULL,
    attributes_at INTEGER NOT NULL,
    PRIMARY KEY (id, leaf)
) STRICT;

CREATE TABLE asset_head_past (
    id            TEXT NOT NULL REFERENCES asset (id),
    leaf          INTEGER NOT NULL,
    head          TEXT,
    head_sequence INTEGER NOT NULL,
    head_release  TEXT NOT NULL,
    PRIMARY KEY (id, leaf)
) STRICT;

-- A fact's leaf is appended before the fact is written, so the newest leaf is its.
CREATE TRIGGER asset_begun AFTER INSERT ON asset BEGIN
    UPDATE asset SET leaf = (SELECT MAX(idx) FROM leaf), head_leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;

CREATE TRIGGER asset_kept AFTER UPDATE OF name, key, transport_key, trusted_at, attributes, covered, gaps, declared, classified,
    in_force, attributes_by, attributes_at ON asset
WHEN NEW.name <> OLD.name OR NEW.key <> OLD.key OR NEW.transport_key <> OLD.transport_key OR NEW.trusted_at <> OLD.trusted_at
    OR NEW.attributes <> OLD.attributes OR NEW.covered <> OLD.covered OR NEW.gaps <> OLD.gaps OR NEW.declared <> OLD.declared
    OR NEW.classified <> OLD.classified OR NEW.in_force <> OLD.in_force OR NEW.attributes_by <> OLD.attributes_by
    OR NEW.attributes_at <> OLD.attributes_at BEGIN
    INSERT INTO asset_past (id, leaf, name, key, transport_key, trusted_at, attributes, covered, gaps, declared, classified,
        in_force, attributes_by, attributes_at)
    SELECT OLD.id, OLD.leaf, OLD.name, OLD.key, OLD.transport_key, OLD.trusted_at, OLD.attributes, OLD.covered, OLD.gaps, OLD.declared,
        OLD.classified, OLD.in_force, OLD.attributes_by, OLD.attributes_at WHERE OLD.leaf < (SELECT MAX(idx) FROM leaf);
    UPDATE asset SET leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;

CREATE TRIGGER asset_head_kept AFTER UPDATE OF head, head_sequence, head_release ON asset
WHEN COALESCE(NEW.head, '') <> COALESCE(OLD.head, '') OR NEW.head_sequence <> OLD.head_sequence OR NEW.head_release <> OLD.head_release BEGIN
    INSERT INTO asset_head_past (id, leaf, head, head_sequence, head_release)
    SELECT OLD.id, OLD.head_leaf, OLD.head, OLD.head_sequence, OLD.head_release WHERE OLD.head_leaf < (SELECT MAX(idx) FROM leaf);
    UPDATE asset SET head_leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;

-- Comparisons that could not be made come and go.
ALTER TABLE undetermined ADD COLUMN leaf INTEGER NOT NULL DEFAULT -1;
UPDATE undetermined SET leaf = (SELECT leaf FROM history_start);

CREATE TABLE undetermined_past (
    asset         TEXT NOT NULL REFERENCES asset (id),
    place         INTEGER NOT NULL,
    leaf          INTEGER NOT NULL,
    until         INTEGER NOT NULL, -- the leaf that took it away
    vulnerability TEXT NOT NULL,
    component     TEXT NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (asset, place, leaf)
) STRICT;

CREATE TRIGGER undetermined_begun AFTER INSERT ON undetermined BEGIN
    UPDATE undetermined SET leaf = (SELECT MAX(idx) FROM leaf) WHERE asset = NEW.asset AND place = NEW.place;
END;

CREATE TRIGGER undetermined_kept AFTER DELETE ON undetermined BEGIN
    INSERT INTO undetermined_past (asset, place, leaf, until, vulnerability, component, body)
    SELECT OLD.asset, OLD.place, OLD.leaf, (SELECT MAX(idx) FROM leaf), OLD.vulnerability, OLD.component, OLD.body
    WHERE OLD.leaf < (SELECT MAX(idx) FROM leaf);
END;

-- An entry of a list stands from the import that last had it (seen).
CREATE TABLE listed_past (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    leaf   INTEGER NOT NULL,
    seen   INTEGER NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (source, key, seen)
) STRICT;

CREATE TRIGGER listed_kept AFTER UPDATE ON listed WHEN NEW.seen <> OLD.seen BEGIN
    INSERT INTO listed_past (source, key, leaf, seen, body) VALUES (OLD.source, OLD.key, OLD.leaf, OLD.seen, OLD.body);
END;

-- What was held of a feed from a leaf on, counted then: rows of feeds are replaced.
CREATE TABLE feed_version (
    feed        TEXT NOT NULL REFERENCES feed (name),
    leaf        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    published   INTEGER NOT NULL,
    imported_at INTEGER NOT NULL,
    snapshot_at INTEGER NOT NULL,
    held_digest TEXT NOT NULL,
    held_at     INTEGER NOT NULL,
    held_reason TEXT NOT NULL,
    advisories  INTEGER NOT NULL,
    withdrawn   INTEGER NOT NULL,
    facts       INTEGER NOT NULL,
    missing     INTEGER NOT NULL,
    releases    TEXT NOT NULL, -- JSON, in order
    PRIMARY KEY (feed, leaf)
) STRICT;

INSERT INTO feed_version (feed, leaf, kind, digest, published, imported_at, snapshot_at, held_digest, held_at, held_reason,
    advisories, withdrawn, facts, missing, releases)
SELECT f.name, (SELECT leaf FROM history_start), f.kind, f.digest, f.published, f.imported_at, f.snapshot_at, f.held_digest, f.held_at, f.held_reason,
    (SELECT COUNT(*) FROM advisory AS a WHERE a.feed = f.name),
    (SELECT COUNT(*) FROM advisory AS a WHERE a.feed = f.name AND a.withdrawn <> 0),
    (SELECT COUNT(*) FROM fact AS x WHERE x.kind = f.kind),
    (SELECT COUNT(*) FROM advisory AS a WHERE a.feed = f.name AND a.missing <> 0) + (SELECT COUNT(*) FROM fact AS x WHERE x.kind = f.kind AND x.missing <> 0),
    (SELECT json_group_array(json_object('distro', r.distro, 'version', r.version)) FROM
        (SELECT distro, version FROM feed_release WHERE feed = f.name ORDER BY distro, version) AS r)
FROM feed AS f;

-- What publishers say changes. States of advisories and first sights of fixes are
-- kept by leaves already.
ALTER TABLE fact ADD COLUMN leaf INTEGER NOT NULL DEFAULT -1;
UPDATE fact SET leaf = (SELECT leaf FROM history_start);

-- Vulnerabilities that some older version of an advisory named.
CREATE TABLE advisory_vulnerability_past (
    vulnerability TEXT NOT NULL,
    feed          TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (vulnerability, feed, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER advisory_vulnerability_kept AFTER DELETE ON advisory_vulnerability BEGIN
    INSERT INTO advisory_vulnerability_past (vulnerability, feed, id) VALUES (OLD.vulnerability, OLD.feed, OLD.id)
    ON CONFLICT (vulnerability, feed, id) DO NOTHING;
END;

-- Nearly every EPSS score moves every day: older ones are kept of vulnerabilities
-- that some finding is of.
CREATE TABLE fact_past (
    kind          TEXT NOT NULL,
    vulnerability TEXT NOT NULL,
    leaf          INTEGER NOT NULL,
    missing       INTEGER NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (kind, vulnerability, leaf)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER fact_kept AFTER UPDATE ON fact
WHEN NEW.leaf <> OLD.leaf AND (OLD.kind <> 'epss' OR EXISTS (SELECT 1 FROM finding AS f WHERE f.vulnerability = OLD.vulnerability)) BEGIN
    INSERT INTO fact_past (kind, vulnerability, leaf, missing, body) VALUES (OLD.kind, OLD.vulnerability, OLD.leaf, OLD.missing, OLD.body);
END;
