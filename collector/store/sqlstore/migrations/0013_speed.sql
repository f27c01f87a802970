-- What ties assets to entries of lists, so that what one host newly says of
-- itself is held against what bears on it, not against the whole estate. A name
-- with other letters than ASCII's folds to '*': who looks for names looks there too.
ALTER TABLE asset ADD COLUMN instance TEXT GENERATED ALWAYS AS (COALESCE(json_extract(head, '$.InstanceID'), '')) VIRTUAL;
ALTER TABLE asset ADD COLUMN folded TEXT GENERATED ALWAYS AS (
    CASE WHEN name GLOB '*[^' || char(1) || '-' || char(127) || ']*' THEN '*' ELSE lower(name) END) VIRTUAL;
CREATE INDEX asset_instance ON asset (instance);
CREATE INDEX asset_folded ON asset (folded);

ALTER TABLE listed ADD COLUMN kind TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.kind'), '')) VIRTUAL;
ALTER TABLE listed ADD COLUMN instance TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.instance_id'), '')) VIRTUAL;
ALTER TABLE listed ADD COLUMN account TEXT GENERATED ALWAYS AS (COALESCE(json_extract(body, '$.account'), '')) VIRTUAL;
ALTER TABLE listed ADD COLUMN folded TEXT GENERATED ALWAYS AS (
    CASE WHEN COALESCE(json_extract(body, '$.name'), '') GLOB '*[^' || char(1) || '-' || char(127) || ']*' THEN '*'
    ELSE lower(COALESCE(json_extract(body, '$.name'), '')) END) VIRTUAL;
CREATE INDEX listed_instance ON listed (instance, kind);
CREATE INDEX listed_folded ON listed (folded);
CREATE INDEX listed_account ON listed (account, kind);

-- How complete the picture is, which every answer says.
CREATE INDEX asset_uncovered ON asset (last_report) WHERE covered = 0;
CREATE INDEX asset_gapped ON asset (last_report) WHERE gapped <> 0;

-- The counts move by one statement for a finding that changes, and what is counted
-- no more is found by an index, not by asking for each count again.
CREATE INDEX finding_count_none ON finding_count (findings) WHERE findings = 0;
DROP TRIGGER finding_changed;
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

-- What waits for a reboot or a restart is little of all that runs.
CREATE INDEX finding_pending ON finding (order_running, order_due, order_priority, order_severity, order_kev, id)
    WHERE order_running = 0 AND state <> 'open';
