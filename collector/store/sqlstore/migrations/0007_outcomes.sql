-- How findings are counted: the outcome of closed ones, and flags on top.

-- Empty while the clock runs: within, overdue, awaiting_fix and accepted follow
-- from the due instant and the time of asking.
ALTER TABLE finding ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
ALTER TABLE finding ADD COLUMN final INTEGER NOT NULL DEFAULT 0;
ALTER TABLE finding ADD COLUMN regression INTEGER NOT NULL DEFAULT 0;
ALTER TABLE finding ADD COLUMN on_time_claimed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE finding ADD COLUMN target_missed INTEGER NOT NULL DEFAULT 0; -- of closed ones
ALTER TABLE finding ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0; -- an exception's date binds
ALTER TABLE finding ADD COLUMN target_at INTEGER NOT NULL DEFAULT 9223372036854775807; -- first instant after the target
-- All that is yes or no, in one number: the sum of 1 kev, 2 arrival, 4 regression,
-- 8 on_time_claimed, 16 target_missed, 32 accepted, 64 final, 128 has a due date.
ALTER TABLE finding ADD COLUMN flags INTEGER GENERATED ALWAYS AS (
    kev + 2 * arrival + 4 * regression + 8 * on_time_claimed + 16 * target_missed + 32 * accepted + 64 * final
        + CASE due WHEN '' THEN 0 ELSE 128 END) VIRTUAL;

DROP VIEW v_summary_daily;
DROP VIEW v_findings;
DROP VIEW finding_state;

CREATE VIEW finding_state AS SELECT
    id, leaf, body, asset, vulnerability, component, state, severity, kev,
    order_running, order_due, order_priority, order_severity, order_kev,
    cycle, arrival, due, target, target_at, detected, closed, names,
    final, regression, on_time_claimed, target_missed, accepted,
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
            ORDER BY line) AS n), '') AS names,
        COALESCE(json_extract(body, '$.end.outcome'), '') AS said,
        COALESCE(json_extract(body, '$.end.final'), 0) AS final,
        COALESCE(json_extract(body, '$.regression'), 0) AS regression,
        COALESCE(json_extract(body, '$.end.on_time_claimed'), 0) AS on_time_claimed,
        COALESCE(json_extract(body, '$.end.target_missed'), 0) AS target_missed,
        CASE WHEN json_extract(body, '$.verdict.rule') GLOB 'exception/*' THEN 1 ELSE 0 END AS accepted,
        COALESCE(unixepoch(substr(json_extract(body, '$.verdict.target_at'), 1, 19)) * 1000000
            + CAST(substr(rtrim(substr(json_extract(body, '$.verdict.target_at'), 21), 'Z') || '000000', 1, 6) AS INTEGER), 9223372036854775807) AS target_at
    FROM finding_version
) AS said;

UPDATE finding SET outcome = s.outcome, final = s.final, regression = s.regression, on_time_claimed = s.on_time_claimed,
    target_missed = s.target_missed, accepted = s.accepted, target_at = s.target_at
FROM finding_state AS s WHERE s.id = finding.id AND s.leaf = finding.leaf;

-- What a record lacks that was made before is filled by assessing again.
INSERT INTO counter (name, value) VALUES ('mark', 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1;
INSERT INTO dirty (asset, version) SELECT a.id, c.value FROM asset AS a JOIN counter AS c ON c.name = 'mark' WHERE a.head IS NOT NULL
ON CONFLICT (asset) DO UPDATE SET version = EXCLUDED.version;

CREATE INDEX finding_outcome ON finding (outcome, order_due, order_priority, order_severity, order_kev, id) WHERE order_running = 1;
CREATE INDEX finding_regression ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE regression = 1;
CREATE INDEX finding_claimed ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE on_time_claimed = 1;
CREATE INDEX finding_target ON finding (order_running, order_due, order_priority, order_severity, order_kev, id) WHERE target_at < 9223372036854775807;

-- The counts, with outcome and flags. As before, nothing of it changes as days pass.
DROP TRIGGER finding_changed;
DROP TRIGGER finding_added;
DROP TRIGGER asset_moved;
DROP TABLE finding_count;

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

-- Under which of the counts a finding goes.
CREATE VIEW finding_counted AS SELECT
    id, asset, severity, state, outcome, flags,
    CASE order_running WHEN 0 THEN order_due ELSE 0 END AS due,
    CASE order_running WHEN 0 THEN target_at ELSE 0 END AS target
FROM finding;

INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
SELECT d.dimension, d.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target, COUNT(*)
FROM finding_counted AS f JOIN asset_dimension AS d ON d.asset = f.asset
GROUP BY d.dimension, d.value, f.severity, f.state, f.outcome, f.flags, f.due, f.target;

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
    UPDATE finding_count SET findings = findings - 1
        WHERE (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = OLD.asset)
        AND severity = OLD.severity AND state = OLD.state AND outcome = OLD.outcome AND flags = OLD.flags
        AND due = CASE OLD.order_running WHEN 0 THEN OLD.order_due ELSE 0 END
        AND target = CASE OLD.order_running WHEN 0 THEN OLD.target_at ELSE 0 END;
    DELETE FROM finding_count
        WHERE (dimension, value) IN (SELECT dimension, value FROM asset_dimension WHERE asset = OLD.asset)
        AND severity = OLD.severity AND state = OLD.state AND outcome = OLD.outcome AND flags = OLD.flags
        AND due = CASE OLD.order_running WHEN 0 THEN OLD.order_due ELSE 0 END
        AND target = CASE OLD.order_running WHEN 0 THEN OLD.target_at ELSE 0 END AND findings = 0;
    INSERT INTO finding_count (dimension, value, severity, state, outcome, flags, due, target, findings)
    SELECT d.dimension, d.value, NEW.severity, NEW.state, NEW.outcome, NEW.flags,
        CASE NEW.order_running WHEN 0 THEN NEW.order_due ELSE 0 END, CASE NEW.order_running WHEN 0 THEN NEW.target_at ELSE 0 END, 1
    FROM asset_dimension AS d WHERE d.asset = NEW.asset
    ON CONFLICT (dimension, value, severity, state, outcome, flags, due, target) DO UPDATE SET findings = finding_count.findings + 1;
END;

-- As before, with the outcomes.
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
