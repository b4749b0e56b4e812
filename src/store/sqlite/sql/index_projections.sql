-- The index of a declared field of views, within one set of rows.
CREATE INDEX {index} ON {projections} (type, fingerprint, {field}) WHERE ({field}) IS NOT NULL;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ({projections_text}, {index_text}, '1000000 100000 50000 10');

INSERT INTO annal_meta (key, value) VALUES ('projection_index:' || {name_text}, {index_text});
