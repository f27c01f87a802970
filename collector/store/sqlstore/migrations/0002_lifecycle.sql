-- When time alone changes what is recorded of a finding: a deadline passes, an
-- outcome becomes final. Findings recorded before are due at once.
ALTER TABLE finding ADD COLUMN alarm INTEGER NOT NULL DEFAULT 0;
CREATE INDEX finding_alarm ON finding (alarm, asset);
CREATE INDEX policy_digest ON policy (digest, leaf);
