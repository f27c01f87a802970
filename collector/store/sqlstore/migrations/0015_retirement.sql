-- Whether assets are in use.

-- What operators said, every time, and the last word (JSON, empty before the first).
CREATE TABLE retirement (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT, WITHOUT ROWID;
ALTER TABLE asset ADD COLUMN retirement TEXT NOT NULL DEFAULT '';
ALTER TABLE asset_past ADD COLUMN retirement TEXT NOT NULL DEFAULT '';
DROP TRIGGER asset_kept;
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


-- When its newest report was received, in microseconds, null before the first.
ALTER TABLE asset ADD COLUMN reported_at INTEGER GENERATED ALWAYS AS (
    unixepoch(substr(json_extract(head, '$.ReceivedAt'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(head, '$.ReceivedAt'), 21), 'Z') || '000000', 1, 6) AS INTEGER)) VIRTUAL;
-- Since when an operator, and a list, says that it is gone; null when it is not.
ALTER TABLE asset ADD COLUMN retired_at INTEGER GENERATED ALWAYS AS (CASE WHEN json_extract(NULLIF(retirement, ''), '$.retired') THEN
    unixepoch(substr(json_extract(NULLIF(retirement, ''), '$.at'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(NULLIF(retirement, ''), '$.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER) END) VIRTUAL;
ALTER TABLE asset ADD COLUMN terminated_at INTEGER GENERATED ALWAYS AS (CASE WHEN instr(classified, '"gone":') = 0 THEN NULL -- spares reading it
    WHEN retired_at IS NOT NULL OR json_extract(NULLIF(classified, ''), '$.gone.leaf') > COALESCE(json_extract(NULLIF(retirement, ''), '$.leaf'), -1) THEN
    unixepoch(substr(json_extract(NULLIF(classified, ''), '$.gone.at'), 1, 19)) * 1000000
        + CAST(substr(rtrim(substr(json_extract(NULLIF(classified, ''), '$.gone.at'), 21), 'Z') || '000000', 1, 6) AS INTEGER) END) VIRTUAL;
ALTER TABLE asset ADD COLUMN gone_at INTEGER GENERATED ALWAYS AS (CASE
    WHEN retired_at IS NULL THEN terminated_at WHEN terminated_at > retired_at THEN terminated_at ELSE retired_at END) VIRTUAL;
-- Empty for one in use; retired, or back: gone by somebody's word, and it reports.
ALTER TABLE asset ADD COLUMN standing TEXT GENERATED ALWAYS AS (CASE
    WHEN gone_at IS NULL THEN '' WHEN reported_at > gone_at THEN 'back' WHEN retired_at = gone_at THEN 'retired' ELSE 'terminated' END) VIRTUAL;

DROP INDEX asset_picture;
CREATE INDEX asset_picture ON asset (standing, last_report, covered, gapped);

-- As before, with standing and since when.
DROP VIEW v_assets;
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
