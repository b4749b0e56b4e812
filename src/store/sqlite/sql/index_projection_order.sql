-- The index of a declared field of views by the order of its values, within one set of rows.
CREATE INDEX {index} ON {projections} (type, fingerprint, {order});

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ({projections_text}, {index_text}, '1000000 100000 50000 20000 20 10');

INSERT INTO annal_meta (key, value) VALUES ('projection_order:' || {name_text}, {index_text});
