-- The index of a declared identifier: its text, as every filter asks for it, in order of position.
CREATE INDEX {index} ON {events} ({field}, position) WHERE ({field}) IS NOT NULL;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ({events_text}, {index_text}, '10000000 100 1');

INSERT INTO annal_meta (key, value) VALUES ('data_index:' || {name_text}, {index_text});
