-- Whose word an asset's attributes rest on: rules, imported lists, hosts' claims.

-- What an operator said by hand, apart from what follows from it.
ALTER TABLE asset ADD COLUMN declared TEXT NOT NULL DEFAULT '';
UPDATE asset SET declared = '{"attributes":' || attributes || '}';
-- JSON, empty before the asset was first classified.
ALTER TABLE asset ADD COLUMN classified TEXT NOT NULL DEFAULT '';

CREATE TABLE classification_rules (
    leaf       INTEGER PRIMARY KEY REFERENCES leaf (idx),
    digest     TEXT NOT NULL,
    source     BLOB NOT NULL,
    applied_at INTEGER NOT NULL,
    applied_by TEXT NOT NULL
) STRICT;

-- Every list that was imported; text is one zstd frame of the file.
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

-- What each list last said of an asset: leaf is the import that first said it so,
-- seen the newest that lists it. A newer import replaces the entries it
-- holds and leaves the others, so that half a list loses nothing.
CREATE TABLE listed (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    leaf   INTEGER NOT NULL REFERENCES asset_import (leaf),
    seen   INTEGER NOT NULL REFERENCES asset_import (leaf),
    body   TEXT NOT NULL,
    PRIMARY KEY (source, key)
) STRICT;

-- Every classification an asset ever had, under the leaf that recorded it.
CREATE TABLE classification (
    asset TEXT NOT NULL REFERENCES asset (id),
    leaf  INTEGER NOT NULL REFERENCES leaf (idx),
    body  TEXT NOT NULL,
    PRIMARY KEY (asset, leaf)
) STRICT;
CREATE INDEX classification_leaf ON classification (leaf);
