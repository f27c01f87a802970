CREATE TABLE advisory (
    feed      TEXT NOT NULL REFERENCES feed (name),
    id        TEXT NOT NULL,
    digest    TEXT NOT NULL,
    withdrawn INTEGER NOT NULL,
    missing   INTEGER NOT NULL,
    PRIMARY KEY (feed, id),
    FOREIGN KEY (feed, id, digest) REFERENCES advisory_version (feed, id, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE "advisory_fix" (
    release  TEXT NOT NULL,
    feed     TEXT NOT NULL,
    id       TEXT NOT NULL,
    fix      TEXT NOT NULL,
    leaf     INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (release, feed, id, fix, leaf)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_fix_advisory ON advisory_fix (feed, id);
CREATE INDEX advisory_fix_leaf ON advisory_fix (leaf);
CREATE TABLE advisory_release (
    release TEXT NOT NULL,
    feed    TEXT NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (release, feed, id),
    FOREIGN KEY (feed, id) REFERENCES advisory (feed, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_release_advisory ON advisory_release (feed, id);
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
CREATE TABLE advisory_version (
    feed     TEXT NOT NULL,
    id       TEXT NOT NULL,
    digest   TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (feed, id, digest)
) STRICT;
CREATE TRIGGER advisory_vulnerability_kept AFTER DELETE ON advisory_vulnerability BEGIN
    INSERT INTO advisory_vulnerability_past (vulnerability, feed, id) VALUES (OLD.vulnerability, OLD.feed, OLD.id)
    ON CONFLICT (vulnerability, feed, id) DO NOTHING;
END;
CREATE TABLE advisory_vulnerability (
    vulnerability TEXT NOT NULL,
    feed          TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (vulnerability, feed, id),
    FOREIGN KEY (feed, id) REFERENCES advisory (feed, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX advisory_vulnerability_advisory ON advisory_vulnerability (feed, id);
CREATE TABLE advisory_vulnerability_past (
    vulnerability TEXT NOT NULL,
    feed          TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (vulnerability, feed, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE approval (
    id           TEXT PRIMARY KEY,
    cause        TEXT NOT NULL,
    subject      TEXT NOT NULL, -- an asset, a policy's digest
    what         TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    state        TEXT NOT NULL, -- pending, granted, denied, superseded
    decided_by   TEXT NOT NULL,
    decided_at   INTEGER NOT NULL,
    reason       TEXT NOT NULL
) STRICT;
CREATE INDEX approval_subject ON approval (cause, subject, state);
CREATE TABLE assessment (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT;
CREATE INDEX assessment_leaf ON assessment (leaf);
CREATE TRIGGER asset_begun AFTER INSERT ON asset BEGIN
    UPDATE asset SET leaf = (SELECT MAX(idx) FROM leaf), head_leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;
CREATE TRIGGER asset_head_kept AFTER UPDATE OF head, head_sequence, head_release ON asset
WHEN COALESCE(NEW.head, '') <> COALESCE(OLD.head, '') OR NEW.head_sequence <> OLD.head_sequence OR NEW.head_release <> OLD.head_release BEGIN
    INSERT INTO asset_head_past (id, leaf, head, head_sequence, head_release)
    SELECT OLD.id, OLD.head_leaf, OLD.head, OLD.head_sequence, OLD.head_release WHERE OLD.head_leaf < (SELECT MAX(idx) FROM leaf);
    UPDATE asset SET head_leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;
CREATE TRIGGER asset_kept AFTER UPDATE OF name, key, transport_key, trusted_at, attributes, covered, gaps, declared, classified,
    in_force, attributes_by, attributes_at, retirement ON asset
WHEN NEW.name <> OLD.name OR NEW.key <> OLD.key OR NEW.transport_key <> OLD.transport_key OR NEW.trusted_at <> OLD.trusted_at
    OR NEW.attributes <> OLD.attributes OR NEW.covered <> OLD.covered OR NEW.gaps <> OLD.gaps OR NEW.declared <> OLD.declared
    OR NEW.classified <> OLD.classified OR NEW.in_force <> OLD.in_force OR NEW.attributes_by <> OLD.attributes_by
    OR NEW.attributes_at <> OLD.attributes_at OR NEW.retirement <> OLD.retirement BEGIN
    INSERT INTO asset_past (id, leaf, name, key, transport_key, trusted_at, attributes, covered, gaps, declared, classified,
        in_force, attributes_by, attributes_at, retirement)
    SELECT OLD.id, OLD.leaf, OLD.name, OLD.key, OLD.transport_key, OLD.trusted_at, OLD.attributes, OLD.covered, OLD.gaps, OLD.declared,
        OLD.classified, OLD.in_force, OLD.attributes_by, OLD.attributes_at, OLD.retirement WHERE OLD.leaf < (SELECT MAX(idx) FROM leaf);
    UPDATE asset SET leaf = (SELECT MAX(idx) FROM leaf) WHERE id = NEW.id;
END;
CREATE TRIGGER asset_moved AFTER UPDATE OF attributes ON asset WHEN NEW.attributes <> OLD.attributes BEGIN
    INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
    SELECT d.dimension, d.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target, -COUNT(*)
    FROM asset_dimension AS d JOIN asset_grouping AS g ON g.asset = d.asset AND g.dimension = d.dimension AND g.value <> d.value
    JOIN finding_counted AS f ON f.asset = d.asset WHERE d.asset = NEW.id
    GROUP BY d.dimension, d.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target
    ON CONFLICT (dimension, value, severity, state, outcome, flags, due, target) DO UPDATE SET findings = finding_count.findings + EXCLUDED.findings;
    INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
    SELECT g.dimension, g.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target, COUNT(*)
    FROM asset_dimension AS d JOIN asset_grouping AS g ON g.asset = d.asset AND g.dimension = d.dimension AND g.value <> d.value
    JOIN finding_counted AS f ON f.asset = d.asset WHERE d.asset = NEW.id
    GROUP BY g.dimension, g.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target
    ON CONFLICT (dimension, value, severity, state, outcome, flags, due, target) DO UPDATE SET findings = finding_count.findings + EXCLUDED.findings;
    DELETE FROM finding_count WHERE findings = 0
        AND (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = NEW.id);
    UPDATE asset_dimension SET value = g.value FROM asset_grouping AS g
        WHERE asset_dimension.asset = NEW.id AND g.asset = NEW.id AND g.dimension = asset_dimension.dimension AND g.value <> asset_dimension.value;
END;
CREATE TRIGGER asset_placed AFTER INSERT ON asset BEGIN
    INSERT INTO asset_dimension (asset, dimension, value) SELECT asset, dimension, value FROM asset_grouping WHERE asset = NEW.id;
END;
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
, declared TEXT NOT NULL DEFAULT '', classified TEXT NOT NULL DEFAULT '', account TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.account'), '')) VIRTUAL, ou TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.ou'), '')) VIRTUAL, region TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.region'), '')) VIRTUAL, service TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.service'), '')) VIRTUAL, owner TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.owner'), '')) VIRTUAL, class TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.class'), '')) VIRTUAL, exposure TEXT GENERATED ALWAYS AS (COALESCE(NULLIF(json_extract(attributes, '$.exposure'), ''), 'unknown')) VIRTUAL, environment TEXT GENERATED ALWAYS AS (COALESCE(NULLIF(json_extract(attributes, '$.environment'), ''), 'unknown')) VIRTUAL, core INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.core'), 0)) VIRTUAL, crown_jewel INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.crown_jewel'), 0)) VIRTUAL, cold_wallet INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.cold_wallet'), 0)) VIRTUAL, hot_wallet INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.hot_wallet'), 0)) VIRTUAL, timeline TEXT GENERATED ALWAYS AS (CASE
    WHEN environment = 'enduser' THEN 'enduser'
    WHEN exposure <> 'internal' OR core <> 0 THEN 'internet'
    WHEN environment = 'nonproduction' THEN 'nonproduction'
    ELSE 'production' END) VIRTUAL, last_report INTEGER GENERATED ALWAYS AS (unixepoch(substr(json_extract(head, '$.ReceivedAt'), 1, 19))) VIRTUAL, gapped INTEGER GENERATED ALWAYS AS (gaps <> '[]') VIRTUAL, in_force TEXT NOT NULL DEFAULT '', attributes_by TEXT NOT NULL DEFAULT '', attributes_at INTEGER NOT NULL DEFAULT 0, leaf INTEGER NOT NULL DEFAULT -1, head_leaf INTEGER NOT NULL DEFAULT -1, forked INTEGER NOT NULL DEFAULT 0, moved INTEGER NOT NULL DEFAULT 0, instance TEXT GENERATED ALWAYS AS (COALESCE(json_extract(head, '$.InstanceID'), '')) VIRTUAL, folded TEXT GENERATED ALWAYS AS (
    CASE WHEN name GLOB '*[^' || char(1) || '-' || char(127) || ']*' THEN '*' ELSE lower(name) END) VIRTUAL, retirement TEXT NOT NULL DEFAULT '', reported_at INTEGER GENERATED ALWAYS AS (
    unixepoch(substr(json_extract(head, '$.ReceivedAt'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(head, '$.ReceivedAt'), 21), 'Z') || '000000', 1, 6) AS INTEGER)) VIRTUAL, retired_at INTEGER GENERATED ALWAYS AS (CASE WHEN json_extract(NULLIF(retirement, ''), '$.retired') THEN
    unixepoch(substr(json_extract(NULLIF(retirement, ''), '$.at'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(NULLIF(retirement, ''), '$.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER) END) VIRTUAL, terminated_at INTEGER GENERATED ALWAYS AS (CASE WHEN instr(classified, '"gone":') = 0 THEN NULL -- spares reading it
    WHEN retired_at IS NOT NULL OR json_extract(NULLIF(classified, ''), '$.gone.leaf') > COALESCE(json_extract(NULLIF(retirement, ''), '$.leaf'), -1) THEN
    unixepoch(substr(json_extract(NULLIF(classified, ''), '$.gone.at'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(NULLIF(classified, ''), '$.gone.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER) END) VIRTUAL, gone_at INTEGER GENERATED ALWAYS AS (CASE
    WHEN retired_at IS NULL THEN terminated_at WHEN terminated_at > retired_at THEN terminated_at ELSE retired_at END) VIRTUAL, standing TEXT GENERATED ALWAYS AS (CASE
    WHEN gone_at IS NULL THEN '' WHEN reported_at > gone_at THEN 'back' WHEN retired_at = gone_at THEN 'retired' ELSE 'terminated' END) VIRTUAL) STRICT;
CREATE INDEX asset_asked ON asset (owner, service, account, ou, region, class, exposure, environment, timeline, core, crown_jewel, cold_wallet, hot_wallet);
CREATE INDEX asset_folded ON asset (folded);
CREATE INDEX asset_gapped ON asset (last_report) WHERE gapped <> 0;
CREATE INDEX asset_head_release ON asset (head_release);
CREATE INDEX asset_instance ON asset (instance);
CREATE INDEX asset_name ON asset (name, id);
CREATE INDEX asset_picture ON asset (standing, last_report, covered, gapped);
CREATE INDEX asset_uncovered ON asset (last_report) WHERE covered = 0;
CREATE TABLE asset_dimension (
    asset     TEXT NOT NULL REFERENCES asset (id),
    dimension TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (asset, dimension)
) STRICT, WITHOUT ROWID;
CREATE VIEW asset_grouping AS
    SELECT id AS asset, 'all' AS dimension, '' AS value FROM asset
    UNION ALL SELECT id, 'account', account FROM asset
    UNION ALL SELECT id, 'ou', ou FROM asset
    UNION ALL SELECT id, 'region', region FROM asset
    UNION ALL SELECT id, 'service', service FROM asset
    UNION ALL SELECT id, 'owner', owner FROM asset
    UNION ALL SELECT id, 'class', class FROM asset
    UNION ALL SELECT id, 'exposure', exposure FROM asset
    UNION ALL SELECT id, 'environment', environment FROM asset;
CREATE TABLE asset_head_past (
    id            TEXT NOT NULL REFERENCES asset (id),
    leaf          INTEGER NOT NULL,
    head          TEXT,
    head_sequence INTEGER NOT NULL,
    head_release  TEXT NOT NULL,
    PRIMARY KEY (id, leaf)
) STRICT;
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
    attributes_at INTEGER NOT NULL, retirement TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (id, leaf)
) STRICT;
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY CHECK (size > 0),
    at   INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE INDEX checkpoint_at ON checkpoint (at, size);
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
CREATE TABLE clone_decision (
    leaf   INTEGER PRIMARY KEY REFERENCES leaf (idx),
    asset  TEXT NOT NULL REFERENCES asset (id),
    keep   TEXT NOT NULL REFERENCES report (id),
    by     TEXT NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX clone_decision_asset ON clone_decision (asset, leaf);
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dirty (
    asset   TEXT PRIMARY KEY REFERENCES asset (id),
    version INTEGER NOT NULL
, scoped INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX dirty_version ON dirty (version, asset);
CREATE TABLE dirty_vulnerability (
    asset         TEXT NOT NULL REFERENCES asset (id),
    vulnerability TEXT NOT NULL,
    PRIMARY KEY (asset, vulnerability)
) STRICT, WITHOUT ROWID;
CREATE TABLE "duplicate" (
    report   TEXT PRIMARY KEY REFERENCES "report" (id),
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER fact_kept AFTER UPDATE ON fact
WHEN NEW.leaf <> OLD.leaf AND (OLD.kind <> 'epss' OR EXISTS (SELECT 1 FROM finding AS f WHERE f.vulnerability = OLD.vulnerability)) BEGIN
    INSERT INTO fact_past (kind, vulnerability, leaf, missing, body) VALUES (OLD.kind, OLD.vulnerability, OLD.leaf, OLD.missing, OLD.body);
END;
CREATE TABLE fact (
    kind          TEXT NOT NULL,
    vulnerability TEXT NOT NULL,
    missing       INTEGER NOT NULL,
    body          TEXT NOT NULL, leaf INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (kind, vulnerability)
) STRICT, WITHOUT ROWID;
CREATE TABLE fact_past (
    kind          TEXT NOT NULL,
    vulnerability TEXT NOT NULL,
    leaf          INTEGER NOT NULL,
    missing       INTEGER NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (kind, vulnerability, leaf)
) STRICT, WITHOUT ROWID;
CREATE TABLE fact_seen (
    vulnerability TEXT NOT NULL,
    leaf          INTEGER NOT NULL REFERENCES leaf (idx) DEFERRABLE INITIALLY DEFERRED,
    body          TEXT NOT NULL,
    PRIMARY KEY (vulnerability, leaf)
) STRICT;
CREATE INDEX fact_seen_leaf ON fact_seen (leaf);
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
CREATE TRIGGER finding_added AFTER INSERT ON finding BEGIN
    INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
    SELECT d.dimension, d.value, NEW.severity, NEW.state, NEW.outcome, NEW.flags,
        CASE NEW.order_running WHEN 0 THEN NEW.order_due ELSE 0 END, CASE NEW.order_running WHEN 0 THEN NEW.target_at ELSE 0 END, 1
    FROM asset_dimension AS d WHERE d.asset = NEW.asset
    ON CONFLICT (dimension, value, severity, state, outcome, flags, due, target) DO UPDATE SET findings = finding_count.findings + 1;
END;
CREATE TRIGGER finding_changed AFTER UPDATE ON finding
WHEN NEW.severity <> OLD.severity OR NEW.state <> OLD.state OR NEW.outcome <> OLD.outcome OR NEW.flags <> OLD.flags
    OR NEW.order_running <> OLD.order_running OR NEW.order_due <> OLD.order_due OR NEW.target_at <> OLD.target_at BEGIN
    INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
    SELECT d.dimension, d.value, OLD.severity, OLD.state, OLD.outcome, OLD.flags,
        CASE OLD.order_running WHEN 0 THEN OLD.order_due ELSE 0 END, CASE OLD.order_running WHEN 0 THEN OLD.target_at ELSE 0 END, -1
    FROM asset_dimension AS d WHERE d.asset = OLD.asset
    UNION ALL
    SELECT d.dimension, d.value, NEW.severity, NEW.state, NEW.outcome, NEW.flags,
        CASE NEW.order_running WHEN 0 THEN NEW.order_due ELSE 0 END, CASE NEW.order_running WHEN 0 THEN NEW.target_at ELSE 0 END, 1
    FROM asset_dimension AS d WHERE d.asset = NEW.asset
    ON CONFLICT (dimension, value, severity, state, outcome, flags, due, target) DO UPDATE SET findings = finding_count.findings + EXCLUDED.findings;
    DELETE FROM finding_count WHERE findings = 0;
END;
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
    order_kev      INTEGER NOT NULL, alarm INTEGER NOT NULL DEFAULT 0, cycle TEXT NOT NULL DEFAULT '', arrival INTEGER NOT NULL DEFAULT 0, due TEXT NOT NULL DEFAULT '', target TEXT NOT NULL DEFAULT '', detected INTEGER NOT NULL DEFAULT -62135596800000000, closed INTEGER NOT NULL DEFAULT -62135596800000000, names TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT '', final INTEGER NOT NULL DEFAULT 0, regression INTEGER NOT NULL DEFAULT 0, on_time_claimed INTEGER NOT NULL DEFAULT 0, target_missed INTEGER NOT NULL DEFAULT 0, accepted INTEGER NOT NULL DEFAULT 0, target_at INTEGER NOT NULL DEFAULT 9223372036854775807, flags INTEGER GENERATED ALWAYS AS (
    kev + 2 * arrival + 4 * regression + 8 * on_time_claimed + 16 * target_missed + 32 * accepted + 64 * final
        + CASE due WHEN '' THEN 0 ELSE 128 END) VIRTUAL, breached INTEGER NOT NULL DEFAULT 9223372036854775807, unmitigated INTEGER NOT NULL DEFAULT 9223372036854775807, -- 0 when listed, else 1
    FOREIGN KEY (id, leaf) REFERENCES finding_version (id, leaf)
) STRICT;
CREATE INDEX finding_alarm ON finding (alarm, asset);
CREATE INDEX finding_asset ON finding (asset, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_breached ON finding (breached, id) WHERE breached < 9223372036854775807;
CREATE INDEX finding_claimed ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE on_time_claimed = 1;
CREATE INDEX finding_component ON finding (component, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_cycle ON finding (cycle, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_detected ON finding (detected, id);
CREATE INDEX finding_listed ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE kev = 1;
CREATE INDEX finding_outcome ON finding (outcome, order_due, order_priority, order_severity, order_kev, id) WHERE order_running = 1;
CREATE INDEX finding_pending ON finding (order_running, order_due, order_priority, order_severity, order_kev, id)
    WHERE order_running = 0 AND state <> 'open';
CREATE INDEX finding_priority ON finding (order_priority, order_running, order_due, order_severity, order_kev, id);
CREATE INDEX finding_regression ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE regression = 1;
CREATE INDEX finding_target ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE target_at < 9223372036854775807;
CREATE INDEX finding_unmitigated ON finding (unmitigated, id) WHERE unmitigated < 9223372036854775807;
CREATE INDEX finding_urgency ON finding (order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_vulnerability ON finding (vulnerability, order_running, order_due, order_priority, order_severity, order_kev, id, asset);
CREATE TABLE finding_count (
    dimension TEXT NOT NULL, -- 'all' has one value, the empty one
    value     TEXT NOT NULL,
    severity  TEXT NOT NULL,
    state     TEXT NOT NULL,
    outcome   TEXT NOT NULL, -- of closed ones
    flags     INTEGER NOT NULL, -- as finding.flags
    due       INTEGER NOT NULL, -- order_due of running ones, 0 of closed ones
    target    INTEGER NOT NULL, -- target_at of running ones, 0 of closed ones
    findings  INTEGER NOT NULL,
    PRIMARY KEY (dimension, value, severity, state, outcome, flags, due, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX finding_count_none ON finding_count (findings) WHERE findings = 0;
CREATE VIEW finding_counted AS SELECT
    id, asset, severity, state, outcome, flags,
    CASE order_running WHEN 0 THEN order_due ELSE 0 END AS due,
    CASE order_running WHEN 0 THEN target_at ELSE 0 END AS target
FROM finding;
CREATE TABLE finding_name (
    name    TEXT NOT NULL, -- as a line of finding.names
    finding TEXT NOT NULL,
    PRIMARY KEY (name, finding)
) STRICT, WITHOUT ROWID;
CREATE VIEW finding_state AS SELECT
    id, leaf, body, asset, vulnerability, component, state, severity, kev,
    order_running, order_due, order_priority, order_severity, order_kev,
    cycle, arrival, due, target, target_at, detected, closed, names,
    final, regression, on_time_claimed, target_missed, accepted, breached, unmitigated,
    -- One that was recorded before outcomes were is told by its dates.
    CASE WHEN order_running = 0 THEN '' WHEN said <> '' THEN said WHEN state = 'not_affected' THEN 'not_affected'
        WHEN closed < order_due THEN 'fixed_on_time' ELSE 'fixed_late' END AS outcome,
    kev + 2 * arrival + 4 * regression + 8 * on_time_claimed + 16 * target_missed + 32 * accepted + 64 * final
        + CASE due WHEN '' THEN 0 ELSE 128 END AS flags
FROM (
    SELECT
        id,
        leaf,
        body,
        json_extract(body, '$.asset') AS asset,
        json_extract(body, '$.vulnerability') AS vulnerability,
        json_extract(body, '$.component') AS component,
        json_extract(body, '$.state') AS state,
        json_extract(body, '$.severity') AS severity,
        json_extract(body, '$.kev') AS kev,
        CASE WHEN json_extract(body, '$.state') IN ('open', 'pending_reboot', 'pending_restart') THEN 0 ELSE 1 END AS order_running,
        COALESCE(unixepoch(substr(json_extract(body, '$.verdict.due_at'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(body, '$.verdict.due_at'), 21), 'Z') || '000000', 1, 6) AS INTEGER), 9223372036854775807) AS order_due,
        CASE WHEN json_extract(body, '$.verdict.priority') GLOB 'P[0-9]'
            THEN CAST(substr(json_extract(body, '$.verdict.priority'), 2) AS INTEGER) ELSE 99 END AS order_priority,
        CASE json_extract(body, '$.severity') WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 WHEN 'low' THEN 3 ELSE 4 END AS order_severity,
        CASE WHEN json_extract(body, '$.kev') THEN 0 ELSE 1 END AS order_kev,
        COALESCE(json_extract(body, '$.verdict.cycle'), '') AS cycle,
        COALESCE(json_extract(body, '$.verdict.arrival'), 0) AS arrival,
        COALESCE(json_extract(body, '$.verdict.due'), '') AS due,
        COALESCE(json_extract(body, '$.verdict.target'), '') AS target,
        COALESCE(unixepoch(substr(json_extract(body, '$.detected'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(body, '$.detected'), 21), 'Z') || '000000', 1, 6) AS INTEGER), -62135596800000000) AS detected,
        COALESCE(unixepoch(substr(json_extract(body, '$.closed'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(body, '$.closed'), 21), 'Z') || '000000', 1, 6) AS INTEGER), -62135596800000000) AS closed,
        COALESCE((SELECT char(10) || group_concat(n.line, char(10)) || char(10) FROM (
            SELECT 'advisory ' || json_extract(p.value, '$.advisory') AS line FROM json_each(body, '$.packages') AS p
            UNION SELECT 'package ' || json_extract(p.value, '$.package') FROM json_each(body, '$.packages') AS p
            ORDER BY line) AS n), '') AS names,
        COALESCE(json_extract(body, '$.end.outcome'), '') AS said,
        COALESCE(json_extract(body, '$.end.final'), 0) AS final,
        COALESCE(json_extract(body, '$.regression'), 0) AS regression,
        COALESCE(json_extract(body, '$.end.on_time_claimed'), 0) AS on_time_claimed,
        COALESCE(json_extract(body, '$.end.target_missed'), 0) AS target_missed,
        CASE WHEN json_extract(body, '$.verdict.rule') GLOB 'exception/*' THEN 1 ELSE 0 END AS accepted,
        COALESCE(unixepoch(substr(json_extract(body, '$.verdict.target_at'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(body, '$.verdict.target_at'), 21), 'Z') || '000000', 1, 6) AS INTEGER), 9223372036854775807) AS target_at,
        COALESCE((SELECT unixepoch(substr(json_extract(b.value, '$.at'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(b.value, '$.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER)
            FROM json_each(body, '$.clock.breaches') AS b WHERE json_extract(b.value, '$.kind') = 'patch'), 9223372036854775807) AS breached,
        COALESCE((SELECT unixepoch(substr(json_extract(b.value, '$.at'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(b.value, '$.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER)
            FROM json_each(body, '$.clock.breaches') AS b WHERE json_extract(b.value, '$.kind') = 'mitigate'), 9223372036854775807) AS unmitigated
    FROM finding_version
) AS said;
CREATE TABLE finding_version (
    id   TEXT NOT NULL,
    leaf INTEGER NOT NULL REFERENCES leaf (idx),
    body TEXT NOT NULL,
    PRIMARY KEY (id, leaf)
) STRICT;
CREATE INDEX finding_version_leaf ON finding_version (leaf);
CREATE TABLE history_start (leaf INTEGER NOT NULL) STRICT;
CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    kind TEXT NOT NULL CHECK (length(kind) > 0),
    at   INTEGER NOT NULL,
    body BLOB NOT NULL CHECK (length(body) > 0)
) STRICT;
CREATE INDEX leaf_at ON leaf (at, idx);
CREATE TRIGGER listed_kept AFTER UPDATE ON listed WHEN NEW.seen <> OLD.seen BEGIN
    INSERT INTO listed_past (source, key, leaf, seen, body) VALUES (OLD.source, OLD.key, OLD.leaf, OLD.seen, OLD.body);
END;
CREATE TABLE listed (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    leaf   INTEGER NOT NULL REFERENCES asset_import (leaf),
    seen   INTEGER NOT NULL REFERENCES asset_import (leaf),
    body   TEXT NOT NULL, kind TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.kind'), '')) VIRTUAL, instance TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.instance_id'), '')) VIRTUAL, account TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.account'), '')) VIRTUAL, folded TEXT GENERATED ALWAYS AS (
    CASE WHEN COALESCE(json_extract(body, '$.name'), '') GLOB '*[^' || char(1) || '-' || char(127) || ']*' THEN '*'
    ELSE lower(COALESCE(json_extract(body, '$.name'), '')) END) VIRTUAL,
    PRIMARY KEY (source, key)
) STRICT;
CREATE INDEX listed_account ON listed (account, kind);
CREATE INDEX listed_folded ON listed (folded);
CREATE INDEX listed_instance ON listed (instance, kind);
CREATE TABLE listed_past (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    leaf   INTEGER NOT NULL,
    seen   INTEGER NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (source, key, seen)
) STRICT;
CREATE TABLE log_seal (
    at         INTEGER PRIMARY KEY,
    leaf       INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL -- size of the newest
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
CREATE TABLE "report" (
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
CREATE INDEX report_asset ON report (asset, sequence);
CREATE INDEX report_key ON report (key, sequence);
CREATE INDEX report_machine ON report (key, machine);
CREATE INDEX report_previous ON report (key, previous);
CREATE TABLE "report_part" (
    report TEXT NOT NULL REFERENCES "report" (id),
    name   TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES part (digest),
    PRIMARY KEY (report, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_part_digest ON report_part (digest);
CREATE TABLE retirement (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT, WITHOUT ROWID;
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
CREATE TRIGGER undetermined_begun AFTER INSERT ON undetermined BEGIN
    UPDATE undetermined SET leaf = (SELECT MAX(idx) FROM leaf) WHERE asset = NEW.asset AND place = NEW.place;
END;
CREATE TRIGGER undetermined_kept AFTER DELETE ON undetermined BEGIN
    INSERT INTO undetermined_past (asset, place, leaf, until, vulnerability, component, body)
    SELECT OLD.asset, OLD.place, OLD.leaf, (SELECT MAX(idx) FROM leaf), OLD.vulnerability, OLD.component, OLD.body
    WHERE OLD.leaf < (SELECT MAX(idx) FROM leaf);
END;
CREATE TABLE undetermined (
    asset         TEXT NOT NULL REFERENCES asset (id),
    place         INTEGER NOT NULL,
    vulnerability TEXT NOT NULL,
    component     TEXT NOT NULL,
    body          TEXT NOT NULL, leaf INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (asset, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX undetermined_vulnerability ON undetermined (vulnerability);
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
CREATE VIEW v_assets AS SELECT
    a.id,
    a.name,
    a.account,
    a.ou,
    a.region,
    a.service,
    a.owner,
    a.class,
    a.exposure,
    a.environment,
    a.timeline,
    a.core,
    a.crown_jewel,
    a.cold_wallet,
    a.hot_wallet,
    a.head_release AS release,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.last_report, 'unixepoch') AS last_report_at,
    CASE WHEN a.last_report IS NULL THEN 0 ELSE a.covered END AS covered,
    json_array_length(a.gaps) AS gaps,
    (SELECT COUNT(*) FROM undetermined AS u WHERE u.asset = a.id) AS undetermined,
    (SELECT COUNT(*) FROM finding AS f WHERE f.asset = a.id AND f.order_running = 0) AS running,
    (SELECT COUNT(*) FROM finding AS f WHERE f.asset = a.id AND f.order_running = 0
        AND f.order_due <= unixepoch('now') * 1000000) AS overdue,
    a.standing,
    strftime('%Y-%m-%dT%H:%M:%SZ', a.gone_at / 1000000, 'unixepoch') AS gone_at
FROM asset AS a;
CREATE VIEW v_findings AS SELECT
    f.id,
    f.asset,
    a.name AS asset_name,
    a.account,
    a.ou,
    a.region,
    a.service,
    a.owner,
    a.class,
    a.exposure,
    a.environment,
    a.timeline,
    a.crown_jewel,
    a.cold_wallet,
    f.vulnerability,
    f.component,
    f.severity,
    CASE WHEN f.order_priority < 10 THEN 'P' || f.order_priority ELSE '' END AS priority,
    f.cycle,
    f.kev,
    f.arrival,
    f.state,
    CASE f.order_running WHEN 0 THEN 1 ELSE 0 END AS running,
    CASE WHEN f.order_running = 0 AND f.order_due <= unixepoch('now') * 1000000 THEN 1 ELSE 0 END AS overdue,
    NULLIF(f.due, '') AS due,
    NULLIF(f.target, '') AS target,
    strftime('%Y-%m-%dT%H:%M:%SZ', f.detected / 1000000, 'unixepoch') AS detected_at,
    CASE WHEN f.closed > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', f.closed / 1000000, 'unixepoch') END AS closed_at,
    f.leaf,
    CASE WHEN f.order_running = 1 THEN f.outcome WHEN f.order_due = 9223372036854775807 THEN 'awaiting_fix'
        WHEN f.order_due <= unixepoch('now') * 1000000 THEN 'overdue' WHEN f.accepted = 1 THEN 'accepted' ELSE 'within' END AS outcome,
    f.final,
    f.regression,
    f.on_time_claimed,
    CASE WHEN f.order_running = 0 AND f.target_at <= unixepoch('now') * 1000000 THEN 1 ELSE f.target_missed END AS target_missed
FROM finding AS f JOIN asset AS a ON a.id = f.asset;
CREATE VIEW v_summary_daily AS
WITH RECURSIVE days (day) AS (
    SELECT date(MAX((SELECT MIN(at) FROM leaf) / 1000000, unixepoch('now') - 91 * 86400), 'unixepoch')
    UNION ALL SELECT date(day, '+1 day') FROM days WHERE day < date('now')
), ends (day, at, leaf) AS (
    SELECT day, (unixepoch(day) + 86400) * 1000000,
        COALESCE((SELECT MIN(l.idx) - 1 FROM leaf AS l WHERE l.at >= (unixepoch(day) + 86400) * 1000000), (SELECT MAX(l.idx) FROM leaf AS l))
    FROM days
)
SELECT
    e.day,
    s.severity,
    COUNT(*) AS findings,
    SUM(CASE s.order_running WHEN 0 THEN 1 ELSE 0 END) AS running,
    SUM(CASE WHEN s.order_running = 0 AND s.order_due <= e.at THEN 1 ELSE 0 END) AS overdue,
    SUM(CASE WHEN s.order_running = 0 AND s.due = '' THEN 1 ELSE 0 END) AS awaiting_fix,
    SUM(CASE WHEN s.order_running = 0 AND s.kev <> 0 THEN 1 ELSE 0 END) AS kev,
    SUM(CASE WHEN s.order_running = 0 AND s.order_due > e.at AND s.due <> '' AND s.accepted = 0 THEN 1 ELSE 0 END) AS within,
    SUM(CASE WHEN s.order_running = 0 AND s.order_due > e.at AND s.due <> '' AND s.accepted = 1 THEN 1 ELSE 0 END) AS accepted,
    SUM(CASE s.outcome WHEN 'fixed_on_time' THEN 1 ELSE 0 END) AS fixed_on_time,
    SUM(CASE s.outcome WHEN 'fixed_late' THEN 1 ELSE 0 END) AS fixed_late,
    SUM(CASE s.outcome WHEN 'not_affected' THEN 1 ELSE 0 END) AS not_affected,
    SUM(CASE s.outcome WHEN 'not_running' THEN 1 ELSE 0 END) AS not_running,
    SUM(CASE s.outcome WHEN 'retired_in_time' THEN 1 ELSE 0 END) AS retired_in_time,
    SUM(CASE s.outcome WHEN 'retired_overdue' THEN 1 ELSE 0 END) AS retired_overdue
FROM ends AS e JOIN finding_state AS s
    ON s.leaf = (SELECT MAX(n.leaf) FROM finding_version AS n WHERE n.id = s.id AND n.leaf <= e.leaf)
GROUP BY e.day, s.severity;
