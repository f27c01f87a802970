-- A mark may ask for less than everything: that of these vulnerabilities the
-- facts changed, and nothing else of the asset.
ALTER TABLE dirty ADD COLUMN scoped INTEGER NOT NULL DEFAULT 0;

CREATE TABLE dirty_vulnerability (
    asset         TEXT NOT NULL REFERENCES asset (id),
    vulnerability TEXT NOT NULL,
    PRIMARY KEY (asset, vulnerability)
) STRICT, WITHOUT ROWID;
