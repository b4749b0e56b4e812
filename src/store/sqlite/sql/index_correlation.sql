-- The events of one correlation, in order of position.
CREATE INDEX {index} ON {events} ({field}, position) WHERE ({field}) IS NOT NULL;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ({events_text}, {index_text}, '10000000 100 1');

INSERT INTO annal_meta (key, value) VALUES ('metadata_index:' || {name_text}, {index_text});
