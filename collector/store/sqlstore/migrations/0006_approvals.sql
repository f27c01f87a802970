-- What of an asset's attributes binds new findings (JSON, empty before the first
-- assessment), and who set the attributes.
ALTER TABLE asset ADD COLUMN in_force TEXT NOT NULL DEFAULT '';
ALTER TABLE asset ADD COLUMN attributes_by TEXT NOT NULL DEFAULT '';
ALTER TABLE asset ADD COLUMN attributes_at INTEGER NOT NULL DEFAULT 0;

-- Requests to let deadlines move later, and what was decided.
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
