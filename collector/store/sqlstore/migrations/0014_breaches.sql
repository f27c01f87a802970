-- When each deadline of a finding was breached, the greatest integer for never: the
-- patch's, and the mitigation's of Zero-Day.
ALTER TABLE finding ADD COLUMN breached INTEGER NOT NULL DEFAULT 9223372036854775807;
ALTER TABLE finding ADD COLUMN unmitigated INTEGER NOT NULL DEFAULT 9223372036854775807;

DROP VIEW v_summary_daily;
DROP VIEW finding_state;

-- As before, with the breaches.
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

UPDATE finding SET breached = s.breached, unmitigated = s.unmitigated
FROM finding_state AS s WHERE s.id = finding.id AND s.leaf = finding.leaf;

CREATE INDEX finding_breached ON finding (breached, id) WHERE breached < 9223372036854775807;
CREATE INDEX finding_unmitigated ON finding (unmitigated, id) WHERE unmitigated < 9223372036854775807;

-- As before.
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
