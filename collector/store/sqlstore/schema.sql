CREATE TABLE advisory (
    feed      TEXT NOT NULL REFERENCES feed (name),
    id        TEXT NOT NULL,
    digest    TEXT NOT NULL,
    withdrawn INTEGER NOT NULL,
    missing   INTEGER NOT NULL,
    PRIMARY KEY (feed, id),
    FOREIGN KEY (feed, id, digest) REFERENCES advisory_version (feed, id, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE advisory_fix (
    release  TEXT NOT NULL,
    feed     TEXT NOT NULL,
    id       TEXT NOT NULL,
    fix      TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (release, feed, id, fix)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_fix_advisory ON advisory_fix (feed, id);
CREATE TABLE advisory_release (
    release TEXT NOT NULL,
    feed    TEXT NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (release, feed, id),
    FOREIGN KEY (feed, id) REFERENCES advisory (feed, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_release_advisory ON advisory_release (feed, id);
CREATE TABLE advisory_version (
    feed     TEXT NOT NULL,
    id       TEXT NOT NULL,
    digest   TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (feed, id, digest)
) STRICT;
CREATE TABLE advisory_vulnerability (
    vulnerability TEXT NOT NULL,
    feed          TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (vulnerability, feed, id),
    FOREIGN KEY (feed, id) REFERENCES advisory (feed, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_vulnerability_advisory ON advisory_vulnerability (feed, id);
CREATE TABLE asset (
    id                TEXT PRIMARY KEY,
    name              TEXT NOT NULL,
    key               TEXT NOT NULL,
    transport_key     TEXT NOT NULL,
    trusted_at        INTEGER NOT NULL,
    attributes        TEXT NOT NULL,
    head              TEXT, -- JSON, null before the first report
    head_sequence     INTEGER NOT NULL,
    head_release      TEXT NOT NULL,
    assessed_sequence INTEGER NOT NULL,
    refold            INTEGER NOT NULL,
    assessed_at       INTEGER NOT NULL,
    covered           INTEGER NOT NULL,
    gaps              TEXT NOT NULL
, declared TEXT NOT NULL DEFAULT '', classified TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX asset_head_release ON asset (head_release);
CREATE INDEX asset_name ON asset (name, id);
CREATE TABLE asset_import (
    leaf        INTEGER PRIMARY KEY REFERENCES leaf (idx),
    source      TEXT NOT NULL,
    file        TEXT NOT NULL,
    format      TEXT NOT NULL,
    digest      TEXT NOT NULL,
    entries     INTEGER NOT NULL,
    imported_at INTEGER NOT NULL,
    imported_by TEXT NOT NULL,
    text        BLOB NOT NULL
) STRICT;
CREATE TABLE asset_key (
    key        TEXT PRIMARY KEY,
    asset      TEXT NOT NULL REFERENCES asset (id),
    trusted_at INTEGER NOT NULL,
    leaf       INTEGER NOT NULL UNIQUE REFERENCES leaf (idx)
) STRICT;
CREATE INDEX asset_key_asset ON asset_key (asset);
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY CHECK (size > 0),
    at   INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TABLE classification (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT;
CREATE INDEX classification_leaf ON classification (leaf);
CREATE TABLE classification_rules (
    leaf       INTEGER PRIMARY KEY REFERENCES leaf (idx),
    digest     TEXT NOT NULL,
    source     BLOB NOT NULL,
    applied_at INTEGER NOT NULL,
    applied_by TEXT NOT NULL
) STRICT;
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dirty (
    asset   TEXT PRIMARY KEY REFERENCES asset (id),
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dirty_version ON dirty (version, asset);
CREATE TABLE duplicate (
    report   TEXT PRIMARY KEY REFERENCES report (id),
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE fact (
    kind          TEXT NOT NULL,
    vulnerability TEXT NOT NULL,
    missing       INTEGER NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (kind, vulnerability)
) STRICT, WITHOUT ROWID;
CREATE TABLE feed (
    name        TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    published   INTEGER NOT NULL,
    imported_at INTEGER NOT NULL,
    snapshot_at INTEGER NOT NULL,
    held_digest TEXT NOT NULL,
    held_at     INTEGER NOT NULL,
    held_reason TEXT NOT NULL
) STRICT;
CREATE TABLE feed_release (
    feed    TEXT NOT NULL REFERENCES feed (name),
    distro  TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (feed, distro, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE finding (
    id             TEXT PRIMARY KEY,
    leaf           INTEGER NOT NULL,
    asset          TEXT NOT NULL REFERENCES asset (id),
    vulnerability  TEXT NOT NULL,
    component      TEXT NOT NULL,
    state          TEXT NOT NULL,
    severity       TEXT NOT NULL,
    kev            INTEGER NOT NULL,
    order_running  INTEGER NOT NULL, -- 0 while the clock runs, else 1
    order_due      INTEGER NOT NULL, -- the breach, the greatest integer when there is none
    order_priority INTEGER NOT NULL,
    order_severity INTEGER NOT NULL,
    order_kev      INTEGER NOT NULL, alarm INTEGER NOT NULL DEFAULT 0, -- 0 when listed, else 1
    FOREIGN KEY (id, leaf) REFERENCES finding_version (id, leaf)
) STRICT;
CREATE INDEX finding_alarm ON finding (alarm, asset);
CREATE INDEX finding_asset ON finding (asset, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_urgency ON finding (order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_vulnerability ON finding (vulnerability, order_running, asset);
CREATE TABLE finding_version (
    id   TEXT NOT NULL,
    leaf INTEGER NOT NULL REFERENCES leaf (idx),
    body TEXT NOT NULL,
    PRIMARY KEY (id, leaf)
) STRICT;
CREATE INDEX finding_version_leaf ON finding_version (leaf);
CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    kind TEXT NOT NULL CHECK (length(kind) > 0),
    at   INTEGER NOT NULL,
    body BLOB NOT NULL CHECK (length(body) > 0)
) STRICT;
CREATE TABLE listed (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    leaf   INTEGER NOT NULL REFERENCES asset_import (leaf),
    seen   INTEGER NOT NULL REFERENCES asset_import (leaf),
    body   TEXT NOT NULL,
    PRIMARY KEY (source, key)
) STRICT;
CREATE TABLE log_state (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    epoch  INTEGER NOT NULL
) STRICT;
CREATE TABLE migration_checksum (
    version INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    sha256  TEXT NOT NULL
) STRICT;
CREATE TABLE part (
    digest TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    text   BLOB NOT NULL
) STRICT;
CREATE TABLE policy (
    leaf       INTEGER PRIMARY KEY REFERENCES leaf (idx),
    digest     TEXT NOT NULL,
    source     BLOB NOT NULL,
    applied_at INTEGER NOT NULL
, effective_at INTEGER NOT NULL DEFAULT 0, applied_by TEXT NOT NULL DEFAULT '', looser TEXT NOT NULL DEFAULT '[]', marked INTEGER NOT NULL DEFAULT 1) STRICT;
CREATE INDEX policy_digest ON policy (digest, leaf);
CREATE INDEX policy_effective ON policy (effective_at, leaf);
CREATE TABLE quarantine (
    digest   TEXT PRIMARY KEY,
    key      TEXT NOT NULL,
    reason   TEXT NOT NULL,
    detail   TEXT NOT NULL,
    road     TEXT NOT NULL,
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    raw      BLOB NOT NULL
) STRICT;
CREATE INDEX quarantine_key ON quarantine (key, reason, first_at);
CREATE INDEX quarantine_last ON quarantine (last_at);
CREATE TABLE quarantine_dropped (
    key      TEXT NOT NULL,
    reason   TEXT NOT NULL,
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (key, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine_use (
    key       TEXT PRIMARY KEY,
    envelopes INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE report (
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
    UNIQUE (key, sequence)
) STRICT;
CREATE INDEX report_asset ON report (asset, sequence);
CREATE TABLE report_part (
    report TEXT NOT NULL REFERENCES report (id),
    name   TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES part (digest),
    PRIMARY KEY (report, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_part_digest ON report_part (digest);
CREATE TABLE token (
    name       TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used  INTEGER NOT NULL
, scopes TEXT NOT NULL DEFAULT 'admin', created_by TEXT NOT NULL DEFAULT '', expires_at INTEGER, revoked_at INTEGER, revoked_by TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE tree_hash (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE undetermined (
    asset         TEXT NOT NULL REFERENCES asset (id),
    place         INTEGER NOT NULL,
    vulnerability TEXT NOT NULL,
    component     TEXT NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (asset, place)
) STRICT, WITHOUT ROWID;
