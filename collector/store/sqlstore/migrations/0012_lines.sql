-- Several reports of a key can have one sequence: a copied key, or a host that was
-- set back. Which of them count follows from all of them (collector/lineage), so
-- none is refused. The table is made anew because the old one said otherwise.
CREATE TABLE report_anew (
    id              TEXT PRIMARY KEY,
    asset           TEXT NOT NULL REFERENCES asset (id),
    key             TEXT NOT NULL,
    sequence        INTEGER NOT NULL CHECK (sequence >= 0),
    previous        TEXT NOT NULL,
    collected_at    INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    distro          TEXT NOT NULL,
    distro_version  TEXT NOT NULL,
    kernel          TEXT NOT NULL,
    set_digest      TEXT NOT NULL,
    complete        INTEGER NOT NULL,
    road            TEXT NOT NULL,
    leaf            INTEGER NOT NULL UNIQUE REFERENCES leaf (idx),
    statement       TEXT NOT NULL,
    raw             BLOB NOT NULL,
    -- What the report says of the machine: provider, its instance id, cloud-init's,
    -- product UUID, machine-id.
    machine TEXT GENERATED ALWAYS AS (json_array(
        COALESCE(json_extract(statement, '$.cloud.provider'), ''), COALESCE(json_extract(statement, '$.cloud.instance_id'), ''),
        COALESCE(json_extract(statement, '$.host.instance_id'), ''), COALESCE(json_extract(statement, '$.host.product_uuid'), ''),
        COALESCE(json_extract(statement, '$.host.machine_id'), ''))) STORED
) STRICT;
INSERT INTO report_anew (id, asset, key, sequence, previous, collected_at, received_at, distro, distro_version, kernel, set_digest,
    complete, road, leaf, statement, raw)
SELECT id, asset, key, sequence, previous, collected_at, received_at, distro, distro_version, kernel, set_digest,
    complete, road, leaf, statement, raw FROM report;

CREATE TABLE report_part_anew (
    report TEXT NOT NULL REFERENCES report_anew (id),
    name   TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES part (digest),
    PRIMARY KEY (report, name)
) STRICT, WITHOUT ROWID;
INSERT INTO report_part_anew (report, name, digest) SELECT report, name, digest FROM report_part;
DROP TABLE report_part;

CREATE TABLE duplicate_anew (
    report   TEXT PRIMARY KEY REFERENCES report_anew (id),
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO duplicate_anew (report, count, first_at, last_at) SELECT report, count, first_at, last_at FROM duplicate;
DROP TABLE duplicate;

DROP TABLE report;
ALTER TABLE report_anew RENAME TO report;
ALTER TABLE report_part_anew RENAME TO report_part;
ALTER TABLE duplicate_anew RENAME TO duplicate;
CREATE INDEX report_asset ON report (asset, sequence);
CREATE INDEX report_key ON report (key, sequence);
CREATE INDEX report_previous ON report (key, previous);
CREATE INDEX report_machine ON report (key, machine);
CREATE INDEX report_part_digest ON report_part (digest);

-- Whether an asset's reports are not one chain, and whether one key was seen on
-- machines that are not one: then they are read by collector/lineage.
ALTER TABLE asset ADD COLUMN forked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE asset ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;

-- What operators decided on suspicions: which line is the host's.
CREATE TABLE clone_decision (
    leaf   INTEGER PRIMARY KEY REFERENCES leaf (idx),
    asset  TEXT NOT NULL REFERENCES asset (id),
    keep   TEXT NOT NULL REFERENCES report (id),
    by     TEXT NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX clone_decision_asset ON clone_decision (asset, leaf);
