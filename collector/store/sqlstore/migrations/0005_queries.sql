-- Questions: what findings are asked for by, and how many there are of each.

-- What an asset is asked for by follows from its attributes, whoever writes them.
ALTER TABLE asset ADD COLUMN account TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.account'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN ou TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.ou'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN region TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.region'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN service TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.service'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN owner TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.owner'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN class TEXT GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.class'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN exposure TEXT GENERATED ALWAYS AS (COALESCE(NULLIF(json_extract(attributes, '$.exposure'), ''), 'unknown')) VIRTUAL;
ALTER TABLE asset ADD COLUMN environment TEXT GENERATED ALWAYS AS (COALESCE(NULLIF(json_extract(attributes, '$.environment'), ''), 'unknown')) VIRTUAL;
ALTER TABLE asset ADD COLUMN core INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.core'), 0)) VIRTUAL;
ALTER TABLE asset ADD COLUMN crown_jewel INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.crown_jewel'), 0)) VIRTUAL;
ALTER TABLE asset ADD COLUMN cold_wallet INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.cold_wallet'), 0)) VIRTUAL;
ALTER TABLE asset ADD COLUMN hot_wallet INTEGER GENERATED ALWAYS AS (COALESCE(json_extract(attributes, '$.hot_wallet'), 0)) VIRTUAL;
-- The column of the timelines, as collector/sla chooses it.
ALTER TABLE asset ADD COLUMN timeline TEXT GENERATED ALWAYS AS (CASE
    WHEN environment = 'enduser' THEN 'enduser'
    WHEN exposure <> 'internal' OR core <> 0 THEN 'internet'
    WHEN environment = 'nonproduction' THEN 'nonproduction'
    ELSE 'production' END) VIRTUAL;
-- When its newest report was received, in whole seconds since 1970, null before the first.
ALTER TABLE asset ADD COLUMN last_report INTEGER GENERATED ALWAYS AS (unixepoch(substr(json_extract(head, '$.ReceivedAt'), 1, 19))) VIRTUAL;
ALTER TABLE asset ADD COLUMN gapped INTEGER GENERATED ALWAYS AS (gaps <> '[]') VIRTUAL;

CREATE INDEX asset_asked ON asset (owner, service, account, ou, region, class, exposure, environment, timeline, core, crown_jewel, cold_wallet, hot_wallet);
CREATE INDEX asset_picture ON asset (last_report, covered, gapped);
CREATE INDEX undetermined_vulnerability ON undetermined (vulnerability);
CREATE INDEX leaf_at ON leaf (at, idx);

-- What a finding is asked for by, now and in each recorded state.
ALTER TABLE finding ADD COLUMN cycle TEXT NOT NULL DEFAULT '';
ALTER TABLE finding ADD COLUMN arrival INTEGER NOT NULL DEFAULT 0;
ALTER TABLE finding ADD COLUMN due TEXT NOT NULL DEFAULT ''; -- a date, empty when there is none
ALTER TABLE finding ADD COLUMN target TEXT NOT NULL DEFAULT ''; -- a date, empty when there is none
ALTER TABLE finding ADD COLUMN detected INTEGER NOT NULL DEFAULT -62135596800000000;
ALTER TABLE finding ADD COLUMN closed INTEGER NOT NULL DEFAULT -62135596800000000;
ALTER TABLE finding ADD COLUMN names TEXT NOT NULL DEFAULT ''; -- a line each: package NAME, advisory ID

-- Every recorded state of a finding with the columns of table finding, so that
-- any past moment is asked the same questions as the present.
CREATE VIEW finding_state AS SELECT
    id,
    leaf,
    body,
    json_extract(body, '$.asset') AS asset,
    json_extract(body, '$.vulnerability') AS vulnerability,
    json_extract(body, '$.component') AS component,
    json_extract(body, '$.state') AS state,
    json_extract(body, '$.severity') AS severity,
    json_extract(body, '$.kev') AS kev,
    CASE WHEN json_extract(body, '$.state') IN ('open', 'pending_reboot') THEN 0 ELSE 1 END AS order_running,
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
        ORDER BY line) AS n), '') AS names
FROM finding_version;

UPDATE finding SET cycle = s.cycle, arrival = s.arrival, due = s.due, target = s.target, detected = s.detected, closed = s.closed, names = s.names
FROM finding_state AS s WHERE s.id = finding.id AND s.leaf = finding.leaf;

CREATE TABLE finding_name (
    name    TEXT NOT NULL, -- as a line of finding.names
    finding TEXT NOT NULL,
    PRIMARY KEY (name, finding)
) STRICT, WITHOUT ROWID;
INSERT INTO finding_name (name, finding)
SELECT DISTINCT 'advisory ' || json_extract(p.value, '$.advisory'), f.id
FROM finding AS f JOIN finding_version AS v ON v.id = f.id AND v.leaf = f.leaf, json_each(v.body, '$.packages') AS p;
INSERT INTO finding_name (name, finding)
SELECT DISTINCT 'package ' || json_extract(p.value, '$.package'), f.id
FROM finding AS f JOIN finding_version AS v ON v.id = f.id AND v.leaf = f.leaf, json_each(v.body, '$.packages') AS p;

CREATE INDEX finding_listed ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE kev = 1;
CREATE INDEX finding_priority ON finding (order_priority, order_running, order_due, order_severity, order_kev, id);
CREATE INDEX finding_component ON finding (component, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_cycle ON finding (cycle, order_running, order_due, order_priority, order_severity, order_kev, id);
CREATE INDEX finding_detected ON finding (detected, id);
DROP INDEX finding_vulnerability;
CREATE INDEX finding_vulnerability ON finding (vulnerability, order_running, order_due, order_priority, order_severity, order_kev, id, asset);

-- How many findings there are, by one thing at a time that people group by. A
-- running one is counted by when it falls due, so that none of this changes as
-- days pass. Kept by triggers, in the transaction of what it counts.
CREATE TABLE asset_dimension (
    asset     TEXT NOT NULL REFERENCES asset (id),
    dimension TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (asset, dimension)
) STRICT, WITHOUT ROWID;

CREATE TABLE finding_count (
    dimension TEXT NOT NULL, -- 'all' has one value, the empty one
    value     TEXT NOT NULL,
    severity  TEXT NOT NULL,
    state     TEXT NOT NULL,
    kev       INTEGER NOT NULL,
    arrival   INTEGER NOT NULL,
    due       INTEGER NOT NULL, -- order_due of running ones, 0 of closed ones
    findings  INTEGER NOT NULL,
    PRIMARY KEY (dimension, value, severity, state, kev, arrival, due)
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

INSERT INTO asset_dimension (asset, dimension, value) SELECT asset, dimension, value FROM asset_grouping;
INSERT INTO finding_count (dimension, value, severity, state, kev, arrival, due, findings)
SELECT d.dimension, d.value, f.severity, f.state, f.kev, f.arrival, CASE f.order_running WHEN 0 THEN f.order_due ELSE 0 END AS falls, COUNT(*)
FROM finding AS f JOIN asset_dimension AS d ON d.asset = f.asset
GROUP BY d.dimension, d.value, f.severity, f.state, f.kev, f.arrival, falls;

CREATE TRIGGER asset_placed AFTER INSERT ON asset BEGIN
    INSERT INTO asset_dimension (asset, dimension, value) SELECT asset, dimension, value FROM asset_grouping WHERE asset = NEW.id;
END;

CREATE TRIGGER asset_moved AFTER UPDATE OF attributes ON asset WHEN NEW.attributes <> OLD.attributes BEGIN
    INSERT INTO finding_count (dimension, value, severity, state, kev, arrival, due, findings)
    SELECT d.dimension, d.value, f.severity, f.state, f.kev, f.arrival, CASE f.order_running WHEN 0 THEN f.order_due ELSE 0 END AS falls, -COUNT(*)
    FROM asset_dimension AS d JOIN asset_grouping AS g ON g.asset = d.asset AND g.dimension = d.dimension AND g.value <> d.value
    JOIN finding AS f ON f.asset = d.asset WHERE d.asset = NEW.id
    GROUP BY d.dimension, d.value, f.severity, f.state, f.kev, f.arrival, falls
    ON CONFLICT (dimension, value, severity, state, kev, arrival, due) DO UPDATE SET findings = finding_count.findings + EXCLUDED.findings;
    INSERT INTO finding_count (dimension, value, severity, state, kev, arrival, due, findings)
    SELECT g.dimension, g.value, f.severity, f.state, f.kev, f.arrival, CASE f.order_running WHEN 0 THEN f.order_due ELSE 0 END AS falls, COUNT(*)
    FROM asset_dimension AS d JOIN asset_grouping AS g ON g.asset = d.asset AND g.dimension = d.dimension AND g.value <> d.value
    JOIN finding AS f ON f.asset = d.asset WHERE d.asset = NEW.id
    GROUP BY g.dimension, g.value, f.severity, f.state, f.kev, f.arrival, falls
    ON CONFLICT (dimension, value, severity, state, kev, arrival, due) DO UPDATE SET findings = finding_count.findings + EXCLUDED.findings;
    DELETE FROM finding_count WHERE findings = 0
        AND (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = NEW.id);
    UPDATE asset_dimension SET value = g.value FROM asset_grouping AS g
        WHERE asset_dimension.asset = NEW.id AND g.asset = NEW.id AND g.dimension = asset_dimension.dimension AND g.value <> asset_dimension.value;
END;

CREATE TRIGGER finding_added AFTER INSERT ON finding BEGIN
    INSERT INTO finding_count (dimension, value, severity, state, kev, arrival, due, findings)
    SELECT d.dimension, d.value, NEW.severity, NEW.state, NEW.kev, NEW.arrival, CASE NEW.order_running WHEN 0 THEN NEW.order_due ELSE 0 END, 1
    FROM asset_dimension AS d WHERE d.asset = NEW.asset
    ON CONFLICT (dimension, value, severity, state, kev, arrival, due) DO UPDATE SET findings = finding_count.findings + 1;
END;

CREATE TRIGGER finding_changed AFTER UPDATE ON finding
WHEN NEW.severity <> OLD.severity OR NEW.state <> OLD.state OR NEW.kev <> OLD.kev OR NEW.arrival <> OLD.arrival
    OR NEW.order_running <> OLD.order_running OR NEW.order_due <> OLD.order_due BEGIN
    UPDATE finding_count SET findings = findings - 1
        WHERE (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = OLD.asset)
        AND severity = OLD.severity AND state = OLD.state AND kev = OLD.kev AND arrival = OLD.arrival
        AND due = CASE OLD.order_running WHEN 0 THEN OLD.order_due ELSE 0 END;
    DELETE FROM finding_count
        WHERE (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = OLD.asset)
        AND severity = OLD.severity AND state = OLD.state AND kev = OLD.kev AND arrival = OLD.arrival
        AND due = CASE OLD.order_running WHEN 0 THEN OLD.order_due ELSE 0 END AND findings = 0;
    INSERT INTO finding_count (dimension, value, severity, state, kev, arrival, due, findings)
    SELECT d.dimension, d.value, NEW.severity, NEW.state, NEW.kev, NEW.arrival, CASE NEW.order_running WHEN 0 THEN NEW.order_due ELSE 0 END, 1
    FROM asset_dimension AS d WHERE d.asset = NEW.asset
    ON CONFLICT (dimension, value, severity, state, kev, arrival, due) DO UPDATE SET findings = finding_count.findings + 1;
END;

-- For programs that read the database: documented in README.md, and kept as they
-- are. Instants are text (ISO 8601, UTC), dates are dates of the policy's zone,
-- flags are 0 or 1; what depends on the time is as of the asking.
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
        AND f.order_due <= unixepoch('now') * 1000000) AS overdue
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
    f.leaf
FROM finding AS f JOIN asset AS a ON a.id = f.asset;

-- One row for each of the last 92 days (UTC) and severity: what was on record at
-- the end of the day, as every later asking says it too, but for today.
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
    SUM(CASE WHEN s.order_running = 0 AND s.kev <> 0 THEN 1 ELSE 0 END) AS kev
FROM ends AS e JOIN finding_state AS s
    ON s.leaf = (SELECT MAX(n.leaf) FROM finding_version AS n WHERE n.id = s.id AND n.leaf <= e.leaf)
GROUP BY e.day, s.severity;
