-- Version 1 of the tables. {events} and {projections} are the names the store was opened with.

-- The log. A position is the row's own number: given under the write lock, from 1, without gaps.
CREATE TABLE {events} (
  position   INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  type       TEXT NOT NULL,
  version    INTEGER NOT NULL,
  data       TEXT NOT NULL,    -- canonical JSON: equal content is equal text
  metadata   TEXT,
  created_at INTEGER NOT NULL  -- microseconds since 1970-01-01T00:00:00Z
) STRICT;

CREATE INDEX {type_index} ON {events} (type, position);

-- Saved states and views. Rows saved by hand have the fingerprint '' and no state.
CREATE TABLE {projections} (
  type            TEXT NOT NULL,
  fingerprint     TEXT NOT NULL,
  id              TEXT NOT NULL,
  state           TEXT,
  data            TEXT NOT NULL,
  position        INTEGER NOT NULL,
  latest_event_id TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  PRIMARY KEY (type, fingerprint, id)
) STRICT;

-- How far the background has come, for each set of rows.
CREATE TABLE annal_checkpoints (
  type        TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  position    INTEGER NOT NULL,
  event_id    TEXT,           -- NULL: no event yet
  updated_at  INTEGER NOT NULL,
  PRIMARY KEY (type, fingerprint)
) STRICT;

-- Instances whose handler failed at an event.
CREATE TABLE annal_parked (
  type        TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  id          TEXT NOT NULL,
  event_id    TEXT NOT NULL,
  error       TEXT NOT NULL,
  PRIMARY KEY (type, fingerprint, id)
) STRICT;

-- What a program must know before it touches anything else.
CREATE TABLE annal_meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

INSERT INTO annal_meta (key, value) VALUES
  ('tables_version', '1'),
  ('oldest_program', '1'),
  ('store_id', lower(hex(randomblob(16)))),
  ('events', {events_text}),
  ('projections', {projections_text});

-- Makes the table of the planner's figures, without reading any other table.
ANALYZE annal_meta;

-- Many events share a type, and many rows one set: an index of a declared field is to win over these.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
  ({events_text}, {type_index_text}, '10000000 1000000 1'),
  ({projections_text}, 'sqlite_autoindex_' || {projections_text} || '_1', '1000000 100000 50000 1');
