-- The index of a declared field of views by the order of its values, within one set of rows.
CREATE INDEX {index} ON {projections} (type, fingerprint, {order});

INSERT INTO annal_meta (key, value) VALUES ('projection_order:' || {name_text}, {index_text});
