-- The index of a declared field of views, within one set of rows.
CREATE INDEX {index} ON {projections} (type, fingerprint, {field}) WHERE ({field}) IS NOT NULL;

INSERT INTO annal_meta (key, value) VALUES ('projection_index:' || {name_text}, {index_text});
