-- Tokens get scopes, an end and an author. One made before there were scopes may
-- do everything, as it could.
ALTER TABLE token ADD COLUMN scopes TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE token ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
ALTER TABLE token ADD COLUMN expires_at INTEGER; -- null: never
ALTER TABLE token ADD COLUMN revoked_at INTEGER; -- null: not revoked
ALTER TABLE token ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';

-- Policies get the instant they come into force, an author, and what was
-- loosened knowingly (JSON). marked: every asset was marked for it.
ALTER TABLE policy ADD COLUMN effective_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE policy ADD COLUMN applied_by TEXT NOT NULL DEFAULT '';
ALTER TABLE policy ADD COLUMN looser TEXT NOT NULL DEFAULT '[]';
ALTER TABLE policy ADD COLUMN marked INTEGER NOT NULL DEFAULT 1;
UPDATE policy SET effective_at = applied_at;
CREATE INDEX policy_effective ON policy (effective_at, leaf);
